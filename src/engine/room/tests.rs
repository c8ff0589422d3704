//! The engine in virtual time: a call is played as a script, hours take milliseconds.

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
    for (key, value) in more {
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
        let mut call = Call::new();
        call.join(A, config("en", &[("rate.in", "8000"), ("rate.out", "8000")]));
        call.join(B, config("es", &[("rate.in", "8000"), ("rate.out", "8000")]));
        call.run(ms(100));
        call
    }

    fn input(&mut self, input: Input<'_>) {
        self.room.handle(self.now, input);
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
                Output::Net(command) => self.net.push(command),
                Output::Event(event) => self.events.push((event.session, event.kind)),
                Output::Gone { session } => self.events.push((session, EventKind::Dtmf { digit: "gone".into() })),
            }
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

#[test]
fn a_session_alone_asks_nothing_of_the_network_and_hears_silence() {
    let mut call = Call::new();
    call.voice = 5000;
    call.join(A, config("en", &[]));
    call.run(ms(30_000));
    assert!(call.net.is_empty(), "{:?}", call.net);
    assert!(call.ears[&A].speech.iter().chain(&call.ears[&A].original).all(|s| *s == 0));
}

#[test]
fn a_session_alone_hears_the_cue_if_configured() {
    let mut call = Call::new();
    call.join(A, config("en", &[("alone.cue", "tone")]));
    call.run(ms(8000));
    let heard = &call.ears[&A].original;
    let loud = heard.iter().filter(|s| s.abs() > 300).count();
    assert!(loud > 2000, "two tones of 200 ms: {loud}");
    call.join(B, config("en", &[]));
    call.run(ms(100));
    let before = call.ears[&A].original.len();
    call.run(ms(8000));
    assert!(call.ears[&A].original[before..].iter().all(|s| *s == 0), "no cue in company");
}

#[test]
fn connections_are_opened_when_the_second_member_joins_and_closed_when_it_leaves() {
    let mut call = Call::pair();
    let names: Vec<&str> = call
        .net
        .iter()
        .filter_map(|c| match c {
            NetCommand::OpenStt { .. } => Some("stt"),
            NetCommand::OpenTts { .. } => Some("tts"),
            _ => None,
        })
        .collect();
    assert_eq!(names.iter().filter(|n| **n == "stt").count(), 2);
    assert_eq!(names.iter().filter(|n| **n == "tts").count(), 2);
    call.net.clear();
    call.input(Input::Leave { session: B, mode: LeaveMode::Now });
    call.run(ms(100));
    assert_eq!(call.net.iter().filter(|c| matches!(c, NetCommand::CloseStt { .. })).count(), 3, "{:?}", call.net);
    assert_eq!(call.net.iter().filter(|c| matches!(c, NetCommand::CloseTts { .. })).count(), 2);
    assert!(!call.net.iter().any(|c| matches!(c, NetCommand::Audio { at, .. } if *at > ms(120))));
}

#[test]
fn one_language_is_one_voice_bit_exact() {
    let mut call = Call::new();
    for id in [A, B] {
        call.join(id, config("en", &[("rate.in", "8000"), ("rate.out", "8000")]));
    }
    call.run(ms(40));
    call.pushers.clear();
    let said: Vec<i16> = (0..8000).map(|i| ((i * 7919) % 60_000 - 30_000) as i16).collect();
    for block in said.chunks(160) {
        call.input(Input::Said { session: A, samples: block });
        call.run(ms(20));
    }
    call.run(ms(100));
    assert!(call.net.is_empty(), "nothing to translate");
    let heard = &call.ears[&B].original;
    let at = heard.windows(160).position(|w| w == &said[..160]).expect("the first frame, bit for bit");
    assert_eq!(&heard[at..at + said.len()], &said[..]);
    assert!(call.ears[&A].original.iter().all(|s| *s == 0), "nobody hears themselves");
}

