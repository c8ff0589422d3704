//! One recognition stream without sockets: audio in, Deepgram's messages out. Its only clock is the audio received.

use super::ends::Ends;
use super::query::Query;
use super::vad::Vad;
use crate::coded::codec::Token;
use crate::coded::{capital, ends_clause};
use crate::engine::{Recognizer, Word};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

/// Silence between words that counts as a word gap.
const WORD_GAP_MS: u32 = 20;
/// Shortest silence that can end an utterance: words of one breath are 40 ms apart, and vendors smooth their detector too.
const LEAST_ENDPOINT_MS: u32 = 80;
/// Speech without any gap is cut all the same after this.
const CUT_AT_MOST_MS: u32 = 8000;
/// Silence is frozen in pieces of this length.
const SILENT_FINAL_MS: u32 = 5000;

/// A message for the client.
pub struct Message {
    /// Its JSON.
    pub json: Value,
    /// What delays it: finals and UtteranceEnd take the final delay, interims theirs.
    pub kind: Kind,
}

/// See [`Message::kind`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Results that may change.
    Interim,
    /// Results that are frozen.
    Final,
    /// SpeechStarted and Metadata.
    Event,
}

/// Pace of the session.
pub struct Pace {
    /// Audio milliseconds between interims.
    pub interim_ms: u32,
    /// Range of speech after which a final is cut.
    pub cut_ms: (u32, u32),
    /// Where clauses end, by the words' numbers.
    pub clause_words: u16,
    /// Silences that end turns, if not the client's endpointing does.
    pub ends: Option<Ends>,
}

/// State of one stream; time is in whole milliseconds of audio.
pub struct Session {
    query: Query,
    pace: Pace,
    request_id: String,
    recognizer: Box<dyn Recognizer>,
    rng: ChaCha8Rng,
    vad: Vad,
    partial: Vec<i16>,
    frame: usize,
    now: u32,
    /// Where the next Results begin.
    from: u32,
    next_interim: u32,
    cut_after: u32,
    voiced_run: u32,
    last_voice: u32,
    /// First voice since the last final.
    voice_from: Option<u32>,
    in_speech: bool,
    sentence_open: bool,
    last_word_end: Option<f64>,
}

impl Session {
    /// A stream that begins now.
    pub fn new(query: Query, pace: Pace, recognizer: Box<dyn Recognizer>, request_id: String, seed: u64) -> Session {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        Session {
            frame: query.sample_rate as usize / 100,
            next_interim: pace.interim_ms,
            cut_after: rng.random_range(pace.cut_ms.0..=pace.cut_ms.1),
            query,
            pace,
            request_id,
            recognizer,
            rng,
            vad: Vad::new(),
            partial: Vec::new(),
            now: 0,
            from: 0,
            voiced_run: 0,
            last_voice: 0,
            voice_from: None,
            in_speech: false,
            sentence_open: false,
            last_word_end: None,
        }
    }

    /// What the client asked for, as changed since.
    pub fn query(&mut self) -> &mut Query {
        &mut self.query
    }

