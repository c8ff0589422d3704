//! Clocks that differ, for a virtual day.

use std::time::Duration;

use super::super::{Config, JitterBuffer};
use super::relay::{check, words};

const HZ: u32 = 8_000;
const FRAME: usize = 160;

/// A sender whose clock is `ppm` fast, for `hours`; words without end.
fn drift(ppm: i64, hours: u64) {
    let (signal, _) = words(HZ, 50);
    let packets = signal.len() / FRAME;
    let mut buffer = JitterBuffer::new(Config::new(HZ));
    let mut frame = [0; FRAME];
    let ticks = hours * 3600 * 50;
    let mut sent = 0_u64;
    let mut deepest = 0.0_f64;
    for tick in 0..ticks {
        let now = tick * 20_000 + 3_000;
        // Arrival of packet n in microseconds, and up to 2 ms of unrest.
        loop {
            let at = (sent as i64 * 20_000 - sent as i64 * ppm / 50) as u64;
            let unrest = sent.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 53;
            if at + unrest > now {
                break;
            }
            let place = (sent as usize % packets) * FRAME;
            buffer.put(
                Duration::from_micros(at + unrest),
                sent,
                (sent as u32).wrapping_mul(FRAME as u32),
                &signal[place..place + FRAME],
            );
            sent += 1;
        }
        buffer.get(Duration::from_micros(now), &mut frame);
        if tick % 64 == 0 {
            deepest = deepest.max(buffer.stats().depth_ms);
        }
    }
    let stats = buffer.stats();
    check(&stats);
    let more = sent as i64 * FRAME as i64 - (ticks * FRAME as u64) as i64;
    let shed = stats.removed_samples as i64 - stats.inserted_samples as i64;
    assert!(
        (more - shed).abs() <= FRAME as i64 * 2,
        "{ppm} ppm: {more} samples more were sent, {shed} shed: {stats:?}"
    );
    let exact = (ticks * FRAME as u64) as i64 * ppm / 1_000_000;
    assert!((exact - shed).abs() <= FRAME as i64, "{ppm} ppm: drift {exact}, shed {shed}: {stats:?}");
    assert_eq!(
        (stats.concealed_samples, stats.underruns, stats.late, stats.overflow),
        (0, 0, 0, 0),
        "{ppm}: {stats:?}"
    );
    assert!(deepest <= 60.0, "{ppm} ppm: {deepest} ms deep");
}

#[test]
fn fast_for_a_day() {
    drift(100, 24);
}

#[test]
fn slow_for_a_day() {
    drift(-100, 24);
}

#[test]
fn very_fast_and_very_slow() {
    drift(500, 3);
    drift(-500, 3);
}

#[test]
fn even_for_hours() {
    drift(0, 1);
}
