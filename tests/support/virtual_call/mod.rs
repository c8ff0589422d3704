//! A call in virtual time: a room of the engine with callers who say scripts of coded words, models of the providers, and
//! ears whose sound is decoded. An hour takes seconds; everything is the same in every run.
//!
//! ```no_run
//! let mut call = VirtualCall::new(Manner::v1(), Stages::default());
//! let a = call.join("en", &[], Script::new(1).talk("en", S, 600 * S));
//! let b = call.join("es", &[], Script::default());
//! call.run_to_the_end();
//! println!("{}", call.verdict(a, b));
//! ```
//! A program that uses it has `mod support` beside it, for the coded words.
#![allow(dead_code)] // each program uses a part of it

pub mod chance;
pub mod ear;
pub mod judge;
pub mod recogniser;
pub mod script;
pub mod stages;

use std::collections::{BTreeMap, BinaryHeap};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use mgw::config::{Config, Language, SessionConfig};
use mgw::engine::room::Room;
use mgw::engine::{Input, LeaveMode, NetCommand, Output, SegmentId, SessionId};
use mgw::event::EventKind;
use mgw::provider::{LinkState, SpeechChunk, Stage, SttEvent};

pub use judge::Verdict;
pub use recogniser::{Manner, Recogniser};
pub use script::Script;
pub use stages::{Longer, Stages};

use chance::Chance;
use ear::Ear;
use script::Mouth;

/// Hz: what a telephone has, and half the work of 16 kHz.
pub const RATE: u32 = 8000;
const FRAME: usize = RATE as usize / 50;
const TICK: Duration = Duration::from_millis(10);
/// Frames are pushed at even hundredths of a second, and pulled at odd ones.
const PUSH_EVERY: u32 = 2;

