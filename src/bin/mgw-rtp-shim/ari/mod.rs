//! Asterisk's control interface: takes the calls that enter our Stasis application, and makes calls.
//!
//! [`link`] keeps the connection, [`hub`] tells events to whom they concern, [`call`] serves one call with the
//! [`wiring`] it needs in Asterisk, [`sweep`] clears up after what went wrong, [`outbound`] dials.

mod call;
mod event;
mod hub;
mod link;
#[cfg(test)]
mod mock;
mod names;
pub mod outbound;
pub mod rest;
mod sweep;
#[cfg(test)]
mod tests;
mod wiring;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Instant;

use serde::Serialize;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::settings::Ari;
use crate::shim::Shim;
use event::{Channel, Event};
use hub::{Gone, Hub};
use link::{Handler, Pace};
use names::{Kind, Names};
use rest::{Requests, Rest};

/// State of the connection and figures; clones are the same.
#[derive(Clone, Default)]
pub struct Status {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    link: Mutex<Option<(Link, Instant)>>,
    requests: Arc<Requests>,
    counters: Counters,
    /// Set while [`run`] runs, for calls that we make.
    control: OnceLock<Weak<Control>>,
}

#[derive(Default)]
struct Counters {
    connects: AtomicU64,
    taken: AtomicU64,
    refused: AtomicU64,
    swept: AtomicU64,
    adopted: AtomicU64,
    media_renewed: AtomicU64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Link {
    Connected,
    /// Why.
    Down(String),
    /// Another client has our application.
    Replaced,
}

/// What [`Status`] shows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct View {
    pub connected: bool,
    /// Seconds in this state.
    pub seconds: u64,
    /// Why it is not connected.
    pub why: Option<String>,
    /// Connections after the first.
    pub reconnects: u64,
    pub requests: u64,
    pub failed_requests: u64,
    pub calls_taken: u64,
    pub calls_refused: u64,
    /// Callers that were found in our application, mostly after a restart.
    pub calls_adopted: u64,
    /// External media channels and bridges without a call that were removed.
    pub orphans_swept: u64,
    /// External media channels that ended by themselves and were made again.
    pub media_renewed: u64,
}

impl Status {
    fn link(&self) -> MutexGuard<'_, Option<(Link, Instant)>> {
        self.shared.link.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True if that is news.
    fn set(&self, link: Link) -> bool {
        if link == Link::Connected {
            self.shared.counters.connects.fetch_add(1, Ordering::Relaxed);
        }
        let mut now = self.link();
        let news = now.as_ref().is_none_or(|(old, _)| *old != link);
        let was_down = matches!(&*now, Some((Link::Down(_), _)));
        match &mut *now {
            // Another reason, but down since the same moment.
            Some((old, _)) if was_down && matches!(link, Link::Down(_)) => *old = link,
            _ if news => *now = Some((link, Instant::now())),
            _ => {}
        }
        news
    }

    /// All of it.
    pub fn view(&self) -> View {
        let (connected, seconds, why) = match &*self.link() {
            None => (false, 0, Some("not connected yet".to_owned())),
            Some((link, since)) => {
                let why = match link {
                    Link::Connected => None,
                    Link::Down(why) => Some(why.clone()),
                    Link::Replaced => Some("another client has taken the Stasis application over".to_owned()),
                };
                (why.is_none(), since.elapsed().as_secs(), why)
            }
        };
        let (counters, requests) = (&self.shared.counters, &self.shared.requests);
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        View {
            connected,
            seconds,
            why,
            reconnects: get(&counters.connects).saturating_sub(1),
            requests: get(&requests.made),
            failed_requests: get(&requests.failed),
            calls_taken: get(&counters.taken),
            calls_refused: get(&counters.refused),
            calls_adopted: get(&counters.adopted),
            orphans_swept: get(&counters.swept),
            media_renewed: get(&counters.media_renewed),
        }
    }

    /// Why calls cannot come by ARI just now.
    pub fn trouble(&self) -> Option<String> {
        self.view().why
    }

    /// Figures in Prometheus' text format.
    pub fn metrics(&self) -> String {
        let view = self.view();
        let mut text = String::new();
        let rows = [
            ("connected", "gauge", "1 while the events websocket is up.", u64::from(view.connected)),
            ("reconnects", "counter", "Connections after the first.", view.reconnects),
            ("requests", "counter", "Requests to ARI.", view.requests),
            ("requests_failed", "counter", "Requests without an answer or with an error.", view.failed_requests),
            ("calls_taken", "counter", "Calls taken.", view.calls_taken),
            ("calls_refused", "counter", "Calls refused.", view.calls_refused),
            ("calls_adopted", "counter", "Callers found in the application.", view.calls_adopted),
            ("orphans_swept", "counter", "Channels and bridges without a call that were removed.", view.orphans_swept),
            ("media_renewed", "counter", "External media channels made again.", view.media_renewed),
        ];
        crate::metrics::append(&mut text, "mgw_shim_ari_", &rows);
        text
    }

