//! The sans-IO core: one [`room::Room`] value per room, driven by [`Input`]s and drained of [`Output`]s.
//!
//! Time comes in as an argument (`now`, since the gateway began), one input at a time; after each,
//! outputs are drained. No sockets, tokio, clocks, threads or `unsafe` here, so a test plays a
//! script of (time, input) and an hour of talk takes milliseconds.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::{Language, SessionConfig};
use crate::provider::{DirectEvent, LinkState, SpeechChunk, Stage, StageError, SttEvent};

mod activity;
mod cue;
mod ledger;
pub mod level;
mod loop_guard;
pub mod loudness;
pub mod measures;
mod member;
mod original;
mod playout;
pub mod record;
pub mod resample;
pub mod room;
mod segment;
pub mod stretch;
mod talking;
pub mod time;

/// Samples in each ring between a caller and the engine: 512 ms at 48 kHz, 3 s at 8 kHz, one longest frame at 192 kHz.
pub const RING_SAMPLES: usize = 24_576;

/// A session's handle as C sees it: slot and generation, below 2^53 so that JSON readers keep it exact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SessionId(pub u64);

/// A room within one gateway; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RoomId(pub u64);

/// A committed span of source speech; unique and increasing within its gateway's room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SegmentId(pub u64);

/// A provider, as `stt.provider` and its like name it.
pub type ProviderName = &'static str;

/// How a session leaves its room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeaveMode {
    /// Its last sentence still reaches the others.
    Drain,
    /// At once; what was in flight is reported lost.
    Now,
}

/// What happens to a room. As JSON it is a line of a [flight record](record).
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Input<'a> {
    /// A session enters.
    Join {
        /// Who.
        session: SessionId,
        /// Its settings.
        #[serde(with = "record::settings")]
        config: Arc<SessionConfig>,
    },
    /// A session leaves.
    Leave {
        /// Who.
        session: SessionId,
        /// How.
        mode: LeaveMode,
    },
    /// A session said these samples, at its current input rate.
    Said {
        /// Who.
        session: SessionId,
        /// Mono 16-bit PCM; a record has it beside the input, because this only borrows it.
        #[serde(skip)]
        samples: &'a [i16],
    },
    /// A stretch of `count` samples that the caller knows is missing (or was dropped): silence on the time line.
    Gap {
        /// Who.
        session: SessionId,
        /// Samples at the input rate.
        count: u64,
        /// Frames that did not fit into the ring, rather than a gap the caller told of.
        dropped: bool,
    },
    /// From here on the session's input has this rate.
    InRate {
        /// Who.
        session: SessionId,
        /// Hz.
        hz: u32,
    },
    /// The session's output wants this rate; what was written and not heard is written again at it.
    OutRate {
        /// Who.
        session: SessionId,
        /// Hz.
        hz: u32,
    },
    /// Totals of what the session's puller has taken so far.
    Pulled {
        /// Who.
        session: SessionId,
        /// The puller's counters.
        totals: PullTotals,
    },
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
    /// A speech-to-speech provider reported (seam; no driver uses it yet).
    Direct {
        /// Whose speech.
        session: SessionId,
        /// Into which language.
        target: Language,
        /// What.
        event: DirectEvent,
    },
    /// A provider connection changed its state.
    Link {
        /// Whose connection.
        session: SessionId,
        /// Which stage.
        stage: Stage,
        /// Whose, as `stt.provider` and its like name it.
        #[serde(deserialize_with = "record::provider")]
        provider: ProviderName,
        /// The new state.
        state: LinkState,
    },
    /// A setting changed in mid-call (already validated).
    Set {
        /// Whose.
        session: SessionId,
        /// The settings from now on.
        #[serde(with = "record::settings")]
        config: Arc<SessionConfig>,
    },
    /// Speak this text to the session.
    Say {
        /// To whom.
        session: SessionId,
        /// What.
        text: String,
        /// The text's language; translated if the session hears another.
        language: Language,
    },
    /// A command for the session.
    Command {
        /// For whom.
        session: SessionId,
        /// What to do.
        verb: Verb,
    },
    /// A DTMF digit that the session's leg reported.
    Dtmf {
        /// Whose.
        session: SessionId,
        /// `0`-`9`, `*`, `#`, `A`-`D`.
        digit: char,
    },
    /// Time has passed; comes every 10 ms after the rings were drained.
    Tick,
}

