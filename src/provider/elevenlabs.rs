//! ElevenLabs `multi-stream-input`: the synthesiser's address, messages and errors.
//!
//! Format: ElevenLabs' AsyncAPI and Python SDK 2.78. One connection speaks up to five texts at a
//! time, each in a context with a name; everything is TEXT, audio is base64 of s16le samples.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::Url;

use super::alignment::Aligned;
use super::error::{class_of_status, clean, header, sentence_of_status};
use super::{ErrorClass, StageError};
use crate::config::{Language, SessionConfig};

/// Most contexts the vendor takes at a time is 5; one is left free for one that is just closing.
pub const MAX_CONTEXTS: usize = 4;
/// Seconds without a text after which the vendor may close the connection; its maximum.
pub const INACTIVITY_S: u32 = 180;
/// Ends the connection.
pub const CLOSE_SOCKET: &str = r#"{"close_socket":true}"#;

/// The websocket address for speech in `target` at `rate` Hz; holds no key.
///
/// # Errors
/// `Configuration` if the language, voice or base URL does not fit.
pub fn stream_url(config: &SessionConfig, target: Language, rate: u32) -> Result<Url, StageError> {
    let wrong = |message: String| StageError::new(ErrorClass::Configuration, "bad_settings", message);
    let settings = &config.elevenlabs;
    let language = language_code(config, target)?;
    let mut url = Url::parse(&settings.base_url.websocket("/v1/text-to-speech"))
        .map_err(|_| wrong("elevenlabs.base_url is not a URL.".to_owned()))?;
    url.path_segments_mut()
        .map_err(|()| wrong("elevenlabs.base_url is not a URL.".to_owned()))?
        .push(&config.tts_voice)
        .push("multi-stream-input");
    {
        let mut query = url.query_pairs_mut();
        query.append_pair("model_id", &settings.model);
        if let Some(language) = language {
            query.append_pair("language_code", language);
        }
        query
            .append_pair("output_format", &format!("pcm_{rate}"))
            .append_pair("inactivity_timeout", &INACTIVITY_S.to_string())
            .append_pair("auto_mode", "true")
            .append_pair("enable_logging", if settings.enable_logging { "true" } else { "false" })
            .append_pair("enable_ssml_parsing", "false")
            .append_pair("sync_alignment", "true");
    }
    Ok(url)
}

/// `language_code`, where the model takes one.
///
/// # Errors
/// `Configuration` if ElevenLabs does not speak the language.
pub(super) fn language_code(config: &SessionConfig, target: Language) -> Result<Option<&'static str>, StageError> {
    let code = target.elevenlabs().ok_or_else(|| {
        let message = format!("ElevenLabs does not speak {}.", target.name());
        StageError::new(ErrorClass::Configuration, "bad_settings", message)
    })?;
    Ok(takes_language(&config.elevenlabs.model).then_some(code))
}

/// Whether a model takes `language_code`: those of version 2.5 and later do, others refuse it.
fn takes_language(model: &str) -> bool {
    let Some((_, version)) = model.rsplit_once("_v") else {
        return false;
    };
    let mut parts = version.split('_').map(|part| part.parse::<u32>().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) >= (2, 5)
}

/// The headers of the upgrade request; the key's is marked sensitive.
///
/// # Errors
/// `Configuration` if the key cannot stand in a header.
pub fn headers(config: &SessionConfig) -> Result<HeaderMap, StageError> {
    let mut key = HeaderValue::from_str(config.elevenlabs.api_key.expose())
        .map_err(|_| StageError::new(ErrorClass::Configuration, "bad_settings", "elevenlabs.api_key is not a key."))?;
    key.set_sensitive(true);
    Ok(HeaderMap::from_iter([(HeaderName::from_static("xi-api-key"), key)]))
}

#[derive(Serialize)]
pub(super) struct VoiceSettings {
    #[serde(skip_serializing_if = "Option::is_none")]
    stability: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    similarity_boost: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    speed: Option<f32>,
}

