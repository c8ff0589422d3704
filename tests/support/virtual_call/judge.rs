//! What an ear heard, held against what was said: every word whole, once and in order, and how late.

use std::time::Duration;

use super::ear::HeardWord;
use super::script::{NUMBERS, Script};

/// A word that was looked for and heard.
#[derive(Clone, Copy, Debug)]
pub struct Lag {
    /// Gateway time at which it ended in the speaker's mouth.
    pub said: Duration,
    /// Gateway time at which its translation ended in the ear.
    pub heard: Duration,
}

impl Lag {
    /// In milliseconds.
    pub fn ms(&self) -> f64 {
        (self.heard.as_secs_f64() - self.said.as_secs_f64()) * 1e3
    }
}

/// The outcome.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// Words that were looked for.
    pub said: usize,
    /// First hearings, in the order of saying.
    pub lags: Vec<Lag>,
    /// Places (of [`Script::looked_for`]) never heard.
    pub lost: Vec<usize>,
    /// Hearings of a word that was heard before.
    pub doubled: usize,
    /// Place of the first of them.
    pub first_doubled: Option<usize>,
    /// First hearings that came after a later word.
    pub reordered: usize,
    /// Coded words that nobody said, or in another language than the ear's.
    pub strange: usize,
    /// Spans of sound that were no whole word.
    pub damaged: usize,
}

/// Compares the words of an ear with a script. `language` is the ear's; `began` the gateway time at which session time
/// was zero; words that begin in `unlooked` (session time) are not looked for.
pub fn judge(
    script: &Script,
    began: Duration,
    language: &str,
    heard: &[HeardWord],
    damaged: usize,
    looked_for: impl Fn(Duration) -> bool,
) -> Verdict {
    let said: Vec<_> = script.looked_for().collect();
    let mut first: Vec<Option<Duration>> = vec![None; said.len()];
    let mut verdict = Verdict { damaged, ..Verdict::default() };
    // Behind the last word heard.
    let mut next = 0usize;
    let cycle = usize::from(NUMBERS);
    for word in heard {
        if word.token.language() == "xx" {
            continue;
        }
        if word.token.language() != language || word.token.n >= NUMBERS {
            verdict.strange += 1;
            continue;
        }
        // Numbers come again after a cycle: the place nearest to the last one is meant.
        let base = next - next % cycle + usize::from(word.token.n);
        let near = [base.checked_sub(cycle), Some(base), Some(base + cycle)];
        let place = near.into_iter().flatten().min_by_key(|p| p.abs_diff(next)).unwrap_or(base);
        let Some(slot) = first.get_mut(place) else {
            verdict.strange += 1;
            continue;
        };
        if slot.is_some() {
            verdict.doubled += 1;
            verdict.first_doubled.get_or_insert(place);
            continue;
        }
        *slot = Some(word.end);
        if place + 1 > next {
            next = place + 1;
        } else {
            verdict.reordered += 1;
        }
    }
    for (place, (word, heard)) in said.iter().zip(first).enumerate() {
        if !looked_for(word.start) {
            continue;
        }
        verdict.said += 1;
        match heard {
            Some(heard) => verdict.lags.push(Lag { said: began + word.end, heard }),
            None => verdict.lost.push(place),
        }
    }
    verdict
}

impl Verdict {
    /// The `q` quantile of the lags in milliseconds (nearest rank).
    pub fn quantile(&self, q: f64) -> f64 {
        let mut lags: Vec<f64> = self.lags.iter().map(Lag::ms).collect();
        lags.sort_by(f64::total_cmp);
        let rank = (lags.len() as f64 * q).ceil() as usize;
        lags.get(rank.clamp(1, lags.len().max(1)) - 1).copied().unwrap_or(0.0)
    }

    pub fn max(&self) -> f64 {
        self.quantile(1.0)
    }

    /// Milliseconds of lag that a minute of talk adds, by least squares. Talk of more than three minutes counts from its
    /// second minute on: how the lag first came about is no drift.
    pub fn slope(&self) -> f64 {
        let (Some(first), Some(last)) = (self.lags.first(), self.lags.last()) else { return 0.0 };
        let minute = Duration::from_secs(60);
        let from = if last.said > first.said + 3 * minute { first.said + minute } else { first.said };
        let lags = || self.lags.iter().filter(|lag| lag.said >= from);
        let n = lags().count().max(1) as f64;
        let minutes = |lag: &Lag| lag.said.as_secs_f64() / 60.0;
        let (x, y) = lags().fold((0.0, 0.0), |(x, y), l| (x + minutes(l) / n, y + l.ms() / n));
        let (up, down) = lags()
            .fold((0.0, 0.0), |(up, down), l| (up + (minutes(l) - x) * (l.ms() - y), down + (minutes(l) - x).powi(2)));
        if down > 0.0 { up / down } else { 0.0 }
    }

    /// Every word was heard whole, once and in order, and nothing else.
    pub fn is_whole(&self) -> bool {
        self.lost.is_empty()
            && self.doubled == 0
            && self.reordered == 0
            && self.strange == 0
            && self.damaged == 0
            && self.said > 0
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} words: lag p50 {:.0} p95 {:.0} p99 {:.0} max {:.0} ms, slope {:.1} ms/min; lost {}, doubled {}, \
             reordered {}, strange {}, damaged {}",
            self.said,
            self.quantile(0.5),
            self.quantile(0.95),
            self.quantile(0.99),
            self.max(),
            self.slope(),
            self.lost.len(),
            self.doubled,
            self.reordered,
            self.strange,
            self.damaged,
        )
    }
}
