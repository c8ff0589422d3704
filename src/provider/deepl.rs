//! DeepL `/v2/translate`: the translator's request, reply and errors.
//!
//! Format: DeepL's OpenAPI of 2026-06. The texts of a request are segments that were waiting together, in their
//! order, with what the same speaker said before the first of them as context (not translated, not billed).

use http::header::{AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderValue};
use serde::{Deserialize, Serialize};

use super::error::{class_of_status, clean, header, sentence_of_status};
use super::{ErrorClass, StageError, context};
use crate::config::{BaseUrl, DeeplFormality, DeeplModelType, DeeplRegion, SessionConfig};
use crate::engine::TranslateJob;

/// The header of a reply that names the request for the vendor's support.
pub const REQUEST_ID_HEADER: &str = "x-trace-id";
/// DeepL refuses a body of more than 128 KiB; context is left out to stay well below.
const MAX_BODY: usize = 120 * 1024;
/// Most context sent, in bytes.
const MAX_CONTEXT: usize = 8 * 1024;
/// Most texts that DeepL takes in one request.
pub const MOST_TEXTS: usize = 50;
/// Most bytes of text put into one request of several texts; leaves room for the context and for escapes.
pub const MOST_BYTES: usize = 32 * 1024;
/// What `User-Agent` says; DeepL answers 400 without one.
pub const AGENT: &str = concat!("mgw/", env!("CARGO_PKG_VERSION"));

/// The base URL of a region and a key: free keys (`…:fx`) have a host of their own.
pub fn base_url(region: DeeplRegion, key: &str) -> &'static str {
    region.base_url(key.ends_with(":fx"))
}

/// Where texts are posted.
pub fn translate_url(base: &BaseUrl) -> String {
    base.http("/v2/translate")
}

/// A request that costs nothing: it opens the connection and shows whether the key is good.
pub fn usage_url(base: &BaseUrl) -> String {
    base.http("/v2/usage")
}

/// The headers of every request; the key's is marked sensitive.
///
/// # Errors
/// `Configuration` if the key cannot stand in a header.
pub fn headers(config: &SessionConfig) -> Result<HeaderMap, StageError> {
    let mut key = HeaderValue::from_str(&format!("DeepL-Auth-Key {}", config.deepl.api_key.expose()))
        .map_err(|_| StageError::new(ErrorClass::Configuration, "bad_settings", "deepl.api_key is not a key."))?;
    key.set_sensitive(true);
    Ok(HeaderMap::from_iter([
        (AUTHORIZATION, key),
        (USER_AGENT, HeaderValue::from_static(AGENT)),
        (CONTENT_TYPE, HeaderValue::from_static("application/json")),
    ]))
}

const QUOTA: &str = "The quota of the billing period is used up.";

#[derive(Serialize)]
struct Request<'a> {
    text: Vec<&'a str>,
    source_lang: &'a str,
    target_lang: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    context: &'a str,
    split_sentences: &'static str,
    preserve_formatting: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    formality: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    model_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    glossary_id: Option<&'a str>,
}

