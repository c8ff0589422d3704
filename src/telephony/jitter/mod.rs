//! Adaptive jitter buffer: packets in as they come, one even stream out.
//!
//! ```text
//! put(packet) ─► position by RTP timestamp ─► queue (ring) ─► get(frame): adapt, play, fill holes, wait
//!                transit time ─► delay window ─► target          history ─► concealment
//! ```
//!
//! The caller's only duty is to `put` what has arrived and to `get` one frame at every tick. Rules:
//!
//! - Words are never dropped while there is room: a stream that stood still is played on in full, later; the delay is shed
//!   again in pauses, and in speech by single pitch periods only if there are no pauses.
//! - A hole whose end is known is filled from both sides; one that is not is concealed for 60 ms.
//! - What was made up at the end of the stream is accounted for when the next packet tells what it was: lost audio
//!   (timestamps went on), a stall (they did not) or the sender's silence (they did, without a packet missing).
//!
//! Positions count samples; the sender's silences and restarts included, they never go back. No allocation after `new`.

mod adapt;
mod delay;
mod noise;
mod playout;
mod queue;
mod scale;
mod stats;
#[cfg(test)]
mod tests;

use std::time::Duration;

use self::delay::{Delay, micros};
use self::noise::Noise;
use self::queue::{Entry, Kind, Queue, Refused};
use self::scale::Scaler;
use super::conceal::Concealer;
pub use stats::JitterStats;

/// Packets that may wait (at 20 ms each far more than the time bound; against floods of tiny ones).
const MAX_PACKETS: usize = 256;
/// A packet that is this much too early by its timestamp though none is missing: the sender's time scale has jumped.
const JUMP: i64 = 60_000;
/// The same where packets are missing.
const JUMP_LOSSY: i64 = 1_000_000;

/// Settings of a [`JitterBuffer`].
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Samples per second, of audio and of timestamps.
    pub hz: u32,
    /// Least target delay beyond the fastest packet; 20 ms carry a paced stream on a reading grid of 20 ms.
    pub min_ms: u32,
    /// Most audio that may wait. More than that and the oldest is dropped; stalls up to this long lose nothing.
    pub max_ms: u32,
}

impl Config {
    /// 20 to 400 ms at `hz`.
    pub fn new(hz: u32) -> Self {
        Config { hz, min_ms: 20, max_ms: 400 }
    }
}

/// A sequence number so far away (hours) belongs to another source.
const STRANGE: u64 = 1 << 20;

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// It will be heard, at least in part.
    Queued,
    /// Its time was over.
    Late,
    /// It was there already.
    Duplicate,
    /// Room was made by dropping the oldest audio, or it was itself refused.
    Overflow,
}

/// What a frame holds, by its most remarkable part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Got {
    /// Received audio.
    Audio,
    /// At least in part made up.
    Concealed,
    /// Comfort noise of the announced level.
    Noise,
    /// Nothing: zeros.
    Silence,
}

/// The newest packet, from which positions are counted.
#[derive(Clone, Copy, Debug)]
struct Newest {
    sequence: i64,
    timestamp: u32,
    from: i64,
    to: i64,
}

/// A jitter buffer for one direction of one call leg.
#[derive(Debug)]
pub struct JitterBuffer {
    hz: i64,
    min: i64,
    max: i64,
    queue: Queue,
    delay: Delay,
    concealer: Concealer,
    scaler: Scaler,
    noise: Noise,
    /// Position of the next sample to be heard.
    next: i64,
    /// Everything before was heard or given up; behind `next` only after an insertion.
    frontier: i64,
    newest: Option<Newest>,
    /// Added to the sequence numbers so that they go on over restarts.
    sequence_offset: i64,
    restarted: bool,
    /// First number of the current time scale.
    scale_from: i64,
    /// Numbers seen: bit n is `newest.sequence - n`.
    seen: u64,
    played: Option<i64>,
    /// Longest packet of late, in samples.
    packet: i64,
    silent: bool,
    pending: u64,
    pause_left: i64,
    frame: i64,
    adapt: adapt::Adapt,
    stats: JitterStats,
}

impl JitterBuffer {
    /// An empty buffer; all its memory is allocated here.
    pub fn new(config: Config) -> Self {
        let hz = i64::from(config.hz.clamp(8_000, 48_000));
        let max_ms = i64::from(config.max_ms.clamp(60, 10_000));
        let max = max_ms * hz / 1000;
        let rate = hz as u32;
        JitterBuffer {
            hz,
            min: i64::from(config.min_ms).min(max_ms / 2) * 1000,
            max,
            // Beyond what waits: room before it for an insertion.
            queue: Queue::new((max + hz / 10) as usize, MAX_PACKETS),
            delay: Delay::new(),
            concealer: Concealer::new(rate),
            scaler: Scaler::new(rate),
            noise: Noise::new(),
            next: 0,
            frontier: 0,
            newest: None,
            sequence_offset: 0,
            restarted: false,
            scale_from: 0,
            seen: 0,
            played: None,
            packet: 0,
            silent: false,
            pending: 0,
            pause_left: 0,
            frame: hz / 50,
            adapt: adapt::Adapt::default(),
            stats: JitterStats::default(),
        }
    }

