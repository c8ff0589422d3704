//! Calls that we make: every leg is dialled into our application and meets the others in a room.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{join_all, select_all};
use tokio::sync::mpsc;

use super::Control;
use super::hub::DialWatch;
use super::rest::{Error, Originate, Reason};
use crate::rooms;
use crate::shim::Shim;

/// How long a phone rings.
const RING_FOR: Duration = Duration::from_secs(30);
/// Most legs of one call.
const LEGS_MOST: usize = 16;
/// What the phones show.
const CALLER_ID: &str = "mgw";

/// One leg of a call that we make.
#[derive(Clone, Debug)]
struct Plan {
    extension: String,
    endpoint: String,
}

/// Dials all legs (extension and endpoint, such as `7777` and `PJSIP/1001`) and puts them into `room`, or into a room
/// of their own. Returns the channels' ids when all were answered and their sound runs. It goes on if nobody waits
/// for it.
///
/// # Errors
/// What is wrong with the question, or which leg failed and why; the others are hung up then.
pub async fn dial(shim: &Arc<Shim>, legs: &[(String, String)], room: Option<&str>) -> Result<Vec<String>, String> {
    let control = shim.ari.control().ok_or("calls can be made only with ARI (shim.ari.enabled)")?;
    if shim.closing.is_cancelled() {
        return Err("the shim is stopping".into());
    }
    let view = shim.ari.view();
    if !view.connected {
        return Err(view.why.unwrap_or_else(|| "not connected to Asterisk".into()));
    }
    for (extension, _) in legs {
        if shim.settings.extension(extension).is_none() {
            return Err(format!("there is no [shim.extension.{extension}]"));
        }
    }
    let plans = check(legs, room)?;
    let room = room.map_or_else(|| shim.rooms.own(), str::to_owned);
    let ending = shim.ending.clone();
    let task = shim.tasks.spawn(async move {
        tokio::select! {
            made = call(&control, &plans, &room, RING_FOR) => made,
            () = ending.cancelled() => Err("the shim is stopping".into()),
        }
    });
    task.await.map_err(|_| "the call could not be made; the log says why".to_owned())?
}

fn check(legs: &[(String, String)], room: Option<&str>) -> Result<Vec<Plan>, String> {
    if legs.is_empty() || legs.len() > LEGS_MOST {
        return Err(format!("a call has 1 to {LEGS_MOST} legs, such as 7777=PJSIP/1001 8888=PJSIP/1002"));
    }
    if let Some(room) = room {
        rooms::check_name(room)?;
    }
    let plan = |(extension, endpoint): &(String, String)| {
        let (technology, rest) = endpoint.split_once('/').unwrap_or_default();
        let plain = technology.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        let good = plain && !technology.is_empty() && !rest.is_empty() && endpoint.len() <= 200;
        if !good || endpoint.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(format!("\"{endpoint}\" is no endpoint such as PJSIP/1001"));
        }
        Ok(Plan { extension: extension.clone(), endpoint: endpoint.clone() })
    };
    legs.iter().map(plan).collect()
}

/// Hangs up what was dialled unless told otherwise, so that a call that is given up leaves nothing behind.
struct Dialled {
    control: Arc<Control>,
    ids: Vec<String>,
    keep: bool,
}

impl Drop for Dialled {
    fn drop(&mut self) {
        if self.keep || tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        let (control, ids) = (Arc::clone(&self.control), std::mem::take(&mut self.ids));
        // Nobody waits for these from now on, but no sweep may take them for callers.
        ids.iter().for_each(|id| control.hub.doom(id));
        self.control.tasks.spawn(async move {
            let all = join_all(ids.iter().map(|id| control.rest.hang_up(id, Reason::Normal))).await;
            let mut gone = HashSet::new();
            for (id, result) in ids.into_iter().zip(all) {
                if let Err(error) = result {
                    tracing::warn!(channel = %id, %error, "a leg of a call that came to nothing is still there");
                    control.hub.want_sweep();
                } else {
                    gone.insert(id);
                }
            }
            control.hub.redeem(&gone);
        });
    }
}

