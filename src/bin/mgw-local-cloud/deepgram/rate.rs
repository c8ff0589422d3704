//! Watches that audio does not come faster than the vendor allows.

use std::time::{Duration, Instant};

/// Wall time is cut into this many steps per window.
const STEPS: u32 = 5;
/// A burst of so many windows' worth of audio counts even if it took no time at all.
const BURST_WINDOWS: f64 = 6.0;

/// Counts steps in which audio came too fast; a whole window of them in a row is a violation.
pub struct RateWatch {
    limit: f64,
    step: Duration,
    began: Instant,
    received: f64,
    fast: u32,
    ahead: f64,
}

impl RateWatch {
    /// Watches from `now`; audio may come at `limit` times real time, faster only for less than `window`.
    pub fn new(now: Instant, limit: f64, window: Duration) -> RateWatch {
        RateWatch { limit, step: window / STEPS, began: now, received: 0.0, fast: 0, ahead: 0.0 }
    }

    /// Notes audio received; the text of a violation comes once per offence.
    pub fn audio(&mut self, now: Instant, seconds: f64) -> Option<String> {
        let passed = now.saturating_duration_since(self.began);
        if passed >= self.step {
            let rate = self.received / passed.as_secs_f64();
            self.ahead = (self.ahead + self.received - passed.as_secs_f64()).max(0.0);
            self.fast = if rate > self.limit { self.fast + 1 } else { 0 };
            self.began = now;
            self.received = 0.0;
        }
        self.received += seconds;
        let window = self.step.as_secs_f64() * f64::from(STEPS);
        let burst = self.ahead + self.received > BURST_WINDOWS * window + seconds;
        if self.fast >= STEPS || burst {
            self.fast = 0;
            self.ahead = 0.0;
            self.received = 0.0;
            return Some(format!("audio faster than {} times real time for {window:.1} s", self.limit));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(pieces: impl Iterator<Item = (u64, f64)>) -> usize {
        let start = Instant::now();
        let mut watch = RateWatch::new(start, 1.25, Duration::from_secs(5));
        pieces.filter_map(|(ms, s)| watch.audio(start + Duration::from_millis(ms), s)).count()
    }

    #[test]
    fn only_sustained_haste_counts() {
        assert_eq!(run((0..600).map(|i| (i * 100, 0.1))), 0, "real time");
        assert_eq!(run((0..600).map(|i| (i * 100, 0.12))), 0, "1.2 times");
        assert!(run((0..600).map(|i| (i * 100, 0.14))) >= 8, "1.4 times for a minute");
        assert_eq!(
            run((0..40).map(|i| (i * 100, 0.2)).chain((40..300).map(|i| (i * 100, 0.1)))),
            0,
            "4 s of catching up"
        );
        assert_eq!(run((0..600).map(|i| (i, 0.1))), 1, "a minute of audio in half a second");
    }
}