impl VoiceSettings {
    /// What is set, if anything is.
    pub(super) fn of(config: &SessionConfig) -> Option<Self> {
        let settings = &config.elevenlabs;
        let voice = VoiceSettings {
            stability: settings.stability,
            similarity_boost: settings.similarity_boost,
            speed: settings.speed,
        };
        let given = voice.stability.is_some() || voice.similarity_boost.is_some() || voice.speed.is_some();
        given.then_some(voice)
    }
}

#[derive(Default, Serialize)]
struct Out<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    context_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    voice_settings: Option<VoiceSettings>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    flush: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    close_context: bool,
}

impl Out<'_> {
    /// Serialising plain strings, flags and finite numbers cannot fail; an empty object would be refused by the vendor.
    fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|_| "{}".to_owned())
    }
}

/// Opens a context: exactly one space, and the voice's settings, which may be sent only once.
pub fn open_context(context: &str, config: &SessionConfig) -> String {
    Out { text: Some(" "), context_id: context, voice_settings: VoiceSettings::of(config), ..Out::default() }.json()
}

/// A whole, [speakable](super::text::speakable) text, to be generated at once; the vendor wants a space at its end.
pub fn say(context: &str, text: &str) -> String {
    Out { text: Some(&format!("{text} ")), context_id: context, flush: true, ..Out::default() }.json()
}

/// No more text for this context: what it has is spoken, and `isFinal` follows. Also cancels it.
pub fn close_context(context: &str) -> String {
    Out { context_id: context, close_context: true, ..Out::default() }.json()
}

/// A message from the server.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// Audio of a context (possibly none) and perhaps its end.
    Speech {
        /// Which context; `None` if the server did not say.
        context: Option<String>,
        /// s16le bytes; a sample may be split between two messages.
        audio: Vec<u8>,
        /// Which characters it speaks.
        aligned: Aligned,
        /// Nothing follows for this context.
        last: bool,
    },
    /// The server complains about a context, or about the connection.
    Error {
        /// Which context, if the server said so.
        context: Option<String>,
        /// What.
        error: StageError,
    },
    /// A message of a kind that is not known here.
    Unknown,
    /// Not a message at all.
    Malformed,
}

/// Reads a TEXT message.
pub fn parse(text: &str) -> Message {
    #[derive(Deserialize)]
    struct In<'a> {
        #[serde(borrow, default)]
        audio: Option<std::borrow::Cow<'a, str>>,
        #[serde(alias = "is_final", rename = "isFinal", default)]
        is_final: Option<bool>,
        #[serde(alias = "context_id", rename = "contextId", default)]
        context: Option<String>,
        #[serde(default)]
        alignment: Option<Value>,
        #[serde(default)]
        error: Option<Value>,
        #[serde(default)]
        message: Option<Value>,
        #[serde(default)]
        code: Option<Value>,
    }
    let Ok(message) = serde_json::from_str::<In<'_>>(text) else {
        return Message::Malformed;
    };
    if message.error.is_some() || (message.code.is_some() && message.message.is_some()) {
        let said = message.message.as_ref().and_then(Value::as_str).unwrap_or_default();
        let code = match (&message.error, &message.code) {
            (Some(Value::String(code)), _) | (_, Some(Value::String(code))) => code.clone(),
            (_, Some(Value::Number(code))) => code.to_string(),
            _ => "error".to_owned(),
        };
        let class = class_of_code(&code).or_else(|| class_in(said)).unwrap_or(ErrorClass::RetryNow);
        return Message::Error { context: message.context, error: StageError::new(class, code, said) };
    }
    let last = message.is_final == Some(true);
    match message.audio {
        Some(base64) => match STANDARD.decode(base64.as_bytes()) {
            Ok(audio) => Message::Speech {
                context: message.context,
                audio,
                aligned: Aligned::from_ms(message.alignment.as_ref()),
                last,
            },
            Err(_) => Message::Malformed,
        },
        None if last => Message::Speech { context: message.context, audio: Vec::new(), aligned: Aligned::None, last },
        None => Message::Unknown,
    }
}

/// Joins s16le bytes to samples over message borders. One for each context.
#[derive(Clone, Debug, Default)]
pub struct PcmJoiner {
    odd: Option<u8>,
}

