//! The loop guard: a microphone that hears the translation in its own ear must not have it translated back.
//!
//! What was played to an ear is known word by word. A recognised word is an echo if the same word was played at that
//! moment; lone short words may be chance and are kept. Times decide, not the order alone: whoever repeats a sentence
//! a second later means it. Recognisers mishear echoes: a word much like the one that was played is one too,
//! and what nobody said aloud between words of an echo.

use std::collections::VecDeque;
use std::time::Duration;

use super::ledger::{Commit, difference, is_unspaced};
use crate::provider::Word;

/// An echo comes back within this time after it was played (acoustic path, jitter buffers, late recognisers' clocks).
const LATEST: Duration = Duration::from_millis(700);
/// Words lie in a segment by proportion; so much may that be wrong, …
const INEXACT: Duration = Duration::from_millis(400);
/// … and this share of the segment's length more.
const INEXACT_SHARE: u32 = 10;
/// What was played is remembered until its echo must have been recognised.
const REMEMBERED: Duration = Duration::from_secs(20);
/// Segments remembered at most.
const MOST: usize = 64;
/// Letters that a lone run of repeated words must have to be no chance.
const NO_CHANCE: usize = 6;
/// Shorter words are like too many others.
const SHORTEST_ALIKE: usize = 4;

/// What an ear was played, in gateway time.
#[derive(Clone, Debug)]
pub struct Played {
    /// Its text.
    pub text: String,
    /// When its first sample was heard.
    pub started: Duration,
    /// How long it sounds, as far as that is known.
    pub length: Duration,
}

/// The guard of one session.
#[derive(Clone, Debug, Default)]
pub struct LoopGuard {
    played: VecDeque<Played>,
    words: u64,
}

impl LoopGuard {
    /// Words that were kept from coming around so far.
    pub fn words(&self) -> u64 {
        self.words
    }

    /// A segment has been heard to its end.
    pub fn heard(&mut self, now: Duration, played: Played) {
        self.played.retain(|p| p.started + p.length + REMEMBERED > now);
        if self.played.len() == MOST {
            self.played.pop_front();
        }
        self.played.push_back(played);
    }

    /// Takes out of a commit what repeats what the ear was played; `sounding` is what it hears just now, `said_at` gives
    /// gateway times, and `talked` says whether the microphone was louder than an echo between two of them. Gives what is
    /// left, if that has a word, and the number of words taken out.
    pub fn filter(
        &mut self,
        commit: Commit,
        sounding: &[Played],
        said_at: impl Fn(Duration) -> Duration,
        talked: impl Fn(Duration, Duration) -> bool,
    ) -> (Option<Commit>, usize) {
        let played: Vec<Vec<(String, Duration, Duration)>> =
            self.played.iter().chain(sounding).map(Played::words).filter(|words| !words.is_empty()).collect();
        if played.is_empty() {
            return (Some(commit), 0);
        }
        let words = spread(&commit);
        let heard: Vec<(String, Duration)> =
            words.iter().map(|w| (normal(&w.text), said_at((w.start + w.end) / 2))).collect();
        let mut echo = vec![false; words.len()];
        let meets = |segment: &[(String, Duration, Duration)]| {
            let (Some((_, from)), Some((_, to))) = (heard.first(), heard.last()) else { return false };
            segment.first().is_some_and(|(_, first, _)| first <= to)
                && segment.last().is_some_and(|(.., last)| from <= last)
        };
        for segment in played.iter().filter(|segment| meets(segment)) {
            mark(&heard, segment, &mut echo);
        }
        // What the microphone gave louder than any echo was said by its owner.
        for (marked, (_, at)) in echo.iter_mut().zip(&heard) {
            *marked &= !talked(*at, *at);
        }
        let all = echo.iter().zip(&heard).all(|(echo, (word, _))| *echo || word.is_empty());
        if !all {
            keep_chances(&heard, &mut echo);
            let soft = |w: &Word| !talked(said_at(w.start).saturating_sub(INEXACT), said_at(w.end) + INEXACT);
            mark_misheard(&heard, &words.iter().map(soft).collect::<Vec<_>>(), &mut echo);
        }
        let removed = echo.iter().filter(|echo| **echo).count();
        self.words += removed as u64;
        if removed == 0 {
            return (Some(commit), 0);
        }
        let left: Vec<Word> = words.into_iter().zip(&echo).filter(|(_, echo)| !**echo).map(|(word, _)| word).collect();
        let (Some(first), Some(last)) = (left.first(), left.last()) else { return (None, removed) };
        if left.iter().all(|word| normal(&word.text).is_empty()) {
            return (None, removed);
        }
        let texts: Vec<&str> = left.iter().map(|w| w.text.as_str()).collect();
        let (start, end, text) = (first.start, last.end, joined(&texts));
        let words = if commit.words.is_empty() { Vec::new() } else { left };
        (Some(Commit { why: commit.why, words, text, start, end }), removed)
    }
}

