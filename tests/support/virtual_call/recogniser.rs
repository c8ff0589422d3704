//! Models of two recognisers, paced by the audio that mgw sends them. What they know comes from the script; what they
//! get wrong at first, from chance.

use std::time::Duration;

use mgw::provider::{SttEvent, Transcript, Word};

use super::chance::Chance;
use super::script::{NUMBERS, Said, Script};
use crate::support::codec::Token;

/// How a recogniser reports.
#[derive(Clone, Debug)]
pub struct Manner {
    /// Which vendor's protocol.
    pub kind: Kind,
    /// Audio time between interim results.
    pub interim: Duration,
    /// From the audio to the message.
    pub latency: Duration,
    /// Share of words that are wrong the first time an interim shows them as its newest; half as many of those before.
    pub revisions: f64,
    /// Share of words that turn out otherwise when they are final, although two interims agreed on them.
    pub late_revisions: f64,
    /// Words come with times.
    pub word_times: bool,
    /// Where times are given, they move by up to this from one interim to the next.
    pub jitter: Duration,
    pub seed: u64,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// Deepgram Nova: final results every `cut` of speech at a gap, and after `endpointing` of silence.
    V1 { cut: (Duration, Duration), endpointing: Duration },
    /// Deepgram Flux: turns. The end of one comes after a silence by chance; the eager one after `eager`. A turn that
    /// has lasted `longest` ends with a sentence although nobody pauses: the model hears that, too.
    Flux { median: Duration, p95: Duration, eager: Duration, longest: Duration },
}

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

impl Manner {
    /// One interim a second; finals every 3 to 5 s, and 300 ms after the last word.
    pub fn v1() -> Manner {
        Manner {
            kind: Kind::V1 { cut: (ms(3000), ms(5000)), endpointing: ms(300) },
            interim: ms(1000),
            latency: ms(150),
            revisions: 0.3,
            late_revisions: 0.0,
            word_times: true,
            jitter: ms(20),
            seed: 1,
        }
    }

    /// Four interims a second; end of turn 260 ms after the last word in the median, 1.5 s at p95.
    pub fn flux() -> Manner {
        Manner {
            kind: Kind::Flux { median: ms(260), p95: ms(1500), eager: ms(160), longest: ms(45_000) },
            interim: ms(250),
            ..Manner::v1()
        }
    }

    /// The provider's name, as `stt.provider` has it.
    pub fn provider(&self) -> &'static str {
        match self.kind {
            Kind::V1 { .. } => "deepgram",
            Kind::Flux { .. } => "flux",
        }
    }
}

/// One recognition stream.
pub struct Recogniser {
    manner: Manner,
    /// It understands this language alone.
    language: String,
    chance: Chance,
    /// Audio time so far.
    now: Duration,
    /// Where the span of the next result begins.
    from: Duration,
    /// First word that is not final.
    open: usize,
    /// Words before this one have been shown by an interim.
    shown: usize,
    next_interim: Duration,
    cut: Duration,
    /// A turn (or utterance) is under way.
    in_speech: bool,
    last_word_end: Option<Duration>,
    /// Words of the eager end in force.
    eager: Option<usize>,
    /// The silence that ends the turn.
    silence: Duration,
    /// A final was asked for.
    finalise: bool,
}

const STEP: Duration = ms(10);
/// Silence behind the last word after which the utterance is over in any case (`utterance_end_ms`).
const UTTERANCE_END: Duration = ms(1000);

impl Recogniser {
    /// A stream that begins at session time `base`.
    pub fn new(manner: Manner, language: &str, base: Duration, script: &Script) -> Recogniser {
        let mut chance = Chance::new(manner.seed ^ base.as_millis() as u64);
        let open = script.words.iter().take_while(|w| w.start < base).count();
        let mut recogniser = Recogniser {
            next_interim: base + manner.interim,
            cut: Duration::ZERO,
            silence: Duration::ZERO,
            language: language.to_owned(),
            chance: chance.clone(),
            now: base,
            from: base,
            open,
            shown: open,
            in_speech: false,
            last_word_end: None,
            eager: None,
            finalise: false,
            manner,
        };
        chance.share();
        recogniser.chance = chance;
        recogniser.draw();
        recogniser
    }

    /// Chance for the next final or turn.
    fn draw(&mut self) {
        match self.manner.kind {
            Kind::V1 { cut, endpointing } => {
                (self.cut, self.silence) = (self.chance.between(cut.0, cut.1), endpointing)
            }
            Kind::Flux { median, p95, longest, .. } => {
                (self.cut, self.silence) = (longest, self.chance.spread(median, p95).clamp(ms(60), ms(5000)));
            }
        }
    }

    /// Everything so far is wanted as final.
    pub fn finalise(&mut self) {
        self.finalise = true;
    }

    /// Takes the audio up to `until`; returns what is said about it, and at which audio time it was decided.
    pub fn hear(&mut self, until: Duration, script: &Script) -> Vec<(Duration, SttEvent)> {
        let mut out = Vec::new();
        while self.now + STEP <= until {
            self.now += STEP;
            self.step(script, &mut out);
        }
        out
    }

    /// What is known at the end of the audio.
    pub fn close(&mut self, script: &Script) -> Vec<(Duration, SttEvent)> {
        let mut out = Vec::new();
        self.end(script, true, &mut out);
        out.push((self.now, SttEvent::Closed));
        out
    }

