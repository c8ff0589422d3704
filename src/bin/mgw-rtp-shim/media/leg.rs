//! The handle of a running leg: its events, what others may do with it, its end.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crossbeam_channel::Sender;
use mgw::engine::{LeaveMode, SessionId};
use mgw::session;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::clock::Clock;
use super::figures::Figures;
use super::watch::Watch;

/// Time in which the clock thread plays out what a leg has received; it needs one turn.
const FINISH: Duration = Duration::from_millis(500);

/// What a leg tells whoever looks after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LegEvent {
    /// A DTMF digit, once.
    Dtmf(char),
    /// The transport is at its end (AudioSocket hung up, socket error); nothing follows.
    Ended,
}

/// Permission for one leg; counts once against `max_legs` until its last clone is dropped, so that a leg may be replaced
/// while the former one still closes.
#[derive(Clone)]
pub struct Permit {
    _counted: Arc<Counted>,
}

struct Counted(Arc<AtomicUsize>);

impl Permit {
    /// One that `legs` has counted already.
    pub(super) fn of(legs: Arc<AtomicUsize>) -> Permit {
        Permit { _counted: Arc::new(Counted(legs)) }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A running leg. Dropping it ends it at once; [`Leg::close`] lets its last words be heard.
pub struct Leg {
    pub(super) control: LegControl,
    pub(super) events: mpsc::Receiver<LegEvent>,
    pub(super) clock: Arc<Clock>,
    pub(super) watch: Watch,
    pub(super) id: u64,
    pub(super) drain: Duration,
    pub(super) open: bool,
    pub(super) _permit: Permit,
}

/// What others may do with a leg; cheap to clone, harmless after its end.
#[derive(Clone)]
pub struct LegControl {
    pub(super) session: SessionId,
    pub(super) published: Arc<Mutex<Figures>>,
    pub(super) digits: Sender<char>,
}

impl Leg {
    pub fn control(&self) -> &LegControl {
        &self.control
    }

    /// The next event; from the leg's end on always [`LegEvent::Ended`], even if that itself found no room in the queue.
    pub async fn event(&mut self) -> LegEvent {
        self.events.recv().await.unwrap_or(LegEvent::Ended)
    }

    /// Closes the leg's port and its session; returns when its last words were heard (mode drain), at the latest
    /// after `shim.drain_s`.
    pub async fn close(mut self, mode: LeaveMode) {
        if mode == LeaveMode::Drain {
            // What has come but was not played yet belongs to the last words.
            let _ = tokio::time::timeout(FINISH, self.clock.finish(self.id)).await;
        }
        let gone = self.watch.closed(self.control.session.0);
        self.end(mode);
        let _ = tokio::time::timeout(self.drain, gone).await;
        self.watch.forget(self.control.session.0);
    }

    fn end(&mut self, mode: LeaveMode) {
        if std::mem::replace(&mut self.open, false) {
            self.clock.remove(self.id);
            let _ = session::close(self.control.session, mode);
        }
    }
}

impl Drop for Leg {
    fn drop(&mut self) {
        self.end(LeaveMode::Now);
    }
}

impl LegControl {
    /// Speaks a text into this ear, in the language it hears.
    pub fn say(&self, text: &str) {
        if let Err(e) = session::say(self.session, text, "") {
            tracing::warn!(session = self.session.0, "announcement: {e}");
        }
    }

    /// Tells the library that this phone sent a digit.
    pub fn report_dtmf(&self, digit: char) {
        let _ = session::dtmf(self.session, digit);
    }

    /// Sends a DTMF digit to this phone as RTP telephone-event; false if too many wait.
    pub fn send_dtmf(&self, digit: char) -> bool {
        self.digits.try_send(digit).is_ok()
    }

    /// Time since the last packet or message came, to the second; `None` before the first.
    pub fn silent_for(&self) -> Option<Duration> {
        let published = self.published.lock().unwrap_or_else(PoisonError::into_inner);
        published.silent_s.map(Duration::from_secs_f64)
    }

    /// Figures for `/calls`. Waits up to 200 ms for the library: not for the runtime's threads.
    pub fn snapshot(&self) -> Value {
        let figures = self.published.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let library = session::stats(self.session).ok().and_then(|text| serde_json::from_str(&text).ok());
        json!({ "leg": figures, "session": library.unwrap_or(Value::Null) })
    }
}
