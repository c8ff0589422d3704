//! How fast a listener's speech is played, so that it stays close behind its speakers.
//!
//! What can be helped is measured, and no more: a segment that begins as soon as its audio is there, and takes as long
//! as its speech took, is on time. So a long sentence that was translated as a whole is not late for being long.
//! First pauses are shortened, then speech is stretched up to 1.05, which nobody hears, then as far as is allowed.

use std::time::Duration;

/// The speed is looked at so often, and then moves by so much.
const STEP: Duration = Duration::from_millis(100);
const SPEED_STEP: f32 = 0.01;
/// More than so far behind, it moves three times as fast.
const FAR_S: f32 = 1.0;
/// A goal that is no further off is left alone, so that the speed does not tremble.
const NEAR: f32 = 0.015;
/// Seconds behind, from which to which pauses go from all to the least.
const PAUSES_S: (f32, f32) = (0.03, 0.12);
/// Seconds behind from which and to which it is stretched so little that nobody hears it, …
const GENTLE_S: (f32, f32) = (0.10, 0.18);
const GENTLE: f32 = 1.05;
/// … and from which and to which up to the most.
const FIRM_S: (f32, f32) = (0.20, 0.42);
/// The speed at which the pauses between segments are shortest.
const FASTEST: f32 = 1.25;

/// The controller of one listener's queue.
#[derive(Clone, Debug)]
pub struct Pace {
    max: f32,
    speed: f32,
    behind: f32,
    stepped: Duration,
}

impl Pace {
    /// At speed 1.
    pub fn new(max: f32) -> Self {
        Pace { max, speed: 1.0, behind: 0.0, stepped: Duration::ZERO }
    }

    /// The fastest that is allowed from here on, 1.0 to 1.25.
    pub fn set_max(&mut self, max: f32) {
        self.max = max;
        self.speed = self.speed.min(max);
    }

    /// The fastest that is allowed.
    pub fn max(&self) -> f32 {
        self.max
    }

    /// It is time for [`step`](Self::step).
    pub fn is_due(&self, now: Duration) -> bool {
        now >= self.stepped + STEP
    }

    /// Takes note of how many seconds the queue is behind, at the speed that it has (below zero: it has time).
    pub fn step(&mut self, now: Duration, behind: f32) {
        // While nothing waited, nobody came here, and there was no hurry.
        let idle = (now.saturating_sub(self.stepped).as_millis() / STEP.as_millis()).saturating_sub(2);
        self.speed = (self.speed - SPEED_STEP * idle as f32).max(1.0);
        self.stepped = now;
        self.behind = behind;
        let goal = self.goal();
        let step = SPEED_STEP * if behind > FAR_S { 3.0 } else { 1.0 };
        let off = goal - self.speed;
        let at_end = goal == 1.0 || goal == self.max;
        if off.abs() > NEAR || at_end {
            self.speed = (self.speed + off.clamp(-step, step)).clamp(1.0, self.max);
        }
    }

    fn goal(&self) -> f32 {
        let gentle = GENTLE.min(self.max);
        let share = |(from, to): (f32, f32)| ((self.behind - from) / (to - from)).clamp(0.0, 1.0);
        1.0 + (gentle - 1.0) * share(GENTLE_S) + (self.max - gentle) * share(FIRM_S)
    }

    /// How fast speech is to be played, 1.0 to the most allowed.
    pub fn speed(&self) -> f32 {
        self.speed
    }

    /// Seconds behind when last looked at.
    pub fn behind(&self) -> f32 {
        self.behind
    }

    /// How much of the pauses there is time for: 1 for all, 0 for as little as may be.
    pub fn pauses(&self) -> f32 {
        1.0 - ((self.behind - PAUSES_S.0) / (PAUSES_S.1 - PAUSES_S.0)).clamp(0.0, 1.0)
    }
}

/// How hard speech is stretched at a speed, 0 to 1 (at 1.25).
pub fn strain(speed: f32) -> f32 {
    ((speed - 1.0) / (FASTEST - 1.0)).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(pace: &mut Pace, steps: u64, behind: f32) -> f32 {
        for _ in 0..steps {
            assert!(pace.is_due(pace.stepped + STEP) && !pace.is_due(pace.stepped));
            let before = pace.speed();
            pace.step(pace.stepped + STEP, behind);
            assert!((pace.speed() - before).abs() <= 3.0 * SPEED_STEP + 1e-6, "in small steps");
        }
        pace.speed()
    }

    #[test]
    fn pauses_go_first_then_a_little_then_all_and_it_lets_go() {
        let mut pace = Pace::new(1.25);
        assert_eq!((after(&mut pace, 50, 0.02), pace.pauses()), (1.0, 1.0));
        assert_eq!((after(&mut pace, 50, 0.09), pace.pauses() < 0.6), (1.0, true));
        let gentle = after(&mut pace, 50, 0.19);
        assert!((gentle - 1.05).abs() < 0.02 && pace.pauses() == 0.0, "{gentle}");
        assert_eq!(after(&mut pace, 30, 0.6), 1.25);
        assert_eq!(strain(pace.speed()), 1.0);
        assert_eq!(after(&mut pace, 30, 0.0), 1.0);
    }

    #[test]
    fn a_trembling_measure_does_not_move_it() {
        let mut pace = Pace::new(1.25);
        after(&mut pace, 50, 0.30);
        let mut speed = pace.speed();
        for i in 0..100 {
            pace.step(pace.stepped + STEP, 0.30 + if i % 2 == 0 { 0.005 } else { -0.005 });
            assert!(pace.speed() == speed || i < 10, "it finds its place and stays there");
            speed = pace.speed();
        }
        assert!((1.11..1.17).contains(&speed), "{speed}");
    }

    #[test]
    fn it_never_goes_beyond_what_is_allowed_and_forgets_in_a_silence() {
        for max in [1.0, 1.03, 1.1, 1.25] {
            let mut pace = Pace::new(max);
            assert_eq!(after(&mut pace, 100, 5.0), max);
            pace.set_max(1.0);
            assert_eq!(pace.speed(), 1.0);
        }
        let mut pace = Pace::new(1.25);
        after(&mut pace, 100, 5.0);
        pace.step(pace.stepped + Duration::from_secs(10), 0.0);
        assert_eq!(pace.speed(), 1.0);
    }
}
