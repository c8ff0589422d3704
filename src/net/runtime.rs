//! The one tokio runtime of the process: made when a gateway needs it, really gone when none does.
//!
//! Everything that runs on it is started by [`Tasks::spawn`], so that nothing is left when a room
//! ends, and so that a panic becomes a message instead of silence.

use std::future::Future;
use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use tokio::runtime::{Builder, Handle};
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::accounts::Accounts;
use super::counters::{Counters, count};
use super::dialer::DialerStore;

/// How long an owner that just goes away (no [`Runtime::shutdown`]) waits for its threads.
const DROP_DEADLINE: Duration = Duration::from_secs(2);
/// Pause before a task that panicked begins again.
const RESTART_PAUSE: Duration = Duration::from_secs(1);
/// Threads for name look-ups and certificate files, besides the workers.
const BLOCKING_THREADS: usize = 8;

/// The slot. Weak, so that the runtime ends with its last gateway and not with the process.
static SLOT: Mutex<Weak<Runtime>> = Mutex::new(Weak::new());

/// A running tokio runtime with what all its users share. See [`Runtime::acquire`].
pub struct Runtime {
    runtime: Mutex<Option<tokio::runtime::Runtime>>,
    tasks: Tasks,
    closed: AtomicBool,
    dialers: Arc<DialerStore>,
    accounts: Arc<Accounts>,
}

impl Runtime {
    /// The process's runtime; made with `threads` worker threads if there is none (or it is shut down).
    ///
    /// # Errors
    /// The system refuses threads or an epoll descriptor.
    pub fn acquire(threads: usize) -> io::Result<Arc<Self>> {
        let mut slot = lock(&SLOT);
        if let Some(running) = slot.upgrade().filter(|runtime| !runtime.closed.load(Ordering::Acquire)) {
            return Ok(running);
        }
        let made = Arc::new(Self::start(threads.clamp(1, 64))?);
        *slot = Arc::downgrade(&made);
        Ok(made)
    }

    fn start(threads: usize) -> io::Result<Self> {
        let number = AtomicUsize::new(0);
        // Workers inherit the mask of the thread that makes them: no signal even in their first instruction.
        let _quiet = crate::sys::block_signals();
        let runtime = Builder::new_multi_thread()
            .worker_threads(threads)
            .max_blocking_threads(BLOCKING_THREADS)
            .thread_name_fn(move || format!("mgw-net-{}", number.fetch_add(1, Ordering::Relaxed)))
            .on_thread_start(|| {
                crate::sys::adopt_thread();
                crate::log::adopt();
            })
            .enable_io()
            .enable_time()
            .build()?;
        let tasks = Tasks {
            handle: runtime.handle().clone(),
            tracker: TaskTracker::new(),
            root: CancellationToken::new(),
            counters: Arc::default(),
        };
        Ok(Self {
            runtime: Mutex::new(Some(runtime)),
            tasks,
            closed: AtomicBool::new(false),
            dialers: Arc::default(),
            accounts: Arc::default(),
        })
    }

    /// Tasks that have not ended yet; for leak tests and metrics.
    pub fn tasks(&self) -> usize {
        self.tasks.tracker.len()
    }

    /// What the drivers count, for metrics.
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.tasks.counters)
    }

    /// Ends all tasks and joins all threads; true if both were done within `deadline`.
    ///
    /// Waits for it, unless called on one of the runtime's own threads: then another thread does and
    /// false is returned. Later calls do nothing.
    pub fn shutdown(&self, deadline: Duration) -> bool {
        self.closed.store(true, Ordering::Release);
        self.tasks.root.cancel();
        self.tasks.tracker.close();
        let Some(runtime) = lock(&self.runtime).take() else {
            return true;
        };
        let tracker = self.tasks.tracker.clone();
        if Handle::try_current().is_err() {
            return end(runtime, &tracker, deadline);
        }
        // A runtime must not be dropped where it could be running us.
        let parked = Arc::new(Mutex::new(Some(runtime)));
        let for_thread = Arc::clone(&parked);
        let spawned = crate::sys::spawn_thread("mgw-net-end", move || {
            if let Some(runtime) = lock(&for_thread).take() {
                end(runtime, &tracker, deadline);
            }
        });
        if spawned.is_err()
            && let Some(runtime) = lock(&parked).take()
        {
            runtime.shutdown_background();
        }
        false
    }

    /// Gives one user's share back; the last one ends the runtime. False if that was not done within `deadline`.
    pub fn release(runtime: Arc<Self>, deadline: Duration) -> bool {
        // Exactly one of several last owners gets it.
        Arc::into_inner(runtime).is_none_or(|last| last.shutdown(deadline))
    }

    pub(super) fn task_starter(&self) -> Tasks {
        self.tasks.clone()
    }

    pub(super) fn accounts(&self) -> Arc<Accounts> {
        Arc::clone(&self.accounts)
    }

    pub(super) fn dialers(&self) -> Arc<DialerStore> {
        Arc::clone(&self.dialers)
    }
}

impl std::fmt::Debug for Runtime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runtime").field("tasks", &self.tasks()).finish_non_exhaustive()
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        self.shutdown(DROP_DEADLINE);
    }
}

