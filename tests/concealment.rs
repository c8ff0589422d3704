//! How well lost packets are concealed: PESQ (wide band) of the jitter buffer's output against the original, beside simple
//! pitch repetition and silence in the same places.
//!
//! The speech is made here by flite and espeak-ng; `scripts/pesq.sh` scores it.

use std::fmt::Write as _;
use std::time::Duration;

use mgw::telephony::jitter::{Config, JitterBuffer};

#[path = "support/quality.rs"]
mod quality;

const HZ: usize = 16_000;
const FRAME: usize = HZ / 50;
/// Different losses over the same speech.
const SEEDS: u64 = 3;
/// What simple pitch repetition reaches on other material, by loss in percent.
const LOSSES: [(u64, f64); 3] = [(1, 3.99), (5, 2.91), (20, 1.53)];

/// What becomes of speech whose marked frames are lost.
type Conceal = fn(&[i16], &[bool]) -> Vec<i16>;

#[test]
fn lost_packets_are_concealed_better_than_by_repeating_periods() {
    let dir = tempfile::tempdir().expect("temporary folder");
    // Whole frames.
    let mut speech = quality::speech(dir.path(), HZ);
    speech.iter_mut().for_each(|samples| samples.truncate(samples.len() / FRAME * FRAME));
    let seconds = speech.iter().map(Vec::len).sum::<usize>() as f64 / HZ as f64;
    assert!(seconds >= 30.0, "only {seconds} s of speech");

    let kinds: [(&str, Conceal); 3] =
        [("jitter buffer", jitter_buffer), ("pitch repetition", pitch_repetition), ("silence", silence)];
    let mut pairs = String::new();
    let mut file = 0;
    for (i, original) in speech.iter().enumerate() {
        let path = dir.path().join(format!("{i}.raw"));
        quality::write_raw(&path, original);
        for (percent, _) in LOSSES {
            for seed in 0..SEEDS {
                let lost = losses(original.len() / FRAME, percent, seed * 100 + i as u64);
                for (_, conceal) in kinds {
                    let degraded = dir.path().join(format!("{i}-{file}.raw"));
                    file += 1;
                    quality::write_raw(&degraded, &conceal(original, &lost));
                    writeln!(pairs, "{} {}", path.display(), degraded.display()).expect("a string");
                }
            }
        }
    }
    let scores = quality::pesq(HZ, &pairs);
    assert_eq!(scores.len(), file);

    // scores[speech][loss][seed][kind]
    let mean = |loss: usize, kind: usize| {
        let per_speech = LOSSES.len() * SEEDS as usize * kinds.len();
        let mut sum = 0.0;
        for s in 0..speech.len() {
            for seed in 0..SEEDS as usize {
                sum += scores[s * per_speech + (loss * SEEDS as usize + seed) * kinds.len() + kind];
            }
        }
        sum / (speech.len() * SEEDS as usize) as f64
    };
    println!("{seconds:.0} s of speech, {SEEDS} seeds, mean PESQ wide band");
    println!("{:>6} {:>16} {:>16} {:>16}", "loss", kinds[0].0, kinds[1].0, kinds[2].0);
    let table: Vec<[f64; 3]> = (0..LOSSES.len()).map(|loss| [0, 1, 2].map(|kind| mean(loss, kind))).collect();
    for ((percent, _), row) in LOSSES.iter().zip(&table) {
        println!("{percent:>4} % {:>16.2} {:>16.2} {:>16.2}", row[0], row[1], row[2]);
    }
    for ((percent, bar), [ours, control, zero]) in LOSSES.iter().zip(table) {
        assert!(ours >= control - 0.02, "{percent} %: {ours:.2}, pitch repetition {control:.2}");
        assert!(ours > zero, "{percent} %: {ours:.2}, silence {zero:.2}");
        // The bar was measured on other speech: it holds where pitch repetition reaches it on this one.
        assert!(ours >= *bar || control < *bar, "{percent} %: {ours:.2}, wanted {bar:.2}");
    }
}

/// The packets that are not lost through the jitter buffer, every packet at its tick.
fn jitter_buffer(original: &[i16], lost: &[bool]) -> Vec<i16> {
    let mut buffer = JitterBuffer::new(Config::new(HZ as u32));
    let mut out = Vec::new();
    let mut frame = [0; FRAME];
    // Three more ticks for what is still on its way.
    let packets = original.chunks_exact(FRAME).zip(lost).map(|(samples, lost)| (!lost).then_some(samples));
    for (tick, packet) in packets.chain([None; 3]).enumerate() {
        let now = Duration::from_millis(20 * tick as u64);
        if let Some(samples) = packet {
            buffer.put(now, tick as u64, (tick * FRAME) as u32, samples);
        }
        buffer.get(now, &mut frame);
        out.extend_from_slice(&frame);
    }
    let stats = buffer.stats();
    assert_eq!(
        (stats.removed_samples, stats.inserted_samples, stats.late),
        (0, 0, 0),
        "the time line moved: {stats:?}"
    );
    // Nothing was lost at the beginning: the silence before it is the delay.
    let delay = stats.silence_samples as usize;
    out[delay..delay + original.len()].to_vec()
}

/// The last period (5-15 ms) again and again, fading out from 10 to 60 ms as in G.711 Appendix I; without overlaps.
fn pitch_repetition(original: &[i16], lost: &[bool]) -> Vec<i16> {
    let mut out = original.to_vec();
    let (mut lag, mut gone) = (0, 0);
    for (tick, lost) in lost.iter().enumerate() {
        let at = tick * FRAME;
        if !lost {
            gone = 0;
            continue;
        }
        if gone == 0 {
            let similar = |lag: usize| {
                let (tail, before) = (&out[at - FRAME..at], &out[at - FRAME - lag..at - lag]);
                let dot =
                    |a: &[i16], b: &[i16]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
                dot(tail, before) / (1.0 + dot(before, before)).sqrt()
            };
            lag = (HZ / 200..=HZ * 15 / 1000).max_by(|a, b| similar(*a).total_cmp(&similar(*b))).expect("lags");
        }
        let begin = at - gone;
        for i in 0..FRAME {
            let ms = (gone + i) as f64 * 1000.0 / HZ as f64;
            let gain = (1.0 - (ms - 10.0).max(0.0) / 50.0).max(0.0);
            out[at + i] = (f64::from(out[begin - lag + (gone + i) % lag]) * gain) as i16;
        }
        gone += FRAME;
    }
    out
}

fn silence(original: &[i16], lost: &[bool]) -> Vec<i16> {
    let mut out = original.to_vec();
    for (frame, lost) in out.chunks_exact_mut(FRAME).zip(lost) {
        if *lost {
            frame.fill(0);
        }
    }
    out
}

/// Which frames are lost; the first and last five never.
fn losses(frames: usize, percent: u64, seed: u64) -> Vec<bool> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0xD1B5_4A32_D192_ED03;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % 1000
    };
    (0..frames).map(|i| random() < percent * 10 && i >= 5 && i + 5 < frames).collect()
}
