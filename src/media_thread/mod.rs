//! A media thread: an absolute 10 ms clock that moves audio between the rings, the rooms' engines and the network.
//!
//! Rooms are spread over one or two of these; they alone run engines. Not tokio: its timers are 1.5 ms
//! late at the median, and TLS or JSON work must not delay a room. A panic inside a room rebuilds that
//! room's engine; the others never notice.

mod media;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Sender, bounded};
use serde_json::Value;

use self::media::Media;
use crate::config::{Language, SessionConfig};
use crate::engine::{LeaveMode, SessionId, Verb};
use crate::event_queue::{EventQueue, Names};
use crate::media_port::{EnginePort, Retired};
use crate::metrics::Metrics;
use crate::net;
use crate::recorder::Recorder;

/// The clock's period.
pub const PERIOD: Duration = Duration::from_millis(10);
/// Commands and network messages that may wait for the thread.
const QUEUE: usize = 8192;

/// What the host's threads ask of a media thread.
pub enum Command {
    /// A session enters a room of this thread.
    Join {
        /// Who.
        session: SessionId,
        /// Its names; the room is found by name.
        names: Names,
        /// Settings.
        config: Arc<SessionConfig>,
        /// The engine's half of its port.
        port: Box<EnginePort>,
    },
    /// A session leaves; its handle is stale already.
    Leave {
        /// Who.
        session: SessionId,
        /// How.
        mode: LeaveMode,
        /// The caller's half of its port, to be freed when no call is inside any more.
        retired: Retired,
    },
    /// New settings.
    Set(SessionId, Arc<SessionConfig>),
    /// Speak this text to the session.
    Say(SessionId, String, Language),
    /// A command.
    Do(SessionId, Verb),
    /// A DTMF digit.
    Dtmf(SessionId, char),
    /// Statistics, sent to the reply channel.
    Stats(SessionId, Sender<Value>),
    /// Take in nothing more that is said; answer when all that was said has been heard or reported.
    Quiet(Sender<()>),
    /// Panic inside the session's room at its next tick.
    #[cfg(feature = "fault-injection")]
    Panic(SessionId),
    /// Do nothing for so long.
    #[cfg(feature = "fault-injection")]
    Hang(Duration),
    /// End.
    Stop,
}

/// Takes the text of a session's latest trouble.
pub type OnTrouble = Box<dyn Fn(SessionId, &str) + Send + Sync>;

/// What all media threads of a gateway share with it.
pub struct Shared {
    /// Zero of gateway time.
    pub started: Instant,
    /// Where events go.
    pub events: EventQueue,
    /// Counters.
    pub metrics: Metrics,
    /// What is spent at vendors.
    pub meter: Arc<net::Meter>,
    /// Makes flight records, if they are wanted.
    pub recorder: Option<Recorder>,
    /// Called when a session is gone for good.
    pub on_gone: Box<dyn Fn(SessionId) + Send + Sync>,
    /// Called with the text of a session's latest trouble.
    pub on_trouble: OnTrouble,
    /// Rounds that began more than one period late.
    pub late_rounds: AtomicU64,
    /// Rounds.
    pub rounds: AtomicU64,
    /// Rooms now.
    pub rooms: AtomicU64,
}

/// A running media thread.
pub struct Handle {
    /// Where commands go.
    pub commands: Sender<Command>,
    thread: JoinHandle<()>,
}

impl Handle {
    /// Starts thread number `index`.
    ///
    /// # Errors
    /// The system refused a thread.
    pub fn start(
        index: usize,
        shared: Arc<Shared>,
        runtime: Arc<net::Runtime>,
        ca_file: Option<PathBuf>,
    ) -> io::Result<Handle> {
        let (commands, commands_rx) = bounded(QUEUE);
        let (net_tx, net_rx) = bounded(QUEUE);
        let thread = crate::sys::spawn_thread(&format!("mgw-media-{index}"), move || {
            crate::log::adopt();
            let port = net::Port::new(runtime, net_tx, ca_file, Arc::clone(&shared.meter));
            Media::new(index, shared, port).run(&commands_rx, &net_rx);
        })?;
        Ok(Handle { commands, thread })
    }

    /// Asks the thread to end and waits until `deadline`; false if it did not.
    pub fn stop(self, deadline: Instant) -> bool {
        let _ = self.commands.send_deadline(Command::Stop, deadline);
        while !self.thread.is_finished() {
            if Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        // A panic that reached the thread itself was logged where it happened.
        let _ = self.thread.join();
        true
    }
}
