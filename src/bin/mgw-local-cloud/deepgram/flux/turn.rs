//! The turns of one Flux stream without sockets: audio in, events out. Its only clock is the audio received.
//!
//! Confidence that a turn is over grows evenly with the silence: it is 1 after `confident_ms`.

use super::query::Query;
use crate::coded::{capital, ends_clause};
use crate::deepgram::ends::Ends;
use crate::deepgram::session::language_of;
use crate::deepgram::vad::Vad;
use crate::engine::{Recognizer, Word};
use serde_json::{Value, json};

/// How often the beginning of a turn is looked for.
const LOOK_MS: u32 = 80;
/// Voice this long after an EagerEndOfTurn resumes the turn.
const RESUME_MS: u32 = 30;

/// Pace and shape of the events.
#[derive(Clone)]
pub struct Pace {
    /// Audio time between Updates.
    pub update_ms: u32,
    /// Silence that makes the end of a turn certain.
    pub confident_ms: u32,
    /// Whether words carry times.
    pub word_times: bool,
    /// Where clauses end, by the words' numbers.
    pub clause_words: u16,
    /// Silences that end turns: confidence reaches the client's threshold after them.
    pub ends: Option<Ends>,
}

/// A TurnInfo without request and sequence numbers, and whether its words are settled.
pub struct Event {
    /// The message.
    pub json: Value,
    /// EagerEndOfTurn or EndOfTurn.
    pub settled: bool,
}

/// State of one stream; time is in whole milliseconds of audio.
pub struct Turns {
    query: Query,
    pace: Pace,
    recognizer: Box<dyn Recognizer>,
    vad: Vad,
    partial: Vec<i16>,
    frame: usize,
    now: u32,
    index: u32,
    /// Where the turn's window begins.
    from: u32,
    next_update: u32,
    next_look: u32,
    voiced_run: u32,
    last_voice: u32,
    /// StartOfTurn has been said.
    open: bool,
    /// The words of an EagerEndOfTurn in force.
    eager: Option<Vec<Word>>,
}

impl Turns {
    /// A stream that begins now.
    pub fn new(query: Query, pace: Pace, recognizer: Box<dyn Recognizer>) -> Turns {
        Turns {
            frame: query.sample_rate as usize / 100,
            query,
            recognizer,
            vad: Vad::new(),
            partial: Vec::new(),
            now: 0,
            index: 0,
            from: 0,
            next_update: pace.update_ms,
            pace,
            next_look: LOOK_MS,
            voiced_run: 0,
            last_voice: 0,
            open: false,
            eager: None,
        }
    }

    /// What the client asked for, as changed since.
    pub fn query(&mut self) -> &mut Query {
        &mut self.query
    }

    /// Takes audio of any length.
    pub fn audio(&mut self, pcm: &[i16]) -> Vec<Event> {
        let mut out = Vec::new();
        self.partial.extend_from_slice(pcm);
        let frames = std::mem::take(&mut self.partial);
        let mut whole = frames.chunks_exact(self.frame);
        for frame in &mut whole {
            self.step(frame, &mut out);
        }
        self.partial = whole.remainder().to_vec();
        out
    }

    fn step(&mut self, frame: &[i16], out: &mut Vec<Event>) {
        self.recognizer.feed(frame);
        self.now += 10;
        if self.vad.voiced(frame) {
            self.voiced_run += 10;
            self.last_voice = self.now;
        } else {
            self.voiced_run = 0;
        }
        if !self.open && self.last_voice > self.from && self.now >= self.next_look {
            self.next_look = self.now + LOOK_MS;
            let words = self.recognizer.hypothesis();
            if !words.is_empty() {
                self.open = true;
                out.push(self.event("StartOfTurn", &words, None));
            }
        }
        if self.open {
            self.judge(out);
        }
        if self.now >= self.next_update {
            self.next_update = self.now + self.pace.update_ms;
            let words = match &self.eager {
                Some(words) => words.clone(),
                None => self.recognizer.hypothesis(),
            };
            out.push(self.event("Update", &words, None));
        }
    }