#[test]
fn segments_are_heard_once_in_order_whole_whatever_the_order_of_arrival() {
    let mut call = Call::pair();
    call.final_result(A, "one", 0, 20);
    call.final_result(A, "two", 30, 50);
    call.final_result(A, "three", 60, 80);
    for n in [3, 1, 2] {
        call.translate(n, spanish(), "x");
    }
    call.audio(2, spanish(), 222, 1000);
    call.end(2, spanish());
    call.audio(3, spanish(), 333, 500);
    call.run(ms(200));
    assert!(call.speech(B).is_empty(), "the first segment has no sound yet");
    call.audio(1, spanish(), 111, 700);
    call.end(1, spanish());
    call.end(3, spanish());
    call.run(ms(1000));
    let want: Vec<i16> = [vec![111; 700], vec![222; 1000], vec![333; 500]].concat();
    assert_eq!(call.speech(B), want);
    let done: Vec<u64> = call
        .events
        .iter()
        .filter_map(|(id, k)| match k {
            EventKind::SegmentDone { segment, complete: true, listener: 2, .. } if *id == A => Some(*segment),
            _ => None,
        })
        .collect();
    assert_eq!(done, [1, 2, 3]);
    assert!(call.lost().is_empty());
}

#[test]
fn a_repeated_result_is_not_spoken_again() {
    let mut call = Call::pair();
    call.final_result(A, "hello there", 0, 80);
    call.final_result(A, "hello there", 0, 80);
    assert_eq!(call.translations(), 1);
}

#[test]
fn first_audio_is_forwarded_before_the_segment_is_complete() {
    let mut call = Call::pair();
    call.final_result(A, "hello", 0, 80);
    call.translate(1, spanish(), "hola");
    call.audio(1, spanish(), 9, 2000);
    // Not even a tick is needed.
    assert_eq!(call.ears[&B].speech_ring.len(), 960, "the lead of 120 ms");
}

#[test]
fn bursts_are_held_and_what_is_beyond_the_limit_is_reported() {
    let mut call = Call::new();
    call.join(A, config("en", &[("rate.in", "8000")]));
    call.join(B, config("es", &[("rate.out", "8000"), ("playout.max_s", "5")]));
    call.run(ms(100));
    for n in 1..=9 {
        call.final_result(A, "word", n * 100, n * 100 + 50);
        call.translate(n, spanish(), "palabra");
        // 1 s each, all at once.
        call.audio(n, spanish(), n as i16 * 100, 8000);
        call.end(n, spanish());
    }
    call.run(ms(12_000));
    let heard = call.speech(B);
    let lost = call.lost();
    assert!(!lost.is_empty() && lost.iter().all(|s| *s == "playout"), "{lost:?}");
    assert_eq!(heard.len(), (9 - lost.len()) * 8000, "heard whole or not at all");
    assert!(heard.is_sorted(), "in order");
    assert_eq!(heard[0], 100, "what sounds is never cut");
}

#[test]
fn silence_is_put_on_the_time_line_of_one_who_does_not_push() {
    let mut call = Call::pair();
    call.pushers.clear();
    call.net.clear();
    call.run(ms(30_000));
    let sent: usize = call
        .net
        .iter()
        .filter_map(|c| match c {
            NetCommand::Audio { session: A, samples, .. } => Some(samples.len()),
            _ => None,
        })
        .sum();
    assert!((236_000..=240_800).contains(&sent), "30 s at 8 kHz: {sent}");
    let at = call.net.iter().rev().find_map(|c| match c {
        NetCommand::Audio { session: A, at, .. } => Some(*at),
        _ => None,
    });
    let behind = call.now - at.unwrap();
    assert!(behind < ms(150), "the time line is {behind:?} behind");
}