    /// Takes audio of any length.
    pub fn audio(&mut self, pcm: &[i16]) -> Vec<Message> {
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

    fn step(&mut self, frame: &[i16], out: &mut Vec<Message>) {
        self.recognizer.feed(frame);
        self.now += 10;
        if self.vad.voiced(frame) {
            self.voiced_run += 10;
            self.last_voice = self.now;
            if self.voiced_run >= 20 {
                let began = self.now - self.voiced_run;
                self.voice_from.get_or_insert(began);
                if !self.in_speech {
                    self.in_speech = true;
                    if self.query.vad_events {
                        let json = json!({"type": "SpeechStarted", "channel": [0, 1], "timestamp": seconds(began)});
                        out.push(Message { json, kind: Kind::Event });
                    }
                }
            }
        } else {
            self.voiced_run = 0;
        }
        let silence = self.now - self.last_voice;
        if self.in_speech {
            let spoken = self.voice_from.map_or(0, |from| self.now - from);
            let ends_after = self.pace.ends.as_ref().map(Ends::silence_ms);
            let endpoint = ends_after.or_else(|| self.query.endpointing_ms.map(|ms| ms.max(LEAST_ENDPOINT_MS)));
            if endpoint.is_some_and(|ms| silence >= ms) {
                self.finish(true, false, out);
            } else if (spoken >= self.cut_after && silence >= WORD_GAP_MS) || spoken >= CUT_AT_MOST_MS {
                self.finish(false, false, out);
            }
        }
        self.utterance_end(silence, out);
        if self.now >= self.next_interim {
            self.next_interim = self.now + self.pace.interim_ms;
            if self.voice_from.is_none() && self.now - self.from >= SILENT_FINAL_MS {
                self.finish(false, false, out);
            } else if self.query.interim_results {
                let words = self.recognizer.hypothesis();
                let json = self.results(&words, (false, false), None);
                out.push(Message { json, kind: Kind::Interim });
            }
        }
    }

    fn utterance_end(&mut self, silence: u32, out: &mut Vec<Message>) {
        let Some(gap) = self.query.utterance_end_ms else {
            return;
        };
        if silence < gap {
            return;
        }
        if self.voice_from.is_some() {
            self.finish(false, false, out);
        }
        self.in_speech = false;
        if let Some(end) = self.last_word_end
            && f64::from(self.now) / 1000.0 - end >= f64::from(gap) / 1000.0
        {
            self.last_word_end = None;
            self.sentence_open = false;
            let json = json!({"type": "UtteranceEnd", "channel": [0, 1], "last_word_end": round(end)});
            out.push(Message { json, kind: Kind::Final });
        }
    }

    /// Answers `Finalize`; almost nothing buffered gets no answer.
    pub fn finalize(&mut self) -> Vec<Message> {
        let mut out = Vec::new();
        if self.now > self.from {
            self.finish(false, true, &mut out);
        }
        out
    }

    /// Answers `CloseStream`: the last Results and the Metadata.
    pub fn close(&mut self, created: &str, sha256: &str) -> Vec<Message> {
        let mut out = Vec::new();
        let rest = std::mem::take(&mut self.partial);
        self.recognizer.feed(&rest);
        self.finish(self.in_speech, false, &mut out);
        let json = json!({
            "type": "Metadata", "transaction_key": "deprecated", "request_id": self.request_id, "sha256": sha256,
            "created": created, "duration": seconds(self.now), "channels": 1, "models": [self.request_id],
            "model_info": { (self.request_id.as_str()): {"name": self.query.model, "version": "local-cloud", "arch": self.query.model} },
        });
        out.push(Message { json, kind: Kind::Final });
        out
    }

    fn finish(&mut self, speech_final: bool, from_finalize: bool, out: &mut Vec<Message>) {
        let words = self.recognizer.finish_utterance();
        if let Some(last) = words.last() {
            self.last_word_end = Some(last.end);
        }
        let json = self.results(&words, (true, speech_final), from_finalize.then_some(true));
        out.push(Message { json, kind: Kind::Final });
        self.sentence_open = !speech_final && (self.sentence_open || !words.is_empty());
        self.from = self.now;
        self.voice_from = None;
        self.cut_after = self.rng.random_range(self.pace.cut_ms.0..=self.pace.cut_ms.1);
        if speech_final {
            self.in_speech = false;
            self.pace.ends.iter_mut().for_each(Ends::draw);
        }
    }

    fn results(&self, words: &[Word], (is_final, speech_final): (bool, bool), from_finalize: Option<bool>) -> Value {
        let multi = self.query.language == "multi";
        let ends = speech_final || from_finalize.is_some();
        let shown: Vec<String> = words
            .iter()
            .enumerate()
            .map(|(i, w)| {
                let first = i == 0 && !self.sentence_open;
                let text = if first && self.query.punctuate { capital(&w.text) } else { w.text.clone() };
                let last = i + 1 == words.len();
                let clause = ends_clause(&w.text, self.pace.clause_words) && !last;
                match self.query.punctuate {
                    true if ends && last => text + ".",
                    true if clause => text + ",",
                    _ => text,
                }
            })
            .collect();
        let listed: Vec<Value> = words
            .iter()
            .zip(&shown)
            .map(|(w, shown)| {
                let mut word = json!({"word": w.text.to_lowercase(), "start": round(w.start), "end": round(w.end), "confidence": w.confidence});
                if self.query.punctuate {
                    word["punctuated_word"] = json!(shown);
                }
                if multi {
                    word["language"] = json!(language_of(&w.text));
                }
                word
            })
            .collect();
        let count = words.len().max(1) as f32;
        let confidence = words.iter().map(|w| w.confidence).sum::<f32>() / count;
        let mut alternative = json!({"transcript": shown.join(" "), "confidence": confidence, "words": listed});
        if multi {
            let mut languages = Vec::new();
            for language in words.iter().filter_map(|w| language_of(&w.text)) {
                if !languages.contains(&language) {
                    languages.push(language);
                }
            }
            alternative["languages"] = json!(languages);
        }
        json!({
            "type": "Results", "channel_index": [0, 1], "duration": seconds(self.now - self.from), "start": seconds(self.from),
            "is_final": is_final, "speech_final": speech_final, "from_finalize": from_finalize.unwrap_or(false),
            "channel": {"alternatives": [alternative]},
            "metadata": {
                "request_id": self.request_id,
                "model_info": {"name": self.query.model, "version": "local-cloud", "arch": self.query.model},
                "model_uuid": self.request_id,
            },
        })
    }
}

/// The language of a coded word. The other engine hears one language at a time, so nobody asks it.
pub fn language_of(word: &str) -> Option<&'static str> {
    Token::parse(word).map(Token::language)
}

fn seconds(ms: u32) -> f64 {
    f64::from(ms) / 1000.0
}

fn round(seconds: f64) -> f64 {
    (seconds * 10_000.0).round() / 10_000.0
}
