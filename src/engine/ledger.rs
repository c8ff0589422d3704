//! The ledger: decides which recognised words are final enough to be spoken, each exactly once.
//!
//! Its policies are the seam for committing earlier than at final results; whatever the policy, a span
//! is committed once, in the order in which it was said, and what comes again for it is counted, not spoken.

use std::time::Duration;

use crate::config::LedgerConfig;
use crate::provider::{SttEvent, Transcript, Word};

/// Why a span was let go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The recogniser said that it will not change.
    Final,
    /// It was recognised again after a connection was lost.
    Recovered,
}

impl std::fmt::Display for Why {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Why::Final => f.write_str("final"),
            Why::Recovered => f.write_str("recovered"),
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

/// What is recognised and not committed.
#[derive(Clone, Debug, PartialEq)]
pub struct Tail {
    /// The text that a commit of it would have.
    pub text: String,
    /// Session time of its first word.
    pub start: Duration,
    /// Session time at which its last word ended.
    pub end: Duration,
    /// Two interim results in a row agree on it, or the recogniser thinks that the turn is over.
    pub stable: bool,
}

/// Final results that may wait for a replay. Only a server that floods us sends more; then they wait no longer.
const MOST_HELD: usize = 512;

/// The ledger of one speaker.
#[derive(Clone, Debug)]
pub struct Ledger {
    #[expect(dead_code, reason = "policies other than `final` follow")]
    config: LedgerConfig,
    /// Session time up to which everything is committed.
    committed_to: Duration,
    repeated: u64,
    /// Spans that are recognised again, in order; what was said behind them waits.
    replays: Vec<(Duration, Duration)>,
    /// Final results that wait for them.
    held: Vec<Transcript>,
    tail: Option<Tail>,
}

impl Ledger {
    /// An empty ledger.
    pub fn new(config: LedgerConfig) -> Self {
        Ledger { config, committed_to: Duration::ZERO, repeated: 0, replays: Vec::new(), held: Vec::new(), tail: None }
    }

    /// What is recognised and not committed, if anything is.
    pub fn tail(&self) -> Option<Tail> {
        self.tail.clone()
    }

    /// Words that came again after they were committed, and were dropped.
    pub fn repeated(&self) -> u64 {
        self.repeated
    }

    /// Session time from which on words wait, because a replay has not answered yet.
    pub fn waits_from(&self) -> Option<Duration> {
        self.replays.first().map(|(start, _)| *start)
    }

    /// The recogniser is gone, and no replay will report any more.
    pub fn forget_replays(&mut self) {
        self.replays.clear();
        self.held.clear();
    }

    /// Takes a recogniser's report; returns the spans to be translated now, in the order in which they were said.
    pub fn hear(&mut self, event: &SttEvent) -> Vec<Commit> {
        if let SttEvent::Interim(t) | SttEvent::EagerEnd(t) = event {
            let stable = matches!(event, SttEvent::EagerEnd(_)) || self.tail.as_ref().is_some_and(|l| l.text == t.text);
            self.tail = Some(Tail { text: t.text.clone(), start: t.start, end: t.end, stable });
        }
        match event {
            SttEvent::Final { transcript, .. } => {
                self.tail = None;
                self.held.push(transcript.clone());
                if self.held.len() > MOST_HELD {
                    self.replays.clear();
                }
            }
            SttEvent::Recovered(transcript) => return self.commit(transcript, Why::Recovered).into_iter().collect(),
            SttEvent::Replaying { start, end } => {
                match self.replays.iter_mut().find(|(known, _)| known == start) {
                    Some(known) => known.1 = *end,
                    None => self.replays.push((*start, *end)),
                }
                self.replays.sort_unstable();
            }
            SttEvent::Replayed { start, .. } => self.replays.retain(|(known, _)| known != start),
            _ => {}
        }
        self.release()
    }

    /// Commits what waits for nothing: what was said before the first span that is still recognised again.
    fn release(&mut self) -> Vec<Commit> {
        let until = self.replays.first().map(|(start, _)| *start);
        // By its middle: a gap may begin a sample before the result in front of it ends.
        let waits = |t: &Transcript| until.is_some_and(|until| (t.start + t.end) / 2 > until);
        let (held, free): (Vec<_>, Vec<_>) = std::mem::take(&mut self.held).into_iter().partition(waits);
        self.held = held;
        free.iter().filter_map(|transcript| self.commit(transcript, Why::Final)).collect()
    }

