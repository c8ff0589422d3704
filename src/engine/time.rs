//! Session time: the sample clock of what a session has said, and its relation to gateway time.

use std::time::Duration;

/// Length of `count` samples at `hz`.
pub fn span(count: u64, hz: u32) -> Duration {
    let hz = u64::from(hz.max(1));
    Duration::from_secs(count / hz) + Duration::from_nanos((count % hz) * 1_000_000_000 / hz)
}

/// Samples at `hz` that fit into `length`, rounded down.
pub fn samples(length: Duration, hz: u32) -> u64 {
    length.as_secs() * u64::from(hz) + u64::from(length.subsec_nanos()) * u64::from(hz) / 1_000_000_000
}

/// Milliseconds with fractions, for events.
pub fn ms(t: Duration) -> f64 {
    (t.as_secs_f64() * 1e6).round() / 1e3
}

/// Counts samples at a rate that may change, without summing rounding errors.
#[derive(Clone, Debug)]
pub struct SampleClock {
    base: Duration,
    count: u64,
    hz: u32,
}

impl SampleClock {
    /// A clock at zero.
    pub fn new(hz: u32) -> Self {
        SampleClock { base: Duration::ZERO, count: 0, hz }
    }

    /// Session time at the end of what was counted.
    pub fn now(&self) -> Duration {
        self.base + span(self.count, self.hz)
    }

    /// Counts samples at the current rate.
    pub fn advance(&mut self, count: u64) {
        self.count += count;
    }

    /// The current rate in Hz.
    pub fn hz(&self) -> u32 {
        self.hz
    }

    /// Counts at another rate from here on.
    pub fn set_rate(&mut self, hz: u32) {
        self.base = self.now();
        self.count = 0;
        self.hz = hz;
    }
}

/// The fastest clock of a pusher that is taken for a clock and not for audio that came late: 1000 ppm.
const FASTEST: i64 = 1000;
/// A lead that no pause has absorbed for this long is the new normal (the source really is early).
const ACCEPT_AFTER: Duration = Duration::from_secs(30);

/// Maps session time to gateway time.
///
/// The least delay seen between the two is the best estimate; it is let up slowly so that it follows
/// the drift of the pusher's clock.
#[derive(Clone, Debug, Default)]
pub struct TimeMap {
    /// Gateway time minus session time in nanoseconds; below zero when the pusher's clock has run ahead of ours.
    offset: Option<i64>,
    observed: Duration,
    ahead_since: Option<Duration>,
}

fn nanos(t: Duration) -> i64 {
    // 292 years fit.
    i64::try_from(t.as_nanos()).unwrap_or(i64::MAX)
}

fn from_nanos(n: i64) -> Duration {
    Duration::from_nanos(u64::try_from(n).unwrap_or(0))
}

impl TimeMap {
    /// Notes that the samples up to session time `heard` were here at gateway time `now`.
    /// Returns by how much the time line is ahead of real time (silence that was put in for audio that then came late).
    pub fn observe(&mut self, heard: Duration, now: Duration) -> Duration {
        let seen = nanos(now) - nanos(heard);
        let Some(offset) = self.offset else {
            self.offset = Some(seen);
            return Duration::ZERO;
        };
        let elapsed = nanos(now.saturating_sub(self.observed));
        self.observed = now;
        if seen >= offset {
            // Later than ever may be jitter: believed only a little.
            self.offset = Some(offset + (seen - offset) / 1000);
            self.ahead_since = None;
            return Duration::ZERO;
        }
        let offset = offset - (offset - seen).min(elapsed / FASTEST);
        self.offset = Some(offset);
        let since = *self.ahead_since.get_or_insert(now);
        if now.saturating_sub(since) > ACCEPT_AFTER {
            self.offset = Some(seen);
            self.ahead_since = None;
            return Duration::ZERO;
        }
        from_nanos(offset - seen)
    }

    /// Gateway time at which `session` time was said.
    pub fn to_gateway(&self, session: Duration) -> Duration {
        from_nanos(nanos(session) + self.offset.unwrap_or(0))
    }

    /// Session time that belongs to gateway time `now`; `None` before anything was said.
    pub fn to_session(&self, now: Duration) -> Option<Duration> {
        self.offset.map(|o| from_nanos(nanos(now) - o))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn clock_keeps_exact_time_over_rate_changes() {
        let mut clock = SampleClock::new(44_100);
        for _ in 0..100 {
            clock.advance(441);
        }
        assert_eq!(clock.now(), Duration::from_secs(1));
        clock.set_rate(8000);
        clock.advance(8000 * 3600);
        assert_eq!(clock.now(), Duration::from_secs(3601));
        assert_eq!(samples(clock.now(), 48_000), 3601 * 48_000);
    }

    #[test]
    fn map_follows_drift_but_not_bursts() {
        let mut map = TimeMap::default();
        // A pusher at +100 ppm for ten minutes: 2 us more session time a frame.
        let (mut heard, mut now) = (Duration::ZERO, 5 * MS);
        for _ in 0..30_000 {
            now += 20 * MS;
            heard += 20 * MS + Duration::from_micros(2);
            assert!(map.observe(heard, now) < MS);
        }
        let error = map.to_gateway(heard).abs_diff(now);
        assert!(error < MS, "{error:?}");
        // 200 ms of silence were put in, then the late audio comes as well.
        for step in 1..=10 {
            heard += 20 * MS;
            let ahead = map.observe(heard, now);
            assert!(ahead.abs_diff(20 * MS * step) < MS, "{ahead:?} in step {step}");
        }
        // Pauses absorb it.
        now += 200 * MS;
        assert!(map.observe(heard, now) < MS);
        assert!(map.to_gateway(heard).abs_diff(now) < MS);
    }
}
