//! One frame out: plays what is there, fills holes, waits.

use std::time::Duration;

use super::delay::micros;
use super::queue::{Entry, Kind};
use super::{Got, JitterBuffer, adapt};
use crate::telephony::conceal::FADE_MS;

/// Made up after speech that is known to have ended.
const RELEASE_MS: usize = 5;

/// What a frame is made of, so far.
#[derive(Default)]
struct Parts {
    audio: bool,
    concealed: bool,
    noise: bool,
}

impl JitterBuffer {
    /// Fills `out` with the next samples; `now` is the time of the tick at which they are heard.
    pub fn get(&mut self, now: Duration, out: &mut [i16]) -> Got {
        if out.is_empty() {
            return Got::Silence;
        }
        self.frame = (out.len() as i64).min(self.max / 2);
        self.stats.output_samples += out.len() as u64;
        self.trim();
        self.adapt(now);
        let mut parts = Parts::default();
        let mut filled = 0;
        while filled < out.len() {
            self.trim();
            while self.settle() {}
            let rest = &mut out[filled..];
            filled += match self.queue.front().copied() {
                None => self.stand_still(rest, &mut parts),
                Some(front) if front.from > self.next => self.conceal(&front, rest, &mut parts),
                Some(front) => {
                    let heard = micros(now) + self.micros_of(filled as i64);
                    match if front.start { self.wait(heard) } else { 0 } {
                        0 => self.play(&front, rest, &mut parts),
                        wait => self.be_silent(wait, rest, &mut parts),
                    }
                }
            };
        }
        match parts {
            Parts { concealed: true, .. } => Got::Concealed,
            Parts { audio: true, .. } => {
                self.adapt.hear(out);
                Got::Audio
            }
            Parts { noise: true, .. } => Got::Noise,
            Parts { .. } => Got::Silence,
        }
    }

    /// Forgets what lies behind the position.
    pub(super) fn trim(&mut self) {
        while let Some(front) = self.queue.front().copied() {
            let over = if front.from == front.to { front.from <= self.next } else { front.to <= self.next };
            if !over {
                return;
            }
            self.queue.pop();
            if let Kind::Noise(level) = front.kind {
                self.noise.set_level(level);
                self.silent = true;
            }
            let last = self.played.unwrap_or(front.sequence - 1);
            if front.sequence > last {
                // A filled hole stands for the number before its right side.
                self.stats.lost += (front.sequence - last - i64::from(front.kind != Kind::Filled)) as u64;
                self.played = Some(front.sequence);
            }
            // An entry without samples cannot keep the mark.
            if front.start
                && let Some(next) = self.queue.front_mut()
            {
                next.start |= front.to == next.from;
            }
        }
    }

    /// Decides what a hole right before the first entry was, as far as it is over. True if the position moved.
    pub(super) fn settle(&mut self) -> bool {
        let Some(front) = self.queue.front().copied() else { return false };
        if front.from <= self.next {
            return false;
        }
        let before = self.next;
        if self.settle_before(front.from, front.sequence)
            && let Some(first) = self.queue.front_mut()
        {
            first.start = first.from < first.to;
        }
        self.trim();
        self.next > before
    }

    /// The same for a hole before a packet that lies at `from`; true if it was the sender's silence.
    pub(super) fn settle_before(&mut self, from: i64, sequence: i64) -> bool {
        let hole = from - self.next;
        let missing = sequence.saturating_sub(self.played.unwrap_or(sequence - 1)) - 1;
        let silence = self.silent || missing <= 0 || hole / 3 * 2 > missing.saturating_mul(self.packet);
        if silence {
            // Nothing of a pause needs to be heard that was heard already; of one that lies ahead, a part.
            self.pause_left = if self.pending > 0 { 0 } else { (hole / 2).min(self.hz / 25) };
            self.stats.silence_samples += self.pending;
            self.pending = 0;
            self.next = from;
        } else {
            let over = hole.min(self.pending as i64);
            self.pending -= over as u64;
            self.stats.concealed_samples += over as u64;
            self.next += over;
        }
        self.frontier = self.frontier.max(self.next);
        silence
    }