    fn commit(&mut self, transcript: &Transcript, why: Why) -> Option<Commit> {
        if transcript.text.trim().is_empty() {
            return None;
        }
        let Some(last) = transcript.words.last() else {
            // A provider without word times: the span itself tells what is new.
            if transcript.end <= self.committed_to {
                self.repeated += transcript.text.split_whitespace().count() as u64;
                return None;
            }
            self.committed_to = transcript.end;
            return Some(Commit {
                why,
                words: Vec::new(),
                text: transcript.text.trim().to_owned(),
                start: transcript.start,
                end: transcript.end,
            });
        };
        // A word is the same word when its middle lies in what was committed: times of one word differ a little
        // from result to result, but never by half its length.
        let fresh = transcript.words.iter().position(|w| (w.start + w.end) / 2 >= self.committed_to);
        let Some(first) = fresh else {
            self.repeated += transcript.words.len() as u64;
            return None;
        };
        self.repeated += first as u64;
        let text = if first == 0 {
            transcript.text.trim().to_owned()
        } else {
            let words: Vec<&str> = transcript.words[first..].iter().map(|w| w.text.as_str()).collect();
            words.join(" ")
        };
        self.committed_to = last.end.max(self.committed_to);
        let (start, end) = (transcript.words[first].start, last.end);
        Some(Commit { why, words: transcript.words[first..].to_vec(), text, start, end })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::test_config::config;

    fn finals() -> Ledger {
        Ledger::new(config(&[("ledger.policy", "final")]).ledger)
    }

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    fn heard(words: &[(&str, u64, u64)], is_final: bool) -> SttEvent {
        let words: Vec<Word> = words
            .iter()
            .map(|&(text, start, end)| Word { text: text.into(), start: ms(start), end: ms(end), confidence: 0.9 })
            .collect();
        let transcript = Transcript {
            text: words.iter().map(|w| w.text.as_str()).collect::<Vec<_>>().join(" "),
            start: words.first().map_or(ms(0), |w| w.start),
            end: words.last().map_or(ms(0), |w| w.end),
            words,
            language: None,
        };
        if is_final { SttEvent::Final { transcript, speech_final: true } } else { SttEvent::Interim(transcript) }
    }

    #[test]
    fn each_word_once() {
        // (report, is it final, what is committed)
        type Row = (&'static [(&'static str, u64, u64)], bool, Option<&'static str>);
        let script: &[Row] = &[
            (&[("hello", 100, 400)], false, None),
            (&[("hello", 100, 400), ("there", 450, 700)], true, Some("hello there")),
            (&[("hello", 100, 400), ("there", 450, 700)], true, None),
            (&[("there", 455, 710), ("friend", 720, 900)], true, Some("friend")),
            (&[], true, None),
            (&[("bye", 2000, 2200)], true, Some("bye")),
        ];
        let mut ledger = finals();
        for (i, (words, is_final, want)) in script.iter().enumerate() {
            let got: Vec<String> = ledger.hear(&heard(words, *is_final)).into_iter().map(|c| c.text).collect();
            assert_eq!(got, want.iter().map(|text| text.to_string()).collect::<Vec<_>>(), "row {i}");
        }
        assert_eq!(ledger.repeated(), 3);
        assert_eq!(ledger.committed_to, ms(2200));
    }

    #[test]
    fn a_provider_without_word_times() {
        let mut ledger = finals();
        let report = |text: &str, start, end| SttEvent::Final {
            transcript: Transcript { text: text.into(), words: vec![], start: ms(start), end: ms(end), language: None },
            speech_final: true,
        };
        let texts = |commits: Vec<Commit>| commits.into_iter().map(|c| c.text).collect::<Vec<_>>();
        assert_eq!(texts(ledger.hear(&report("one two", 0, 900))), ["one two"]);
        assert_eq!(texts(ledger.hear(&report("one two", 0, 900))), [""; 0]);
        assert_eq!(texts(ledger.hear(&report("three", 900, 1500))), ["three"]);
    }

    #[test]
    fn what_is_replayed_comes_before_what_was_said_after_it() {
        let mut ledger = finals();
        let mut hear = |event: SttEvent| ledger.hear(&event).into_iter().map(|c| c.text).collect::<Vec<_>>().join("|");
        let recovered = |words: &[(&str, u64, u64)]| match heard(words, true) {
            SttEvent::Final { transcript, .. } => SttEvent::Recovered(transcript),
            other => other,
        };
        let replaying = |start, end| SttEvent::Replaying { start: ms(start), end: ms(end) };
        let replayed = |start, end| SttEvent::Replayed { start: ms(start), end: ms(end) };
        // (report, what is committed)
        let script = [
            (heard(&[("one", 100, 400)], true), "one"),
            (replaying(500, 1500), ""),
            // The live stream began in the middle of "three", and hears a piece of it.
            (heard(&[("ree", 1500, 1600), ("four", 1800, 2100)], true), ""),
            (replaying(500, 1700), ""),
            (recovered(&[("two", 600, 900)]), "two"),
            (replaying(2500, 3000), ""),
            (recovered(&[("three", 1300, 1620)]), "three"),
            (heard(&[("six", 3100, 3400)], true), ""),
            (replayed(500, 1700), "four"),
            (recovered(&[("five", 2600, 2900)]), "five"),
            (replayed(2500, 3000), "six"),
            (heard(&[("seven", 3500, 3800)], true), "seven"),
        ];
        for (i, (report, want)) in script.into_iter().enumerate() {
            assert_eq!(hear(report), want, "row {i}");
        }
    }

    #[test]
    fn a_flood_of_results_waits_no_longer() {
        let mut ledger = finals();
        ledger.hear(&SttEvent::Replaying { start: ms(0), end: ms(1) });
        let mut committed = 0;
        for i in 0..=MOST_HELD as u64 {
            committed += ledger.hear(&heard(&[("x", 10 + i * 10, 19 + i * 10)], true)).len();
        }
        assert_eq!(committed, MOST_HELD + 1);
    }
}
