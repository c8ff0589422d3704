//! The engine of coded speech: hears only what the audio really carries, translates word by number, speaks tokens.

use super::codec::{self, Decoder, GAP_S, Heard, TOKEN_S, Token, WORDS};
use crate::engine::{Engine, EngineError, EngineErrorKind, Recognizer, Word};
use crate::speech::{self, Char};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::sync::atomic::{AtomicU64, Ordering};

/// Peak of synthesised speech in dBFS.
const SPEECH_DB: f64 = -14.0;

/// Recognises, translates and speaks coded words.
pub struct CodedEngine {
    seed: u64,
    revision_rate: f64,
    revision_depth: usize,
    streams: AtomicU64,
}

impl CodedEngine {
    /// `revision_rate` is the share of newest words that an interim gets wrong at first; `seed` decides which.
    pub fn new(seed: u64, revision_rate: f64) -> CodedEngine {
        CodedEngine { seed, revision_rate, revision_depth: 1, streams: AtomicU64::new(0) }
    }

    /// So many of the newest words may be wrong at first.
    pub fn revising(self, revision_depth: usize) -> CodedEngine {
        CodedEngine { revision_depth, ..self }
    }
}

impl Engine for CodedEngine {
    fn name(&self) -> &'static str {
        "coded"
    }

    fn recognizer(&self, language: &str, sample_rate: u32) -> Result<Box<dyn Recognizer>, EngineError> {
        let lang = if language.eq_ignore_ascii_case("multi") { None } else { Some(known(language)?) };
        if !(8000..=48000).contains(&sample_rate) {
            return Err(EngineError::new(
                EngineErrorKind::BadInput,
                format!("sample rate {sample_rate} is not 8000 to 48000"),
            ));
        }
        let stream = self.streams.fetch_add(1, Ordering::Relaxed);
        Ok(Box::new(CodedRecognizer {
            decoder: Decoder::new(sample_rate),
            lang,
            words: Vec::new(),
            guessed: 0,
            revision_rate: self.revision_rate,
            revision_depth: self.revision_depth,
            rng: ChaCha8Rng::seed_from_u64(self.seed ^ stream << 32),
        }))
    }

    fn translate(
        &self,
        text: &str,
        source: Option<&str>,
        target: &str,
        _context: Option<&str>,
    ) -> Result<(String, String), EngineError> {
        let target = known(target)?;
        let source = source.map(known).transpose()?;
        let mut detected = None;
        let words: Vec<String> = text
            .split_whitespace()
            .map(|word| match Token::parse(word) {
                Some(token) if source.is_none_or(|s| s == token.lang) => {
                    detected.get_or_insert(token.lang);
                    dress(word, &Token { lang: target, ..token }.text())
                }
                _ => dress(word, &format!("[{}]", word.trim_matches(|c: char| !c.is_alphanumeric()))),
            })
            .collect();
        let from = source.or(detected).unwrap_or(0);
        Ok((codec::LANGUAGES[usize::from(from)].to_owned(), words.join(" ")))
    }

    /// Exact: a word has the time of its token, a space that of the gap after it.
    fn place(&self, text: &str, pcm: &[i16], sample_rate: u32) -> Vec<Char> {
        let each = TOKEN_S + GAP_S;
        let spoken = text.split_whitespace().filter(|w| is_spoken(w)).count();
        let times: Vec<(f64, f64)> = (0..spoken).map(|i| (i as f64 * each, i as f64 * each + TOKEN_S)).collect();
        speech::spread(text, &times, is_spoken, pcm.len() as f64 / f64::from(sample_rate))
    }

    fn synthesize(
        &self,
        text: &str,
        _voice: &str,
        language: Option<&str>,
        sample_rate: u32,
        sink: &mut dyn FnMut(&[i16]) -> bool,
    ) -> Result<(), EngineError> {
        if let Some(language) = language {
            known(language)?;
        }
        for word in text.split_whitespace().filter(|w| is_spoken(w)) {
            let mut pcm = Vec::new();
            codec::encode(Token::parse(word).unwrap_or_else(|| Token::foreign(word)), sample_rate, SPEECH_DB, &mut pcm);
            codec::silence(GAP_S, sample_rate, &mut pcm);
            if !sink(&pcm) {
                break;
            }
        }
        Ok(())
    }
}

/// Whether a word is spoken: punctuation alone is not.
fn is_spoken(word: &str) -> bool {
    word.chars().any(char::is_alphanumeric)
}

fn known(language: &str) -> Result<u8, EngineError> {
    codec::language_index(language).ok_or_else(|| {
        EngineError::new(EngineErrorKind::UnsupportedLanguage, format!("language {language} is not supported"))
    })
}