async fn call(control: &Arc<Control>, plans: &[Plan], room: &str, ring_for: Duration) -> Result<Vec<String>, String> {
    let mut watches: Vec<DialWatch> = plans.iter().map(|_| control.hub.dial(&control.names.out(), room)).collect();
    let ids: Vec<String> = watches.iter().map(|w| w.id().to_owned()).collect();
    let mut dialled = Dialled { control: Arc::clone(control), ids: ids.clone(), keep: false };
    let started = join_all(ids.iter().zip(plans).map(|(id, plan)| originate(control, id, plan, room, ring_for))).await;
    started.into_iter().collect::<Result<Vec<()>, String>>()?;

    let (told, mut hear) = mpsc::channel(plans.len());
    let all_run = async {
        for _ in plans {
            hear.recv().await;
        }
    };
    let first_end = select_all(watches.iter_mut().zip(plans).map(|(watch, plan)| {
        let told = told.clone();
        Box::pin(async move {
            let why = match watch.running().await {
                Ok(()) => {
                    // As many places as legs: never full.
                    let _ = told.try_send(());
                    watch.ended().await
                }
                Err(why) => why,
            };
            format!("{} ({}) {why}", plan.extension, plan.endpoint)
        })
    }));
    let patience = ring_for + Duration::from_secs(10);
    let made = tokio::select! {
        biased;
        (why, ..) = first_end => Err(why),
        () = all_run => Ok(()),
        () = tokio::time::sleep(patience) => Err("Asterisk did not say in time what became of the call".to_owned()),
    };
    made?;
    dialled.keep = true;
    Ok(ids)
}

