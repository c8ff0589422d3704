//! The ledger: decides which recognised words are final enough to be spoken, each exactly once.
//!
//! | file | what is in it |
//! |---|---|
//! | `mod` | what is committed of one speaker, when, and what waits for a replay |
//! | `words` | a result as tokens, with times |
//! | `align` | which tokens of a new result are those of an older one |
//! | `clause` | where an unfinished sentence may be cut |
//! | `tables` | what differs between languages |
//!
//! A span is committed once, in the order in which it was said; what comes again for it is counted, not spoken.

mod align;
mod clause;
#[cfg(test)]
mod property_tests;
mod tables;
#[cfg(test)]
mod tests;
mod words;

use std::time::Duration;

use self::align::Times;
pub(super) use self::align::difference;
pub(super) use self::words::is_unspaced;
use self::words::{Heard, Timing, Token, is_apart};
use crate::config::{Language, LedgerConfig};
use crate::provider::{SttEvent, Transcript, Word};

/// Why a span was let go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The recogniser said that it will not change.
    Final,
    /// The same, at the end of what the speaker had to say.
    EndOfTurn,
    /// A clause ends there, and its text was the same in several results in a row.
    Clause {
        /// How many.
        interims: u32,
        /// What ends the clause.
        by: Boundary,
    },
    /// Several results in a row agree.
    Agreement {
        /// How many.
        interims: u32,
    },
    /// It has waited for as long as words may.
    Overdue,
    /// It was recognised again after a connection was lost.
    Recovered,
    /// The connection was lost, and nobody will tell more of it.
    Interrupted,
}

/// What ends a clause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Boundary {
    /// A full stop, a comma and their like.
    Punctuation,
    /// The speaker paused.
    Pause,
    /// A word that begins the next clause.
    Conjunction,
}

impl std::fmt::Display for Why {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Why::Final => f.write_str("final"),
            Why::EndOfTurn => f.write_str("end of turn"),
            Why::Clause { interims, .. } => write!(f, "clause, {interims} stable interims"),
            Why::Agreement { interims } => write!(f, "agreement, {interims} interims"),
            Why::Overdue => f.write_str("overdue"),
            Why::Recovered => f.write_str("recovered"),
            Why::Interrupted => f.write_str("interrupted"),
        }
    }
}

/// A span of speech that will not change any more.
#[derive(Clone, Debug, PartialEq)]
pub struct Commit {
    /// Why now.
    pub why: Why,
    /// Its words with their session times; empty where the recogniser gives none.
    pub words: Vec<Word>,
    /// What was said.
    pub text: String,
    /// Session time of its first word.
    pub start: Duration,
    /// Session time at which its last word ended.
    pub end: Duration,
}

/// What is known and not committed: worth working on ahead.
#[derive(Clone, Debug, PartialEq)]
pub struct Tail {
    /// The text that a commit of all of it would have.
    pub text: String,
    /// Session time of its first word.
    pub start: Duration,
    /// Session time at which its last word ended.
    pub end: Duration,
    /// It was the same in two results in a row, or the recogniser takes it for the whole of what is said.
    pub stable: bool,
}

/// Final results that may wait for a replay. Only a server that floods us sends more; then they wait no longer.
const MOST_HELD: usize = 512;
/// Times of one word differ so much from result to result.
const JITTER: Duration = Duration::from_millis(50);

/// What is committed of the span that has no final result yet.
#[derive(Clone, Debug, Default)]
struct Span {
    /// Session time at which the first result began of which something was committed.
    from: Duration,
    /// What is committed, as the last result had it.
    tokens: Vec<Token>,
    /// So many of them, the last ones, were not in the last result.
    missing: usize,
    /// The text, the number of words and the beginning of the last result, as far as it is committed: the next one
    /// mostly has the same.
    known: Option<(String, usize, Duration)>,
}

/// The last result that is not final.
#[derive(Clone, Debug)]
struct Hypothesis {
    heard: Heard,
    /// The recogniser takes it for the whole of what is said.
    eager: bool,
}

/// The ledger of one speaker.
#[derive(Clone, Debug)]
pub struct Ledger {
    config: LedgerConfig,
    /// Code of the language that is spoken.
    code: &'static str,
    span: Span,
    hypothesis: Option<Hypothesis>,
    /// Session time up to which final results have been committed.
    settled_to: Duration,
    /// Session time at which the last commit ended.
    said_to: Duration,
    repeated: u64,
    revised: u64,
    interims: u64,
    /// Spans that are recognised again, in order; what was said behind them waits.
    replays: Vec<(Duration, Duration)>,
    /// Final results that wait for them, and whether they end a turn.
    held: Vec<(Transcript, bool)>,
}

