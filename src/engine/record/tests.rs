use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::reader::{Line, Reader, What};
use super::replay::{Replay, Stop};
use super::writer::Writer;
use super::{FORMAT, Header, Over, pcm};
use crate::config::{Config, Language, SessionConfig};
use crate::engine::room::Room;
use crate::engine::{Input, LeaveMode, NetCommand, Output, PullTotals, Ring, SegmentId, SessionId, TranslateJob, Verb};
use crate::provider::{DirectEvent, ErrorClass, LinkState, SpeechChunk, Stage, StageError, SttEvent, Transcript, Word};

const A: SessionId = SessionId(4_294_967_297);
const B: SessionId = SessionId(4_294_967_298);

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn language(code: &str) -> Language {
    Language::parse(code).unwrap()
}

fn config(language: &str) -> Arc<SessionConfig> {
    let mut config = Config::new();
    for (key, value) in
        [("profile.p.language", language), ("rate.in", "8000"), ("rate.out", "8000"), ("deepl.api_key", "hunter2")]
    {
        config.set(key, value).unwrap();
    }
    Arc::new(config.session("p", &Config::new(), &|_| Some("hunter2".into())).unwrap())
}

fn header() -> Header {
    Header {
        mgw_flight_record: FORMAT,
        version: "0.1.0".into(),
        room: "sales \"east\"".into(),
        first_segment: 1,
        part: 1,
        started: "20260131T120000Z".into(),
    }
}

fn transcript(text: &str, start: Duration) -> Transcript {
    let word = |(i, text): (usize, &str)| Word {
        text: text.into(),
        start: start + ms(200 * i as u64),
        end: start + ms(200 * i as u64 + 150),
        confidence: 0.1 + i as f32 / 7.0,
    };
    let words: Vec<Word> = text.split(' ').enumerate().map(word).collect();
    let end = words.last().map_or(start, |w| w.end);
    Transcript { text: text.into(), words, start, end, language: Some("en".into()) }
}

/// A room that is recorded as the recorder does it, with vendors that answer at once and ears that pull 20 ms at a time.
struct Call {
    room: Room,
    writer: Writer,
    now: Duration,
    rings: BTreeMap<SessionId, (usize, PullTotals)>,
    jobs: Vec<TranslateJob>,
}

impl Call {
    fn new() -> Call {
        let mut call = Call {
            room: Room::new(1),
            writer: Writer::new(&header()),
            now: ms(5000),
            rings: BTreeMap::new(),
            jobs: Vec::new(),
        };
        for (session, language) in [(A, "en"), (B, "es")] {
            call.rings.insert(session, Default::default());
            call.input(Input::Join { session, config: config(language) });
            for stage in [Stage::Stt, Stage::Tts] {
                call.input(Input::Link { session, stage, provider: "deepgram", state: LinkState::Ready });
            }
        }
        call
    }

    fn note(&mut self, input: Input<'_>) {
        self.writer.input(self.now, &input);
        self.room.handle(self.now, input);
    }

    fn poll(&mut self) {
        loop {
            let output = self.room.poll();
            self.writer.polled(output.as_ref());
            match output {
                Some(Output::Play { session, ring: Ring::Speech, samples }) => {
                    self.rings.get_mut(&session).unwrap().0 += samples.len();
                }
                Some(Output::Net(NetCommand::Translate(job))) => self.jobs.push(job),
                Some(_) => {}
                None => return,
            }
        }
    }

    fn input(&mut self, input: Input<'_>) {
        self.note(input);
        self.poll();
    }

