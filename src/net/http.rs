//! HTTP to the vendors: whole replies and streamed ones, each with deadlines and limits, and what the faults
//! on the way are called. Redirects are not followed (see `dialer`): a key goes to the configured host only.

use std::time::Duration;

use http::HeaderMap;
use tokio::time::{Instant, timeout_at};
use tokio_tungstenite::tungstenite::Bytes;

use super::transport::Refusal;
use crate::provider::error::header;
use crate::provider::{ErrorClass, StageError};

/// Code of the error for a connection that could not be made.
pub(super) const NOT_CONNECTED: &str = "connect";
/// Code of the error for a connection that broke under a request. A kept one may have been closed by the other
/// side at that very moment, so the same provider is worth another try over a new one.
pub(super) const BROKEN: &str = "connection";
/// Code of the error for a deadline that passed.
pub(super) const TIMEOUT: &str = "timeout";

/// Most of an error reply that is read, and how long that may take: its status is known by then.
const MOST_ERROR: usize = 16 << 10;
const ERROR_DEADLINE: Duration = Duration::from_secs(1);

/// The whole body of a reply with status 200, of at most `most` bytes.
///
/// Any other status is what `on_error` makes of it. Faults on the way are `RetryNow` with one of the codes above
/// or `reply_too_long`; `Configuration` if the certificate is refused. `parse` reads the body; the errors of all that
/// follows the head have the id of the header `id`, if there is one.
pub(super) async fn fetch<T>(
    request: reqwest::RequestBuilder,
    deadline: Instant,
    most: usize,
    (on_error, id): (Refusal, &str),
    parse: impl FnOnce(&[u8]) -> Result<T, StageError>,
) -> Result<T, StageError> {
    let mut reply = stream(request, deadline, Duration::ZERO, on_error).await?;
    let id = header(reply.headers(), id).map(str::to_owned);
    let read = async {
        let mut body = Vec::new();
        while let Some(piece) = reply.piece(deadline).await? {
            if body.len() + piece.len() > most {
                return Err(too_long());
            }
            body.extend_from_slice(&piece);
        }
        parse(&body)
    };
    read.await.map_err(|error| error.with_request_id(id.as_deref()))
}

/// Sends a request whose reply comes in pieces; gives it once its head with status 200 is there.
///
/// The head and the first piece must be there at `first_byte`, every other piece within `idle` of being asked for.
/// Errors as for [`fetch`].
pub(super) async fn stream(
    request: reqwest::RequestBuilder,
    first_byte: Instant,
    idle: Duration,
    on_error: Refusal,
) -> Result<Stream, StageError> {
    let mut reply = timeout_at(first_byte, request.send()).await.map_err(|_| late())?.map_err(|e| broken(&e))?;
    let status = reply.status().as_u16();
    if status == 200 {
        return Ok(Stream { reply, first_byte: Some(first_byte), idle });
    }
    let mut body = Vec::new();
    let reading = async {
        while let Ok(Some(piece)) = reply.chunk().await {
            body.extend_from_slice(&piece[..piece.len().min(MOST_ERROR - body.len())]);
            if body.len() == MOST_ERROR {
                return;
            }
        }
    };
    // What has come by then will do.
    let _ = timeout_at(first_byte.min(Instant::now() + ERROR_DEADLINE), reading).await;
    Err(on_error(status, reply.headers(), &body))
}

/// A reply with status 200 that is being read. Dropping it ends the request (and an HTTP/1.1 connection with it,
/// unless everything was read).
#[derive(Debug)]
pub(super) struct Stream {
    reply: reqwest::Response,
    /// The first piece is due then.
    first_byte: Option<Instant>,
    idle: Duration,
}

impl Stream {
    /// The reply's headers.
    pub(super) fn headers(&self) -> &HeaderMap {
        self.reply.headers()
    }

    /// The next piece of the body, never empty; `None` at its end. The reader bounds what it keeps.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, StageError> {
        let due = self.first_byte.unwrap_or_else(|| Instant::now() + self.idle);
        self.next_by(due).await
    }

    /// The same for a reader that bounds the time of the whole: the piece must be there at `latest` too.
    pub(super) async fn next_by(&mut self, latest: Instant) -> Result<Option<Bytes>, StageError> {
        let due = self.first_byte.unwrap_or_else(|| Instant::now() + self.idle).min(latest);
        let piece = self.piece(due).await?;
        self.first_byte = None;
        Ok(piece)
    }

    async fn piece(&mut self, due: Instant) -> Result<Option<Bytes>, StageError> {
        loop {
            match timeout_at(due, self.reply.chunk()).await.map_err(|_| late())?.map_err(|e| broken(&e))? {
                Some(piece) if piece.is_empty() => {}
                other => return Ok(other),
            }
        }
    }
}

/// Whether a connection broke under a request, so that a new one may do.
pub(super) fn is_broken(error: &StageError) -> bool {
    error.class == ErrorClass::RetryNow && error.code == BROKEN
}

/// For a deadline that has passed.
pub(super) fn late() -> StageError {
    StageError::new(ErrorClass::RetryNow, TIMEOUT, "The provider took too long.")
}

/// For a reply that is longer than anything that was asked for.
pub(super) fn too_long() -> StageError {
    StageError::new(ErrorClass::RetryNow, "reply_too_long", "The reply is too long.")
}

/// A fault on the way. The innermost reason is shown; URLs hold no secrets but are of no use here.
fn broken(error: &reqwest::Error) -> StageError {
    let mut reason: &dyn std::error::Error = error;
    while let Some(inner) = reason.source() {
        reason = inner;
    }
    let text = reason.to_string();
    // rustls' own error type is not to be had through reqwest in both TLS builds; its words are stable enough.
    let (class, code) = match error.is_connect() {
        true if text.contains("certificate") => (ErrorClass::Configuration, "tls"),
        true => (ErrorClass::RetryNow, NOT_CONNECTED),
        false => (ErrorClass::RetryNow, BROKEN),
    };
    StageError::new(class, code, format!("The connection failed: {text}"))
}
