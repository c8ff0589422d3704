//! Levels: gains without clicks, and telling a pause from speech.

use std::time::Duration;

/// Below this mean square a block counts as a pause: -50 dBFS, well under telephone speech at -20 dBFS.
const QUIET_MEAN_SQUARE: i64 = 104 * 104;

/// True if the block is quiet enough to be shortened without anybody hearing it.
pub fn is_quiet(samples: &[i16]) -> bool {
    if samples.is_empty() {
        return true;
    }
    // A square fits 32 bits, and products of 32 bits are what vector units have.
    let sum: i64 = samples.iter().map(|&s| i64::from(i32::from(s) * i32::from(s))).sum();
    sum <= QUIET_MEAN_SQUARE * samples.len() as i64
}

/// Mean square of a block; 0 for an empty one.
pub fn mean_square(samples: &[i16]) -> f32 {
    let sum: i64 = samples.iter().map(|&s| i64::from(i32::from(s) * i32::from(s))).sum();
    sum as f32 / samples.len().max(1) as f32
}

/// How long a gain takes from 0 to 1 where nothing else is asked for.
const SWITCH: Duration = Duration::from_millis(10);

/// A gain that moves to its goal over 10 ms or longer, so that no switch is heard. Exactly 1 passes bit-exact.
#[derive(Clone, Debug)]
pub struct Gain {
    now: f32,
    goal: f32,
    /// Change per second.
    pace: f32,
}

impl Gain {
    /// A gain that stands at `factor`.
    pub fn new(factor: f32) -> Self {
        Gain { now: factor, goal: factor, pace: 0.0 }
    }

    /// From decibels; -100 dB and below is silence.
    pub fn from_db(db: f64) -> f32 {
        if db <= -100.0 { 0.0 } else { 10f64.powf(db / 20.0) as f32 }
    }

    /// Moves to `factor` from here on.
    pub fn set(&mut self, factor: f32) {
        self.set_over(factor, Duration::ZERO);
    }

    /// Moves to `factor` within `fade`.
    pub fn set_over(&mut self, factor: f32, fade: Duration) {
        if factor != self.goal {
            self.goal = factor;
            let switch = 1.0 / SWITCH.as_secs_f32();
            self.pace = if fade <= SWITCH { switch } else { (factor - self.now).abs() / fade.as_secs_f32() };
        }
    }

    /// True when it stands at zero: nothing will be heard.
    pub fn is_silent(&self) -> bool {
        self.now == 0.0 && self.goal == 0.0
    }

    /// Applies the gain in place at `hz`.
    pub fn apply(&mut self, samples: &mut [i16], hz: u32) {
        if self.now == self.goal && self.goal == 1.0 {
            return;
        }
        let step = self.pace / hz.max(1) as f32;
        for s in samples {
            if self.now != self.goal {
                let left = self.goal - self.now;
                self.now = if left.abs() <= step { self.goal } else { self.now + step.copysign(left) };
            }
            *s = (f32::from(*s) * self.now).round().clamp(f32::from(i16::MIN), f32::from(i16::MAX)) as i16;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unity_is_bit_exact_and_moves_are_smooth() {
        let mut gain = Gain::new(1.0);
        let mut block = [1i16, -1, i16::MAX, i16::MIN];
        gain.apply(&mut block, 8000);
        assert_eq!(block, [1, -1, i16::MAX, i16::MIN]);
        gain.set(0.0);
        let mut block = [10_000i16; 160];
        gain.apply(&mut block, 8000);
        assert!(block.windows(2).all(|w| (w[0] - w[1]).abs() < 200), "steps would click");
        assert_eq!(block[100], 0, "down after 10 ms");
        assert!(gain.is_silent());
        gain.set_over(0.5, Duration::from_millis(100));
        let mut block = [10_000i16; 1600];
        gain.apply(&mut block, 8000);
        assert!((2400..2600).contains(&block[400]), "half way after 50 ms: {}", block[400]);
        assert_eq!((block[810], block[1599]), (5000, 5000));
    }

    #[test]
    fn quiet_is_a_pause_not_soft_speech() {
        assert!(is_quiet(&[0; 160]));
        assert!(is_quiet(&[60; 160]));
        assert!(!is_quiet(&[400; 160]));
        assert!(is_quiet(&[]));
    }
}
