//! Recorded rooms as regression tests.
//!
//! An engine that was changed may play at other times, so digests say nothing here and what translators, synthesisers
//! and pullers did then does not fit. What was said and what the recognisers made of it, with lost connections and all,
//! is given to the engine of today; translator, synthesiser and pullers answer it anew, in coded speech. Whatever the
//! engine decides: each committed segment is heard once and in order, and the ears hear the words that were recognised.
//!
//! `MGW_UPDATE_RECORDS=1` makes the records anew, from calls against the local cloud.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::time::Duration;

use mgw::config::Language;
use mgw::engine::record::reader::{Line, Reader, What};
use mgw::engine::room::Room;
use mgw::engine::{Input, NetCommand, Output, PullTotals, Ring, SegmentId, SessionId};
use mgw::event::EventKind;
use mgw::provider::{SpeechChunk, SttEvent, Transcript};
use serde_json::Value;

use crate::support::codec::{self, Token};
use crate::support::leg::hear;
use crate::support::{Cloud, wait_for};
use crate::{Host, LIMIT};

const TICK: Duration = Duration::from_millis(10);
/// As `docs/benchmarks.md` has them: a translation, and the first sound.
const TRANSLATION: Duration = Duration::from_millis(100);
const FIRST_SOUND: Duration = Duration::from_millis(288);
/// Sound comes three times as fast as it lasts.
const SPEED: u32 = 3;
/// After the last input, until everything was heard.
const AFTERWARDS: Duration = Duration::from_secs(20);
/// All records together.
const MOST_BYTES: u64 = 300_000;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/records")
}

/// What a puller holds, as `media_port` does it.
#[derive(Default)]
struct Ear {
    rate: u32,
    rings: [VecDeque<i16>; 2],
    flushed: [usize; 2],
    totals: PullTotals,
    heard: Vec<i16>,
}

impl Ear {
    fn pull(&mut self) {
        let count = self.rate as usize / 50;
        let mut frame = vec![0i16; count];
        for (ring, (flushed, total)) in
            self.rings.iter_mut().zip(self.flushed.iter_mut().zip([&mut self.totals.speech, &mut self.totals.original]))
        {
            *total += *flushed as u64;
            ring.drain(..std::mem::take(flushed));
            let n = ring.len().min(count);
            *total += n as u64;
            frame.iter_mut().zip(ring.drain(..n)).for_each(|(sum, sample)| *sum = sum.saturating_add(sample));
        }
        self.totals.asked += count as u64;
        self.heard.extend(frame);
    }
}

/// A room of today that is given the past.
struct Again {
    room: Room,
    now: Duration,
    ticks: u64,
    ears: BTreeMap<SessionId, Ear>,
    rates: BTreeMap<(SessionId, Language), u32>,
    /// Answers by the time at which they come.
    due: BTreeMap<(Duration, u64), Input<'static>>,
    answers: u64,
    cancelled: BTreeSet<(SegmentId, Language)>,
    events: Vec<EventKind>,
}

impl Again {
    fn give(&mut self, input: Input<'_>) {
        self.room.handle(self.now, input);
        while let Some(output) = self.room.poll() {
            match output {
                Output::Play { session, ring, samples } => self.ear(session).rings[place(ring)].extend(samples),
                Output::Flush { session, ring } => {
                    let ear = self.ear(session);
                    ear.flushed[place(ring)] = ear.rings[place(ring)].len();
                }
                Output::OutRateDone { session, hz } => {
                    let ear = self.ear(session);
                    assert!(ear.heard.is_empty(), "a record with a change of the output rate needs an ear that can");
                    *ear = Ear { rate: hz, ..Ear::default() };
                }
                Output::Net(command) => self.answer(command),
                Output::Event(event) => self.events.push(event.kind),
                Output::Gone { .. } => {}
            }
        }
    }

    fn ear(&mut self, session: SessionId) -> &mut Ear {
        self.ears.get_mut(&session).expect("a session that joined")
    }

    fn later(&mut self, after: Duration, input: Input<'static>) {
        self.answers += 1;
        self.due.insert((self.now + after, self.answers), input);
    }

