//! What the caller's thread and the media thread share: rings, counters, the flush mark, handles.
//!
//! This is the real-time edge. Pushing and pulling copy samples and touch atomics, and nothing else:
//! no allocation, no lock, no clock, no system call, no waiting. One thread may push while another
//! pulls; a second one on the same side gets [`Status::ErrBusy`].
//!
//! Life of a port: [`open`] places the caller's half into a fixed table and returns the engine's half
//! for the media thread; [`retire`] makes the handle stale; [`Retired::try_free`] frees the caller's
//! half once no call is inside any more. The caller's thread is never the last owner of anything.

use std::cell::UnsafeCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering::*};

use rtrb::{Consumer, Producer, RingBuffer};

use crate::engine::{PullTotals, RING_SAMPLES, Ring, SessionId};
use crate::status::Status;

/// Sample rates that a session may push and pull, in Hz (signed linear of Asterisk, and 44.1 kHz).
pub const RATES: [u32; 9] = [8000, 12000, 16000, 24000, 32000, 44100, 48000, 96000, 192_000];
/// Longest frame of one push or pull, in milliseconds.
pub const MAX_FRAME_MS: u32 = 120;
/// Pulls without a sign of life from the engine before [`Status::Original`] is returned.
pub const DEAD_AFTER_PULLS: u32 = 25;
/// Rate changes and gaps that may wait for the media thread.
const MARKS: usize = 32;
/// Slots of the handle table: the hard limit of sessions in a process.
pub const MAX_SESSIONS: usize = 16_384;

/// A direction of a session's audio, seen from the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// What is pushed.
    In,
    /// What is pulled.
    Out,
}

/// Something that happened between two samples of the up ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MarkKind {
    Rate(u32),
    Gap { count: u64, dropped: bool },
}

#[derive(Clone, Copy, Debug)]
struct Mark {
    /// Samples pushed before it.
    at: u64,
    kind: MarkKind,
}

/// Atomics that both sides see, by their one writer, so that no thread's writing takes another's cache line away.
#[derive(Default)]
struct Shared {
    pusher: ByPusher,
    puller: ByPuller,
    engine: ByEngine,
}

/// Written by the thread that pushes.
#[derive(Default)]
#[repr(align(64))]
struct ByPusher {
    /// Samples dropped because the up ring was full.
    dropped: AtomicU64,
    /// Frames pushed.
    frames_in: AtomicU64,
}

/// Written by the thread that pulls.
#[derive(Default)]
#[repr(align(64))]
struct ByPuller {
    /// Samples asked for since the last completed rate change.
    asked: AtomicU64,
    /// Samples taken from the speech ring, ever.
    speech_read: AtomicU64,
    /// Samples taken from the original ring, ever.
    original_read: AtomicU64,
    /// Output rate wanted (upper half: change number, lower half: Hz).
    out_rate_wanted: AtomicU64,
    /// Frames pulled.
    frames_out: AtomicU64,
}

/// Written by the engine.
#[derive(Default)]
#[repr(align(64))]
struct ByEngine {
    /// The puller skips the speech ring up to this count.
    speech_skip_to: AtomicU64,
    /// The puller skips the original ring up to this count.
    original_skip_to: AtomicU64,
    /// Change number of the output rate that the rings now carry.
    out_rate_done: AtomicU32,
    /// Counts the engine's rounds; stands still when the engine does.
    heartbeat: AtomicU32,
}

struct PushSide {
    ring: Producer<i16>,
    marks: Producer<Mark>,
    pushed: u64,
    hz: u32,
    /// Samples dropped that no mark has told of yet.
    owed_gap: u64,
}

struct PullSide {
    speech: Consumer<i16>,
    original: Consumer<i16>,
    hz: u32,
    change: u32,
    last_beat: u32,
    silent_pulls: u32,
}

/// A half of a port that one thread at a time may use; a second one is turned away, never made to wait.
/// In cache lines of its own: pusher and puller may be different threads.
#[repr(align(64))]
struct Exclusive<T> {
    taken: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: `value` is only reached through `with`, which lets one thread in at a time (`taken`).
unsafe impl<T: Send> Sync for Exclusive<T> {}

impl<T> Exclusive<T> {
    fn new(value: T) -> Self {
        Exclusive { taken: AtomicBool::new(false), value: UnsafeCell::new(value) }
    }