/// Puts the punctuation and the capital of `original` on `word`.
fn dress(original: &str, word: &str) -> String {
    let bare = original.trim_matches(|c: char| !c.is_alphanumeric());
    let at = original.find(bare).unwrap_or(0);
    let (before, after) = (&original[..at], &original[at + bare.len()..]);
    let word = if bare.starts_with(char::is_uppercase) { capital(word) } else { word.to_owned() };
    format!("{before}{word}{after}")
}

/// Whether a coded word ends a clause, where clauses end behind every so many numbers (0: nowhere).
pub fn ends_clause(word: &str, clause_words: u16) -> bool {
    clause_words > 0 && Token::parse(word).is_some_and(|token| (token.n + 1) % clause_words == 0)
}

/// The word with its first letter in upper case.
pub fn capital(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map_or_else(String::new, |c| c.to_uppercase().chain(chars).collect())
}

struct CodedRecognizer {
    decoder: Decoder,
    lang: Option<u8>,
    words: Vec<(Token, f64, f64)>,
    /// Words up to here have been the newest of a hypothesis once, and are right from then on.
    guessed: usize,
    revision_rate: f64,
    revision_depth: usize,
    rng: ChaCha8Rng,
}

impl CodedRecognizer {
    fn take(&mut self, heard: Vec<Heard>) {
        for h in heard {
            if let Heard::Word { token, start, end } = h
                && self.lang.is_none_or(|lang| lang == token.lang)
            {
                self.words.push((token, start, end));
            }
        }
    }

    fn spelt(&self, confidence: f32) -> Vec<Word> {
        self.words.iter().map(|(t, start, end)| Word { text: t.text(), start: *start, end: *end, confidence }).collect()
    }
}

impl Recognizer for CodedRecognizer {
    fn feed(&mut self, pcm: &[i16]) {
        let heard = self.decoder.feed(pcm);
        self.take(heard);
    }

    fn hypothesis(&mut self) -> Vec<Word> {
        let mut words = self.spelt(0.95);
        let first = self.guessed.max(words.len().saturating_sub(self.revision_depth));
        self.guessed = self.guessed.max(words.len());
        for (newest, (token, ..)) in words.iter_mut().zip(&self.words).skip(first).rev() {
            if self.rng.random_bool(self.revision_rate) {
                let wrong = (token.n + self.rng.random_range(1..WORDS)) % WORDS;
                newest.text = Token { n: wrong, ..*token }.text();
                newest.confidence = 0.55;
            }
        }
        words
    }

    fn finish_utterance(&mut self) -> Vec<Word> {
        let heard = self.decoder.drain();
        self.take(heard);
        let words = self.spelt(0.99);
        self.words.clear();
        self.guessed = 0;
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn speak(engine: &CodedEngine, text: &str) -> Vec<i16> {
        let mut pcm = Vec::new();
        engine
            .synthesize(text, "v", None, 16000, &mut |part| {
                pcm.extend_from_slice(part);
                true
            })
            .unwrap();
        pcm
    }

    fn text(words: &[Word]) -> String {
        words.iter().map(|w| w.text.as_str()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn hears_its_own_language_only_and_revises_the_newest_word() {
        let engine = CodedEngine::new(1, 1.0);
        let pcm = speak(&engine, "Enbaba, enbabe esbabi. enbabo");
        let mut english = engine.recognizer("en-US", 16000).unwrap();
        let mut all = engine.recognizer("multi", 16000).unwrap();
        english.feed(&pcm);
        all.feed(&pcm);
        let first = english.hypothesis();
        assert_eq!(text(&first[..2]), "enbaba enbabe");
        assert_ne!(first[2].text, "enbabo", "the newest word is wrong at first");
        assert_eq!(text(&english.hypothesis()), "enbaba enbabe enbabo");
        assert_eq!(text(&english.finish_utterance()), "enbaba enbabe enbabo");
        assert!(english.finish_utterance().is_empty());
        assert_eq!(text(&all.finish_utterance()), "enbaba enbabe esbabi enbabo");
        english.feed(&pcm);
        let again = english.finish_utterance();
        assert!(again[0].start > 0.7, "times go on: {again:?}");
    }

    #[test]
    fn translates_by_number_and_brackets_the_unknown() {
        let engine = CodedEngine::new(1, 0.0);
        let (source, out) = engine.translate("Enbako, hello enzozo!", None, "ES", None).unwrap();
        assert_eq!((source.as_str(), out.as_str()), ("en", "Esbako, [hello] eszozo!"));
        let (_, out) = engine.translate("enbako", Some("DE"), "ES", None).unwrap();
        assert_eq!(out, "[enbako]", "an English word is not German");
        assert_eq!(
            engine.translate("enbako", None, "QQ", None).unwrap_err().kind,
            EngineErrorKind::UnsupportedLanguage
        );
        assert_eq!(engine.translate("... -", None, "ES", None).unwrap().1.split(' ').count(), 2);
    }
}
