//! The log: `tracing` from our own threads, through a bounded queue, to one thread that alone calls the host.
//!
//! **What must never be logged:** keys, tokens and other secrets; anything that was said, its
//! translation, or text to be spoken; audio; addresses with a query. Log ids, codes, counts and
//! durations instead. Only this crate's own records are taken (target `mgw` or `mgw::…`): what the
//! HTTP and TLS libraries would log at `trace` includes header fields.
//!
//! There is no global subscriber, logger or panic hook, since the process belongs to the host: each
//! of our threads calls [`adopt`]. Without a sink nothing is queued and nothing is printed.

use std::any::Any;
use std::cell::RefCell;
use std::convert::Infallible;
use std::ffi::{CStr, CString};
use std::fmt::{self, Write as _};
use std::io;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, TryLockError};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded, select_biased};
use tracing::dispatcher::{DefaultGuard, Dispatch, set_default};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber, span};

/// Who is told: level, target and message. Called by the thread `mgw-log` only.
pub type Sink = Box<dyn FnMut(Level, &CStr, &CStr) + Send>;

/// Records that may wait; more are dropped and counted, since a slow sink must not hold up a call.
const QUEUE: usize = 1024;
/// Bytes of a message; the rest is cut off.
const MESSAGE_MAX: usize = 2048;

struct Record {
    level: Level,
    target: &'static str,
    message: String,
}

struct LogThread {
    /// Dropping it ends the thread before it calls its sink again.
    stop: Sender<Infallible>,
    thread: JoinHandle<()>,
}

/// Most verbose level that is taken: 0 nothing, 1 error to 5 trace.
static LEVEL: AtomicU8 = AtomicU8::new(0);
static DROPPED: AtomicU64 = AtomicU64::new(0);
static RECORDS: OnceLock<(Sender<Record>, Receiver<Record>)> = OnceLock::new();
static CONTROL: Mutex<Option<LogThread>> = Mutex::new(None);
static DISPATCH: OnceLock<Dispatch> = OnceLock::new();

thread_local! {
    static ADOPTED: RefCell<Option<DefaultGuard>> = const { RefCell::new(None) };
    /// On a log thread: what tells it that it was replaced.
    static STOPPED: RefCell<Option<Receiver<Infallible>>> = const { RefCell::new(None) };
}

/// Sends what the calling thread logs through `tracing` to the sink. For our own threads only; the
/// host's threads keep whatever subscriber the host gave them.
pub fn adopt() {
    let dispatch = DISPATCH.get_or_init(|| Dispatch::new(ToQueue));
    ADOPTED.with(|slot| {
        let mut slot = slot.borrow_mut();
        if slot.is_none() {
            *slot = Some(set_default(dispatch));
        }
    });
}

/// Replaces the sink and the level; without either the log is silent.
///
/// When this returns the previous sink is never called again: a running call is waited for, unless
/// this is called from inside it. Records that still wait go to the new sink, or are discarded if
/// there is none. Errors: the system refuses the thread; then the log is silent.
pub fn set(level: Option<Level>, sink: Option<Sink>) -> io::Result<()> {
    let Some(mut control) = control() else {
        return Ok(());
    };
    if let Some(old) = control.take() {
        drop(old.stop);
        if old.thread.thread().id() != std::thread::current().id() {
            // A sink that panicked ended its thread; there is nothing left to do about it.
            let _ = old.thread.join();
        }
    }
    let mut started = Ok(());
    let mut now = 0;
    if let (Some(level), Some(sink)) = (level, sink) {
        let (_, waiting) = RECORDS.get_or_init(|| bounded(QUEUE));
        let (stop, stopped) = bounded(0);
        match crate::sys::spawn_thread("mgw-log", move || run(waiting, &stopped, sink)) {
            Ok(thread) => {
                *control = Some(LogThread { stop, thread });
                now = number(level);
            }
            Err(error) => started = Err(error),
        }
    }
    LEVEL.store(now, Ordering::Relaxed);
    if now == 0 {
        discard_waiting();
    }
    // Lets callsites that are off cost one comparison.
    tracing::callsite::rebuild_interest_cache();
    started
}

/// Logs from any thread, the host's included, without `tracing`. `message` follows the rule above.
pub fn report(level: Level, target: &'static str, mut message: String) {
    if !admits(level) {
        return;
    }
    let Some((records, _)) = RECORDS.get() else {
        return;
    };
    message.truncate(cut(&message, MESSAGE_MAX).len());
    if records.try_send(Record { level, target, message }).is_err() {
        DROPPED.fetch_add(1, Ordering::Relaxed);
    }
}

/// 1 (error) to 5 (trace), as in the C header.
pub fn number(level: Level) -> u8 {
    match level {
        Level::ERROR => 1,
        Level::WARN => 2,
        Level::INFO => 3,
        Level::DEBUG => 4,
        Level::TRACE => 5,
    }
}

