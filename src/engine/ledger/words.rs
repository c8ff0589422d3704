//! A recognised text as tokens that can be compared with those of other results, whatever their case, punctuation and
//! number formatting: words, or single characters where a script has no spaces.

use std::ops::Range;
use std::time::Duration;

use super::tables;
use crate::provider::text::is_ideograph;
use crate::provider::{Transcript, Word};

/// How long a word takes whose time is not told, when it was not there in the result before: a quick speaker's pace.
const WORD_TIME: Duration = Duration::from_millis(350);
/// The same of a character of a script without spaces.
const CHAR_TIME: Duration = Duration::from_millis(160);
/// A word of a script without spaces is hardly longer.
const LONGEST_GUESS: usize = 4;
/// Word times are rounded; steps between evenly spread words differ by less than this.
const ROUNDING: Duration = Duration::from_millis(2);

/// One word, or one character of a script without spaces.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token {
    /// What is compared: letters and digits in lower case.
    pub norm: String,
    /// Its place in the text, with the punctuation that belongs to it.
    pub bytes: Range<usize>,
    /// The words that it is made of, as they are numbered in the transcript; empty where there are none.
    pub words: Range<usize>,
    /// Session time of its beginning; an estimate where the provider tells none.
    pub start: Duration,
    /// Session time of its end; an estimate where the provider tells none.
    pub end: Duration,
    /// In how many results in a row it was the same, this one included.
    pub seen: u32,
    /// What was committed for it has changed, and that was counted.
    pub revised: bool,
}

impl Token {
    pub fn middle(&self) -> Duration {
        (self.start + self.end) / 2
    }

    pub fn has_digits(&self) -> bool {
        self.norm.starts_with(|c: char| c.is_numeric())
    }

    /// It is a character of a script without spaces.
    pub fn is_char(&self) -> bool {
        self.norm.chars().next().is_some_and(is_unspaced)
    }
}

/// Where the times of tokens come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timing {
    /// The provider tells them for each word.
    Told,
    /// They only show the order: words spread evenly over the span, or no words at all.
    Spread,
}

/// A result, or the part of it behind a place up to which it is known already.
#[derive(Clone, Debug)]
pub(super) struct Heard {
    /// The whole text.
    pub text: String,
    words: Vec<Word>,
    /// Number of the first of `words`.
    first_word: usize,
    pub tokens: Vec<Token>,
    pub timing: Timing,
    pub start: Duration,
    pub end: Duration,
    /// Tokens before this one are committed.
    pub fresh: usize,
}

impl Heard {
    /// Reads a transcript from this byte and this word on.
    pub fn read(t: &Transcript, from_byte: usize, from_word: usize) -> Self {
        let mut heard = Heard {
            text: t.text.clone(),
            words: t.words[from_word.min(t.words.len())..].to_vec(),
            first_word: from_word,
            tokens: scan(&t.text, from_byte),
            timing: if is_spread(t) { Timing::Spread } else { Timing::Told },
            start: t.start,
            end: t.end,
            fresh: 0,
        };
        if heard.words.is_empty() {
            heard.spread(0, t.start, t.end);
        } else if !heard.place_words() {
            heard.text = t.text[..from_byte].to_owned();
            let at = heard.text.len();
            for word in &heard.words {
                let spaced = !heard.text.is_empty() && !word.text.starts_with(is_ideograph);
                heard.text.push_str(if spaced { " " } else { "" });
                heard.text.push_str(word.text.trim());
            }
            heard.tokens = scan(&heard.text, at);
            heard.place_words();
        }
        heard
    }

    /// Finds the words of each token, and its times with them; false if the words are not those of the text.
    fn place_words(&mut self) -> bool {
        let words: Vec<String> = self.words.iter().map(|w| fold(&w.text)).collect();
        let texts: Vec<String> = self.tokens.iter().map(|t| fold(&self.text[t.bytes.clone()])).collect();
        if words.concat() != texts.concat() {
            return false;
        }
        // Both are the same letters: walk along them. (word, letters of it before here)
        let (mut word, mut at) = (0, 0);
        let time = |word: usize, at: usize| -> Duration {
            let w = &self.words[word];
            w.start + w.end.saturating_sub(w.start).mul_f64(at as f64 / words[word].len().max(1) as f64)
        };
        for (token, text) in self.tokens.iter_mut().zip(&texts) {
            while word < words.len() && at == words[word].len() {
                (word, at) = (word + 1, 0);
            }
            let first = word;
            token.start = time(word, at);
            let mut left = text.len();
            while left > words[word].len() - at {
                left -= words[word].len() - at;
                (word, at) = (word + 1, 0);
            }
            at += left;
            token.end = time(word, at);
            token.words = self.first_word + first..self.first_word + word + 1;
        }
        true
    }

