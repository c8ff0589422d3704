//! Whether a session is talking itself, rather than giving back what its ear is played.

use std::collections::VecDeque;
use std::time::Duration;

use super::level::mean_square;
use super::time::span;

/// Softer than this is nobody's voice on a telephone: -45 dBFS.
const SOFTEST: f32 = 184.0 * 184.0;
/// A voice stands out of the noise by 9 dB, …
const ABOVE_NOISE: f32 = 8.0;
/// … and an echo is at least 10 dB below what was played.
const ECHO: f32 = 0.1;
/// Shorter sounds are clicks.
const SHORTEST: Duration = Duration::from_millis(60);
/// An echo comes back within this time; what is written to a ring lies there for a while before it is played.
const ECHO_WITHIN: Duration = Duration::from_millis(800);
/// The noise floor rises by a factor of two in about four seconds, and falls at once.
const FLOOR_RISE_PER_S: f32 = 0.17;

/// Sounds closer than this belong to one word.
const JOIN: Duration = Duration::from_millis(30);
/// Spans of talk remembered: half a minute of words at least.
const SPANS: usize = 128;

/// What a session's microphone gives, judged block by block.
#[derive(Clone, Debug, Default)]
pub struct Talking {
    /// Mean square of the noise.
    floor: Option<f32>,
    /// Sound without a break.
    loud_for: Duration,
    last: Option<Duration>,
    /// From when to when it talked, lately.
    spans: VecDeque<(Duration, Duration)>,
    /// When what was played lately was louder than anything after it, and its mean square; loudest first.
    played: VecDeque<(Duration, f32)>,
}

impl Talking {
    /// This is played into the session's ear.
    pub fn played(&mut self, now: Duration, block: &[i16]) {
        let level = mean_square(block);
        while self.played.back().is_some_and(|(_, softer)| *softer <= level) {
            self.played.pop_back();
        }
        while self.played.front().is_some_and(|(at, _)| now.saturating_sub(*at) > ECHO_WITHIN) {
            self.played.pop_front();
        }
        self.played.push_back((now, level));
    }

    /// The session's microphone gave this block at `hz`.
    pub fn said(&mut self, now: Duration, block: &[i16], hz: u32) {
        let level = mean_square(block);
        let length = span(block.len() as u64, hz);
        if level < 1.0 {
            // No noise at all; where it was only a lost packet, the floor is back within seconds.
            self.floor = Some(SOFTEST / ABOVE_NOISE);
            self.loud_for = Duration::ZERO;
            return;
        }
        let floor = self.floor.unwrap_or(level).max(SOFTEST / ABOVE_NOISE);
        self.floor = Some(level.min(floor * (1.0 + FLOOR_RISE_PER_S * length.as_secs_f32()) + 0.01));
        let lately = self.played.iter().find(|(at, _)| now.saturating_sub(*at) <= ECHO_WITHIN);
        let echo = lately.map_or(0.0, |(_, loudest)| loudest * ECHO);
        if level < SOFTEST.max(floor * ABOVE_NOISE).max(echo) {
            self.loud_for = Duration::ZERO;
            return;
        }
        self.loud_for += length;
        if self.loud_for < SHORTEST {
            return;
        }
        self.last = Some(now);
        match self.spans.back_mut() {
            Some(span) if span.1 + JOIN >= now => span.1 = now,
            _ => {
                if self.spans.len() == SPANS {
                    self.spans.pop_front();
                }
                self.spans.push_back((now.saturating_sub(self.loud_for), now));
            }
        }
    }

    /// It talked at some time between these two: what is recognised there is its own.
    pub fn talked(&self, from: Duration, to: Duration) -> bool {
        self.spans.iter().any(|(begin, end)| *begin <= to && from <= *end)
    }

    /// It talks now, or did less than `pause` ago.
    pub fn talks(&self, now: Duration, pause: Duration) -> bool {
        self.last.is_some_and(|last| now.saturating_sub(last) < pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_millis(300);

    fn block(amplitude: i16) -> Vec<i16> {
        (0..160).map(|i| if i % 8 < 4 { amplitude } else { -amplitude }).collect()
    }

    #[test]
    fn a_voice_is_told_from_noise_clicks_and_echo() {
        // (what is played, what the microphone gives before and then, for how many blocks of 20 ms, is it talking)
        for (played, before, then, blocks, talks) in [
            (0, 0, 3000, 10, true),
            (0, 0, 3000, 2, false),
            (0, 0, 100, 10, false),
            (0, 600, 900, 10, false),
            (0, 600, 3000, 10, true),
            (3000, 0, 300, 10, false),
            (3000, 0, 3000, 10, true),
        ] {
            let mut talking = Talking::default();
            let mut now = Duration::ZERO;
            let mut step = |talking: &mut Talking, mine: i16| {
                now += Duration::from_millis(20);
                talking.played(now, &block(played));
                talking.said(now, &block(mine), 8000);
            };
            (0..50).for_each(|_| step(&mut talking, before));
            (0..blocks).for_each(|_| step(&mut talking, then));
            let case = (played, before, then, blocks);
            assert_eq!(talking.talks(now, PAUSE), talks, "{case:?}");
            assert!(!talking.talks(now + PAUSE, PAUSE), "{case:?}");
        }
    }

    #[test]
    fn an_echo_is_measured_by_the_loudest_of_just_then() {
        // 840 ms that begin loud, end softer, and are followed by silence; their echo is 300 ms late, 20 dB below.
        let mut talking = Talking::default();
        let ear = |i: u64| match i {
            0..5 => 12_000,
            5..42 => 10_000,
            _ => 0,
        };
        for i in 0..150u64 {
            let now = Duration::from_millis(20 * i);
            talking.played(now, &block(ear(i)));
            talking.said(now, &block(i.checked_sub(15).map_or(0, ear) / 10), 8000);
            assert!(!talking.talks(now, PAUSE), "{now:?}");
            assert!(talking.played.len() <= 50, "bounded");
        }
    }
}