fn end(runtime: tokio::runtime::Runtime, tracker: &TaskTracker, deadline: Duration) -> bool {
    let until = Instant::now() + deadline;
    let done = runtime.block_on(async { tokio::time::timeout(deadline, tracker.wait()).await }).is_ok();
    // Joins the threads if they end in time; one that hangs in a name look-up is left to itself.
    let left = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(50));
    let begun = Instant::now();
    runtime.shutdown_timeout(left);
    done && begun.elapsed() < left
}

/// Starts tasks on the runtime; cheap to clone. Does not keep the runtime alive.
#[derive(Clone)]
pub(super) struct Tasks {
    handle: Handle,
    tracker: TaskTracker,
    root: CancellationToken,
    counters: Arc<Counters>,
}

impl Tasks {
    /// A token that is cancelled with the runtime.
    pub(super) fn token(&self) -> CancellationToken {
        self.root.child_token()
    }

    /// Runs what `work` makes until it ends or `cancel` is cancelled. If it panics, what `after_panic`
    /// makes runs with the panic's text (what may be told of it), and if that says so, another `work` follows after a pause.
    pub(super) fn spawn<W, F, P, A>(&self, cancel: CancellationToken, mut work: W, mut after_panic: P) -> AbortHandle
    where
        W: FnMut() -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
        P: FnMut(String) -> A + Send + 'static,
        A: Future<Output = Restart> + Send + 'static,
    {
        let counters = Arc::clone(&self.counters);
        let guarded = async move {
            loop {
                // The driver is made inside the guarded future, so a panic while making it is caught too.
                let attempt = AssertUnwindSafe(async { work().await }).catch_unwind();
                let Some(Err(panic)) = cancel.run_until_cancelled(attempt).await else {
                    return;
                };
                count(&counters.panics);
                let text = crate::log::panic_text(&*panic).to_owned();
                tracing::error!(panic = %text, "a network task failed");
                let tell = AssertUnwindSafe(async { after_panic(text).await }).catch_unwind();
                let Some(Ok(Restart::Yes)) = cancel.run_until_cancelled(tell).await else {
                    return;
                };
                if cancel.run_until_cancelled(tokio::time::sleep(RESTART_PAUSE)).await.is_none() {
                    return;
                }
            }
        };
        self.tracker.spawn_on(guarded, &self.handle).abort_handle()
    }
}

/// Whether a task that panicked is to begin again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Restart {
    Yes,
    No,
}

/// Locks; what another thread left behind after a panic is still sound for all our short critical sections.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_told_and_the_task_begins_again() {
        let runtime = Runtime::start(1).expect("a runtime");
        let (sender, receiver) = crossbeam_channel::bounded(8);
        let (told, mut attempts) = (sender.clone(), 0);
        runtime.task_starter().spawn(
            runtime.tasks.token(),
            move || {
                attempts += 1;
                let (attempt, sender) = (attempts, sender.clone());
                async move {
                    assert!(attempt > 1, "the first attempt fails on purpose");
                    let _ = sender.send(format!("attempt {attempt}"));
                }
            },
            move |text| {
                let told = told.clone();
                async move {
                    let _ = told.send(text);
                    Restart::Yes
                }
            },
        );
        let wait = || receiver.recv_timeout(Duration::from_secs(20));
        assert_eq!(wait().as_deref(), Ok("the first attempt fails on purpose"));
        assert_eq!(wait().as_deref(), Ok("attempt 2"));
        assert!(runtime.shutdown(Duration::from_secs(20)));
        assert_eq!(runtime.tasks(), 0);
    }

    #[test]
    fn a_panic_that_quotes_a_text_does_not_tell_it() {
        let runtime = Runtime::start(1).expect("a runtime");
        let (sender, receiver) = crossbeam_channel::bounded(1);
        let said = "é what was said";
        runtime.task_starter().spawn(
            runtime.tasks.token(),
            move || async move {
                let cut = std::hint::black_box(1);
                std::hint::black_box(&said[cut..]);
            },
            move |text| {
                let _ = sender.send(text);
                async { Restart::No }
            },
        );
        let told = receiver.recv_timeout(Duration::from_secs(20)).expect("the panic is told");
        assert!(told.contains("byte index 1") && !told.contains('é') && !told.contains("said"), "{told}");
        assert!(runtime.shutdown(Duration::from_secs(20)));
    }

    #[test]
    fn a_runtime_may_be_dropped_on_its_own_thread() {
        let runtime = Arc::new(Runtime::start(1).expect("a runtime"));
        let (sender, receiver) = crossbeam_channel::bounded(1);
        let (mine, tasks) = (Mutex::new(Some(Arc::clone(&runtime))), runtime.task_starter());
        drop(runtime);
        tasks.spawn(
            CancellationToken::new(),
            move || {
                let last = lock(&mine).take();
                let sender = sender.clone();
                async move {
                    drop(last);
                    let _ = sender.send(());
                }
            },
            |_| async { Restart::No },
        );
        assert_eq!(receiver.recv_timeout(Duration::from_secs(20)), Ok(()));
    }
}
