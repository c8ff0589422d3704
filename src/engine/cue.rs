//! The comfort cue of a session that is alone in its room: a soft tone now and then.

use std::time::Duration;

use super::time::samples;

/// A tone of this length …
const TONE: Duration = Duration::from_millis(200);
/// … comes once in this time.
const PERIOD: Duration = Duration::from_secs(4);
const HZ: f64 = 440.0;
/// -30 dBFS.
const AMPLITUDE: f64 = 1036.0;

/// Generates the cue, gap and tone, sample by sample.
#[derive(Clone, Debug, Default)]
pub struct Cue {
    position: u64,
}

impl Cue {
    /// The next `count` samples at `hz`; it begins with the pause.
    pub fn next(&mut self, count: u64, hz: u32) -> Vec<i16> {
        let (period, tone) = (samples(PERIOD, hz), samples(TONE, hz));
        let silence = period - tone;
        let out = (self.position..self.position + count)
            .map(|p| {
                let Some(i) = (p % period).checked_sub(silence) else { return 0 };
                // A raised cosine at both ends, so that it does not click.
                let swell = (i as f64 / tone as f64 * std::f64::consts::PI).sin();
                let phase = i as f64 / f64::from(hz) * HZ * std::f64::consts::TAU;
                (phase.sin() * swell * AMPLITUDE) as i16
            })
            .collect();
        self.position += count;
        out
    }
}
