//! The delay towards its target: sheds and gains time where it is heard least.

use std::time::Duration;

use super::JitterBuffer;
use super::delay::micros;
use super::queue::Kind;
use super::scale::{Scaler, mean_square};

/// Audio begins to be heard this much above the target, in microseconds.
pub(super) const SLACK: i64 = 2_000;
/// Bounds above the target within which nothing is done: gain time in pauses below the first, in speech below the second …
const LOW_QUIET: i64 = 1_000;
const LOW_SPEECH: i64 = 200;
/// … shed in pauses above the third, in speech above the fourth.
const HIGH_QUIET: i64 = 8_000;
const HIGH_SPEECH: i64 = 16_000;
/// Speech is touched only if no pause came for so many frames, fewer if the buffer may run dry …
const PATIENCE: u32 = 75;
const PATIENCE_TO_GAIN: u32 = 15;
/// … and then at most one part in so many of it.
const RATE: i64 = 14;
/// Correlation at which a period is taken out or repeated.
const ALIKE: f32 = 0.6;

/// Frames in each half of the window over which the delay is taken.
const WINDOW: u32 = 16;

/// State of the adaptation.
#[derive(Debug, Default)]
pub(super) struct Adapt {
    /// Least delay beyond the fastest packet in the running and the last window, in microseconds: a tick that comes late
    /// sees more than there is.
    least: Option<[i64; 2]>,
    frames: u32,
    /// Mean squares: background and speech.
    floor: f32,
    level: f32,
    /// Frames since a pause was used.
    waited: u32,
    /// Samples until speech may be touched again.
    rest: i64,
}

impl Adapt {
    pub fn delay(&self) -> Option<i64> {
        self.least.map(|[a, b]| a.min(b))
    }

    pub fn forget(&mut self) {
        self.least = None;
    }

    /// The position moved by so many microseconds against the clock.
    fn moved(&mut self, by: i64) {
        self.least = self.least.map(|least| least.map(|delay| delay + by));
    }

    /// Notes the delay of a frame and returns that of the window.
    fn note(&mut self, delay: i64) -> i64 {
        self.frames += 1;
        let [running, last] = self.least.unwrap_or([delay; 2]);
        let least = if self.frames >= WINDOW {
            self.frames = 0;
            [delay, running.min(delay)]
        } else {
            [running.min(delay), last]
        };
        self.least = Some(least);
        least[0].min(least[1])
    }

    /// Learns levels from a received frame.
    pub fn hear(&mut self, frame: &[i16]) {
        let power = mean_square(frame);
        self.floor = if power < self.floor { power } else { (self.floor * 1.01 + 0.01).min(power) };
        self.level = power.max(self.level * 0.998);
    }

    /// Mean square below which nobody hears that time is missing: near the background, 20 dB below speech; at least -60 dBFS.
    fn quiet(&self) -> f32 {
        (4.0 * self.floor).min(self.level / 100.0).max(32.0 * 32.0)
    }
}

impl JitterBuffer {
    /// Delay beyond the fastest packet with which nothing of the last seconds would have come too late, in microseconds:
    /// a frame may begin anywhere in a packet, so all of it must be there one frame before the slowest needs it.
    fn need(&self) -> i64 {
        (self.delay.spread() + self.micros_of(self.frame)).max(self.min)
    }

    /// The deepest that the buffer shall be: two frames below its bound.
    fn most(&self) -> i64 {
        (self.micros_of(self.max) - 2 * self.micros_of(self.frame.max(self.packet))).max(self.min)
    }

    /// `need` within the bounds of the buffer.
    pub(super) fn target(&self) -> i64 {
        self.need().min(self.most())
    }

    /// Called before a frame is read.
    pub(super) fn adapt(&mut self, now: Duration) {
        let playing = self.queue.front().is_some_and(|e| e.from <= self.next && !e.start && e.kind == Kind::Audio);
        if !playing || self.pending > 0 || self.concealer.is_active() {
            return;
        }
        let delay = micros(now) - self.micros_of(self.next) - self.delay.base();
        let delay = self.adapt.note(delay);
        self.adapt.rest = (self.adapt.rest - self.frame).max(0);
        self.adapt.waited += 1;
        let below = delay - self.target();
        // Arrivals may ask for more than the buffer holds: then it is the depth that must not come near the bound.
        let depth = self.queue.end().unwrap_or(self.next) - self.next;
        let above = if self.micros_of(depth) > self.most() { below } else { delay - self.need() };
        if above > HIGH_QUIET {
            self.shed(above);
        } else if below < LOW_QUIET {
            self.gain(below);
        } else {
            self.adapt.waited = 0;
        }
    }

