//! The safe facade: a [`Gateway`] with its threads, and [`session`]s by handle. `ffi/` wraps it one to one.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use once_cell::sync::Lazy;

use crate::config::{Config, ConfigError, ErrorKind, GatewayConfig, SessionConfig};
use crate::engine::{LeaveMode, SessionId};
use crate::event_queue::{EventQueue, Names, NextEvent};
use crate::media_port;
use crate::media_thread::{Command, Handle, Shared};
use crate::metrics::Metrics;
use crate::net;
use crate::recorder::Recorder;
use crate::status::Status;

/// A refusal: the code of the C ABI and a sentence that says what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// The code.
    pub status: Status,
    /// The sentence; never holds a secret.
    pub message: String,
}

impl Error {
    /// A refusal with the code's own text.
    pub fn plain(status: Status) -> Self {
        Error { status, message: status.text().to_owned() }
    }

    pub(crate) fn new(status: Status, message: impl Into<String>) -> Self {
        Error { status, message: message.into() }
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl From<ConfigError> for Error {
    fn from(e: ConfigError) -> Self {
        let status = match e.kind {
            ErrorKind::UnknownKey => Status::ErrUnknownKey,
            ErrorKind::UnknownProfile => Status::ErrUnknownProfile,
            ErrorKind::BadValue => Status::ErrBadValue,
            ErrorKind::WrongPlace | ErrorKind::Missing | ErrorKind::Unsupported => Status::ErrConfig,
            ErrorKind::NotLive => Status::ErrNotLive,
            ErrorKind::Syntax => Status::ErrSyntax,
            ErrorKind::File => Status::ErrFile,
        };
        Error { status, message: e.to_string() }
    }
}

/// Sockets of a session in a call: a recogniser's, a synthesiser's, one of either that takes over, and a share of the
/// kept HTTP connections.
const DESCRIPTORS_PER_SESSION: u64 = 4;
/// What the process and the library need besides.
const DESCRIPTORS_BESIDES: u64 = 64;

/// Warns of a limit that calls would run into: a refused socket is a call without translation.
fn check_descriptors(max_sessions: usize) {
    let needed = max_sessions as u64 * DESCRIPTORS_PER_SESSION + DESCRIPTORS_BESIDES;
    if let Some(limit) = crate::sys::fd_limit().filter(|limit| *limit < needed) {
        tracing::warn!(
            limit,
            needed,
            max_sessions,
            "this process may open fewer descriptors than max_sessions may need; raise LimitNOFILE (ulimit -n) or lower max_sessions"
        );
    }
}

/// A session as the control functions know it.
struct Entry {
    commands: Sender<Command>,
    config: Arc<SessionConfig>,
    trouble: Option<String>,
    gateway: u64,
}

/// Open sessions of all gateways. Not for the real-time edge, which has its own table.
static SESSIONS: Lazy<Mutex<HashMap<SessionId, Entry>>> = Lazy::new(Mutex::default);
static GATEWAYS: AtomicU64 = AtomicU64::new(1);

fn sessions() -> MutexGuard<'static, HashMap<SessionId, Entry>> {
    // Entries are put in and taken out whole, so a panic elsewhere leaves nothing half-done.
    SESSIONS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sessions that still exist, those whose last words are on their way included.
#[derive(Default)]
struct Alive {
    count: Mutex<usize>,
    changed: Condvar,
}

impl Alive {
    fn lock(&self) -> MutexGuard<'_, usize> {
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running instance: threads, rooms, one queue of events.
pub struct Gateway {
    number: u64,
    config: Mutex<Config>,
    limits: Mutex<GatewayConfig>,
    shared: Arc<Shared>,
    alive: Arc<Alive>,
    threads: Mutex<Vec<Handle>>,
    runtime: Mutex<Option<Arc<net::Runtime>>>,
    shut: AtomicBool,
    unnamed: AtomicUsize,
    spread: RandomState,
}

impl Gateway {
    /// Starts the threads of a gateway.
    ///
    /// # Errors
    /// A contradictory configuration, or the system refuses threads, memory or descriptors.
    pub fn new(config: &Config) -> Result<Gateway, Error> {
        let limits = config.gateway()?;
        let resources = |what: &'static str| {
            move |e: std::io::Error| Error::new(Status::ErrResources, format!("{what}: {e}; raise the limits"))
        };
        let events = EventQueue::new(limits.events_capacity).map_err(resources("no descriptor for events"))?;
        let recorder = Recorder::start(&limits.recorder).map_err(|e| {
            let why = format!("recorder.folder: flight records cannot be made there: {e}");
            Error::new(Status::ErrConfig, why)
        })?;
        let alive = Arc::new(Alive::default());
        let on_gone = {
            let alive = alive.clone();
            move |session: SessionId| {
                sessions().remove(&session);
                let mut count = alive.lock();
                *count = count.saturating_sub(1);
                alive.changed.notify_all();
            }
        };
        let shared = Arc::new(Shared {
            started: Instant::now(),
            events,
            metrics: Metrics::default(),
            meter: Arc::new(net::Meter::new(limits.budget)),
            recorder,
            on_gone: Box::new(on_gone),
            on_trouble: Box::new(|session, text| {
                if let Some(entry) = sessions().get_mut(&session) {
                    entry.trouble = Some(text.to_owned());
                }
            }),
            late_rounds: AtomicU64::new(0),
            rounds: AtomicU64::new(0),
            rooms: AtomicU64::new(0),
        });
        let runtime = net::Runtime::acquire(limits.net_threads).map_err(resources("no network threads"))?;
        let gateway = Gateway {
            number: GATEWAYS.fetch_add(1, Ordering::Relaxed),
            config: Mutex::new(config.clone()),
            limits: Mutex::new(limits.clone()),
            shared,
            alive,
            threads: Mutex::default(),
            runtime: Mutex::new(Some(runtime.clone())),
            shut: AtomicBool::new(false),
            unnamed: AtomicUsize::new(0),
            spread: RandomState::new(),
        };
        check_descriptors(limits.max_sessions);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let count = if limits.media_threads == 0 { cores.min(2) } else { limits.media_threads };
        for index in 0..count {
            let handle = Handle::start(index, gateway.shared.clone(), runtime.clone(), limits.tls_ca_file.clone())
                .map_err(resources("no media thread"))?;
            lock(&gateway.threads).push(handle);
        }
        Ok(gateway)
    }

    /// Takes another configuration for sessions opened from now on; rooms live on.
    ///
    /// # Errors
    /// The gateway was shut down, or the configuration contradicts itself.
    pub fn configure(&self, config: &Config) -> Result<(), Error> {
        self.check_open()?;
        let limits = config.gateway()?;
        lock(&self.limits).max_sessions = limits.max_sessions;
        *lock(&self.config) = config.clone();
        Ok(())
    }

    /// Opens a session from `profile` in the room of this name; without a name in a room of its own.
    ///
    /// # Errors
    /// Shut down, too many sessions, unknown profile, a setting missing or contradictory.
    pub fn open_session(&self, profile: &str, room: &str, options: &Config) -> Result<SessionId, Error> {
        self.check_open()?;
        // Environment variables are read here, on the host's own control thread, and nowhere else.
        let config = lock(&self.config).session(profile, options, &|name| std::env::var(name).ok())?;
        let config = Arc::new(config);
        let room = if room.is_empty() {
            format!("~{}", self.unnamed.fetch_add(1, Ordering::Relaxed))
        } else {
            room.to_owned()
        };
        let max = lock(&self.limits).max_sessions;
        {
            let mut count = self.alive.lock();
            if *count >= max {
                return Err(Error::new(
                    Status::ErrLimit,
                    format!("{max} sessions are open, as many as max_sessions allows"),
                ));
            }
            *count += 1;
        }
        let give_back = |e: Error| {
            let mut count = self.alive.lock();
            *count = count.saturating_sub(1);
            e
        };
        let Some((session, port)) = media_port::open(config.rate_in, config.rate_out) else {
            return Err(give_back(Error::plain(Status::ErrLimit)));
        };
        let commands = {
            let threads = lock(&self.threads);
            let mut hasher = self.spread.build_hasher();
            hasher.write(room.as_bytes());
            threads.get((hasher.finish() % threads.len().max(1) as u64) as usize).map(|t| t.commands.clone())
        };
        let Some(commands) = commands else { return Err(give_back(Error::plain(Status::ErrShutdown))) };
        let names = Names { id: config.id.clone().unwrap_or_default(), room, profile: config.profile.clone() };
        let entry = Entry { commands: commands.clone(), config: config.clone(), trouble: None, gateway: self.number };
        if commands.try_send(Command::Join { session, names, config, port: Box::new(port) }).is_err() {
            if let Some(retired) = media_port::retire(session, false) {
                // Nobody else knows the handle yet, so no call can be inside.
                let _ = retired.try_free();
            }
            return Err(give_back(self.check_open().err().unwrap_or_else(|| Error::plain(Status::ErrAgain))));
        }
        // Known to others only now, so that no `Leave` can overtake the `Join`.
        sessions().insert(session, entry);
        // A shutdown that began meanwhile may have missed this one.
        if let Err(e) = self.check_open() {
            close(session, LeaveMode::Now, true);
            return Err(e);
        }
        Ok(session)
    }

    /// Ends everything: what was said is still heard by those who go on pulling, until the deadline (none: at once);
    /// then sessions are closed and threads joined. What is pushed meanwhile is ignored.
    ///
    /// # Errors
    /// [`Status::ErrTimeout`] if something had to be ended by force; it is ended all the same.
    pub fn shutdown(&self, timeout: Duration) -> Result<(), Error> {
        if self.shut.swap(true, Ordering::SeqCst) {
            return Ok(());
        }
        let deadline = Instant::now() + timeout;
        let mode = if timeout.is_zero() { LeaveMode::Now } else { LeaveMode::Drain };
        let said = timeout.is_zero() || self.let_last_words_be_heard(deadline);
        let mine: Vec<SessionId> =
            sessions().iter().filter(|(_, e)| e.gateway == self.number).map(|(id, _)| *id).collect();
        for session in mine {
            close(session, mode, true);
        }
        let mut drained = said;
        {
            let mut count = self.alive.lock();
            while *count > 0 {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    drained = false;
                    break;
                }
                count = self.alive.changed.wait_timeout(count, left).unwrap_or_else(PoisonError::into_inner).0;
            }
        }
        // What follows is quick unless a thread hangs; it gets a little time of its own.
        let hard = deadline.max(Instant::now()) + Duration::from_secs(2);
        let threads = std::mem::take(&mut *lock(&self.threads));
        let mut stopped = true;
        for thread in threads {
            stopped &= thread.stop(hard);
        }
        // Behind the media threads, whose last lines it writes.
        stopped &= self.shared.recorder.as_ref().is_none_or(|recorder| recorder.stop(hard));
        let released = match lock(&self.runtime).take() {
            Some(runtime) => net::Runtime::release(runtime, hard.saturating_duration_since(Instant::now())),
            None => true,
        };
        if (drained || timeout.is_zero()) && stopped && released {
            return Ok(());
        }
        Err(Error::plain(Status::ErrTimeout))
    }

    /// Waits until nothing that was said is on its way any more; false at the deadline.
    fn let_last_words_be_heard(&self, deadline: Instant) -> bool {
        let threads: Vec<_> = lock(&self.threads).iter().map(|thread| thread.commands.clone()).collect();
        let answers: Vec<_> = threads
            .iter()
            .map(|commands| {
                let (done, answer) = crossbeam_channel::bounded(1);
                commands.send_deadline(Command::Quiet(done), deadline).map(|()| answer)
            })
            .collect();
        answers
            .into_iter()
            .fold(true, |all, answer| all & answer.is_ok_and(|answer| answer.recv_deadline(deadline).is_ok()))
    }

    /// Writes the next event as JSON into `buf`; returns its length.
    ///
    /// # Errors
    /// None waits, or it needs a longer buffer (and still waits).
    pub fn next_event(&self, buf: &mut [u8]) -> Result<usize, NextEvent> {
        self.shared.events.next(buf)
    }

    /// A descriptor that is readable while events wait.
    pub fn event_fd(&self) -> BorrowedFd<'_> {
        self.shared.events.fd()
    }

