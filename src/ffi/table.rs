//! Handles of configurations and gateways: numbers with a slot and a generation, never pointers.
//!
//! A value is counted while a call uses it, so freeing it meanwhile only makes the handle stale.

use std::sync::{Arc, Mutex, MutexGuard};

use crate::status::Status;

const SLOT_BITS: u32 = 16;
/// Above the 2^53 that sessions keep below, so that no kind of handle passes for another.
const TAG_SHIFT: u32 = 56;

struct Slot<T> {
    /// Never 0, so no handle is 0.
    generation: u32,
    value: Option<Arc<T>>,
}

/// Values of one kind, by handle.
pub(super) struct Table<T> {
    tag: u8,
    slots: Mutex<Vec<Slot<T>>>,
}

impl<T> Table<T> {
    /// An empty table; `tag` tells its handles from those of other tables.
    pub(super) const fn new(tag: u8) -> Self {
        Table { tag, slots: Mutex::new(Vec::new()) }
    }

    /// Places a value and returns its handle. Errors: [`Status::ErrLimit`] with 65,536 values open.
    pub(super) fn insert(&self, value: T) -> Result<u64, Status> {
        let mut slots = self.lock();
        let index = slots.iter().position(|slot| slot.value.is_none()).unwrap_or(slots.len());
        if index >> SLOT_BITS != 0 {
            return Err(Status::ErrLimit);
        }
        if index == slots.len() {
            slots.push(Slot { generation: 1, value: None });
        }
        let slot = &mut slots[index];
        slot.value = Some(Arc::new(value));
        Ok(u64::from(self.tag) << TAG_SHIFT | u64::from(slot.generation) << SLOT_BITS | index as u64)
    }

    /// The value of a handle, for as long as the result is held.
    pub(super) fn get(&self, handle: u64) -> Result<Arc<T>, Status> {
        let mut slots = self.lock();
        self.find(&mut slots, handle)?.value.clone().ok_or(Status::ErrHandle)
    }

    /// Makes the handle stale; exactly one caller gets the value.
    pub(super) fn remove(&self, handle: u64) -> Result<Arc<T>, Status> {
        let mut slots = self.lock();
        let slot = self.find(&mut slots, handle)?;
        let value = slot.value.take().ok_or(Status::ErrHandle)?;
        slot.generation = slot.generation.checked_add(1).unwrap_or(1);
        Ok(value)
    }

    fn find<'a>(&self, slots: &'a mut [Slot<T>], handle: u64) -> Result<&'a mut Slot<T>, Status> {
        let index = (handle & ((1 << SLOT_BITS) - 1)) as usize;
        let slot = slots.get_mut(index).ok_or(Status::ErrHandle)?;
        let whole = u64::from(self.tag) << TAG_SHIFT | u64::from(slot.generation) << SLOT_BITS | index as u64;
        if handle == whole { Ok(slot) } else { Err(Status::ErrHandle) }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Slot<T>>> {
        self.slots.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_is_stale_after_removal_even_when_its_slot_is_used_again() {
        let table = Table::new(1);
        let first = table.insert("first").expect("room");
        assert_eq!(table.get(first).as_deref(), Ok(&"first"));
        let held = table.get(first).expect("open");
        assert!(table.remove(first).is_ok());
        assert_eq!(*held, "first", "a call that is inside keeps its value");
        assert_eq!(table.remove(first), Err(Status::ErrHandle));
        let second = table.insert("second").expect("room");
        assert_eq!(first & 0xffff, second & 0xffff, "the slot is used again");
        assert_eq!(table.get(first), Err(Status::ErrHandle));
        assert_eq!(table.get(second).as_deref(), Ok(&"second"));
    }

    #[test]
    fn handles_of_another_kind_and_made_up_numbers_are_refused() {
        let (ones, twos) = (Table::new(1), Table::new(2));
        let one = ones.insert(()).expect("room");
        twos.insert(()).expect("room");
        for handle in [0, 1, 0xffff, one & 0xffff_ffff, one | 1 << 50, u64::MAX] {
            assert_eq!(ones.get(handle), Err(Status::ErrHandle), "{handle:#x}");
        }
        assert_eq!(twos.get(one), Err(Status::ErrHandle));
        assert!(one >> 53 != 0, "cannot be a session");
    }
}