    fn run(&mut self, length: Duration) {
        let until = self.now + length;
        while self.now < until {
            self.now += ms(20);
            let t = self.now.as_millis() as usize;
            for session in [A, B] {
                let voice: Vec<i16> = (0..160).map(|i| ((t + i) * 37 % 6000) as i16 - 3000).collect();
                // Several inputs before the outputs are taken, as a media thread does it.
                self.note(Input::Said { session, samples: if t % 1000 < 700 { &voice } else { &[0; 160] } });
                let (ring, totals) = self.rings.get_mut(&session).unwrap();
                let n = (*ring).min(160);
                *ring -= n;
                totals.asked += 160;
                totals.speech += n as u64;
                let totals = *totals;
                self.note(Input::Pulled { session, totals });
                self.poll();
            }
            for job in std::mem::take(&mut self.jobs) {
                let (segment, target) = (job.segment, job.target);
                self.input(Input::Translated { segment, target, result: Ok(format!("<{}>", job.text)) });
                let voice = (0..4000).map(|i| (i % 90 * 50) as i16).collect();
                for chunk in [SpeechChunk::Reached(0), SpeechChunk::Audio(voice), SpeechChunk::End] {
                    self.input(Input::Speech { segment, target, chunk });
                }
            }
            self.input(Input::Tick);
        }
    }

    fn text(mut self, over: Over) -> String {
        self.writer.over(over);
        String::from_utf8(self.writer.take()).unwrap()
    }
}

/// Four seconds with what happens in a call.
fn call() -> Call {
    let mut call = Call::new();
    call.run(ms(600));
    let event = SttEvent::Interim(transcript("good morning", ms(100)));
    call.input(Input::Stt { session: A, event });
    call.run(ms(400));
    let transcript = transcript("Good morning \"Benito\"\nñ.", ms(100));
    call.input(Input::Stt { session: A, event: SttEvent::Final { transcript, speech_final: true } });
    call.run(ms(900));
    call.input(Input::Say { session: B, text: "Espere.".into(), language: language("es") });
    call.input(Input::Command { session: B, verb: Verb::Flush });
    call.input(Input::Dtmf { session: A, digit: '#' });
    call.run(ms(900));
    let error =
        StageError { class: ErrorClass::ProviderOut, code: "456".into(), message: "quota".into(), request_id: None };
    let state = LinkState::Down { error, retry_in: Some(ms(250)) };
    call.input(Input::Link { session: A, stage: Stage::Mt, provider: "deepl", state });
    call.run(ms(600));
    call.input(Input::Leave { session: A, mode: LeaveMode::Now });
    call.run(ms(400));
    call.writer.end(call.now);
    call.room.end(call.now);
    call.poll();
    call
}

/// Runs a record to its end, or to where it stops.
fn replay(text: &str) -> Result<Replay, Stop> {
    let mut lines = text.lines();
    let (mut replay, _) = Replay::begin(lines.next().unwrap_or_default())?;
    for line in lines {
        replay.line(line, &mut |_, _| {})?;
    }
    replay.finish()?;
    Ok(replay)
}

#[test]
fn a_recorded_call_gives_the_same_outputs_bit_for_bit_and_holds_no_secret() {
    let text = call().text(Over::Ended);
    assert!(!text.contains("hunter2"));
    let replay = replay(&text).unwrap_or_else(|stop| panic!("{stop:?}"));
    assert_eq!(replay.over(), Some(Over::Ended));
    assert!(replay.inputs() > 800 && replay.outputs() > 300, "{} {}", replay.inputs(), replay.outputs());
    assert_eq!(replay.number(), text.lines().count() as u64);
}

#[test]
fn a_change_of_one_sample_one_word_or_one_millisecond_is_found_in_its_line() {
    let text = call().text(Over::Ended);
    let lines: Vec<&str> = text.lines().collect();
    let changed = |find: &dyn Fn(&str) -> bool, from: &str, to: &str| {
        let at = lines.iter().position(|line| find(line)).expect("such a line");
        let mut lines: Vec<String> = lines.iter().map(|&line| line.to_owned()).collect();
        assert!(lines[at].contains(from), "{from}");
        lines[at] = lines[at].replacen(from, to, 1);
        match replay(&lines.join("\n")) {
            Err(Stop::Difference(difference)) => {
                let line = at as u64 + 1;
                // What an input changes may be heard a little later.
                assert!((line..line + 60).contains(&difference.line), "changed {line}, {difference}");
                assert!(difference.since <= difference.line);
            }
            other => panic!("{from}: {:?}", other.map(|r| r.outputs())),
        }
    };
    // Three of them, base64.
    let voice = lines.iter().find(|l| l.contains("\"said\"") && !l.contains('*')).expect("a voice");
    let begin = voice.find("\"pcm\":\"").expect("audio") + 7;
    let samples = &voice[begin..begin + 4];
    changed(&|l| l == *voice, samples, if samples == "AAAA" { "BAAA" } else { "AAAA" });
    changed(&|l| l.contains("speech_final"), "ñ.", "ñ!");
    changed(&|l| l.contains("\"translated\""), "<Good", "<Hood");
    changed(&|l| l.contains("\"dtmf\""), "#", "*");
    changed(&|l| l.contains("speech_final"), "{\"at\":", "{\"at\":1");
}

