//! How close behind the speaker the translation is: the measures of simultaneous interpreting.
//!
//! All of them come from four times of a segment in an ear (its first word began and its last one ended in the mouth; its
//! sound began and ended in the ear) and from how many words it has. Milliseconds of gateway time throughout.
//!
//! | measure | what it is | from |
//! |---|---|---|
//! | lag of a word (ear-voice span) | from the end of the word to the end of its translation, by proportional position inside its segment | |
//! | StartOffset, EndOffset | from the beginning (end) of what was said to the beginning (end) of what was heard | SimulEval, X. Ma et al. 2020 |
//! | LAAL | how far the translation is behind one that follows evenly, whichever of the two is longer | S. Papi et al. 2022, "Over-Generation Cannot Be Rewarded" |
//! | mean stretch | how much faster than it was synthesised the sound was played, by length | |
//! | revision rate | committed words that the recogniser took back later, against all committed: what was said wrongly and cannot be unsaid | |
//! | speculation hit rate | drafts whose words were then committed, against all that ended | |
//! | ATD | mean delay of each piece of sound against the piece said that it stands for | Y. Kano et al. 2022, "Average Token Delay" |
//!
//! What is measured as one is a turn: segments in one ear that follow each other with less than a second of pause, up to a
//! minute of them.

use std::collections::{BTreeMap, VecDeque};

use serde_json::{Value, json};

use super::SessionId;
use crate::event::{Marks, Measures};

/// A pause in the speaker's mouth that ends a turn, in milliseconds.
const PAUSE: f64 = 1000.0;
/// A turn is measured in parts of this length, or of so many segments.
const LONGEST_TURN: f64 = 60_000.0;
const MOST_PIECES: usize = 64;
/// Listeners whose turns are open at one time; more are measured segment by segment.
const MOST_EARS: usize = 64;
/// Sound is cut into tokens of this length, as Kano et al. and SimulEval do.
const TOKEN: f64 = 300.0;

/// When something began and ended.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Span {
    /// Milliseconds.
    pub start: f64,
    /// Milliseconds.
    pub end: f64,
}

impl Span {
    fn length(self) -> f64 {
        (self.end - self.start).max(0.0)
    }

    fn at(self, share: f64) -> f64 {
        self.start + self.length() * share
    }
}

/// A segment in one ear.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Piece {
    /// In the speaker's mouth.
    pub said: Span,
    /// In the listener's ear.
    pub heard: Span,
    /// Words of what was said; at least 1.
    pub source_words: usize,
    /// Words of its translation; at least 1.
    pub target_words: usize,
}

impl Piece {
    /// From a segment's marks and texts; `None` while some of the four times are missing.
    pub fn of(marks: &Marks, source: &str, target: &str) -> Option<Piece> {
        Some(Piece {
            said: Span { start: marks.speech_start_ms?, end: marks.speech_end_ms? },
            heard: Span { start: marks.playout_start_ms?, end: marks.playout_end_ms? },
            source_words: words_in(source).max(1),
            target_words: words_in(target).max(1),
        })
    }

    /// The lag of each word that was said: both spans are divided evenly.
    pub fn word_lags(self) -> impl Iterator<Item = f64> {
        let count = self.source_words.max(1);
        (1..=count).map(move |word| {
            let share = word as f64 / count as f64;
            self.heard.at(share) - self.said.at(share)
        })
    }

    /// The measures of the segment taken by itself.
    pub fn measures(self) -> Measures {
        let lags: Vec<f64> = self.word_lags().collect();
        let round = |ms: f64| (ms * 10.0).round() / 10.0;
        Measures {
            words: lags.len(),
            word_lag_mean_ms: round(lags.iter().sum::<f64>() / lags.len() as f64),
            word_lag_max_ms: round(lags.iter().copied().fold(f64::MIN, f64::max)),
            start_offset_ms: round(start_offset(&[self])),
            end_offset_ms: round(end_offset(&[self])),
            laal_ms: round(laal(&[self])),
            atd_ms: round(atd(&[self])),
        }
    }
}

