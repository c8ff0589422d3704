//! Figures of a recording: level, bandwidth, gaps.

use std::f64::consts::TAU;

/// A frame of 10 ms is speech when it is within this many dB of the loudest one.
const RANGE_DB: f64 = 30.0;
/// Nothing below this level is speech.
const FLOOR_DBFS: f64 = -60.0;

fn db(power: f64) -> f64 {
    10.0 * power.max(1e-20).log10()
}

/// Mean power of each whole frame of 10 ms; 1.0 is the power of a constant full-scale value.
fn frames(samples: &[i16], rate: u32) -> Vec<f64> {
    let power =
        |frame: &[i16]| frame.iter().map(|s| (f64::from(*s) / 32768.0).powi(2)).sum::<f64>() / frame.len() as f64;
    samples.chunks_exact(rate as usize / 100).map(power).collect()
}

/// Whether each frame of 10 ms is speech.
fn active(frames: &[f64]) -> Vec<bool> {
    let loudest = frames.iter().copied().fold(0.0, f64::max);
    let threshold = (db(loudest) - RANGE_DB).max(FLOOR_DBFS);
    frames.iter().map(|p| db(*p) >= threshold).collect()
}

/// RMS level of the speech, pauses left out, in dB relative to full scale (a full-scale sine has -3); `None` for silence.
pub fn level_dbfs(samples: &[i16], rate: u32) -> Option<f64> {
    let frames = frames(samples, rate);
    let speech: Vec<f64> = active(&frames).into_iter().zip(&frames).filter(|(a, _)| *a).map(|(_, p)| *p).collect();
    (!speech.is_empty()).then(|| db(speech.iter().sum::<f64>() / speech.len() as f64))
}

/// When the first speech begins, in seconds, to 10 ms.
pub fn first_audio_s(samples: &[i16], rate: u32) -> Option<f64> {
    active(&frames(samples, rate)).iter().position(|a| *a).map(|i| i as f64 / 100.0)
}

/// The longest pause between the first and the last speech, in seconds, to 10 ms.
pub fn longest_gap_s(samples: &[i16], rate: u32) -> f64 {
    let active = active(&frames(samples, rate));
    let Some(first) = active.iter().position(|a| *a) else { return 0.0 };
    let last = active.iter().rposition(|a| *a).expect("there is one");
    let runs = active[first..=last].split(|a| *a).map(<[bool]>::len);
    runs.max().unwrap_or(0) as f64 / 100.0
}

/// Share of the energy above a frequency, 0 to 1, over Hann windows of 512 samples.
pub fn share_above(samples: &[i16], rate: u32, hz: f64) -> f64 {
    const N: usize = 512;
    let (mut above, mut all) = (0.0, 0.0);
    for block in samples.windows(N).step_by(N / 2) {
        let mut spectrum: Vec<(f64, f64)> = block
            .iter()
            .enumerate()
            .map(|(i, s)| (f64::from(*s) * (0.5 - 0.5 * (TAU * i as f64 / N as f64).cos()), 0.0))
            .collect();
        fft(&mut spectrum);
        for (k, (re, im)) in spectrum[..N / 2].iter().enumerate() {
            let power = re * re + im * im;
            all += power;
            if k as f64 * f64::from(rate) / N as f64 >= hz {
                above += power;
            }
        }
    }
    if all > 0.0 { above / all } else { 0.0 }
}

/// Amplitude of one frequency in a stretch of samples, in sample units.
pub fn amplitude(samples: &[i16], rate: u32, hz: f64) -> f64 {
    let (mut re, mut im) = (0.0, 0.0);
    for (i, s) in samples.iter().enumerate() {
        let phase = TAU * hz * i as f64 / f64::from(rate);
        re += f64::from(*s) * phase.cos();
        im += f64::from(*s) * phase.sin();
    }
    2.0 * re.hypot(im) / samples.len().max(1) as f64
}

/// A sine.
pub fn tone(hz: f64, amplitude: f64, seconds: f64, rate: u32) -> Vec<i16> {
    let n = (seconds * f64::from(rate)) as usize;
    (0..n).map(|i| (amplitude * (TAU * hz * i as f64 / f64::from(rate)).sin()).round() as i16).collect()
}

/// In place, radix 2, decimation in time; the length is a power of two.
fn fft(data: &mut [(f64, f64)]) {
    let n = data.len();
    let bits = n.trailing_zeros();
    for i in 0..n {
        let j = i.reverse_bits() >> (usize::BITS - bits);
        if i < j {
            data.swap(i, j);
        }
    }
    let mut size = 2;
    while size <= n {
        for start in (0..n).step_by(size) {
            for k in 0..size / 2 {
                let (sin, cos) = (-TAU * k as f64 / size as f64).sin_cos();
                let (a, b) = (data[start + k], data[start + k + size / 2]);
                let t = (b.0 * cos - b.1 * sin, b.0 * sin + b.1 * cos);
                data[start + k] = (a.0 + t.0, a.1 + t.1);
                data[start + k + size / 2] = (a.0 - t.0, a.1 - t.1);
            }
        }
        size *= 2;
    }
}
