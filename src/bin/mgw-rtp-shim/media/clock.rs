//! The clock thread: wakes by absolute time and gives every leg its turn once in 20 ms.
//!
//! Legs are spread over up to 20 slots of 1 ms, so that many of them do not send in one burst. tokio's timers are 1.5 ms late
//! at the median and are used for nothing here.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, ClockNanosleepFlags, clock_gettime, clock_nanosleep};
use tokio::sync::oneshot;

/// Time between two turns of a leg, and the length of a frame.
pub const PTIME: Duration = Duration::from_millis(20);
const SLOTS: usize = 20;
const SLOT: Duration = Duration::from_millis(1);
/// Legs that a slot takes before the next one is opened: a few legs do not cost a wake-up of the thread each.
const FULL: usize = 32;
/// Slots are opened in this step (it has no divisor in common with their number), so that they lie far apart.
const APART: usize = 7;
/// Turns that are made up for after the thread was held up; what lies further back is skipped.
const CATCH_UP: u32 = 5;
/// Commands that may wait; whoever asks for more waits a moment.
const COMMANDS: usize = 1024;

/// A leg as the clock sees it.
pub trait Tick: Send {
    /// Takes what came, sends a frame. `now` is time since the clock began; `skipped` turns were left out before this
    /// one. False: it is at its end and is dropped.
    fn tick(&mut self, now: Duration, skipped: u32) -> bool;

    /// The last turn: takes what came and gives the session all that still waits to be played; nothing is sent.
    fn finish(&mut self, now: Duration);
}

enum Command {
    Add(u64, Box<dyn Tick>),
    Remove(u64),
    Finish(u64, oneshot::Sender<()>),
}

/// How well time is kept.
#[derive(Default)]
pub struct ClockStats {
    /// Slots with legs in them that were served.
    pub slots: AtomicU64,
    /// … that began more than 1 ms late.
    pub late: AtomicU64,
    /// Turns of legs that were left out.
    pub skipped: AtomicU64,
    /// Legs now.
    pub legs: AtomicU64,
    /// Legs that ended by a panic.
    pub panics: AtomicU64,
}

/// A running clock thread; dropping it ends the thread and all its legs.
pub struct Clock {
    commands: Option<Sender<Command>>,
    thread: Option<JoinHandle<()>>,
    pub stats: Arc<ClockStats>,
}

impl Clock {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system refuses a thread.
    pub fn start() -> io::Result<Clock> {
        let (commands, asked) = bounded(COMMANDS);
        let stats = Arc::new(ClockStats::default());
        let thread = {
            let stats = stats.clone();
            mgw::sys::spawn_thread("mgw-clock", move || Run::new(stats).run(&asked))?
        };
        Ok(Clock { commands: Some(commands), thread: Some(thread), stats })
    }

