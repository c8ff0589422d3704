//! One TCP connection as the emulator sees it: can be reset, and knows when it idles.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio_rustls::server::TlsStream;

/// What a request handler can do to its connection.
pub struct ConnCtl {
    reset: AtomicBool,
    /// Fires when the connection must go at once.
    pub killed: Notify,
    keep_alive_ms: AtomicU64,
    in_flight: AtomicUsize,
    last: Mutex<Instant>,
    changed: Notify,
}

impl ConnCtl {
    /// Control of a new connection.
    pub fn new() -> Arc<ConnCtl> {
        Arc::new(ConnCtl {
            reset: AtomicBool::new(false),
            killed: Notify::new(),
            keep_alive_ms: AtomicU64::new(0),
            in_flight: AtomicUsize::new(0),
            last: Mutex::new(Instant::now()),
            changed: Notify::new(),
        })
    }

    /// Ends the connection with a TCP reset; an upgraded one as soon as its handler lets go of it.
    pub fn reset(&self) {
        self.reset.store(true, Ordering::SeqCst);
        self.killed.notify_one();
    }

    /// Ends the connection without another byte.
    pub fn drop_now(&self) {
        self.killed.notify_one();
    }

    /// Marks a request in progress; after it the connection is closed when idle for `keep_alive_ms`.
    pub fn busy(self: &Arc<Self>, keep_alive_ms: u64) -> Busy {
        self.in_flight.fetch_add(1, Ordering::SeqCst);
        self.keep_alive_ms.store(keep_alive_ms, Ordering::SeqCst);
        Busy(self.clone())
    }

    /// Returns when the connection has idled for its keep-alive time.
    pub async fn idled(&self) {
        loop {
            let keep = Duration::from_millis(self.keep_alive_ms.load(Ordering::SeqCst));
            if keep.is_zero() || self.in_flight.load(Ordering::SeqCst) > 0 {
                self.changed.notified().await;
                continue;
            }
            let idle = self.last.lock().unwrap_or_else(PoisonError::into_inner).elapsed();
            if idle >= keep {
                return;
            }
            tokio::time::sleep(keep - idle).await;
        }
    }
}

/// A request in progress.
pub struct Busy(Arc<ConnCtl>);

impl Drop for Busy {
    fn drop(&mut self) {
        *self.0.last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.0.in_flight.fetch_sub(1, Ordering::SeqCst);
        self.0.changed.notify_one();
    }
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// The byte stream under HTTP.
pub struct Io {
    stream: Stream,
    ctl: Arc<ConnCtl>,
}

impl Io {
    /// Over plain TCP.
    pub fn plain(stream: TcpStream, ctl: Arc<ConnCtl>) -> Io {
        Io { stream: Stream::Plain(stream), ctl }
    }

    /// Over TLS.
    pub fn tls(stream: TlsStream<TcpStream>, ctl: Arc<ConnCtl>) -> Io {
        Io { stream: Stream::Tls(Box::new(stream)), ctl }
    }
}

impl Drop for Io {
    fn drop(&mut self) {
        if self.ctl.reset.load(Ordering::SeqCst) {
            let tcp = match &self.stream {
                Stream::Plain(tcp) => tcp,
                Stream::Tls(tls) => tls.get_ref().0,
            };
            // A close with zero linger sends RST; if it cannot be set the peer sees an ordinary end.
            let _ = tcp.set_zero_linger();
        }
    }
}

impl AsyncRead for Io {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(s) => Pin::new(s).poll_read(cx, buf),
            Stream::Tls(s) => Pin::new(s).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Io {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Plain(s) => Pin::new(s).poll_write(cx, buf),
            Stream::Tls(s) => Pin::new(s).poll_write(cx, buf),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(s) => Pin::new(s).poll_flush(cx),
            Stream::Tls(s) => Pin::new(s).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(s) => Pin::new(s).poll_shutdown(cx),
            Stream::Tls(s) => Pin::new(s).poll_shutdown(cx),
        }
    }
}
