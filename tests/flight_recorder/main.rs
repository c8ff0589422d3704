//! The flight recorder: real calls are recorded and run again bit for bit; recorded rooms are regression tests.
//!
//! | file | what |
//! |---|---|
//! | `main` | calls against the coded cloud, their records, and what goes wrong with folders |
//! | `again` | `tests/records/`: what recognisers said then, given to the engine of today |

#[path = "../support/mod.rs"]
mod support;

mod again;
#[path = "../../src/bin/mgw-replay/audio.rs"]
mod audio;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use audio::Audio;
use mgw::config::Config;
use mgw::engine::record::replay::{Replay, Seen};
use mgw::engine::{Input, LeaveMode, SessionId};
use mgw::{Gateway, Status, session};
use serde_json::Value;
use support::leg::hear;
use support::live::LiveLeg;
use support::{Cloud, events, schema, temp_file, wait_for};

/// Generous: machines are busy.
const LIMIT: Duration = Duration::from_secs(60);
const RATE: u32 = 8000;

/// A folder of its own for records, not made yet.
fn folder() -> PathBuf {
    temp_file("records").join("of rooms")
}

/// Records in a folder, in the order in which they were begun.
fn records(folder: &Path) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = std::fs::read_dir(folder).expect("folder").map(|e| e.expect("entry").path()).collect();
    let number = |path: &PathBuf| -> u32 {
        let name = path.file_stem().expect("name").to_string_lossy().into_owned();
        name.rsplit('-').next().and_then(|n| n.parse().ok()).expect("a number")
    };
    all.sort_by_key(number);
    all
}

