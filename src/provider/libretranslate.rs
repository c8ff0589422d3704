//! LibreTranslate `/translate`: request, reply and errors.
//!
//! Format: `app.py` of LibreTranslate 1.9. Texts go as an array, so the reply has an array too.

use http::header::{CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderValue};
use serde::{Deserialize, Serialize};

use super::deepl::AGENT;
use super::error::{class_of_status, clean, header, sentence_of_status};
use super::{ErrorClass, StageError};
use crate::config::BaseUrl;
use crate::engine::TranslateJob;

/// Most texts and bytes of text put into one request: a server translates them one after the other, so more would
/// only make the first ones wait.
pub const MOST_TEXTS: usize = 16;
/// See [`MOST_TEXTS`].
pub const MOST_BYTES: usize = 8 * 1024;

/// Where texts are posted.
pub fn translate_url(base: &BaseUrl) -> String {
    base.http("/translate")
}

/// A request that costs nothing and opens the connection.
pub fn languages_url(base: &BaseUrl) -> String {
    base.http("/languages")
}

/// The headers of every request; the key stands in the body.
pub fn headers() -> HeaderMap {
    HeaderMap::from_iter([
        (USER_AGENT, HeaderValue::from_static(AGENT)),
        (CONTENT_TYPE, HeaderValue::from_static("application/json")),
    ])
}

/// The JSON body for jobs with the same languages and settings.
///
/// # Errors
/// `BadRequest` if there is no text.
pub fn body(jobs: &[&TranslateJob]) -> Result<Vec<u8>, StageError> {
    #[derive(Serialize)]
    struct Request<'a> {
        q: Vec<&'a str>,
        source: &'a str,
        target: &'a str,
        format: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        api_key: Option<&'a str>,
    }
    let bad = || StageError::new(ErrorClass::BadRequest, "bad_text", "There is no text that can be put into JSON.");
    let job = jobs.first().ok_or_else(bad)?;
    let request = Request {
        q: jobs.iter().map(|job| job.text.as_str()).collect(),
        source: job.source.libretranslate(),
        target: job.target.libretranslate(),
        format: "text",
        api_key: job.config.libretranslate.api_key.as_ref().map(|key| key.expose()),
    };
    serde_json::to_vec(&request).map_err(|_| bad())
}

/// Reads a reply with status 200 to a request of `texts` texts: as many translations, in their order.
///
/// # Errors
/// `RetryNow` if it is not what the server promises, or has more or fewer translations.
pub fn parse_reply(body: &[u8], texts: usize) -> Result<Vec<String>, StageError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Reply {
        translated_text: Translated,
    }
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Translated {
        Many(Vec<String>),
        One(String),
    }
    let wrong = |why| StageError::new(ErrorClass::RetryNow, "bad_reply", why);
    let reply: Reply =
        serde_json::from_slice(body).map_err(|_| wrong("The reply is not what LibreTranslate promises."))?;
    let translated = match reply.translated_text {
        Translated::Many(many) => many,
        Translated::One(one) => vec![one],
    };
    if translated.len() != texts {
        return Err(wrong("The reply does not have a translation for each text."));
    }
    Ok(translated)
}

/// What a status other than 200 means; bodies may be empty.
pub fn http_error(status: u16, headers: &HeaderMap, body: &[u8]) -> StageError {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Body {
        error: Option<String>,
    }
    let parsed: Body = serde_json::from_slice(body).unwrap_or_default();
    let said = parsed.error.map(|said| clean(&said, 200)).filter(|said| !said.is_empty());
    let says = |part: &str| said.as_deref().is_some_and(|said| said.contains(part));
    let (class, code) = match status {
        400 if says("is not available as a target language") || (says("is not supported") && !says("format")) => {
            (ErrorClass::Configuration, "language".to_owned())
        }
        // Somebody who goes on in spite of 429 is shut out for a time; it is not the key.
        403 if says("Too many request") => (ErrorClass::ProviderOut, "403".to_owned()),
        404 => (ErrorClass::Configuration, "404".to_owned()),
        status => (class_of_status(status, headers), status.to_string()),
    };
    StageError::new(class, code, said.as_deref().unwrap_or(sentence_of_status(status)))
        .with_request_id(header(headers, "x-request-id"))
}

#[cfg(test)]
#[path = "libretranslate_tests.rs"]
mod tests;