    /// Counters and gauges in Prometheus' text format.
    pub fn metrics(&self) -> String {
        let shared = &self.shared;
        let load = |n: &AtomicU64| n.load(Ordering::Relaxed) as f64;
        let tasks = lock(&self.runtime).as_ref().map_or(0, |r| r.tasks()) as f64;
        let mut text = shared.metrics.text(&[
            ("mgw_sessions", "Sessions now, those that drain included.", *self.alive.lock() as f64),
            ("mgw_rooms", "Rooms now.", load(&shared.rooms)),
            ("mgw_events_waiting", "Events that the host has not fetched.", shared.events.waiting() as f64),
            ("mgw_media_rounds", "Rounds of the media threads since the start.", load(&shared.rounds)),
            ("mgw_media_rounds_late", "Rounds that began more than 10 ms late.", load(&shared.late_rounds)),
            ("mgw_net_tasks", "Network tasks now.", tasks),
        ]);
        let spent = shared.meter.spent();
        for (name, help, value) in [
            ("mgw_spent_stt_seconds_total", "Audio sent to recognisers.", spent.stt.as_secs_f64()),
            ("mgw_spent_mt_characters_total", "Characters sent to translators.", spent.mt_chars as f64),
            ("mgw_spent_tts_characters_total", "Characters sent to synthesisers.", spent.tts_chars as f64),
        ] {
            text.push_str(&format!("# HELP {name} {help}\n# TYPE {name} counter\n{name} {value}\n"));
        }
        if let Some(runtime) = lock(&self.runtime).as_ref() {
            for (name, value) in runtime.counters().values() {
                text.push_str(&format!("# TYPE mgw_net_{name} counter\nmgw_net_{name} {value}\n"));
            }
        }
        text
    }

