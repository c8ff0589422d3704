//! The two demo speakers: a little conversation whose WAV files, played at once, are a phone call.

use std::path::Path;

use crate::engine::{Engine, EngineError, EngineErrorKind};

use super::places::error;

/// Rate of the demo files.
const RATE: u32 = 16_000;

/// One turn of the conversation.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// When it begins, in seconds since the files' start.
    pub start: f64,
    /// `en` or `es`.
    pub language: String,
    /// The voice's id.
    pub voice: String,
    /// What is said.
    pub text: String,
}

/// Seconds from the start of the last line to the end of the files.
pub const LAST_TURN: f64 = 3.0;

/// The conversation of `demo.txt`.
pub fn conversation() -> Vec<Line> {
    include_str!("demo.txt").lines().filter_map(parse).collect()
}

fn parse(line: &str) -> Option<Line> {
    let mut words = line.split_whitespace();
    let start = words.next()?.parse().ok()?;
    let (language, voice) = (words.next()?.to_owned(), words.next()?.to_owned());
    Some(Line { start, language, voice, text: words.collect::<Vec<_>>().join(" ") })
}

/// Speaks `lines`, each at its start, into a 16 kHz mono 16-bit WAV of at least `seconds`.
/// Returns each line's start and end in seconds; a line that meets the one before is an error.
pub fn speak_to_wav(
    engine: &dyn Engine,
    lines: &[Line],
    seconds: f64,
    out: &Path,
) -> Result<Vec<(f64, f64)>, EngineError> {
    let bad = |why: String| error(EngineErrorKind::BadInput, why);
    let mut pcm: Vec<i16> = Vec::new();
    let mut spans = Vec::new();
    for line in lines {
        let start = (line.start * f64::from(RATE)) as usize;
        if start < pcm.len() {
            return Err(bad(format!("'{}' begins before the line before it ends", line.text)));
        }
        pcm.resize(start, 0);
        engine.synthesize(&line.text, &line.voice, Some(&line.language), RATE, &mut |piece| {
            pcm.extend_from_slice(piece);
            true
        })?;
        spans.push((line.start, pcm.len() as f64 / f64::from(RATE)));
    }
    pcm.resize(pcm.len().max((seconds * f64::from(RATE)) as usize), 0);
    let format =
        hound::WavSpec { channels: 1, sample_rate: RATE, bits_per_sample: 16, sample_format: hound::SampleFormat::Int };
    let write = || -> Result<(), hound::Error> {
        let mut file = hound::WavWriter::create(out, format)?;
        for sample in &pcm {
            file.write_sample(*sample)?;
        }
        file.finalize()
    };
    write().map_err(|why| bad(format!("{}: {why}", out.display())))?;
    Ok(spans)
}

/// Writes `english.wav` and `spanish.wav` of equal length into a folder.
pub fn write_conversation(engine: &dyn Engine, folder: &Path) -> Result<(), EngineError> {
    let lines = conversation();
    let seconds = lines.iter().map(|line| line.start).fold(0.0, f64::max) + LAST_TURN;
    for (language, name) in [("en", "english.wav"), ("es", "spanish.wav")] {
        let own: Vec<Line> = lines.iter().filter(|l| l.language == language).cloned().collect();
        let spans = speak_to_wav(engine, &own, seconds, &folder.join(name))?;
        for (line, (start, end)) in own.iter().zip(spans) {
            tracing::info!(start, end, language, text = line.text, "demo line");
        }
    }
    Ok(())
}
