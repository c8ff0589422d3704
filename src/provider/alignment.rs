//! Which words a piece of synthesised audio has spoken: the vendor's aligned characters held against the text sent.
//!
//! Source of the format: ElevenLabs' AsyncAPI and OpenAPI (`alignment` of the websocket in milliseconds, of
//! `/stream/with-timestamps` in seconds). Vendors add and drop spaces, so only the other characters are compared.

use std::collections::VecDeque;

use serde::Deserialize;
use serde_json::Value;

use super::SpeechChunk;
use super::text::{is_border, says_something};

/// A word that lacks so little at the end of a chunk is as good as spoken: who heard that much must not hear it again
/// if the rest does not come.
const WORD_END_MS: u64 = 6;
/// Vendors round to milliseconds: a word that ends so close to the end of its chunk ends with it.
const ROUNDING_MS: u64 = 2;
/// Times that lie so far behind their own chunk are counted from the first one.
const BEYOND_MS: f64 = 50.0;

/// The alignment of one chunk of audio.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Aligned {
    /// None was given.
    #[default]
    None,
    /// Something was given that is no alignment.
    Bad,
    /// The characters of the chunk in order: each with its beginning and its end in milliseconds.
    Chars(Vec<(String, f64, f64)>),
}

impl Aligned {
    /// The websocket's `alignment`: `chars`, `charStartTimesMs` and `charDurationsMs` (or `charsDurationsMs`).
    pub fn from_ms(value: Option<&Value>) -> Self {
        #[derive(Deserialize)]
        struct In {
            chars: Vec<String>,
            #[serde(rename = "charStartTimesMs")]
            starts: Vec<f64>,
            #[serde(rename = "charDurationsMs", alias = "charsDurationsMs")]
            lengths: Vec<f64>,
        }
        match value {
            None | Some(Value::Null) => Aligned::None,
            Some(value) => match In::deserialize(value) {
                Ok(In { chars, starts, lengths }) if chars.len() == starts.len() && chars.len() == lengths.len() => {
                    Self::of(chars.into_iter().zip(starts).zip(lengths).map(|((c, s), l)| (c, s, s + l)).collect())
                }
                _ => Aligned::Bad,
            },
        }
    }

    /// The `alignment` of `/stream/with-timestamps`: `characters` with the times of their beginning and end in seconds.
    pub fn from_seconds(value: Option<&Value>) -> Self {
        #[derive(Deserialize)]
        struct In {
            characters: Vec<String>,
            character_start_times_seconds: Vec<f64>,
            character_end_times_seconds: Vec<f64>,
        }
        match value {
            None | Some(Value::Null) => Aligned::None,
            Some(value) => match In::deserialize(value) {
                Ok(In { characters, character_start_times_seconds: starts, character_end_times_seconds: ends })
                    if characters.len() == starts.len() && characters.len() == ends.len() =>
                {
                    let times = starts.into_iter().zip(ends);
                    Self::of(characters.into_iter().zip(times).map(|(c, (s, e))| (c, s * 1e3, e * 1e3)).collect())
                }
                _ => Aligned::Bad,
            },
        }
    }

    /// Times must be times, and must not run backwards.
    fn of(chars: Vec<(String, f64, f64)>) -> Self {
        let mut latest = 0.0;
        for (_, start, end) in &chars {
            if !(start.is_finite() && end.is_finite() && *start >= latest && end >= start && *end < 1e9) {
                return Aligned::Bad;
            }
            latest = *start;
        }
        if chars.is_empty() { Aligned::None } else { Aligned::Chars(chars) }
    }
}

/// Turns the audio of one text and its alignment into audio and [`SpeechChunk::Reached`], in their order.
#[derive(Clone, Debug)]
pub struct Tracker {
    text: String,
    /// The text is matched up to this byte.
    matched: usize,
    rate: u32,
    /// Samples given.
    given: u64,
    /// Words whose end is known and not given yet: the sample behind them, the byte behind them.
    borders: VecDeque<(u64, usize)>,
    contradicted: bool,
    /// It was told that words will be reached.
    promised: bool,
    /// Audio came without an alignment since the last one: nobody knows which words it speaks.
    unaligned: bool,
}

