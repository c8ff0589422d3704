//! Where a sentence that is still being said may be cut.

use std::time::Duration;

use super::tables::{ends_clause, is_conjunction, is_number, opens};
use super::words::{Heard, Timing, Token};
use super::{Boundary, Why};
use crate::config::{LedgerConfig, LedgerPolicy};

/// Silence between two words that cuts a sentence.
const PAUSE: Duration = Duration::from_millis(300);
/// The same where times are estimated.
const LIKELY_PAUSE: Duration = Duration::from_millis(500);
/// A number that was said may go on behind a shorter one.
const NUMBER_PAUSE: Duration = Duration::from_millis(1000);

/// Fewer overdue words wait for the next result, too.
const FEW_WORDS: usize = 2;
/// So much longer than `ledger.max_wait_ms` a word waits that only one result has shown: a recogniser that tells once a
/// second has confirmed it by then.
const ONE_RESULT: Duration = Duration::from_secs(1);

impl Heard {
    /// So many of the tokens are said to their end: the last word may be half spoken unless there is silence behind it.
    pub(super) fn whole(&self) -> usize {
        match self.tokens.last() {
            Some(last) if last.end + PAUSE > self.end => self.last_word(),
            _ => self.tokens.len(),
        }
    }

    /// So many of the tokens were the same in this many results in a row.
    pub(super) fn stable(&self, results: u32) -> usize {
        let fresh = &self.tokens[self.fresh.min(self.tokens.len())..];
        self.fresh + fresh.iter().take_while(|t| t.seen >= results).count()
    }

    /// What is the boundary in front of this token (or, at the end, behind the last one), if there is one.
    fn boundary(&self, code: &str, min_words: usize, at: usize) -> Option<Boundary> {
        let before = self.tokens.get(at.checked_sub(1)?)?;
        let Some(after) = self.tokens.get(at) else {
            return (before.end + PAUSE <= self.end).then_some(Boundary::Pause);
        };
        if ends_clause(code, &self.text[before.bytes.clone()], &before.norm)
            || self.text[after.bytes.clone()].starts_with(opens_question)
        {
            return Some(Boundary::Punctuation);
        }
        let pause = if self.timing == Timing::Told { PAUSE } else { LIKELY_PAUSE };
        if after.start >= before.end + pause {
            return Some(Boundary::Pause);
        }
        // The last word may still become another one.
        let whole = at + 1 < self.tokens.len() || after.seen > 1;
        let begins = whole
            && at - self.fresh >= min_words
            && is_conjunction(code, &after.norm)
            && !is_conjunction(code, &before.norm);
        let in_number =
            self.tokens.get(at + 1).is_some_and(|next| is_number(code, &before.norm) && is_number(code, &next.norm));
        (begins && !in_number).then_some(Boundary::Conjunction)
    }

    /// Whether words may be cut off in front of this token: never inside a word, nor in a number, which another result
    /// might write in digits.
    fn may_cut(&self, code: &str, at: usize) -> bool {
        let number = |t: &Token| is_number(code, &t.norm);
        let before = at.checked_sub(1).and_then(|i| self.tokens.get(i));
        let goes_on = match (before, self.tokens.get(at)) {
            // The last word may still become a part of the number.
            (_, Some(after)) => number(after) || (at + 1 == self.tokens.len() && after.seen < 2),
            (Some(before), None) => before.end + NUMBER_PAUSE > self.end,
            (None, None) => false,
        };
        let in_number = goes_on && before.is_some_and(number);
        self.is_cut(at) && !in_number
    }

    /// The nearest place in front of this token at which words may be cut off.
    fn cut_before(&self, code: &str, at: usize) -> usize {
        (self.fresh..=at).rev().find(|at| self.may_cut(code, *at)).unwrap_or(self.fresh)
    }

    /// Up to which token a policy commits now, and why.
    pub(super) fn agreed(&self, config: &LedgerConfig, code: &str) -> Option<(usize, Why)> {
        let whole = self.whole();
        match config.policy {
            LedgerPolicy::Final => None,
            LedgerPolicy::Clause => {
                let stable = self.stable(2).min(whole);
                let cut = |at: usize| {
                    Some((at, self.boundary(code, config.min_words, at).filter(|_| self.may_cut(code, at))?))
                };
                let (at, by) = (self.fresh + 1..=stable).rev().find_map(cut)?;
                Some((at, Why::Clause { interims: self.tokens[at - 1].seen, by }))
            }
            LedgerPolicy::Agreement => {
                let at = self.cut_before(code, self.stable(config.agreement).min(whole));
                (at > self.fresh).then(|| (at, Why::Agreement { interims: self.tokens[at - 1].seen }))
            }
        }
    }

    /// Up to which token words have waited for too long.
    pub(super) fn overdue(&self, config: &LedgerConfig, code: &str, whole: usize, now: Duration) -> Option<usize> {
        let waits = |at: usize, limit: Duration| self.tokens.get(at).is_some_and(|t| t.start + limit <= now);
        let due = |at: usize| waits(at, config.max_wait);
        if config.policy == LedgerPolicy::Final || !due(self.fresh) {
            return None;
        }
        let known = self.cut_before(code, whole);
        let stable = self.cut_before(code, self.stable(2).min(whole));
        // What only one result knows is often wrong, and the next one is near.
        let enough = stable >= self.fresh + config.min_words.min(FEW_WORDS);
        let last_call = waits(if enough { stable } else { self.fresh }, config.max_wait + ONE_RESULT);
        let at = match (last_call, enough) {
            (true, _) => self.kana_border(known),
            // A word alone translates badly, and the rest of the sentence is near.
            (false, true) => self.kana_border(stable),
            (false, false) => return None,
        };
        if at <= self.fresh && waits(self.fresh, config.max_wait * 2) {
            // A number without end: it is cut after all.
            return (self.fresh + 1..=whole).rev().find(|at| self.is_cut(*at));
        }
        (at > self.fresh).then_some(at)
    }

    /// In Japanese without marked words a word begins, most likely, where kana end: the last such place.
    fn kana_border(&self, at: usize) -> usize {
        let first = |i: usize| self.tokens[i].norm.chars().next().unwrap_or(' ');
        let unmarked = |i: usize| self.tokens.get(i).is_some_and(|t| t.words.is_empty() && t.is_char());
        let kana = |c: char| matches!(c, '\u{3041}'..='\u{309F}');
        let border = |i: &usize| unmarked(*i) && kana(first(*i - 1)) && !kana(first(*i));
        let least = self.fresh + (at - self.fresh) / 2 + 1;
        (least..=at).rev().find(|i| *i > 0 && border(i)).unwrap_or(at)
    }
}

fn opens_question(c: char) -> bool {
    matches!(c, '¿' | '¡') && opens(c)
}
