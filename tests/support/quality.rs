//! Real speech of the offline synthesisers, and PESQ scores of what became of it (`scripts/pesq.sh`).
//!
//! Tests of sound include this file by `#[path]`.
#![allow(dead_code)] // whoever includes it uses only a part of it

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

const TEXTS: [&str; 3] = [
    "The birch canoe slid on the smooth planks. Glue the sheet to the dark blue background. It is easy to tell the depth of a well.",
    "Good morning, I would like to change my booking for Thursday, please. My number is four one seven, nine two zero eight.",
    "These days a chicken leg is a rare dish. Rice is often served in round bowls. The juice of lemons makes fine punch.",
];

/// Three texts by three voices, each at about -20 dBFS.
pub fn speech(dir: &Path, hz: usize) -> Vec<Vec<i16>> {
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
            let (from, samples) = read_wav(&wav);
            let samples = resample(&samples, from, hz);
            let rms = (samples.iter().map(|s| s * s).sum::<f64>() / samples.len() as f64).sqrt();
            all.push(samples.iter().map(|s| (s * 2600.0 / rms) as i16).collect());
        }
    }
    all
}

/// Rate and samples of a mono 16-bit file.
pub fn read_wav(path: &Path) -> (usize, Vec<f64>) {
    let bytes = fs::read(path).expect("a WAV file");
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes")) as usize;
    let mut at = 12;
    let mut hz = 0;
    loop {
        let (id, size) = (&bytes[at..at + 4], word(at + 4));
        if id == b"fmt " {
            assert_eq!((bytes[at + 10], bytes[at + 22]), (1, 16), "mono, 16 bit");
            hz = word(at + 12);
        }
        if id == b"data" {
            let data = &bytes[at + 8..bytes.len().min(at + 8 + size)];
            return (hz, data.chunks_exact(2).map(|b| f64::from(i16::from_le_bytes([b[0], b[1]]))).collect());
        }
        at += 8 + size + size % 2;
    }
}

/// A mono 16-bit WAV file.
pub fn write_wav(path: &Path, hz: usize, samples: &[i16]) {
    let size = 2 * samples.len() as u32;
    let mut bytes = b"RIFF".to_vec();
    bytes.extend((36 + size).to_le_bytes());
    bytes.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    bytes.extend((hz as u32).to_le_bytes());
    bytes.extend((2 * hz as u32).to_le_bytes());
    bytes.extend(b"\x02\0\x10\0data");
    bytes.extend(size.to_le_bytes());
    bytes.extend(samples.iter().flat_map(|s| s.to_le_bytes()));
    fs::write(path, bytes).expect("temporary file");
}

/// By a windowed sinc of 32 zero crossings.
pub fn resample(samples: &[f64], from: usize, to: usize) -> Vec<f64> {
    if from == to {
        return samples.to_vec();
    }
    let step = from as f64 / to as f64;
    let cutoff = (1.0 / step).min(1.0);
    let reach = 16.0 / cutoff;
    let sinc =
        |x: f64| if x.abs() < 1e-9 { 1.0 } else { (std::f64::consts::PI * x).sin() / (std::f64::consts::PI * x) };
    (0..(samples.len() as f64 / step) as usize)
        .map(|i| {
            let centre = i as f64 * step;
            let first = (centre - reach).ceil().max(0.0) as usize;
            let last = ((centre + reach) as usize).min(samples.len() - 1);
            (first..=last)
                .map(|k| {
                    let x = k as f64 - centre;
                    samples[k] * cutoff * sinc(x * cutoff) * (0.5 + 0.5 * (std::f64::consts::PI * x / reach).cos())
                })
                .sum()
        })
        .collect()
}

/// Samples only, little endian.
pub fn write_raw(path: &Path, samples: &[i16]) {
    let bytes: Vec<u8> = samples.iter().flat_map(|s| s.to_le_bytes()).collect();
    fs::write(path, bytes).expect("temporary file");
}

/// PESQ of each line of two raw files: wide band at 16 kHz, narrow band at 8 kHz.
pub fn pesq(hz: usize, pairs: &str) -> Vec<f64> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/pesq.sh");
    let mut child = Command::new(&script)
        .arg(hz.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("scripts/pesq.sh");
    child.stdin.take().expect("a pipe").write_all(pairs.as_bytes()).expect("the script reads");
    let output = child.wait_with_output().expect("scripts/pesq.sh ends");
    assert!(output.status.success(), "scripts/pesq.sh: {}", output.status);
    String::from_utf8_lossy(&output.stdout).lines().map(|line| line.parse().expect("a score")).collect()
}