    /// Whether the open turn goes on.
    fn judge(&mut self, out: &mut Vec<Event>) {
        if self.eager.is_some() && self.voiced_run >= RESUME_MS {
            self.eager = None;
            let words = self.recognizer.hypothesis();
            out.push(self.event("TurnResumed", &words, None));
        }
        let (silence, confidence) = (self.now - self.last_voice, self.confidence());
        if self.eager.is_none() && silence > 0 && self.query.thresholds.eager.is_some_and(|eager| confidence >= eager) {
            // The newest word may be a guess the first time, not the second.
            self.recognizer.hypothesis();
            let words = self.recognizer.hypothesis();
            if !words.is_empty() {
                out.push(self.event("EagerEndOfTurn", &words, None));
                self.eager = Some(words);
            }
        }
        if confidence >= self.query.thresholds.eot {
            self.end("model", out);
        } else if silence >= self.query.thresholds.timeout_ms {
            self.end("timeout", out);
        }
    }

    fn confidence(&self) -> f64 {
        let silence = f64::from(self.now - self.last_voice);
        let share = match &self.pace.ends {
            Some(ends) => silence / f64::from(ends.silence_ms()) * self.query.thresholds.eot,
            None => silence / f64::from(self.pace.confident_ms),
        };
        share.min(1.0)
    }

    fn end(&mut self, trigger: &str, out: &mut Vec<Event>) {
        let words = self.recognizer.finish_utterance();
        let texts = |words: &[Word]| words.iter().map(|w| w.text.clone()).collect::<Vec<_>>();
        if self.eager.take().is_some_and(|eager| texts(&eager) != texts(&words)) {
            // A word came after all; an end of turn has the words of the eager one before it.
            out.push(self.event("TurnResumed", &words, None));
        }
        out.push(self.event("EndOfTurn", &words, Some(trigger)));
        self.index += 1;
        self.pace.ends.iter_mut().for_each(Ends::draw);
        self.open = false;
        self.from = self.now;
    }

    /// Answers `ForceEndTurn`; without a turn there is nothing to end.
    pub fn force(&mut self) -> Vec<Event> {
        let mut out = Vec::new();
        if self.open {
            self.end("manual", &mut out);
        }
        out
    }

    /// Answers `CloseStream`: what is still to be said.
    pub fn close(&mut self) -> Vec<Event> {
        let mut out = Vec::new();
        let rest = std::mem::take(&mut self.partial);
        self.recognizer.feed(&rest);
        if !self.open {
            let words = self.recognizer.hypothesis();
            if words.is_empty() {
                return out;
            }
            out.push(self.event("StartOfTurn", &words, None));
        }
        self.end("manual", &mut out);
        out
    }

    fn event(&self, event: &str, words: &[Word], trigger: Option<&str>) -> Event {
        let settled = matches!(event, "EagerEndOfTurn" | "EndOfTurn");
        let clause = |i: usize, w: &Word| i + 1 < words.len() && ends_clause(&w.text, self.pace.clause_words);
        let shown = |(i, w): (usize, &Word)| if clause(i, w) { format!("{},", w.text) } else { w.text.clone() };
        let mut transcript = words.iter().enumerate().map(shown).collect::<Vec<_>>().join(" ");
        if !transcript.is_empty() {
            transcript = capital(&transcript);
            if settled {
                transcript.push('.');
            }
        }
        let seconds = |ms: u32| f64::from(ms) / 1000.0;
        let round = |s: f64| (s * 100.0).round() / 100.0;
        let listed: Vec<Value> = words
            .iter()
            .map(|w| {
                let mut word = json!({"word": w.text, "confidence": w.confidence});
                if self.pace.word_times {
                    word["start"] = json!(round(w.start));
                    word["end"] = json!(round(w.end));
                }
                word
            })
            .collect();
        let mut json = json!({
            "type": "TurnInfo", "event": event, "turn_index": self.index, "audio_window_start": seconds(self.from),
            "audio_window_end": seconds(self.now), "transcript": transcript, "words": listed,
            "end_of_turn_confidence": if words.is_empty() { 0.0 } else { self.confidence() },
        });
        if let Some(trigger) = trigger {
            json["trigger"] = json!(trigger);
        }
        if self.query.multi {
            let mut languages = Vec::new();
            for language in words.iter().filter_map(|w| language_of(&w.text)) {
                if !languages.contains(&language) {
                    languages.push(language);
                }
            }
            // Both are there only when there is something in them.
            if !languages.is_empty() {
                json["languages"] = json!(languages);
            }
            if !self.query.hints.is_empty() {
                json["languages_hinted"] = json!(self.query.hints);
            }
        }
        Event { json, settled }
    }
}