async fn originate(control: &Control, id: &str, plan: &Plan, room: &str, ring_for: Duration) -> Result<(), String> {
    let (extension, endpoint) = (&plan.extension, &plan.endpoint);
    let ask = Originate {
        channel_id: id,
        endpoint,
        app_args: &format!("{extension},{room}"),
        caller_id: CALLER_ID,
        ring_for,
        variables: &[(super::sweep::PROFILE, extension), (super::sweep::ROOM, room)],
    };
    let dialled = control.rest.originate(&ask).await;
    if dialled.is_ok() {
        control.hub.made(id);
    }
    dialled.map_err(|error| {
        if matches!(error, Error::Timeout(_) | Error::Unreachable(_)) {
            control.hub.want_sweep();
        }
        format!("{extension} ({endpoint}) cannot be dialled: {error}")
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::ari::hub::Known;
    use crate::ari::mock::{Fault, Mock, eventually};
    use crate::ari::{dispatch, event};

    type Made = tokio::task::JoinHandle<Result<Vec<String>, String>>;

    /// Two phones are dialled; gives the channels' ids in the order of the legs.
    async fn start(mock: &Mock, control: &Arc<Control>) -> (Vec<String>, Made) {
        let legs = [("7777".to_owned(), "PJSIP/1001".to_owned()), ("8888".to_owned(), "PJSIP/1002".to_owned())];
        let (plans, control) = (check(&legs, None).expect("good legs"), Arc::clone(control));
        let task = tokio::spawn(async move { call(&control, &plans, "~a1", Duration::from_secs(600)).await });
        eventually("both ring", || mock.left().len() == 2).await;
        (mock.left(), task)
    }

    fn tell(control: &Control, event: &Value) -> Option<super::super::Caller> {
        dispatch(control, event::parse(&event.to_string()).expect("an event"))
    }

    #[tokio::test]
    async fn both_answer() {
        let mock = Mock::start().await;
        let control = mock.control();
        let (ids, made) = start(&mock, &control).await;
        for id in &ids {
            // Not what its arguments say: somebody else may have dialled a channel with such.
            let start = json!({ "type": "StasisStart", "channel": { "id": id }, "args": ["7777", "~zz"] });
            let caller = tell(&control, &start).expect("a caller");
            assert_eq!((caller.room.as_deref(), caller.room_is_ours), (Some("~a1"), true));
            control.hub.running(id);
        }
        assert_eq!(made.await.expect("no panic"), Ok(ids.clone()));
        assert_eq!(mock.left(), ids, "nothing is hung up");
        assert_eq!(control.hub.known(), Known::default(), "the calls look after themselves");
        let stranger = json!({ "type": "StasisStart", "channel": { "id": "17.1" }, "args": ["7777", "~a1"] });
        assert!(!tell(&control, &stranger).expect("a caller").room_is_ours);
    }

    #[tokio::test]
    async fn if_one_fails_the_others_are_hung_up_and_the_reason_is_told() {
        let destroyed = |code: i64, text: &str| json!({ "type": "ChannelDestroyed", "cause": code, "cause_txt": text });
        let dial = |status: &str| json!({ "type": "Dial", "dialstatus": status });
        for (answered, events, wanted) in [
            (false, vec![destroyed(17, "User busy")], "8888 (PJSIP/1002) is busy"),
            (false, vec![dial("BUSY"), destroyed(0, "Unknown")], "8888 (PJSIP/1002) is busy"),
            (
                true,
                vec![dial("RINGING"), destroyed(19, "User alerting, no answer")],
                "8888 (PJSIP/1002) did not answer",
            ),
            (true, vec![destroyed(0, "Unknown")], "8888 (PJSIP/1002) could not be reached"),
            (
                false,
                vec![destroyed(21, "Call Rejected")],
                "8888 (PJSIP/1002) was not answered: Call Rejected (cause 21)",
            ),
        ] {
            let mock = Mock::start().await;
            let control = mock.control();
            let (ids, made) = start(&mock, &control).await;
            if answered {
                control.hub.running(&ids[0]);
            }
            for mut event in events {
                event["channel"] = json!({ "id": ids[1] });
                event["peer"] = json!({ "id": ids[1] });
                tell(&control, &event);
            }
            mock.things().channels.remove(&ids[1]);
            assert_eq!(made.await.expect("no panic"), Err(wanted.to_owned()));
            eventually("the other is hung up", || mock.left().is_empty()).await;
        }
    }

    #[tokio::test]
    async fn a_leg_that_hangs_up_before_the_other_answers_ends_the_call() {
        let mock = Mock::start().await;
        let control = mock.control();
        let (ids, made) = start(&mock, &control).await;
        control.hub.running(&ids[0]);
        tell(&control, &json!({ "type": "StasisEnd", "channel": { "id": ids[0] } }));
        tell(&control, &json!({ "type": "ChannelDestroyed", "cause": 16, "channel": { "id": ids[0] } }));
        assert_eq!(made.await.expect("no panic"), Err("7777 (PJSIP/1001) hung up".to_owned()));
        eventually("the other is hung up", || mock.left().is_empty()).await;
    }

    #[tokio::test]
    async fn a_call_that_is_given_up_or_refused_leaves_nothing() {
        let mock = Mock::start().await;
        let control = mock.control();
        let (_, made) = start(&mock, &control).await;
        made.abort();
        eventually("both are hung up", || mock.left().is_empty()).await;

        // The first request is answered so, whichever leg it is for.
        mock.fault("POST /channels", 1, Fault::Answer(500, r#"{"error":"Allocation failed"}"#));
        let plans = check(&[("7777".into(), "PJSIP/1001".into()), ("8888".into(), "PJSIP/1002".into())], None);
        let made = call(&control, &plans.expect("good legs"), "~a1", Duration::from_secs(600)).await;
        let why = made.expect_err("refused");
        assert!(why.contains("cannot be dialled") && why.ends_with("Allocation failed"), "{why}");
        eventually("the other is hung up", || mock.left().is_empty()).await;
    }

    #[test]
    fn what_cannot_be_dialled_is_refused() {
        let leg = |endpoint: &str| [("7777".to_owned(), endpoint.to_owned())];
        for endpoint in ["PJSIP/1001", "Local/7777@mgw/n", "PJSIP/trunk/sip:1@192.0.2.1:5060"] {
            assert!(check(&leg(endpoint), None).is_ok(), "{endpoint}");
        }
        for endpoint in ["", "1001", "PJSIP/", "/1001", "PJ SIP/1", "PJSIP/1 2", "PJSIP/1\n", "P-J/1"] {
            assert!(check(&leg(endpoint), None).is_err(), "{endpoint:?}");
        }
        assert!(check(&[], None).is_err());
        assert!(check(&leg("PJSIP/1001"), Some("~a1")).is_err());
    }
}
