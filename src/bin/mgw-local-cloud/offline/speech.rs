//! Speech from text: flite speaks English, espeak-ng all other languages.
//!
//! Both run as programs, sentence by sentence, so that a long text is heard after its first sentence is ready and
//! a crash of theirs is an error and not ours.

use std::process::Command;
use std::time::Duration;

use super::convert::{self, Converter};
use super::language;
use super::places::{Places, error, run};
use crate::engine::{EngineError, EngineErrorKind};

/// Level of active speech in dB below full scale.
pub const LEVEL: f64 = -20.0;
/// Longest text in bytes.
const LONGEST: usize = 8 * 1024;
/// How long one sentence may take.
const LIMIT: Duration = Duration::from_secs(20);
/// espeak-ng's speed in words per minute (its default is 175); the slower one is recognised better.
const SPEED: &str = "150";

/// The two synthesisers.
pub struct Speaker {
    places: Places,
    /// Language codes espeak-ng lists, in lower case.
    languages: Vec<String>,
}

impl Speaker {
    /// Asks espeak-ng for its languages.
    pub fn new(places: &Places) -> Result<Self, EngineError> {
        let program = places.need("espeak-ng", "espeak-ng")?;
        let listing = run(Command::new(program).arg("--voices"), LIMIT)?;
        let languages = String::from_utf8_lossy(&listing)
            .lines()
            .skip(1)
            .filter_map(|line| line.split_whitespace().nth(1).map(str::to_ascii_lowercase))
            .collect();
        Ok(Self { places: places.clone(), languages })
    }

    /// Speaks `text` into `sink` in pieces of 100 ms at most; ends early when the sink returns false.
    ///
    /// Without a language the text decides between English and Spanish.
    pub fn speak(
        &self,
        text: &str,
        voice: &str,
        language: Option<&str>,
        rate: u32,
        sink: &mut dyn FnMut(&[i16]) -> bool,
    ) -> Result<(), EngineError> {
        if !(8000..=48000).contains(&rate) {
            return Err(error(EngineErrorKind::BadInput, format!("no sample rate: {rate}")));
        }
        if text.len() > LONGEST {
            return Err(error(EngineErrorKind::BadInput, "the text is too long to speak"));
        }
        let code = language.filter(|code| !code.is_empty());
        let code = code.unwrap_or_else(|| language::guess(text).unwrap_or("en"));
        let voice = self.voice(voice, code)?;
        let piece = (rate / 10) as usize;
        let mut converter: Option<Converter> = None;
        let mut ready = Vec::new();
        for sentence in sentences(text) {
            let (own_rate, mut pcm) = self.utter(&sentence, &voice)?;
            convert::normalise(&mut pcm, own_rate, LEVEL);
            let kept = convert::trim(&pcm, own_rate, 0.03, 0.2);
            converter.get_or_insert_with(|| Converter::new(own_rate, rate)).convert(kept, &mut ready);
            let whole = ready.len() - ready.len() % piece;
            if !ready[..whole].chunks(piece).all(&mut *sink) {
                return Ok(());
            }
            ready.drain(..whole);
        }
        if let Some(converter) = &mut converter {
            converter.flush(&mut ready);
        }
        ready.chunks(piece).all(sink);
        Ok(())
    }

    fn voice(&self, voice: &str, code: &str) -> Result<Voice, EngineError> {
        let primary = language::primary(code);
        if primary == "en" {
            let name = if voice.to_ascii_lowercase().contains("rms") { "rms" } else { "slt" };
            return Ok(Voice::Flite(name));
        }
        let full = code.to_ascii_lowercase().replace('_', "-");
        let full = if primary == "es" && full != "es-es" { "es-419".to_owned() } else { full };
        let known = |name: &String| self.languages.contains(name);
        // espeak-ng calls Mandarin and Norwegian by their narrower codes.
        let narrow = match primary.as_str() {
            "zh" => "cmn",
            "no" => "nb",
            other => other,
        };
        [full, narrow.to_owned()]
            .into_iter()
            .find(known)
            .map(Voice::Espeak)
            .ok_or_else(|| error(EngineErrorKind::UnsupportedLanguage, format!("espeak-ng does not speak {code}")))
    }

    fn utter(&self, text: &str, voice: &Voice) -> Result<(u32, Vec<i16>), EngineError> {
        let mut command;
        match voice {
            Voice::Flite(name) => {
                command = Command::new(self.places.need("flite", "flite")?);
                command.args(["-voice", name, "-t", text, "-o", "/dev/stdout"]);
            }
            Voice::Espeak(name) => {
                command = Command::new(self.places.need("espeak-ng", "espeak-ng")?);
                command.args(["-v", name, "-s", SPEED, "-b", "1", "--stdout", "--", text]);
            }
        }
        let wav = run(&mut command, LIMIT)?;
        parse_wav(&wav)
            .ok_or_else(|| error(EngineErrorKind::Unavailable, "a synthesiser wrote something that is not audio"))
    }
}

enum Voice {
    Flite(&'static str),
    Espeak(String),
}

/// Sample rate and samples of a mono 16-bit WAV. Sizes in its header are not trusted: espeak-ng writes the header
/// before it knows them.
fn parse_wav(wav: &[u8]) -> Option<(u32, Vec<i16>)> {
    let rate = u32::from_le_bytes(wav.get(24..28)?.try_into().ok()?);
    let samples = wav.get(44..)?;
    let format = wav.get(..4)? == b"RIFF" && wav.get(22..24)? == [1, 0] && wav.get(34..36)? == [16, 0];
    (format && wav.get(36..40)? == b"data" && rate > 0)
        .then(|| (rate, samples.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect()))
}

/// Cuts a text after sentence ends, and a sentence of more than 240 letters at a comma or blank. Pieces with
/// nothing to say are left out, and so are control characters.
fn sentences(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut piece = String::new();
    for c in text.chars().map(|c| if c.is_control() { ' ' } else { c }) {
        // A stop ends a sentence only before a blank: "3.5" is one number.
        let ended = c == ' ' && piece.ends_with(['.', '?', '!', ';', '…']);
        let long = (piece.len() > 240 && piece.ends_with(',')) || (piece.len() > 320 && c == ' ');
        if ended || long {
            found.push(std::mem::take(&mut piece));
        }
        piece.push(c);
    }
    found.push(piece);
    found.retain(|piece| piece.chars().any(char::is_alphanumeric));
    found.iter().map(|piece| piece.trim().to_owned()).collect()
}
