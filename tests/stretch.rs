//! How well speech survives being played faster: PESQ of speech stretched there and back against the original, beside the
//! programs that Debian has for this, in the same run.
//!
//! The speech is made here by flite and espeak-ng; `scripts/pesq.sh` scores it, wide band at 16 kHz, narrow band at 8 kHz.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use mgw::engine::stretch::Stretch;

#[path = "support/quality.rs"]
mod quality;

const SPEEDS: [f32; 4] = [1.05, 1.10, 1.15, 1.25];
const KINDS: [&str; 5] = ["mgw", "sonic", "soundstretch", "sox tempo", "rubberband"];

#[test]
fn stretched_speech_is_at_least_as_good_as_sonics() {
    for hz in [16_000, 8_000] {
        let dir = tempfile::tempdir().expect("temporary folder");
        let speech = quality::speech(dir.path(), hz);
        // Two workers, each with every other piece of speech.
        let scores: Vec<Scores> = std::thread::scope(|scope| {
            let work = |first: usize| {
                let (dir, speech) = (dir.path(), &speech);
                scope.spawn(move || score(dir, hz, speech, first))
            };
            let workers = [work(0), work(1)];
            workers.into_iter().flat_map(|worker| worker.join().expect("a worker ends")).collect()
        });
        assert_eq!(scores.len(), speech.len());

        let seconds = speech.iter().map(Vec::len).sum::<usize>() / hz;
        println!("{hz} Hz, {seconds} s of speech, mean PESQ after a speed and back");
        println!("{:>5} {}", "speed", KINDS.map(|kind| format!("{kind:>12}")).join(" "));
        let mean = |speed: usize, kind: usize| scores.iter().map(|s| s[speed][kind]).sum::<f64>() / scores.len() as f64;
        for (i, speed) in SPEEDS.iter().enumerate() {
            let row: Vec<String> = (0..KINDS.len()).map(|kind| format!("{:>12.2}", mean(i, kind))).collect();
            println!("{speed:>5} {}", row.join(" "));
        }
        for (i, speed) in SPEEDS.iter().enumerate() {
            let (ours, sonic) = (mean(i, 0), mean(i, 1));
            assert!(ours >= sonic - 0.05, "{hz} Hz, {speed}: {ours:.2}, sonic {sonic:.2}");
        }
    }
}

/// PESQ by speed and kind.
type Scores = [[f64; KINDS.len()]; SPEEDS.len()];

/// The scores of every other piece of speech from `first` on.
fn score(dir: &Path, hz: usize, speech: &[Vec<i16>], first: usize) -> Vec<Scores> {
    let mut pairs = String::new();
    let mut wanted = 0;
    for (i, original) in speech.iter().enumerate().skip(first).step_by(2) {
        let wav = dir.join(format!("{i}.wav"));
        let raw = dir.join(format!("{i}.raw"));
        quality::write_wav(&wav, hz, original);
        quality::write_raw(&raw, original);
        for (s, speed) in SPEEDS.into_iter().enumerate() {
            for (k, kind) in KINDS.into_iter().enumerate() {
                let mut back = if k == 0 {
                    stretched(&stretched(original, hz, speed), hz, 1.0 / speed)
                } else {
                    let there = by_program(kind, speed, &wav, dir.join(format!("{i}-there.wav")));
                    let back = by_program(kind, 1.0 / speed, &there, dir.join(format!("{i}-back.wav")));
                    let (rate, samples) = quality::read_wav(&back);
                    assert_eq!(rate, hz, "{kind}");
                    samples.into_iter().map(|s| s as i16).collect()
                };
                assert!(back.len().abs_diff(original.len()) < hz / 5, "{kind}, {speed}: {} samples", back.len());
                back.resize(original.len(), 0);
                let path = dir.join(format!("{i}-{s}-{k}.raw"));
                quality::write_raw(&path, &back);
                writeln!(pairs, "{} {}", raw.display(), path.display()).expect("a string");
            }
        }
        wanted += SPEEDS.len() * KINDS.len();
    }
    let scores = quality::pesq(hz, &pairs);
    assert_eq!(scores.len(), wanted);
    let speech = scores.chunks_exact(SPEEDS.len() * KINDS.len());
    speech.map(|s| std::array::from_fn(|speed| std::array::from_fn(|kind| s[speed * KINDS.len() + kind]))).collect()
}

fn stretched(input: &[i16], hz: usize, speed: f32) -> Vec<i16> {
    let mut stretch = Stretch::new(hz as u32);
    stretch.set_speed(speed);
    let mut out = Vec::new();
    for frame in input.chunks(hz / 50) {
        stretch.process(frame, &mut out);
    }
    stretch.finish(&mut out);
    out
}

/// Stretches a file by another program, with its best settings for speech that work at these speeds.
fn by_program(kind: &str, speed: f32, from: &Path, to: PathBuf) -> PathBuf {
    let (name, before, after): (&str, Vec<String>, Vec<String>) = match kind {
        "sonic" => ("sonic", vec!["-s".into(), format!("{speed}")], vec![]),
        "soundstretch" => ("soundstretch", vec![], vec![format!("-tempo={}", (speed - 1.0) * 100.0)]),
        "sox tempo" => ("sox", vec![], vec!["tempo".into(), format!("{speed}")]),
        _ => ("rubberband", vec!["-3".into(), "-q".into(), format!("-T{speed}")], vec![]),
    };
    let mut command = Command::new(name);
    command.args(before).arg(from).arg(&to).args(after).stdout(Stdio::null()).stderr(Stdio::null());
    let status = command.status().expect("sonic, soundstretch, sox, rubberband (scripts/setup.sh installs them)");
    assert!(status.success(), "{command:?}: {status}");
    to
}