    fn answer(&mut self, command: NetCommand) {
        match command {
            NetCommand::OpenTts { session, target, rate, .. } => drop(self.rates.insert((session, target), rate)),
            NetCommand::Translate(job) => {
                let word = |n| Token::new(job.target.code(), n).expect("a word").text();
                let words: Vec<String> = numbers(&job.text).map(word).collect();
                let (segment, target) = (job.segment, job.target);
                self.later(TRANSLATION, Input::Translated { segment, target, result: Ok(words.join(" ")) });
            }
            NetCommand::Speak(job) => {
                let rate = self.rates[&(job.session, job.target)];
                let (segment, target) = (job.segment, job.target);
                let mut voice = Vec::new();
                for token in job.text.split_whitespace().filter_map(Token::parse) {
                    codec::encode(token, rate, -20.0, &mut voice);
                    codec::silence(codec::GAP_S, rate, &mut voice);
                }
                let mut at = FIRST_SOUND;
                for chunk in voice.chunks(rate as usize / 10) {
                    self.later(at, Input::Speech { segment, target, chunk: SpeechChunk::Audio(chunk.to_vec()) });
                    at += Duration::from_millis(100) / SPEED;
                }
                self.later(at, Input::Speech { segment, target, chunk: SpeechChunk::End });
            }
            NetCommand::Cancel { segment, target, .. } => drop(self.cancelled.insert((segment, target))),
            _ => {}
        }
    }

    /// Time passes up to here, in ticks of 10 ms with answers and pulls between them.
    fn until(&mut self, at: Duration) {
        while self.now + TICK <= at {
            self.now += TICK;
            self.ticks += 1;
            while let Some(entry) = self.due.first_entry().filter(|entry| entry.key().0 <= self.now) {
                let input = entry.remove();
                let key = match &input {
                    Input::Speech { segment, target, .. } | Input::Translated { segment, target, .. } => {
                        Some((*segment, *target))
                    }
                    _ => None,
                };
                if key.is_none_or(|key| !self.cancelled.contains(&key)) {
                    self.give(input);
                }
            }
            if self.ticks.is_multiple_of(2) {
                for session in self.ears.keys().copied().collect::<Vec<_>>() {
                    let ear = self.ear(session);
                    ear.pull();
                    let totals = ear.totals;
                    self.give(Input::Pulled { session, totals });
                }
            }
            self.give(Input::Tick);
        }
    }
}

fn place(ring: Ring) -> usize {
    match ring {
        Ring::Speech => 0,
        Ring::Original => 1,
    }
}

/// Numbers of the coded words of a text, in any language.
fn numbers(text: &str) -> impl Iterator<Item = u16> + '_ {
    text.split_whitespace().filter_map(Token::parse).map(|token| token.n)
}

/// Runs a record; `name` is for messages.
fn run(name: &str, text: &str) {
    let mut lines = text.lines();
    let (mut reader, header) =
        Reader::begin(lines.next().unwrap_or_default()).unwrap_or_else(|e| panic!("{name}: {e}"));
    let mut again = Again {
        room: Room::new(header.first_segment),
        now: Duration::ZERO,
        ticks: 0,
        ears: BTreeMap::new(),
        rates: BTreeMap::new(),
        due: BTreeMap::new(),
        answers: 0,
        cancelled: BTreeSet::new(),
        events: Vec::new(),
    };
    let mut hears = BTreeMap::new();
    let mut said: BTreeMap<SessionId, BTreeSet<u16>> = BTreeMap::new();
    for line in lines {
        let entry = match reader.line(line).unwrap_or_else(|e| panic!("{name}: {e}")) {
            Line::Entry(entry) => entry,
            Line::Over(_) => break,
        };
        if again.now.is_zero() {
            again.now = entry.at;
        }
        again.until(entry.at);
        let Some(input) = entry.what.input() else {
            assert!(matches!(entry.what, What::End), "{name}: only whole rooms");
            continue;
        };
        match &input {
            Input::Join { session, config } => {
                again.ears.insert(*session, Ear { rate: config.rate_out, ..Ear::default() });
                hears.insert(*session, config.hears);
            }
            Input::Stt {
                session,
                event:
                    SttEvent::Final { transcript: Transcript { text, .. }, .. }
                    | SttEvent::Recovered(Transcript { text, .. }),
            } => said.entry(*session).or_default().extend(numbers(text)),
            // Answered anew; and nobody leaves before all was heard.
            Input::Translated { .. }
            | Input::Speech { .. }
            | Input::Pulled { .. }
            | Input::Tick
            | Input::Leave { .. } => {
                continue;
            }
            _ => {}
        }
        again.give(input);
    }
    let end = again.now + AFTERWARDS;
    again.until(end);

    assert!(said.values().any(|words| !words.is_empty()), "{name}: nobody said anything");
    for (session, language) in &hears {
        let others = said.iter().filter(|(id, _)| *id != session);
        let want: Vec<u16> = others.flat_map(|(_, words)| words.iter().copied()).collect();
        let ear = &again.ears[session];
        let report = hear(&ear.heard, ear.rate);
        let heard: Vec<u16> = report.words.iter().filter(|(l, _)| *l == language.code()).map(|(_, n)| *n).collect();
        assert_eq!(heard, want, "{name}, {language}: every word that was recognised, once and in order");
        assert_eq!(report.damaged, 0, "{name}, {language}");
    }
    let mut segments: BTreeMap<u64, u32> = BTreeMap::new();
    for event in &again.events {
        match event {
            EventKind::Translation { segment, .. } => drop(segments.entry(*segment).or_default()),
            EventKind::SegmentDone { segment, complete, .. } => {
                assert!(complete, "{name}: segment {segment} was cut");
                *segments.entry(*segment).or_default() += 1;
            }
            EventKind::SegmentLost { stage, reason, .. } => assert_eq!(
                (*stage, reason.as_str()),
                ("stt", "this audio did not reach the recogniser"),
                "{name}: only what no recogniser was given may be lost"
            ),
            _ => {}
        }
    }
    assert!(!segments.is_empty() && segments.values().all(|heard| *heard == 1), "{name}: {segments:?}");
}