    /// Gives a leg its turns from now on. The first comes within 20 ms.
    ///
    /// # Errors
    /// More legs at once than the thread can take in; try again.
    pub fn add(&self, id: u64, leg: Box<dyn Tick>) -> Result<(), &'static str> {
        match self.commands.as_ref().map(|c| c.try_send(Command::Add(id, leg))) {
            Some(Ok(())) => Ok(()),
            Some(Err(TrySendError::Full(_))) => Err("the clock thread is overloaded"),
            _ => Err("the clock thread has ended"),
        }
    }

    /// Ends a leg when all that it has received was given to its session.
    pub async fn finish(&self, id: u64) {
        let (done, finished) = oneshot::channel();
        let asked = self.commands.as_ref().is_some_and(|c| c.try_send(Command::Finish(id, done)).is_ok());
        if asked {
            let _ = finished.await;
        }
    }

    /// Whether the thread still runs.
    pub fn is_alive(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// Drops a leg, with its sockets, on the clock thread.
    pub fn remove(&self, id: u64) {
        if let Some(commands) = &self.commands {
            // Must not be lost: the leg would send for ever. The thread empties the queue every millisecond.
            let _ = commands.send(Command::Remove(id));
        }
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        self.commands = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Run {
    slots: [Vec<(u64, Box<dyn Tick>)>; SLOTS],
    legs: usize,
    began: Duration,
    stats: Arc<ClockStats>,
}

fn monotonic() -> Duration {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from).unwrap_or_default()
}

/// Sleeps until a time of the monotonic clock; returns at once if it has passed.
pub fn sleep_until(time: Duration) {
    // A signal may end the sleep early; our threads block them all.
    let _ = clock_nanosleep(ClockId::CLOCK_MONOTONIC, ClockNanosleepFlags::TIMER_ABSTIME, &TimeSpec::from(time));
}

impl Run {
    fn new(stats: Arc<ClockStats>) -> Run {
        Run { slots: Default::default(), legs: 0, began: monotonic(), stats }
    }

    fn run(mut self, asked: &Receiver<Command>) {
        // Number of the slot that is due next, counted from `began`.
        let mut next: u64 = 0;
        let mut skipped = [0u32; SLOTS];
        loop {
            if self.legs == 0 {
                // Nothing to send: no wake-ups at all.
                match asked.recv() {
                    Ok(command) => self.obey(command),
                    Err(_) => return,
                }
                next = slot_after(monotonic() - self.began);
                skipped = [0; SLOTS];
                continue;
            }
            sleep_until(self.began + slot_time(next));
            loop {
                match asked.try_recv() {
                    Ok(command) => self.obey(command),
                    Err(crossbeam_channel::TryRecvError::Empty) => break,
                    Err(crossbeam_channel::TryRecvError::Disconnected) => return,
                }
            }
            let now = monotonic() - self.began;
            let due = slot_after(now);
            // Held up for longer than can be made up for: whole rounds are left out, and every leg is told.
            let behind = due.saturating_sub(next) / SLOTS as u64;
            if behind > u64::from(CATCH_UP) {
                let rounds = behind - u64::from(CATCH_UP);
                next += rounds * SLOTS as u64;
                skipped.iter_mut().for_each(|s| *s += u32::try_from(rounds).unwrap_or(u32::MAX));
                self.stats.skipped.fetch_add(rounds * self.legs as u64, Ordering::Relaxed);
            }
            while next < due {
                let slot = (next % SLOTS as u64) as usize;
                self.serve(slot, std::mem::take(&mut skipped[slot]), next);
                next += 1;
            }
            next = self.next_with_legs(next);
        }
    }

    /// The next slot from `from` on that has legs, at most one round away.
    fn next_with_legs(&self, from: u64) -> u64 {
        (from..from + SLOTS as u64).find(|n| !self.slots[(n % SLOTS as u64) as usize].is_empty()).unwrap_or(from)
    }

    fn serve(&mut self, slot: usize, skipped: u32, number: u64) {
        let legs = &mut self.slots[slot];
        if legs.is_empty() {
            return;
        }
        let now = monotonic() - self.began;
        self.stats.slots.fetch_add(1, Ordering::Relaxed);
        if now > slot_time(number) + SLOT {
            self.stats.late.fetch_add(1, Ordering::Relaxed);
        }
        let before = legs.len();
        // A panic costs this one leg; whoever looks after it sees that it has ended.
        let panics = &self.stats.panics;
        legs.retain_mut(|(_, leg)| {
            catch_unwind(AssertUnwindSafe(|| leg.tick(now, skipped))).unwrap_or_else(|_| {
                panics.fetch_add(1, Ordering::Relaxed);
                false
            })
        });
        self.legs -= before - legs.len();
        self.stats.legs.store(self.legs as u64, Ordering::Relaxed);
    }

    fn take_out(&mut self, id: u64) -> Option<Box<dyn Tick>> {
        for slot in &mut self.slots {
            if let Some(at) = slot.iter().position(|(other, _)| *other == id) {
                self.legs -= 1;
                // In order, so that the others keep their turns.
                return Some(slot.remove(at).1);
            }
        }
        None
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Add(id, leg) => {
                let slot = slot_for(&self.slots.each_ref().map(Vec::len));
                self.slots[slot].push((id, leg));
                self.legs += 1;
            }
            Command::Remove(id) => drop(self.take_out(id)),
            Command::Finish(id, done) => {
                let now = monotonic() - self.began;
                if let Some(mut leg) = self.take_out(id) {
                    let _ = catch_unwind(AssertUnwindSafe(|| leg.finish(now)));
                }
                let _ = done.send(());
            }
        }
        self.stats.legs.store(self.legs as u64, Ordering::Relaxed);
    }
}

/// Where one more leg goes: into the first open slot with room, or the emptiest.
fn slot_for(legs: &[usize; SLOTS]) -> usize {
    let order = (0..SLOTS).map(|n| n * APART % SLOTS);
    let room = order.clone().find(|slot| (1..FULL).contains(&legs[*slot]));
    room.or_else(|| order.clone().find(|slot| legs[*slot] == 0)).or(order.min_by_key(|slot| legs[*slot])).unwrap_or(0)
}

fn slot_time(number: u64) -> Duration {
    Duration::from_millis(number)
}

/// The first slot that begins after `now`.
fn slot_after(now: Duration) -> u64 {
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX) + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_legs_share_slots_and_many_are_spread() {
        let mut legs = [0; SLOTS];
        let mut used = |count: usize| {
            for _ in legs.iter().sum::<usize>()..count {
                legs[slot_for(&legs)] += 1;
            }
            (legs.iter().filter(|n| **n > 0).count(), legs.into_iter().max().unwrap_or(0))
        };
        for (count, slots, most) in [(1, 1, 1), (32, 1, 32), (33, 2, 32), (100, 4, 32), (640, 20, 32), (1000, 20, 50)] {
            assert_eq!(used(count), (slots, most), "{count} legs");
        }
        legs[3] = 0;
        assert_eq!(slot_for(&legs), 3, "what has become free is used again");
        legs = [0; SLOTS];
        legs[0] = FULL;
        assert_eq!(slot_for(&legs), APART, "the second slot lies far from the first");
    }
}
