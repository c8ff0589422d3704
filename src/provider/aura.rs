//! Deepgram Aura `/v1/speak` over HTTP: a request for each clause, its reply raw samples.
//!
//! Format: Deepgram's OpenAPI of 2026-07. Account, key and errors are those of [`deepgram`]. (The websocket
//! allows 20 flushes a minute, too few for clauses.)

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};
use url::Url;

use super::elevenlabs::PcmJoiner;
use super::error::header;
use super::{ErrorClass, StageError, deepgram};
use crate::config::{Language, SessionConfig, TtsProvider};

/// Most bytes of a clause's audio: two minutes at 48 kHz.
pub const MOST_AUDIO: usize = 12 << 20;

/// Where clauses in `target` are posted for speech at `rate` Hz; holds no key.
///
/// # Errors
/// `Configuration` if there is no voice for the language, or the rate or base URL does not fit.
pub fn speak_url(config: &SessionConfig, target: Language, rate: u32) -> Result<Url, StageError> {
    let wrong = |message: String| StageError::new(ErrorClass::Configuration, "bad_settings", message);
    let voice = config.aura.voice.as_deref().or_else(|| target.aura_voice());
    let voice = voice.ok_or_else(|| wrong(format!("Aura has no voice for {}; set aura.voice.", target.name())))?;
    if !TtsProvider::Aura.gives(rate) {
        return Err(wrong(format!("Aura does not give speech at {rate} Hz; change tts.sample_rate.")));
    }
    let mut url = Url::parse(&config.deepgram.base_url.http("/v1/speak"))
        .map_err(|_| wrong("deepgram.base_url is not a URL.".to_owned()))?;
    {
        let mut query = url.query_pairs_mut();
        query
            .append_pair("model", voice)
            .append_pair("encoding", "linear16")
            .append_pair("container", "none")
            .append_pair("sample_rate", &rate.to_string());
        if config.deepgram.mip_opt_out {
            query.append_pair("mip_opt_out", "true");
        }
        if let Some(tag) = &config.deepgram.tag {
            query.append_pair("tag", tag);
        }
    }
    Ok(url)
}

/// The headers of every request; the key's is marked sensitive.
///
/// # Errors
/// `Configuration` if the key cannot stand in a header.
pub fn headers(config: &SessionConfig) -> Result<HeaderMap, StageError> {
    let mut headers = deepgram::headers(config)?;
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(headers)
}

/// The JSON body for a clause of a [speakable](super::text::speakable) text.
pub fn body(clause: &str) -> Vec<u8> {
    serde_json::json!({ "text": clause.trim() }).to_string().into_bytes()
}

/// What a status other than 200 means.
pub fn http_error(status: u16, headers: &HeaderMap, body: &[u8]) -> StageError {
    let error = deepgram::http_error(status, headers, body);
    let says = |word: &str| format!("{} {}", error.code, error.message).to_ascii_lowercase().contains(word);
    let class = match status {
        // Unlike the recogniser's address a request carries a text, which may be what is wrong.
        400 | 422 if !says("query") && !says("model") => ErrorClass::BadRequest,
        404 => ErrorClass::Configuration,
        _ => error.class,
    };
    StageError { class, ..error }
}

/// Refuses a reply that is no audio, whatever its status.
///
/// # Errors
/// `RetryNow` with the request id.
pub fn check_reply(headers: &HeaderMap) -> Result<(), StageError> {
    let kind = header(headers, CONTENT_TYPE.as_str()).unwrap_or_default();
    if kind.is_empty() || kind.starts_with("audio/") || kind.starts_with("application/octet-stream") {
        return Ok(());
    }
    Err(StageError::new(ErrorClass::RetryNow, "bad_reply", "The reply is not audio.")
        .with_request_id(request_id(headers)))
}

/// The vendor's id of a request.
pub fn request_id(headers: &HeaderMap) -> Option<&str> {
    header(headers, deepgram::REQUEST_ID_HEADER)
}

/// The samples of a whole reply. A RIFF header, which would be heard as a click, is left out.
pub fn samples(body: &[u8]) -> Vec<i16> {
    PcmJoiner::default().push(without_header(body))
}

/// What follows the header of the chunk `data`, if there is a RIFF header at all (44 bytes where it is damaged).
fn without_header(body: &[u8]) -> &[u8] {
    if !(body.starts_with(b"RIFF") && body.get(8..12) == Some(b"WAVE")) {
        return body;
    }
    let mut at = 12;
    while let Some(head) = body.get(at..at + 8) {
        if head.starts_with(b"data") {
            return &body[at + 8..];
        }
        let size = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
        at = at.saturating_add(8).saturating_add(size).saturating_add(size % 2);
        if at > body.len() {
            break;
        }
    }
    body.get(44..).unwrap_or_default()
}

#[cfg(test)]
#[path = "aura_tests.rs"]
mod tests;
