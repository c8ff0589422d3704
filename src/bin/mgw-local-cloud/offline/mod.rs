//! Real speech engines from Debian 12 packages, for the local cloud's `--engine offline`.
//!
//! | stage | English | Spanish | other languages |
//! |---|---|---|---|
//! | recognition | PocketSphinx, general model | **phrase book only** (`phrases_es.txt`) | no |
//! | translation | Apertium to Spanish | Apertium to English | no |
//! | speech | flite (`slt`, `rms`) | espeak-ng | espeak-ng |
//!
//! Packages: `libpocketsphinx3 pocketsphinx-en-us apertium apertium-eng-spa flite espeak-ng`. Nothing of them is
//! linked; what is missing is named when the engine is made. Narrow-band speech (8 kHz) is understood much worse
//! than wide-band speech: half to two thirds of the English words, for the model was trained on 16 kHz.

mod apertium;
mod convert;
mod demo;
mod language;
mod phrasebook;
mod places;
mod pool;
mod recognizer;
mod speech;
mod sphinx;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use demo::write_conversation;
pub use phrasebook::phrases;
pub use places::Places;

use crate::engine::{Engine, EngineError, EngineErrorKind, Recognizer};
use apertium::Direction;
use phrasebook::PhraseBook;
use places::{error, unavailable};
use pool::{Kind, Pool};
use recognizer::{Ear, Stream};
use speech::Speaker;
use sphinx::{Decoder, Sphinx};

/// Streams one core carries. A stream needs 0.15 to 0.2 of a core while somebody speaks and next to nothing in
/// silence; on two busy cores four that spoke without pause took 0.63 of real time and six 1.06. In a call one of
/// two speaks at a time, so six streams (three calls) keep up with room for the gateway under test.
const STREAMS_PER_CORE: usize = 3;

/// The engine. Recognition of Spanish understands the phrase book only.
pub struct OfflineEngine {
    sphinx: Arc<Sphinx>,
    places: Places,
    pool: Arc<Pool>,
    to_spanish: Direction,
    to_english: Direction,
    speaker: Speaker,
}

impl OfflineEngine {
    /// Finds and loads everything; the error names all that is missing and how to install it.
    pub fn new() -> Result<Self, EngineError> {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self::with(Places::default(), cores * STREAMS_PER_CORE)
    }

    /// As [`OfflineEngine::new`], with other folders and another limit of streams.
    pub fn with(places: Places, streams: usize) -> Result<Self, EngineError> {
        let mut missing = places.missing();
        let sphinx = Sphinx::load(places.libraries.as_deref());
        if let Err(why) = &sphinx {
            missing.push((format!("libpocketsphinx.so.3 ({why})"), "libpocketsphinx3"));
        }
        let sphinx = match sphinx {
            Ok(sphinx) if missing.is_empty() => Arc::new(sphinx),
            _ => return Err(unavailable(&missing)),
        };
        let engine = Self {
            sphinx,
            pool: Pool::new(streams),
            to_spanish: Direction::new("eng-spa", &places),
            to_english: Direction::new("spa-eng", &places),
            speaker: Speaker::new(&places)?,
            places,
        };
        // Both models are loaded now, so that a broken one is an error at start and the first call does not wait.
        for kind in [Kind::English, Kind::Phrases] {
            let ear = engine.ear(kind).map_err(|why| error(EngineErrorKind::Unavailable, why))?;
            engine.pool.keep(kind, ear);
        }
        tracing::info!(
            streams,
            phrases = phrases().count(),
            "offline engine ready: free English, Spanish by phrase book only"
        );
        Ok(engine)
    }

    fn stream(&self, language: &str, rate: u32) -> Result<Stream, EngineError> {
        if !(8000..=48000).contains(&rate) {
            return Err(error(EngineErrorKind::BadInput, format!("no sample rate: {rate}")));
        }
        let kind = match language::primary(language).as_str() {
            "en" => Kind::English,
            "es" => Kind::Phrases,
            _ => {
                return Err(error(
                    EngineErrorKind::UnsupportedLanguage,
                    format!(
                        "the offline engine does not recognise '{language}': it knows en (free speech) and es (the \
                         phrase book only), and cannot tell languages apart"
                    ),
                ));
            }
        };
        let lease = self.pool.take(kind, || self.ear(kind).map_err(|why| error(EngineErrorKind::Unavailable, why)))?;
        Ok(Stream::new(lease, rate))
    }

    fn ear(&self, kind: Kind) -> Result<Ear, String> {
        let file = |name: &str| self.places.model_file(name).display().to_string();
        let model = file("en-us");
        match kind {
            Kind::Phrases => Ok(Ear::Phrases(Box::new(PhraseBook::new(&self.sphinx, &model)?))),
            Kind::English => {
                let (words, dictionary) = (file("en-us.lm.bin"), file("cmudict-en-us.dict"));
                let options = [
                    ("-hmm", model.as_str()),
                    ("-lm", &words),
                    ("-dict", &dictionary),
                    // The caller finds pauses; cut out here, they would be missing from the word times.
                    ("-remove_silence", "no"),
                    // Bounds the work in noise and saves a sixth of it; of 362 test words it cost none.
                    ("-maxhmmpf", "5000"),
                ];
                Ok(Ear::English(Decoder::new(&self.sphinx, &options)?))
            }
        }
    }
}

impl Engine for OfflineEngine {
    fn name(&self) -> &'static str {
        "offline (PocketSphinx English, Spanish phrase book only, Apertium, flite, espeak-ng)"
    }

    fn recognizer(&self, language: &str, rate: u32) -> Result<Box<dyn Recognizer>, EngineError> {
        Ok(Box::new(self.stream(language, rate)?))
    }

    /// `context` is not used: Apertium has no memory of earlier sentences.
    fn translate(
        &self,
        text: &str,
        source: Option<&str>,
        target: &str,
        _context: Option<&str>,
    ) -> Result<(String, String), EngineError> {
        let to = language::primary(target);
        let from = match source.filter(|code| !code.is_empty()) {
            Some(code) => language::primary(code),
            None => language::guess(text).unwrap_or(if to == "en" { "es" } else { "en" }).to_owned(),
        };
        let direction = match (from.as_str(), to.as_str()) {
            ("en", "es") => &self.to_spanish,
            ("es", "en") => &self.to_english,
            ("en", "en") | ("es", "es") => return Ok((from.to_uppercase(), text.to_owned())),
            _ => {
                return Err(error(
                    EngineErrorKind::UnsupportedLanguage,
                    format!("the offline engine translates en to es and es to en, not {from} to {to}"),
                ));
            }
        };
        Ok((from.to_uppercase(), direction.translate(text)?))
    }

    fn synthesize(
        &self,
        text: &str,
        voice: &str,
        language: Option<&str>,
        sample_rate: u32,
        sink: &mut dyn FnMut(&[i16]) -> bool,
    ) -> Result<(), EngineError> {
        self.speaker.speak(text, voice, language, sample_rate, sink)
    }
}