    /// Samples that the first entry has to wait until it is heard with the target delay, if the next one is heard at `heard`.
    fn wait(&mut self, heard: i64) -> usize {
        let until = self.delay.base() + self.micros_of(self.next) + self.target() + adapt::SLACK;
        let wait = ((until - heard) * self.hz).div_euclid(1_000_000).max(self.pause_left).max(0);
        if wait == 0
            && let Some(first) = self.queue.front_mut()
        {
            first.start = false;
            self.concealer.rest();
        }
        wait as usize
    }

    fn play(&mut self, front: &Entry, out: &mut [i16], parts: &mut Parts) -> usize {
        let pending = std::mem::take(&mut self.pending);
        if pending > 0 {
            if self.silent || self.stats.played_samples == 0 {
                self.stats.silence_samples += pending;
            } else {
                self.stats.inserted_samples += pending;
                self.stats.underruns += 1;
            }
            self.adapt.forget();
        }
        let n = out.len().min((front.to - self.next) as usize);
        let out = &mut out[..n];
        self.queue.read(self.next, out);
        match front.kind {
            Kind::Filled => {
                self.concealer.played(out);
                self.stats.concealed_samples += n as u64;
                parts.concealed = true;
            }
            kind => {
                self.concealer.heard(out);
                let counter =
                    if kind == Kind::Audio { &mut self.stats.played_samples } else { &mut self.stats.inserted_samples };
                *counter += n as u64;
                parts.audio = true;
            }
        }
        self.silent = false;
        self.next += n as i64;
        self.frontier = self.frontier.max(self.next);
        n
    }

    /// A hole, and audio behind it.
    fn conceal(&mut self, front: &Entry, out: &mut [i16], parts: &mut Parts) -> usize {
        let hole = (front.from - self.next) as usize;
        if front.kind == Kind::Audio && hole <= FADE_MS * self.hz as usize / 1000 && !self.queue.is_full() {
            self.fill(front, hole);
            return 0;
        }
        let n = out.len().min(hole);
        parts.concealed |= self.concealer.extend(&mut out[..n], FADE_MS);
        self.stats.concealed_samples += n as u64;
        self.next += n as i64;
        self.frontier = self.frontier.max(self.next);
        n
    }

    /// Fills a short hole from both sides.
    fn fill(&mut self, front: &Entry, hole: usize) {
        let ahead = self.queue.contiguous(front.from, self.hz as usize / 25);
        let (right, made) = self.scaler.halves(&self.queue, front.from, ahead, hole);
        self.concealer.interpolate(right, made);
        for (i, &sample) in made.iter().enumerate() {
            self.queue.set(self.next + i as i64, sample);
        }
        let (from, to) = (self.next, front.from);
        self.queue.push_front(Entry { sequence: front.sequence - 1, from, to, kind: Kind::Filled, start: false });
    }

    /// Nothing is there.
    fn stand_still(&mut self, out: &mut [i16], parts: &mut Parts) -> usize {
        if self.newest.is_none() {
            out.fill(0);
            self.stats.silence_samples += out.len() as u64;
            return out.len();
        }
        self.pending += out.len() as u64;
        self.make_up(out, parts);
        out.len()
    }

    fn be_silent(&mut self, wait: usize, out: &mut [i16], parts: &mut Parts) -> usize {
        let n = out.len().min(wait);
        self.pause_left = (self.pause_left - n as i64).max(0);
        self.stats.silence_samples += n as u64 + std::mem::take(&mut self.pending);
        if !self.silent {
            self.concealer.extend(&mut out[..n], RELEASE_MS);
            return n;
        }
        self.make_up(&mut out[..n], parts);
        n
    }

    /// Comfort noise if the sender announced it, otherwise a concealment that fades.
    fn make_up(&mut self, out: &mut [i16], parts: &mut Parts) {
        if self.silent {
            self.concealer.extend(out, RELEASE_MS);
            self.noise.add(out);
            parts.noise = true;
        } else {
            parts.concealed |= self.concealer.extend(out, FADE_MS);
        }
    }
}