#[test]
fn every_kind_of_input_comes_back_as_it_was() {
    let t = || transcript("a b", ms(7));
    let error = || StageError {
        class: ErrorClass::RetryLater(Some(ms(1))),
        code: "1011 NET-0001".into(),
        message: "x".into(),
        request_id: Some("r".into()),
    };
    let stt = |event| Input::Stt { session: A, event };
    let direct = |event| Input::Direct { session: A, target: language("es-419"), event };
    let link = |state| Input::Link { session: A, stage: Stage::Tts, provider: "elevenlabs_http", state };
    let speech = |chunk| Input::Speech { segment: SegmentId(3), target: language("zh-TW"), chunk };
    let translated = |result| Input::Translated { segment: SegmentId(3), target: language("de"), result };
    let (start, end) = (ms(1), Duration::from_nanos(1_234_567_891));
    let inputs = vec![
        Input::Join { session: A, config: config("en") },
        Input::Set { session: A, config: config("es") },
        Input::Leave { session: A, mode: LeaveMode::Drain },
        Input::Said { session: A, samples: &[i16::MIN, -1, 0, i16::MAX] },
        Input::Said { session: A, samples: &[-7; 160] },
        Input::Said { session: A, samples: &[] },
        Input::Gap { session: A, count: 9, dropped: true },
        Input::InRate { session: A, hz: 44_100 },
        Input::OutRate { session: A, hz: 192_000 },
        Input::Pulled { session: A, totals: PullTotals { asked: u64::MAX, speech: 2, original: 3 } },
        stt(SttEvent::SpeechStarted { at: end }),
        stt(SttEvent::Interim(t())),
        stt(SttEvent::Final { transcript: t(), speech_final: false }),
        stt(SttEvent::EagerEnd(t())),
        stt(SttEvent::Resumed(t())),
        stt(SttEvent::Recovered(t())),
        stt(SttEvent::UtteranceEnd { last_word_end: end }),
        stt(SttEvent::Replaying { start, end }),
        stt(SttEvent::Replayed { start, end }),
        stt(SttEvent::Closed),
        stt(SttEvent::Lost { start, end }),
        translated(Ok("ñ \u{1F600} \"\\\n\u{0}".into())),
        translated(Err(error())),
        speech(SpeechChunk::Audio(vec![1, -2, 3])),
        speech(SpeechChunk::Audio(Vec::new())),
        speech(SpeechChunk::Reached(5)),
        speech(SpeechChunk::End),
        speech(SpeechChunk::Failed(error())),
        direct(DirectEvent::Begin(t())),
        direct(DirectEvent::Text("x".into())),
        direct(DirectEvent::Speech(SpeechChunk::End)),
        link(LinkState::Connecting),
        link(LinkState::Ready),
        link(LinkState::Waiting),
        link(LinkState::Odd(error())),
        link(LinkState::Down { error: error(), retry_in: None }),
        Input::Say { session: A, text: "x".into(), language: language("en") },
        Input::Command { session: A, verb: Verb::Finalize },
        Input::Dtmf { session: A, digit: '#' },
        Input::Tick,
    ];
    let mut writer = Writer::new(&header());
    inputs.iter().for_each(|input| writer.input(end, input));
    writer.rejoin(ms(1), A, &config("en"), 8000, 16_000);
    writer.over(Over::Failed);
    let text = String::from_utf8(writer.take()).unwrap();
    let mut lines = text.lines();
    let (mut reader, read) = Reader::begin(lines.next().unwrap()).unwrap();
    assert_eq!(read, header());
    for input in &inputs {
        let Ok(Line::Entry(entry)) = reader.line(lines.next().unwrap()) else { panic!("{input:?}") };
        assert_eq!(format!("{:?}", entry.what.input()), format!("{:?}", Some(input)));
        assert_eq!((entry.at, entry.out), (end, None));
    }
    let Ok(Line::Entry(entry)) = reader.line(lines.next().unwrap()) else { panic!("rejoin") };
    assert!(matches!(entry.what, What::Rejoin { session: A, in_hz: 8000, out_hz: 16_000, .. }));
    assert!(matches!(reader.line(lines.next().unwrap()), Ok(Line::Over(Over::Failed))));
    assert_eq!(reader.line("{}").unwrap_err().line, inputs.len() as u64 + 4, "behind the last line");
}

