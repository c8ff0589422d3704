//! Time scaling in place: takes a piece out of the audio that is about to be heard, or repeats one.

use super::queue::{Entry, Kind, Queue};
use crate::telephony::conceal::{best_lag, round};

/// Scratch space for finding periods.
#[derive(Debug)]
pub(super) struct Scaler {
    hz: usize,
    scratch: Box<[f32]>,
    raw: Box<[i16]>,
    made: Box<[i16]>,
}

impl Scaler {
    pub fn new(hz: u32) -> Self {
        let hz = hz as usize;
        Scaler {
            hz,
            scratch: vec![0.0; hz / 25].into_boxed_slice(),
            raw: vec![0; hz / 25].into_boxed_slice(),
            made: vec![0; hz / 10].into_boxed_slice(),
        }
    }

    fn ms10(&self, tenths: usize) -> usize {
        self.hz * tenths / 10_000
    }

    /// The next `len` samples (at most 40 ms).
    pub fn ahead(&mut self, queue: &Queue, next: i64, len: usize) -> &[i16] {
        let n = len.min(self.raw.len());
        queue.read(next, &mut self.raw[..n]);
        &self.raw[..n]
    }

    /// The same, and room for `hole` samples before them (at most 100 ms).
    pub fn halves(&mut self, queue: &Queue, right: i64, len: usize, hole: usize) -> (&[i16], &mut [i16]) {
        let n = len.min(self.raw.len());
        queue.read(right, &mut self.raw[..n]);
        (&self.raw[..n], &mut self.made[..hole])
    }

    /// Takes out `len` samples at `next`; the `overlap` samples before and behind the cut fade into each other.
    /// The caller moves its position on by `len`.
    pub fn remove(queue: &mut Queue, next: i64, len: usize, overlap: usize) {
        for i in 0..overlap {
            let into = (i as f32 + 0.5) / overlap as f32;
            let (a, b) = (next + i as i64, next + (len + i) as i64);
            let mixed = f32::from(queue.sample(a)) * (1.0 - into) + f32::from(queue.sample(b)) * into;
            queue.set(b, round(mixed));
        }
    }

    /// Repeats the last `len` samples of `history` before `next`, beginning with a crossfade from what was to come.
    /// The caller moves its position back by `len`.
    pub fn insert(queue: &mut Queue, next: i64, history: &[i16], len: usize, overlap: usize) {
        let from = history.len() - len;
        let mut sequence = 0;
        if let Some(front) = queue.front_mut() {
            sequence = front.sequence;
            // What was heard of it is behind what is repeated.
            front.from = front.from.max(next);
        }
        for i in 0..len {
            let repeated = f32::from(history[from + i]);
            let into = if i < overlap { (i as f32 + 0.5) / overlap as f32 } else { 1.0 };
            let coming = if i < overlap { f32::from(queue.sample(next + i as i64)) } else { 0.0 };
            queue.set(next - (len - i) as i64, round(coming * (1.0 - into) + repeated * into));
        }
        let kind = Kind::Inserted;
        queue.push_front(Entry { sequence, from: next - len as i64, to: next, kind, start: false });
    }

    /// Period at which the audio from `next` on may be cut (2.5 to `max_len` samples, at most 12.5 ms), and how alike the
    /// two sides of the cut are. `available` samples are there.
    pub fn period_ahead(&mut self, queue: &Queue, next: i64, available: usize, max_len: usize) -> Option<(usize, f32)> {
        let window = self.ms10(80);
        let max = self.ms10(125).min(max_len).min(available.checked_sub(window)?);
        let min = self.ms10(25);
        if max <= min {
            return None;
        }
        let n = max + window;
        queue.read(next, &mut self.raw[..n]);
        // best_lag compares the tail with what lies before it: mirrored, the tail is what comes first.
        for i in 0..n {
            self.scratch[n - 1 - i] = f32::from(self.raw[i]);
        }
        Some(best_lag(&self.scratch[..n], min, max, window, self.hz))
    }

    /// Period by which the audio may be repeated: how far back in `history` is what comes at `next`.
    pub fn period_behind(
        &mut self,
        queue: &Queue,
        next: i64,
        available: usize,
        history: &[i16],
        max_len: usize,
    ) -> Option<(usize, f32)> {
        let window = self.ms10(80);
        let (min, max) = (self.ms10(25), self.ms10(125).min(max_len));
        if available < window || max <= min {
            return None;
        }
        let n = max + window;
        let past = &history[history.len() - max..];
        for (to, from) in self.scratch.iter_mut().zip(past) {
            *to = f32::from(*from);
        }
        queue.read(next, &mut self.raw[..window]);
        for (to, from) in self.scratch[max..n].iter_mut().zip(&self.raw[..window]) {
            *to = f32::from(*from);
        }
        Some(best_lag(&self.scratch[..n], min, max, window, self.hz))
    }
}

/// Mean square of a block.
pub(super) fn mean_square(samples: &[i16]) -> f32 {
    let sum: i64 = samples.iter().map(|&s| i64::from(i32::from(s) * i32::from(s))).sum();
    sum as f32 / samples.len().max(1) as f32
}
