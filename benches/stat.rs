//! Quantiles, seeded chance, and a thread that does things every 20 ms.

use std::time::{Duration, Instant};

/// Length of a frame.
pub const FRAME: Duration = Duration::from_millis(20);
/// Sample rate of all legs here, in Hz.
pub const RATE: u32 = 16_000;
/// Samples in a frame.
pub const SAMPLES: usize = 320;

/// The `q` quantile (nearest rank) of a list, which is sorted by it; 0 of an empty one.
pub fn quantile(values: &mut [f64], q: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let rank = (values.len() as f64 * q).ceil() as usize;
    values.get(rank.clamp(1, values.len().max(1)) - 1).copied().unwrap_or(0.0)
}

/// The median.
pub fn median(values: &[f64]) -> f64 {
    quantile(&mut values.to_vec(), 0.5)
}

/// Chance that is the same in every run (xorshift64*).
pub struct Chance(u64);

impl Chance {
    pub fn new(seed: u64) -> Chance {
        Chance(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// Evenly from 0 to below `range`.
    pub fn below(&mut self, range: Duration) -> Duration {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let unit = (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) as f64 / (1u64 << 53) as f64;
        range.mul_f64(unit)
    }
}

/// Sleeps to an absolute time.
pub fn sleep_until(at: Instant) {
    let now = Instant::now();
    if at > now {
        std::thread::sleep(at - now);
    }
}

/// Does `act(slot, frame number)` for each slot once in every 20 ms, at its own phase, until it has done `frames`
/// of them. Absolute times: what is late comes at once and moves nothing behind it. Returns the lateness of each
/// slot of each frame in milliseconds.
pub fn every_frame(phases: &[Duration], frames: usize, mut act: impl FnMut(usize, usize)) -> Vec<f64> {
    mgw::sys::adopt_thread();
    let mut order: Vec<usize> = (0..phases.len()).collect();
    order.sort_by_key(|slot| phases[*slot]);
    let mut late = Vec::with_capacity(frames * order.len());
    let begin = Instant::now() + FRAME;
    for frame in 0..frames {
        for &slot in &order {
            let due = begin + FRAME * frame as u32 + phases[slot];
            sleep_until(due);
            late.push(due.elapsed().as_secs_f64() * 1e3);
            act(slot, frame);
        }
    }
    late
}

/// Evenly spread phases over one frame.
pub fn spread(count: usize) -> Vec<Duration> {
    (0..count).map(|i| FRAME * i as u32 / count.max(1) as u32).collect()
}