    /// Runs `f` with the value, or returns `None` if another thread is inside.
    #[inline]
    fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> Option<R> {
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
struct CallerSide {
    push: Exclusive<PushSide>,
    pull: Exclusive<PullSide>,
    shared: Arc<Shared>,
}

/// One slot of the handle table. `generation` is odd while the slot is open.
struct Slot {
    generation: AtomicU32,
    /// Calls that are (or were just about to be) inside.
    pins: AtomicU32,
    /// The last session of this slot was closed by a shutdown.
    shut_down: AtomicBool,
    /// Somebody owns the right to open this slot.
    reserved: AtomicBool,
    caller: AtomicPtr<CallerSide>,
}

static SLOTS: [Slot; MAX_SESSIONS] = [const {
    Slot {
        generation: AtomicU32::new(0),
        pins: AtomicU32::new(0),
        shut_down: AtomicBool::new(false),
        reserved: AtomicBool::new(false),
        caller: AtomicPtr::new(std::ptr::null_mut()),
    }
}; MAX_SESSIONS];

/// Where the search for a free slot begins, so that slots are used in turn.
static NEXT_SLOT: AtomicU32 = AtomicU32::new(0);

fn split(id: SessionId) -> Option<(&'static Slot, u32)> {
    let slot = (id.0 & 0xffff) as usize;
    let generation = id.0 >> 16;
    if generation > u64::from(u32::MAX) {
        return None;
    }
    SLOTS.get(slot).map(|s| (s, generation as u32))
}

/// Runs `f` on the open port of `id`; a stale handle gets a status.
#[inline]
fn pinned(id: SessionId, f: impl FnOnce(&CallerSide) -> Status) -> Status {
    let Some((slot, generation)) = split(id) else { return Status::ErrHandle };
    /// Unpins even when `f` panics, or the slot could never be freed.
    struct Pin<'a>(&'a AtomicU32);
    impl Drop for Pin<'_> {
        fn drop(&mut self) {
            self.0.fetch_sub(1, SeqCst);
        }
    }
    slot.pins.fetch_add(1, SeqCst);
    let _pin = Pin(&slot.pins);
    let now = slot.generation.load(SeqCst);
    if now != generation || generation & 1 == 0 {
        let shut = now == generation.wrapping_add(1) && slot.shut_down.load(Acquire);
        return if shut { Status::ErrShutdown } else { Status::ErrHandle };
    }
    let caller = slot.caller.load(Acquire);
    if caller.is_null() {
        return Status::ErrHandle;
    }
    // SAFETY: the pointer came from Box::into_raw in `open`. It is freed only by `Retired::try_free`, which
    // first changed `generation` and then saw `pins` at zero; we raised `pins` before we read `generation`,
    // both in one total order (SeqCst), so it is not freed before `_pin` is dropped.
    f(unsafe { &*caller })
}

/// True while the handle names an open session.
pub fn is_open(id: SessionId) -> bool {
    split(id).is_some_and(|(slot, generation)| generation & 1 == 1 && slot.generation.load(SeqCst) == generation)
}

/// The status that a call with this handle deserves: Ok, or why it is not valid.
pub fn check(id: SessionId) -> Status {
    pinned(id, |_| Status::Ok)
}

fn frame_fits(count: usize, hz: u32) -> bool {
    count as u64 * 1000 <= u64::from(hz) * u64::from(MAX_FRAME_MS)
}

/// Takes what the leg said: 1 sample to 120 ms of mono 16-bit PCM. Wait-free.
pub fn push_frame(id: SessionId, samples: &[i16]) -> Status {
    pinned(id, |port| port.push.with(|side| side.push(samples, &port.shared)).unwrap_or(Status::ErrBusy))
}

/// Says that `count` samples are missing here. Wait-free.
pub fn push_gap(id: SessionId, count: u64) -> Status {
    pinned(id, |port| {
        port.push
            .with(|side| {
                if count == 0 {
                    return Status::ErrEmpty;
                }
                // An hour at once is no gap but a mistake in the caller's arithmetic.
                if count > u64::from(side.hz) * 3600 {
                    return Status::ErrFrameTooLong;
                }
                let mark = Mark { at: side.pushed, kind: MarkKind::Gap { count, dropped: false } };
                if side.marks.push(mark).is_ok() { Status::Ok } else { Status::ErrAgain }
            })
            .unwrap_or(Status::ErrBusy)
    })
}

/// Fills `out` with what the leg shall hear; always all of it, with silence where there is nothing. Wait-free.
pub fn pull_frame(id: SessionId, out: &mut [i16]) -> Status {
    pinned(id, |port| port.pull.with(|side| side.pull(out, &port.shared)).unwrap_or(Status::ErrBusy))
}

/// Changes the rate of one direction, in order with the frames. Wait-free.
pub fn set_rate(id: SessionId, direction: Direction, hz: u32) -> Status {
    if !RATES.contains(&hz) {
        return Status::ErrRate;
    }
    pinned(id, |port| match direction {
        Direction::In => port.push.with(|side| side.set_rate(hz)).unwrap_or(Status::ErrBusy),
        Direction::Out => port.pull.with(|side| side.set_rate(hz, &port.shared)).unwrap_or(Status::ErrBusy),
    })
}

impl PushSide {
    fn push(&mut self, samples: &[i16], shared: &Shared) -> Status {
        if samples.is_empty() {
            return Status::ErrEmpty;
        }
        if !frame_fits(samples.len(), self.hz) {
            return Status::ErrFrameTooLong;
        }
        shared.pusher.frames_in.store(shared.pusher.frames_in.load(Relaxed) + 1, Relaxed);
        if self.owed_gap > 0 {
            let mark = Mark { at: self.pushed, kind: MarkKind::Gap { count: self.owed_gap, dropped: true } };
            if self.marks.push(mark).is_ok() {
                self.owed_gap = 0;
            }
        }
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

    fn set_rate(&mut self, hz: u32) -> Status {
        if hz == self.hz {
            return Status::Ok;
        }
        if self.marks.push(Mark { at: self.pushed, kind: MarkKind::Rate(hz) }).is_err() {
            return Status::ErrAgain;
        }
        self.hz = hz;
        Status::Ok
    }
}

/// Drops up to `count` samples from a ring.
fn skip(ring: &mut Consumer<i16>, count: u64) -> u64 {
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
    fn pull(&mut self, out: &mut [i16], shared: &Shared) -> Status {
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
            self.silent_pulls = 0;
        } else {
            self.silent_pulls = self.silent_pulls.saturating_add(1);
        }
        if self.silent_pulls >= DEAD_AFTER_PULLS {
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

    fn set_rate(&mut self, hz: u32, shared: &Shared) -> Status {
        if hz == self.hz {
            return Status::Ok;
        }
        self.hz = hz;
        self.change = self.change.wrapping_add(1);
        shared.puller.out_rate_wanted.store(u64::from(self.change) << 32 | u64::from(hz), Release);
        Status::Ok
    }
}

/// What [`EnginePort::drain`] hands out, in the order in which it was pushed.
#[derive(Debug, PartialEq, Eq)]
pub enum Pushed<'a> {
    /// Samples at the input rate.
    Samples(&'a [i16]),
    /// A gap the caller told of, or (`dropped`) frames that did not fit.
    Gap {
        /// Samples at the input rate.
        count: u64,
        /// The up ring was full.
        dropped: bool,
    },
    /// The input rate from here on, in Hz.
    Rate(u32),
}

/// The media thread's half of a port.
pub struct EnginePort {
    up: Consumer<i16>,
    marks: Consumer<Mark>,
    drained: u64,
    speech: Producer<i16>,
    original: Producer<i16>,
    speech_written: u64,
    original_written: u64,
    /// Reader's totals at the last completed rate change, so that the engine counts from zero.
    speech_base: u64,
    original_base: u64,
    asked_base: u64,
    change: u32,
    shared: Arc<Shared>,
}

impl EnginePort {
    /// Hands out everything pushed so far, in order.
    pub fn drain(&mut self, mut each: impl FnMut(Pushed<'_>)) {
        // The samples first: a mark is pushed before the samples behind it, so it cannot be missed.
        let mut left = self.up.slots();
        loop {
            let mark = self.marks.peek().ok().copied().filter(|m| m.at <= self.drained + left as u64);
            let until = mark.map_or(left, |m| (m.at - self.drained) as usize);
            if until > 0
                && let Ok(chunk) = self.up.read_chunk(until)
            {
                let (a, b) = chunk.as_slices();
                for part in [a, b] {
                    if !part.is_empty() {
                        each(Pushed::Samples(part));
                    }
                }
                chunk.commit_all();
                self.drained += until as u64;
                left -= until;
            }
            let Some(mark) = mark else { break };
            let _ = self.marks.pop();
            each(match mark.kind {
                MarkKind::Rate(hz) => Pushed::Rate(hz),
                MarkKind::Gap { count, dropped } => Pushed::Gap { count, dropped },
            });
        }
    }

    /// What the puller has taken since the last completed rate change.
    pub fn pulled(&self) -> PullTotals {
        PullTotals {
            asked: self.shared.puller.asked.load(Relaxed).saturating_sub(self.asked_base),
            // Behind the base until the next pull has skipped what was flushed.
            speech: self.shared.puller.speech_read.load(Acquire).saturating_sub(self.speech_base),
            original: self.shared.puller.original_read.load(Acquire).saturating_sub(self.original_base),
        }
    }

    /// An output rate that the puller wants and the rings do not carry yet, in Hz.
    pub fn wanted_out_rate(&self) -> Option<u32> {
        let wanted = self.shared.puller.out_rate_wanted.load(Acquire);
        ((wanted >> 32) as u32 != self.change).then_some(wanted as u32)
    }

    /// Answers [`wanted_out_rate`](Self::wanted_out_rate): all written so far is skipped, totals begin at zero again.
    pub fn out_rate_done(&mut self) {
        self.change = (self.shared.puller.out_rate_wanted.load(Acquire) >> 32) as u32;
        self.restart();
        self.shared.engine.out_rate_done.store(self.change, Release);
    }

    /// All written so far is skipped and the totals begin at zero again.
    pub fn restart(&mut self) {
        self.flush(Ring::Speech);
        self.flush(Ring::Original);
        self.speech_base = self.speech_written;
        self.original_base = self.original_written;
        self.asked_base = self.shared.puller.asked.load(Relaxed);
    }

    /// Writes to a ring; returns how many samples fitted.
    pub fn play(&mut self, ring: Ring, samples: &[i16]) -> usize {
        let (producer, written) = match ring {
            Ring::Speech => (&mut self.speech, &mut self.speech_written),
            Ring::Original => (&mut self.original, &mut self.original_written),
        };
        let n = producer.push_partial_slice(samples).0.len();
        *written += n as u64;
        n
    }

    /// Nothing that was written to this ring so far is to be heard any more.
    pub fn flush(&mut self, ring: Ring) {
        match ring {
            Ring::Speech => self.shared.engine.speech_skip_to.store(self.speech_written, Release),
            Ring::Original => self.shared.engine.original_skip_to.store(self.original_written, Release),
        }
    }

    /// Shows the puller that the engine lives.
    pub fn beat(&self) {
        self.shared.engine.heartbeat.fetch_add(1, Relaxed);
    }

    /// Samples dropped so far because the up ring was full.
    pub fn dropped(&self) -> u64 {
        self.shared.pusher.dropped.load(Relaxed)
    }

    /// Frames (pushed, pulled) so far.
    pub fn frames(&self) -> (u64, u64) {
        (self.shared.pusher.frames_in.load(Relaxed), self.shared.puller.frames_out.load(Relaxed))
    }
}

/// Makes a port. `None` when all slots are taken.
pub fn open(in_hz: u32, out_hz: u32) -> Option<(SessionId, EnginePort)> {
    let (up_tx, up_rx) = RingBuffer::new(RING_SAMPLES);
    let (marks_tx, marks_rx) = RingBuffer::new(MARKS);
    let (speech_tx, speech_rx) = RingBuffer::new(RING_SAMPLES);
    let (original_tx, original_rx) = RingBuffer::new(RING_SAMPLES);
    let shared = Arc::new(Shared::default());
    let caller = Box::new(CallerSide {
        push: Exclusive::new(PushSide { ring: up_tx, marks: marks_tx, pushed: 0, hz: in_hz, owed_gap: 0 }),
        pull: Exclusive::new(PullSide {
            speech: speech_rx,
            original: original_rx,
            hz: out_hz,
            change: 0,
            last_beat: 0,
            silent_pulls: 0,
        }),
        shared: shared.clone(),
    });
    let start = NEXT_SLOT.fetch_add(1, Relaxed) as usize;
    let index =
        (0..MAX_SESSIONS).map(|i| (start + i) % MAX_SESSIONS).find(|&i| !SLOTS[i].reserved.swap(true, AcqRel))?;
    let slot = &SLOTS[index];
    slot.shut_down.store(false, Release);
    slot.caller.store(Box::into_raw(caller), Release);
    let generation = slot.generation.load(SeqCst).wrapping_add(1);
    slot.generation.store(generation, SeqCst);
    let id = SessionId(u64::from(generation) << 16 | index as u64);
    let engine = EnginePort {
        up: up_rx,
        marks: marks_rx,
        drained: 0,
        speech: speech_tx,
        original: original_tx,
        speech_written: 0,
        original_written: 0,
        speech_base: 0,
        original_base: 0,
        asked_base: 0,
        change: 0,
        shared,
    };
    Some((id, engine))
}

/// The caller's half of a closed session, waiting until no call is inside.
#[derive(Debug)]
pub struct Retired {
    index: usize,
}

/// Makes the handle stale. `None` if it already was: exactly one caller of `retire` wins.
pub fn retire(id: SessionId, by_shutdown: bool) -> Option<Retired> {
    let (slot, generation) = split(id)?;
    if generation & 1 == 0 {
        return None;
    }
    slot.generation.compare_exchange(generation, generation.wrapping_add(1), SeqCst, SeqCst).ok()?;
    slot.shut_down.store(by_shutdown, Release);
    Some(Retired { index: (id.0 & 0xffff) as usize })
}

impl Retired {
    /// Frees the caller's half and the slot; gives itself back while a call is still inside.
    pub fn try_free(self) -> Result<(), Retired> {
        let slot = &SLOTS[self.index];
        if slot.pins.load(SeqCst) != 0 {
            return Err(self);
        }
        let caller = slot.caller.swap(std::ptr::null_mut(), AcqRel);
        if !caller.is_null() {
            // SAFETY: from Box::into_raw in `open`, taken out of the slot by this swap alone; `generation` was
            // changed before `pins` was seen at zero, so no call holds or can get a reference (see `pinned`).
            drop(unsafe { Box::from_raw(caller) });
        }
        slot.reserved.store(false, Release);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_original_is_added_under_speech_and_copied_behind_it_wherever_the_ring_wraps() {
        let (session, mut engine) = open(16_000, 16_000).expect("a slot");
        let original: Vec<i16> = (0..400).collect();
        let mut out = [7i16; 500];
        // Enough rounds that both rings wrap inside a frame.
        for round in 0..2 * RING_SAMPLES / 400 {
            engine.beat();
            let speech = [1000i16; 100];
            assert_eq!(engine.play(Ring::Speech, &speech) + engine.play(Ring::Original, &original), 500);
            assert_eq!(pull_frame(session, &mut out), Status::Ok, "round {round}");
            let expected: Vec<i16> =
                (0..500).map(|i| if i < 400 { i + if i < 100 { 1000 } else { 0 } } else { 0 }).collect();
            assert_eq!(out[..], expected[..], "round {round}");
        }
        assert_eq!(engine.pulled().original, (2 * RING_SAMPLES / 400 * 400) as u64);
        let mut loud = [0i16; 2];
        engine.play(Ring::Speech, &[i16::MAX, i16::MIN]);
        engine.play(Ring::Original, &[1, -1]);
        pull_frame(session, &mut loud);
        assert_eq!(loud, [i16::MAX, i16::MIN], "sums are limited");
        assert!(retire(session, false).expect("open").try_free().is_ok());
    }

    #[test]
    fn a_frame_that_does_not_fit_is_dropped_whole_and_told_as_a_gap() {
        let (session, mut engine) = open(48_000, 48_000).expect("a slot");
        let frame = [5i16; 5000];
        for _ in 0..RING_SAMPLES / 5000 + 2 {
            assert_eq!(push_frame(session, &frame), Status::Ok);
        }
        assert_eq!(engine.dropped(), 10_000);
        let (mut samples, mut missing) = (0, 0);
        let mut note = |pushed: Pushed<'_>| match pushed {
            Pushed::Samples(s) => samples += s.len(),
            Pushed::Gap { count, dropped: true } => missing += count,
            other => panic!("{other:?}"),
        };
        engine.drain(&mut note);
        push_frame(session, &frame);
        engine.drain(&mut note);
        assert_eq!((samples, missing), (RING_SAMPLES / 5000 * 5000 + 5000, 10_000));
        assert!(retire(session, false).expect("open").try_free().is_ok());
    }
}