impl Ledger {
    /// An empty ledger.
    pub fn new(config: LedgerConfig) -> Self {
        Ledger {
            config,
            code: "",
            span: Span::default(),
            hypothesis: None,
            settled_to: Duration::ZERO,
            said_to: Duration::ZERO,
            repeated: 0,
            revised: 0,
            interims: 0,
            replays: Vec::new(),
            held: Vec::new(),
        }
    }

    /// Which language is spoken from now on; without one, clauses end at punctuation and pauses only.
    pub fn speaks(&mut self, language: Language) {
        self.code = language.code();
    }

    /// Words that came again after they were committed, and were dropped.
    pub fn repeated(&self) -> u64 {
        self.repeated
    }

    /// Words that changed after they were committed.
    pub fn revised(&self) -> u64 {
        self.revised
    }

    /// Results heard that were not final.
    pub fn interims(&self) -> u64 {
        self.interims
    }

    /// Session time from which on words wait, because a replay has not answered yet.
    pub fn waits_from(&self) -> Option<Duration> {
        self.replays.first().map(|(start, _)| *start)
    }

    /// The span of which the words were committed although no final result has come for it.
    pub fn ahead(&self) -> Option<(Duration, Duration)> {
        let last = self.span.tokens.last()?;
        Some((self.span.from, last.end))
    }

    /// The recogniser is gone, and no replay will report any more.
    pub fn forget_replays(&mut self) {
        self.replays.clear();
        self.held.clear();
        self.hypothesis = None;
        self.span = Span::default();
    }

    /// What is known and not committed.
    pub fn tail(&self) -> Option<Tail> {
        let Hypothesis { heard, eager } = self.hypothesis.as_ref()?;
        let range = heard.fresh..heard.tokens.len();
        let (first, last) = (heard.tokens.get(range.start)?, heard.tokens.last()?);
        Some(Tail {
            text: heard.text_of(range.clone()).to_owned(),
            start: first.start,
            end: last.end,
            stable: *eager || heard.stable(2) == range.end,
        })
    }

    /// Takes a recogniser's report at session time `now`; returns the spans to be translated now, in the order in which
    /// they were said.
    pub fn hear(&mut self, now: Duration, event: &SttEvent) -> Vec<Commit> {
        match event {
            SttEvent::Interim(t) | SttEvent::Resumed(t) => return self.interim(now, t, false),
            SttEvent::EagerEnd(t) => return self.interim(now, t, true),
            SttEvent::UtteranceEnd { last_word_end } => return self.turn_ended(*last_word_end),
            SttEvent::Lost { start, end } => return self.interrupted(*start, *end),
            SttEvent::Final { transcript, speech_final } => {
                self.hypothesis = None;
                self.held.push((transcript.clone(), *speech_final));
                if self.held.len() > MOST_HELD {
                    self.replays.clear();
                }
            }
            SttEvent::Recovered(transcript) => {
                return self.settle(transcript, Why::Recovered).into_iter().collect();
            }
            SttEvent::Replaying { start, end } => {
                // What the lost connection had not settled is heard again.
                self.hypothesis = None;
                match self.replays.iter_mut().find(|(known, _)| known == start) {
                    Some(known) => known.1 = *end,
                    None => self.replays.push((*start, *end)),
                }
                self.replays.sort_unstable();
            }
            SttEvent::Replayed { start, .. } => self.replays.retain(|(known, _)| known != start),
            SttEvent::SpeechStarted { .. } | SttEvent::Closed => {}
        }
        self.release()
    }

    /// Time has passed: words that have waited for too long.
    pub fn tick(&mut self, now: Duration) -> Vec<Commit> {
        self.overdue(now).into_iter().collect()
    }

    fn interim(&mut self, now: Duration, t: &Transcript, eager: bool) -> Vec<Commit> {
        self.interims += 1;
        // Nothing is committed in front of what is heard again.
        if !self.replays.is_empty() {
            return Vec::new();
        }
        let mut heard = self.place(t);
        let old = self.hypothesis.take().map(|h| h.heard);
        let (seen, heard_to) = match &old {
            Some(old) => (&old.tokens[old.fresh..], old.end),
            None => (&[][..], self.committed_to()),
        };
        let fresh = heard.fresh;
        let spread = heard.timing == Timing::Spread;
        let known = align::agree(self.code, seen, &mut heard.tokens[fresh..], spread);
        if spread {
            heard.estimate(fresh + known, heard_to);
        }
        self.hypothesis = Some(Hypothesis { heard, eager });
        let mut commits = Vec::new();
        let agreed = self.hypothesis.as_ref().filter(|_| !eager).and_then(|h| h.heard.agreed(&self.config, self.code));
        if let Some((at, why)) = agreed {
            commits.extend(self.commit_to(at, why));
        }
        commits.extend(self.overdue(now));
        commits
    }

