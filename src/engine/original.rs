//! The original ring of one listener: the other members' own voices, mixed.
//!
//! Drift between the clocks of those who push and the one who pulls is absorbed in pauses: a voice that
//! lies ahead for longer than a second loses quiet blocks; one that runs dry gets silence from the puller.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::level::{Gain, is_quiet};
use super::resample::Resampler;
use super::time::{samples, span};
use super::{RING_SAMPLES, SessionId};

/// A voice that waits longer than this before it is written is ahead of the puller.
const AHEAD: Duration = Duration::from_millis(20);
/// A voice never waits longer than this; beyond, it is cut and counted.
const LIMIT: Duration = Duration::from_millis(200);
/// Silence put before a voice that begins, so that the first uneven push does not run dry.
const HEAD_START: Duration = Duration::from_millis(10);
/// Over this time the least waiting is looked for.
const WINDOW: Duration = Duration::from_secs(1);

struct Voice {
    hz: u32,
    resampler: Resampler,
    gain: Gain,
    /// Position behind its last sample in the ring's count.
    position: u64,
    least: u64,
    least_last: u64,
    window_from: Duration,
}

/// The mix of original voices for one listener.
pub struct Original {
    hz: u32,
    /// From position `written` on; 32 bits so that voices add up before they are limited.
    mix: VecDeque<i32>,
    written: u64,
    pulled: u64,
    voices: BTreeMap<SessionId, Voice>,
    /// Samples of an older rate that the ring still holds.
    stale: u64,
}

impl Original {
    /// An empty mix at `hz`.
    pub fn new(hz: u32) -> Self {
        Original { hz, mix: VecDeque::new(), written: 0, pulled: 0, voices: BTreeMap::new(), stale: 0 }
    }

    /// Sets how loud a voice is heard, 0.0 for not at all; moves there within `fade` (at least 10 ms).
    pub fn set_gain(&mut self, speaker: SessionId, gain: f32, fade: Duration) {
        let hz = self.hz;
        match self.voices.get_mut(&speaker) {
            Some(voice) => voice.gain.set_over(gain, fade),
            None if gain > 0.0 => {
                // A new voice begins at its level: nothing of it was heard before that could click.
                self.voices.insert(speaker, Voice::new(hz, hz, gain));
            }
            None => {}
        }
    }

    /// A voice has left.
    pub fn remove(&mut self, speaker: SessionId) {
        self.voices.remove(&speaker);
    }

    /// Takes note of what was pulled from this ring.
    pub fn pulled(&mut self, asked: u64, total: u64) {
        if asked > 0 {
            self.stale = 0;
        }
        self.pulled = total.max(self.pulled);
    }

    /// A voice says `block` at `hz`. Returns samples (at `hz`) that had to be cut without a pause.
    pub fn said(&mut self, now: Duration, speaker: SessionId, hz: u32, block: &[i16]) -> u64 {
        let out_hz = self.hz;
        let Some(voice) = self.voices.get_mut(&speaker) else { return 0 };
        if voice.gain.is_silent() {
            return 0;
        }
        if voice.hz != hz {
            *voice = Voice { gain: voice.gain.clone(), position: voice.position, ..Voice::new(hz, out_hz, 1.0) };
        }
        let waiting = self.written.saturating_sub(self.pulled) + voice.position.saturating_sub(self.written);
        if now.saturating_sub(voice.window_from) > WINDOW {
            voice.window_from = now;
            voice.least_last = voice.least;
            voice.least = waiting;
        }
        voice.least = voice.least.min(waiting);
        if waiting > samples(LIMIT, out_hz) {
            return block.len() as u64;
        }
        let ahead = voice.least.min(voice.least_last) > samples(AHEAD, out_hz);
        if ahead && is_quiet(block) {
            let shorter = samples(span(block.len() as u64, hz), out_hz);
            voice.least = voice.least.saturating_sub(shorter);
            voice.least_last = voice.least_last.saturating_sub(shorter);
            return 0;
        }
        let mut converted = Vec::with_capacity(block.len());
        voice.resampler.process(block, &mut converted);
        voice.gain.apply(&mut converted, out_hz);
        if voice.position < self.written || (waiting == 0 && voice.position == self.written) {
            voice.position = self.written + samples(HEAD_START, out_hz);
        }
        let from = (voice.position - self.written) as usize;
        if self.mix.len() < from {
            self.mix.resize(from, 0);
        }
        // On top of what others say already; of two, mostly nothing.
        let (mixed, alone) = converted.split_at((self.mix.len() - from).min(converted.len()));
        for (slot, s) in self.mix.iter_mut().skip(from).zip(mixed) {
            *slot += i32::from(*s);
        }
        self.mix.extend(alone.iter().map(|s| i32::from(*s)));
        voice.position += converted.len() as u64;
        0
    }

    /// Samples to write now so that `lead` lies ready.
    pub fn top_up(&mut self, lead: u64) -> Vec<i16> {
        let fill = self.written.saturating_sub(self.pulled);
        let free = (RING_SAMPLES as u64).saturating_sub(fill + self.stale);
        let n = (lead.saturating_sub(fill).min(free) as usize).min(self.mix.len());
        self.written += n as u64;
        self.mix.drain(..n).map(|s| s.clamp(i32::from(i16::MIN), i32::from(i16::MAX)) as i16).collect()
    }

    /// Forgets what waits, for a listener that is away; the caller flushes the ring.
    pub fn clear(&mut self) {
        self.mix.clear();
        for voice in self.voices.values_mut() {
            voice.position = self.written;
        }
    }

    /// Goes on at another rate; the few milliseconds under way are let go.
    pub fn set_rate(&mut self, hz: u32) {
        self.stale += self.written.saturating_sub(self.pulled);
        self.hz = hz;
        self.mix.clear();
        self.written = 0;
        self.pulled = 0;
        for voice in self.voices.values_mut() {
            *voice = Voice { gain: voice.gain.clone(), ..Voice::new(voice.hz, hz, 1.0) };
        }
    }
}

impl Voice {
    fn new(hz: u32, out_hz: u32, gain: f32) -> Self {
        Voice {
            hz,
            resampler: Resampler::new(hz, out_hz, 10),
            gain: Gain::new(gain),
            position: 0,
            least: 0,
            least_last: 0,
            window_from: Duration::ZERO,
        }
    }
}
