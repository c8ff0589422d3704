//! The byte stream under HTTP, which counts what it carries and breaks where a fault says so.
//!
//! With TLS, the bytes inside are counted. A reset throws away what the kernel has not sent yet; on loopback that is
//! nothing as long as the client reads.

use super::ConnCtl;
use crate::scenario::{Fault, FaultKind, Stage};
use futures_util::FutureExt;
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};
use tokio_rustls::server::TlsStream;

/// How long the socket of an ended connection is kept for the peer to say goodbye.
const LINGER: Duration = Duration::from_secs(10);
/// How long a black hole stays open for a peer that never gives up.
const HOLE_CHECKS: u32 = 36_000;
const HOLE_CHECK: Duration = Duration::from_millis(100);

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    /// Ended, or somebody else's now.
    Gone,
}

impl Stream {
    fn tcp(&mut self) -> Option<&mut TcpStream> {
        match self {
            Stream::Plain(tcp) => Some(tcp),
            Stream::Tls(tls) => Some(tls.get_mut().0),
            Stream::Gone => None,
        }
    }

    fn into_tcp(self) -> Option<TcpStream> {
        match self {
            Stream::Plain(tcp) => Some(tcp),
            Stream::Tls(tls) => Some(tls.into_inner().0),
            Stream::Gone => None,
        }
    }
}

/// What is left of a connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Whole,
    /// Writes go nowhere.
    Mute,
    /// Nothing goes anywhere.
    Hole,
    /// Reads end, writes fail.
    Ended,
    /// Reads and writes fail.
    Reset,
}

/// See the module.
pub struct Io {
    stream: Stream,
    ctl: Arc<ConnCtl>,
    state: State,
    stage: Option<Stage>,
    /// Holds back everything until then.
    stall: Option<Pin<Box<Sleep>>>,
    /// Time between bytes, and how many are left.
    drip: Option<(Duration, u64)>,
    /// Holds back the next byte of a drip.
    drop_due: Option<Pin<Box<Sleep>>>,
    inject: Vec<u8>,
}

impl Io {
    fn new(stream: Stream, ctl: Arc<ConnCtl>) -> Io {
        let (state, inject) = (State::Whole, Vec::new());
        Io { stream, ctl, state, stage: None, stall: None, drip: None, drop_due: None, inject }
    }

    /// Over plain TCP.
    pub fn plain(stream: TcpStream, ctl: Arc<ConnCtl>) -> Io {
        Io::new(Stream::Plain(stream), ctl)
    }

    /// Over TLS.
    pub fn tls(stream: TlsStream<TcpStream>, ctl: Arc<ConnCtl>) -> Io {
        Io::new(Stream::Tls(Box::new(stream)), ctl)
    }

    /// Takes the handler's orders; ready when no stall holds the stream back.
    fn obey(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let fault = {
            let mut orders = self.ctl.orders();
            if !orders.waker.as_ref().is_some_and(|w| w.will_wake(cx.waker())) {
                orders.waker = Some(cx.waker().clone());
            }
            self.stage = orders.stage;
            self.inject.append(&mut orders.inject);
            if orders.ended && self.state == State::Hole {
                self.state = State::Ended;
            }
            orders.fault.take()
        };
        if let Some(fault) = fault {
            self.carry_out(&fault);
        }
        if let Some(stall) = &mut self.stall {
            ready!(stall.as_mut().poll(cx));
            self.stall = None;
        }
        Poll::Ready(())
    }

    fn carry_out(&mut self, fault: &Fault) {
        match fault.kind {
            FaultKind::Reset => {
                if let Some(tcp) = self.stream.tcp() {
                    // A close with zero linger sends RST; if it cannot be set the peer sees an ordinary end.
                    let _ = tcp.set_zero_linger();
                }
                self.stream = Stream::Gone;
                self.state = State::Reset;
            }
            FaultKind::Close | FaultKind::Fin => {
                self.shut();
                if let Some(tcp) = std::mem::replace(&mut self.stream, Stream::Gone).into_tcp() {
                    tokio::spawn(swallow(tcp));
                }
                self.state = State::Ended;
            }
            FaultKind::HalfClose => {
                self.shut();
                self.state = State::Mute;
            }
            FaultKind::Stall if fault.ms > 0 => {
                self.stall = Some(Box::pin(sleep(Duration::from_millis(fault.ms))));
            }
            FaultKind::Stall | FaultKind::BlackHole => {
                if let Some(tcp) = std::mem::replace(&mut self.stream, Stream::Gone).into_tcp() {
                    tokio::spawn(hold(tcp, self.ctl.clone()));
                }
                self.state = State::Hole;
            }
            FaultKind::Drip => {
                let bytes = if fault.bytes == 0 { u64::MAX } else { fault.bytes };
                self.drip = Some((Duration::from_millis(fault.ms), bytes));
            }
            // Faults of messages never come down here.
            FaultKind::Status
            | FaultKind::ErrorMessage
            | FaultKind::Garbage
            | FaultKind::Vendor
            | FaultKind::Hostile => {}
        }
    }

    /// Ends the writing side.
    fn shut(&mut self) {
        if let Some(tcp) = self.stream.tcp() {
            // An error means that the peer has gone already.
            let _ = Pin::new(tcp).poll_shutdown(&mut Context::from_waker(std::task::Waker::noop()));
        }
    }