    /// Estimates the times of tokens from this one on: spread over a span.
    pub fn spread(&mut self, from: usize, start: Duration, end: Duration) {
        let tokens = &mut self.tokens[from..];
        let count = tokens.len().max(1) as u32;
        let step = end.saturating_sub(start) / count;
        for (i, token) in (0u32..).zip(tokens) {
            token.start = start + step * i;
            token.end = start + step * (i + 1);
        }
    }

    /// Gives tokens that came with this result (from number `from` on) the times that they must have had: behind
    /// what was heard before, and not slower than people speak.
    pub fn estimate(&mut self, from: usize, heard_to: Duration) {
        let pace: Duration = self.tokens[from..].iter().map(|t| if t.is_char() { CHAR_TIME } else { WORD_TIME }).sum();
        let start = heard_to.max(self.end.saturating_sub(pace)).max(self.start).min(self.end);
        self.spread(from, start, self.end);
    }

    /// The text of tokens, as the provider formats it.
    pub fn text_of(&self, range: Range<usize>) -> &str {
        match (self.tokens.get(range.start), self.tokens[..range.end].last()) {
            (Some(first), Some(last)) if !range.is_empty() => self.text[first.bytes.start..last.bytes.end].trim(),
            _ => "",
        }
    }

    /// The words of tokens; one that is committed in part is cut.
    pub fn words_of(&self, range: Range<usize>) -> Vec<Word> {
        let tokens = &self.tokens[range.clone()];
        let (Some(first), Some(last)) = (tokens.first(), tokens.last()) else { return Vec::new() };
        let numbers = first.words.start..last.words.end;
        let cut = |n: usize| {
            let split = |t: &Token| t.words.contains(&n);
            self.tokens[..range.start].last().is_some_and(split) || self.tokens.get(range.end).is_some_and(split)
        };
        let word = |n: usize| {
            let mut word = self.words.get(n.checked_sub(self.first_word)?)?.clone();
            let own = |t: &&Token| t.words.contains(&n);
            if let (Some(begin), Some(end)) = (tokens.iter().find(own), tokens.iter().rfind(own)) {
                if cut(n) {
                    word.text = self.text[begin.bytes.start..end.bytes.end].trim().to_owned();
                }
                if cut(n) || self.timing == Timing::Spread {
                    (word.start, word.end) = (begin.start, end.end);
                }
            }
            Some(word)
        };
        numbers.filter_map(word).collect()
    }

    /// Whether there is a border of words before this token.
    pub fn is_cut(&self, at: usize) -> bool {
        let (Some(before), Some(after)) = (at.checked_sub(1).and_then(|i| self.tokens.get(i)), self.tokens.get(at))
        else {
            return true;
        };
        if !before.words.is_empty() && !after.words.is_empty() {
            return before.words.end <= after.words.start;
        }
        let (last, next) =
            (self.text[..before.bytes.end].chars().next_back(), self.text[after.bytes.clone()].chars().next());
        before.bytes.end < after.bytes.start
            || last.is_some_and(|c| !c.is_alphanumeric() && !is_unspaced(c))
            || last.is_some_and(|c| crate::provider::text::is_border(c, next))
    }

    /// The first token of the last word. Where words are not marked in any way, the last few characters of one script
    /// (kana, or others) are taken for one.
    pub fn last_word(&self) -> usize {
        let last = self.tokens.len().saturating_sub(1);
        let alone = self.tokens.last().is_none_or(|t| !t.is_char());
        if alone || self.tokens.last().is_some_and(|t| !t.words.is_empty()) {
            (0..=last).rev().find(|i| self.is_cut(*i)).unwrap_or(0)
        } else {
            let script = |t: &Token| t.norm.chars().next().map(|c| matches!(c, '\u{3041}'..='\u{309F}'));
            let same = self
                .tokens
                .iter()
                .rev()
                .take(LONGEST_GUESS)
                .take_while(|t| t.is_char() && script(t) == script(&self.tokens[last]));
            self.tokens.len() - same.count()
        }
    }
}

