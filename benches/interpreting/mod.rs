//! mgw against two simpler ways to interpret, on the same emulated vendors in the same run, judged by the sound at the ear.
//!
//! Every way has a listener of its own and hears the same speaker: short turns through Flux, and monologues of half a
//! minute through both recognisers. The clock is that of the frames: what is pushed in a frame was said in the 20 ms
//! before, what is pulled in it sounds in the 20 ms after.

mod picture;
mod reference;

use std::time::Duration;

use mgw::config::Config;
use mgw::engine::SessionId;
use mgw::media_port::{pull_frame, push_frame};
use mgw::{Gateway, session};
use serde_json::{Value, json};

use crate::report::{Figure, Report};
use crate::stat::{Chance, FRAME, RATE, SAMPLES, every_frame, quantile, spread};
use crate::support::codec::{self, Decoder, Heard, Token};
use crate::support::{Cloud, events};
use reference::{Reference, Way};

/// What the emulator does: stages at published times, ends of turns 260 ms (median) and 1.5 s (p95) after the last word,
/// one word in three wrong at first, commas behind every sixth word.
const SCENARIO: &str = "
[stt]
end_of_turn_ms = { median = 260, p95 = 1500 }
clause_words = 6
revision_depth = 2
[mt]
latency_ms = 100
[tts]
first_audio_ms = 288
speed = 3.0
max_contexts = 5
[flux]
update_ms = 250
";

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Recogniser {
    V1,
    Flux,
}

impl Recogniser {
    fn name(self) -> &'static str {
        match self {
            Recogniser::V1 => "v1",
            Recogniser::Flux => "flux",
        }
    }

    fn provider(self) -> &'static str {
        match self {
            Recogniser::V1 => "deepgram",
            Recogniser::Flux => "flux",
        }
    }
}

/// The ways, in the order of the pictures.
const WAYS: [(&str, Kind); 6] = [
    ("(a) whole turn", Kind::Reference(Way::WaitForTurn)),
    ("(b) each final", Kind::Reference(Way::StreamFinals)),
    ("mgw as (b)", Kind::Mgw(&[("ledger.policy", "final"), ("speculation.mode", "off")])),
    ("mgw", Kind::Mgw(&[])),
    ("mgw, speech ahead", Kind::Mgw(&[("speculation.mode", "speak")])),
    ("mgw, agreed words", Kind::Mgw(&[("ledger.policy", "agreement")])),
];
/// Places of the talks.
const SHORT: usize = 0;
const LONGER: usize = 3;
/// Places of the ways.
const WHOLE: usize = 0;
const FINALS: usize = 1;
const MGW: usize = 3;
const AHEAD: usize = 4;
const AGREED: usize = 5;
/// Translation and first audio of [`SCENARIO`].
const STAGES_MS: f64 = 388.0;

#[derive(Clone, Copy)]
enum Kind {
    Reference(Way),
    Mgw(&'static [(&'static str, &'static str)]),
}

/// What a speaker says: numbers of words with the second at which each begins, and where turns begin.
struct Talk {
    words: Vec<(u16, f64)>,
    /// First words.
    turns: Vec<usize>,
    length: f64,
}

const WORD_S: f64 = codec::TOKEN_S + codec::GAP_S;

impl Talk {
    /// Turns of `words` words, each with so much silence behind it.
    fn new(words: impl Iterator<Item = usize>, silence: f64) -> Talk {
        let mut talk = Talk { words: Vec::new(), turns: Vec::new(), length: 1.0 };
        for count in words {
            talk.turns.push(talk.words.len());
            for _ in 0..count {
                talk.words.push((talk.words.len() as u16, talk.length));
                talk.length += WORD_S;
            }
            talk.length += silence;
        }
        talk
    }

    fn sound(&self) -> Vec<i16> {
        let mut sound = Vec::new();
        for (n, at) in &self.words {
            let silence = at - sound.len() as f64 / f64::from(RATE);
            codec::silence(silence.max(0.0), RATE, &mut sound);
            codec::encode(Token::new("en", *n).expect("a word"), RATE, -20.0, &mut sound);
        }
        sound
    }