impl PcmJoiner {
    /// The samples that are complete now; a byte left over waits for the next message.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<i16> {
        let mut samples = Vec::with_capacity(bytes.len() / 2 + 1);
        let mut rest = bytes;
        if let (Some(low), Some((high, tail))) = (self.odd, rest.split_first()) {
            samples.push(i16::from_le_bytes([low, *high]));
            self.odd = None;
            rest = tail;
        }
        let (pairs, odd) = rest.as_chunks::<2>();
        samples.extend(pairs.iter().map(|pair| i16::from_le_bytes(*pair)));
        if let [byte] = odd {
            self.odd = Some(*byte);
        }
        samples
    }
}

/// What a refused upgrade means; `detail` may be an object, a list or a string.
pub fn http_error(status: u16, headers: &HeaderMap, body: &[u8]) -> StageError {
    let parsed: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
    let detail = parsed.get("detail").unwrap_or(&parsed);
    let item = match detail {
        Value::Array(items) => items.first().unwrap_or(&Value::Null),
        other => other,
    };
    let text = |name: &str| item.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let code = text("code").or_else(|| text("status")).or_else(|| text("type"));
    let plain = match &parsed {
        Value::Null => clean(&String::from_utf8_lossy(body), 200),
        _ => String::new(),
    };
    let said = text("message").or_else(|| text("msg")).or_else(|| item.as_str());
    let said = said.or(Some(plain.as_str()).filter(|plain| !plain.is_empty()));
    let class = code.and_then(class_of_code).map(|class| with_pause(class, headers));
    let class = class.unwrap_or_else(|| match status {
        // The upgrade request is made from settings only.
        400 | 422 => ErrorClass::Configuration,
        status => class_of_status(status, headers),
    });
    let number = status.to_string();
    let id = text("request_id").or_else(|| header(headers, "request-id"));
    StageError::new(class, code.unwrap_or(&number), said.unwrap_or(sentence_of_status(status))).with_request_id(id)
}

/// What a close of the connection means.
pub fn close_error(code: Option<u16>, reason: &str) -> StageError {
    let Some(code) = code else {
        return StageError::new(ErrorClass::RetryNow, "closed", "The connection was lost.");
    };
    let class = class_in(reason).unwrap_or(match code {
        1012 | 1013 => ErrorClass::RetryLater(None),
        1002 | 1003 | 1007 | 1009 => ErrorClass::BadRequest,
        _ => ErrorClass::RetryNow,
    });
    let said = if reason.trim().is_empty() { "The provider closed the connection." } else { reason };
    StageError::new(class, code.to_string(), said)
}

fn with_pause(class: ErrorClass, headers: &HeaderMap) -> ErrorClass {
    match class {
        ErrorClass::RetryLater(None) => ErrorClass::RetryLater(super::error::retry_after(headers)),
        class => class,
    }
}

pub(super) fn class_of_code(code: &str) -> Option<ErrorClass> {
    Some(match code {
        "invalid_api_key"
        | "missing_permissions"
        | "model_access_denied"
        | "voice_not_found"
        | "voice_id_does_not_exist"
        | "detected_unusual_activity"
        | "invalid_authorization_header"
        | "model_not_found"
        | "invalid_parameters"
        | "subscription_required" => ErrorClass::Configuration,
        "quota_exceeded" => ErrorClass::ProviderOut,
        "too_many_concurrent_requests"
        | "system_busy"
        | "rate_limit_exceeded"
        | "concurrent_limit_exceeded"
        | "max_concurrent_requests" => ErrorClass::RetryLater(None),
        "input_timeout_exceeded" | "inactivity_timeout_exceeded" => ErrorClass::RetryNow,
        "max_character_limit_exceeded" | "invalid_input_message" | "text_too_long" => ErrorClass::BadRequest,
        _ => return None,
    })
}

/// The class of the first known code in a sentence.
fn class_in(text: &str) -> Option<ErrorClass> {
    text.split(|c: char| !(c.is_ascii_lowercase() || c == '_')).find_map(class_of_code)
}

#[cfg(test)]
#[path = "elevenlabs_tests.rs"]
mod tests;
