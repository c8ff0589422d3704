//! What the recognisers have in common for the driver that carries their bytes.

use std::time::Duration;

use http::HeaderMap;
use url::Url;

use super::stream_clock::StreamClock;
use super::{StageError, SttEvent, deepgram, flux};
use crate::config::{SessionConfig, SttProvider};

/// How a connection without anything to say is kept open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeepAlive {
    /// This TEXT after so much time without a message (and, once at the beginning, some silence).
    Text(&'static str, Duration),
    /// This much silence after so much time without audio.
    Silence {
        /// Of it.
        length: Duration,
        /// Without audio.
        after: Duration,
    },
}

/// A message from a recogniser, as its driver needs it.
#[derive(Clone, Debug, PartialEq)]
pub enum Heard {
    /// Something for the room.
    Event(SttEvent),
    /// Understood, and nothing to tell.
    Nothing,
    /// Everything that was sent is processed; nothing more follows.
    Done,
    /// The server complains; a close may follow.
    Complaint(StageError),
    /// Of a type that is not known here.
    Unknown,
    /// Not a message at all.
    Malformed,
}

impl SttProvider {
    /// The websocket address for audio of `rate` Hz; holds no key.
    ///
    /// # Errors
    /// `Configuration` if the settings do not fit the vendor.
    pub fn listen_url(self, config: &SessionConfig, rate: u32) -> Result<Url, StageError> {
        match self {
            SttProvider::Deepgram => deepgram::listen_url(config, rate),
            SttProvider::Flux => flux::listen_url(config, rate),
        }
    }

    /// The headers of the upgrade request; the key's is marked sensitive.
    ///
    /// # Errors
    /// `Configuration` if the key cannot stand in a header.
    pub fn listen_headers(self, config: &SessionConfig) -> Result<HeaderMap, StageError> {
        deepgram::headers(config)
    }

    /// Address and key that make the account.
    pub fn account(self, config: &SessionConfig) -> (String, &str) {
        (config.deepgram.base_url.to_string(), config.deepgram.api_key.expose())
    }

    /// Ends the stream: the last results follow.
    pub fn close_stream(self) -> &'static str {
        match self {
            SttProvider::Deepgram => deepgram::CLOSE_STREAM,
            SttProvider::Flux => flux::CLOSE_STREAM,
        }
    }

    /// Asks for the results of everything sent so far.
    pub fn finalize(self) -> &'static str {
        match self {
            SttProvider::Deepgram => deepgram::FINALIZE,
            SttProvider::Flux => flux::FORCE_END_TURN,
        }
    }

    /// How an idle connection is kept.
    pub fn keep_alive(self) -> KeepAlive {
        match self {
            // The vendor gives a connection up after 10 s without audio or a word from us.
            SttProvider::Deepgram => KeepAlive::Text(deepgram::KEEP_ALIVE, Duration::from_secs(4)),
            // Flux knows no such message and wants audio all the time.
            SttProvider::Flux => {
                KeepAlive::Silence { length: Duration::from_millis(80), after: Duration::from_millis(500) }
            }
        }
    }

    /// Whether it says nothing while nobody speaks; `/v1/listen` has results of silence too.
    pub fn is_silent_in_silence(self) -> bool {
        self == SttProvider::Flux
    }

    /// Reads a TEXT message.
    pub fn hear(self, text: &str, clock: &StreamClock) -> Heard {
        let told = |event: Option<SttEvent>| event.map_or(Heard::Nothing, Heard::Event);
        match self {
            SttProvider::Deepgram => match deepgram::parse(text) {
                deepgram::Message::Results(results) => told(results.into_event(clock)),
                deepgram::Message::SpeechStarted { timestamp } => {
                    Heard::Event(SttEvent::SpeechStarted { at: clock.start(timestamp) })
                }
                // The vendor says -1 where it has heard no word.
                deepgram::Message::UtteranceEnd { last_word_end } if last_word_end >= 0.0 => {
                    Heard::Event(SttEvent::UtteranceEnd { last_word_end: clock.end(last_word_end) })
                }
                deepgram::Message::UtteranceEnd { .. } => Heard::Nothing,
                deepgram::Message::Metadata { .. } => Heard::Done,
                deepgram::Message::Error(error) => Heard::Complaint(error),
                deepgram::Message::Unknown => Heard::Unknown,
                deepgram::Message::Malformed => Heard::Malformed,
            },
            SttProvider::Flux => match flux::parse(text) {
                flux::Message::Turn(turn) => told(turn.into_event(clock)),
                flux::Message::Connected | flux::Message::Note => Heard::Nothing,
                flux::Message::Error(error) => Heard::Complaint(error),
                flux::Message::Unknown => Heard::Unknown,
                flux::Message::Malformed => Heard::Malformed,
            },
        }
    }
}