    fn shed(&mut self, above: i64) {
        let excess = (above - SLACK) * self.hz / 1_000_000;
        let overlap = self.hz as usize / 400;
        let ahead = self.queue.contiguous(self.next, self.hz as usize / 25);
        // Half of a pause at most, so that it stays one.
        let run = self.quiet_run(ahead);
        let chunk = (run.saturating_sub(overlap) / 2).min(self.frame as usize / 2).min(excess as usize);
        if chunk >= overlap && self.quiet_behind(overlap) >= overlap {
            self.adapt.waited = 0;
            self.take_out(chunk, overlap);
        } else if above > HIGH_SPEECH
            && self.adapt.waited >= PATIENCE
            && self.adapt.rest == 0
            && let Some((period, alike)) = self.scaler.period_ahead(&self.queue, self.next, ahead, excess as usize)
            && (alike >= ALIKE || self.adapt.waited >= 4 * PATIENCE)
        {
            self.adapt.rest = period as i64 * RATE;
            self.take_out(period, period.min(ahead - period));
        }
    }

    fn take_out(&mut self, len: usize, overlap: usize) {
        Scaler::remove(&mut self.queue, self.next, len, overlap);
        let to = self.next + len as i64;
        self.stats.removed_samples += self.queue.received_in(self.next, to);
        self.next = to;
        self.frontier = self.frontier.max(to);
        self.adapt.moved(-self.micros_of(len as i64));
        self.trim();
    }

    fn gain(&mut self, below: i64) {
        let overlap = self.hz as usize / 400;
        let ahead = self.queue.contiguous(self.next, self.hz as usize / 25);
        let lacking = (((2 * SLACK - below) * self.hz / 1_000_000) as usize).max(overlap);
        let chunk = lacking.min(self.frame as usize).min(self.quiet_behind(self.hz as usize / 50));
        if chunk >= overlap && self.quiet_run(ahead) >= overlap {
            self.adapt.waited = 0;
            self.put_in(chunk, overlap);
            return;
        }
        if below >= LOW_SPEECH || self.adapt.waited < PATIENCE_TO_GAIN || self.adapt.rest > 0 {
            return;
        }
        let (most, history) = (self.hz as usize / 80, self.concealer.history());
        if let Some((period, alike)) = self.scaler.period_behind(&self.queue, self.next, ahead, history, most)
            && (alike >= ALIKE || below < -SLACK / 2)
        {
            self.adapt.rest = period as i64 * RATE;
            self.put_in(period, period.min(ahead));
        }
    }

    fn put_in(&mut self, len: usize, overlap: usize) {
        if self.queue.is_full() || self.queue.end().unwrap_or(0) - self.next + len as i64 > self.max {
            return;
        }
        Scaler::insert(&mut self.queue, self.next, self.concealer.history(), len, overlap);
        self.next -= len as i64;
        self.adapt.moved(self.micros_of(len as i64));
    }

    /// How many samples from the next on are quiet, of `ahead`, in steps of 2.5 ms.
    fn quiet_run(&mut self, ahead: usize) -> usize {
        let quiet = self.adapt.quiet();
        let step = self.hz as usize / 400;
        let samples = self.scaler.ahead(&self.queue, self.next, ahead);
        samples.chunks_exact(step).take_while(|block| mean_square(block) < quiet).count() * step
    }

    /// How many of the samples heard last were quiet, up to `most`, in steps of 2.5 ms.
    fn quiet_behind(&self, most: usize) -> usize {
        let quiet = self.adapt.quiet();
        let step = self.hz as usize / 400;
        let history = self.concealer.history();
        history.rchunks_exact(step).take(most / step).take_while(|block| mean_square(block) < quiet).count() * step
    }
}
