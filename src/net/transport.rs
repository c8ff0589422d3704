//! Websockets to the vendors: connecting with deadlines and limits, sending with a deadline, and how
//! long to wait before the next attempt.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use http::HeaderMap;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::error::CapacityError;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};
use url::Url;

use super::accounts::random;
use super::tls::{Tls, TlsStream};
use crate::provider::{ErrorClass, StageError};

/// From the name look-up to the end of the upgrade.
pub(super) const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
/// One address of several may take this long before the next one is tried.
const ADDRESS_DEADLINE: Duration = Duration::from_secs(2);
/// A message that cannot be handed to the system for so long means that nobody reads.
const WRITE_DEADLINE: Duration = Duration::from_secs(2);
/// First and longest pause between attempts.
const BACKOFF_FIRST: Duration = Duration::from_millis(100);
const BACKOFF_MOST: Duration = Duration::from_secs(5);
/// Pause between attempts that only a person can help.
const BACKOFF_HOPELESS: Duration = Duration::from_secs(30);

/// A plain (loopback only, see `BaseUrl`) or an encrypted connection.
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream>),
}

pub(super) type Ws = WebSocketStream<Stream>;

/// How a vendor reads a refused upgrade: status, headers, body.
pub(super) type Refusal = fn(u16, &HeaderMap, &[u8]) -> StageError;

/// Small buffers (the defaults are 138 KiB per connection) and limits on what a peer may send.
fn limits() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(8 << 10)
        .write_buffer_size(8 << 10)
        .max_write_buffer_size(64 << 10)
        .max_message_size(Some(1 << 20))
        .max_frame_size(Some(256 << 10))
}

/// Opens a websocket; gives also the headers of the reply.
///
/// Errors: what `refusal` makes of a refused upgrade; `RetryNow` for anything on the way; `Configuration`
/// for a name or certificate that is wrong.
pub(super) async fn connect_ws(
    tls: &Tls,
    url: &Url,
    headers: HeaderMap,
    refusal: Refusal,
) -> Result<(Ws, HeaderMap), StageError> {
    let deadline = Instant::now() + CONNECT_DEADLINE;
    timeout_at(deadline, open(tls, url, headers, refusal)).await.unwrap_or_else(|_| {
        Err(StageError::new(ErrorClass::RetryNow, "connect_timeout", "The provider cannot be reached in time."))
    })
}

async fn open(tls: &Tls, url: &Url, headers: HeaderMap, refusal: Refusal) -> Result<(Ws, HeaderMap), StageError> {
    let bad_url = || StageError::new(ErrorClass::Configuration, "bad_url", "The base URL cannot be used.");
    let host = url.host_str().ok_or_else(bad_url)?;
    let port = url.port_or_known_default().ok_or_else(bad_url)?;
    let tcp = dial(host.trim_matches(['[', ']']), port).await.map_err(|error| {
        StageError::new(ErrorClass::RetryNow, "connect", format!("No connection to {host}: {error}"))
    })?;
    let stream = match url.scheme() {
        "wss" => Stream::Tls(Box::new(tls.connect(host, tcp).await?)),
        _ => Stream::Plain(tcp),
    };
    let mut request = url.as_str().into_client_request().map_err(|_| bad_url())?;
    request.headers_mut().extend(headers);
    match tokio_tungstenite::client_async_with_config(request, stream, Some(limits())).await {
        Ok((ws, response)) => Ok((ws, response.into_parts().0.headers)),
        Err(WsError::Http(response)) => {
            let (parts, body) = response.into_parts();
            Err(refusal(parts.status.as_u16(), &parts.headers, body.as_deref().unwrap_or_default()))
        }
        Err(error) => Err(ws_error(&error)),
    }
}