#[test]
fn what_cannot_be_read_is_told_with_its_line_and_without_quoting_it() {
    for (text, why) in [
        ("", "not a flight record"),
        ("RIFF", "not a flight record"),
        ("{\"a\":1}", "not a flight record"),
        ("{\"mgw_flight_record\":2,\"hunter2\":1}", "format 2; this version of mgw (0.1.0) reads format 1"),
        ("{\"mgw_flight_record\":1,\"version\":\"hunter2\"}", "header: missing field `room`"),
    ] {
        let damage = Reader::begin(text).expect_err(text);
        assert!(damage.to_string().starts_with("line 1: ") && damage.what.contains(why), "{damage}");
        assert!(!damage.what.contains("hunter2"));
    }
    for (text, why) in [
        ("", "cut off"),
        ("{\"at\":1,\"in\":\"ti", "cut off"),
        ("hunter2", "not JSON"),
        ("{\"at\":1,\"in\":\"hunter2\"}", "not what"),
        ("{\"at\":-1,\"in\":\"tick\"}", "not what"),
        ("{\"at\":1}", "not what"),
        ("{\"in\":\"tick\"}", "not what"),
        ("{\"at\":1,\"in\":\"tick\",\"hunter2\":1}", "not what"),
        ("{\"at\":1,\"in\":\"tick\",\"pcm\":\"AAA=\"}", "where none belongs"),
        ("{\"at\":1,\"in\":\"tick\",\"out\":\"hunter2\"}", "digest"),
        ("{\"at\":1,\"in\":{\"said\":{\"session\":1}}}", "audio is missing"),
        ("{\"at\":1,\"in\":{\"said\":{\"session\":1}},\"pcm\":\"hunter2\"}", "audio that is not"),
        ("{\"at\":1,\"in\":{\"said\":{\"session\":1}},\"pcm\":\"0*99999999999\"}", "audio that is not"),
        ("{\"at\":1,\"in\":{\"said\":{\"session\":1}},\"pcm\":\"AAAA\"}", "audio that is not"),
        ("{\"at\":1,\"in\":{\"in_rate\":{\"session\":1,\"hz\":4000000000}}}", "sample rate"),
        ("{\"at\":1,\"in\":{\"join\":{\"session\":1,\"config\":{\"rate_in\":7}}}}", "sample rate"),
        ("{\"at\":1,\"in\":{\"join\":{\"session\":1,\"config\":{\"language\":\"hunter2\"}}}}", "language"),
        (
            "{\"at\":1,\"in\":{\"link\":{\"session\":1,\"stage\":\"mt\",\"provider\":\"hunter2\",\"state\":\"ready\"}}}",
            "provider",
        ),
    ] {
        let (mut reader, _) = Reader::begin(&serde_json::to_string(&header()).unwrap()).unwrap();
        let damage = reader.line(text).expect_err(text);
        assert_eq!(damage.line, 2);
        assert!(damage.what.contains(why) && !damage.what.contains("hunter2"), "{text}: {damage}");
    }
}