#[test]
fn a_late_burst_is_kept_and_pauses_give_the_time_back() {
    let mut call = Call::pair();
    call.pushers.remove(&A);
    call.run(ms(300));
    // 300 ms come at once: 240 ms of silence were put in for them.
    for _ in 0..15 {
        call.input(Input::Said { session: A, samples: &[7000; 160] });
    }
    call.voice = 0;
    call.pushers.insert(A, 160);
    call.run(ms(2000));
    let sent: Vec<i16> = call
        .net
        .iter()
        .filter_map(|c| match c {
            NetCommand::Audio { session: A, samples, .. } => Some(samples.clone()),
            _ => None,
        })
        .flatten()
        .collect();
    assert_eq!(sent.iter().filter(|s| **s == 7000).count(), 15 * 160, "nothing of the burst is lost");
    let length = ms(sent.len() as u64 / 8);
    assert!(length.abs_diff(call.now) < ms(70), "time line {length:?}, real {:?}", call.now);
}

#[test]
fn an_absent_listener_costs_nothing_misses_what_is_said_and_comes_back_to_the_live_edge() {
    let mut call = Call::pair();
    call.segment(1, 100, 80_000);
    call.run(ms(1000));
    call.ears.get_mut(&B).unwrap().awake = false;
    call.run(ms(600));
    assert_eq!(call.kinds(|k| matches!(k, EventKind::ListenerAbsent { .. })), 1);
    assert_eq!(call.lost(), ["playout"], "the segment that sounded");
    let asked = call.translations();
    call.final_result(A, "missed words", 1500, 1600);
    assert_eq!(call.translations(), asked, "nothing is translated for nobody");
    assert_eq!(call.lost().len(), 2);
    call.run(ms(10_000));
    call.ears.get_mut(&B).unwrap().awake = true;
    call.run(ms(100));
    let back = call.events.iter().find_map(|(_, k)| match k {
        EventKind::ListenerBack { missed, .. } => Some(*missed),
        _ => None,
    });
    assert_eq!(back, Some(2));
    let before = call.ears[&B].speech.len();
    call.segment(3, 300, 800);
    call.run(ms(500));
    let heard: Vec<i16> = call.ears[&B].speech[before..].iter().copied().filter(|s| *s != 0).collect();
    assert_eq!(heard, vec![300; 800], "only what was said since");
}

#[test]
fn a_leavers_last_words_are_heard_before_it_is_gone() {
    let mut call = Call::pair();
    call.pushers.remove(&A);
    call.ears.get_mut(&A).unwrap().awake = false;
    call.input(Input::Leave { session: A, mode: LeaveMode::Drain });
    call.run(ms(300));
    call.final_result(A, "good bye", 20, 80);
    call.input(Input::Stt { session: A, event: SttEvent::Closed });
    call.translate(1, spanish(), "adiós");
    call.audio(1, spanish(), 44, 1600);
    call.end(1, spanish());
    call.run(ms(1000));
    assert_eq!(call.speech(B), vec![44; 1600]);
    let gone = call.events.iter().position(|(id, k)| *id == A && *k == EventKind::Dtmf { digit: "gone".into() });
    let closed =
        call.events.iter().position(|(id, k)| *id == A && matches!(k, EventKind::Closed { segments: 1, lost: 0 }));
    assert!(closed.is_some() && gone > closed, "{:?}", call.events);
}

#[test]
fn a_leaver_whose_recogniser_never_answers_is_gone_all_the_same() {
    let mut call = Call::pair();
    call.pushers.remove(&A);
    call.input(Input::Leave { session: A, mode: LeaveMode::Drain });
    call.run(ms(21_000));
    assert_eq!(call.kinds(|k| matches!(k, EventKind::Closed { .. })), 1);
}

