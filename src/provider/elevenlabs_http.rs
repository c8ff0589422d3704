//! ElevenLabs `/v1/text-to-speech/{voice}/stream/with-timestamps`: a request for each text, its reply in lines of JSON.
//!
//! Format: ElevenLabs' OpenAPI of 2025-08. Account, key and errors are those of [`elevenlabs`].

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::Url;

use super::alignment::Aligned;
use super::elevenlabs::{self, VoiceSettings};
use super::{ErrorClass, StageError};
use crate::config::{Language, SessionConfig};

/// Longest line read: more than a minute of speech at 24 kHz.
const MOST_LINE: usize = 4 << 20;

/// Where texts are posted for speech at `rate` Hz; holds no key.
///
/// # Errors
/// `Configuration` if the voice or base URL does not fit.
pub fn stream_url(config: &SessionConfig, rate: u32) -> Result<Url, StageError> {
    let wrong = || StageError::new(ErrorClass::Configuration, "bad_settings", "elevenlabs.base_url is not a URL.");
    let mut url = Url::parse(&config.elevenlabs.base_url.http("/v1/text-to-speech")).map_err(|_| wrong())?;
    url.path_segments_mut().map_err(|()| wrong())?.push(&config.tts_voice).push("stream").push("with-timestamps");
    url.query_pairs_mut()
        .append_pair("output_format", &format!("pcm_{rate}"))
        .append_pair("enable_logging", if config.elevenlabs.enable_logging { "true" } else { "false" });
    Ok(url)
}

/// The headers of every request; the key's is marked sensitive.
///
/// # Errors
/// `Configuration` if the key cannot stand in a header.
pub fn headers(config: &SessionConfig) -> Result<HeaderMap, StageError> {
    let mut headers = elevenlabs::headers(config)?;
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(headers)
}

/// The JSON body for a [speakable](super::text::speakable) text.
///
/// # Errors
/// `Configuration` if ElevenLabs does not speak the language.
pub fn body(config: &SessionConfig, target: Language, text: &str) -> Result<Vec<u8>, StageError> {
    #[derive(Serialize)]
    struct Body<'a> {
        text: &'a str,
        model_id: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        language_code: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        voice_settings: Option<VoiceSettings>,
    }
    let body = Body {
        text,
        model_id: &config.elevenlabs.model,
        language_code: elevenlabs::language_code(config, target)?,
        voice_settings: VoiceSettings::of(config),
    };
    serde_json::to_vec(&body)
        .map_err(|_| StageError::new(ErrorClass::BadRequest, "bad_text", "The text cannot be put into JSON."))
}

/// What a status other than 200 means. Unlike an upgrade a request carries a text, which may be what is wrong.
pub fn http_error(status: u16, headers: &HeaderMap, body: &[u8]) -> StageError {
    let error = elevenlabs::http_error(status, headers, body);
    match (status, elevenlabs::class_of_code(&error.code)) {
        (400 | 422, None) => StageError { class: ErrorClass::BadRequest, ..error },
        _ => error,
    }
}

/// A line of the reply.
#[derive(Clone, Debug, PartialEq)]
pub enum Line {
    /// Some audio.
    Speech {
        /// s16le bytes; a sample may be split between two lines.
        audio: Vec<u8>,
        /// Which characters it speaks.
        aligned: Aligned,
    },
    /// The vendor gives the text up in the middle.
    Error(StageError),
    /// A line of a kind that is not known here.
    Unknown,
    /// Not JSON, or not base64.
    Malformed,
}

/// Reads a line.
pub fn parse_line(line: &[u8]) -> Line {
    #[derive(Deserialize)]
    struct In {
        #[serde(default)]
        audio_base64: Option<String>,
        #[serde(default)]
        alignment: Option<Value>,
        #[serde(default)]
        detail: Option<Value>,
    }
    let Ok(message) = serde_json::from_slice::<In>(line) else {
        return Line::Malformed;
    };
    if message.detail.is_some() {
        let error = http_error(0, &HeaderMap::new(), line);
        let class = elevenlabs::class_of_code(&error.code).unwrap_or(ErrorClass::RetryNow);
        return Line::Error(StageError { class, ..error });
    }
    match message.audio_base64.map(|audio| STANDARD.decode(audio)) {
        Some(Ok(audio)) => Line::Speech { audio, aligned: Aligned::from_seconds(message.alignment.as_ref()) },
        Some(Err(_)) => Line::Malformed,
        None => Line::Unknown,
    }
}

/// Cuts a body that comes in pieces into lines, of which it keeps at most `MOST_LINE` bytes.
#[derive(Clone, Debug, Default)]
pub struct Lines {
    rest: Vec<u8>,
}

impl Lines {
    /// The lines that are complete now, without blank ones; the rest waits for the next piece.
    ///
    /// # Errors
    /// `RetryNow` if a line is too long.
    pub fn push(&mut self, piece: &[u8]) -> Result<Vec<Vec<u8>>, StageError> {
        let mut lines = Vec::new();
        let mut left = piece;
        while let Some(end) = left.iter().position(|byte| *byte == b'\n') {
            self.rest.extend_from_slice(&left[..end]);
            left = &left[end + 1..];
            lines.push(std::mem::take(&mut self.rest));
        }
        self.rest.extend_from_slice(left);
        if self.rest.len() > MOST_LINE || lines.iter().any(|line| line.len() > MOST_LINE) {
            return Err(StageError::new(ErrorClass::RetryNow, "message_too_long", "A line of the reply is too long."));
        }
        lines.retain(|line| !line.trim_ascii().is_empty());
        Ok(lines)
    }

    /// What is left when the body has ended: a last line without its end.
    pub fn finish(&mut self) -> Option<Vec<u8>> {
        Some(std::mem::take(&mut self.rest)).filter(|line| !line.trim_ascii().is_empty())
    }
}

#[cfg(test)]
#[path = "elevenlabs_http_tests.rs"]
mod tests;
