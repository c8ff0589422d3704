//! What every recognition, translation and synthesis provider says and is told, free of sockets.
//!
//! Each vendor's messages are pure functions in a file of its own; `net/` carries the bytes.
//! All times here are on the session's own clock (see [`stream_clock`]), never the vendor's.

pub mod alignment;
pub mod aura;
pub mod circuit;
mod context;
pub mod deepgram;
pub mod deepl;
pub mod elevenlabs;
pub mod elevenlabs_http;
pub mod error;
pub mod flux;
pub mod libretranslate;
pub mod openai;
pub mod openai_stream;
pub mod recogniser;
pub mod replay;
pub mod stream_clock;
#[cfg(test)]
pub(crate) mod test_config;
pub mod text;

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// One stage of the way from a voice to a voice in another language.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Speech to text.
    Stt,
    /// Text to text.
    Mt,
    /// Text to speech.
    Tts,
}

impl Stage {
    /// The name used in events, metrics and configuration keys.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Stt => "stt",
            Stage::Mt => "mt",
            Stage::Tts => "tts",
        }
    }
}

/// A recognised word; `text` is how it is written (case and punctuation included).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Word {
    /// The word as written, with its punctuation.
    pub text: String,
    /// Session time at which it begins.
    pub start: Duration,
    /// Session time at which it ends.
    pub end: Duration,
    /// 0.0 to 1.0 as the provider says.
    pub confidence: f32,
}

/// A recognition result for one span of speech.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Transcript {
    /// The whole text of the span, as the provider formats it.
    pub text: String,
    /// Its words, in order; may be empty where a provider gives none.
    pub words: Vec<Word>,
    /// Session time at which the span begins.
    pub start: Duration,
    /// Session time at which the span ends.
    pub end: Duration,
    /// Detected language, where the provider tells.
    pub language: Option<String>,
}

/// What a recogniser reports, in session time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SttEvent {
    /// Somebody began to speak.
    SpeechStarted {
        /// Session time of the onset.
        at: Duration,
    },
    /// The text of a span that may still change.
    Interim(Transcript),
    /// The text of a span that will not change any more.
    Final {
        /// What was said; an empty text is a span of silence.
        transcript: Transcript,
        /// The endpointer saw the end of the utterance.
        speech_final: bool,
    },
    /// The utterance is probably over, and this is what its final text will be if it is; `Resumed` says it is not.
    EagerEnd(Transcript),
    /// The utterance goes on after an `EagerEnd`; its text so far.
    Resumed(Transcript),
    /// The text of a part of a span that is [replayed](Self::Replaying); it will not change any more.
    Recovered(Transcript),
    /// The utterance is over (a second opinion, may follow a `speech_final`).
    UtteranceEnd {
        /// Session time at which the last word ended.
        last_word_end: Duration,
    },
    /// What was said in this span is being recognised again, because a connection was lost: its words come
    /// late, perhaps after words that were said behind them. Ends with `Replayed` for the same span.
    Replaying {
        /// Session time at which the span begins.
        start: Duration,
        /// Session time at which the span ends.
        end: Duration,
    },
    /// Nothing more comes for this span; what of it stays unknown was reported as `Lost` before.
    Replayed {
        /// Session time at which the span begins.
        start: Duration,
        /// Session time at which the span ends.
        end: Duration,
    },
    /// The stream was closed as asked and nothing more will come.
    Closed,
    /// Audio of this span never reached the recogniser; its words are lost.
    Lost {
        /// Session time at which the span begins.
        start: Duration,
        /// Session time at which the span ends.
        end: Duration,
    },
}

/// What to do about a provider's error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorClass {
    /// A passing fault of the connection: try again at once.
    RetryNow,
    /// The provider is busy: try again after a pause (the provider's own, if it named one).
    RetryLater(Option<Duration>),
    /// The provider will not serve us for now (quota, outage).
    ProviderOut,
    /// This one request is bad; others may succeed.
    BadRequest,
    /// The key, the voice or another setting is wrong: a person has to mend it.
    Configuration,
}

impl ErrorClass {
    /// The name used in events and metrics.
    pub fn name(self) -> &'static str {
        match self {
            ErrorClass::RetryNow => "retry_now",
            ErrorClass::RetryLater(_) => "retry_later",
            ErrorClass::ProviderOut => "provider_out",
            ErrorClass::BadRequest => "bad_request",
            ErrorClass::Configuration => "configuration",
        }
    }
}

/// A provider's failure, as an operator needs it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StageError {
    /// What to do about it.
    pub class: ErrorClass,
    /// The vendor's code or the HTTP/close code, such as `INVALID_AUTH`, `456`, `1011 NET-0001`.
    pub code: String,
    /// One sentence for a person; never a key and never anything that was said.
    pub message: String,
    /// The vendor's request id, for its support.
    pub request_id: Option<String>,
}

/// The state of one provider connection, reported whenever it changes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkState {
    /// Being opened.
    Connecting,
    /// Open and usable.
    Ready,
    /// Lost or refused. The driver opens it again by itself when `retry_in` is given.
    Down {
        /// Why.
        error: StageError,
        /// When the next attempt follows, if one does; zero: another try (perhaps with the next provider) follows
        /// at once, so the stage is not out yet.
        retry_in: Option<Duration>,
    },
    /// Waits for its turn: the account's connections are all in use.
    Waiting,
    /// As usable as before; something that the provider said was not understood, or one request of it failed.
    Odd(StageError),
}

/// A piece of synthesised speech for one segment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SpeechChunk {
    /// Mono 16-bit PCM at the rate the connection was opened with.
    #[serde(with = "crate::engine::record::pcm")]
    Audio(Vec<i16>),
    /// The audio given so far ends with a whole word (or clause): it speaks the text of the job up to this
    /// byte, which lies on a character's border. `Reached(0)` before the first audio says that such marks will
    /// follow. Without any mark the text is spoken whole or not at all.
    Reached(usize),
    /// All audio of the segment has been given.
    End,
    /// The segment cannot be (completely) spoken.
    Failed(StageError),
}

/// What a provider that does all three stages in one hop reports for one target language.
///
/// The seam for speech-to-speech: the engine makes an ordinary segment of it, with ledger, order,
/// playout and marks as for the cascade.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DirectEvent {
    /// A span of source speech was understood and its translation begins.
    Begin(Transcript),
    /// The translated text so far of the segment begun last.
    Text(String),
    /// Its speech.
    Speech(SpeechChunk),
}