    /// A packet of decoded audio with its extended sequence number and RTP timestamp, which arrived at `now` (best the
    /// kernel's time of receipt: what a busy reader adds is taken for jitter). The marker bit is not needed: a pause shows
    /// by a timestamp that goes on without a number missing.
    pub fn put(&mut self, now: Duration, sequence: u64, timestamp: u32, samples: &[i16]) -> Put {
        let len = samples.len() as i64;
        if len == 0 {
            self.not_audio(sequence);
            return Put::Queued;
        }
        self.stats.received += 1;
        self.stats.received_samples += len as u64;
        let Some(number) = self.number(sequence) else {
            self.stats.duplicates += 1;
            self.stats.duplicate_samples += len as u64;
            return Put::Duplicate;
        };
        if len > self.max || self.queue.is_full() {
            self.stats.overflow += 1;
            self.stats.overflow_samples += len as u64;
            return Put::Overflow;
        }
        let Some((from, start)) = self.place(now, number, timestamp, len) else {
            self.stats.late += 1;
            self.stats.late_samples += len as u64;
            return Put::Late;
        };
        self.packet = len.max(self.packet - self.packet / 64);
        self.delay.arrived(now, micros(now) - self.micros_of(from));
        if from < self.frontier {
            self.stats.late += 1;
            let late = (self.frontier - from).min(len);
            self.stats.late_samples += late as u64;
            if late == len {
                return Put::Late;
            }
        }
        let skip = (self.frontier - from).clamp(0, len);
        let mut entry = Entry { sequence: number, from, to: from + len, kind: Kind::Audio, start };
        let overflow = self.make_room(&mut entry);
        let skip_now = (self.frontier - from).clamp(skip, len);
        self.stats.overflow_samples += (skip_now - skip) as u64;
        entry.from += skip_now;
        let wanted = (len - skip_now) as u64;
        match self.queue.insert(entry, &samples[skip_now as usize..]) {
            Ok(new) => {
                self.stats.duplicate_samples += wanted - new as u64;
                if overflow { Put::Overflow } else { Put::Queued }
            }
            Err(Refused::Duplicate) if self.was_filled(&entry) => {
                self.stats.late += 1;
                self.stats.late_samples += wanted;
                Put::Late
            }
            Err(_) => {
                self.stats.duplicates += 1;
                self.stats.duplicate_samples += wanted;
                Put::Duplicate
            }
        }
    }

    /// The sender has gone silent at `timestamp` and tells the level of its background noise in dB below overload
    /// (RFC 3389).
    pub fn comfort_noise(&mut self, now: Duration, sequence: u64, timestamp: u32, level: u8) {
        let Some(number) = self.number(sequence) else { return };
        let Some((from, _)) = self.place(now, number, timestamp, 0) else { return };
        let from = from.max(self.next);
        let mut entry = Entry { sequence: number, from, to: from, kind: Kind::Noise(level), start: false };
        self.make_room(&mut entry);
        entry.from = from.max(self.next);
        entry.to = entry.from;
        // If there is no room the noise keeps its level.
        let _ = self.queue.insert(entry, &[]);
    }

    /// A packet of the stream that carries no audio, such as telephone-event: its number is not missing.
    pub fn not_audio(&mut self, sequence: u64) {
        let Some(number) = self.number(sequence) else { return };
        let Some(newest) = self.newest else { return };
        if number < newest.sequence {
            return;
        }
        let from = self.queue.end().unwrap_or(self.next).max(self.next);
        let entry = Entry { sequence: number, from, to: from, kind: Kind::Other, start: false };
        if self.queue.insert(entry, &[]).is_ok() {
            self.newest = Some(Newest { sequence: number, ..newest });
        }
    }

    /// Another source follows: what is queued is played, the next packet goes behind it.
    pub fn restart(&mut self) {
        self.restarted = true;
    }

    /// What was done so far.
    pub fn stats(&self) -> JitterStats {
        let depth = (self.queue.end().unwrap_or(self.next) - self.next).max(0);
        JitterStats {
            queued_samples: self.queue.received_in(self.next, i64::MAX),
            pending_samples: self.pending,
            depth_ms: depth as f64 * 1000.0 / self.hz as f64,
            target_ms: self.target() as f64 / 1000.0,
            delay_ms: self.adapt.delay().unwrap_or(0) as f64 / 1000.0,
            jitter_ms: self.delay.jitter() / 1000.0,
            ..self.stats
        }
    }

