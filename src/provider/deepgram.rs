//! Deepgram `/v1/listen`: the streaming recogniser's address, messages and errors.
//!
//! Format: developers.deepgram.com (live streaming, AsyncAPI of 2026-07). Audio goes as BINARY
//! messages of signed 16-bit little-endian samples, everything else as TEXT.

use std::time::Duration;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use serde::Deserialize;
use url::Url;

use super::error::{class_of_status, clean, header, sentence_of_status};
use super::stream_clock::StreamClock;
use super::{ErrorClass, StageError, SttEvent, Transcript, Word};
use crate::config::{DeepgramConfig, SessionConfig};

/// Keeps a connection open without audio; must be TEXT.
pub const KEEP_ALIVE: &str = r#"{"type":"KeepAlive"}"#;
/// Asks for the results of everything sent so far.
pub const FINALIZE: &str = r#"{"type":"Finalize"}"#;
/// Ends the stream; the last results, `Metadata` and a close follow.
pub const CLOSE_STREAM: &str = r#"{"type":"CloseStream"}"#;
/// With `language=multi` the vendor advises this.
const MULTI_ENDPOINTING: Duration = Duration::from_millis(100);
/// Header of every reply to the upgrade, for the vendor's support.
pub const REQUEST_ID_HEADER: &str = "dg-request-id";

/// The websocket address for audio of `rate` Hz; holds no key.
///
/// # Errors
/// `Configuration` if the language is not one of Deepgram's or the base URL does not fit.
pub fn listen_url(config: &SessionConfig, rate: u32) -> Result<Url, StageError> {
    let deepgram = &config.deepgram;
    let wrong = |message: String| StageError::new(ErrorClass::Configuration, "bad_settings", message);
    let language = config
        .language
        .deepgram()
        .ok_or_else(|| wrong(format!("Deepgram does not recognise {}.", config.language.name())))?;
    let mut url = Url::parse(&deepgram.base_url.websocket("/v1/listen"))
        .map_err(|_| wrong("deepgram.base_url is not a URL.".to_owned()))?;
    // The vendor advises a short endpointing where languages change in mid-sentence.
    let endpointing = if deepgram.multi { deepgram.endpointing.min(MULTI_ENDPOINTING) } else { deepgram.endpointing };
    {
        let mut query = url.query_pairs_mut();
        query
            .append_pair("model", &deepgram.model)
            .append_pair("language", if deepgram.multi { "multi" } else { language })
            .append_pair("encoding", "linear16")
            .append_pair("sample_rate", &rate.to_string())
            .append_pair("channels", "1")
            .append_pair("interim_results", "true")
            .append_pair("endpointing", &endpointing.as_millis().to_string())
            .append_pair("utterance_end_ms", &deepgram.utterance_end.as_millis().to_string())
            .append_pair("vad_events", "true")
            .append_pair("smart_format", flag(deepgram.smart_format))
            .append_pair("punctuate", "true");
        if deepgram.no_delay {
            query.append_pair("no_delay", "true");
        }
        // Models before nova-3 know the older `keywords` only and refuse `keyterm`.
        let keyterm = if takes_keyterm(deepgram) { "keyterm" } else { "keywords" };
        for term in &deepgram.keyterms {
            query.append_pair(keyterm, term);
        }
        if deepgram.mip_opt_out {
            query.append_pair("mip_opt_out", "true");
        }
        if let Some(tag) = &deepgram.tag {
            query.append_pair("tag", tag);
        }
    }
    Ok(url)
}

/// The headers of the upgrade request; the key's is marked sensitive.
///
/// # Errors
/// `Configuration` if the key cannot stand in a header.
pub fn headers(config: &SessionConfig) -> Result<HeaderMap, StageError> {
    let mut value = HeaderValue::from_str(&format!("Token {}", config.deepgram.api_key.expose()))
        .map_err(|_| StageError::new(ErrorClass::Configuration, "bad_settings", "deepgram.api_key is not a key."))?;
    value.set_sensitive(true);
    Ok(HeaderMap::from_iter([(AUTHORIZATION, value)]))
}

/// A message from the server.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// Text of a span.
    Results(Results),
    /// Everything was processed; the close follows.
    Metadata {
        /// Seconds of audio that were processed.
        duration: f64,
    },
    /// A gap between words ended the utterance.
    UtteranceEnd {
        /// Seconds into the stream.
        last_word_end: f64,
    },
    /// Somebody began to speak.
    SpeechStarted {
        /// Seconds into the stream.
        timestamp: f64,
    },
    /// The server complains; a close may follow.
    Error(StageError),
    /// A message of a type that is not known here.
    Unknown,
    /// Not a message at all.
    Malformed,
}

