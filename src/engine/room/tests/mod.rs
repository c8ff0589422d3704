//! The engine in virtual time: a call is played as a script, hours take milliseconds.
//!
//! Here is the call; the scripts are in the files beside, by what they are about.

mod listening;
mod membership;
mod mixing;
mod resume;
mod segments;
mod speaking;
mod speculation;
mod sync;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::Room;
use crate::config::{Config, Language, SessionConfig};
use crate::engine::{Input, LeaveMode, NetCommand, Output, PullTotals, RING_SAMPLES, Ring, SegmentId, SessionId, Verb};
use crate::event::EventKind;
use crate::provider::{DirectEvent, ErrorClass, LinkState, SpeechChunk, Stage, StageError, SttEvent, Transcript, Word};

const A: SessionId = SessionId(1);
const B: SessionId = SessionId(2);
const C: SessionId = SessionId(3);
const TICK: Duration = Duration::from_millis(10);

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn config(language: &str, more: &[(&str, &str)]) -> Arc<SessionConfig> {
    let mut options = Config::new();
    let mut all = Config::new();
    all.set("profile.p.language", language).unwrap();
    // Scripts count samples: what is heard is what was synthesised, bit for bit, unless one says otherwise.
    let exact = [("loudness.normalise", "false"), ("playout.stretch_max", "1")];
    for (key, value) in exact.iter().chain(more) {
        options.set(key, value).unwrap();
    }
    Arc::new(all.session("p", &options, &|_| Some("key".into())).unwrap())
}

fn english() -> Language {
    Language::parse("en").unwrap()
}

fn spanish() -> Language {
    Language::parse("es").unwrap()
}

/// A caller's puller: what the media port does, without threads.
#[derive(Default)]
struct Ear {
    speech: Vec<i16>,
    original: Vec<i16>,
    /// Rings.
    speech_ring: std::collections::VecDeque<i16>,
    original_ring: std::collections::VecDeque<i16>,
    totals: PullTotals,
    /// Flushed, and skipped at the next pull.
    skip_speech: usize,
    skip_original: usize,
    /// Samples per pull, every 20 ms.
    frame: usize,
    awake: bool,
}

/// A room with its callers, a clock, and a translator and synthesiser that answer when told.
struct Call {
    room: Room,
    now: Duration,
    ears: BTreeMap<SessionId, Ear>,
    pushers: BTreeMap<SessionId, usize>,
    voice: i16,
    events: Vec<(SessionId, EventKind)>,
    net: Vec<NetCommand>,
}

impl Call {
    fn new() -> Self {
        Call {
            room: Room::new(1),
            now: Duration::ZERO,
            ears: BTreeMap::new(),
            pushers: BTreeMap::new(),
            voice: 0,
            events: Vec::new(),
            net: Vec::new(),
        }
    }

    fn join(&mut self, session: SessionId, config: Arc<SessionConfig>) {
        let (frame_in, frame_out) = (config.rate_in as usize / 50, config.rate_out as usize / 50);
        self.ears.insert(session, Ear { frame: frame_out, awake: true, ..Ear::default() });
        self.pushers.insert(session, frame_in);
        self.input(Input::Join { session, config });
    }

    /// English A and Spanish B.
    fn pair() -> Self {
        Call::pair_with(&[])
    }

    /// The same with further settings of both.
    fn pair_with(more: &[(&str, &str)]) -> Self {
        let mut call = Call::new();
        let mut all = vec![("rate.in", "8000"), ("rate.out", "8000")];
        all.extend(more);
        call.join(A, config("en", &all));
        call.join(B, config("es", &all));
        call.run(ms(100));
        call
    }

    fn input(&mut self, input: Input<'_>) {
        self.room.handle(self.now, input);
        let mut opened = Vec::new();
        while let Some(output) = self.room.poll() {
            match output {
                Output::Play { session, ring, samples } => {
                    let ear = self.ears.get_mut(&session).unwrap();
                    let ring = match ring {
                        Ring::Speech => &mut ear.speech_ring,
                        Ring::Original => &mut ear.original_ring,
                    };
                    ring.extend(samples);
                    assert!(ring.len() <= RING_SAMPLES, "the ring would overflow");
                }
                Output::Flush { session, ring } => {
                    let ear = self.ears.get_mut(&session).unwrap();
                    match ring {
                        Ring::Speech => ear.skip_speech = ear.speech_ring.len(),
                        Ring::Original => ear.skip_original = ear.original_ring.len(),
                    }
                }
                Output::OutRateDone { session, hz } => {
                    let ear = self.ears.get_mut(&session).unwrap();
                    ear.speech_ring.clear();
                    ear.original_ring.clear();
                    (ear.skip_speech, ear.skip_original) = (0, 0);
                    ear.totals = PullTotals::default();
                    ear.frame = hz as usize / 50;
                }
                Output::Net(command) => {
                    if let NetCommand::OpenStt { session, .. } = command {
                        opened.push(session);
                    }
                    self.net.push(command);
                }
                Output::Event(event) => self.events.push((event.session, event.kind)),
                Output::Gone { session } => self.events.push((session, EventKind::Dtmf { digit: "gone".into() })),
            }
        }
        // Recognisers are there as soon as they are wanted, unless a script says otherwise.
        for session in opened {
            let ready = LinkState::Ready;
            self.input(Input::Link { session, stage: Stage::Stt, provider: "deepgram", state: ready });
        }
    }

