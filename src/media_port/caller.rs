//! The caller's half of a port: what push and pull do.

use std::cell::UnsafeCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::*};

use rtrb::{Consumer, Producer};

use super::{DEAD_AFTER_MS, DEAD_AFTER_PULLS, MAX_FRAME_MS};
use crate::status::Status;

/// Something that happened between two samples of the up ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MarkKind {
    Rate(u32),
    Gap { count: u64, dropped: bool },
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    /// Samples pushed before it.
    pub(super) at: u64,
    pub(super) kind: MarkKind,
}

/// Atomics that both sides see, by their one writer, so that no thread's writing takes another's cache line away.
#[derive(Default)]
pub(super) struct Shared {
    pub(super) pusher: ByPusher,
    pub(super) puller: ByPuller,
    pub(super) engine: ByEngine,
}

/// Written by the thread that pushes.
#[derive(Default)]
#[repr(align(64))]
pub(super) struct ByPusher {
    /// Samples dropped because the up ring was full.
    pub(super) dropped: AtomicU64,
    /// Frames pushed.
    pub(super) frames_in: AtomicU64,
}

/// Written by the thread that pulls.
#[derive(Default)]
#[repr(align(64))]
pub(super) struct ByPuller {
    /// Samples asked for since the last completed rate change.
    pub(super) asked: AtomicU64,
    /// Samples taken from the speech ring, ever.
    pub(super) speech_read: AtomicU64,
    /// Samples taken from the original ring, ever.
    pub(super) original_read: AtomicU64,
    /// Output rate wanted (upper half: change number, lower half: Hz).
    pub(super) out_rate_wanted: AtomicU64,
    /// Frames pulled.
    pub(super) frames_out: AtomicU64,
}

/// Written by the engine.
#[derive(Default)]
#[repr(align(64))]
pub(super) struct ByEngine {
    /// The puller skips the speech ring up to this count.
    pub(super) speech_skip_to: AtomicU64,
    /// The puller skips the original ring up to this count.
    pub(super) original_skip_to: AtomicU64,
    /// Change number of the output rate that the rings now carry.
    pub(super) out_rate_done: AtomicU32,
    /// Counts the engine's rounds; stands still when the engine does.
    pub(super) heartbeat: AtomicU32,
}

pub(super) struct PushSide {
    pub(super) ring: Producer<i16>,
    pub(super) marks: Producer<Mark>,
    pub(super) pushed: u64,
    pub(super) hz: u32,
    /// Samples dropped that no mark has told of yet.
    pub(super) owed_gap: u64,
}

pub(super) struct PullSide {
    pub(super) speech: Consumer<i16>,
    pub(super) original: Consumer<i16>,
    pub(super) hz: u32,
    pub(super) change: u32,
    pub(super) last_beat: u32,
    /// Pulled since the engine last showed life.
    pub(super) silent_pulls: u32,
    pub(super) silent_samples: u64,
}

/// A half of a port that one thread at a time may use; a second one is turned away, never made to wait.
/// In cache lines of its own: pusher and puller may be different threads.
#[repr(align(64))]
pub(super) struct Exclusive<T> {
    taken: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: `value` is only reached through `with`, which lets one thread in at a time (`taken`).
unsafe impl<T: Send> Sync for Exclusive<T> {}

impl<T> Exclusive<T> {
    pub(super) fn new(value: T) -> Self {
        Exclusive { taken: AtomicBool::new(false), value: UnsafeCell::new(value) }
    }

    /// Runs `f` with the value, or returns `None` if another thread is inside.
    #[inline]
    pub(super) fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> Option<R> {
        if self.taken.swap(true, Acquire) {
            return None;
        }
        /// Gives the side back even when `f` panics.
        struct Release<'a>(&'a AtomicBool);
        impl Drop for Release<'_> {
            fn drop(&mut self) {
                self.0.store(false, Release_);
            }
        }
        use std::sync::atomic::Ordering::Release as Release_;
        let _release = Release(&self.taken);
        // SAFETY: `taken` was false and is now true by this thread alone, so nobody else holds a reference.
        Some(f(unsafe { &mut *self.value.get() }))
    }
}

/// The half of a port that lives in the handle table.
pub(super) struct CallerSide {
    pub(super) push: Exclusive<PushSide>,
    pub(super) pull: Exclusive<PullSide>,
    pub(super) shared: Arc<Shared>,
}

pub(super) fn frame_fits(count: usize, hz: u32) -> bool {
    count as u64 * 1000 <= u64::from(hz) * u64::from(MAX_FRAME_MS)
}

impl PushSide {
    /// Tells of dropped frames, if there is room for the mark.
    fn tell_gap(&mut self) {
        if self.owed_gap > 0 {
            let mark = Mark { at: self.pushed, kind: MarkKind::Gap { count: self.owed_gap, dropped: true } };
            if self.marks.push(mark).is_ok() {
                self.owed_gap = 0;
            }
        }
    }

    pub(super) fn gap(&mut self, count: u64) -> Status {
        if count == 0 {
            return Status::ErrEmpty;
        }
        // An hour at once is no gap but a mistake in the caller's arithmetic.
        if count > u64::from(self.hz) * 3600 {
            return Status::ErrFrameTooLong;
        }
        let mark = Mark { at: self.pushed, kind: MarkKind::Gap { count, dropped: false } };
        if self.marks.push(mark).is_ok() { Status::Ok } else { Status::ErrAgain }
    }

