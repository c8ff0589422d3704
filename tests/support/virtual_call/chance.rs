//! Chance that is the same in every run.

use std::time::Duration;

/// xorshift64*.
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    pub fn new(seed: u64) -> Chance {
        Chance(seed.wrapping_add(0x5851_F42D).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// 0 to below 1.
    pub fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// True once in `1 / rate`.
    pub fn happens(&mut self, rate: f64) -> bool {
        self.share() < rate
    }

    /// 0 to below `count`.
    pub fn below(&mut self, count: usize) -> usize {
        (self.share() * count as f64) as usize
    }

    /// Evenly between two times.
    pub fn between(&mut self, least: Duration, most: Duration) -> Duration {
        least + most.saturating_sub(least).mul_f64(self.share())
    }

    /// Log-normal with this median and 95th percentile.
    pub fn spread(&mut self, median: Duration, p95: Duration) -> Duration {
        // Box-Muller; 1.6449 is the normal 95 % quantile.
        let (u, v) = (1.0 - self.share(), self.share());
        let normal = (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos();
        let sigma = (p95.as_secs_f64() / median.as_secs_f64()).ln() / 1.6449;
        median.mul_f64((sigma * normal).exp())
    }
}