    /// Carries bytes by `op`, which gets the most it may carry, and breaks the stream where a fault is due.
    fn metered(
        &mut self,
        cx: &mut Context<'_>,
        op: impl FnOnce(&mut Stream, &mut Context<'_>, usize) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let Some(stage) = self.stage else {
            let done = op(&mut self.stream, cx, usize::MAX);
            if let Poll::Ready(Ok(n)) = done {
                self.ctl.orders().early += n;
            }
            return done;
        };
        let app = self.ctl.app.clone();
        let mut done = Poll::Pending;
        let due = {
            let mut meter = app.meter(stage);
            let room = meter.room();
            if room > 0 {
                done = op(&mut self.stream, cx, room);
                if let Poll::Ready(Ok(n)) = done {
                    meter.add(n);
                }
            } else {
                // Another connection used up the room; the fault due there is taken here, then things go on.
                cx.waker().wake_by_ref();
            }
            meter.due()
        };
        if let Some((fault, at)) = due {
            app.fired(&fault, at);
            self.carry_out(&fault);
        }
        done
    }

    fn write_some(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.state {
            State::Whole => {}
            State::Mute | State::Hole => return Poll::Ready(Ok(bytes.len())),
            State::Ended | State::Reset => return Poll::Ready(Err(ErrorKind::BrokenPipe.into())),
        }
        if let Some(due) = &mut self.drop_due {
            ready!(due.as_mut().poll(cx));
            self.drop_due = None;
        }
        let most = if self.drip.is_some() { 1 } else { bytes.len() };
        let n = ready!(self.metered(cx, |stream, cx, room| {
            let part = &bytes[..most.min(room)];
            match stream {
                Stream::Plain(s) => Pin::new(s).poll_write(cx, part),
                Stream::Tls(s) => Pin::new(s).poll_write(cx, part),
                Stream::Gone => Poll::Ready(Err(ErrorKind::BrokenPipe.into())),
            }
        }))?;
        if let Some((wait, left)) = &mut self.drip {
            self.drop_due = Some(Box::pin(sleep(*wait)));
            *left -= 1;
            if *left == 0 {
                self.drip = None;
            }
        }
        Poll::Ready(Ok(n))
    }

    /// Sends what was injected.
    fn write_injected(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.inject.is_empty() {
            let bytes = std::mem::take(&mut self.inject);
            let done = self.write_some(cx, &bytes);
            self.inject = bytes;
            let n = ready!(done)?;
            self.inject.drain(..n);
        }
        Poll::Ready(Ok(()))
    }
}

/// Reads and forgets until the peer has ended too: unread data would turn the end into a reset.
async fn swallow(mut tcp: TcpStream) {
    let mut buffer = vec![0; 4096];
    let _ = tokio::time::timeout(LINGER, async { while matches!(tcp.read(&mut buffer).await, Ok(1..)) {} }).await;
}

/// Keeps a socket open, untouched, until its peer has gone.
async fn hold(tcp: TcpStream, ctl: Arc<ConnCtl>) {
    for _ in 0..HOLE_CHECKS {
        sleep(HOLE_CHECK).await;
        match tcp.ready(Interest::READABLE).now_or_never() {
            Some(Ok(ready)) if !ready.is_read_closed() => {}
            None => {}
            Some(_) => break,
        }
    }
    ctl.end();
}

impl Drop for Io {
    fn drop(&mut self) {
        if self.ctl.reset.load(Ordering::SeqCst)
            && let Some(tcp) = self.stream.tcp()
        {
            // See `carry_out`.
            let _ = tcp.set_zero_linger();
        }
    }
}

impl AsyncRead for Io {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.obey(cx));
        let _ = this.write_injected(cx)?;
        match this.state {
            State::Whole | State::Mute => {}
            State::Hole => return Poll::Pending,
            State::Ended => return Poll::Ready(Ok(())),
            State::Reset => return Poll::Ready(Err(ErrorKind::ConnectionReset.into())),
        }
        let done = this.metered(cx, |stream, cx, room| {
            let mut direct = |part: &mut ReadBuf<'_>| match stream {
                Stream::Plain(s) => Pin::new(s).poll_read(cx, part),
                Stream::Tls(s) => Pin::new(&mut **s).poll_read(cx, part),
                Stream::Gone => Poll::Ready(Ok(())),
            };
            let before = buf.filled().len();
            if room >= buf.remaining() {
                ready!(direct(buf))?;
            } else {
                let mut part = vec![0; room];
                let mut part = ReadBuf::new(&mut part);
                ready!(direct(&mut part))?;
                buf.put_slice(part.filled());
            }
            Poll::Ready(Ok(buf.filled().len() - before))
        });
        done.map_ok(|_| ())
    }
}

impl AsyncWrite for Io {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.obey(cx));
        ready!(this.write_injected(cx))?;
        this.write_some(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.obey(cx));
        ready!(this.write_injected(cx))?;
        match &mut this.stream {
            Stream::Plain(s) => Pin::new(s).poll_flush(cx),
            Stream::Tls(s) => Pin::new(s).poll_flush(cx),
            Stream::Gone => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Plain(s) => Pin::new(s).poll_shutdown(cx),
            Stream::Tls(s) => Pin::new(s).poll_shutdown(cx),
            Stream::Gone => Poll::Ready(Ok(())),
        }
    }
}