/// (what goes wrong, the stage that the loss is reported for)
#[test]
fn every_failure_is_reported_and_the_next_segment_is_heard() {
    type Fault = fn(&mut Call);
    let rows: &[(&str, Fault, &str)] = &[
        (
            "translation refused",
            |c| c.input(Input::Translated { segment: SegmentId(1), target: spanish(), result: Err(out_of_service()) }),
            "mt",
        ),
        ("translation empty", |c| c.translate(1, spanish(), "  "), "mt"),
        ("translation never comes", |c| c.run(ms(9000)), "mt"),
        (
            "no sound at all",
            |c| {
                c.translate(1, spanish(), "x");
                c.end(1, spanish());
            },
            "tts",
        ),
        (
            "synthesis refused",
            |c| {
                c.translate(1, spanish(), "x");
                let chunk = SpeechChunk::Failed(out_of_service());
                c.input(Input::Speech { segment: SegmentId(1), target: spanish(), chunk });
            },
            "tts",
        ),
        (
            "synthesis never comes",
            |c| {
                c.translate(1, spanish(), "x");
                c.run(ms(9000));
            },
            "tts",
        ),
        (
            "synthesis stops in the middle",
            |c| {
                c.translate(1, spanish(), "x");
                c.audio(1, spanish(), 1, 800);
                c.run(ms(6000));
            },
            "tts",
        ),
    ];
    for (name, fault, stage) in rows {
        let mut call = Call::pair();
        call.final_result(A, "first words", 0, 80);
        fault(&mut call);
        call.run(ms(300));
        assert_eq!(call.lost(), [*stage], "{name}");
        let before = call.speech(B).len();
        call.segment(2, 500, 800);
        call.run(ms(500));
        assert_eq!(call.speech(B)[before..], vec![500; 800], "{name}: the next is heard");
    }
}

#[test]
fn synthesis_that_failed_before_any_sound_is_asked_for_once_more() {
    let mut call = Call::pair();
    call.final_result(A, "hello", 0, 80);
    call.translate(1, spanish(), "hola");
    let error = StageError { class: ErrorClass::RetryNow, ..out_of_service() };
    let failed =
        || Input::Speech { segment: SegmentId(1), target: spanish(), chunk: SpeechChunk::Failed(error.clone()) };
    call.input(failed());
    let asked = call.net.iter().filter(|c| matches!(c, NetCommand::Speak(_))).count();
    assert_eq!((asked, call.lost().len()), (2, 0));
    call.input(failed());
    assert_eq!(call.lost(), ["tts"]);
}

#[test]
fn while_a_provider_is_down_the_original_voice_passes_and_translation_returns() {
    let mut call = Call::pair();
    call.voice = 6000;
    let down = LinkState::Down { error: out_of_service(), retry_in: None };
    call.run(ms(200));
    assert!(call.ears[&B].original.iter().all(|s| *s == 0), "translated: no original by default");
    call.input(Input::Link { session: A, stage: Stage::Stt, state: down });
    call.run(ms(400));
    assert_eq!(*call.ears[&B].original.last().unwrap(), 6000, "B hears A");
    assert_eq!(*call.ears[&A].original.last().unwrap(), 0, "B's own translation works: A hears no original");
    call.input(Input::Link { session: A, stage: Stage::Stt, state: LinkState::Ready });
    call.run(ms(400));
    assert_eq!(*call.ears[&B].original.last().unwrap(), 0);
    let flips: Vec<bool> = call
        .events
        .iter()
        .filter_map(|(_, k)| match k {
            EventKind::FailOpen { active, .. } => Some(*active),
            _ => None,
        })
        .collect();
    assert_eq!(flips, [true, false]);
}

#[test]
fn a_flush_silences_at_once_and_says_what_was_not_heard() {
    let mut call = Call::pair();
    call.segment(1, 100, 8000);
    call.run(ms(100));
    call.segment(2, 200, 8000);
    call.run(ms(100));
    call.input(Input::Command { session: B, verb: Verb::Flush });
    call.run(ms(1500));
    let heard = call.speech(B);
    assert!(heard.len() < 2000 && heard.iter().all(|s| *s == 100), "{}", heard.len());
    assert_eq!(call.lost(), ["playout", "playout"]);
    assert_eq!(call.kinds(|k| matches!(k, EventKind::SegmentDone { complete: false, .. })), 1);
}

#[test]
fn a_muted_speaker_sends_silence_and_keeps_its_time() {
    let mut call = Call::pair();
    call.voice = 3000;
    call.input(Input::Command { session: A, verb: Verb::Mute });
    call.net.clear();
    call.run(ms(1000));
    let sent: Vec<i16> = call
        .net
        .iter()
        .filter_map(|c| match c {
            NetCommand::Audio { session: A, samples, .. } => Some(samples.clone()),
            _ => None,
        })
        .flatten()
        .collect();
    assert_eq!(sent.len(), 8000);
    assert!(sent.iter().all(|s| *s == 0));
}

