//! How well lost packets are concealed: PESQ (wide band) of the jitter buffer's output against the original, beside simple
//! pitch repetition and silence in the same places.
//!
//! The speech is made here by flite and espeak-ng; `scripts/pesq.sh` scores it.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use mgw::telephony::jitter::{Config, JitterBuffer};

const HZ: usize = 16_000;
const FRAME: usize = HZ / 50;
/// Different losses over the same speech.
const SEEDS: u64 = 3;
/// What simple pitch repetition reaches on other material, by loss in percent.
const LOSSES: [(u64, f64); 3] = [(1, 3.99), (5, 2.91), (20, 1.53)];
const TEXTS: [&str; 3] = [
    "The birch canoe slid on the smooth planks. Glue the sheet to the dark blue background. It is easy to tell the depth of a well.",
    "Good morning, I would like to change my booking for Thursday, please. My number is four one seven, nine two zero eight.",
    "These days a chicken leg is a rare dish. Rice is often served in round bowls. The juice of lemons makes fine punch.",
];

/// What becomes of speech whose marked frames are lost.
type Conceal = fn(&[i16], &[bool]) -> Vec<i16>;

#[test]
fn lost_packets_are_concealed_better_than_by_repeating_periods() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let speech = speech(dir.path());
    let seconds = speech.iter().map(Vec::len).sum::<usize>() as f64 / HZ as f64;
    assert!(seconds >= 30.0, "only {seconds} s of speech");

    let kinds: [(&str, Conceal); 3] =
        [("jitter buffer", jitter_buffer), ("pitch repetition", pitch_repetition), ("silence", silence)];
    let mut pairs = String::new();
    let mut file = 0;
    for (i, original) in speech.iter().enumerate() {
        let path = dir.path().join(format!("{i}.raw"));
        write(&path, original);
        for (percent, _) in LOSSES {
            for seed in 0..SEEDS {
                let lost = losses(original.len() / FRAME, percent, seed * 100 + i as u64);
                for (_, conceal) in kinds {
                    let degraded = dir.path().join(format!("{i}-{file}.raw"));
                    file += 1;
                    write(&degraded, &conceal(original, &lost));
                    writeln!(pairs, "{} {}", path.display(), degraded.display()).expect("a string");
                }
            }
        }
    }
    let scores = pesq(&pairs);
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

/// Three texts by three voices, each whole frames at about -20 dBFS.
fn speech(dir: &Path) -> Vec<Vec<i16>> {
    let mut all = Vec::new();
    for (i, text) in TEXTS.iter().enumerate() {
        for voice in ["rms", "slt", "espeak"] {
            let wav = dir.join(format!("{voice}-{i}.wav"));
            let mut command = match voice {
                "espeak" => Command::new("espeak-ng"),
                _ => Command::new("flite"),
            };
            match voice {
                "espeak" => command.args(["-v", "en-gb", "-s", "150", "-w"]).arg(&wav).arg(text),
                _ => command.args(["-voice", voice, "-t", text, "-o"]).arg(&wav),
            };
            let status = command.status().expect("flite and espeak-ng (scripts/setup.sh installs them)");
            assert!(status.success(), "{command:?}: {status}");
            let (hz, samples) = read_wav(&wav);
            let mut samples = resample(&samples, hz);
            samples.truncate(samples.len() / FRAME * FRAME);
            let rms = (samples.iter().map(|s| s * s).sum::<f64>() / samples.len() as f64).sqrt();
            all.push(samples.iter().map(|s| (s * 2600.0 / rms) as i16).collect());
        }
    }
    all
}

fn read_wav(path: &Path) -> (usize, Vec<f64>) {
    let bytes = fs::read(path).expect("the synthesiser's file");
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes")) as usize;
    let mut at = 12;
    let mut hz = 0;
    loop {
        let (id, size) = (&bytes[at..at + 4], word(at + 4));
        if id == b"fmt " {
            assert_eq!(bytes[at + 10], 1, "mono");
            hz = word(at + 12);
        }
        if id == b"data" {
            let data = &bytes[at + 8..bytes.len().min(at + 8 + size)];
            return (hz, data.chunks_exact(2).map(|b| f64::from(i16::from_le_bytes([b[0], b[1]]))).collect());
        }
        at += 8 + size + size % 2;
    }
}

/// To 16 kHz by a windowed sinc of 32 zero crossings.
fn resample(samples: &[f64], hz: usize) -> Vec<f64> {
    if hz == HZ {
        return samples.to_vec();
    }
    let step = hz as f64 / HZ as f64;
    let cutoff = (1.0 / step).min(1.0);
    let reach = 16.0 / cutoff;
    let sinc =
        |x: f64| if x.abs() < 1e-9 { 1.0 } else { (std::f64::consts::PI * x).sin() / (std::f64::consts::PI * x) };
    (0..(samples.len() as f64 / step) as usize)
        .map(|i| {
            let centre = i as f64 * step;
            let from = (centre - reach).ceil().max(0.0) as usize;
            let to = ((centre + reach) as usize).min(samples.len() - 1);
            (from..=to)
                .map(|k| {
                    let x = k as f64 - centre;
                    samples[k] * cutoff * sinc(x * cutoff) * (0.5 + 0.5 * (std::f64::consts::PI * x / reach).cos())
                })
                .sum()
        })
        .collect()
}

fn write(path: &Path, samples: &[i16]) {
    let bytes: Vec<u8> = samples.iter().flat_map(|s| s.to_le_bytes()).collect();
    fs::write(path, bytes).expect("temporary file");
}

fn pesq(pairs: &str) -> Vec<f64> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/pesq.sh");
    let mut child =
        Command::new(&script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("scripts/pesq.sh");
    child.stdin.take().expect("a pipe").write_all(pairs.as_bytes()).expect("the script reads");
    let output = child.wait_with_output().expect("scripts/pesq.sh ends");
    assert!(output.status.success(), "scripts/pesq.sh: {}", output.status);
    String::from_utf8_lossy(&output.stdout).lines().map(|line| line.parse().expect("a score")).collect()
}