#[test]
fn recorded_rooms_are_heard_whole_by_the_engine_of_today() {
    if std::env::var_os("MGW_UPDATE_RECORDS").is_some() {
        std::fs::create_dir_all(folder()).expect("folder");
        MAKERS.iter().for_each(|(name, make)| make(name));
    }
    let entries = std::fs::read_dir(folder()).expect("tests/records");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("entry").path()).collect();
    paths.sort();
    let names: Vec<String> =
        paths.iter().map(|path| path.file_stem().expect("name").to_string_lossy().into_owned()).collect();
    assert_eq!(names, MAKERS.map(|(name, _)| name), "each has its maker");
    let sizes: u64 = paths.iter().map(|path| std::fs::metadata(path).expect("file").len()).sum();
    assert!(sizes <= MOST_BYTES, "{sizes} bytes");
    for (name, path) in names.iter().zip(&paths) {
        run(name, &std::fs::read_to_string(path).expect("a record"));
    }
}

/// Makes a record of this name.
type Maker = fn(&str);

/// Records and what makes them, by name.
const MAKERS: [(&str, Maker); 2] = [("dropped-recogniser", dropped_recogniser), ("flux-turns", flux_turns)];

/// A recogniser's connection is reset in the middle of a sentence.
fn dropped_recogniser(name: &str) {
    let fault = "[[fault]]\nstage = \"stt\"\non = \"byte\"\nat = 45000\nkind = \"reset\"\n";
    let host = Host::start(&format!("[stt]\ninterim_interval_ms = 400\n{fault}"), &[]);
    make(host, name, &[], |cloud| assert_eq!(cloud.stats()["faults_total"], 1, "the fault was there"));
}

/// Flux with eager ends of turns, and work ahead of the commit.
fn flux_turns(name: &str) {
    let options = [("stt.provider", "flux"), ("flux.eager_eot_threshold", "0.4"), ("speculation.mode", "speak")];
    make(Host::start("", &[]), name, &options, |_| {});
}

/// Both say two sentences; what the test needs of the record is kept.
fn make(host: Host, name: &str, options: &[(&str, &str)], check: impl Fn(&Cloud)) {
    let (a, b) = host.call(options);
    a.say_words("en", 0..5);
    wait_for("half a turn", LIMIT, || host.count(|e| e["type"] == "transcript") > 0);
    b.say_words("es", 100..103);
    a.say_words("en", 5..9);
    wait_for("the last words", LIMIT, || b.words("es").ends_with(&[8]) && a.words("en").ends_with(&[102]));
    host.settle();
    check(&host.cloud);
    let files = host.end([a, b]);
    let text = std::fs::read_to_string(&files[0]).expect("a record");
    std::fs::write(folder().join(format!("{name}.mgwrec")), thin(&text)).expect("file");
}

/// Without what is answered anew, and without digests.
fn thin(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let mut value: Value = serde_json::from_str(line).expect("a line");
        let input = &value["in"];
        if *input == "tick" || ["pulled", "translated", "speech"].iter().any(|kind| input.get(kind).is_some()) {
            continue;
        }
        value.as_object_mut().expect("an object").remove("out");
        out.push_str(&value.to_string());
        out.push('\n');
    }
    out
}
