//! One TCP connection as the emulator sees it: can be broken in several ways, and knows when it idles.

mod io;
mod meter;

pub use io::Io;
pub use meter::Meter;

use crate::app::App;
use crate::echo::Told;
use crate::scenario::{Fault, FaultKind, Stage};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// What a request handler can do to its connection.
pub struct ConnCtl {
    app: Arc<App>,
    accepted_ms: u64,
    reset: AtomicBool,
    /// Fires when the connection must go at once.
    pub killed: Notify,
    keep_alive_ms: AtomicU64,
    in_flight: AtomicUsize,
    last: Mutex<Instant>,
    changed: Notify,
    orders: Mutex<Orders>,
    told: Mutex<Told>,
}

/// What the handler and the byte stream tell each other.
#[derive(Default)]
struct Orders {
    stage: Option<Stage>,
    /// Bytes carried before the stage was known.
    early: usize,
    /// To be carried out by the byte stream.
    fault: Option<Fault>,
    /// Raw bytes to send between two writes of the protocol.
    inject: Vec<u8>,
    /// The peer of a black hole has gone.
    ended: bool,
    waker: Option<Waker>,
}

impl ConnCtl {
    /// Control of a connection just accepted.
    pub fn new(app: Arc<App>) -> Arc<ConnCtl> {
        Arc::new(ConnCtl {
            accepted_ms: app.now_ms(),
            app,
            reset: AtomicBool::new(false),
            killed: Notify::new(),
            keep_alive_ms: AtomicU64::new(0),
            in_flight: AtomicUsize::new(0),
            last: Mutex::new(Instant::now()),
            changed: Notify::new(),
            orders: Mutex::default(),
            told: Mutex::default(),
        })
    }

    /// Notes or reads what the client said last; short use only.
    pub fn told<T>(&self, f: impl FnOnce(&mut Told) -> T) -> T {
        f(&mut self.told.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn orders(&self) -> MutexGuard<'_, Orders> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When the connection was accepted, by the emulator's clock.
    pub fn accepted_ms(&self) -> u64 {
        self.accepted_ms
    }

    /// Says which stage the connection serves; what it has carried so far counts too. Returns whether that is news.
    pub fn recognise(&self, stage: Stage) -> bool {
        let mut orders = self.orders();
        if orders.stage.is_some() {
            return false;
        }
        orders.stage = Some(stage);
        let due = {
            let mut meter = self.app.meter(stage);
            meter.add(orders.early);
            meter.due()
        };
        if let Some((fault, at)) = due {
            self.app.fired(&fault, at);
            orders.fault = Some(fault);
            wake(&mut orders);
        }
        true
    }

    /// Whether a byte fault was due in what came before the stage was known, and the request must not be answered.
    pub fn is_doomed(&self) -> bool {
        let orders = self.orders();
        orders.fault.as_ref().is_some_and(|f| match f.kind {
            FaultKind::Drip | FaultKind::HalfClose => false,
            FaultKind::Stall => f.ms == 0,
            _ => true,
        })
    }

    /// Has the byte stream carry out a fault of the transport.
    pub fn impose(&self, fault: &Fault) {
        let mut orders = self.orders();
        orders.fault = Some(fault.clone());
        wake(&mut orders);
    }

    /// Has raw bytes sent, at the next flush at the latest.
    pub fn inject(&self, bytes: &[u8]) {
        let mut orders = self.orders();
        orders.inject.extend_from_slice(bytes);
        wake(&mut orders);
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

    /// The peer of a black hole has gone.
    fn end(&self) {
        let mut orders = self.orders();
        orders.ended = true;
        wake(&mut orders);
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

fn wake(orders: &mut Orders) {
    if let Some(waker) = orders.waker.take() {
        waker.wake();
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