#[test]
fn a_panic_of_the_engine_happens_again_and_one_that_does_not_is_a_difference() {
    let mut call = call();
    call.writer.panic(call.now);
    call.poll();
    call.writer.input(call.now, &Input::Tick);
    let text = call.text(Over::Panicked);
    assert_eq!(replay(&text).unwrap_or_else(|stop| panic!("{stop:?}")).over(), Some(Over::Panicked));
    let without: Vec<&str> = text.lines().filter(|line| !line.contains("\"panic\"")).collect();
    let stop = replay(&without.join("\n")).map(|_| ()).unwrap_err();
    assert!(matches!(&stop, Stop::Difference(d) if d.what.contains("panicked then")), "{stop:?}");
    let ends = text.replace("panicked", "ended");
    let stop = replay(&ends).map(|_| ()).unwrap_err();
    assert!(matches!(&stop, Stop::Difference(d) if d.what.contains("panics")), "{stop:?}");
    let cut = text.rsplit_once("{\"over\"").unwrap().0;
    assert!(matches!(replay(cut), Err(Stop::Difference(_))), "nor may the last line of a cut record panic");
}

#[test]
fn audio_is_exact_and_silence_short() {
    let text = |samples: &[i16]| {
        let mut text = Vec::new();
        pcm::append(samples, &mut Vec::new(), &mut text);
        String::from_utf8(text).unwrap()
    };
    assert_eq!(text(&[0; 320]), "0*320");
    assert_eq!(text(&[-5; 2]), "-5*2");
    assert_eq!(text(&[258]), "AgE=");
    assert_eq!(text(&[]), "");
}

proptest! {
    #[test]
    fn any_samples_come_back(samples in proptest::collection::vec(any::<i16>(), 0..400)) {
        let mut text = b"before".to_vec();
        pcm::append(&samples, &mut Vec::new(), &mut text);
        prop_assert_eq!(pcm::parse(std::str::from_utf8(&text[6..]).unwrap()), Some(samples));
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in "\\PC{0,200}") {
        let _ = Reader::begin(&text);
        let (mut reader, _) = Reader::begin(&serde_json::to_string(&header()).unwrap()).unwrap();
        let _ = reader.line(&text);
        let _ = pcm::parse(&text);
    }
}

#[test]
fn no_damage_to_a_record_makes_the_replay_panic_or_go_on_for_ever() {
    // Rooms that panic over what no caller would give them are caught; what they print is not wanted here.
    let text = call().text(Over::Ended);
    let lines: Vec<&str> = text.lines().collect();
    let mut seed = 7u64;
    let mut next = |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % below
    };
    let (mut same, mut different, mut damaged) = (0, 0, 0);
    for round in 0..300 {
        let mut lines: Vec<Vec<u8>> = lines.iter().map(|line| line.as_bytes().to_vec()).collect();
        let at = next(lines.len().min(if round % 2 == 0 { 60 } else { usize::MAX }));
        let (byte, other) = (next(lines[at].len()), next(lines.len()));
        match round % 6 {
            0 => lines[at][byte] = b"0123456789\"{}[],:-eE.naft"[next(25)],
            1 => lines.swap(at, other),
            2 => drop(lines.remove(at)),
            3 => lines[at].truncate(byte),
            4 => {
                let line = lines[other].clone();
                lines.insert(at, line);
            }
            _ => {
                // A number gets digits.
                let digit = (byte..lines[at].len()).find(|i| lines[at][*i].is_ascii_digit());
                let digits = *b"987654321098765";
                if let Some(digit) = digit {
                    lines[at].splice(digit..digit, digits[..next(15)].iter().copied());
                }
            }
        }
        let text = String::from_utf8_lossy(&lines.join(&b'\n')).into_owned();
        match replay(&text) {
            Ok(_) => same += 1,
            Err(Stop::Difference(_)) => different += 1,
            Err(Stop::Damage(damage)) => {
                assert!(damage.line as usize <= lines.len());
                damaged += 1;
            }
        }
    }
    assert!(different > 30 && damaged > 30, "{same} {different} {damaged}");
}
