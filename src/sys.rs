//! The few calls to the system that need `unsafe`: fork detection, thread hygiene, eventfd, limits.
//!
//! Everything here is safe to call from outside; `rustix`-like wrappers are not needed for more.

use std::fs::File;
use std::io::{self, Read, Write};
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle};

static FORKED: AtomicBool = AtomicBool::new(false);
static WATCHING: AtomicBool = AtomicBool::new(false);

/// Whether this process is a forked child of the one that loaded the library.
///
/// One atomic load. Threads do not survive a fork and locks may be held for ever by ones that are
/// gone, so every entry asks this before it touches anything else.
#[inline]
pub fn forked() -> bool {
    FORKED.load(Ordering::Relaxed)
}

/// Makes [`forked`] work, once per process; call it before the first thread or lock exists.
///
/// Errors: the system has no memory for the handler.
pub fn watch_fork() -> io::Result<()> {
    // A flag and not a `Once`: a child forked in the middle of the first call would wait for ever.
    if WATCHING.swap(true, Ordering::AcqRel) {
        return Ok(());
    }
    // SAFETY: the handler only stores to an atomic, which is allowed in a forked child, and the
    // library is linked with `-z nodelete`, so its code stays mapped as long as the registration.
    let code = unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
    if code == 0 {
        Ok(())
    } else {
        WATCHING.store(false, Ordering::Release);
        Err(io::Error::from_raw_os_error(code))
    }
}

extern "C" fn in_child() {
    FORKED.store(true, Ordering::Relaxed);
}

/// Blocks every signal on the calling thread until dropped, so that threads made meanwhile begin that way.
pub struct SignalsBlocked {
    before: libc::sigset_t,
    // The mask belongs to the thread that it was taken from.
    _not_send: PhantomData<*const ()>,
}

/// Blocks every signal on the calling thread; the result restores the mask when dropped.
pub fn block_signals() -> SignalsBlocked {
    let mut all = MaybeUninit::<libc::sigset_t>::uninit();
    let mut before = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: both sets are valid for writing; an empty set is written to `before` first, so it is
    // initialised even if pthread_sigmask fails (which it cannot with SIG_SETMASK).
    let before = unsafe {
        libc::sigemptyset(before.as_mut_ptr());
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr());
        before.assume_init()
    };
    SignalsBlocked { before, _not_send: PhantomData }
}

impl Drop for SignalsBlocked {
    fn drop(&mut self) {
        // SAFETY: `before` was filled in by pthread_sigmask on this same thread (the type is not Send).
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &self.before, std::ptr::null_mut()) };
    }
}

/// Timer slack of our threads in nanoseconds; the kernel's default of 50 us is jitter that pacing would see.
const TIMER_SLACK_NS: libc::c_ulong = 1_000;

/// Makes the calling thread one of ours: no signals, ordinary scheduling, 1 us timer slack.
///
/// The host may run with real-time scheduling (`asterisk -p`), which new threads inherit and a
/// busy runtime must not have. Failures are harmless and ignored.
pub fn adopt_thread() {
    std::mem::forget(block_signals());
    let ordinary = libc::sched_param { sched_priority: 0 };
    // SAFETY: plain calls about the calling thread; the parameter outlives the call.
    unsafe {
        libc::pthread_setschedparam(libc::pthread_self(), libc::SCHED_OTHER, &ordinary);
        libc::prctl(libc::PR_SET_TIMERSLACK, TIMER_SLACK_NS, 0, 0, 0);
    }
}

/// Starts a named thread (at most 15 bytes are shown by the system) that is [adopted](adopt_thread)
/// before `body` runs and takes no signal even in its first instruction.
///
/// Errors: the system refuses another thread.
pub fn spawn_thread<T: Send + 'static>(
    name: &str,
    body: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    let _quiet = block_signals();
    Builder::new().name(name.to_owned()).spawn(move || {
        adopt_thread();
        body()
    })
}

