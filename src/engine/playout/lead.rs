//! How much lies ready in a listener's rings, so that its puller does not run dry between two rounds of the engine.

use std::time::Duration;

use super::super::RING_SAMPLES;
use super::super::time::samples;

/// How long the largest recent pull is remembered: two windows of this length.
const LEAD_WINDOW: Duration = Duration::from_secs(30);

/// The lead of a ring: how much must lie ready so that the puller does not run dry between two rounds of the engine.
///
/// It starts at the minimum and follows the most that was pulled between two rounds (unevenness of the puller,
/// or of the engine's own thread).
#[derive(Clone, Debug)]
pub struct Lead {
    min: Duration,
    max: Duration,
    asked: u64,
    window_from: Duration,
    largest: [u64; 2],
}

impl Lead {
    /// A lead between two bounds.
    pub fn new(min: Duration, max: Duration) -> Self {
        Lead { min, max, asked: 0, window_from: Duration::ZERO, largest: [0; 2] }
    }

    /// Notes the puller's total; returns what was asked for since the last time.
    pub fn pulled(&mut self, now: Duration, asked: u64) -> u64 {
        if now.saturating_sub(self.window_from) > LEAD_WINDOW {
            self.window_from = now;
            self.largest = [self.largest[1], 0];
        }
        let news = asked.saturating_sub(self.asked);
        self.largest[1] = self.largest[1].max(news);
        self.asked = asked;
        news
    }

    /// The totals begin at zero again.
    pub fn restart(&mut self) {
        self.asked = 0;
        self.largest = [0; 2];
    }

    /// Samples at `hz` to keep ready.
    pub fn samples(&self, hz: u32) -> u64 {
        let largest = self.largest[0].max(self.largest[1]);
        // At the highest rates a ring holds less than the longest lead.
        largest.clamp(samples(self.min, hz), samples(self.max, hz)).min(RING_SAMPLES as u64 / 2)
    }
}