/// As much of a text as `max` bytes hold in whole characters.
pub(crate) fn cut(text: &str, max: usize) -> &str {
    let mut end = max.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// A panic's text as far as it may be logged: a composed one can quote a value (a key, what was said; Rust's own
/// about the borders of characters do), so it ends at the first quotation mark.
pub(crate) fn panic_text(payload: &(dyn Any + Send)) -> &str {
    if let Some(text) = payload.downcast_ref::<&'static str>() {
        text
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.split(['"', '\'', '`']).next().unwrap_or_default()
    } else {
        "(no text)"
    }
}

fn admits(level: Level) -> bool {
    number(level) <= LEVEL.load(Ordering::Relaxed)
}

/// `None`: called from a sink whose thread is being replaced by somebody who waits for it, so the
/// other call counts as the later one and this one has nothing left to do.
fn control() -> Option<MutexGuard<'static, Option<LogThread>>> {
    let on_log_thread = STOPPED.with(|stopped| stopped.borrow().clone());
    let Some(stopped) = on_log_thread else {
        return Some(CONTROL.lock().unwrap_or_else(|poisoned| poisoned.into_inner()));
    };
    loop {
        match CONTROL.try_lock() {
            Ok(control) => return Some(control),
            Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) if is_stopped(&stopped) => return None,
            Err(TryLockError::WouldBlock) => std::thread::yield_now(),
        }
    }
}

fn is_stopped(stopped: &Receiver<Infallible>) -> bool {
    matches!(stopped.try_recv(), Err(TryRecvError::Disconnected))
}

fn discard_waiting() {
    if let Some((_, waiting)) = RECORDS.get() {
        while waiting.try_recv().is_ok() {}
    }
    DROPPED.store(0, Ordering::Relaxed);
}

/// The log thread: one record at a time to the sink until `stopped` is disconnected.
fn run(waiting: &Receiver<Record>, stopped: &Receiver<Infallible>, mut sink: Sink) {
    STOPPED.with(|slot| *slot.borrow_mut() = Some(stopped.clone()));
    loop {
        let record = select_biased! {
            recv(stopped) -> _ => return,
            recv(waiting) -> record => match record {
                Ok(record) => record,
                Err(_) => return,
            },
        };
        let dropped = DROPPED.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            let text = format!("{dropped} log records were dropped: the log callback is too slow");
            sink(Level::WARN, c"mgw::log", &c_string(text));
            // The sink may have replaced itself.
            if is_stopped(stopped) {
                return;
            }
        }
        sink(record.level, &c_string(record.target.to_owned()), &c_string(record.message));
    }
}

fn c_string(mut text: String) -> CString {
    text.retain(|c| c != '\0');
    CString::new(text).unwrap_or_default()
}

/// Turns this crate's own events into records; spans are not kept.
struct ToQueue;

fn ours(meta: &Metadata<'_>) -> bool {
    let target = meta.target();
    meta.is_event() && (target == "mgw" || target.starts_with("mgw::"))
}

impl Subscriber for ToQueue {
    fn register_callsite(&self, meta: &'static Metadata<'static>) -> Interest {
        if ours(meta) { Interest::sometimes() } else { Interest::never() }
    }

    fn enabled(&self, meta: &Metadata<'_>) -> bool {
        ours(meta) && admits(*meta.level())
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(match LEVEL.load(Ordering::Relaxed) {
            0 => LevelFilter::OFF,
            1 => LevelFilter::ERROR,
            2 => LevelFilter::WARN,
            3 => LevelFilter::INFO,
            4 => LevelFilter::DEBUG,
            _ => LevelFilter::TRACE,
        })
    }

    fn event(&self, event: &Event<'_>) {
        let mut text = Text::default();
        event.record(&mut text);
        let meta = event.metadata();
        report(*meta.level(), meta.target(), text.message + &text.fields);
    }

    // `ours` lets no span through; an id is still due, and it must not be 0.
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

/// `message key=value key=value`.
#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a String does not fail; a value whose Debug fails is cut short.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// The log is one per process: tests that set it take turns.
    static TURN: Mutex<()> = Mutex::new(());

    fn turn() -> MutexGuard<'static, ()> {
        TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    const SOON: Duration = Duration::from_secs(10);

    fn collect(level: Level) -> Receiver<String> {
        let (tx, rx) = bounded(4096);
        let sink: Sink = Box::new(move |level, target, message| {
            let thread = std::thread::current().name().unwrap_or("").to_owned();
            let line = format!("{level} {} {} {thread}", target.to_string_lossy(), message.to_string_lossy());
            let _ = tx.try_send(line);
        });
        set(Some(level), Some(sink)).expect("log thread");
        rx
    }