    fn micros_of(&self, position: i64) -> i64 {
        position * 1_000_000 / self.hz
    }

    /// The running number of a packet; `None` if it was seen before.
    fn number(&mut self, sequence: u64) -> Option<i64> {
        let sequence = sequence as i64;
        let Some(newest) = self.newest else {
            self.sequence_offset = sequence.wrapping_neg();
            self.seen = 1;
            return Some(0);
        };
        let ahead = sequence.wrapping_add(self.sequence_offset).wrapping_sub(newest.sequence);
        self.restarted |= ahead.unsigned_abs() > STRANGE;
        if self.restarted {
            self.sequence_offset = (newest.sequence + 1).wrapping_sub(sequence);
        }
        let number = sequence.wrapping_add(self.sequence_offset);
        let ahead = number - newest.sequence;
        if ahead > 0 {
            self.seen = if ahead < 64 { self.seen << ahead | 1 } else { 1 };
        } else if ahead <= -64 {
            self.stats.reordered += 1;
        } else {
            let bit = 1 << -ahead;
            if self.seen & bit != 0 {
                return None;
            }
            self.seen |= bit;
            self.stats.reordered += 1;
        }
        Some(number)
    }

    /// Where a packet belongs and whether playout waits for the target delay there; `None` if that was before the
    /// current time scale.
    fn place(&mut self, now: Duration, number: i64, timestamp: u32, len: i64) -> Option<(i64, bool)> {
        let Some(newest) = self.newest else {
            self.newest = Some(Newest { sequence: number, timestamp, from: self.next, to: self.next + len });
            self.scale_from = number;
            return Some((self.next, true));
        };
        let from = newest.from + i64::from(timestamp.wrapping_sub(newest.timestamp).cast_signed());
        if number > newest.sequence {
            let early =
                if self.delay.is_empty() { i64::MAX } else { self.delay.base() - micros(now) + self.micros_of(from) };
            let jump = if number == newest.sequence + 1 { JUMP } else { JUMP_LOSSY }.min(self.micros_of(self.max) / 2);
            let jumped = from < newest.to || from > newest.to && early > jump;
            if self.restarted || jumped {
                return Some((self.rescale(number, timestamp, len), true));
            }
            self.newest = Some(Newest { sequence: number, timestamp, from, to: from + len });
            return Some((from, false));
        }
        if number >= self.scale_from {
            // An older packet cannot lie far ahead.
            return (from <= newest.to).then_some((from, false));
        }
        // Sent before the first one, and that is not being heard yet.
        let end = self.queue.end()?;
        let first = self.queue.front_mut().filter(|e| e.start && e.sequence == self.scale_from)?;
        if len == 0 || first.from != self.next || from + len > self.next || end - from > self.max {
            return None;
        }
        first.start = false;
        self.next = from;
        self.frontier = from;
        self.scale_from = number;
        self.played = Some(number - 1);
        Some((from, true))
    }

    /// A new time scale: the packet goes right behind what is queued.
    fn rescale(&mut self, number: i64, timestamp: u32, len: i64) -> i64 {
        let from = self.queue.end().unwrap_or(self.next).max(self.next);
        self.restarted = false;
        self.newest = Some(Newest { sequence: number, timestamp, from, to: from + len });
        self.scale_from = number;
        self.delay.reset();
        self.adapt.forget();
        self.stats.resyncs += 1;
        from
    }

    fn was_filled(&self, entry: &Entry) -> bool {
        self.queue.iter().any(|e| e.kind == Kind::Filled && e.from < entry.to && entry.from < e.to)
    }

    /// Drops the oldest so that there is room for an entry; true if received audio was lost by that.
    fn make_room(&mut self, entry: &mut Entry) -> bool {
        if entry.to - self.next <= self.max {
            return false;
        }
        // A hole in front needs no room: it was waited for already, or is silence.
        while self.settle() {}
        if self.queue.front().is_none() && entry.from > self.next {
            let silence = self.settle_before(entry.from, entry.sequence);
            entry.start |= silence && entry.from < entry.to;
        }
        let next = entry.to - self.max;
        if next <= self.next {
            return false;
        }
        let dropped = self.queue.received_in(self.next, next);
        self.stats.overflow_samples += dropped;
        self.stats.overflow += u64::from(dropped > 0);
        self.concealer.cut();
        self.adapt.forget();
        self.next = next;
        self.frontier = self.frontier.max(next);
        self.trim();
        dropped > 0
    }
}
