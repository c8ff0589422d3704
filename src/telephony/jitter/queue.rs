//! Received audio by position, waiting to be heard. All memory is taken at construction.

use std::collections::VecDeque;

/// What a stretch of positions holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Received audio.
    Audio,
    /// A hole that was filled from both sides.
    Filled,
    /// Audio repeated to gain time.
    Inserted,
    /// From here on the sender is silent, at this many dB below overload (RFC 3389). No samples.
    Noise(u8),
    /// A packet of the stream that carries no audio (telephone-event). No samples.
    Other,
}

/// A stretch of positions, mostly one packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub sequence: i64,
    pub from: i64,
    pub to: i64,
    pub kind: Kind,
    /// Is not to be heard before the target delay is reached.
    pub start: bool,
}

/// Why something could not be queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// All positions are there already.
    Duplicate,
    /// No place in the list.
    Full,
}

/// Sorted entries over a ring of samples.
#[derive(Debug)]
pub(super) struct Queue {
    ring: Box<[i16]>,
    entries: VecDeque<Entry>,
    limit: usize,
}

impl Queue {
    /// Room for `samples` samples, the played ones that an insertion may overwrite included, and `entries` packets.
    pub fn new(samples: usize, entries: usize) -> Self {
        Queue {
            ring: vec![0; samples.next_power_of_two()].into_boxed_slice(),
            entries: VecDeque::with_capacity(entries + 1),
            limit: entries,
        }
    }

    fn index(&self, position: i64) -> usize {
        // Negative positions wrap as well.
        (position as usize) & (self.ring.len() - 1)
    }

    pub fn sample(&self, position: i64) -> i16 {
        self.ring[self.index(position)]
    }

    pub fn set(&mut self, position: i64, sample: i16) {
        let at = self.index(position);
        self.ring[at] = sample;
    }

    /// Copies the samples from `position` on.
    pub fn read(&self, position: i64, out: &mut [i16]) {
        let at = self.index(position);
        let first = (self.ring.len() - at).min(out.len());
        let (head, tail) = out.split_at_mut(first);
        head.copy_from_slice(&self.ring[at..at + head.len()]);
        tail.copy_from_slice(&self.ring[..tail.len()]);
    }

    fn write(&mut self, position: i64, samples: &[i16]) {
        let at = self.index(position);
        let (head, tail) = samples.split_at((self.ring.len() - at).min(samples.len()));
        self.ring[at..at + head.len()].copy_from_slice(head);
        self.ring[..tail.len()].copy_from_slice(tail);
    }

    pub fn front(&self) -> Option<&Entry> {
        self.entries.front()
    }

    pub fn front_mut(&mut self) -> Option<&mut Entry> {
        self.entries.front_mut()
    }

    pub fn pop(&mut self) -> Option<Entry> {
        self.entries.pop_front()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    pub fn is_full(&self) -> bool {
        self.entries.len() >= self.limit
    }

    /// The position behind everything queued.
    pub fn end(&self) -> Option<i64> {
        self.entries.back().map(|e| e.to)
    }

    /// Queues an entry and its samples, the first of which lies at `entry.from`; where other entries lie already,
    /// they stay. Returns how many samples were new.
    pub fn insert(&mut self, mut entry: Entry, samples: &[i16]) -> Result<usize, Refused> {
        if self.is_full() {
            return Err(Refused::Full);
        }
        let begin = entry.from;
        let mut at = self.entries.partition_point(|e| e.from < entry.from);
        // Entries without samples stay before audio of the same position if they were sent before it.
        while self
            .entries
            .get(at)
            .is_some_and(|e| e.from == entry.from && e.from == e.to && e.sequence < entry.sequence)
        {
            at += 1;
        }
        let has_samples = |e: &&Entry| e.from < e.to;
        if let Some(before) = self.entries.range(..at).rev().find(has_samples) {
            entry.from = entry.from.max(before.to);
        }
        if let Some(after) = self.entries.range(at..).find(has_samples) {
            entry.to = entry.to.min(after.from);
        }
        if entry.to <= entry.from && !samples.is_empty() {
            return Err(Refused::Duplicate);
        }
        if samples.is_empty() {
            entry.to = entry.from;
            self.entries.insert(at, entry);
            return Ok(0);
        }
        let part = &samples[(entry.from - begin) as usize..(entry.to - begin) as usize];
        self.write(entry.from, part);
        self.entries.insert(at, entry);
        Ok(part.len())
    }

    /// Puts an entry whose samples are in place before all others.
    pub fn push_front(&mut self, entry: Entry) {
        self.entries.push_front(entry);
    }

    /// How many samples follow `position` without a hole, up to `most`.
    pub fn contiguous(&self, position: i64, most: usize) -> usize {
        let mut end = position;
        for entry in &self.entries {
            if entry.from > end || entry.start || end - position >= most as i64 {
                break;
            }
            end = end.max(entry.to);
        }
        ((end - position) as usize).min(most)
    }

    /// How many received samples lie in `from..to`.
    pub fn received_in(&self, from: i64, to: i64) -> u64 {
        self.entries
            .iter()
            .filter(|e| e.kind == Kind::Audio)
            .map(|e| (e.to.min(to) - e.from.max(from)).max(0) as u64)
            .sum()
    }
}