    #[test]
    fn records_of_adopted_threads_reach_the_sink_on_its_own_thread() {
        let _turn = turn();
        let lines = collect(Level::INFO);
        tracing::error!(target: "mgw::test", "from a thread that is not ours");
        crate::sys::spawn_thread("worker", || {
            adopt();
            adopt();
            tracing::debug!(target: "mgw::test", "too detailed");
            tracing::error!(target: "h2::codec", "not this crate's");
            tracing::warn!(target: "mgw::test", code = 7, why = "full", "ring");
        })
        .expect("thread")
        .join()
        .expect("ended well");
        assert_eq!(lines.recv_timeout(SOON).expect("a line"), "WARN mgw::test ring code=7 why=\"full\" mgw-log");
        set(None, None).expect("silence");
        assert!(lines.try_recv().is_err(), "nothing else was logged");
    }

    #[test]
    fn a_silenced_sink_is_gone_and_its_backlog_with_it() {
        let _turn = turn();
        let (tx, calls) = bounded(16);
        let sink: Sink = Box::new(move |_, _, message| {
            let _ = tx.try_send(message.to_owned());
            // Still inside when it is replaced.
            while !STOPPED.with(|stopped| stopped.borrow().as_ref().is_none_or(is_stopped)) {
                std::thread::yield_now();
            }
        });
        set(Some(Level::INFO), Some(sink)).expect("log thread");
        report(Level::INFO, "mgw::test", "first".into());
        report(Level::INFO, "mgw::test", "second".into());
        assert_eq!(calls.recv_timeout(SOON).expect("called").as_c_str(), c"first");
        set(None, None).expect("silence");
        assert_eq!(calls.try_recv(), Err(TryRecvError::Disconnected), "dropped before the second record");
        let lines = collect(Level::INFO);
        report(Level::INFO, "mgw::test", "third".into());
        assert!(lines.recv_timeout(SOON).expect("a line").contains("third"), "not the second");
        set(None, None).expect("silence");
    }

    #[test]
    fn a_sink_may_silence_the_log_itself() {
        let _turn = turn();
        let (tx, calls) = bounded(16);
        let sink: Sink = Box::new(move |_, _, _| {
            let _ = tx.try_send(set(None, None).is_ok());
        });
        set(Some(Level::INFO), Some(sink)).expect("log thread");
        report(Level::INFO, "mgw::test", "first".into());
        report(Level::INFO, "mgw::test", "second".into());
        assert_eq!(calls.recv_timeout(SOON), Ok(true));
        assert!(calls.recv_timeout(SOON).is_err(), "called once, then dropped");
    }

    #[test]
    fn replacing_from_inside_and_outside_at_once_does_not_hang() {
        let _turn = turn();
        for _ in 0..50 {
            let (tx, inside) = bounded(1);
            let sink: Sink = Box::new(move |_, _, _| {
                let _ = tx.try_send(());
                let _ = set(None, None);
            });
            set(Some(Level::INFO), Some(sink)).expect("log thread");
            report(Level::INFO, "mgw::test", "go".into());
            inside.recv_timeout(SOON).expect("called");
            set(None, None).expect("silence");
        }
        assert_eq!(LEVEL.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn quoted_values_of_a_panic_stay_out_of_the_log() {
        let composed: Box<dyn Any + Send> = Box::new(format!("byte index 1 is inside 'é' of `{}`", "what was said"));
        assert_eq!(panic_text(composed.as_ref()), "byte index 1 is inside ");
        let fixed: Box<dyn Any + Send> = Box::new("called `Option::unwrap()` on a `None` value");
        assert_eq!(panic_text(fixed.as_ref()), "called `Option::unwrap()` on a `None` value");
        assert_eq!(panic_text(&7), "(no text)");
    }

    #[test]
    fn what_does_not_fit_is_counted_and_reported() {
        let _turn = turn();
        let (go, wait) = bounded::<()>(0);
        let (tx, calls) = bounded(4096);
        let sink: Sink = Box::new(move |_, _, message| {
            let _ = tx.try_send(message.to_string_lossy().into_owned());
            let _ = wait.recv();
        });
        set(Some(Level::INFO), Some(sink)).expect("log thread");
        report(Level::INFO, "mgw::test", "x".repeat(MESSAGE_MAX) + "y");
        assert_eq!(calls.recv_timeout(SOON).expect("called"), "x".repeat(MESSAGE_MAX));
        for _ in 0..QUEUE + 5 {
            report(Level::INFO, "mgw::test", "more".into());
        }
        drop(go);
        let next = calls.recv_timeout(SOON).expect("called");
        assert!(next.starts_with("5 log records were dropped"), "{next}");
        set(None, None).expect("silence");
    }
}
