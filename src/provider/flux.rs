//! Deepgram Flux, `/v2/listen`: a recogniser that tells turns; its address and messages.
//!
//! Format: Deepgram's AsyncAPI of 2026-07 and Python SDK 7.16. Audio goes as BINARY, everything else is TEXT. The
//! transcript of a turn is told again and again, and is final with `EndOfTurn`; words may come without times.
//! Headers, errors of the upgrade and closes are those of [`deepgram`].

use serde::Deserialize;
use url::Url;

use super::stream_clock::StreamClock;
use super::{ErrorClass, StageError, SttEvent, Transcript, Word, deepgram};
use crate::config::SessionConfig;

/// Ends the stream; a last `EndOfTurn` and a close follow.
pub const CLOSE_STREAM: &str = r#"{"type":"CloseStream"}"#;
/// Asks for the end of the turn that is open.
pub const FORCE_END_TURN: &str = r#"{"type":"ForceEndTurn"}"#;

/// The websocket address for audio of `rate` Hz; holds no key.
///
/// # Errors
/// `Configuration` if the language is not one of Flux's or the base URL does not fit.
pub fn listen_url(config: &SessionConfig, rate: u32) -> Result<Url, StageError> {
    let wrong = |message: String| StageError::new(ErrorClass::Configuration, "bad_settings", message);
    let language =
        config.language.flux().ok_or_else(|| wrong(format!("Flux does not recognise {}.", config.language.name())))?;
    let model = match &config.flux.model {
        Some(model) => model.as_str(),
        None if language == "en" && !config.deepgram.multi => "flux-general-en",
        None => "flux-general-multi",
    };
    let mut url = Url::parse(&config.deepgram.base_url.websocket("/v2/listen"))
        .map_err(|_| wrong("deepgram.base_url is not a URL.".to_owned()))?;
    {
        let mut query = url.query_pairs_mut();
        query
            .append_pair("model", model)
            .append_pair("encoding", "linear16")
            .append_pair("sample_rate", &rate.to_string())
            .append_pair("eot_timeout_ms", &config.flux.eot_timeout.as_millis().to_string());
        for (name, value) in
            [("eot_threshold", config.flux.eot_threshold), ("eager_eot_threshold", config.flux.eager_eot_threshold)]
        {
            if let Some(value) = value {
                query.append_pair(name, &value.to_string());
            }
        }
        if model == "flux-general-multi" && !config.deepgram.multi {
            query.append_pair("language_hint", language);
        }
        for term in &config.deepgram.keyterms {
            query.append_pair("keyterm", term);
        }
        if config.deepgram.mip_opt_out {
            query.append_pair("mip_opt_out", "true");
        }
        if let Some(tag) = &config.deepgram.tag {
            query.append_pair("tag", tag);
        }
    }
    Ok(url)
}

/// What a turn's message tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum TurnEvent {
    /// The transcript has grown or changed.
    Update,
    /// Somebody began to speak.
    StartOfTurn,
    /// The turn is probably over; the transcript is what `EndOfTurn` will have, unless `TurnResumed` comes.
    EagerEndOfTurn,
    /// The turn goes on after all.
    TurnResumed,
    /// The turn is over; the transcript is final.
    EndOfTurn,
}

/// A message from the server.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// Ready for audio.
    Connected,
    /// Something about a turn.
    Turn(Turn),
    /// The server complains and closes.
    Error(StageError),
    /// An answer that needs nothing: to `Configure`, or a warning.
    Note,
    /// A message of a type that is not known here.
    Unknown,
    /// Not a message at all.
    Malformed,
}

/// A turn so far, in the connection's own time.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Turn {
    /// What happened.
    pub event: TurnEvent,
    /// Seconds into the stream at which the audio of the turn begins.
    #[serde(default)]
    pub audio_window_start: f64,
    /// Seconds into the stream up to which audio was heard.
    #[serde(default)]
    pub audio_window_end: f64,
    #[serde(default)]
    transcript: String,
    #[serde(default)]
    words: Vec<WireWord>,
    #[serde(default)]
    languages: Option<Vec<String>>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct WireWord {
    word: String,
    start: Option<f64>,
    end: Option<f64>,
    confidence: f32,
}

impl Turn {
    /// The event in session time; `None` where there is nothing to tell. Words that come without times are spread
    /// evenly over the turn: near enough to tell which of them were heard before.
    pub fn into_event(self, clock: &StreamClock) -> Option<SttEvent> {
        let (start, end) = clock.span(self.audio_window_start, self.audio_window_end);
        let timed = self.words.iter().all(|word| word.start.is_some() && word.end.is_some());
        let length = (self.audio_window_end - self.audio_window_start).max(0.0) / self.words.len().max(1) as f64;
        let place = |index: usize| self.audio_window_start + length * index as f64;
        let words = self.words.into_iter().enumerate().map(|(index, word)| {
            let (from, to) = match (word.start, word.end) {
                (Some(from), Some(to)) if timed => (from, to),
                _ => (place(index), place(index + 1)),
            };
            let (start, end) = clock.span(from, to);
            let confidence = if word.confidence.is_finite() { word.confidence.clamp(0.0, 1.0) } else { 0.0 };
            Word { text: word.word, start, end, confidence }
        });
        let language = self.languages.and_then(|languages| languages.into_iter().next());
        let transcript = Transcript { text: self.transcript, words: words.collect(), start, end, language };
        match self.event {
            TurnEvent::StartOfTurn => Some(SttEvent::SpeechStarted { at: start }),
            TurnEvent::EndOfTurn => Some(SttEvent::Final { transcript, speech_final: true }),
            _ if transcript.text.trim().is_empty() => None,
            TurnEvent::EagerEndOfTurn => Some(SttEvent::EagerEnd(transcript)),
            TurnEvent::TurnResumed => Some(SttEvent::Resumed(transcript)),
            TurnEvent::Update => Some(SttEvent::Interim(transcript)),
        }
    }
}

/// Reads a TEXT message.
pub fn parse(text: &str) -> Message {
    #[derive(Deserialize)]
    struct Kind<'a> {
        #[serde(rename = "type", borrow, default)]
        kind: std::borrow::Cow<'a, str>,
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct WireError {
        code: Option<String>,
        description: Option<String>,
        request_id: Option<String>,
    }
    let Ok(Kind { kind }) = serde_json::from_str::<Kind<'_>>(text) else {
        return Message::Malformed;
    };
    match &*kind {
        "Connected" => Message::Connected,
        "TurnInfo" => serde_json::from_str(text).map_or(Message::Malformed, Message::Turn),
        "ConfigureSuccess" | "ConfigureFailure" | "Warning" => Message::Note,
        "Error" => serde_json::from_str(text).map_or(Message::Malformed, |error: WireError| {
            let code = error.code.unwrap_or_else(|| "Error".to_owned());
            let class = match code.as_str() {
                "INTERNAL_SERVER_ERROR" | "INACTIVE_CLIENT" => ErrorClass::RetryNow,
                _ => deepgram::class_of_text(&format!("{code} {}", error.description.as_deref().unwrap_or_default())),
            };
            let said = error.description.unwrap_or_default();
            Message::Error(StageError::new(class, code, said).with_request_id(error.request_id.as_deref()))
        }),
        _ => Message::Unknown,
    }
}

#[cfg(test)]
#[path = "flux_tests.rs"]
mod tests;
