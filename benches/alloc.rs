//! A counting allocator, and what the system says of this process's memory and processor time.

use std::alloc::{GlobalAlloc, Layout, System};
use std::fs;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The system's allocator with counters in front of it.
pub struct Counting;

static LIVE: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call goes to the system's allocator unchanged; the counters touch no memory of its own.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size() as u64, Relaxed);
        // SAFETY: the caller's promises about `layout` are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size() as u64, Relaxed);
        // SAFETY: as above; kept apart from `alloc` so that large zeroed blocks stay untouched pages.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size() as u64, Relaxed);
        // SAFETY: `pointer` came from this allocator, so from the system's, with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        LIVE.fetch_add(size as u64, Relaxed);
        LIVE.fetch_sub(layout.size() as u64, Relaxed);
        // SAFETY: as for `dealloc`; the caller's promises about `size` are passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// Bytes that are allocated now, as asked for (the allocator's own overhead not counted).
pub fn live_bytes() -> u64 {
    LIVE.load(Relaxed)
}

/// Resident set of this process in bytes.
pub fn resident_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("procfs");
    let line = status.lines().find(|l| l.starts_with("VmRSS:")).expect("VmRSS");
    line.split_whitespace().nth(1).and_then(|kb| kb.parse::<u64>().ok()).expect("kB") * 1024
}

/// Processor seconds of this process's threads so far: (the library's own, all others).
pub fn cpu_of_threads() -> (f64, f64) {
    let (mut library, mut others) = (0.0, 0.0);
    // This program is called mgw as well, and threads without a name inherit that.
    let own = fs::read_to_string("/proc/self/comm").unwrap_or_default();
    for task in fs::read_dir("/proc/self/task").expect("procfs").flatten() {
        let read = |file: &str| fs::read_to_string(task.path().join(file)).unwrap_or_default();
        let ns: f64 = read("schedstat").split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(0.0);
        let name = read("comm");
        *(if name != own && name.starts_with("mgw-") { &mut library } else { &mut others }) += ns / 1e9;
    }
    (library, others)
}

/// Processor seconds of another process so far, from its living threads.
pub fn cpu_of_process(pid: u32) -> f64 {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return 0.0 };
    tasks
        .flatten()
        .filter_map(|task| fs::read_to_string(task.path().join("schedstat")).ok())
        .filter_map(|text| text.split_whitespace().next().and_then(|n| n.parse::<f64>().ok()))
        .sum::<f64>()
        / 1e9
}