/// What a provider answers, later.
#[derive(Debug)]
enum Answer {
    Stt(SessionId, u64, SttEvent),
    Translated(SegmentId, Language, String),
    Speech(SegmentId, Language, u64, SpeechChunk),
    Ready(SessionId, Stage, &'static str),
}

struct Due {
    at: Duration,
    number: u64,
    answer: Answer,
}

impl Ord for Due {
    fn cmp(&self, other: &Due) -> std::cmp::Ordering {
        // The heap gives the greatest first: the earliest, and of those the one made first.
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Due) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Due {
    fn eq(&self, other: &Due) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Due {}

struct Caller {
    config: Arc<SessionConfig>,
    script: Script,
    mouth: Mouth,
    ear: Ear,
    /// Gateway time at which its session time began.
    began: Duration,
    /// Samples pushed.
    pushed: u64,
    /// Its recognition stream, and which one that is.
    recogniser: Option<(u64, Recogniser)>,
    /// Rates of its synthesis connections.
    tts: BTreeMap<Language, u32>,
    /// It has not left.
    here: bool,
}

/// See the module.
pub struct VirtualCall {
    room: Room,
    pub now: Duration,
    manner: Manner,
    stages: Stages,
    chance: Chance,
    callers: BTreeMap<SessionId, Caller>,
    due: BinaryHeap<Due>,
    made: u64,
    /// The request that is in force for a segment's speech.
    speaking: BTreeMap<(SegmentId, Language), u64>,
    /// Everything told to the host, with gateway time; interim transcripts are left out.
    pub events: Vec<(Duration, SessionId, EventKind)>,
    /// Characters sent to the translator and to the synthesiser.
    pub characters: (usize, usize),
}

impl VirtualCall {
    pub fn new(manner: Manner, stages: Stages) -> VirtualCall {
        VirtualCall {
            room: Room::new(1),
            now: Duration::ZERO,
            chance: Chance::new(stages.seed),
            manner,
            stages,
            callers: BTreeMap::new(),
            due: BinaryHeap::new(),
            made: 0,
            speaking: BTreeMap::new(),
            events: Vec::new(),
            characters: (0, 0),
        }
    }

    /// Somebody joins, who speaks `language` and says `script`.
    pub fn join(&mut self, language: &str, more: &[(&str, &str)], script: Script) -> SessionId {
        let session = SessionId(self.callers.len() as u64 + 1);
        let config = config(language, self.manner.provider(), more);
        let caller = Caller {
            config: config.clone(),
            script,
            mouth: Mouth::new(RATE),
            ear: Ear::new(RATE),
            began: self.now,
            pushed: 0,
            recogniser: None,
            tts: BTreeMap::new(),
            here: true,
        };
        self.callers.insert(session, caller);
        self.input(Input::Join { session, config });
        session
    }

    /// Changes live settings as `mgw_session_set` does.
    pub fn set(&mut self, session: SessionId, key: &str, value: &str) {
        let caller = self.caller(session);
        let mut config = (*caller.config).clone();
        config.set_live(key, value).unwrap_or_else(|e| panic!("{e}"));
        caller.config = Arc::new(config);
        let config = caller.config.clone();
        self.input(Input::Set { session, config });
    }

    pub fn leave(&mut self, session: SessionId, mode: LeaveMode) {
        self.caller(session).here = false;
        self.input(Input::Leave { session, mode });
    }

    /// Whether a caller pulls.
    pub fn set_awake(&mut self, session: SessionId, awake: bool) {
        self.caller(session).ear.awake = awake;
    }

    fn caller(&mut self, session: SessionId) -> &mut Caller {
        self.callers.get_mut(&session).expect("a caller")
    }

    /// Lets time pass: everybody pushes and pulls 20 ms in 20 ms, and the providers answer.
    pub fn run(&mut self, length: Duration) {
        let until = self.now + length;
        while self.now < until {
            let next = self.now + TICK;
            while let Some(due) = self.due.peek().map(|d| d.at).filter(|at| *at <= next) {
                self.now = due.max(self.now);
                if let Some(due) = self.due.pop() {
                    self.answer(due.answer);
                }
            }
            self.now = next;
            let tick = (self.now.as_millis() / TICK.as_millis()) as u32;
            for session in self.callers.keys().copied().collect::<Vec<_>>() {
                if tick.is_multiple_of(PUSH_EVERY) {
                    self.push(session);
                } else {
                    self.pull(session);
                }
            }
            self.input(Input::Tick);
        }
    }

    /// Runs until all scripts are said and `tail` more, in which the last words are heard.
    pub fn run_to_the_end(&mut self) {
        const TAIL: Duration = Duration::from_secs(20);
        let end = self.callers.values().map(|c| c.began + c.script.end()).max().unwrap_or_default();
        self.run((end + TAIL).saturating_sub(self.now));
    }

    fn push(&mut self, session: SessionId) {
        let now = self.now;
        let caller = self.caller(session);
        if !caller.here {
            return;
        }
        let frame = caller.mouth.frame(&caller.script, FRAME);
        caller.pushed += frame.len() as u64;
        // The frame that is pushed now was said in the 20 ms before.
        caller.began = now.saturating_sub(Duration::from_micros(caller.pushed * 1_000_000 / u64::from(RATE)));
        self.input(Input::Said { session, samples: &frame });
    }

    fn pull(&mut self, session: SessionId) {
        let now = self.now;
        let caller = self.caller(session);
        if !caller.here {
            return;
        }
        if caller.ear.awake {
            caller.ear.pull(now, FRAME);
        }
        let totals = caller.ear.totals;
        self.input(Input::Pulled { session, totals });
    }

    fn input(&mut self, input: Input<'_>) {
        self.room.handle(self.now, input);
        while let Some(output) = self.room.poll() {
            match output {
                Output::Play { session, ring, samples } => self.caller(session).ear.play(ring, samples),
                Output::Flush { session, ring } => self.caller(session).ear.flush(ring),
                Output::Net(command) => self.net(command),
                Output::Event(event) if event.kind.is_interim() => {}
                Output::Event(event) => self.events.push((self.now, event.session, event.kind)),
                Output::OutRateDone { .. } | Output::Gone { .. } => {}
            }
        }
    }

    fn later(&mut self, after: Duration, answer: Answer) {
        self.made += 1;
        self.due.push(Due { at: self.now + after, number: self.made, answer });
    }

    /// What is asked of the network.
    fn net(&mut self, command: NetCommand) {
        let manner = self.manner.clone();
        match command {
            NetCommand::OpenStt { session, config, .. } => {
                self.made += 1;
                let stream = self.made;
                let caller = self.caller(session);
                let base = Duration::from_micros(caller.pushed * 1_000_000 / u64::from(RATE));
                let recogniser = Recogniser::new(manner.clone(), config.language.code(), base, &caller.script);
                caller.recogniser = Some((stream, recogniser));
                self.later(Duration::ZERO, Answer::Ready(session, Stage::Stt, manner.provider()));
            }
            NetCommand::Audio { session, at, samples } => {
                let caller = self.caller(session);
                let Some((stream, recogniser)) = &mut caller.recogniser else { return };
                let until = at + Duration::from_secs_f64(samples.len() as f64 / f64::from(RATE));
                // Rounding must not cost a step of 10 ms.
                let said = recogniser.hear(until + Duration::from_micros(50), &caller.script);
                let stream = *stream;
                for (_, event) in said {
                    self.later(manner.latency, Answer::Stt(session, stream, event));
                }
            }
            NetCommand::FinalizeStt { session } => {
                if let Some((_, recogniser)) = &mut self.caller(session).recogniser {
                    recogniser.finalise();
                }
            }
            NetCommand::CloseStt { session, drain } => {
                let caller = self.caller(session);
                let Some((stream, mut recogniser)) = caller.recogniser.take() else { return };
                let said = if drain { recogniser.close(&caller.script) } else { Vec::new() };
                for (_, event) in said {
                    self.later(manner.latency, Answer::Stt(session, stream, event));
                }
            }
            NetCommand::OpenTts { session, target, rate, .. } => {
                self.caller(session).tts.insert(target, rate);
                self.later(Duration::ZERO, Answer::Ready(session, Stage::Tts, "elevenlabs"));
            }
            NetCommand::Translate(job) => {
                self.characters.0 += job.text.chars().count();
                let text = stages::translate(&job.text, job.target.code(), self.stages.longer);
                self.later(self.stages.translation, Answer::Translated(job.segment, job.target, text));
            }
            NetCommand::Speak(job) => {
                self.characters.1 += job.text.chars().count();
                let rate = self.caller(job.session).tts.get(&job.target).copied().unwrap_or(RATE);
                self.made += 1;
                let request = self.made;
                self.speaking.insert((job.segment, job.target), request);
                for (after, chunk) in stages::speak(&job.text, rate, &self.stages, &mut self.chance) {
                    self.later(after, Answer::Speech(job.segment, job.target, request, chunk));
                }
            }
            NetCommand::Cancel { segment, target, .. } => {
                self.speaking.remove(&(segment, target));
            }
            NetCommand::CloseTts { .. } => {}
        }
    }

    fn answer(&mut self, answer: Answer) {
        match answer {
            Answer::Stt(session, stream, event) => {
                // What a closed stream still has to say is wanted; another one's words come after it.
                let newest = self.caller(session).recogniser.as_ref().map(|(newest, _)| *newest);
                if newest.is_none_or(|newest| stream <= newest) {
                    self.input(Input::Stt { session, event });
                }
            }
            Answer::Translated(segment, target, text) => {
                self.input(Input::Translated { segment, target, result: Ok(text) });
            }
            Answer::Speech(segment, target, request, chunk) => {
                if self.speaking.get(&(segment, target)) == Some(&request) {
                    self.input(Input::Speech { segment, target, chunk });
                }
            }
            Answer::Ready(session, stage, provider) => {
                self.input(Input::Link { session, stage, provider, state: LinkState::Ready });
            }
        }
    }

    /// What `listener` heard of what `speaker` said.
    pub fn verdict(&mut self, speaker: SessionId, listener: SessionId) -> Verdict {
        self.verdict_of(speaker, listener, |_| true)
    }

    /// As [`verdict`](Self::verdict), of those words that begin when (session time) `looked_for` says so.
    pub fn verdict_of(
        &mut self,
        speaker: SessionId,
        listener: SessionId,
        looked_for: impl Fn(Duration) -> bool,
    ) -> Verdict {
        let language = self.caller(listener).config.hears.code().to_owned();
        let (words, damaged) = self.caller(listener).ear.heard();
        let (words, damaged) = (words.to_vec(), damaged.len());
        let caller = self.caller(speaker);
        judge::judge(&caller.script, caller.began, &language, &words, damaged, looked_for)
    }

    /// The words of an ear, as decoded from its sound.
    pub fn heard(&mut self, listener: SessionId) -> Vec<ear::HeardWord> {
        self.caller(listener).ear.heard().0.to_vec()
    }

    pub fn stats(&self, session: SessionId) -> serde_json::Value {
        self.room.stats(session)
    }

    /// For a person who wants to know why: the segments around the word that came latest, and around the first one that
    /// was lost or doubled.
    pub fn story(&self, speaker: SessionId, verdict: &Verdict) -> String {
        let caller = &self.callers[&speaker];
        let latest = verdict.lags.iter().max_by(|a, b| a.ms().total_cmp(&b.ms())).map(|lag| lag.said);
        let said = |place: usize| caller.script.looked_for().nth(place).map(|w| caller.began + w.end);
        let (lost, doubled) = (verdict.lost.first().copied().and_then(said), verdict.first_doubled.and_then(said));
        let mut text = String::new();
        for (what, at) in [("latest", latest), ("first lost", lost), ("first doubled", doubled)] {
            let Some(at) = at.map(|at| at.as_secs_f64() * 1e3) else { continue };
            let _ = writeln!(text, "{what}: said at {at:.0} ms");
            let around = |time: f64| time > at - 4000.0 && time < at + 2000.0;
            for (_, session, kind) in self.events.iter().filter(|(_, session, _)| *session == speaker) {
                let _ = match kind {
                    EventKind::SegmentDone { marks, listener, source_text, text: heard, .. }
                        if marks.speech_end_ms.is_some_and(around) =>
                    {
                        let times = [
                            marks.speech_start_ms,
                            marks.speech_end_ms,
                            marks.committed_ms,
                            marks.first_audio_ms,
                            marks.playout_start_ms,
                            marks.playout_end_ms,
                        ];
                        let times: Vec<String> = times.iter().map(|t| format!("{:.0}", t.unwrap_or(-1.0))).collect();
                        let times = times.join(" ");
                        writeln!(text, "  {} to {listener}: {times}: {source_text} | {heard}", session.0)
                    }
                    EventKind::SegmentLost { stage, reason, start_ms, end_ms, .. } if around(*end_ms) => {
                        writeln!(text, "  {} lost at {stage}: {start_ms:.0} to {end_ms:.0}: {reason}", session.0)
                    }
                    _ => Ok(()),
                };
            }
        }
        text + "(times: said from, to; committed; first audio; heard from, to)"
    }

    /// Reported losses: stage and reason.
    pub fn losses(&self) -> Vec<(&'static str, String)> {
        let lost = |kind: &EventKind| match kind {
            EventKind::SegmentLost { stage, reason, .. } => Some((*stage, reason.clone())),
            _ => None,
        };
        self.events.iter().filter_map(|(_, _, kind)| lost(kind)).collect()
    }
}

/// A session's settings.
pub fn config(language: &str, stt: &str, more: &[(&str, &str)]) -> Arc<SessionConfig> {
    let (mut all, mut options) = (Config::new(), Config::new());
    let rate = RATE.to_string();
    let common = [("profile.p.language", language), ("stt.provider", stt)];
    for (key, value) in common {
        all.set(key, value).unwrap_or_else(|e| panic!("{e}"));
    }
    for (key, value) in [("rate.in", rate.as_str()), ("rate.out", &rate)].iter().chain(more) {
        options.set(key, value).unwrap_or_else(|e| panic!("{e}"));
    }
    Arc::new(all.session("p", &options, &|_| Some("key".into())).unwrap_or_else(|e| panic!("{e}")))
}
