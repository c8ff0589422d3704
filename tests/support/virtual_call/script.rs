//! What somebody says in a virtual call: coded words with times, punctuation and conjunctions.

use std::time::Duration;

use super::chance::Chance;
use crate::support::codec::{self, Token};

/// Length of a word and of what follows it in talk without a pause.
pub const WORD: Duration = Duration::from_millis(140);
pub const GAP: Duration = Duration::from_millis(40);
/// Word numbers begin again after so many: what lies above is for words that nobody said.
pub const NUMBERS: u16 = 4000;

/// Words that join clauses, in the languages that the translator here knows.
pub const JOINING: [(&str, [&str; 4]); 3] = [
    ("en", ["and", "but", "because", "so"]),
    ("es", ["y", "pero", "porque", "así"]),
    ("de", ["und", "aber", "weil", "also"]),
];

/// One word.
#[derive(Clone, Debug)]
pub struct Said {
    /// Its spelling, without punctuation.
    pub bare: String,
    /// What follows it in writing: nothing, a comma or a full stop.
    pub mark: &'static str,
    /// What is on the air.
    pub token: Token,
    /// Its language.
    pub language: &'static str,
    /// It begins a sentence, and is written with a capital.
    pub capital: bool,
    /// Its place among the words that are looked for in the ears; joining words are not.
    pub place: Option<usize>,
    /// Session time.
    pub start: Duration,
    /// Session time.
    pub end: Duration,
}

/// Everything one caller says.
#[derive(Clone, Debug, Default)]
pub struct Script {
    /// In order.
    pub words: Vec<Said>,
    /// Words that are looked for, so far.
    places: usize,
    seed: u64,
}

impl Script {
    /// Nothing yet; `seed` decides where clauses end.
    pub fn new(seed: u64) -> Script {
        Script { seed, ..Script::default() }
    }

    /// Talk without a pause from `from` on: sentences of two to four clauses of four to nine words.
    pub fn talk(mut self, language: &'static str, from: Duration, length: Duration) -> Script {
        let mut chance = Chance::new(self.seed ^ from.as_millis() as u64);
        let mut at = from;
        let mut capital = true;
        while at < from + length {
            let clauses = 2 + chance.below(3);
            for clause in 0..clauses {
                if clause > 0 && chance.below(3) == 0 {
                    let joining = JOINING.iter().find(|(l, _)| *l == language).map(|(_, words)| words[chance.below(4)]);
                    if let Some(word) = joining {
                        at = self.word(language, Some(word), at, false, "");
                    }
                }
                let words = 4 + chance.below(6);
                for word in 0..words {
                    let last = word + 1 == words;
                    let mark = match (last, clause + 1 == clauses) {
                        (true, true) => ".",
                        // Not every clause has a comma behind it.
                        (true, false) if chance.below(3) > 0 => ",",
                        _ => "",
                    };
                    at = self.word(language, None, at, std::mem::take(&mut capital), mark);
                }
            }
            capital = true;
        }
        self
    }

    /// One sentence of `words` words.
    pub fn sentence(mut self, language: &'static str, from: Duration, words: usize) -> Script {
        let mut at = from;
        for word in 0..words {
            at = self.word(language, None, at, word == 0, if word + 1 == words { "." } else { "" });
        }
        self
    }

    fn word(
        &mut self,
        language: &'static str,
        joining: Option<&'static str>,
        start: Duration,
        capital: bool,
        mark: &'static str,
    ) -> Duration {
        let (bare, token, place) = match joining {
            Some(word) => (word.to_owned(), Token::foreign(word), None),
            None => {
                let place = self.places;
                self.places += 1;
                let token = Token::new(language, (place % usize::from(NUMBERS)) as u16).expect("a coded language");
                (token.text(), token, Some(place))
            }
        };
        let end = start + WORD;
        self.words.push(Said { bare, mark, token, language, capital, place, start, end });
        end + GAP
    }

    /// When the last word ends.
    pub fn end(&self) -> Duration {
        self.words.last().map_or(Duration::ZERO, |w| w.end)
    }

    /// Words that are looked for in the ears, in order.
    pub fn looked_for(&self) -> impl Iterator<Item = &Said> {
        self.words.iter().filter(|w| w.place.is_some())
    }
}

/// A script's sound, frame by frame.
pub struct Mouth {
    rate: u32,
    /// Samples said.
    said: u64,
    next: usize,
    /// What is left of the word under way.
    rest: Vec<i16>,
}

impl Mouth {
    pub fn new(rate: u32) -> Mouth {
        Mouth { rate, said: 0, next: 0, rest: Vec::new() }
    }

    /// The next `count` samples.
    pub fn frame(&mut self, script: &Script, count: usize) -> Vec<i16> {
        let mut frame = Vec::with_capacity(count);
        while frame.len() < count {
            let want = count - frame.len();
            if !self.rest.is_empty() {
                let take = want.min(self.rest.len());
                frame.extend(self.rest.drain(..take));
                self.said += take as u64;
                continue;
            }
            let at = |t: Duration| t.as_micros() as u64 * u64::from(self.rate) / 1_000_000;
            let silent = match script.words.get(self.next) {
                Some(word) => at(word.start).saturating_sub(self.said) as usize,
                None => want,
            };
            if silent == 0 {
                codec::encode(script.words[self.next].token, self.rate, -20.0, &mut self.rest);
                self.next += 1;
                continue;
            }
            let take = want.min(silent);
            frame.resize(frame.len() + take, 0);
            self.said += take as u64;
        }
        frame
    }
}