async fn dial(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    let addresses: Vec<SocketAddr> = tokio::net::lookup_host((host, port)).await?.take(8).collect();
    for address in addresses {
        match timeout(ADDRESS_DEADLINE, TcpStream::connect(address)).await {
            Ok(Ok(tcp)) => {
                tcp.set_nodelay(true)?;
                return Ok(tcp);
            }
            Ok(Err(error)) => last = error,
            Err(_) => last = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(last)
}

/// What a fault of the websocket itself means.
fn ws_error(error: &WsError) -> StageError {
    let (class, code) = match error {
        WsError::Capacity(CapacityError::MessageTooLong { .. }) => (ErrorClass::RetryNow, "message_too_long"),
        WsError::Protocol(_) | WsError::Utf8(_) | WsError::AttackAttempt => (ErrorClass::RetryNow, "protocol"),
        _ => (ErrorClass::RetryNow, "connection"),
    };
    StageError::new(class, code, format!("The connection failed: {error}"))
}

/// What came in.
pub(super) enum Received {
    /// A TEXT message.
    Text(tokio_tungstenite::tungstenite::Utf8Bytes),
    /// A BINARY message: no vendor sends such.
    Binary,
    /// Something else that shows that the peer lives.
    Other,
    /// The end, with the close code and reason if the peer gave one.
    Closed(Option<u16>, String),
    /// The end, by a fault.
    Failed(StageError),
}

/// The next message. May be dropped at any time without losing one.
pub(super) async fn receive(ws: &mut Ws) -> Received {
    match ws.next().await {
        Some(Ok(Message::Text(text))) => Received::Text(text),
        Some(Ok(Message::Close(frame))) => match frame {
            Some(frame) => Received::Closed(Some(frame.code.into()), frame.reason.to_string()),
            None => Received::Closed(None, String::new()),
        },
        Some(Ok(Message::Binary(_))) => Received::Binary,
        Some(Ok(_)) => Received::Other,
        Some(Err(WsError::ConnectionClosed | WsError::AlreadyClosed)) | None => Received::Closed(None, String::new()),
        Some(Err(error)) => Received::Failed(ws_error(&error)),
    }
}

/// Sends a message; the connection is of no use after an error.
pub(super) async fn send(ws: &mut Ws, message: Message) -> Result<(), StageError> {
    match timeout(WRITE_DEADLINE, ws.send(message)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(ws_error(&error)),
        Err(_) => Err(StageError::new(ErrorClass::RetryNow, "write_timeout", "The provider does not read.")),
    }
}

/// Says goodbye, without waiting long for an answer.
pub(super) async fn close(ws: &mut Ws) {
    let _ = timeout(Duration::from_millis(500), async {
        if ws.close(None).await.is_ok() {
            // The peer's close frame ends the stream; then both sides are done with TCP too.
            while let Some(Ok(_)) = ws.next().await {}
        }
    })
    .await;
}

/// How long to wait before the next attempt: nothing after a connection that was good, else 100 ms, doubling to 5 s, with jitter so that a thousand
/// sessions do not come back at the same moment.
pub(super) struct Backoff {
    attempts: u32,
    /// The connection before had been good: once there is no pause.
    good: bool,
    random: u64,
}

impl Backoff {
    /// The same seed gives the same pauses.
    pub(super) fn new(seed: u64) -> Self {
        Self { attempts: 0, good: false, random: seed ^ 0x9E37_79B9_7F4A_7C15 }
    }

    /// The connection proved good: begin again with short pauses.
    pub(super) fn reset(&mut self) {
        self.attempts = 0;
        self.good = true;
    }

    /// The pause after an error. A pause the provider named is kept, with up to a quarter more.
    pub(super) fn after(&mut self, error: &StageError) -> Duration {
        let jitter = random(&mut self.random);
        match error.class {
            ErrorClass::Configuration | ErrorClass::ProviderOut => BACKOFF_HOPELESS.mul_f64(1.0 + 0.1 * jitter),
            ErrorClass::RetryLater(Some(pause)) => {
                self.attempts += 1;
                pause.max(BACKOFF_FIRST).mul_f64(1.0 + 0.25 * jitter)
            }
            ErrorClass::RetryNow if std::mem::take(&mut self.good) => Duration::ZERO,
            _ => {
                let pause = BACKOFF_FIRST.saturating_mul(1 << self.attempts.min(10)).min(BACKOFF_MOST);
                self.attempts = self.attempts.saturating_add(1);
                pause.mul_f64(0.5 + 0.5 * jitter)
            }
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Self::Tls(tls) => Pin::new(tls).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_write(cx, buf),
            Self::Tls(tls) => Pin::new(tls).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Self::Tls(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Self::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(class: ErrorClass) -> StageError {
        StageError::new(class, "x", "x")
    }

    #[test]
    fn pauses_double_to_a_limit_and_begin_again() {
        let mut backoff = Backoff::new(7);
        let mut most = 0.1;
        for attempt in 0..12 {
            let pause = backoff.after(&error(ErrorClass::RetryNow)).as_secs_f64();
            assert!(pause >= most / 2.0 && pause <= most, "attempt {attempt}: {pause}");
            most = f64::min(most * 2.0, 5.0);
        }
        backoff.reset();
        assert_eq!(
            backoff.after(&error(ErrorClass::RetryNow)),
            Duration::ZERO,
            "a good connection is replaced at once"
        );
        assert!((1..=BACKOFF_FIRST.as_millis()).contains(&backoff.after(&error(ErrorClass::RetryNow)).as_millis()));
    }

    #[test]
    fn a_seed_gives_its_own_pauses() {
        let pauses = |seed| {
            let mut backoff = Backoff::new(seed);
            (0..5).map(|_| backoff.after(&error(ErrorClass::RetryNow))).collect::<Vec<_>>()
        };
        assert_eq!(pauses(1), pauses(1));
        assert_ne!(pauses(1), pauses(2));
    }

    #[test]
    fn a_named_pause_is_kept_and_hopeless_cases_wait_long() {
        for (class, least, most) in [
            (ErrorClass::RetryLater(Some(Duration::from_secs(7))), 7.0, 8.75),
            (ErrorClass::RetryLater(Some(Duration::ZERO)), 0.1, 0.125),
            (ErrorClass::RetryLater(None), 0.05, 0.1),
            (ErrorClass::Configuration, 30.0, 33.0),
            (ErrorClass::ProviderOut, 30.0, 33.0),
        ] {
            let pause = Backoff::new(3).after(&error(class)).as_secs_f64();
            assert!(pause >= least && pause <= most, "{class:?}: {pause}");
        }
    }
}