    fn step(&mut self, script: &Script, out: &mut Vec<(Duration, SttEvent)>) {
        let known = self.known(script);
        let speaking = script.words.get(known).is_some_and(|w| w.start < self.now);
        let newest = script.words[..known].last().filter(|_| known > self.open);
        let silence = match newest {
            Some(word) if !speaking => self.now - word.end,
            _ => Duration::ZERO,
        };
        if !self.in_speech && (known > self.open || speaking) {
            self.in_speech = true;
            let at = script.words[self.open].start;
            out.push((self.now, SttEvent::SpeechStarted { at }));
        }
        if speaking && self.eager.take().is_some() {
            let transcript = self.transcript(script, known, false);
            out.push((self.now, SttEvent::Resumed(transcript)));
        }
        let spoken = script.words.get(self.open).map_or(Duration::ZERO, |w| self.now.saturating_sub(w.start));
        if let Some(newest) = newest {
            match self.manner.kind {
                Kind::V1 { .. } => {
                    if silence >= self.silence {
                        self.end(script, true, out);
                    } else if (spoken >= self.cut && !speaking) || self.finalise {
                        self.end(script, false, out);
                    }
                }
                Kind::Flux { eager, .. } => {
                    let sentence = spoken >= self.cut && newest.mark == "." && !speaking;
                    if silence >= self.silence || sentence || self.finalise {
                        self.end(script, true, out);
                    } else if silence >= eager && self.eager.is_none() {
                        self.eager = Some(known);
                        self.shown = known;
                        let transcript = self.transcript(script, known, true);
                        out.push((self.now, SttEvent::EagerEnd(transcript)));
                    }
                }
            }
        }
        self.finalise = false;
        if let Some(end) = self.last_word_end.filter(|end| self.now >= *end + UTTERANCE_END)
            && matches!(self.manner.kind, Kind::V1 { .. })
            && self.known(script) == self.open
            && !speaking
        {
            self.last_word_end = None;
            out.push((self.now, SttEvent::UtteranceEnd { last_word_end: end }));
        }
        if self.now >= self.next_interim {
            self.next_interim += self.manner.interim;
            let known = self.known(script);
            let transcript = self.transcript(script, known, false);
            self.shown = self.shown.max(known);
            if !transcript.words.is_empty() || matches!(self.manner.kind, Kind::V1 { .. }) {
                out.push((self.now, SttEvent::Interim(transcript)));
            }
        }
    }

    /// Words up to here have ended.
    fn known(&self, script: &Script) -> usize {
        let rest = &script.words[self.open..];
        self.open + rest.iter().take_while(|w| w.end <= self.now).count()
    }

    fn end(&mut self, script: &Script, speech_final: bool, out: &mut Vec<(Duration, SttEvent)>) {
        let known = self.known(script);
        let transcript = self.transcript(script, known, true);
        self.last_word_end = transcript.words.last().map(|w| w.end).or(self.last_word_end);
        (self.open, self.shown, self.from, self.eager) = (known, known, self.now, None);
        self.in_speech &= !speech_final;
        self.draw();
        out.push((self.now, SttEvent::Final { transcript, speech_final }));
    }

    /// What it believes of the words from the first open one to `known`.
    fn transcript(&mut self, script: &Script, known: usize, settled: bool) -> Transcript {
        let language = self.language.clone();
        let mine = |w: &Said| w.language == language || language == "multi";
        let mut words: Vec<Word> = Vec::with_capacity(known - self.open);
        let mut skip = false;
        for place in self.open..known {
            let said = &script.words[place];
            if !mine(said) || std::mem::take(&mut skip) {
                continue;
            }
            let behind = known - place - 1;
            let text = self.spelt(said, behind, settled);
            let fresh = place >= self.shown && !settled;
            let doubt = match behind {
                0 => self.manner.revisions,
                1 | 2 => self.manner.revisions / 2.0,
                _ => 0.0,
            };
            let (text, confidence, end) = if fresh && self.chance.happens(doubt) {
                match self.chance.below(6) {
                    // It is not there yet.
                    0 => continue,
                    // Two words are taken for one.
                    1 if behind > 0 => {
                        skip = true;
                        (self.wrong(said), 0.5, script.words[place + 1].end)
                    }
                    _ => (self.wrong(said), 0.55, said.end),
                }
            } else if settled && self.chance.happens(self.manner.late_revisions) {
                (self.wrong(said), 0.8, said.end)
            } else {
                (text, 0.97, said.end)
            };
            let (start, end) = self.placed(said.start, end, settled);
            words.push(Word { text, start, end, confidence });
        }
        if !self.manner.word_times {
            // As `provider::flux` places words that come without times.
            let each = (self.now - self.from) / words.len().max(1) as u32;
            for (i, word) in words.iter_mut().enumerate() {
                (word.start, word.end) = (self.from + each * i as u32, self.from + each * (i as u32 + 1));
            }
        }
        let text = words.iter().map(|w| w.text.as_str()).collect::<Vec<_>>().join(" ");
        Transcript { text, words, start: self.from, end: self.now, language: None }
    }

    /// Marks and capitals are seen only when some of what follows is known.
    fn spelt(&self, said: &Said, behind: usize, settled: bool) -> String {
        let mut text = said.bare.clone();
        if said.capital {
            text[..1].make_ascii_uppercase();
        }
        let seen = match said.mark {
            "," => behind >= 1 || settled,
            "." => behind >= 2 || settled,
            _ => false,
        };
        if seen {
            text.push_str(said.mark);
        }
        text
    }

    /// A word that nobody says.
    fn wrong(&mut self, said: &Said) -> String {
        let number = NUMBERS + self.chance.below(90) as u16;
        Token::new(said.language, number).expect("a coded language").text()
    }

    fn placed(&mut self, start: Duration, end: Duration, settled: bool) -> (Duration, Duration) {
        if settled || self.manner.jitter.is_zero() {
            return (start, end);
        }
        let by = self.chance.between(Duration::ZERO, 2 * self.manner.jitter);
        let moved = |t: Duration| (t + by).saturating_sub(self.manner.jitter);
        (moved(start), moved(end))
    }
}