    /// Lets time pass: everybody pushes (`voice` as amplitude) and pulls 20 ms in 20 ms.
    fn run(&mut self, length: Duration) {
        let until = self.now + length;
        while self.now < until {
            self.now += TICK;
            if self.now.as_millis().is_multiple_of(20) {
                for (session, frame) in self.pushers.clone() {
                    let block = vec![self.voice; frame];
                    self.input(Input::Said { session, samples: &block });
                }
                for session in self.ears.keys().copied().collect::<Vec<_>>() {
                    let ear = self.ears.get_mut(&session).unwrap();
                    if ear.awake {
                        ear.pull();
                    }
                    let totals = ear.totals;
                    self.input(Input::Pulled { session, totals });
                }
            }
            self.input(Input::Tick);
        }
    }

    fn final_result(&mut self, session: SessionId, text: &str, start: u64, end: u64) {
        let words: Vec<&str> = text.split(' ').collect();
        let step = (end - start) / words.len() as u64;
        let words = words
            .iter()
            .enumerate()
            .map(|(i, w)| Word {
                text: (*w).into(),
                start: ms(start + step * i as u64),
                end: ms(start + step * (i as u64 + 1)),
                confidence: 1.0,
            })
            .collect();
        let transcript = Transcript { text: text.into(), words, start: ms(start), end: ms(end), language: None };
        self.input(Input::Stt { session, event: SttEvent::Final { transcript, speech_final: true } });
    }

    fn translate(&mut self, segment: u64, target: Language, text: &str) {
        self.input(Input::Translated { segment: SegmentId(segment), target, result: Ok(text.into()) });
    }

    fn audio(&mut self, segment: u64, target: Language, value: i16, length: usize) {
        let chunk = SpeechChunk::Audio(vec![value; length]);
        self.input(Input::Speech { segment: SegmentId(segment), target, chunk });
    }

    fn end(&mut self, segment: u64, target: Language) {
        self.input(Input::Speech { segment: SegmentId(segment), target, chunk: SpeechChunk::End });
    }

    /// A whole segment of `length` samples of `value` for B, from A's words.
    fn segment(&mut self, number: u64, value: i16, length: usize) {
        let now = self.now.as_millis() as u64;
        self.final_result(A, "some words", now - 80, now);
        self.translate(number, spanish(), "unas palabras");
        self.audio(number, spanish(), value, length);
        self.end(number, spanish());
    }

    fn speech(&self, session: SessionId) -> Vec<i16> {
        self.ears[&session].speech.iter().copied().filter(|s| *s != 0).collect()
    }

    fn kinds(&self, f: impl Fn(&EventKind) -> bool) -> usize {
        self.events.iter().filter(|(_, k)| f(k)).count()
    }

    fn lost(&self) -> Vec<&'static str> {
        let stage = |k: &EventKind| match k {
            EventKind::SegmentLost { stage, .. } => Some(*stage),
            _ => None,
        };
        self.events.iter().filter_map(|(_, k)| stage(k)).collect()
    }

    /// What was sent to a session's recogniser.
    fn sent_by(&self, speaker: SessionId) -> Vec<i16> {
        let audio = self.net.iter().filter_map(|c| match c {
            NetCommand::Audio { session, samples, .. } if *session == speaker => Some(samples),
            _ => None,
        });
        audio.flatten().copied().collect()
    }

    fn translations(&self) -> usize {
        self.net.iter().filter(|c| matches!(c, NetCommand::Translate(_))).count()
    }
}

impl Ear {
    fn pull(&mut self) {
        let skipped = std::mem::take(&mut self.skip_speech);
        self.speech_ring.drain(..skipped);
        self.totals.speech += skipped as u64;
        let skipped = std::mem::take(&mut self.skip_original);
        self.original_ring.drain(..skipped);
        self.totals.original += skipped as u64;
        let n = self.speech_ring.len().min(self.frame);
        let mut frame: Vec<i16> = self.speech_ring.drain(..n).collect();
        frame.resize(self.frame, 0);
        self.speech.extend(frame);
        let m = self.original_ring.len().min(self.frame);
        let mut frame: Vec<i16> = self.original_ring.drain(..m).collect();
        frame.resize(self.frame, 0);
        self.original.extend(frame);
        self.totals.asked += self.frame as u64;
        self.totals.speech += n as u64;
        self.totals.original += m as u64;
    }
}

fn out_of_service() -> StageError {
    StageError { class: ErrorClass::ProviderOut, code: "456".into(), message: "quota".into(), request_id: None }
}