/// Runs `mgw-replay`; gives its exit status and what it printed.
fn mgw_replay(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_mgw-replay")).args(arguments).output().expect("mgw-replay starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// A gateway whose calls are recorded, and its events.
struct Host {
    cloud: Cloud,
    gateway: Gateway,
    folder: PathBuf,
    seen: std::cell::RefCell<Vec<Value>>,
}

impl Host {
    fn start(scenario: &str, more: &[(&str, &str)]) -> Host {
        let cloud = Cloud::start(scenario);
        let folder = folder();
        let mut config = cloud.config(more);
        config.set("recorder.folder", folder.to_str().expect("UTF-8")).expect("folder");
        let gateway = Gateway::new(&config).unwrap_or_else(|e| panic!("{e}"));
        assert!(folder.is_dir(), "made when the gateway starts");
        Host { cloud, gateway, folder, seen: Default::default() }
    }

    fn leg(&self, profile: &str, options: &[(&str, &str)]) -> LiveLeg {
        let mut all = Config::new();
        let rate = RATE.to_string();
        for (key, value) in [("rate.in", rate.as_str()), ("rate.out", &rate)].iter().chain(options) {
            all.set(key, value).unwrap_or_else(|e| panic!("{e}"));
        }
        let session = self.gateway.open_session(profile, "a room", &all).unwrap_or_else(|e| panic!("{e}"));
        LiveLeg::start(session, RATE, RATE)
    }

    /// Two sessions in a room, both with a recogniser that is ready.
    fn call(&self, options: &[(&str, &str)]) -> (LiveLeg, LiveLeg) {
        let (a, b) = (self.leg("7777", options), self.leg("8888", options));
        for leg in [&a, &b] {
            let session = leg.session.0;
            let ready = |e: &Value| e["stage"] == "stt" && e["state"] == "ready" && e["session"] == session;
            wait_for("a recogniser", LIMIT, || self.seen().iter().any(ready));
        }
        (a, b)
    }

    fn seen(&self) -> Vec<Value> {
        for event in events(&self.gateway) {
            schema::check(&event);
            self.seen.borrow_mut().push(event);
        }
        self.seen.borrow().clone()
    }

    fn count(&self, what: impl Fn(&Value) -> bool) -> usize {
        self.seen().iter().filter(|e| what(e)).count()
    }

    /// Everything committed has come to its end, in sound or in a report.
    fn settle(&self) {
        let count = |kind: &str| self.count(|e| e["type"] == kind);
        wait_for("all segments to end", LIMIT, || {
            count("translation") <= count("segment_done") + count("segment_lost")
        });
    }

    /// Closes the legs, ends the gateway, and gives the records.
    fn end(self, legs: impl IntoIterator<Item = LiveLeg>) -> Vec<PathBuf> {
        for leg in legs {
            session::close(leg.session, LeaveMode::Drain).expect("close");
        }
        self.gateway.shutdown(Duration::from_secs(10)).unwrap_or_else(|e| panic!("{e}"));
        records(&self.folder)
    }
}

/// A language and from which word on a leg speaks it.
type Speaks<'a> = (&'a LiveLeg, &'static str, u16);

/// Speaks until a sentence was heard whole in translation. A leg that the machine keeps waiting says a word in pieces,
/// which nobody recognises: then the next sentence is as good.
fn hears_translated(what: &str, (speaker, from, first): Speaks<'_>, (listener, into): (&LiveLeg, &str)) {
    for attempt in 0..10 {
        let words = [0, 1, 2].map(|n| first + 3 * attempt + n);
        speaker.say_words(from, words);
        wait_for("a speaker", LIMIT, || speaker.has_said_all());
        let until = Instant::now() + Duration::from_secs(6);
        while Instant::now() < until {
            if listener.words(into).ends_with(&words) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    panic!("{what}: heard only {:?}", listener.words(into));
}

/// Runs a record through today's engine here; gives what it heard, in the order in which sessions came.
fn listen(text: &str) -> Vec<Vec<(&'static str, u16)>> {
    let mut lines = text.lines();
    let (mut replay, _) = Replay::begin(lines.next().expect("header")).expect("header");
    let (mut audio, mut sessions) = (Audio::default(), Vec::<SessionId>::new());
    for line in lines {
        let done = replay.line(line, &mut |at, seen| {
            if let Seen::Input(Input::Join { session, .. }) = &seen {
                sessions.push(*session);
            }
            audio.take(at, &seen);
        });
        done.unwrap_or_else(|stop| panic!("{stop:?}"));
    }
    let words = |id: &SessionId| {
        let tracks = audio.heard(*id);
        tracks.iter().flat_map(|track| hear(&track.samples, track.rate).words).collect()
    };
    sessions.iter().map(words).collect()
}

#[test]
fn a_call_with_drops_runs_again_bit_for_bit_and_its_ears_can_be_listened_to() {
    let scenario = "[stt]\ninterim_interval_ms = 250\n[[fault]]\nstage = \"stt\"\non = \"message\"\nat = 150\nkind = \"reset\"\n\
                    [[fault]]\nstage = \"tts\"\non = \"generation\"\nat = 2\nkind = \"reset\"\n\
                    [[fault]]\nstage = \"mt\"\nat = 3\nkind = \"reset\"\n";
    let host = Host::start(scenario, &[("speculation.mode", "speak")]);
    let (a, b) = host.call(&[]);
    for n in 0..4 {
        a.say_words("en", 4 * n..4 * n + 4);
        b.say_words("es", 100 + 4 * n..104 + 4 * n);
    }
    hears_translated("the last words", (&a, "en", 1000), (&b, "es"));
    hears_translated("the last words", (&b, "es", 2000), (&a, "en"));
    session::say(b.session, "Adiós.", "").expect("say");
    session::dtmf(a.session, '7').expect("digit");
    session::set(b.session, "gain.translation_db", "-6").expect("set");
    host.settle();
    let faults = host.cloud.stats()["faults_total"].as_u64();
    assert_eq!(faults, Some(3), "each drop was there");
    let (ear_a, ear_b) = (a.words("en"), b.words("es"));
    let files = host.end([a, b]);
    let [file] = &files[..] else { panic!("one room, one record: {files:?}") };
    let name = file.to_str().expect("UTF-8");
    let text = std::fs::read_to_string(file).expect("a record");
    for secret in ["dg-test-key", "dl-test-key", "el-test-key"] {
        assert!(!text.contains(secret), "a key is in the record");
    }

    let wavs = temp_file("wavs");
    let (code, out, err) = mgw_replay(&[name, "--audio", wavs.to_str().expect("UTF-8")]);
    assert_eq!(code, Some(0), "{err}{}", out.lines().last().unwrap_or_default());
    assert!(err.is_empty(), "{err}");
    let verdict = out.lines().last().expect("a verdict");
    assert!(verdict.ends_with(" outputs: the same bit for bit"), "{verdict}");
    for decision in ["A 7777   #", "translated in", "heard by B 8888 from", "is to be told in es", "opens a recogniser"]
    {
        assert!(out.contains(decision), "{decision}: {out}");
    }
    // What the ears heard comes out of the record as well.
    let heard = listen(&text);
    let only = |words: &[(&'static str, u16)], language| -> Vec<u16> {
        words.iter().filter(|(l, _)| *l == language).map(|(_, n)| *n).collect()
    };
    assert_eq!(only(&heard[0], "en"), ear_a);
    assert_eq!(only(&heard[1], "es"), ear_b);
    let mut names: Vec<String> = std::fs::read_dir(&wavs)
        .expect("folder")
        .map(|e| e.expect("entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    assert_eq!(names, ["1-7777-heard.wav", "1-7777-said.wav", "2-8888-heard.wav", "2-8888-said.wav"]);
    let wav = wav_samples(&wavs.join("2-8888-heard.wav"));
    assert_eq!(only(&hear(&wav, RATE).words, "es"), ear_b);

    let (code, quiet, _) = mgw_replay(&["--quiet", name]);
    assert_eq!((code, quiet.trim()), (Some(0), verdict));
    // Another word is another call.
    let changed = temp_file("changed.mgwrec");
    let at = text.find("\"translated\"").and_then(|at| Some(at + text[at..].find("\"Ok\":\"")? + 6)).expect("a text");
    std::fs::write(&changed, format!("{}x{}", &text[..at], &text[at..])).expect("file");
    let (code, out, _) = mgw_replay(&["--quiet", changed.to_str().expect("UTF-8")]);
    assert_eq!(code, Some(1));
    let line = text[..at].lines().count();
    assert!(out.contains(&format!("first difference in line {line} ")), "line {line}: {out}");
    // A record that was cut off runs as far as it goes.
    std::fs::write(&changed, &text[..text.len() / 2]).expect("file");
    let (code, out, err) = mgw_replay(&["--quiet", changed.to_str().expect("UTF-8")]);
    assert_eq!(code, Some(2), "{out}{err}");
    let line = text[..text.len() / 2].lines().count();
    assert!(out.contains("the same bit for bit, up to where") && err.contains(&format!("line {line}: ")), "{out}{err}");
    let (code, _, err) = mgw_replay(&["/dev/null"]);
    assert!(code == Some(2) && err.contains("not a flight record"), "{err}");
}

fn wav_samples(path: &Path) -> Vec<i16> {
    // 16-bit mono PCM behind a head of 44 bytes, as hound writes it.
    let bytes = std::fs::read(path).expect("a WAV file");
    assert_eq!(&bytes[36..40], b"data");
    bytes[44..].chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect()
}

#[test]
fn a_room_whose_engine_panics_goes_on_in_another_record() {
    let host = Host::start("", &[]);
    let (a, b) = host.call(&[]);
    hears_translated("before", (&a, "en", 0), (&b, "es"));
    session::inject_panic(a.session).expect("inject");
    wait_for("the report", LIMIT, || host.count(|e| e["code"] == "engine_panic") == 2);
    let from = host.seen().iter().filter(|e| e["code"] == "engine_panic").filter_map(|e| e["seq"].as_u64()).min();
    for leg in [&a, &b] {
        let session = leg.session.0;
        wait_for("a new recogniser", LIMIT, || {
            let ready = |e: &Value| e["stage"] == "stt" && e["state"] == "ready" && e["session"] == session;
            host.count(|e| ready(e) && e["seq"].as_u64() > from) > 0
        });
    }
    hears_translated("after", (&a, "en", 500), (&b, "es"));
    host.settle();
    let files = host.end([a, b]);
    assert_eq!(files.len(), 2, "{files:?}");
    for (n, file) in files.iter().enumerate() {
        let (code, out, err) = mgw_replay(&[file.to_str().expect("UTF-8")]);
        assert_eq!(code, Some(0), "{n}: {err}{}", out.lines().last().unwrap_or_default());
        assert!(out.contains("the same bit for bit"));
        assert_eq!(err.contains("the room's engine panicked and was built anew"), n == 0, "{n}: {err}");
        assert_eq!(out.lines().next().is_some_and(|line| line.contains(", part 2, ")), n == 1, "{out}");
        assert_eq!(out.contains("is put back into a new engine"), n == 1);
    }
}

#[test]
fn a_record_that_grew_to_its_limit_is_told_and_the_call_goes_on() {
    let host = Host::start("", &[("recorder.max_mb", "1")]);
    let (a, b) = host.call(&[]);
    let told = |e: &Value| e["type"] == "error" && e["code"] == "flight_record";
    let mut n = 0;
    wait_for("the limit", LIMIT, || {
        if a.has_said_all() {
            a.say_words("en", n..n + 8);
            n += 8;
        }
        host.count(told) > 0
    });
    hears_translated("afterwards", (&a, "en", 4000), (&b, "es"));
    assert_eq!(host.count(told), 2, "each session once");
    let message = host.seen().into_iter().find(told).and_then(|e| e["message"].as_str().map(str::to_owned));
    assert!(message.as_ref().is_some_and(|m| m.contains("recorder.max_mb")), "{message:?}");
    let files = host.end([a, b]);
    let [file] = &files[..] else { panic!("{files:?}") };
    let size = std::fs::metadata(file).expect("file").len();
    assert!((1_000_000..=1 << 20).contains(&size), "{size}");
    let (code, out, err) = mgw_replay(&["-q", file.to_str().expect("UTF-8")]);
    assert!(code == Some(0) && out.contains("bit for bit") && err.contains("recorder.max_mb"), "{out}{err}");
}

#[test]
fn a_folder_that_is_gone_is_told_and_one_that_cannot_be_made_is_refused_at_the_start() {
    let host = Host::start("", &[]);
    std::fs::remove_dir(&host.folder).expect("nothing is in it");
    let (a, b) = host.call(&[]);
    hears_translated("the call goes on", (&a, "en", 0), (&b, "es"));
    let told = |e: &Value| e["type"] == "error" && e["code"] == "flight_record";
    wait_for("the report", LIMIT, || host.count(told) > 0);
    std::fs::create_dir(&host.folder).expect("folder");
    assert!(host.end([a, b]).is_empty());

    let file = temp_file("a file");
    std::fs::write(&file, "x").expect("file");
    let mut config = Config::new();
    config.set("recorder.folder", file.join("folder").to_str().expect("UTF-8")).expect("text");
    let error = Gateway::new(&config).map(|_| ()).expect_err("no folder can be below a file");
    assert_eq!(error.status, Status::ErrConfig);
    assert!(error.message.starts_with("recorder.folder: "), "{error}");
}