    fn overdue(&mut self, now: Duration) -> Option<Commit> {
        let Hypothesis { heard, eager } = self.hypothesis.as_ref()?;
        let whole = if *eager { heard.tokens.len() } else { heard.whole() };
        let at = heard.overdue(&self.config, self.code, whole, now)?;
        self.commit_to(at, Why::Overdue)
    }

    /// The utterance is over, and no final result may come for its last words.
    fn turn_ended(&mut self, last_word_end: Duration) -> Vec<Commit> {
        let told = self.hypothesis.as_ref().filter(|h| h.heard.timing == Timing::Told);
        let over = told.filter(|h| h.heard.tokens.last().is_some_and(|t| t.middle() <= last_word_end));
        match over.map(|h| h.heard.tokens.len()) {
            Some(at) if self.config.policy != crate::config::LedgerPolicy::Final => {
                self.commit_to(at, Why::EndOfTurn).into_iter().collect()
            }
            _ => Vec::new(),
        }
    }

    /// Nobody will tell more of this span: what is known of it is all that there will be.
    fn interrupted(&mut self, start: Duration, end: Duration) -> Vec<Commit> {
        let within = |h: &Heard| h.tokens.get(h.fresh).is_some_and(|t| t.middle() >= start && t.middle() < end);
        if !self.replays.is_empty() || !self.hypothesis.as_ref().is_some_and(|h| within(&h.heard)) {
            return Vec::new();
        }
        let whole = self.hypothesis.as_ref().map_or(0, |h| h.heard.whole());
        let known = match self.config.policy {
            crate::config::LedgerPolicy::Final => None,
            _ => self.commit_to(whole, Why::Interrupted),
        };
        self.hypothesis = None;
        known.into_iter().collect()
    }

    /// Session time up to which everything is committed.
    fn committed_to(&self) -> Duration {
        self.span.tokens.last().map_or(self.settled_to, |t| t.end.max(self.settled_to))
    }

    /// Finds what of a result is committed.
    fn place(&mut self, t: &Transcript) -> Heard {
        // What lies before the result cannot be in it: the span was given up, or belongs to a lost connection.
        let before = self.span.tokens.iter().take_while(|token| token.middle() + JITTER < t.start).count();
        if before > 0 {
            self.span.tokens.drain(..before);
            self.span.missing = self.span.missing.min(self.span.tokens.len());
            self.span.known = None;
        }
        if let Some((text, words, start)) = &self.span.known
            && start.abs_diff(t.start) < JITTER
            && t.words.len() >= *words
            && t.text.strip_prefix(text.as_str()).is_some_and(|rest| is_apart(text, rest))
        {
            return Heard::read(t, text.len(), *words);
        }
        let mut heard = Heard::read(t, 0, 0);
        if self.span.tokens.is_empty() {
            heard.fresh = match t.words.is_empty() {
                // A provider without word times: the span itself tells what is new.
                true if t.end <= self.settled_to => heard.tokens.len(),
                true => 0,
                // A word is the same word when its middle lies in what was committed: times of one word differ a
                // little from result to result, but never by half its length.
                false => {
                    let new = t.words.iter().position(|w| (w.start + w.end) / 2 >= self.settled_to);
                    let first = new.and_then(|new| heard.tokens.iter().position(|token| token.words.start >= new));
                    first.unwrap_or(heard.tokens.len())
                }
            };
            return heard;
        }
        let told = heard.timing == Timing::Told;
        let times = Times { committed_to: told.then(|| self.committed_to()), end: t.end };
        let found = align::find(self.code, &self.span.tokens, &heard.tokens, &times);
        self.revised += found.changes;
        let missing = self.span.tokens.split_off(found.used);
        let old = std::mem::take(&mut self.span.tokens);
        for (token, revised) in heard.tokens.iter_mut().zip(found.revised) {
            token.revised = revised;
        }
        heard.fresh = found.fresh;
        let mut tokens = heard.tokens[..found.fresh].to_vec();
        if !told {
            // Estimates of the same words stay what they were.
            let (from, to) = (self.span.from, old.last().map_or(self.span.from, |t| t.end));
            let step = to.saturating_sub(from) / tokens.len().max(1) as u32;
            for (i, token) in (0u32..).zip(&mut tokens) {
                (token.start, token.end) = (from + step * i, from + step * (i + 1));
            }
        }
        tokens.extend(missing.iter().cloned());
        self.span.tokens = tokens;
        self.span.missing = missing.len();
        self.remember(&heard);
        heard
    }

