//! Spanish by phrase book: **only the phrases of `phrases_es.txt` are understood**, nothing else.
//!
//! Debian has no Spanish acoustic model. The English one hears Spanish words that are spelt in its phones
//! (`words_es.dict`), if a JSGF grammar leaves only whole phrases to choose from. A second decoder runs over a loop
//! of all phones, which fits any speech; a phrase counts only if it fits nearly as well as the loop and covers most
//! of the speech. Anything else gives no words.

use std::sync::Arc;

use super::sphinx::{Decoder, Segment, Sphinx};

const PHRASES: &str = include_str!("phrases_es.txt");
const WORDS: &str = include_str!("words_es.dict");
const PHONES: &str = "AA AE AH AO AW AY B CH D DH EH ER EY F G HH IH IY JH K L M N NG OW OY P R S SH T TH UH UW V W Y \
                      Z ZH";
/// How much worse per frame than the phone loop a phrase may score, in the decoder's log units. Measured over the
/// book (worst -20) and over speech that is not in it (nearly all below -20 or of little coverage).
const WORST_PER_FRAME: f64 = -22.0;
/// The least part of the speech that a phrase must cover. Measured: 0.77 and more in the book, mostly
/// 0.25-0.72 outside.
const LEAST_COVERAGE: f64 = 0.74;
/// Fewest frames before a guess is made in the middle of an utterance.
const INTERIM_FRAMES: f64 = 60.0;

/// The phrases, in lower case without punctuation.
pub fn phrases() -> impl Iterator<Item = &'static str> {
    PHRASES.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// Pronunciations: word (with its number) and phones.
fn pronunciations() -> Vec<(String, String)> {
    WORDS
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.trim().split_once(' '))
        .map(|(word, phones)| (word.to_owned(), phones.trim().to_owned()))
        .collect()
}

/// The grammar: any one phrase.
fn grammar() -> String {
    let all: Vec<&str> = phrases().collect();
    format!("#JSGF V1.0;\ngrammar book;\npublic <phrase> = {};\n", all.join(" | "))
}

/// The two decoders of a Spanish stream.
pub struct PhraseBook {
    book: Decoder,
    phones: Decoder,
}

impl PhraseBook {
    /// Loads the acoustic model twice and compiles the grammars; about 0.1 s.
    pub fn new(sphinx: &Arc<Sphinx>, model: &str) -> Result<Self, String> {
        // Wide beams: a Spanish vowel scores so badly at first that the right phrase would be given up.
        let wide =
            [("-hmm", model), ("-remove_silence", "no"), ("-beam", "1e-60"), ("-wbeam", "1e-40"), ("-pbeam", "1e-60")];
        let mut book = Decoder::new(sphinx, &wide)?;
        book.set_grammar(&pronunciations(), &grammar())?;
        let mut phones = Decoder::new(sphinx, &wide[..2])?;
        let each: Vec<(String, String)> = PHONES.split_whitespace().map(|p| (format!("xx{p}"), p.to_owned())).collect();
        let names: Vec<&str> = each.iter().map(|(name, _)| name.as_str()).collect();
        let looped = format!("#JSGF V1.0;\ngrammar phones;\npublic <loop> = ({})+;\n", names.join(" | "));
        phones.set_grammar(&each, &looped)?;
        Ok(Self { book, phones })
    }

    /// Begins an utterance.
    pub fn start(&mut self) {
        self.book.start();
        self.phones.start();
    }

    /// Takes 16 kHz samples.
    pub fn feed(&mut self, pcm: &[i16]) {
        self.book.feed(pcm);
        self.phones.feed(pcm);
    }

    /// Ends the utterance.
    pub fn finish(&mut self) {
        self.book.finish();
        self.phones.finish();
    }

    /// The phrase, or nothing if what was said is not in the book. Before the end (`last` is false) the phrase's
    /// beginning, if it fits already.
    pub fn segments(&mut self, last: bool) -> Vec<Segment> {
        let (Some(score), Some(loop_score)) = (self.book.score(), self.phones.score()) else {
            return Vec::new();
        };
        let mut found = self.book.segments();
        let (said, all) = (speech(&found), speech(&self.phones.segments()));
        let fit = f64::from(score.saturating_sub(loop_score)) / all.max(1.0);
        let covers = said / all.max(1.0);
        tracing::debug!(fit, covers, last, "phrase book");
        let enough = last || said >= INTERIM_FRAMES;
        if !enough || fit < WORST_PER_FRAME || covers < LEAST_COVERAGE {
            return Vec::new();
        }
        if !last {
            // The word in the making is often another one a moment later.
            let newest = found.iter().rposition(|segment| super::recognizer::spoken(&segment.word).is_some());
            found.truncate(newest.unwrap_or(0));
        }
        found
    }
}

/// Frames that hold words.
fn speech(segments: &[Segment]) -> f64 {
    segments
        .iter()
        .filter(|s| super::recognizer::spoken(&s.word).is_some())
        .map(|s| f64::from(s.end - s.start + 1))
        .sum()
}
