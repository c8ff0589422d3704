//! Staying connected.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::ari::event::Event;
use crate::ari::hub::{Gone, Hub, Role};
use crate::ari::link::{Handler, Pace, keep};
use crate::ari::mock::{Fault, Mock, Socket, eventually};
use crate::ari::rest::Error;
use crate::ari::{Control, dispatch, sweep};
use crate::settings::Ari;

#[derive(Clone)]
struct Count {
    control: Arc<Control>,
    sweeps: Arc<AtomicUsize>,
    callers: Arc<AtomicUsize>,
}

impl Handler for Count {
    fn event(&self, event: Event) {
        if dispatch(&self.control, event).is_some() {
            self.callers.fetch_add(1, Ordering::SeqCst);
        }
    }

    async fn sweep(&self) -> Result<(), Error> {
        let found = sweep::sweep(&self.control).await?;
        self.callers.fetch_add(found.len(), Ordering::SeqCst);
        self.sweeps.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

fn pace() -> Pace {
    Pace {
        ping: Duration::from_millis(50),
        // Long beside what a busy machine takes for an answer; the stalled server has none at all.
        silence: Duration::from_secs(3),
        backoff_first: Duration::from_millis(5),
        backoff_most: Duration::from_millis(20),
        steady: Duration::from_millis(1),
        give_up: Duration::ZERO,
        prove: Duration::from_secs(600),
        sweep_after: Duration::from_millis(1),
        replaced: Duration::from_millis(20),
        truce: [Duration::from_secs(600); 2],
    }
}

/// A connection that is kept, and what stops it.
fn start(control: &Arc<Control>) -> (Count, CancellationToken, tokio::task::JoinHandle<()>) {
    start_with(control, pace())
}

fn start_with(control: &Arc<Control>, pace: Pace) -> (Count, CancellationToken, tokio::task::JoinHandle<()>) {
    let handler = Count { control: Arc::clone(control), sweeps: Arc::default(), callers: Arc::default() };
    let quit = CancellationToken::new();
    let (control, kept, token) = (Arc::clone(control), handler.clone(), quit.clone());
    let task = tokio::spawn(async move { keep(&control, &pace, &kept, &token).await });
    (handler, quit, task)
}

#[tokio::test]
async fn it_comes_back_after_every_end_and_sweeps_each_time() {
    let mock = Mock::start().await;
    let control = mock.control();
    let (handler, quit, task) = start(&control);
    for round in 1..=3 {
        eventually("it has swept", || handler.sweeps.load(Ordering::SeqCst) == round).await;
        mock.send(&json!("close"));
    }
    eventually("it has swept", || handler.sweeps.load(Ordering::SeqCst) == 4).await;
    let view = control.status.view();
    assert_eq!((view.connected, view.reconnects), (true, 3));
    mock.send(&json!({ "type": "StasisStart", "args": ["7777"], "channel": { "id": "17.1" } }));
    eventually("the caller has come", || handler.callers.load(Ordering::SeqCst) == 1).await;
    control.hub.want_sweep();
    eventually("it has swept on demand", || handler.sweeps.load(Ordering::SeqCst) == 5).await;
    quit.cancel();
    task.await.expect("ends");
}

#[tokio::test]
async fn a_server_that_closes_at_once_is_tried_again() {
    let mock = Mock::start().await;
    mock.things().socket = Socket::Close;
    let control = mock.control();
    let (_, quit, task) = start(&control);
    eventually("it has tried five times", || mock.things().connections >= 5).await;
    mock.things().socket = Socket::Serve;
    eventually("it is connected", || control.status.view().connected).await;
    quit.cancel();
    task.await.expect("ends");
}

#[tokio::test]
async fn an_application_that_gets_no_events_is_noticed() {
    let mock = Mock::start().await;
    let control = mock.control();
    let (handler, quit, task) = start_with(&control, Pace { prove: Duration::from_millis(100), ..pace() });
    let asked = || mock.things().requests.iter().filter(|r| r.starts_with("POST /events/user/")).count();
    eventually("three proofs were asked for", || asked() >= 3).await;
    assert_eq!(control.status.view().reconnects, 0, "with the events it stays");
    mock.fault("POST /events/user/", 5, Fault::Answer(503, "{}"));
    let before = asked();
    eventually("it asks on though it is refused", || asked() >= before + 7).await;
    assert_eq!(control.status.view().reconnects, 0, "a refusal is no missing event");
    mock.things().inactive = true;
    eventually("it has connected anew", || handler.sweeps.load(Ordering::SeqCst) == 2).await;
    let before = asked();
    eventually("three more proofs were asked for", || asked() >= before + 3).await;
    assert_eq!(control.status.view().reconnects, 1, "and stays there");
    quit.cancel();
    task.await.expect("ends");
}

#[tokio::test]
async fn a_stalled_server_is_noticed() {
    let mock = Mock::start().await;
    mock.things().socket = Socket::Mute;
    let control = mock.control();
    let (_, quit, task) = start(&control);
    let silent = |why: Option<String>| why.is_some_and(|why| why.starts_with("Asterisk has not answered for 3 s"));
    eventually("the silence is noticed", || silent(control.status.view().why)).await;
    quit.cancel();
    task.await.expect("ends");
}

#[tokio::test]
async fn a_sweep_that_gets_no_answer_ends_the_connection() {
    let mock = Mock::start().await;
    mock.fault("GET /channels", 1, Fault::Stall);
    let control = mock.control_with(&Ari { timeout: Duration::from_secs(3), ..mock.settings() });
    let (handler, quit, task) = start(&control);
    eventually("the second one has swept", || handler.sweeps.load(Ordering::SeqCst) == 1).await;
    assert_eq!(mock.things().connections, 2);
    quit.cancel();
    task.await.expect("ends");
}

#[tokio::test]
async fn a_wrong_password_is_told_and_asked_again() {
    let mock = Mock::start().await;
    mock.fault("GET /events", 3, Fault::Answer(401, r#"{"message":"Authentication required"}"#));
    let control = mock.control();
    let hub = Arc::clone(&control.hub);
    let given_up = tokio::spawn(async move { hub.given_up(|| None).await });
    let (_, quit, task) = start(&control);
    let told = |why: Option<String>| why.is_some_and(|why| why.contains("set shim.ari.password"));
    eventually("it is told or over", || told(control.status.view().why) || control.status.view().connected).await;
    given_up.await.expect("it was out of reach for longer than this test's limit");
    eventually("it is connected", || control.status.view().connected).await;
    assert!(control.status.view().failed_requests >= 3);
    let reached = timeout(Duration::from_millis(50), control.hub.given_up(|| None)).await;
    assert!(reached.is_err(), "it is within reach again");
    quit.cancel();
    task.await.expect("ends");
}

#[tokio::test]
async fn whoever_was_replaced_waits_until_the_other_has_gone() {
    let mock = Mock::start().await;
    let control = mock.control();
    let (handler, quit, task) = start(&control);
    eventually("it has swept", || handler.sweeps.load(Ordering::SeqCst) == 1).await;
    let mut caller = control.hub.watch("17.1", Role::Caller).expect("new");
    mock.send(&json!({ "type": "ApplicationReplaced", "application": "another" }));
    mock.send(&json!({ "type": "ApplicationReplaced", "application": "mgw" }));
    assert_eq!(caller.gone().await, Gone::TakenOver);
    let looks = |n| mock.things().requests.iter().filter(|r| r.starts_with("GET /applications/mgw")).count() >= n;
    eventually("it has looked for the other several times", || looks(4)).await;
    assert_eq!((mock.things().connections, control.status.view().connected), (1, false), "it does not fight");
    mock.things().app_gone = true;
    eventually("it is back", || mock.things().connections >= 2).await;
    mock.things().app_gone = false;
    eventually("it has swept", || handler.sweeps.load(Ordering::SeqCst) >= 2).await;
    quit.cancel();
    task.await.expect("ends");
}

#[tokio::test]
async fn an_application_whose_other_client_has_died_is_taken_back() {
    let mock = Mock::start().await;
    let control = mock.control();
    let unit = Duration::from_millis(100);
    let pace = Pace { truce: [unit, 3 * unit], ..pace() };
    let (handler, quit, task) = start_with(&control, pace);
    // The application never goes, since there are callers in it.
    for (round, truce) in [(1, unit), (2, 2 * unit), (3, 3 * unit), (4, 3 * unit)] {
        eventually("it has swept", || handler.sweeps.load(Ordering::SeqCst) == round).await;
        let begin = Instant::now();
        mock.send(&json!({ "type": "ApplicationReplaced", "application": "mgw" }));
        eventually("it is connected again", || mock.things().connections > round).await;
        assert!(begin.elapsed() >= truce, "it does not fight: {:?}", begin.elapsed());
    }
    quit.cancel();
    task.await.expect("ends");
}

#[tokio::test]
async fn callers_whom_nobody_serves_are_found_with_their_rooms() {
    let mock = Mock::start().await;
    for (id, args) in [("17.1", "7777"), ("17.2", "8888"), ("17.3", "7777"), ("17.4", "8888,room-42")] {
        mock.add_caller(id, args);
    }
    for (id, name, value) in [
        ("17.1", "MGW_ROOM", "~a1"),
        ("17.2", "MGW_ROOM", "~a1"),
        ("17.3", "MGW_ROOM", "~a2"),
        ("17.2", "MGW_PROFILE", "8889"),
    ] {
        mock.things().variables.insert((id.into(), name.into()), value.into());
    }
    mock.things().bridges.insert("mgw-mgw-0000abcd-1".into(), Default::default());
    mock.things().bridges.insert("somebody-s".into(), Default::default());
    let control = mock.control();
    let callers = sweep::sweep(&control).await.expect("swept");
    let found: Vec<(&str, &str, Option<&str>)> =
        callers.iter().map(|c| (c.channel.id.as_str(), c.extension.as_str(), c.room.as_deref())).collect();
    assert_eq!(
        found,
        [
            ("17.1", "7777", Some("~a1")),
            ("17.2", "8889", Some("~a1")),
            ("17.3", "7777", None),
            ("17.4", "8888", Some("room-42"))
        ]
    );
    assert_eq!(mock.things().bridges.keys().collect::<Vec<_>>(), ["somebody-s"]);
    let view = control.status.view();
    assert_eq!((view.orphans_swept, view.calls_adopted), (1, 4));
}

#[tokio::test]
async fn callers_who_are_heard_are_not_given_up() {
    let hub = Hub::default();
    let (moment, limit) = (Duration::from_millis(20), Duration::from_secs(60));
    let silent = AtomicUsize::new(59);
    let silent_for = || Some(Duration::from_secs(silent.load(Ordering::SeqCst) as u64));
    assert!(timeout(moment, hub.given_up(|| None)).await.is_err(), "Asterisk is within reach");
    hub.out_of_reach(Some(limit));
    assert!(timeout(moment, hub.given_up(silent_for)).await.is_err(), "its sound comes");
    hub.given_up(|| None).await;
    silent.store(60, Ordering::SeqCst);
    hub.given_up(silent_for).await;
    hub.out_of_reach(None);
    assert!(timeout(moment, hub.given_up(silent_for)).await.is_err(), "it is within reach again");
}

#[tokio::test]
async fn a_phone_that_answered_while_nothing_was_heard_joins_its_call() {
    let mock = Mock::start().await;
    let control = mock.control();
    let watch = control.hub.dial("mgw-mgw-00000001-1-out", "~a1");
    mock.add_caller(watch.id(), "7777,~a1");
    for (name, value) in [("MGW_PROFILE", "7777"), ("MGW_ROOM", "~a1")] {
        mock.things().variables.insert((watch.id().into(), name.into()), value.into());
    }
    let callers = sweep::sweep(&control).await.expect("swept");
    let found: Vec<_> = callers.iter().map(|c| (c.channel.id.as_str(), c.room.as_deref(), c.room_is_ours)).collect();
    // Alone as far as the sweep sees, but the other phone's call runs.
    assert_eq!(found, [(watch.id(), Some("~a1"), true)]);
}

#[tokio::test]
async fn callers_who_come_when_nobody_listens_any_more_are_refused() {
    let mock = Mock::start().await;
    let control = mock.control();
    for id in ["17.1", "17.2", "mgw-mgw-00000001-1-em"] {
        mock.add_caller(id, "7777");
    }
    mock.things().channels.insert("17.3".into(), json!({ "id": "17.3", "dialplan": { "app_name": "Dial" } }));
    let _call = control.hub.watch("17.2", Role::Caller).expect("new");
    let look = sweep::refuse_the_last(&control);
    let last = async {
        let refused = |id: &str| mock.has(&format!("DELETE /channels/{id}?reason=busy"));
        eventually("the first is refused", || refused("17.1")).await;
        mock.add_caller("17.4", "7777");
        eventually("the last is refused", || refused("17.4")).await;
        mock.things().app_gone = true;
    };
    tokio::join!(look, last);
    assert_eq!(mock.left(), ["17.2", "17.3", "mgw-mgw-00000001-1-em"], "whoever is served, or not ours, stays");
    assert_eq!(control.status.view().calls_refused, 2);
}