impl Tracker {
    /// For a text whose audio comes at `rate` Hz.
    pub fn new(text: &str, rate: u32) -> Self {
        Self {
            text: text.to_owned(),
            matched: 0,
            rate,
            given: 0,
            borders: VecDeque::new(),
            contradicted: false,
            promised: false,
            unaligned: false,
        }
    }

    /// The alignment contradicted the text or itself; nothing is `Reached` any more.
    pub fn is_contradicted(&self) -> bool {
        self.contradicted
    }

    /// No more audio comes: whether the alignment shows that words of the text were never spoken. False where there
    /// was none, where it was contradicted, and where it does not cover the last of the audio.
    pub fn falls_short(&self) -> bool {
        let known = self.matched > 0 && !self.contradicted && !self.unaligned;
        known && says_something(&self.text[self.matched..])
    }

    /// What one chunk gives: its audio, cut where words end. An alignment is announced by `Reached(0)`.
    pub fn push(&mut self, samples: Vec<i16>, aligned: Aligned) -> Vec<SpeechChunk> {
        if aligned != Aligned::None || !samples.is_empty() {
            self.unaligned = aligned == Aligned::None;
        }
        if !self.contradicted && !self.take(samples.len() as u64, aligned) {
            self.contradicted = true;
            self.borders.clear();
        }
        let mut chunks = Vec::new();
        // What was given before the first aligned character is the silence before it.
        if !self.promised && self.matched > 0 && !self.contradicted {
            self.promised = true;
            chunks.push(SpeechChunk::Reached(0));
        }
        let (first, end) = (self.given, self.given + samples.len() as u64);
        let nearly = if samples.is_empty() { 0 } else { WORD_END_MS * u64::from(self.rate) / 1000 };
        let mut rest = samples;
        while let Some(&(at, byte)) = self.borders.front().filter(|(at, _)| *at <= end + nearly) {
            self.borders.pop_front();
            let at = at.min(end);
            let here = at.saturating_sub(first) as usize;
            let done = (self.given - first) as usize;
            if here > done {
                let tail = rest.split_off(here - done);
                chunks.push(SpeechChunk::Audio(std::mem::replace(&mut rest, tail)));
                self.given = at;
            }
            // Of several words that end together the last one counts.
            if let Some(SpeechChunk::Reached(last)) = chunks.last_mut() {
                *last = byte;
            } else {
                chunks.push(SpeechChunk::Reached(byte));
            }
        }
        if !rest.is_empty() {
            chunks.push(SpeechChunk::Audio(rest));
        }
        self.given = end;
        chunks
    }

    /// Takes note of the words that end in a chunk of `count` samples; false if that cannot be true.
    fn take(&mut self, count: u64, aligned: Aligned) -> bool {
        let chars = match aligned {
            Aligned::None => return true,
            Aligned::Bad => return false,
            Aligned::Chars(chars) => chars,
        };
        let per_ms = f64::from(self.rate) / 1e3;
        let (given_ms, count_ms) = (self.given as f64 / per_ms, count as f64 / per_ms);
        let (earliest, latest) = (chars[0].1, chars.iter().map(|c| c.2).fold(0.0, f64::max));
        let from_first = latest > count_ms + BEYOND_MS && earliest >= given_ms - BEYOND_MS && self.given > 0;
        let base = if from_first { 0 } else { self.given };
        let end = self.given + count;
        for (entry, _, until) in chars {
            let mut at = base + (until * per_ms).ceil() as u64;
            if at < end && end - at <= ROUNDING_MS * u64::from(self.rate) / 1000 {
                at = end;
            }
            for c in entry.chars().filter(|c| !c.is_whitespace()) {
                let rest = &self.text[self.matched..];
                let skipped = rest.len() - rest.trim_start().len();
                if !rest[skipped..].starts_with(c) {
                    return false;
                }
                self.matched += skipped + c.len_utf8();
                if is_border(c, self.text[self.matched..].chars().next()) {
                    let at = self.borders.back().map_or(at, |(last, _)| at.max(*last));
                    self.borders.push_back((at, self.matched));
                }
            }
        }
        true
    }
}

#[cfg(test)]
#[path = "alignment_tests.rs"]
mod tests;
