//! What translation asks of each vendor over HTTP.

use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};

use super::http::{fetch, late, stream};
use super::transport::Refusal;
use crate::config::{MtProvider, SessionConfig};
use crate::engine::TranslateJob;
use crate::provider::error::header;
use crate::provider::openai_stream::Reader;
use crate::provider::{ErrorClass, StageError, deepl, libretranslate, openai};

/// Largest reply read; DeepL takes at most 128 KiB of text.
const MOST_REPLY: usize = 1 << 20;
/// The name of no header: the vendor gives its requests no id.
const NO_ID: &str = "";
/// Longest wait for the end of a streamed reply that has said it is complete, so that its connection can be kept.
const TAIL: Duration = Duration::from_millis(20);

/// Most texts, and most bytes of text, that go together to a provider.
pub(super) fn limits(provider: MtProvider) -> (usize, usize) {
    match provider {
        MtProvider::Deepl => (deepl::MOST_TEXTS, deepl::MOST_BYTES),
        // A model that gets several texts mixes them up.
        MtProvider::Openai => (1, usize::MAX),
        MtProvider::Libretranslate => (libretranslate::MOST_TEXTS, libretranslate::MOST_BYTES),
    }
}

/// Asks for the translations of texts that go together (see [`limits`]); as many and in the same order.
pub(super) async fn ask(
    client: &reqwest::Client,
    provider: MtProvider,
    config: &SessionConfig,
    jobs: &[&TranslateJob],
    deadline: Instant,
) -> Result<Vec<String>, StageError> {
    match provider {
        MtProvider::Deepl => {
            let (headers, body) = (deepl::headers(config)?, deepl::body(jobs)?);
            let request = client.post(deepl::translate_url(&config.deepl.base_url)).headers(headers).body(body);
            let how = (deepl::http_error as Refusal, deepl::REQUEST_ID_HEADER);
            fetch(request, deadline, MOST_REPLY, how, |body| deepl::parse_reply(body, jobs.len())).await
        }
        MtProvider::Libretranslate => {
            let url = libretranslate::translate_url(&config.libretranslate.base_url);
            let request = client.post(url).headers(libretranslate::headers()).body(libretranslate::body(jobs)?);
            let how = (libretranslate::http_error as Refusal, NO_ID);
            fetch(request, deadline, MOST_REPLY, how, |body| libretranslate::parse_reply(body, jobs.len())).await
        }
        MtProvider::Openai => {
            let (headers, [job]) = (openai::headers(&config.openai)?, jobs) else {
                return Err(StageError::new(ErrorClass::BadRequest, "413", "A model gets one text at a time."));
            };
            let url = openai::completions_url(&config.openai.base_url);
            let request = client.post(url).headers(headers).body(openai::body(job)?);
            Ok(vec![complete(request, deadline).await?])
        }
    }
}

/// A translation that comes in pieces; all of it is due at `deadline`.
async fn complete(request: reqwest::RequestBuilder, deadline: Instant) -> Result<String, StageError> {
    let left = deadline.saturating_duration_since(Instant::now());
    let mut reply = stream(request, deadline, left, openai::http_error).await?;
    let request_id = header(reply.headers(), "x-request-id").map(str::to_owned);
    let read = async {
        let mut reader = Reader::default();
        while !reader.is_done() {
            match timeout_at(deadline, reply.next()).await.map_err(|_| late())?? {
                Some(piece) => reader.push(&piece)?,
                None => break,
            }
        }
        if reader.is_done() {
            let _ = timeout(TAIL, reply.next()).await;
        }
        reader.finish()
    };
    read.await.map_err(|error: StageError| error.with_request_id(request_id.as_deref()))
}

/// A request that costs nothing: it opens a connection and shows whether the provider is there, takes the key and,
/// where it can be told, has anything left. A server that does not know this request is there, too.
///
/// With `quota`, whether there is anything left is what is asked for: where nothing else tells, a completion of one
/// token is asked for.
pub(super) async fn greet(
    client: &reqwest::Client,
    provider: MtProvider,
    config: &SessionConfig,
    quota: bool,
    deadline: Instant,
) -> Result<(), StageError> {
    let (request, refusal): (_, Refusal) = match provider {
        MtProvider::Deepl => (
            client.get(deepl::usage_url(&config.deepl.base_url)).headers(deepl::headers(config)?),
            |status, headers, body| unknown(status).unwrap_or_else(|| deepl::http_error(status, headers, body)),
        ),
        MtProvider::Openai if quota => (
            client
                .post(openai::completions_url(&config.openai.base_url))
                .headers(openai::headers(&config.openai)?)
                .body(openai::smallest(&config.openai)),
            openai::http_error,
        ),
        MtProvider::Openai => (
            client.get(openai::models_url(&config.openai.base_url)).headers(openai::headers(&config.openai)?),
            |status, headers, body| unknown(status).unwrap_or_else(|| openai::http_error(status, headers, body)),
        ),
        MtProvider::Libretranslate => (
            client
                .get(libretranslate::languages_url(&config.libretranslate.base_url))
                .headers(libretranslate::headers()),
            |status, headers, body| {
                unknown(status).unwrap_or_else(|| libretranslate::http_error(status, headers, body))
            },
        ),
    };
    let id = match provider {
        MtProvider::Deepl => deepl::REQUEST_ID_HEADER,
        MtProvider::Openai => "x-request-id",
        MtProvider::Libretranslate => NO_ID,
    };
    let check = |body: &[u8]| match provider {
        MtProvider::Deepl => deepl::check_usage(body),
        MtProvider::Openai | MtProvider::Libretranslate => Ok(()),
    };
    match fetch(request, deadline, MOST_REPLY, (refusal, id), check).await {
        Ok(()) => Ok(()),
        Err(error) if error.class == ErrorClass::BadRequest => Ok(()),
        Err(error) => Err(error),
    }
}

/// Servers that are merely compatible may not know a request that only looks.
fn unknown(status: u16) -> Option<StageError> {
    matches!(status, 404 | 405 | 501)
        .then(|| StageError::new(ErrorClass::BadRequest, "unknown", "There is no such request."))
}