#[test]
fn an_announcement_is_heard_by_one_ear_in_order_with_the_rest() {
    let mut call = Call::pair();
    call.segment(1, 100, 800);
    call.input(Input::Say { session: B, text: "Grabamos.".into(), language: spanish() });
    call.audio(2, spanish(), 200, 800);
    call.end(2, spanish());
    call.run(ms(500));
    assert_eq!(call.speech(B), [vec![100; 800], vec![200; 800]].concat());
    assert!(call.speech(A).is_empty());
    assert_eq!(call.kinds(|k| matches!(k, EventKind::SaidDone { complete: true, .. })), 1);
    // In another language it is translated first.
    call.input(Input::Say { session: B, text: "We record.".into(), language: english() });
    assert!(matches!(call.net.last(), Some(NetCommand::Translate(j)) if j.text == "We record."));
}

#[test]
fn one_translation_and_one_synthesis_serve_all_who_hear_a_language() {
    let mut call = Call::pair();
    call.join(C, config("es-419", &[("rate.out", "16000")]));
    call.final_result(A, "hello all", 0, 80);
    assert_eq!(call.translations(), 2, "es and es-419 are two");
    let mut call = Call::pair();
    call.join(C, config("es", &[("rate.out", "16000")]));
    call.run(ms(40));
    call.final_result(A, "hello all", 0, 80);
    assert_eq!(call.translations(), 1);
    call.translate(1, spanish(), "hola");
    call.audio(1, spanish(), 50, 8000);
    call.end(1, spanish());
    call.run(ms(2000));
    assert_eq!(call.speech(B).len(), 8000);
    let c = call.speech(C).len();
    assert!((15_900..=16_100).contains(&c), "the same second at 16 kHz: {c}");
    assert_eq!(call.kinds(|k| matches!(k, EventKind::SegmentDone { complete: true, .. })), 2);
}

#[test]
fn a_rate_change_inside_a_segment_loses_nothing() {
    for (from, to) in [("8000", 16_000u32), ("48000", 8000), ("16000", 44_100)] {
        let mut call = Call::new();
        call.join(A, config("en", &[]));
        call.join(B, config("es", &[("rate.out", from), ("tts.sample_rate", "0")]));
        call.run(ms(100));
        call.final_result(A, "hello", 0, 80);
        call.translate(1, spanish(), "hola");
        let rate = if from == "8000" {
            8000
        } else if from == "16000" {
            16_000
        } else {
            24_000
        };
        call.audio(1, spanish(), 1000, rate);
        call.end(1, spanish());
        call.run(ms(300));
        let heard_before = call.speech(B).len() as f64 / from.parse::<f64>().unwrap();
        let at = call.ears[&B].speech.len();
        call.input(Input::OutRate { session: B, hz: to });
        call.run(ms(2000));
        let after = call.ears[&B].speech[at..].iter().filter(|s| **s != 0).count();
        let heard = heard_before + after as f64 / f64::from(to);
        assert!((heard - 1.0).abs() < 0.012, "{from} -> {to}: {heard:.3} s of 1 s");
        assert_eq!(call.kinds(|k| matches!(k, EventKind::SegmentDone { complete: true, .. })), 1);
    }
}

#[test]
fn uneven_pulls_get_a_longer_lead_instead_of_gaps() {
    let mut call = Call::pair();
    // B pulls 100 ms at once every 100 ms.
    let awake = |call: &mut Call, on| call.ears.get_mut(&B).unwrap().awake = on;
    awake(&mut call, false);
    let burst = |call: &mut Call| {
        call.run(ms(100));
        for _ in 0..5 {
            call.ears.get_mut(&B).unwrap().pull();
        }
    };
    for _ in 0..3 {
        burst(&mut call);
    }
    call.segment(1, 100, 8000);
    for _ in 0..20 {
        burst(&mut call);
    }
    let speech = &call.ears[&B].speech;
    let first = speech.iter().position(|s| *s != 0).unwrap();
    let last = speech.iter().rposition(|s| *s != 0).unwrap();
    assert_eq!(last - first + 1, 8000, "no gap inside the segment");
}

