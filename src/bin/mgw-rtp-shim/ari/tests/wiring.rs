//! What a call makes in Asterisk, and that nothing of it stays.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::time::timeout;

use crate::ari::event;
use crate::ari::hub::{Gone, Role};
use crate::ari::mock::{Fault, Mock, eventually};
use crate::ari::rest::{Error, Reason};
use crate::ari::wiring::{Ask, Happening, Wiring};
use crate::ari::{Control, dispatch, sweep};
use crate::settings::Ari;

const HOST: &str = "127.0.0.1:17000";

fn ask() -> Ask<'static> {
    Ask {
        host: HOST.parse().expect("address"),
        format: "slin16",
        ring: true,
        variables: &[("MGW_PROFILE", "7777"), ("MGW_ROOM", "~a1")],
    }
}

fn tell(control: &Control, event: serde_json::Value) -> bool {
    dispatch(control, event::parse(&event.to_string()).expect("an event")).is_some()
}

/// All of it; what a call does before its sound runs.
async fn raise(wiring: &mut Wiring) -> Result<(), Error> {
    wiring.build(&ask()).await?;
    wiring.connect(true).await
}

fn claim(control: &Arc<Control>) -> Wiring {
    Wiring::claim(control, "17.1").expect("nobody has it")
}

#[tokio::test]
async fn a_call_is_made_and_removed() {
    let mock = Mock::start().await;
    mock.add_caller("17.1", "7777");
    let control = mock.control();
    let mut wiring = claim(&control);
    assert!(Wiring::claim(&control, "17.1").is_none(), "it is served once");
    let peer = wiring.build(&ask()).await.expect("built");
    assert_eq!(peer, "127.0.0.1:28882".parse().expect("address"));
    assert!(!mock.has("POST /channels/17.1/answer"), "the caller is not answered before all is ready");
    wiring.connect(true).await.expect("connected");
    {
        let things = mock.things();
        let (bridge, inside) = things.bridges.first_key_value().expect("a bridge");
        assert_eq!(inside.iter().cloned().collect::<Vec<_>>(), ["17.1".to_owned(), format!("{bridge}-em")]);
        assert_eq!(things.variables[&("17.1".to_owned(), "MGW_ROOM".to_owned())], "~a1");
        assert_eq!(things.channels["17.1"]["state"], "Up");
    }
    assert_eq!(sweep::sweep(&control).await.expect("swept").len(), 0, "a running call is no orphan");
    assert_eq!(mock.left().len(), 3);
    wiring.take_down(Some(Reason::Normal)).await.expect("no panic");
    assert_eq!(mock.left(), Vec::<String>::new());
    assert_eq!(control.hub.known().ids.len(), 0);
    control.hub.idle().await;
}

/// A call in which one request fails; nothing of it may stay.
async fn fails_at(step: &str, fault: Fault) {
    let mock = Mock::start().await;
    mock.add_caller("17.1", "7777");
    let control = mock.control_with(&Ari { timeout: Duration::from_secs(3), ..mock.settings() });
    mock.fault(step, 1, fault.clone());
    let mut wiring = claim(&control);
    raise(&mut wiring).await.expect_err(step);
    wiring.take_down(Some(Reason::Congestion)).await.expect("no panic");
    assert_eq!(mock.left(), Vec::<String>::new(), "{step} {fault:?}");
    assert!(mock.has("DELETE /channels/17.1?reason=congestion"));
    assert_eq!(control.hub.known().ids.len(), 0);
}

