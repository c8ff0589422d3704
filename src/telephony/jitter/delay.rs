//! How unevenly packets arrive: the spread of their transit times over the last seconds.

use std::time::Duration;

const BUCKET: i64 = 500_000;
const BUCKETS: usize = 16;

/// Extremes of the relative transit time (arrival minus position, in microseconds) over a sliding window of 8 s.
///
/// The largest and not a percentile: a word lost costs more than delay, and after the window delay is shed again.
#[derive(Debug)]
pub(super) struct Delay {
    buckets: [(i64, i64); BUCKETS],
    len: usize,
    at: usize,
    opened: i64,
    last: i64,
    /// RFC 3550 6.4.1, in microseconds.
    jitter: f64,
    transit: Option<i64>,
}

impl Delay {
    pub fn new() -> Self {
        Delay { buckets: [(0, 0); BUCKETS], len: 0, at: 0, opened: 0, last: 0, jitter: 0.0, transit: None }
    }

    /// The next packet begins a new time scale.
    pub fn reset(&mut self) {
        self.len = 0;
        self.transit = None;
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn arrived(&mut self, now: Duration, transit: i64) {
        let now = micros(now);
        if self.len > 0 && now - self.last > BUCKET * BUCKETS as i64 {
            // What was measured before the pause says nothing: the clocks have moved on.
            self.reset();
        }
        self.last = now;
        if let Some(before) = self.transit.replace(transit) {
            self.jitter += ((transit - before).abs() as f64 - self.jitter) / 16.0;
        }
        if self.len == 0 || now - self.opened >= BUCKET {
            self.opened = now;
            self.at = (self.at + 1) % BUCKETS;
            self.len = (self.len + 1).min(BUCKETS);
            self.buckets[self.at] = (transit, transit);
        }
        let bucket = &mut self.buckets[self.at];
        *bucket = (bucket.0.min(transit), bucket.1.max(transit));
    }

    fn window(&self) -> impl Iterator<Item = (i64, i64)> {
        (0..self.len).map(|i| self.buckets[(self.at + BUCKETS - i) % BUCKETS])
    }

    /// Transit time of the fastest packet, in microseconds.
    pub fn base(&self) -> i64 {
        self.window().map(|b| b.0).min().unwrap_or(0)
    }

    /// Of the slowest, beyond the fastest, in microseconds.
    pub fn spread(&self) -> i64 {
        self.window().map(|b| b.1).max().unwrap_or(0) - self.base()
    }

    /// Interarrival jitter in microseconds.
    pub fn jitter(&self) -> f64 {
        self.jitter
    }
}

pub(super) fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX / 4)
}