    fn check_open(&self) -> Result<(), Error> {
        if self.shut.load(Ordering::SeqCst) { Err(Error::plain(Status::ErrShutdown)) } else { Ok(()) }
    }

    /// Network tasks now, for leak tests.
    pub fn net_tasks(&self) -> usize {
        lock(&self.runtime).as_ref().map_or(0, |r| r.tasks())
    }

    /// Makes every media thread do nothing for so long, to prove what the puller then does.
    #[cfg(feature = "fault-injection")]
    pub fn inject_hang(&self, time: Duration) {
        for thread in lock(&self.threads).iter() {
            let _ = thread.commands.send(Command::Hang(time));
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.shutdown(Duration::ZERO);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Values behind these locks are replaced whole; a poisoned one is as good as any.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How long closing waits for a media thread that hangs.
const CLOSE_WAIT: Duration = Duration::from_secs(1);

fn close(session: SessionId, mode: LeaveMode, by_shutdown: bool) -> bool {
    let Some(commands) = sessions().get(&session).map(|e| e.commands.clone()) else { return false };
    let Some(retired) = media_port::retire(session, by_shutdown) else { return false };
    // A closing session must not be lost to a full queue; a media thread that lives empties it every 10 ms.
    let _ = commands.send_timeout(Command::Leave { session, mode, retired }, CLOSE_WAIT);
    true
}

/// Sessions by handle: any thread, may lock for a moment.
pub mod session {
    use super::*;
    use crate::config::Language;
    use crate::engine::Verb;

    /// How long statistics may take to come from the media thread.
    const STATS_WAIT: Duration = Duration::from_millis(200);

    fn stale(session: SessionId) -> Error {
        match media_port::check(session) {
            Status::Ok => Error::plain(Status::ErrHandle),
            status => Error::plain(status),
        }
    }

    fn send(session: SessionId, command: Command) -> Result<(), Error> {
        if media_port::check(session) != Status::Ok {
            return Err(stale(session));
        }
        let commands = sessions().get(&session).map(|e| e.commands.clone()).ok_or_else(|| stale(session))?;
        commands.try_send(command).map_err(|_| Error::plain(Status::ErrAgain))
    }

    /// Closes a session; the handle is stale when this returns.
    ///
    /// # Errors
    /// The handle was stale already.
    pub fn close(session: SessionId, mode: LeaveMode) -> Result<(), Error> {
        if super::close(session, mode, false) { Ok(()) } else { Err(stale(session)) }
    }

    /// Changes a setting in mid-call.
    ///
    /// # Errors
    /// Stale handle, unknown key, bad value, or a key that cannot change in mid-call.
    pub fn set(session: SessionId, key: &str, value: &str) -> Result<(), Error> {
        if media_port::check(session) != Status::Ok {
            return Err(stale(session));
        }
        let mut all = sessions();
        let entry = all.get_mut(&session).ok_or_else(|| stale(session))?;
        let mut config = (*entry.config).clone();
        if let Err(e) = config.set_live(key, value) {
            let e = Error::from(e);
            entry.trouble = Some(e.message.clone());
            return Err(e);
        }
        let config = Arc::new(config);
        entry.commands.try_send(Command::Set(session, config.clone())).map_err(|_| Error::plain(Status::ErrAgain))?;
        entry.config = config;
        Ok(())
    }

    /// Speaks a text to the session; in `language` (empty: the one it hears), translated if it hears another.
    ///
    /// # Errors
    /// Stale handle, unknown language, empty text, or a full queue.
    pub fn say(session: SessionId, text: &str, language: &str) -> Result<(), Error> {
        if text.trim().is_empty() {
            return Err(Error::new(Status::ErrEmpty, "the text to say is empty"));
        }
        let hears = sessions().get(&session).map(|e| e.config.hears).ok_or_else(|| stale(session))?;
        let language = if language.is_empty() {
            hears
        } else {
            Language::parse(language).map_err(|e| Error::new(Status::ErrBadValue, e))?
        };
        send(session, Command::Say(session, text.trim().to_owned(), language))
    }

    /// Gives the session's room a command.
    ///
    /// # Errors
    /// Stale handle or a full queue.
    pub fn command(session: SessionId, verb: Verb) -> Result<(), Error> {
        send(session, Command::Do(session, verb))
    }

    /// Reports a DTMF digit of the session's leg.
    ///
    /// # Errors
    /// Stale handle, not a digit, or a full queue.
    pub fn dtmf(session: SessionId, digit: char) -> Result<(), Error> {
        if !matches!(digit, '0'..='9' | '*' | '#' | 'A'..='D' | 'a'..='d') {
            return Err(Error::new(Status::ErrArgument, "a DTMF digit is one of 0-9 * # A-D"));
        }
        send(session, Command::Dtmf(session, digit.to_ascii_uppercase()))
    }

    /// The session's statistics as JSON text.
    ///
    /// # Errors
    /// Stale handle, or the media thread did not answer in 200 ms.
    pub fn stats(session: SessionId) -> Result<String, Error> {
        let (reply, answer) = crossbeam_channel::bounded(1);
        send(session, Command::Stats(session, reply))?;
        match answer.recv_timeout(STATS_WAIT) {
            Ok(serde_json::Value::Null) => Err(stale(session)),
            Ok(stats) => Ok(stats.to_string()),
            Err(_) => Err(Error::plain(Status::ErrTimeout)),
        }
    }

    /// The latest trouble of the session, for people.
    pub fn last_error(session: SessionId) -> Option<String> {
        sessions().get(&session).and_then(|e| e.trouble.clone())
    }

    /// Makes the engine of the session's room panic.
    ///
    /// # Errors
    /// Stale handle or a full queue.
    #[cfg(feature = "fault-injection")]
    pub fn inject_panic(session: SessionId) -> Result<(), Error> {
        send(session, Command::Panic(session))
    }
}