#[tokio::test]
async fn every_step_that_fails_is_undone() {
    let refusal = Fault::Answer(500, r#"{"message":"no"}"#);
    let steps = [
        "POST /bridges",
        "POST /channels/externalMedia",
        "POST /channels/17.1/variable",
        "POST /channels/17.1/answer",
        "POST /bridges/",
    ];
    let faults = [refusal, Fault::Stall, Fault::DoneInSilence];
    let all = steps.iter().flat_map(|step| faults.iter().map(|fault| fails_at(step, fault.clone())));
    futures_util::future::join_all(all).await;
}

#[tokio::test]
async fn a_task_that_panics_leaves_nothing() {
    let mock = Mock::start().await;
    mock.add_caller("17.1", "7777");
    let control = mock.control();
    let mut wiring = claim(&control);
    let failed = tokio::spawn(async move {
        raise(&mut wiring).await.expect("raised");
        std::panic::resume_unwind(Box::new("a fault of ours"));
    });
    assert!(failed.await.expect_err("it panics").is_panic());
    eventually("all is removed", || mock.left().is_empty()).await;
    eventually("nothing is watched", || control.hub.known().ids.is_empty()).await;
}

#[tokio::test]
async fn what_cannot_be_removed_is_removed_by_the_next_sweep() {
    let mock = Mock::start().await;
    mock.add_caller("17.1", "7777");
    let control = mock.control_with(&Ari { timeout: Duration::from_secs(3), ..mock.settings() });
    let mut wiring = claim(&control);
    raise(&mut wiring).await.expect("raised");
    mock.fault("DELETE", 6, Fault::Stall);
    wiring.take_down(Some(Reason::Normal)).await.expect("no panic");
    assert_eq!(mock.left().len(), 3, "each was tried twice in vain");
    control.hub.sweep_wanted().await;
    assert_eq!(sweep::sweep(&control).await.expect("swept").len(), 0, "the caller is not served again");
    assert_eq!(mock.left(), Vec::<String>::new());
    assert_eq!(control.hub.known(), Default::default());
}

#[tokio::test]
async fn a_channel_that_is_still_on_its_way_is_waited_for() {
    let mock = Mock::start().await;
    mock.add_caller("17.1", "7777");
    let control = mock.control();
    let mut wiring = claim(&control);
    mock.fault("POST /bridges/", 3, Fault::Answer(422, r#"{"message":"Channel not in Stasis application"}"#));
    raise(&mut wiring).await.expect("raised");
    wiring.take_down(None).await.expect("no panic");
    assert_eq!(mock.left(), ["17.1"], "the caller is not ours to hang up");
}

#[tokio::test]
async fn events_reach_the_call_that_they_concern() {
    let mock = Mock::start().await;
    mock.add_caller("17.1", "7777");
    let control = mock.control();
    let mut wiring = claim(&control);
    raise(&mut wiring).await.expect("raised");
    let media = mock.left().into_iter().find(|id| id.ends_with("-em")).expect("external media");
    assert!(!tell(&control, json!({ "type": "StasisStart", "channel": { "id": media }, "args": [] })), "no caller");
    tell(&control, json!({ "type": "ChannelDtmfReceived", "digit": "5", "channel": { "id": "17.1" } }));
    assert_eq!(wiring.next().await, Happening::Digit('5'));

    // Its sound ends by itself, and is made again.
    tell(&control, json!({ "type": "ChannelDestroyed", "channel": { "id": media }, "cause": 16 }));
    assert_eq!(wiring.next().await, Happening::Broken);
    mock.things().channels.remove(&media);
    wiring.renew(HOST.parse().expect("address"), "slin16").await.expect("renewed");
    // Again and again; one that only fell out of the bridge is removed.
    for former in ["-em2", "-em3"] {
        let media = mock.left().into_iter().find(|id| id.ends_with(former)).expect("external media");
        tell(&control, json!({ "type": "ChannelLeftBridge", "channel": { "id": media }, "bridge": { "id": "b" } }));
        assert_eq!(wiring.next().await, Happening::Broken);
        wiring.renew(HOST.parse().expect("address"), "slin16").await.expect("renewed");
        assert!(!mock.left().contains(&media), "{media}");
    }
    assert!(mock.left().iter().any(|id| id.ends_with("-em4")) && mock.left().len() == 3);
    let inside = |media: &String| media.ends_with("-em4");
    assert!(mock.things().bridges.values().any(|all| all.iter().any(inside)));

    // Somebody takes the caller out of the bridge; it is put back.
    let bridge = mock.things().bridges.keys().next().cloned().expect("a bridge");
    mock.things().bridges.get_mut(&bridge).expect("a bridge").remove("17.1");
    let left = json!({ "type": "ChannelLeftBridge", "channel": { "id": "17.1" }, "bridge": { "id": bridge } });
    tell(&control, left.clone());
    tokio::select! {
        happening = wiring.next() => panic!("{happening:?}"),
        () = eventually("it is back", || mock.things().bridges[&bridge].contains("17.1")) => {}
    }

    // Another channel takes the caller's place (an attended transfer); its end is the call's.
    mock.add_caller("17.2", "7777");
    let start = json!({
        "type": "StasisStart", "channel": { "id": "17.2" }, "args": ["7777"], "replace_channel": { "id": "17.1" }
    });
    assert!(!tell(&control, start), "no new caller");
    tell(&control, json!({ "type": "StasisEnd", "channel": { "id": "17.1" } }));
    assert!(control.hub.press("17.1", '7'), "the session keeps its name");
    let pressing = tokio::spawn(wiring.presser());
    eventually("the key was sent to the phone", || mock.has(r#"POST /channels/17.2/dtmf? {"dtmf":"7"}"#)).await;
    pressing.abort();
    tell(&control, left);
    tell(&control, json!({ "type": "StasisEnd", "channel": { "id": "17.2" } }));
    assert_eq!(wiring.next().await, Happening::Caller(Gone::Left));
    wiring.take_down(Some(Reason::Normal)).await.expect("no panic");
    assert_eq!(mock.left(), ["17.1", "17.2"], "whoever has left is not hung up");
}

#[tokio::test]
async fn a_caller_who_leaves_and_comes_back_at_once_is_served_again() {
    let mock = Mock::start().await;
    mock.add_caller("17.1", "7777");
    let control = mock.control();
    let mut former = claim(&control);
    raise(&mut former).await.expect("raised");
    let start = || json!({ "type": "StasisStart", "channel": { "id": "17.1" }, "args": ["7777", "room-42"] });
    tell(&control, json!({ "type": "StasisEnd", "channel": { "id": "17.1" } }));
    assert!(tell(&control, start()), "a caller as any other");
    // The former call has not even noticed.
    let mut wiring = claim(&control);
    assert!(Wiring::claim(&control, "17.1").is_none(), "it is served once");
    raise(&mut wiring).await.expect("raised");
    assert_eq!(former.next().await, Happening::Caller(Gone::Left));
    former.take_down(Some(Reason::Normal)).await.expect("no panic");
    assert_eq!(mock.left().len(), 3, "the caller, and what its new call needs");
    assert!(Wiring::claim(&control, "17.1").is_none(), "the end of the former call is not the end of the new one");
    tell(&control, json!({ "type": "ChannelDtmfReceived", "digit": "7", "channel": { "id": "17.1" } }));
    assert_eq!(wiring.next().await, Happening::Digit('7'));
    assert!(control.hub.press("17.1", '1'), "keys go to the new call");
    // Hung up, it does not come back.
    tell(&control, json!({ "type": "ChannelDestroyed", "channel": { "id": "17.1" }, "cause": 16 }));
    assert!(Wiring::claim(&control, "17.1").is_none());
    wiring.take_down(None).await.expect("no panic");
    control.hub.idle().await;
}

#[tokio::test]
async fn a_sweep_finds_what_was_missed_while_nothing_was_heard() {
    let mock = Mock::start().await;
    mock.add_caller("17.1", "7777");
    let control = mock.control();
    let mut wiring = claim(&control);
    raise(&mut wiring).await.expect("raised");
    let bridge = mock.things().bridges.keys().next().cloned().expect("a bridge");
    mock.things().bridges.get_mut(&bridge).expect("a bridge").remove("17.1");
    sweep::sweep(&control).await.expect("swept");
    let entries = || mock.things().requests.iter().filter(|r| r.contains("/addChannel")).count();
    tokio::select! {
        happening = wiring.next() => panic!("{happening:?}"),
        () = eventually("it is put back", || mock.things().bridges[&bridge].contains("17.1")) => {}
    }
    // One that is inside is not put in again: that would take it out first.
    let before = entries();
    control.hub.gone(&bridge, &Gone::Left);
    let looked = || mock.has(&format!("GET /bridges/{bridge}"));
    mock.things().requests.retain(|r| r.contains("/addChannel"));
    tokio::select! {
        happening = wiring.next() => panic!("{happening:?}"),
        () = eventually("it is looked for", looked) => {}
    }
    assert_eq!(entries(), before);

    // It was sent to the dialplan.
    mock.things().bridges.get_mut(&bridge).expect("a bridge").remove("17.1");
    mock.things().channels.get_mut("17.1").expect("the caller")["dialplan"] = json!({ "app_name": "Playback" });
    assert_eq!(sweep::sweep(&control).await.expect("swept").len(), 0);
    assert_eq!(wiring.next().await, Happening::Caller(Gone::Left));
    wiring.take_down(Some(Reason::Normal)).await.expect("no panic");
    assert_eq!(mock.left(), ["17.1"], "it is not ours to hang up");
}

#[tokio::test]
async fn a_caller_who_was_given_up_is_taken_again_by_a_sweep() {
    let mock = Mock::start().await;
    mock.add_caller("17.1", "7777");
    let control = mock.control();
    let mut wiring = claim(&control);
    raise(&mut wiring).await.expect("raised");
    assert_eq!(sweep::sweep(&control).await.expect("swept").len(), 0);
    wiring.take_down(None).await.expect("no panic");
    control.hub.sweep_wanted().await;
    assert_eq!(control.hub.known(), Default::default(), "nothing of it keeps the sweep from the caller");
    assert_eq!(sweep::sweep(&control).await.expect("swept").len(), 1);

    // One that has gone elsewhere is not ours.
    let wiring = claim(&control);
    tell(&control, json!({ "type": "StasisEnd", "channel": { "id": "17.1" } }));
    wiring.take_down(None).await.expect("no panic");
    assert!(timeout(Duration::from_millis(20), control.hub.sweep_wanted()).await.is_err());
}

#[tokio::test]
async fn a_caller_of_a_restarted_asterisk_is_gone() {
    let mock = Mock::start().await;
    mock.add_caller("17.1", "7777");
    let control = mock.control();
    let mut wiring = claim(&control);
    raise(&mut wiring).await.expect("raised");
    let other = control.hub.watch("17.9", Role::Caller).expect("new");
    mock.things().channels.clear();
    mock.things().bridges.clear();
    sweep::sweep(&control).await.expect("swept");
    assert!(matches!(wiring.next().await, Happening::Caller(Gone::Destroyed(_))));
    assert!(other.ended().is_some());
    wiring.take_down(Some(Reason::Normal)).await.expect("no panic");
    assert!(!mock.has("DELETE /channels/17.1"), "it is known to be gone");
}
