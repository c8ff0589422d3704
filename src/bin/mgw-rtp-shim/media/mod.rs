//! The sound of the legs: ports, sockets, the clock thread, and the library's sessions behind them.
//!
//! ```text
//!  socket ─► rtp_leg (or audiosocket_leg) ─► voice ─► mgw session      all on the clock thread,
//!  socket ◄─ rtp_leg (or audiosocket_leg) ◄─ voice ◄─ mgw session      one turn in 20 ms
//! ```

mod audiosocket_leg;
pub mod clock;
mod figures;
mod leg;
mod ports;
mod rtcp_side;
mod rtp_leg;
mod udp;
mod voice;
mod watch;

use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crossbeam_channel::bounded;
use mgw::Gateway;
use mgw::config::Config;
use tokio::sync::mpsc;

use crate::settings::{Extension, Settings};
use clock::{Clock, Tick};
use figures::Figures;
pub use leg::{Leg, LegControl, LegEvent, Permit};
pub use ports::{Guard, Ports, Reserved};
pub use rtp_leg::Peer;
use voice::{Ends, Voice};
use watch::{Watch, Watching};

/// Events of a leg that may wait for whoever looks after it.
const EVENTS: usize = 64;
/// Digits that may wait to be sent to one phone.
const DIGITS: usize = 32;

/// Whose leg it is.
#[derive(Clone, Debug)]
pub struct Who {
    /// Session id in events and `/calls`; unique, such as the Asterisk channel's id.
    pub id: String,
    pub extension: Extension,
    pub room: String,
}

/// Why a leg cannot be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MediaError {
    /// As many legs as allowed, or no port left: the caller hears busy.
    Busy(String),
    /// Anything else, for people.
    Failed(String),
}

impl std::fmt::Display for MediaError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (MediaError::Busy(text) | MediaError::Failed(text)) = self;
        f.write_str(text)
    }
}

/// All media of one shim.
pub struct Media {
    gateway: Arc<Gateway>,
    clock: Arc<Clock>,
    ports: Ports,
    watch: Watch,
    _watching: Watching,
    legs: Arc<AtomicUsize>,
    max_legs: usize,
    next_leg: AtomicU64,
    jitter_ms: [u32; 2],
    drain: Duration,
    refused: AtomicU64,
}

impl Media {
    /// Starts the library and the clock thread.
    ///
    /// # Errors
    /// What the system or the library refuses.
    pub fn start(settings: &Settings) -> Result<Media, String> {
        let gateway = Arc::new(Gateway::new(&settings.library).map_err(|e| e.to_string())?);
        let watch = Watch::default();
        let watching = watch.start(gateway.clone()).map_err(|e| format!("no thread for events: {e}"))?;
        let clock = Clock::start().map_err(|e| format!("no clock thread: {e}"))?;
        Ok(Media {
            gateway,
            clock: Arc::new(clock),
            ports: Ports::new(settings.rtp.bind, settings.rtp.ports, settings.rtp.rtcp),
            watch,
            _watching: watching,
            legs: Arc::default(),
            max_legs: settings.max_legs,
            next_leg: AtomicU64::new(1),
            jitter_ms: settings.rtp.jitter_ms,
            drain: settings.drain,
            refused: AtomicU64::new(0),
        })
    }

    /// Lets one more leg in.
    ///
    /// # Errors
    /// Busy, when `max_legs` are there.
    pub fn admit(&self) -> Result<Permit, MediaError> {
        let more = |now| (now < self.max_legs).then_some(now + 1);
        match self.legs.fetch_update(Ordering::AcqRel, Ordering::Acquire, more) {
            Ok(_) => Ok(Permit::of(self.legs.clone())),
            Err(now) => {
                self.refused.fetch_add(1, Ordering::Relaxed);
                Err(MediaError::Busy(format!("{now} legs are open, as many as shim.max_legs allows")))
            }
        }
    }

    /// Binds a port: `preferred` if it is free, else one of the range.
    ///
    /// # Errors
    /// Busy when no port is free, failed when the system refuses.
    pub fn reserve(&self, preferred: Option<u16>) -> Result<Reserved, MediaError> {
        self.ports.reserve(preferred)
    }