/// Times that tell nothing: there are no words, or they divide the span evenly, as `provider::flux` spreads them.
fn is_spread(t: &Transcript) -> bool {
    let (Some(first), Some(last)) = (t.words.first(), t.words.last()) else { return true };
    let even = (t.end.saturating_sub(t.start)) / t.words.len() as u32;
    first.start.abs_diff(t.start) < ROUNDING
        && last.end.abs_diff(t.end) < ROUNDING
        && t.words.iter().all(|w| w.end.saturating_sub(w.start).abs_diff(even) < ROUNDING)
}

/// Scripts without spaces: each of their characters is compared for itself.
pub(in crate::engine) fn is_unspaced(c: char) -> bool {
    // Thai, Lao, Burmese and Khmer, whose words must not be cut where the recogniser does not mark them.
    is_ideograph(c) || matches!(c, '\u{E00}'..='\u{EFF}' | '\u{1000}'..='\u{109F}' | '\u{1780}'..='\u{17FF}')
}

/// Whether a text can be cut into tokens here: nothing behind the place belongs to the token in front of it.
pub(super) fn is_apart(before: &str, behind: &str) -> bool {
    let last = before.chars().rev().find(|c| c.is_alphanumeric());
    behind
        .chars()
        .next()
        .is_none_or(|c| c.is_whitespace() || (c.is_alphanumeric() && (is_unspaced(c) || last.is_some_and(is_unspaced))))
}

/// Letters and digits in lower case; full-width ones as narrow ones.
fn fold(text: &str) -> String {
    let narrow = |c: char| match c {
        '\u{FF01}'..='\u{FF5E}' => char::from_u32(c as u32 - 0xFEE0).unwrap_or(c),
        c => c,
    };
    text.chars().filter(|c| c.is_alphanumeric()).map(narrow).flat_map(char::to_lowercase).collect()
}

/// Cuts a text from a byte on into tokens without times.
fn scan(text: &str, from: usize) -> Vec<Token> {
    let mut tokens: Vec<Token> = Vec::new();
    // The token that is being read: where it begins, its last letter if there was one, whether something is behind that.
    let mut open: Option<(usize, Option<char>, bool)> = None;
    let mut close = |open: &mut Option<(usize, Option<char>, bool)>, at: usize| {
        match *open {
            Some((start, Some(_), _)) => {
                let norm = tables::spelt(fold(&text[start..at]));
                let bytes = start..at;
                let zero = Duration::ZERO;
                tokens.push(Token { norm, bytes, words: 0..0, start: zero, end: zero, seen: 1, revised: false });
                *open = None;
            }
            // Punctuation alone belongs to the word before it, or to the first one.
            Some((_, None, _)) => {
                if let Some(last) = tokens.last_mut() {
                    last.bytes.end = at;
                    *open = None;
                }
            }
            None => {}
        }
    };
    for (at, c) in text[from..].char_indices().map(|(at, c)| (from + at, c)) {
        if c.is_whitespace() {
            close(&mut open, at);
            continue;
        }
        if c.is_alphanumeric() {
            let stops = || matches!(text[..at].chars().next_back(), Some('、' | '。' | '，'));
            let joins = |last: char, gap: bool| !(is_unspaced(last) || is_unspaced(c) || (gap && stops()));
            if let Some((_, Some(last), gap)) = open
                && !joins(last, gap)
            {
                close(&mut open, at);
            }
            open = Some((open.map_or(at, |o| o.0), Some(c), false));
        } else {
            if tables::opens(c) && open.is_some_and(|(_, last, _)| last.is_some()) {
                close(&mut open, at);
            }
            open = Some(open.map_or((at, None, true), |(start, last, _)| (start, last, true)));
        }
    }
    close(&mut open, text.len());
    tokens
}