    /// Takes note of how far the committed part of a result reaches, so that the next one need not be searched.
    fn remember(&mut self, heard: &Heard) {
        let last = heard.fresh.checked_sub(1).and_then(|i| heard.tokens.get(i));
        self.span.known = last
            .filter(|_| self.span.missing == 0 && heard.is_cut(heard.fresh))
            .map(|last| (heard.text[..last.bytes.end].to_owned(), last.words.end, heard.start));
    }

    /// Commits tokens of the last result that are not final.
    fn commit_to(&mut self, at: usize, why: Why) -> Option<Commit> {
        let heard = &mut self.hypothesis.as_mut()?.heard;
        let range = heard.fresh..at;
        let (first, last) = (heard.tokens.get(range.start)?, heard.tokens.get(at.checked_sub(1)?)?);
        if range.is_empty() {
            return None;
        }
        let (start, end) = (first.start, last.end);
        let (text, words) = (heard.text_of(range.clone()).to_owned(), heard.words_of(range.clone()));
        let told = heard.timing == Timing::Told;
        if self.span.tokens.is_empty() {
            self.span.from = heard.start;
        }
        self.span.tokens.extend_from_slice(&heard.tokens[range]);
        heard.fresh = at;
        let heard = self.hypothesis.take()?;
        self.remember(&heard.heard);
        self.hypothesis = Some(heard);
        Some(self.in_order(Commit { why, words, text, start, end }, told))
    }

    /// Estimated times of one result may lie a little in front of those of another.
    fn in_order(&mut self, mut commit: Commit, told: bool) -> Commit {
        if !told {
            commit.start = commit.start.max(self.said_to);
            commit.end = commit.end.max(commit.start);
        }
        self.said_to = commit.end;
        commit
    }

    /// Commits what waits for nothing: what was said before the first span that is still recognised again.
    fn release(&mut self) -> Vec<Commit> {
        let until = self.replays.first().map(|(start, _)| *start);
        // By its middle: a gap may begin a sample before the result in front of it ends.
        let waits = |(t, _): &(Transcript, bool)| until.is_some_and(|until| (t.start + t.end) / 2 > until);
        let (held, free): (Vec<_>, Vec<_>) = std::mem::take(&mut self.held).into_iter().partition(waits);
        self.held = held;
        let why = |over| if over { Why::EndOfTurn } else { Why::Final };
        free.iter().filter_map(|(transcript, over)| self.settle(transcript, why(*over))).collect()
    }

    /// A result that will not change: all of it is committed.
    fn settle(&mut self, t: &Transcript, why: Why) -> Option<Commit> {
        let mut heard = self.place(t);
        let ahead = self.ahead();
        let range = heard.fresh..heard.tokens.len();
        let told = heard.timing == Timing::Told;
        if let Some((_, to)) = ahead.filter(|_| !told) {
            heard.spread(range.start, to.max(t.start).min(t.end), t.end);
        }
        if ahead.is_none() || why == Why::Recovered {
            self.repeated += heard.fresh as u64;
        }
        let ends = heard.tokens.get(range.start).zip(heard.tokens.last());
        let commit = ends.map(|(first, last)| Commit {
            why,
            words: heard.words_of(range.clone()),
            text: heard.text_of(range.clone()).to_owned(),
            start: first.start,
            end: last.end,
        });
        let commit = commit.map(|commit| self.in_order(commit, told));
        let missing = self.span.tokens.split_off(self.span.tokens.len() - self.span.missing);
        if let Some(commit) = &commit {
            self.settled_to = self.settled_to.max(if told { commit.end } else { commit.end.min(t.end) });
        } else if ahead.is_some() {
            self.settled_to = self.settled_to.max(self.committed_to().min(t.end));
        }
        // What a final result does not reach yet is in the next one; what it leaves out was taken back.
        let comes = |token: &Token| if told { token.middle() + JITTER >= t.end } else { why != Why::EndOfTurn };
        let (mut left, gone): (Vec<_>, Vec<_>) = missing.into_iter().partition(comes);
        for token in left.iter_mut().filter(|_| !told) {
            (token.start, token.end) = (token.start.max(t.end), token.end.max(t.end));
        }
        self.revised += gone.iter().filter(|token| !token.revised).count() as u64;
        self.span = Span { from: t.end, missing: left.len(), tokens: left, known: None };
        commit
    }
}