#[test]
fn after_speech_ran_dry_the_next_segments_wait_for_a_little_more() {
    let mut call = Call::pair();
    call.final_result(A, "slow words", 0, 80);
    call.translate(1, spanish(), "x");
    // 40 ms of sound every 100 ms: it runs dry again and again.
    for _ in 0..10 {
        call.audio(1, spanish(), 100, 320);
        call.run(ms(100));
    }
    call.end(1, spanish());
    call.run(ms(1000));
    let speech = &call.ears[&B].speech;
    let starts = speech.windows(2).filter(|w| w[0] == 0 && w[1] != 0).count();
    assert!((2..=5).contains(&starts), "waiting for more makes fewer gaps than the ten of the synthesiser: {starts}");
    assert_eq!(call.speech(B).len(), 3200, "nothing is lost by it");
    call.run(ms(100));
    let now = call.now.as_millis() as u64;
    call.final_result(A, "more words", now - 80, now);
    call.translate(2, spanish(), "y");
    call.audio(2, spanish(), 200, 320);
    call.run(ms(60));
    assert!(!call.speech(B).contains(&200), "it does not begin with 40 ms in hand");
    call.audio(2, spanish(), 200, 3200);
    call.run(ms(60));
    assert!(call.speech(B).contains(&200));
}

#[test]
fn flushes_without_a_pull_leave_no_phantom_in_the_ring() {
    let mut call = Call::new();
    call.join(A, config("en", &[]));
    call.join(B, config("es", &[("rate.out", "48000"), ("absent_after_ms", "10000")]));
    call.run(ms(100));
    call.ears.get_mut(&B).unwrap().awake = false;
    for n in 1..=8 {
        call.input(Input::Say { session: B, text: "Espere.".into(), language: spanish() });
        call.audio(n, spanish(), 50, 24_000);
        call.end(n, spanish());
        call.run(ms(20));
        call.input(Input::Command { session: B, verb: Verb::Flush });
    }
    call.input(Input::Say { session: B, text: "Hola.".into(), language: spanish() });
    call.audio(9, spanish(), 900, 24_000);
    call.end(9, spanish());
    call.ears.get_mut(&B).unwrap().awake = true;
    call.run(ms(2000));
    let heard = call.speech(B);
    assert!((47_900..=48_100).contains(&heard.len()), "the last one whole and nothing of the others: {}", heard.len());
    assert_eq!(call.kinds(|k| matches!(k, EventKind::SaidDone { complete: true, .. })), 1);
}

#[test]
fn a_speaker_that_leaves_at_once_holds_up_nobody_and_closed_is_its_last_event() {
    let mut call = Call::pair();
    call.final_result(A, "half a sentence", 0, 80);
    call.translate(1, spanish(), "media frase");
    call.audio(1, spanish(), 70, 800);
    call.pushers.remove(&A);
    call.ears.get_mut(&A).unwrap().awake = false;
    call.input(Input::Leave { session: A, mode: LeaveMode::Now });
    call.input(Input::Say { session: B, text: "Colgó.".into(), language: spanish() });
    call.audio(2, spanish(), 90, 800);
    call.end(2, spanish());
    call.run(ms(500));
    assert_eq!(call.speech(B), [vec![70; 800], vec![90; 800]].concat(), "what had come, then the announcement");
    let last = call.events.iter().rev().find(|(id, k)| *id == A && !matches!(k, EventKind::Dtmf { .. }));
    assert!(matches!(last, Some((_, EventKind::Closed { lost: 1, .. }))), "{last:?}");
}