impl Played {
    /// Its words, each with the earliest and the latest time at which its echo may have been said.
    fn words(&self) -> Vec<(String, Duration, Duration)> {
        let texts: Vec<String> = tokens(&self.text).into_iter().map(normal).filter(|w| !w.is_empty()).collect();
        let letters: usize = texts.iter().map(|w| w.chars().count()).sum();
        let inexact = INEXACT + self.length / INEXACT_SHARE;
        let mut before = 0;
        texts
            .into_iter()
            .map(|word| {
                let count = word.chars().count();
                let middle = (before * 2 + count) as f64 / (letters * 2).max(1) as f64;
                before += count;
                let at = self.started + self.length.mul_f64(middle);
                (word, at.saturating_sub(inexact), at + inexact + LATEST)
            })
            .collect()
    }
}

/// Marks the words that repeat a segment, in its order: the longest common subsequence, each word at its time.
fn mark(heard: &[(String, Duration)], segment: &[(String, Duration, Duration)], echo: &mut [bool]) {
    let same = |i: usize, j: usize| {
        let ((word, at), (played, from, to)) = (&heard[i], &segment[j]);
        !word.is_empty() && from <= at && at <= to && alike(word, played)
    };
    let width = segment.len() + 1;
    // longest[i * width + j]: of what was heard from i on and played from j on.
    let mut longest = vec![0u16; (heard.len() + 1) * width];
    for i in (0..heard.len()).rev() {
        for j in (0..segment.len()).rev() {
            longest[i * width + j] = match same(i, j) {
                true => longest[(i + 1) * width + j + 1] + 1,
                false => longest[(i + 1) * width + j].max(longest[i * width + j + 1]),
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    while i < heard.len() && j < segment.len() {
        if same(i, j) {
            echo[i] = true;
            (i, j) = (i + 1, j + 1);
        } else if longest[(i + 1) * width + j] >= longest[i * width + j + 1] {
            i += 1;
        } else {
            j += 1;
        }
    }
}

/// A recogniser may have made the one of the other: at most a third of the letters differ.
fn alike(a: &str, b: &str) -> bool {
    let long = |word: &str| word.chars().count() >= SHORTEST_ALIKE;
    a == b || long(a) && long(b) && difference(a, b) <= 1.0 / 3.0
}

/// Marks what was recognised wrongly: between marked words while nobody talked, where at least half of the letters are
/// marked (two thirds of characters that are words of their own).
fn mark_misheard(heard: &[(String, Duration)], soft: &[bool], echo: &mut [bool]) {
    let mut from = 0;
    while from < echo.len() {
        let run = from..from + soft[from..].iter().take_while(|soft| **soft).count();
        from = run.end.max(from + 1);
        let marked = || run.clone().filter(|i| echo[*i]);
        let (Some(first), Some(last)) = (marked().next(), marked().next_back()) else { continue };
        let letters = |i: usize| heard[i].0.chars().count();
        let (certain, all) = (marked().map(letters).sum::<usize>(), (first..=last).map(letters).sum::<usize>());
        let unspaced = (first..=last).any(|i| heard[i].0.chars().any(is_unspaced));
        if if unspaced { certain * 3 >= all * 2 } else { certain * 2 >= all } {
            echo[first..=last].fill(true);
        }
    }
}

/// Takes the mark from runs so short that they may be chance.
fn keep_chances(heard: &[(String, Duration)], echo: &mut [bool]) {
    let mut from = 0;
    while from < echo.len() {
        let length = echo[from..].iter().take_while(|marked| **marked).count();
        let run = from..from + length;
        let weight =
            |(word, _): &(String, Duration)| word.chars().map(|c| if is_unspaced(c) { 2 } else { 1 }).sum::<usize>();
        let letters: usize = heard[run.clone()].iter().map(weight).sum();
        if length > 0 && letters < NO_CHANCE {
            echo[run].fill(false);
        }
        from += length.max(1);
    }
}

/// A commit's words; where it has none, its text's, spread over its span. Of scripts without spaces the characters.
fn spread(commit: &Commit) -> Vec<Word> {
    if !commit.words.is_empty() {
        return commit.words.iter().flat_map(parts).collect();
    }
    let Commit { text, start, end, .. } = commit;
    parts(&Word { text: text.clone(), start: *start, end: *end, confidence: 1.0 })
}

/// The [`tokens`] of a text, spread evenly over its span.
fn parts(word: &Word) -> Vec<Word> {
    let texts = tokens(&word.text);
    let length = word.end.saturating_sub(word.start) / texts.len().max(1) as u32;
    let part = |(i, text): (usize, &&str)| {
        let start = word.start + length * i as u32;
        Word { text: (*text).to_owned(), start, end: start + length, confidence: word.confidence }
    };
    texts.iter().enumerate().map(part).collect()
}

/// Words between spaces, and single characters where a script has none.
fn tokens(text: &str) -> Vec<&str> {
    let mut out = Vec::new();
    for word in text.split_whitespace() {
        let mut from = 0;
        for (at, c) in word.char_indices() {
            if is_unspaced(c) {
                out.extend((at > from).then(|| &word[from..at]));
                from = at + c.len_utf8();
                out.push(&word[at..from]);
            }
        }
        out.extend((from < word.len()).then(|| &word[from..]));
    }
    out
}

/// Texts one after the other, with spaces between those of scripts that have them.
fn joined(texts: &[&str]) -> String {
    let mut out = String::new();
    for text in texts {
        let spaced = |c: Option<char>| c.is_some_and(|c| !is_unspaced(c));
        if spaced(out.chars().next_back()) && spaced(text.chars().next()) {
            out.push(' ');
        }
        out.push_str(text);
    }
    out
}

fn normal(word: &str) -> String {
    word.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::super::ledger::Why;
    use super::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    /// Words of 300 ms, said from `start` on.
    fn said(text: &str, start: u64, times: bool) -> Commit {
        let count = text.split_whitespace().count() as u64;
        let commit = Commit {
            why: Why::Final,
            words: Vec::new(),
            text: text.into(),
            start: ms(start),
            end: ms(start + count * 300),
        };
        let words = if times { spread(&commit) } else { Vec::new() };
        Commit { words, ..commit }
    }

    #[test]
    fn echoes_go_and_what_is_really_said_stays() {
        // Played from 10.0 to 11.8 s, in six words.
        let played = "Mañana a las tres salimos juntos.";
        let nothing = 0..0;
        // (what is recognised, from when on, when somebody talked, what is left)
        for (text, start, aloud, left) in [
            ("mañana a las tres salimos juntos", 10_050, nothing.clone(), None),
            ("Mañana, a las tres salimos juntos.", 10_300, nothing.clone(), None),
            ("las tres salimos", 10_900, nothing.clone(), None),
            // Misheard in part.
            ("mañana las otras salimos justos", 10_100, nothing.clone(), None),
            // An answer that is softer than an echo might be, before it, behind it and in its place.
            ("oye mañana a las tres", 9750, nothing.clone(), Some("oye")),
            ("salimos juntos vale", 10_900, nothing.clone(), Some("vale")),
            ("mañana a las perfectamente pues adelante", 10_100, nothing.clone(), Some("perfectamente pues adelante")),
            // It is said again, later.
            ("mañana a las tres salimos juntos", 14_000, nothing.clone(), Some("mañana a las tres salimos juntos")),
            // Or was said before it was played.
            ("mañana a las tres", 7000, nothing.clone(), Some("mañana a las tres")),
            // Something else at the same time, with a chance word in it.
            ("no puedo a esa hora", 10_100, nothing.clone(), Some("no puedo a esa hora")),
            // Both.
            ("mañana a las no puedo salimos juntos", 10_100, 11_000..11_600, Some("no puedo")),
            ("sí", 10_100, nothing.clone(), Some("sí")),
            ("sí", 10_100, 10_100..10_400, Some("sí")),
        ] {
            for times in [true, false] {
                for sounds in [true, false] {
                    let mut guard = LoopGuard::default();
                    let item = Played { text: played.into(), started: ms(10_000), length: ms(1800) };
                    let sounding = if sounds { vec![item.clone()] } else { Vec::new() };
                    if !sounds {
                        guard.heard(ms(11_800), item);
                    }
                    let (kept, removed) = guard.filter(
                        said(text, start, times),
                        &sounding,
                        |t| t,
                        |from, to| aloud.end > 0 && ms(aloud.start) <= to && from < ms(aloud.end),
                    );
                    assert_eq!(kept.as_ref().map(|c| c.text.as_str()), left, "{text} at {start}");
                    let count = |text: &str| text.split_whitespace().count();
                    assert_eq!(removed, count(text) - left.map_or(0, count), "{text}");
                    assert_eq!(guard.words(), removed as u64);
                    assert!(kept.is_none_or(|c| c.words.is_empty() != times), "{text}");
                }
            }
        }
    }

    #[test]
    fn scripts_without_spaces_and_own_talk() {
        let played = Played { text: "明天三点我们出发。".into(), started: ms(10_000), length: ms(1800) };
        let commit = |text: &str| Commit {
            why: Why::Final,
            words: Vec::new(),
            text: text.into(),
            start: ms(10_100),
            end: ms(11_900),
        };
        let mut guard = LoopGuard::default();
        let (left, _) = guard.filter(commit("明天三点我们出发"), std::slice::from_ref(&played), |t| t, |_, _| false);
        assert_eq!(left, None);
        let (left, removed) = guard.filter(
            commit("好明天三点我们出发"),
            std::slice::from_ref(&played),
            |t| t,
            |from, _| from < ms(10_250),
        );
        assert_eq!((left.map(|c| c.text), removed), (Some("好".to_owned()), 8));
        // The same words, but said louder than any echo: an answer.
        let (left, removed) = guard.filter(commit("明天三点我们出发"), &[played], |t| t, |_, _| true);
        assert_eq!((left.map(|c| c.text), removed), (Some("明天三点我们出发".to_owned()), 0));
    }

    #[test]
    fn what_was_played_is_forgotten_and_bounded() {
        let mut guard = LoopGuard::default();
        for i in 0..1000u64 {
            let played = Played { text: "algo".into(), started: ms(i * 10), length: ms(10) };
            guard.heard(ms(i * 10 + 10), played);
            assert!(guard.played.len() <= MOST);
        }
        let played = Played { text: "algo".into(), started: ms(90_000), length: ms(10) };
        guard.heard(ms(90_010), played);
        assert_eq!(guard.played.len(), 1);
    }
}