/// A counter behind a descriptor (`eventfd(2)`, non-blocking, closed on exec) that poll and epoll can wait for.
#[derive(Debug)]
pub struct EventFd(File);

impl EventFd {
    /// A new one, not signalled. Errors: no descriptors or memory left.
    pub fn new() -> io::Result<EventFd> {
        // SAFETY: eventfd takes two integers.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was just made and belongs to nobody else.
        Ok(EventFd(File::from(unsafe { OwnedFd::from_raw_fd(fd) })))
    }

    /// Makes the descriptor readable. Never blocks: a full counter is readable already.
    pub fn signal(&self) {
        let _ = (&self.0).write(&1u64.to_ne_bytes());
    }

    /// Makes it unreadable again; true if it had been signalled.
    pub fn drain(&self) -> bool {
        let mut count = [0u8; 8];
        matches!((&self.0).read(&mut count), Ok(8))
    }
}

impl AsFd for EventFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for EventFd {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// How many descriptors this process may have open (the soft `RLIMIT_NOFILE`); `None` if there is no limit.
pub fn fd_limit() -> Option<u64> {
    let mut limit = MaybeUninit::<libc::rlimit>::uninit();
    // SAFETY: the struct is valid for writing and read only after success.
    let limit = unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, limit.as_mut_ptr()) != 0 {
            return None;
        }
        limit.assume_init()
    };
    (limit.rlim_cur != libc::RLIM_INFINITY).then_some(limit.rlim_cur)
}

/// How many packets the kernel has dropped at a socket: by its filter, or because its buffer was full
/// (`SO_MEMINFO`, `SK_MEMINFO_DROPS`, sock_diag(7)). `None` where the system does not tell.
#[cfg(feature = "rtp-shim")]
pub fn socket_drops(socket: &impl AsFd) -> Option<u32> {
    const SK_MEMINFO_DROPS: usize = 8;
    let mut values = [0u32; 9];
    let mut length = std::mem::size_of_val(&values) as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes into `values` and the length it wrote into `length`.
    let code = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            values.as_mut_ptr().cast(),
            &mut length,
        )
    };
    (code == 0 && length as usize >= std::mem::size_of_val(&values)).then_some(values[SK_MEMINFO_DROPS])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocked_signals() -> String {
        let status = std::fs::read_to_string("/proc/thread-self/status").expect("procfs");
        let line = status.lines().find(|l| l.starts_with("SigBlk:")).expect("SigBlk line");
        line["SigBlk:".len()..].trim().to_owned()
    }

    #[test]
    fn eventfd_is_readable_from_signal_to_drain() {
        let fd = EventFd::new().expect("eventfd");
        assert!(!fd.drain());
        fd.signal();
        fd.signal();
        assert!(fd.drain(), "signals add up to one");
        assert!(!fd.drain());
    }

    #[test]
    fn our_threads_block_signals_and_the_caller_gets_its_mask_back() {
        let before = blocked_signals();
        let inside = spawn_thread("mgw-test", || {
            let name = std::thread::current().name().map(str::to_owned);
            let slack = std::fs::read_to_string("/proc/self/timerslack_ns").ok();
            (blocked_signals(), name, slack)
        })
        .expect("thread")
        .join()
        .expect("thread ended well");
        // SIGTERM (15) stands for all that can be blocked; KILL and STOP never show up in the mask.
        let mask = u64::from_str_radix(&inside.0, 16).expect("hex mask");
        assert_ne!(mask & (1 << 14), 0, "SIGTERM is blocked: {}", inside.0);
        assert_ne!(mask & 1, 0, "SIGHUP is blocked: {}", inside.0);
        assert_eq!(inside.1.as_deref(), Some("mgw-test"));
        assert_eq!(blocked_signals(), before);
    }

    #[test]
    fn this_process_is_not_a_forked_child() {
        watch_fork().expect("handler");
        watch_fork().expect("again");
        assert!(!forked());
        assert!(fd_limit().is_none_or(|n| n > 2));
    }
}