/// Words of a text. Of scripts that put no spaces between words every character counts: two or three of them make a word,
/// and so much sound too.
pub fn words_in(text: &str) -> usize {
    let unspaced = |c: char| {
        matches!(c, '\u{0E00}'..='\u{0EFF}' | '\u{1000}'..='\u{109F}' | '\u{1780}'..='\u{17FF}' | '\u{3040}'..='\u{30FF}'
            | '\u{3400}'..='\u{4DBF}' | '\u{4E00}'..='\u{9FFF}' | '\u{F900}'..='\u{FAFF}' | '\u{20000}'..='\u{3FFFF}')
    };
    let (mut count, mut inside) = (0, false);
    for c in text.chars() {
        let (alone, part) = (unspaced(c), c.is_alphanumeric());
        count += usize::from(alone || (part && !inside));
        // An apostrophe or a hyphen does not end a word, a space does.
        inside = !alone && (part || (inside && !c.is_whitespace()));
    }
    count
}

/// From the first word's beginning to the beginning of its translation; 0 of nothing.
pub fn start_offset(pieces: &[Piece]) -> f64 {
    pieces.first().map_or(0.0, |p| p.heard.start - p.said.start)
}

/// From the last word's end to the end of its translation; 0 of nothing.
pub fn end_offset(pieces: &[Piece]) -> f64 {
    pieces.last().map_or(0.0, |p| p.heard.end - p.said.end)
}

/// Length-adaptive average lagging. The delay of a word of the translation is when its sound begins; the number of words
/// said stands in for the length of a reference translation, which nobody has in a live call.
pub fn laal(pieces: &[Piece]) -> f64 {
    let (Some(first), Some(last)) = (pieces.first(), pieces.last()) else { return 0.0 };
    let length = last.said.end - first.said.start;
    let delays = pieces.iter().flat_map(|p| {
        let begins = move |word: usize| p.heard.at(word as f64 / p.target_words.max(1) as f64);
        (0..p.target_words.max(1)).map(move |word| begins(word) - first.said.start)
    });
    let said: usize = pieces.iter().map(|p| p.source_words).sum();
    let translated: usize = pieces.iter().map(|p| p.target_words.max(1)).sum();
    let even = length / said.max(translated) as f64;
    let (mut sum, mut count) = (0.0, 0usize);
    for delay in delays {
        sum += delay - count as f64 * even;
        count += 1;
        // Words that come when all has been said say nothing about how closely it was followed.
        if delay >= length {
            break;
        }
    }
    sum / count.max(1) as f64
}

/// When tokens of at most 300 ms end, for each span in turn.
fn token_ends(span: Span) -> impl Iterator<Item = f64> {
    let count = (span.length() / TOKEN - 1e-9).ceil().max(1.0) as usize;
    (1..=count).map(move |token| (span.start + token as f64 * TOKEN).min(span.end.max(span.start)))
}

/// Average token delay: each 300 ms of sound in the ear against the 300 ms in the mouth that it stands for, counted from
/// the beginning of the turn; a translation that is longer than what was said does not run ahead of its segment. Pauses
/// between segments are no tokens.
pub fn atd(pieces: &[Piece]) -> f64 {
    let mut said: Vec<f64> = Vec::new();
    let (mut heard, mut sum) = (0usize, 0.0);
    for piece in pieces {
        let surplus = heard.saturating_sub(said.len());
        said.extend(token_ends(piece.said));
        for end in token_ends(piece.heard) {
            heard += 1;
            let stands_for = (heard - surplus).min(said.len());
            sum += end - said[stands_for - 1];
        }
    }
    sum / heard.max(1) as f64
}

/// Buckets of a [`Lags`]: the first ends at 20 ms, each is 5 % wider, the last but one ends at 2.4 minutes.
const BUCKETS: usize = 184;
const FIRST_MS: f64 = 20.0;
const WIDER: f64 = 1.05;

/// Lags of any number of words in little memory; quantiles are right to 2.5 %.
#[derive(Clone, Debug)]
pub struct Lags {
    counts: Box<[u32; BUCKETS]>,
    count: u64,
    max: f64,
}

impl Default for Lags {
    fn default() -> Self {
        Lags { counts: Box::new([0; BUCKETS]), count: 0, max: 0.0 }
    }
}

