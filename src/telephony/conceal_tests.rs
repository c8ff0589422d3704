//! Concealment of signals whose continuation is known.

use std::f64::consts::TAU;

use super::conceal::{Concealer, FADE_MS};

fn harmonic(hz: u32, pitch: f64, len: usize) -> Vec<i16> {
    (0..len)
        .map(|i| {
            let t = i as f64 / f64::from(hz);
            (1..6).map(|k| (TAU * pitch * f64::from(k) * t).sin() * 5000.0 / f64::from(k)).sum::<f64>() as i16
        })
        .collect()
}

/// Signal to error ratio in dB.
fn ratio(original: &[i16], made: &[i16]) -> f64 {
    let power = |f: &dyn Fn(usize) -> f64| (0..original.len()).map(|i| f(i).powi(2)).sum::<f64>() + 1.0;
    let error = power(&|i| f64::from(original[i]) - f64::from(made[i]));
    10.0 * (power(&|i| f64::from(original[i])) / error).log10()
}

#[test]
fn a_voice_is_continued_in_phase_at_every_rate() {
    for hz in [8_000, 16_000, 24_000, 48_000] {
        let ms = hz as usize / 1000;
        for pitch in [80.0, 125.0, 200.0, 310.0] {
            let signal = harmonic(hz, pitch, 200 * ms);
            let mut concealer = Concealer::new(hz);
            for frame in signal[..100 * ms].chunks(20 * ms) {
                concealer.heard(&mut frame.to_vec());
            }
            let mut made = vec![0; 10 * ms];
            assert!(concealer.extend(&mut made, FADE_MS));
            let db = ratio(&signal[100 * ms..110 * ms], &made);
            assert!(db > 10.0, "{pitch} Hz at {hz}: {db:.1} dB");
        }
    }
}

#[test]
fn a_hole_is_filled_from_both_sides() {
    for hz in [8_000, 16_000, 48_000] {
        let ms = hz as usize / 1000;
        // A voice that rises from 120 to 150 Hz: the left side alone runs out of phase.
        let mut phase = 0.0;
        let signal: Vec<i16> = (0..200 * ms)
            .map(|i| {
                phase += (120.0 + 30.0 * i as f64 / (200 * ms) as f64) / f64::from(hz) * TAU;
                (1..5).map(|k| (phase * f64::from(k)).sin() * 5000.0 / f64::from(k)).sum::<f64>() as i16
            })
            .collect();
        let (from, to) = (100 * ms, 120 * ms);
        let mut concealer = Concealer::new(hz);
        concealer.heard(&mut signal[..from].to_vec());
        let mut both = vec![0; to - from];
        concealer.interpolate(&signal[to..to + 20 * ms], &mut both);
        let mut left = vec![0; to - from];
        concealer.extend(&mut left, FADE_MS);
        let (both, left) = (ratio(&signal[from..to], &both), ratio(&signal[from..to], &left));
        assert!(both > left + 3.0, "{hz} Hz: {both:.1} dB from both sides, {left:.1} dB from one");
    }
}

#[test]
fn it_is_silent_after_60_ms_and_fades_into_what_follows() {
    const HZ: u32 = 16_000;
    let signal = harmonic(HZ, 140.0, 16_000);
    let mut concealer = Concealer::new(HZ);
    concealer.heard(&mut signal[..1600].to_vec());
    let mut made = vec![0; 1600];
    concealer.extend(&mut made, FADE_MS);
    let peak = |s: &[i16]| s.iter().map(|s| s.unsigned_abs()).max().unwrap_or(0);
    assert!(peak(&made[..160]) > 6000);
    assert!(peak(&made[640..800]) < peak(&made[160..320]));
    assert_eq!(peak(&made[960..]), 0);
    let steps = |s: &[i16]| s.windows(2).map(|w| w[1].abs_diff(w[0])).max().unwrap_or(0);
    assert!(steps(&made) <= steps(&signal) * 3 / 2, "{} instead of {}", steps(&made), steps(&signal));

    // Behind 20 ms of concealment, out of phase on purpose.
    let mut concealer = Concealer::new(HZ);
    concealer.heard(&mut signal[..1600].to_vec());
    let mut out = vec![0; 320];
    concealer.extend(&mut out, FADE_MS);
    let mut next = signal[1600 + 357..][..320].to_vec();
    concealer.heard(&mut next);
    out.extend_from_slice(&next);
    assert!(steps(&out) <= steps(&signal) * 3 / 2, "{} instead of {}", steps(&out), steps(&signal));
    // After 10 ms it is the signal itself.
    assert_eq!(next[160..], signal[1600 + 357 + 160..1600 + 357 + 320]);
}

#[test]
fn extremes_neither_panic_nor_wrap_around() {
    for hz in [8_000, 48_000] {
        let ms = hz as usize / 1000;
        for value in [0, i16::MAX, i16::MIN] {
            let mut concealer = Concealer::new(hz);
            concealer.heard(&mut vec![value; 60 * ms]);
            for right in [0, 1, ms, 20 * ms, 60 * ms] {
                let mut out = vec![1; 20 * ms];
                concealer.interpolate(&vec![value; right], &mut out);
                if right > 0 {
                    assert!(out.iter().all(|s| s.abs_diff(value) <= 1), "{value}: {out:?}");
                }
            }
            let mut out = vec![1; 10 * ms];
            concealer.extend(&mut out, FADE_MS);
            assert!(out.iter().all(|s| s.abs_diff(value) <= 1), "{value}: {out:?}");
            concealer.extend(&mut vec![1; 100 * ms], FADE_MS);
            concealer.heard(&mut [value; 1]);
        }
        let mut concealer = Concealer::new(hz);
        concealer.interpolate(&[], &mut []);
        let mut long = vec![1; 500 * ms];
        concealer.interpolate(&[5; 10], &mut long);
        concealer.extend(&mut [], FADE_MS);
        concealer.cut();
        concealer.heard(&mut []);
    }
}
