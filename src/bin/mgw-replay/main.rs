//! `mgw-replay FILE`: runs a flight record through the engine again, tells what it decided, and says whether it gave the same.
//!
//! Exit status 0: the same bit for bit. 1: it does something else, from the line that is told. 2: the record cannot be
//! read (to its end).

mod audio;
mod decisions;

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use audio::{Audio, Track};
use clap::Parser;
use decisions::Decisions;
use mgw::engine::record::replay::{Replay, Stop};

/// Longest line taken, in bytes: an hour of speech in one piece.
const LINE: u64 = 1 << 28;
/// The record cannot be read.
const UNREADABLE: u8 = 2;

#[derive(Parser, Debug)]
#[command(version, about = "Runs a flight record of mgw through the engine again and compares what it gives")]
struct Cli {
    /// Flight record, `*.mgwrec`.
    file: PathBuf,
    /// Writes what each session said and heard into this folder, as WAV files.
    #[arg(long, value_name = "DIR")]
    audio: Option<PathBuf>,
    /// Prints the verdict only.
    #[arg(short, long)]
    quiet: bool,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(&cli) {
        Ok(code) => code,
        Err(why) => {
            eprintln!("mgw-replay: {}: {why}", cli.file.display());
            ExitCode::from(UNREADABLE)
        }
    }
}

fn run(cli: &Cli) -> Result<ExitCode, String> {
    let file = File::open(&cli.file).map_err(|e| e.to_string())?;
    let mut lines = Lines(BufReader::new(file));
    let first = lines.next_line()?.unwrap_or_default();
    let (mut replay, header) = Replay::begin(&first).map_err(|damage| damage.to_string())?;
    let mut out = std::io::stdout().lock();
    if !cli.quiet {
        let part = if header.part > 1 { format!(", part {}", header.part) } else { String::new() };
        // A reader that has seen enough (`| head`) is no reason to stop comparing.
        let _ = writeln!(out, "room {:?}{part}, {}, mgw {}", header.room, header.started, header.version);
    }
    let mut decisions = Decisions::default();
    let mut audio = cli.audio.as_ref().map(|_| Audio::default());
    let stop = loop {
        let Some(line) = lines.next_line()? else {
            break replay.finish().err().map(Stop::Difference);
        };
        let done = replay.line(&line, &mut |at, seen| {
            if let Some(text) = decisions.tell(at, &seen).filter(|_| !cli.quiet) {
                let _ = writeln!(out, "{text}");
            }
            if let Some(audio) = &mut audio {
                audio.take(at, &seen);
            }
        });
        if let Err(stop) = done {
            break Some(stop);
        }
    };
    // As far as it went.
    if let (Some(audio), Some(folder)) = (audio, &cli.audio) {
        for (name, track) in audio.tracks() {
            write_wav(&folder.join(name), track).map_err(|e| format!("cannot write the audio: {e}"))?;
        }
    }
    let counts = format!("{} inputs, {} outputs", replay.inputs(), replay.outputs());
    let verdict = match replay.compared() {
        0 => format!("{counts}; the record does not say what they were"),
        _ => format!("{counts}: the same bit for bit"),
    };
    match stop {
        None => {
            let _ = writeln!(out, "{verdict}");
            match replay.over() {
                Some(mgw::engine::record::Over::Ended) => {}
                Some(over) => eprintln!("the record ends early: {}", over.text()),
                None => eprintln!("the record has no last line: the process that wrote it did not end it"),
            }
            Ok(ExitCode::SUCCESS)
        }
        Some(Stop::Difference(difference)) => {
            let _ = writeln!(out, "{counts}; first difference in {difference}");
            Ok(ExitCode::FAILURE)
        }
        Some(Stop::Damage(damage)) => {
            let _ = writeln!(out, "{verdict}, up to where it cannot be read");
            Err(damage.to_string())
        }
    }
}

/// Lines of a file, none of them longer than [`LINE`].
struct Lines<R>(R);

impl<R: BufRead> Lines<R> {
    fn next_line(&mut self) -> Result<Option<String>, String> {
        let mut bytes = Vec::new();
        self.0.by_ref().take(LINE).read_until(b'\n', &mut bytes).map_err(|e| e.to_string())?;
        if bytes.is_empty() {
            return Ok(None);
        }
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
        }
        // What is no text is no record: the reader says so with the line's number.
        Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
    }
}

fn write_wav(path: &Path, track: &Track) -> Result<(), hound::Error> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: track.rate,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut wav = hound::WavWriter::create(path, spec)?;
    track.samples.iter().try_for_each(|sample| wav.write_sample(*sample))?;
    wav.finalize()
}