impl Lags {
    /// Counts one, in milliseconds.
    pub fn add(&mut self, ms: f64) {
        let bucket = ((ms / FIRST_MS).max(1.0).ln() / WIDER.ln()).ceil() as usize;
        let slot = &mut self.counts[bucket.min(BUCKETS - 1)];
        *slot = slot.saturating_add(1);
        self.count += 1;
        self.max = self.max.max(ms);
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The largest, exactly; 0 of none.
    pub fn max(&self) -> f64 {
        self.max
    }

    /// The `q` quantile (nearest rank), as the middle of its bucket; 0 of none.
    pub fn quantile(&self, q: f64) -> f64 {
        let rank = ((self.count as f64 * q).ceil() as u64).max(1);
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += u64::from(*count);
            if seen >= rank {
                let upper = FIRST_MS * WIDER.powi(bucket as i32);
                return (upper / WIDER.sqrt()).min(self.max);
            }
        }
        0.0
    }
}

/// Means of a turn's measures over all turns so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Turns {
    count: f64,
    start: f64,
    end: f64,
    laal: f64,
    atd: f64,
}

impl Turns {
    fn add(&mut self, pieces: &[Piece]) {
        self.count += 1.0;
        let mean = |old: f64, new: f64| old + (new - old) / self.count;
        self.start = mean(self.start, start_offset(pieces));
        self.end = mean(self.end, end_offset(pieces));
        self.laal = mean(self.laal, laal(pieces));
        self.atd = mean(self.atd, atd(pieces));
    }
}

/// Everything that is measured of one speaker's words in all ears.
#[derive(Clone, Debug, Default)]
pub struct Account {
    lags: Lags,
    turns: Turns,
    /// Words committed, whether anybody has heard them yet or not.
    committed: u64,
    /// Milliseconds of sound in the ears, and as they were synthesised.
    played: f64,
    synthesised: f64,
    /// The turn that is not over yet, by listener.
    open: BTreeMap<SessionId, VecDeque<Piece>>,
}

impl Account {
    /// A text was committed.
    pub fn committed(&mut self, text: &str) {
        self.committed += words_in(text) as u64;
    }

    /// A segment was heard to its end, played `stretch` times as fast as it was synthesised.
    pub fn heard(&mut self, listener: SessionId, piece: Piece, stretch: f64) {
        self.played += piece.heard.length();
        self.synthesised += piece.heard.length() * stretch;
        piece.word_lags().for_each(|lag| self.lags.add(lag));
        if !self.open.contains_key(&listener) && self.open.len() >= MOST_EARS {
            self.turns.add(&[piece]);
            return;
        }
        let open = self.open.entry(listener).or_default();
        let goes_on = |first: &Piece, last: &Piece| {
            piece.said.start - last.said.end < PAUSE && piece.said.end - first.said.start <= LONGEST_TURN
        };
        let over = match (open.front(), open.back()) {
            (Some(first), Some(last)) => open.len() >= MOST_PIECES || !goes_on(first, last),
            _ => false,
        };
        if over {
            self.turns.add(open.make_contiguous());
            open.clear();
        }
        open.push_back(piece);
    }

    /// For statistics; turns that are not over count as they are. `revised` is how many committed words the recogniser
    /// took back later, `hit_rate` how often work ahead was of use.
    pub fn json(&self, revised: u64, hit_rate: Option<f64>) -> Value {
        let mut turns = self.turns;
        for open in self.open.values() {
            let pieces: Vec<Piece> = open.iter().copied().collect();
            turns.add(&pieces);
        }
        let round = |ms: f64| (ms * 10.0).round() / 10.0;
        json!({
            "words": self.lags.count(),
            "word_lag_ms": {
                "p50": round(self.lags.quantile(0.5)),
                "p95": round(self.lags.quantile(0.95)),
                "p99": round(self.lags.quantile(0.99)),
                "max": round(self.lags.max()),
            },
            "turns": turns.count,
            "start_offset_ms": round(turns.start),
            "end_offset_ms": round(turns.end),
            "laal_ms": round(turns.laal),
            "atd_ms": round(turns.atd),
            "mean_stretch": if self.played > 0.0 { (self.synthesised / self.played * 1e3).round() / 1e3 } else { 1.0 },
            "committed_words": self.committed,
            "revision_rate": revised as f64 / self.committed.max(1) as f64,
            "speculation_hit_rate": hit_rate,
        })
    }
}

#[cfg(test)]
#[path = "measures_tests.rs"]
mod tests;