    /// Presses a key towards the phone of a session that came by ARI (what is sent to Asterisk as RTP telephone-event
    /// on an external media channel is thrown away there); false if there is none, or its queue is full.
    pub fn press(&self, session: &str, digit: char) -> bool {
        self.control().is_some_and(|control| control.hub.press(session, digit))
    }

    fn control(&self) -> Option<Arc<Control>> {
        self.shared.control.get()?.upgrade()
    }

    fn count(&self, which: impl FnOnce(&Counters) -> &AtomicU64) {
        which(&self.shared.counters).fetch_add(1, Ordering::Relaxed);
    }
}

/// What all parts of the control share.
struct Control {
    app: String,
    rest: Rest,
    names: Names,
    hub: Arc<Hub>,
    status: Status,
    tasks: TaskTracker,
}

impl Control {
    fn new(settings: &Ari, status: Status, tasks: TaskTracker) -> Result<Control, String> {
        Ok(Control {
            app: settings.app.clone(),
            rest: Rest::new(settings, Arc::clone(&status.shared.requests))?,
            names: Names::new(&settings.app, rand::random()),
            hub: Arc::default(),
            status,
            tasks,
        })
    }
}

/// A caller that came to our application.
struct Caller {
    channel: Channel,
    /// The first argument of `Stasis()`.
    extension: String,
    room: Option<String>,
    /// The room's name is one that we gave, so that it may be a pair's.
    room_is_ours: bool,
}

/// Takes an event to whom it concerns; gives a caller that is new.
fn dispatch(control: &Control, event: Event) -> Option<Caller> {
    let hub = &control.hub;
    match event {
        Event::Start { channel, args, replaces } => {
            if control.names.kind(&channel.id) == Some(Kind::Media) {
                hub.entered(&channel.id);
                return None;
            }
            if let Some(old) = replaces
                && hub.replace(&old, &channel.id)
            {
                tracing::info!(channel = %channel.id, %old, "a channel took a caller's place");
                return None;
            }
            return Some(caller(control, channel, args));
        }
        Event::End { channel } => hub.gone(&channel.id, &Gone::Left),
        Event::Destroyed { channel, cause } => hub.gone(&channel.id, &Gone::Destroyed(cause)),
        Event::Dial { peer, status } => hub.dialling(&peer.id, &status),
        Event::Dtmf { channel, digit } => {
            if !hub.digit(&channel.id, digit) {
                tracing::debug!(channel = %channel.id, "a key of a phone is heard by nobody");
            }
        }
        // Most often since it hangs up, of which another event tells; a call looks into it a little later.
        Event::LeftBridge { channel, bridge } => {
            let which = if control.names.kind(&channel.id) == Some(Kind::Media) { channel.id } else { bridge };
            hub.gone(&which, &Gone::Left);
        }
        Event::HangupRequest { channel, cause } => {
            tracing::debug!(channel = %channel.id, cause = cause.code, "a hang-up was asked for");
        }
        Event::Replaced { application } => tracing::debug!(%application, "an application changed hands"),
        Event::User(name) => tracing::trace!(%name, "an event that somebody asked for"),
        Event::Other(kind) => tracing::trace!(%kind, "an event that does not concern us"),
    }
    None
}

/// The room of a channel that we dialled is what we said, not what its arguments say.
fn caller(control: &Control, channel: Channel, args: Vec<String>) -> Caller {
    let mut args = args.into_iter();
    let extension = args.next().unwrap_or_default();
    let ours = control.hub.dialled_room(&channel.id);
    let room_is_ours = ours.is_some();
    let room = ours.or_else(|| args.next().filter(|room| !room.is_empty()));
    Caller { channel, extension, room, room_is_ours }
}

struct Calls<'a> {
    shim: &'a Arc<Shim>,
    control: &'a Arc<Control>,
}

impl Handler for Calls<'_> {
    fn event(&self, event: Event) {
        if let Some(caller) = dispatch(self.control, event) {
            call::take(self.shim, self.control, caller);
        }
    }

    async fn sweep(&self) -> Result<(), rest::Error> {
        for caller in sweep::sweep(self.control).await? {
            call::take(self.shim, self.control, caller);
        }
        Ok(())
    }
}

/// Serves ARI until the shim closes and the last call is over; without `shim.ari` it returns at once.
pub async fn run(shim: Arc<Shim>) {
    let Some(settings) = &shim.settings.ari else { return };
    // Stopping waits for the last look as it waits for calls.
    let _last_look = shim.tasks.token();
    let control = match Control::new(settings, shim.ari.clone(), shim.tasks.clone()) {
        Ok(control) => Arc::new(control),
        Err(why) => {
            tracing::error!(%why, "ARI cannot be used");
            shim.ari.set(Link::Down(why));
            return;
        }
    };
    let _ = shim.ari.shared.control.set(Arc::downgrade(&control));
    let quit = CancellationToken::new();
    let handler = Calls { shim: &shim, control: &control };
    let over = async {
        shim.closing.cancelled().await;
        control.hub.idle().await;
        quit.cancel();
    };
    let pace = Pace::default();
    tokio::join!(link::keep(&control, &pace, &handler, &quit), over);
    // Else the callers may be another client's.
    if control.status.view().connected {
        sweep::refuse_the_last(&control).await;
    }
}