    /// The words of a turn.
    fn turn(&self, turn: usize) -> std::ops::Range<usize> {
        self.turns[turn]..self.turns.get(turn + 1).copied().unwrap_or(self.words.len())
    }
}

/// One who listens, to one who talks.
enum Leg<'a> {
    Mgw { speaker: SessionId, listener: SessionId },
    Reference(&'a Reference),
}

/// When each word was heard, in seconds of the frames' clock, by its place; and what was wrong.
struct Ear {
    /// Beginning and end.
    words: Vec<Option<(f64, f64)>>,
    wrong: usize,
}

fn listen(talk: &Talk, sound: &[i16]) -> Ear {
    let mut decoder = Decoder::new(RATE);
    let mut heard = decoder.feed(sound);
    heard.extend(decoder.finish());
    let mut ear = Ear { words: vec![None; talk.words.len()], wrong: 0 };
    // What is pulled in a frame sounds after it, what is pushed in it was said before.
    let later = FRAME.as_secs_f64();
    let mut last = None;
    for heard in heard {
        match heard {
            Heard::Word { token, start, end } if token.language() == "es" => {
                let place = usize::from(token.n);
                match ear.words.get_mut(place) {
                    Some(slot @ None) if last < Some(place) => {
                        *slot = Some((start + later, end + later));
                        last = Some(place);
                    }
                    _ => ear.wrong += 1,
                }
            }
            _ => ear.wrong += 1,
        }
    }
    ear.wrong += ear.words.iter().filter(|w| w.is_none()).count();
    ear
}

/// From the last word's end of each turn to the beginning of its first translated word, in milliseconds.
fn after_turns(talk: &Talk, ear: &Ear) -> Vec<f64> {
    let each = |turn: usize| {
        let words = talk.turn(turn);
        let said = talk.words[words.end - 1].1 + codec::TOKEN_S;
        ear.words[words.start].map(|(start, _)| (start - said) * 1e3)
    };
    (0..talk.turns.len()).filter_map(each).collect()
}

/// From the first word's beginning to the beginning of its translation, in milliseconds.
fn first_words(talk: &Talk, ear: &Ear) -> Vec<f64> {
    let each = |turn: usize| {
        let first = talk.turn(turn).start;
        ear.words[first].map(|(start, _)| (start - talk.words[first].1) * 1e3)
    };
    (0..talk.turns.len()).filter_map(each).collect()
}

/// (said, lag) of every word heard in one turn: seconds from the turn's beginning, and seconds.
fn lags(talk: &Talk, ear: &Ear, turn: usize) -> Vec<(f64, f64)> {
    let words = talk.turn(turn);
    let began = talk.words[words.start].1;
    let lag = |place: usize| {
        let said = talk.words[place].1 + codec::TOKEN_S;
        ear.words[place].map(|(_, end)| (said - began, end - said))
    };
    words.filter_map(lag).collect()
}

pub fn run(quick: bool, report: &mut Report) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut chance = Chance::new(6);
    let (turns, monologues) = if quick { (4, 1) } else { (30, 4) };
    let mut drawn = |least: usize, most: usize| {
        least + (chance.below(Duration::from_millis((most + 1 - least) as u64)).as_micros() / 1000) as usize
    };
    let short = Talk::new((0..turns).map(|_| drawn(3, 8)), 7.0);
    let longer = Talk::new((0..turns).map(|_| drawn(9, 18)), 7.0);
    let long = Talk::new((0..monologues).map(|_| (30.0 / WORD_S) as usize), 38.0);
    let talks =
        [(Recogniser::Flux, &short), (Recogniser::V1, &long), (Recogniser::Flux, &long), (Recogniser::Flux, &longer)];

    let cloud = Cloud::start(SCENARIO);
    let gateway = Gateway::new(&cloud.config(&[("flux.eager_eot_threshold", "0.4")])).expect("gateway");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("runtime");
    let mut references = Vec::new();
    for (recogniser, _) in talks {
        for (_, kind) in WAYS {
            if let Kind::Reference(way) = kind {
                references.push(Reference::start(runtime.handle(), cloud.address, recogniser, way));
            }
        }
    }
    let mut legs = Vec::new();
    let mut next = references.iter();
    for (recogniser, _) in talks {
        for (_, kind) in WAYS {
            legs.push(match kind {
                Kind::Reference(_) => Leg::Reference(next.next().expect("a reference")),
                Kind::Mgw(options) => open(&gateway, &format!("room {}", legs.len()), recogniser, options),
            });
        }
    }
    let sounds = play(&gateway, &legs, &talks.map(|(_, talk)| talk));
    // While the ears are decoded nobody pushes, and the vendors complain.
    let violations = cloud.stats()["violations"].clone();
    let stats: Vec<Value> = legs.iter().map(speaker_stats).collect();
    let ears: Vec<Ear> = sounds.iter().enumerate().map(|(i, s)| listen(talks[i / WAYS.len()].1, s)).collect();
    tell(report, &talks, &ears, &stats, violations);
    drop(references);
    runtime.shutdown_background();
}