/// The JSON body for jobs with the same languages and settings, at most [`MOST_TEXTS`]; the context is the first one's.
///
/// # Errors
/// `Configuration` with the code `language` if DeepL does not know one; `BadRequest` if there is no text, or the texts are too long
/// for one request (code `413`: fewer of them may do).
pub fn body(jobs: &[&TranslateJob]) -> Result<Vec<u8>, StageError> {
    let Some(job) = jobs.first() else {
        return Err(StageError::new(ErrorClass::BadRequest, "bad_text", "There is no text to translate."));
    };
    let unknown = |stage: &str, name: &str| {
        StageError::new(ErrorClass::Configuration, "language", format!("DeepL does not translate {stage} {name}."))
    };
    let settings = &job.config.deepl;
    let context = context::newest(&job.context, settings.context_segments, MAX_CONTEXT).join(" ");
    let mut request = Request {
        text: jobs.iter().map(|job| job.text.as_str()).collect(),
        source_lang: job.source.deepl_source().ok_or_else(|| unknown("from", job.source.name()))?,
        target_lang: job.target.deepl_target().ok_or_else(|| unknown("into", job.target.name()))?,
        context: &context,
        split_sentences: "0",
        preserve_formatting: true,
        formality: match settings.formality {
            DeeplFormality::Default => None,
            other => Some(other.as_str()),
        },
        model_type: match settings.model_type {
            DeeplModelType::Default => None,
            other => Some(other.as_str()),
        },
        glossary_id: settings.glossary_id.as_deref(),
    };
    let encode = |request: &Request<'_>| {
        serde_json::to_vec(request)
            .map_err(|_| StageError::new(ErrorClass::BadRequest, "bad_text", "The text cannot be put into JSON."))
    };
    let mut bytes = encode(&request)?;
    if bytes.len() > MAX_BODY {
        request.context = "";
        bytes = encode(&request)?;
    }
    if bytes.len() > MAX_BODY || jobs.len() > MOST_TEXTS {
        return Err(StageError::new(ErrorClass::BadRequest, "413", "The text is too long for one request."));
    }
    Ok(bytes)
}

/// Reads a reply with status 200 to a request of `texts` texts: as many translations, in their order.
///
/// # Errors
/// `RetryNow` if it is not what the vendor promises, or has more or fewer translations.
pub fn parse_reply(body: &[u8], texts: usize) -> Result<Vec<String>, StageError> {
    #[derive(Deserialize)]
    struct Reply {
        translations: Vec<Translation>,
    }
    #[derive(Deserialize)]
    struct Translation {
        text: String,
    }
    let wrong = |why| StageError::new(ErrorClass::RetryNow, "bad_reply", why);
    let reply: Reply = serde_json::from_slice(body).map_err(|_| wrong("The reply is not what DeepL promises."))?;
    if reply.translations.len() != texts {
        return Err(wrong("The reply does not have a translation for each text."));
    }
    Ok(reply.translations.into_iter().map(|translation| translation.text).collect())
}

/// Reads a reply of `/v2/usage`: whether there is anything left to translate with. A reply that cannot be read
/// says nothing against it.
///
/// # Errors
/// `ProviderOut` with the code `456`, as a text would be answered now.
pub fn check_usage(body: &[u8]) -> Result<(), StageError> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Usage {
        character_count: Option<u64>,
        character_limit: Option<u64>,
        api_key_character_count: Option<u64>,
        api_key_character_limit: Option<u64>,
    }
    let usage: Usage = serde_json::from_slice(body).unwrap_or_default();
    let used_up =
        |count: Option<u64>, limit: Option<u64>| count.zip(limit).is_some_and(|(count, limit)| count >= limit);
    if used_up(usage.character_count, usage.character_limit)
        || used_up(usage.api_key_character_count, usage.api_key_character_limit)
    {
        return Err(StageError::new(ErrorClass::ProviderOut, "456", QUOTA));
    }
    Ok(())
}

/// What a status other than 200 means; bodies may be empty.
pub fn http_error(status: u16, headers: &HeaderMap, body: &[u8]) -> StageError {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Body {
        message: Option<String>,
        detail: Option<String>,
    }
    let parsed: Body = serde_json::from_slice(body).unwrap_or_default();
    let class = match status {
        456 => ErrorClass::ProviderOut,
        404 => ErrorClass::Configuration,
        status => class_of_status(status, headers),
    };
    let said = parsed.message.or(parsed.detail).map(|said| clean(&said, 200)).filter(|said| !said.is_empty());
    let fallback = match status {
        456 => QUOTA,
        status => sentence_of_status(status),
    };
    StageError::new(class, status.to_string(), said.as_deref().unwrap_or(fallback))
        .with_request_id(header(headers, REQUEST_ID_HEADER))
}

#[cfg(test)]
#[path = "deepl_tests.rs"]
mod tests;
