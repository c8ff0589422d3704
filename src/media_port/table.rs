//! The table of handles: which port a handle names, and when a closed one may be freed.

use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering::*};
use std::sync::{Mutex, PoisonError};

use super::caller::CallerSide;
use super::engine_side::{EnginePort, pair};
use crate::engine::SessionId;
use crate::status::Status;

/// Slots of the handle table: the hard limit of sessions in a process.
pub const MAX_SESSIONS: usize = 16_384;

/// One slot of the handle table. `generation` is odd while the slot is open.
pub(super) struct Slot {
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

pub(super) fn split(id: SessionId) -> Option<(&'static Slot, u32)> {
    let slot = (id.0 & 0xffff) as usize;
    let generation = id.0 >> 16;
    if generation > u64::from(u32::MAX) {
        return None;
    }
    SLOTS.get(slot).map(|s| (s, generation as u32))
}

/// Runs `f` on the open port of `id`; a stale handle gets a status.
#[inline]
pub(super) fn pinned(id: SessionId, f: impl FnOnce(&CallerSide) -> Status) -> Status {
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

/// Makes a port. `None` when all slots are taken.
pub fn open(in_hz: u32, out_hz: u32) -> Option<(SessionId, EnginePort)> {
    LATE.lock().unwrap_or_else(PoisonError::into_inner).retain(|index| !free(*index));
    let (caller, engine) = pair(in_hz, out_hz);
    let start = NEXT_SLOT.fetch_add(1, Relaxed) as usize;
    let index =
        (0..MAX_SESSIONS).map(|i| (start + i) % MAX_SESSIONS).find(|&i| !SLOTS[i].reserved.swap(true, AcqRel))?;
    let slot = &SLOTS[index];
    slot.shut_down.store(false, Release);
    slot.caller.store(Box::into_raw(Box::new(caller)), Release);
    let generation = slot.generation.load(SeqCst).wrapping_add(1);
    slot.generation.store(generation, SeqCst);
    let id = SessionId(u64::from(generation) << 16 | index as u64);
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
        if !free(self.index) {
            return Err(self);
        }
        std::mem::forget(self);
        Ok(())
    }
}

impl Drop for Retired {
    /// One that could not be freed is not forgotten: the next `open` tries again.
    fn drop(&mut self) {
        if !free(self.index) {
            LATE.lock().unwrap_or_else(PoisonError::into_inner).push(self.index);
        }
    }
}

/// Slots of closed sessions that nobody waits for and in which a call still was.
static LATE: Mutex<Vec<usize>> = Mutex::new(Vec::new());

fn free(index: usize) -> bool {
    let slot = &SLOTS[index];
    if slot.pins.load(SeqCst) != 0 {
        return false;
    }
    let caller = slot.caller.swap(std::ptr::null_mut(), AcqRel);
    if !caller.is_null() {
        // SAFETY: from Box::into_raw in `open`, taken out of the slot by this swap alone; `generation` was
        // changed before `pins` was seen at zero, so no call holds or can get a reference (see `pinned`).
        drop(unsafe { Box::from_raw(caller) });
    }
    slot.reserved.store(false, Release);
    true
}