fn open(gateway: &Gateway, room: &str, recogniser: Recogniser, more: &[(&str, &str)]) -> Leg<'static> {
    let mut options = Config::new();
    for (key, value) in [("stt.provider", recogniser.provider())].iter().chain(more) {
        options.set(key, value).unwrap_or_else(|e| panic!("{e}"));
    }
    let join = |profile| gateway.open_session(profile, room, &options).expect("session");
    Leg::Mgw { speaker: join("7777"), listener: join("8888") }
}

fn speaker_stats(leg: &Leg) -> Value {
    match leg {
        Leg::Mgw { speaker, .. } => {
            session::stats(*speaker).ok().and_then(|s| serde_json::from_str(&s).ok()).unwrap_or_default()
        }
        Leg::Reference(_) => Value::Null,
    }
}

/// Everybody talks and listens; returns what each leg's ear was given.
fn play(gateway: &Gateway, legs: &[Leg<'_>], talks: &[&Talk; 4]) -> Vec<Vec<i16>> {
    /// Frames of silence before the talk, in which connections are made and noise floors learnt.
    const BEFORE: usize = 150;
    let voices = talks.map(|talk| talk.sound());
    let longest = talks.iter().map(|t| t.length).fold(0.0, f64::max);
    let frames = BEFORE + (longest / FRAME.as_secs_f64()) as usize + 250;
    let mut heard: Vec<Vec<i16>> = legs.iter().map(|_| Vec::new()).collect();
    let silence = [0i16; SAMPLES];
    let mut out = [0i16; SAMPLES];
    every_frame(&spread(legs.len()), frames, |slot, frame| {
        let voice = &voices[slot / WAYS.len()];
        let at = frame.checked_sub(BEFORE).map(|f| f * SAMPLES);
        let mut said = silence;
        if let Some(from) = at.filter(|from| *from < voice.len()) {
            let part = &voice[from..voice.len().min(from + SAMPLES)];
            said[..part.len()].copy_from_slice(part);
        }
        match &legs[slot] {
            Leg::Mgw { speaker, listener } => {
                push_frame(*speaker, &said);
                push_frame(*listener, &silence);
                pull_frame(*speaker, &mut out);
                pull_frame(*listener, &mut out);
            }
            Leg::Reference(reference) => {
                reference.push(&said);
                reference.pull(&mut out);
            }
        }
        if at.is_some() {
            heard[slot].extend_from_slice(&out);
        }
        if slot == 0 && frame % 50 == 0 {
            // The queue of events must not fill up.
            drop(events(gateway));
        }
    });
    heard
}

fn tell(report: &mut Report, talks: &[(Recogniser, &Talk); 4], ears: &[Ear], stats: &[Value], violations: Value) {
    let ear = |talk: usize, way: usize| &ears[talk * WAYS.len() + way];
    let median = |values: &[f64]| quantile(&mut values.to_vec(), 0.5);
    let p95 = |values: &[f64]| quantile(&mut values.to_vec(), 0.95);
    let afters = |talk: usize| -> Vec<Vec<f64>> {
        (0..WAYS.len()).map(|way| after_turns(talks[talk].1, ear(talk, way))).collect()
    };
    let (short, after) = (talks[SHORT].1, afters(SHORT));
    let mut rows = Vec::new();
    for (talk, turns) in [(SHORT, "3 to 8 words"), (LONGER, "9 to 18 words")] {
        let after = afters(talk);
        for (way, (name, _)) in WAYS.iter().enumerate() {
            rows.push(json!({
                "turns": turns, "way": name,
                "first word p50 ms": median(&after[way]).round(), "p95 ms": p95(&after[way]).round(),
                "of (a)": share(median(&after[way]), median(&after[WHOLE])),
                "of (b)": share(median(&after[way]), median(&after[FINALS])),
                "words wrong": ear(talk, way).wrong,
            }));
        }
    }
    report.details.insert("turns".into(), rows.into());
    let ratio = |way: usize, of: usize| median(&after[way]) / median(&after[of]).max(1.0);
    report.add(Figure::new("turn_first_word_p50_ms", median(&after[MGW]), "ms"));
    report.add(Figure::new("turn_first_word_of_a", ratio(MGW, WHOLE), "").at_most(0.4));
    report.add(Figure::new("turn_first_word_of_b", ratio(MGW, FINALS), "").at_most(0.9));
    report.add(Figure::new("turn_first_word_speech_ahead_of_b", ratio(AHEAD, FINALS), "").at_most(0.5));
    // Who waits for the last word, and knew it at its very end, would still wait for the stages.
    report.add(Figure::new("turn_first_word_floor_of_a", STAGES_MS / median(&after[WHOLE]).max(1.0), ""));
    report.add(Figure::new("turn_first_word_floor_of_b", STAGES_MS / median(&after[FINALS]).max(1.0), ""));
    report.add(Figure::new("turn_first_word_agreement_of_b", ratio(AGREED, FINALS), ""));
    let wrong = |way: usize| (0..talks.len()).map(|talk| ear(talk, way).wrong).sum::<usize>() as f64;
    report.add(Figure::new("agreement_words_wrong", wrong(AGREED), "words"));

    let mut rows = Vec::new();
    for (talk, limit) in [(1, 3500.0), (2, 2700.0)] {
        let (recogniser, said) = talks[talk];
        for (way, (name, _)) in WAYS.iter().enumerate() {
            let mut firsts = first_words(said, ear(talk, way));
            let mut all: Vec<f64> =
                (0..said.turns.len()).flat_map(|t| lags(said, ear(talk, way), t)).map(|(_, lag)| lag * 1e3).collect();
            rows.push(json!({
                "recogniser": recogniser.name(), "way": name,
                "listening starts ms": quantile(&mut firsts, 1.0).round(),
                "lag p50 ms": quantile(&mut all, 0.5).round(), "lag p99 ms": quantile(&mut all, 0.99).round(),
                "words wrong": ear(talk, way).wrong,
            }));
        }
        let latest = quantile(&mut first_words(said, ear(talk, MGW)), 1.0);
        // Somebody who hears nothing at all has not begun to listen.
        let latest = if ear(talk, MGW).words.iter().all(Option::is_none) { f64::INFINITY } else { latest };
        report.add(Figure::new(&format!("monologue_begins_{}_ms", recogniser.name()), latest, "ms").at_most(limit));
    }
    report.details.insert("monologues".into(), rows.into());
    report.add(Figure::new("interpreting_words_wrong", wrong(MGW) + wrong(AHEAD), "words").at_most(0.0));
    let ahead: Vec<Value> = [MGW, AHEAD].iter().map(|way| stats[*way]["speculation"]["hit_rate"].clone()).collect();
    report.note(&format!(
        "interpreting: {} turns of 3 to 8 and as many of 9 to 18 words with 7 s between them (Flux), {} monologues of 30 s (both recognisers); all \
         ways at the same time on one emulator; first words as medians, monologues by the slowest; work ahead was of use in \
         {} (translated) and {} (spoken) of the cases; violations of the vendors' rules: {violations}",
        short.turns.len(),
        talks[1].1.turns.len(),
        ahead[0],
        ahead[1],
    ));
    let bars: Vec<picture::Bar> = WAYS
        .iter()
        .zip(&after)
        .map(|((name, _), times)| picture::Bar { name, median: median(times), p95: p95(times) })
        .collect();
    report.pictures.insert("interpreting-turns.svg".into(), picture::turns(&bars));
    for talk in [1, 2] {
        let (recogniser, said) = talks[talk];
        let lines: Vec<(&str, Vec<(f64, f64)>)> =
            WAYS.iter().enumerate().map(|(way, (name, _))| (*name, lags(said, ear(talk, way), 0))).collect();
        let name = format!("interpreting-monologue-{}.svg", recogniser.name());
        report.pictures.insert(name, picture::monologue(recogniser.name(), &lines));
    }
}

fn share(part: f64, of: f64) -> f64 {
    (part / of.max(1.0) * 100.0).round() / 100.0
}
