//! The ledger: decides which recognised words are final enough to be spoken, each exactly once.
//!
//! Its policies are the seam for committing earlier than at final results; whatever the policy, a span
//! is committed once, in the order in which it was said, and what comes again for it is counted, not spoken.

use std::time::Duration;

use crate::provider::{SttEvent, Transcript};

/// When words are committed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// At final results.
    #[default]
    Final,
}

/// A span of speech that will not change any more.
#[derive(Clone, Debug, PartialEq)]
pub struct Commit {
    /// What was said.
    pub text: String,
    /// Session time of its first word.
    pub start: Duration,
    /// Session time at which its last word ended.
    pub end: Duration,
}

/// The ledger of one speaker.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    policy: Policy,
    /// Session time up to which everything is committed.
    committed_to: Duration,
    repeated: u64,
}

impl Ledger {
    /// An empty ledger.
    pub fn new(policy: Policy) -> Self {
        Ledger { policy, ..Ledger::default() }
    }

    /// Words that came again after they were committed, and were dropped.
    pub fn repeated(&self) -> u64 {
        self.repeated
    }

    /// Takes a recogniser's report; returns the span to be translated now, if there is one.
    pub fn hear(&mut self, event: &SttEvent) -> Option<Commit> {
        match (self.policy, event) {
            (Policy::Final, SttEvent::Final { transcript, .. }) => self.commit(transcript),
            _ => None,
        }
    }

    fn commit(&mut self, transcript: &Transcript) -> Option<Commit> {
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
        Some(Commit { text, start: transcript.words[first].start, end: last.end })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::Word;

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
        let mut ledger = Ledger::new(Policy::Final);
        for (i, (words, is_final, want)) in script.iter().enumerate() {
            let got = ledger.hear(&heard(words, *is_final)).map(|c| c.text);
            assert_eq!(got.as_deref(), *want, "row {i}");
        }
        assert_eq!(ledger.repeated(), 3);
        assert_eq!(ledger.committed_to, ms(2200));
    }

    #[test]
    fn a_provider_without_word_times() {
        let mut ledger = Ledger::new(Policy::Final);
        let report = |text: &str, start, end| SttEvent::Final {
            transcript: Transcript { text: text.into(), words: vec![], start: ms(start), end: ms(end), language: None },
            speech_final: true,
        };
        assert_eq!(ledger.hear(&report("one two", 0, 900)).map(|c| c.text).as_deref(), Some("one two"));
        assert_eq!(ledger.hear(&report("one two", 0, 900)), None);
        assert_eq!(ledger.hear(&report("three", 900, 1500)).map(|c| c.text).as_deref(), Some("three"));
    }
}