#[test]
fn an_absent_listener_does_not_fill_the_events_of_those_who_speak() {
    let mut call = Call::new();
    for id in [A, B] {
        call.join(id, config("en", &[("rate.in", "8000"), ("rate.out", "8000")]));
    }
    call.voice = 5000;
    call.ears.get_mut(&B).unwrap().awake = false;
    call.run(ms(5000));
    call.ears.get_mut(&B).unwrap().awake = true;
    call.voice = 200;
    call.run(ms(400));
    assert!(call.ears[&B].original.iter().skip(1600).all(|s| s.abs() <= 200), "B comes back to the live edge");
    assert!(call.kinds(|k| matches!(k, EventKind::AudioDropped { .. })) <= 4);
}

#[test]
fn an_ear_that_has_too_much_waiting_costs_no_other_ear_anything() {
    let mut call = Call::new();
    call.join(A, config("en", &[]));
    call.join(B, config("es", &[("rate.out", "8000"), ("playout.max_s", "5")]));
    call.join(C, config("es", &[("rate.out", "8000"), ("playout.max_s", "5")]));
    call.run(ms(100));
    call.input(Input::Say { session: B, text: "Largo.".into(), language: spanish() });
    call.audio(1, spanish(), 50, 4 * 8000);
    call.end(1, spanish());
    call.run(ms(100));
    call.segment(2, 700, 3 * 8000);
    call.run(ms(5000));
    assert_eq!(call.speech(C), vec![700; 3 * 8000]);
    assert_eq!(call.speech(B), vec![50; 4 * 8000], "what sounds is not cut either");
    assert_eq!(call.lost(), ["playout"]);
}

#[test]
fn a_one_hop_provider_makes_ordinary_segments() {
    let mut call = Call::pair();
    let say = |event| Input::Direct { session: A, target: spanish(), event };
    let transcript = Transcript { text: "hello".into(), words: vec![], start: ms(0), end: ms(80), language: None };
    call.input(say(DirectEvent::Begin(transcript)));
    call.input(say(DirectEvent::Text("hola".into())));
    call.input(say(DirectEvent::Speech(SpeechChunk::Audio(vec![70; 900]))));
    call.input(say(DirectEvent::Speech(SpeechChunk::End)));
    call.run(ms(500));
    assert_eq!(call.translations(), 0);
    assert_eq!(call.speech(B), vec![70; 900]);
    assert_eq!(call.kinds(|k| matches!(k, EventKind::SegmentDone { text, complete: true, .. } if text == "hola")), 1);
}

#[test]
fn an_hour_of_drift_keeps_the_original_voice_close_and_whole() {
    // The pusher runs 100 ppm fast, the puller 100 ppm slow: 0.72 s an hour must vanish in pauses.
    let mut call = Call::new();
    for id in [A, B] {
        call.join(id, config("en", &[("rate.in", "8000"), ("rate.out", "8000")]));
    }
    call.pushers.clear();
    call.ears.get_mut(&A).unwrap().awake = false;
    call.ears.get_mut(&B).unwrap().awake = false;
    let (mut pushed, mut pulled) = (0.0, 0.0);
    let mut said = 0u64;
    while call.now < Duration::from_secs(3600) {
        call.now += TICK;
        let t = call.now.as_secs_f64();
        while pushed + 0.02 <= t * 1.0001 {
            pushed += 0.02;
            // 2 s of speech, 1 s of pause.
            let voice = if pushed % 3.0 < 2.0 { 4000 } else { 0 };
            said += if voice != 0 { 160 } else { 0 };
            call.input(Input::Said { session: A, samples: &[voice; 160] });
        }
        while pulled + 0.02 <= t * 0.9999 {
            pulled += 0.02;
            call.ears.get_mut(&B).unwrap().pull();
        }
        let totals = call.ears[&B].totals;
        call.input(Input::Pulled { session: B, totals });
        call.input(Input::Tick);
    }
    let heard = call.ears[&B].original.iter().filter(|s| **s != 0).count() as u64;
    assert!(said - heard < 1600, "said {said}, heard {heard}: speech must not be cut");
    let waiting = call.ears[&B].original_ring.len();
    assert!(waiting <= 1600, "{waiting} samples of delay");
    assert_eq!(call.kinds(|k| matches!(k, EventKind::AudioDropped { .. })), 0);
}