    /// Opens a session and connects it to `peer`, the address that ARI named; silence is sent from now on.
    ///
    /// # Errors
    /// The library refuses the session, or there is no way to the peer.
    pub fn rtp_leg(
        &self,
        permit: Permit,
        port: Reserved,
        peer: SocketAddr,
        kind: Peer,
        who: Who,
    ) -> Result<Leg, MediaError> {
        let codec = who.extension.codec;
        let figures = Figures {
            format: codec.format(),
            peer: peer.to_string().into(),
            local_port: port.address.port(),
            ..Figures::default()
        };
        let port = port.connect(peer).map_err(|e| MediaError::Failed(format!("no way to {peer}: {e}")))?;
        let (jitter_ms, send) = (self.jitter_ms, who.extension.send);
        let rates = [codec.hz(), send.hz()];
        self.leg(permit, &who, rates, figures, |voice| {
            Box::new(rtp_leg::RtpLeg::new(voice, port, kind, codec, send, jitter_ms))
        })
    }

    /// Makes a leg of an AudioSocket connection that has said who it is. `rest` is what came behind its UUID.
    ///
    /// # Errors
    /// The library refuses the session, or the system the socket.
    pub fn audiosocket_leg(&self, permit: Permit, stream: TcpStream, rest: &[u8], who: Who) -> Result<Leg, MediaError> {
        let failed = |e: std::io::Error| MediaError::Failed(format!("AudioSocket connection: {e}"));
        let figures = Figures {
            format: "audiosocket",
            peer: stream.peer_addr().map_err(failed)?.to_string().into(),
            local_port: stream.local_addr().map_err(failed)?.port(),
            ..Figures::default()
        };
        stream.set_nonblocking(true).map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        self.leg(permit, &who, [audiosocket_leg::FIRST_HZ; 2], figures, |voice| {
            Box::new(audiosocket_leg::AudioSocketLeg::new(voice, stream, rest))
        })
    }

    fn leg(
        &self,
        permit: Permit,
        who: &Who,
        rates: [u32; 2],
        figures: Figures,
        make: impl FnOnce(Voice) -> Box<dyn Tick>,
    ) -> Result<Leg, MediaError> {
        let failed = |e: &dyn std::fmt::Display| MediaError::Failed(e.to_string());
        let mut options: Config = who.extension.options.clone();
        for (key, value) in
            [("id", who.id.as_str()), ("rate.in", &rates[0].to_string()), ("rate.out", &rates[1].to_string())]
        {
            options.set(key, value).map_err(|e| failed(&e))?;
        }
        let session = self.gateway.open_session(&who.extension.profile, &who.room, &options).map_err(|e| failed(&e))?;
        let published = Arc::new(Mutex::new(figures.clone()));
        let (tell, events) = mpsc::channel(EVENTS);
        let (digits, wanted) = bounded(DIGITS);
        let ends = Ends { published: published.clone(), events: tell, digits: wanted };
        let id = self.next_leg.fetch_add(1, Ordering::Relaxed);
        let leg = Leg {
            control: LegControl { session, published, digits },
            events,
            clock: self.clock.clone(),
            watch: self.watch.clone(),
            id,
            drain: self.drain,
            open: true,
            _permit: permit,
        };
        // From here on dropping the leg undoes everything.
        self.clock.add(id, make(Voice::new(session, rates, figures, ends))).map_err(|e| failed(&e))?;
        Ok(leg)
    }

    /// Metrics in Prometheus' text format: the library's, and the shim's own.
    pub fn metrics(&self) -> String {
        let mut text = self.gateway.metrics();
        let stats = &self.clock.stats;
        let load = |n: &AtomicU64| n.load(Ordering::Relaxed);
        let rows = [
            ("legs", "gauge", "Legs now, those that drain included.", self.legs.load(Ordering::Relaxed) as u64),
            ("legs_refused", "counter", "Legs refused for shim.max_legs.", load(&self.refused)),
            ("clock_legs", "gauge", "Legs that the clock thread serves.", load(&stats.legs)),
            ("clock_slots", "counter", "Slots of the clock thread that had legs.", load(&stats.slots)),
            ("clock_slots_late", "counter", "Slots that began more than 1 ms late.", load(&stats.late)),
            ("clock_panics", "counter", "Legs that ended by a panic.", load(&stats.panics)),
            ("clock_turns_skipped", "counter", "Turns of legs left out after a delay.", load(&stats.skipped)),
            ("strangers", "counter", "Packets from other addresses than a leg's peer.", self.ports.strangers()),
        ];
        crate::metrics::append(&mut text, "mgw_shim_", &rows);
        text
    }

    /// Whether the clock thread runs; without it nothing is heard or sent.
    pub fn is_alive(&self) -> bool {
        self.clock.is_alive()
    }

    /// Ends the library; what was said is still heard until the deadline by legs that go on.
    pub fn shutdown(&self, timeout: Duration) -> Result<(), String> {
        self.gateway.shutdown(timeout).map_err(|e| e.to_string())
    }
}