/// What `mgw_session_command` can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    /// Drop what is queued for this session's ear; it is reported as not heard.
    Flush,
    /// Ask the recogniser to finalise what it has.
    Finalize,
    /// What the session says is replaced by silence.
    Mute,
    /// Ends `Mute`.
    Unmute,
    /// Tell when what is queued for this session's ear now has been heard.
    Mark,
}

/// A puller's counters, all in samples at its output rate since the last rate change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PullTotals {
    /// Samples asked for, whatever was delivered.
    pub asked: u64,
    /// Samples taken from the speech ring (flushed ones included).
    pub speech: u64,
    /// Samples taken from the original ring.
    pub original: u64,
}

/// Which ring of a listener samples go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ring {
    /// Synthesised speech; never silence.
    Speech,
    /// The other members' own voices.
    Original,
}

/// What a room wants done.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "outputs are drained after each input: there are never many")]
pub enum Output {
    /// Write to a listener's ring (it has room for what the engine keeps as lead).
    Play {
        /// Whose ear.
        session: SessionId,
        /// Which ring.
        ring: Ring,
        /// Mono 16-bit PCM at the listener's output rate.
        samples: Vec<i16>,
    },
    /// Everything written to a ring so far is not to be heard any more.
    Flush {
        /// Whose ear.
        session: SessionId,
        /// Which ring.
        ring: Ring,
    },
    /// The output rate change is done: what is written from now on is at the new rate.
    OutRateDone {
        /// Whose ear.
        session: SessionId,
        /// Hz.
        hz: u32,
    },
    /// Something for the network.
    Net(NetCommand),
    /// Something for the host.
    Event(crate::event::Event),
    /// The session has left for good; its port may be released.
    Gone {
        /// Who.
        session: SessionId,
    },
}

/// What a room asks of the network. Connections belong to a session; `config` says how to reach its providers.
#[derive(Debug)]
pub enum NetCommand {
    /// Open a recognition stream for what the session says. Reopened by the driver until closed.
    OpenStt {
        /// Whose speech.
        session: SessionId,
        /// Settings.
        config: Arc<SessionConfig>,
        /// Rate of the audio that will come, in Hz.
        rate: u32,
    },
    /// Audio for the session's recognition stream.
    Audio {
        /// Whose speech.
        session: SessionId,
        /// Session time of the first sample.
        at: Duration,
        /// Mono 16-bit PCM at the rate of `OpenStt`.
        samples: Vec<i16>,
    },
    /// Ask the recogniser to finalise what it has.
    FinalizeStt {
        /// Whose speech.
        session: SessionId,
    },
    /// Close the stream; with `drain` the last results are still wanted, and `SttEvent::Closed` ends them.
    CloseStt {
        /// Whose speech.
        session: SessionId,
        /// Wait for the last results.
        drain: bool,
    },
    /// Open (warm) a synthesis connection.
    OpenTts {
        /// Whose words it will speak.
        session: SessionId,
        /// In which language.
        target: Language,
        /// Settings.
        config: Arc<SessionConfig>,
        /// Rate of the audio wanted, in Hz (one of 8000, 16000, 24000, 48000).
        rate: u32,
    },
    /// Close a synthesis connection.
    CloseTts {
        /// Whose words.
        session: SessionId,
        /// In which language.
        target: Language,
    },
    /// Translate.
    Translate(TranslateJob),
    /// Speak a text over the connection of (session, target).
    Speak(SpeakJob),
    /// The result of this segment is not wanted any more.
    Cancel {
        /// Whose words.
        session: SessionId,
        /// Which segment.
        segment: SegmentId,
        /// In which language.
        target: Language,
    },
}

/// A text to translate.
#[derive(Clone, Debug)]
pub struct TranslateJob {
    /// Whose words.
    pub session: SessionId,
    /// Which segment.
    pub segment: SegmentId,
    /// From.
    pub source: Language,
    /// Into.
    pub target: Language,
    /// The text.
    pub text: String,
    /// What the same speaker said before, oldest first; not translated.
    pub context: Vec<String>,
    /// Settings.
    pub config: Arc<SessionConfig>,
    /// Give up when this much time has passed.
    pub budget: Duration,
}

/// A text to speak.
#[derive(Clone, Debug)]
pub struct SpeakJob {
    /// Whose words.
    pub session: SessionId,
    /// Which segment.
    pub segment: SegmentId,
    /// In which language.
    pub target: Language,
    /// The text.
    pub text: String,
}