/// Text of a span, in the connection's own time.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Results {
    /// Seconds into the stream.
    #[serde(default)]
    pub start: f64,
    /// Seconds.
    #[serde(default)]
    pub duration: f64,
    /// The span will not change any more.
    #[serde(default)]
    pub is_final: bool,
    /// The endpointer saw the end of the utterance.
    #[serde(default)]
    pub speech_final: bool,
    /// What was recognised: a result without it is none.
    channel: Channel,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Channel {
    alternatives: Vec<Alternative>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Alternative {
    transcript: String,
    languages: Option<Vec<String>>,
    words: Vec<WireWord>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct WireWord {
    word: String,
    punctuated_word: Option<String>,
    start: f64,
    end: f64,
    confidence: f32,
}

impl Results {
    /// The event in session time. `None` for an interim without text: it says nothing.
    /// A final without text is an answer all the same (a span of silence) and is kept.
    pub fn into_event(self, clock: &StreamClock) -> Option<SttEvent> {
        let (start, end) = clock.span(self.start, self.start + self.duration);
        let best = self.channel.alternatives.into_iter().next().unwrap_or_default();
        if !self.is_final && best.transcript.trim().is_empty() {
            return None;
        }
        let words = best
            .words
            .into_iter()
            .map(|word| {
                let (start, end) = clock.span(word.start, word.end);
                let confidence = if word.confidence.is_finite() { word.confidence.clamp(0.0, 1.0) } else { 0.0 };
                Word { text: word.punctuated_word.unwrap_or(word.word), start, end, confidence }
            })
            .collect();
        let language = best.languages.and_then(|languages| languages.into_iter().next());
        let transcript = Transcript { text: best.transcript, words, start, end, language };
        Some(match self.is_final {
            true => SttEvent::Final { transcript, speech_final: self.speech_final },
            false => SttEvent::Interim(transcript),
        })
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WireError {
    variant: Option<String>,
    code: Option<String>,
    description: Option<String>,
    message: Option<String>,
    request_id: Option<String>,
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
    struct Times {
        duration: f64,
        last_word_end: f64,
        timestamp: f64,
    }
    fn read<'a, T: Deserialize<'a>>(text: &'a str, then: impl FnOnce(T) -> Message) -> Message {
        serde_json::from_str(text).map_or(Message::Malformed, then)
    }
    let Ok(Kind { kind }) = serde_json::from_str::<Kind<'_>>(text) else {
        return Message::Malformed;
    };
    match &*kind {
        "Results" => read(text, Message::Results),
        "Metadata" => read(text, |times: Times| Message::Metadata { duration: times.duration }),
        "UtteranceEnd" => read(text, |times: Times| Message::UtteranceEnd { last_word_end: times.last_word_end }),
        "SpeechStarted" => read(text, |times: Times| Message::SpeechStarted { timestamp: times.timestamp }),
        "Error" => read(text, |error: WireError| {
            let code = error.code.or(error.variant).unwrap_or_else(|| "Error".to_owned());
            let said = error.description.or(error.message).unwrap_or_default();
            let class = if net_token(&code).is_some() || net_token(&said).is_some() {
                class_of_text(&format!("{code} {said}"))
            } else {
                ErrorClass::BadRequest
            };
            Message::Error(StageError::new(class, code, said).with_request_id(error.request_id.as_deref()))
        }),
        _ => Message::Unknown,
    }
}

/// What a refused upgrade means. All three shapes of body are read, and the `dg-error` header.
pub fn http_error(status: u16, headers: &HeaderMap, body: &[u8]) -> StageError {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Body {
        err_code: Option<String>,
        err_msg: Option<String>,
        category: Option<String>,
        message: Option<String>,
        details: Option<String>,
        request_id: Option<String>,
    }
    let parsed: Option<Body> = serde_json::from_slice(body).ok();
    let plain = match parsed {
        Some(_) => String::new(),
        None => clean(&String::from_utf8_lossy(body), 200),
    };
    let body = parsed.unwrap_or_default();
    let code = body.err_code.or(body.category).unwrap_or_else(|| status.to_string());
    let said = body.err_msg.or_else(|| match (body.message, body.details) {
        (Some(message), Some(details)) => Some(format!("{message} {details}")),
        (message, details) => message.or(details),
    });
    let said = said
        .filter(|said| !said.trim().is_empty())
        .or_else(|| header(headers, "dg-error").map(str::to_owned))
        .or(Some(plain).filter(|plain| !plain.is_empty()))
        .unwrap_or_else(|| sentence_of_status(status).to_owned());
    let class = match status {
        // The query is made from settings only, so nothing but settings can be wrong with it.
        400 | 422 => ErrorClass::Configuration,
        status => class_of_status(status, headers),
    };
    let id = header(headers, REQUEST_ID_HEADER).map(str::to_owned).or(body.request_id);
    StageError::new(class, code, said).with_request_id(id.as_deref())
}

/// What a close of the connection means; `code` such as `1011 NET-0001`.
pub fn close_error(code: Option<u16>, reason: &str) -> StageError {
    let Some(code) = code else {
        return StageError::new(ErrorClass::RetryNow, "closed", "The connection was lost.");
    };
    let class = match code {
        1008 | 1002 | 1003 | 1007 | 1009 => ErrorClass::BadRequest,
        1012 | 1013 => ErrorClass::RetryLater(None),
        _ => ErrorClass::RetryNow,
    };
    let name = net_token(reason).map_or_else(|| code.to_string(), |token| format!("{code} {token}"));
    let said = if reason.trim().is_empty() { "The provider closed the connection." } else { reason };
    StageError::new(class, name, said)
}

/// The class of the vendor's own error token in a text.
pub(super) fn class_of_text(text: &str) -> ErrorClass {
    match net_token(text) {
        Some(token) if token.starts_with("NET") => ErrorClass::RetryNow,
        _ => ErrorClass::BadRequest,
    }
}

/// The vendor's own error token in a text: capital letters, a hyphen, four digits (`NET-0001`).
fn net_token(text: &str) -> Option<&str> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-')).find(|word| {
        word.split_once('-').is_some_and(|(letters, digits)| {
            !letters.is_empty()
                && letters.bytes().all(|b| b.is_ascii_uppercase())
                && digits.len() == 4
                && digits.bytes().all(|b| b.is_ascii_digit())
        })
    })
}

fn takes_keyterm(config: &DeepgramConfig) -> bool {
    !["nova-2", "enhanced", "base"].iter().any(|old| config.model.starts_with(old))
        && config.model != "nova"
        && !["nova-general", "nova-phonecall", "nova-medical"].contains(&config.model.as_str())
}

fn flag(on: bool) -> &'static str {
    if on { "true" } else { "false" }
}

#[cfg(test)]
#[path = "deepgram_tests.rs"]
mod tests;
