//! What stretching costs: a time-scale modifier with speech-like sound, frame by frame.

use std::hint::black_box;
use std::time::{Duration, Instant};

use mgw::engine::stretch::Stretch;

use crate::report::{Figure, Report};

const HZ: u32 = 16_000;
/// Samples of 20 ms.
const FRAME: usize = HZ as usize / 50;

/// Buzzes of changing pitch with hisses and short pauses between them: what has work for every part of it.
fn sound(seconds: usize) -> Vec<i16> {
    let mut noise = 0x9E37_79B9_u32;
    (0..seconds * HZ as usize)
        .map(|i| {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let (part, period) = (i / (HZ as usize / 10), 100 + i / 1600 % 60);
            match part % 5 {
                0..=2 => (9000.0 * (-5.0 * (i % period) as f64 / period as f64).exp()) as i16,
                3 => (noise >> 20) as i16 - 2048,
                _ => 0,
            }
        })
        .collect()
}

/// Microseconds per frame: the median of blocks, at the speed that costs most.
pub fn run(quick: bool, report: &mut Report) {
    let sound = sound(if quick { 5 } else { 60 });
    let mut worst = Duration::ZERO;
    for speed in [1.05, 1.10, 1.25] {
        let mut stretch = Stretch::new(HZ);
        stretch.set_speed(speed);
        let mut out = Vec::with_capacity(2 * FRAME);
        let mut times: Vec<Duration> = sound
            .chunks(50 * FRAME)
            .map(|block| {
                let begin = Instant::now();
                for frame in block.chunks(FRAME) {
                    out.clear();
                    stretch.process(black_box(frame), &mut out);
                    black_box(&out);
                }
                begin.elapsed() / 50
            })
            .collect();
        times.sort_unstable();
        worst = worst.max(times[times.len() / 2]);
    }
    report.add(Figure::new("stretch_us_per_frame", worst.as_secs_f64() * 1e6, "us").at_most(10.0));
}
