//! Soft sounds now and then: for a session that is alone in its room, and while a translation is on its way.

use std::f64::consts::{PI, TAU};
use std::time::Duration;

use super::time::samples;

/// A sound that comes again and again.
#[derive(Clone, Copy, Debug)]
pub struct Sound {
    length: Duration,
    /// Once in this time; the pause comes first.
    period: Duration,
    /// Tone in Hz.
    hz: f64,
    amplitude: f64,
}

/// You are alone: 200 ms of 440 Hz at -30 dBFS every 4 s.
pub const ALONE: Sound =
    Sound { length: Duration::from_millis(200), period: Duration::from_secs(4), hz: 440.0, amplitude: 1036.0 };
/// Words are on their way: 40 ms of 880 Hz at -40 dBFS every 1.2 s.
pub const PENDING: Sound =
    Sound { length: Duration::from_millis(40), period: Duration::from_millis(1200), hz: 880.0, amplitude: 328.0 };

/// Generates a sound, pause and tone, sample by sample.
#[derive(Clone, Debug)]
pub struct Cue {
    sound: Sound,
    position: u64,
    /// Gateway time up to which it was generated.
    to: Option<Duration>,
}

impl Cue {
    /// Nothing generated yet.
    pub fn new(sound: Sound) -> Self {
        Cue { sound, position: 0, to: None }
    }

    /// It is not wanted; true if it was until now.
    pub fn stop(&mut self) -> bool {
        self.position = 0;
        self.to.take().is_some()
    }

    /// What has to be heard since the last call, at most `most` of it, at `hz`.
    pub fn until(&mut self, now: Duration, most: Duration, hz: u32) -> Vec<i16> {
        let from = self.to.replace(now).unwrap_or(now);
        self.next(samples(now.saturating_sub(from).min(most), hz), hz)
    }

    fn next(&mut self, count: u64, hz: u32) -> Vec<i16> {
        let (period, tone) = (samples(self.sound.period, hz), samples(self.sound.length, hz));
        let silence = period - tone;
        let out = (self.position..self.position + count)
            .map(|p| {
                let Some(i) = (p % period).checked_sub(silence) else { return 0 };
                // A raised cosine at both ends, so that it does not click.
                let swell = (i as f64 / tone as f64 * PI).sin();
                let phase = i as f64 / f64::from(hz) * self.sound.hz * TAU;
                (phase.sin() * swell * self.sound.amplitude) as i16
            })
            .collect();
        self.position += count;
        out
    }
}