    pub(super) fn push(&mut self, samples: &[i16], shared: &Shared) -> Status {
        if samples.is_empty() {
            return Status::ErrEmpty;
        }
        if !frame_fits(samples.len(), self.hz) {
            return Status::ErrFrameTooLong;
        }
        shared.pusher.frames_in.store(shared.pusher.frames_in.load(Relaxed) + 1, Relaxed);
        self.tell_gap();
        // While the gap before it is not told, a frame would land at the wrong time: it joins the gap.
        // `push_entire_slice` looks at the reader's index (another core's cache line) only if it seems full.
        if self.owed_gap > 0 || self.ring.push_entire_slice(samples).is_err() {
            self.owed_gap += samples.len() as u64;
            shared.pusher.dropped.store(shared.pusher.dropped.load(Relaxed) + samples.len() as u64, Relaxed);
            return Status::Ok;
        }
        self.pushed += samples.len() as u64;
        Status::Ok
    }

    pub(super) fn set_rate(&mut self, hz: u32) -> Status {
        if hz == self.hz {
            return Status::Ok;
        }
        // What was dropped before counts at the old rate.
        self.tell_gap();
        if self.owed_gap > 0 || self.marks.push(Mark { at: self.pushed, kind: MarkKind::Rate(hz) }).is_err() {
            return Status::ErrAgain;
        }
        self.hz = hz;
        Status::Ok
    }
}

/// Drops up to `count` samples from a ring.
pub(super) fn skip(ring: &mut Consumer<i16>, count: u64) -> u64 {
    if count == 0 {
        return 0;
    }
    let n = (ring.slots() as u64).min(count) as usize;
    if let Ok(chunk) = ring.read_chunk(n) {
        chunk.commit_all();
        return n as u64;
    }
    0
}

impl PullSide {
    pub(super) fn pull(&mut self, out: &mut [i16], shared: &Shared) -> Status {
        if out.is_empty() {
            return Status::ErrEmpty;
        }
        if !frame_fits(out.len(), self.hz) {
            return Status::ErrFrameTooLong;
        }
        shared.puller.frames_out.store(shared.puller.frames_out.load(Relaxed) + 1, Relaxed);
        shared.puller.asked.store(shared.puller.asked.load(Relaxed) + out.len() as u64, Relaxed);

        // Until the engine has answered a rate change, the rings hold samples of another rate.
        let mut heard = 0;
        if shared.engine.out_rate_done.load(Acquire) == self.change {
            let read = shared.puller.speech_read.load(Relaxed);
            let skipped = skip(&mut self.speech, shared.engine.speech_skip_to.load(Acquire).saturating_sub(read));
            let (taken, _) = self.speech.pop_partial_slice(out);
            heard = taken.len();
            shared.puller.speech_read.store(read + skipped + heard as u64, Release);
            heard = heard.max(self.mix_original(out, heard, shared));
        }
        out[heard..].fill(0);

        let beat = shared.engine.heartbeat.load(Relaxed);
        if beat != self.last_beat {
            self.last_beat = beat;
            (self.silent_pulls, self.silent_samples) = (0, 0);
        } else {
            self.silent_pulls = self.silent_pulls.saturating_add(1);
            self.silent_samples = self.silent_samples.saturating_add(out.len() as u64);
        }
        // Pulls of a few samples, or many at once, are no sign that time has passed.
        if self.silent_pulls >= DEAD_AFTER_PULLS && self.silent_samples * 1000 >= u64::from(self.hz) * DEAD_AFTER_MS {
            Status::Original
        } else if heard == 0 {
            Status::Silence
        } else {
            Status::Ok
        }
    }

    /// Puts the original voice into `out`: added to the `heard` samples of speech, copied behind them. Returns its length.
    fn mix_original(&mut self, out: &mut [i16], heard: usize, shared: &Shared) -> usize {
        let read = shared.puller.original_read.load(Relaxed);
        let skipped = skip(&mut self.original, shared.engine.original_skip_to.load(Acquire).saturating_sub(read));
        let n = self.original.slots().min(out.len());
        let mut mixed = 0;
        if let Ok(chunk) = self.original.read_chunk(n) {
            let (a, b) = chunk.as_slices();
            for part in [a, b] {
                let place = &mut out[mixed..mixed + part.len()];
                let (under, free) = place.split_at_mut(heard.saturating_sub(mixed).min(part.len()));
                let (added, copied) = part.split_at(under.len());
                for (o, s) in under.iter_mut().zip(added) {
                    *o = o.saturating_add(*s);
                }
                free.copy_from_slice(copied);
                mixed += part.len();
            }
            chunk.commit_all();
        }
        shared.puller.original_read.store(read + skipped + mixed as u64, Release);
        mixed
    }

    pub(super) fn set_rate(&mut self, hz: u32, shared: &Shared) -> Status {
        if hz == self.hz {
            return Status::Ok;
        }
        self.hz = hz;
        self.change = self.change.wrapping_add(1);
        shared.puller.out_rate_wanted.store(u64::from(self.change) << 32 | u64::from(hz), Release);
        Status::Ok
    }
}
