//! The network side: carries the vendors' messages between a media thread and the providers.
//!
//! ```text
//! media thread --Port::apply(room, NetCommand)--> bounded queues --> tasks (stt, mt, tts) <--> vendors
//! media thread <----------- channel of (room, FromNet) ------------- tasks
//! ```
//! A [`Port`] belongs to one media thread and never makes it wait. Every connection belongs to a
//! session; [`Port::close_session`] and dropping the port leave nothing behind. What cannot be
//! delivered to a vendor is reported as lost, never dropped silently.

mod accounts;
mod counters;
mod dialer;
mod http;
mod meter;
mod mt;
mod mt_http;
mod mt_links;
mod mt_queue;
mod port;
mod runtime;
mod stt;
mod stt_gaps;
mod stt_queue;
mod stt_stream;
mod tls;
mod transport;
mod tts;
mod tts_http;
mod tts_lane;
mod tts_queue;
mod tts_standing;
mod tts_ws;

#[cfg(test)]
mod test_server;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Sender, TrySendError};

pub use counters::Counters;
pub use meter::{Meter, Spent};
pub use port::Port;
pub use runtime::Runtime;

use crate::config::Language;
use crate::engine::{Input, RoomId, SegmentId, SessionId};
use crate::provider::{ErrorClass, LinkState, SpeechChunk, Stage, StageError, SttEvent};
use accounts::Accounts;
use dialer::{Dialer, DialerStore};

/// Size that the channel to a media thread should have (`crossbeam_channel::bounded`).
pub const CHANNEL_SIZE: usize = 8192;
/// How long a task waits before it tries again to put a message into a full channel.
const FULL_PAUSE: Duration = Duration::from_millis(2);

/// What the network tells a room: an [`Input`] that owns everything.
#[derive(Clone, Debug, PartialEq)]
pub enum FromNet {
    /// A recogniser reported.
    Stt {
        /// Whose speech.
        session: SessionId,
        /// What.
        event: SttEvent,
    },
    /// A translation came back.
    Translated {
        /// Which segment.
        segment: SegmentId,
        /// Into which language.
        target: Language,
        /// The text, or why there is none.
        result: Result<String, StageError>,
    },
    /// Synthesised speech came back.
    Speech {
        /// Which segment.
        segment: SegmentId,
        /// In which language.
        target: Language,
        /// The audio, its end or its failure.
        chunk: SpeechChunk,
    },
    /// A provider connection changed its state.
    Link {
        /// Whose connection.
        session: SessionId,
        /// Which stage.
        stage: Stage,
        /// Whose, as `stt.provider` and its like name it.
        provider: &'static str,
        /// The new state.
        state: LinkState,
    },
}

impl From<FromNet> for Input<'static> {
    fn from(message: FromNet) -> Self {
        match message {
            FromNet::Stt { session, event } => Input::Stt { session, event },
            FromNet::Translated { segment, target, result } => Input::Translated { segment, target, result },
            FromNet::Speech { segment, target, chunk } => Input::Speech { segment, target, chunk },
            FromNet::Link { session, stage, provider, state } => Input::Link { session, stage, provider, state },
        }
    }
}

/// The way to a room's media thread.
#[derive(Clone)]
struct Outbox {
    sender: Sender<(RoomId, FromNet)>,
    room: RoomId,
}

impl Outbox {
    /// Delivers in order; while the channel is full only this task waits, not its worker thread.
    async fn send(&self, mut message: FromNet) {
        while let Some(back) = self.offer(message) {
            message = back;
            tokio::time::sleep(FULL_PAUSE).await;
        }
    }

    /// Delivers if the channel has room; gives the message back if not.
    fn offer(&self, message: FromNet) -> Option<FromNet> {
        match self.sender.try_send((self.room, message)) {
            Ok(()) | Err(TrySendError::Disconnected(_)) => None,
            Err(TrySendError::Full((_, back))) => Some(back),
        }
    }
}

/// What the drivers of one session share.
#[derive(Clone)]
struct Driver {
    session: SessionId,
    outbox: Outbox,
    dialers: Arc<DialerStore>,
    accounts: Arc<Accounts>,
    meter: Arc<Meter>,
    ca_file: Option<PathBuf>,
    counters: Arc<Counters>,
}

impl Driver {
    async fn dialer(&self) -> Result<Arc<Dialer>, StageError> {
        self.dialers.get(self.ca_file.as_deref()).await
    }

    async fn link(&self, stage: Stage, provider: &'static str, state: LinkState) {
        if let LinkState::Down { error, retry_in } = &state {
            tracing::debug!(
                session = self.session.0, stage = stage.name(), provider, code = %error.code, class = error.class.name(),
                request_id = error.request_id.as_deref().unwrap_or(""), retry_in_ms = retry_in.map(|p| p.as_millis() as u64),
                "{}", error.message
            );
        }
        self.outbox.send(FromNet::Link { session: self.session, stage, provider, state }).await;
    }

    /// A message that is not understood and that nothing depends on: vendors add such, so it is counted, told and
    /// ignored.
    async fn odd(&self, stage: Stage, provider: &'static str, odd: Odd, request_id: Option<&str>) {
        let (counter, code, said) = match odd {
            Odd::Unknown => (
                &self.counters.unknown_messages,
                "unknown_message",
                "The provider sent a message of an unknown type, which is ignored.",
            ),
            Odd::Binary => (
                &self.counters.unknown_messages,
                "binary_message",
                "The provider sent a binary message, which is ignored.",
            ),
            Odd::Malformed => (
                &self.counters.malformed_messages,
                "bad_message",
                "The provider sent a message that cannot be read, while nothing was expected of it.",
            ),
        };
        counters::count(counter);
        tracing::debug!(session = self.session.0, stage = stage.name(), provider, code, "message that is ignored");
        let error = StageError::new(ErrorClass::BadRequest, code, said).with_request_id(request_id);
        self.link(stage, provider, LinkState::Odd(error)).await;
    }
}

/// What is not understood in a message that is ignored.
#[derive(Clone, Copy, Debug)]
enum Odd {
    /// Its type.
    Unknown,
    /// All of it: only text is expected.
    Binary,
    /// All of it.
    Malformed,
}

/// A fault of our own, told like a provider's so that the engine acts on it.
fn internal_error() -> StageError {
    StageError::new(ErrorClass::RetryNow, "internal", "A fault inside mgw; please report it. The log says more.")
}
