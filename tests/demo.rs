//! The demo as a user runs it, judged by recognising what was heard; and how it ends when something is missing.

#[allow(dead_code)]
mod native;
#[path = "support/text.rs"]
mod text;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use native::{library, package, succeed};
use serde_json::Value;
use text::{in_order, words};

/// A scheduling delay and the media thread's clock lie between a mark and its place in a recording.
const TOLERANCE_S: f64 = 0.15;
/// The offline voices end a sentence with so much silence, which belongs to the segment.
const VOICE_TAIL_S: f64 = 0.2;

/// One run of the script, with a folder of its own and a mark by which its processes are known.
struct Demo {
    out: PathBuf,
    mark: String,
    command: Command,
}

/// How it ended.
struct Ended {
    code: Option<i32>,
    lines: Vec<String>,
}

impl Demo {
    fn new(arguments: &[&str]) -> Demo {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let mark = format!("MGW_DEMO_RUN={}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join(mark.replace('=', "-"));
        let mut command = Command::new("python3");
        command.arg(package().join("scripts/demo.py")).arg("--out").arg(&out);
        command.arg("--library-dir").arg(library().parent().expect("folder"));
        command.arg("--cloud-bin").arg(env!("CARGO_BIN_EXE_mgw-local-cloud")).args(arguments);
        let (name, value) = mark.split_once('=').expect("two parts");
        command.env(name, value).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        for key in ["DEEPGRAM_API_KEY", "DEEPL_API_KEY", "ELEVENLABS_API_KEY"] {
            command.env_remove(key);
        }
        Demo { out, mark, command }
    }

    /// Runs to the end, or stops it with `signal` as soon as a line holds `word`.
    fn run(&mut self, stop: Option<(&str, libc::c_int)>) -> Ended {
        let mut child = self.command.spawn().expect("python3 starts");
        let watch = watchdog(&child);
        let mut lines = Vec::new();
        for line in BufReader::new(child.stdout.take().expect("stdout")).lines() {
            let line = line.expect("UTF-8");
            if let Some((_, signal)) = stop.filter(|(word, _)| line.contains(word)) {
                send(child.id(), signal);
            }
            lines.push(line);
        }
        let output = child.wait_with_output().expect("output");
        drop(watch);
        let complaints = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(complaints.is_empty(), "{complaints}\nafter: {}", lines.join("\n"));
        self.nothing_is_left();
        Ended { code: output.status.code(), lines }
    }

    /// Fails with one line, `code` and these words.
    fn fails(&mut self, stop: Option<(&str, libc::c_int)>, code: i32, words: &[&str]) {
        let ended = self.run(stop);
        let all = ended.lines.join("\n");
        assert_eq!(ended.code, Some(code), "{all}");
        let told: Vec<&String> = ended.lines.iter().filter(|line| line.starts_with("demo: ")).collect();
        assert_eq!(told.len(), 1, "{all}");
        assert_eq!(Some(told[0]), ended.lines.last(), "{all}");
        for word in words {
            assert!(told[0].contains(word), "no '{word}' in: {}", told[0]);
        }
    }

    /// No process with this run's mark in its environment, which every descendant inherits.
    fn nothing_is_left(&self) {
        let until = Instant::now() + Duration::from_secs(8);
        loop {
            let left: Vec<String> = std::fs::read_dir("/proc")
                .expect("/proc")
                .filter_map(|entry| Some(entry.ok()?.path()))
                .filter(|path| std::fs::read(path.join("environ")).is_ok_and(|e| holds(&e, self.mark.as_bytes())))
                .map(|path| std::fs::read_to_string(path.join("cmdline")).unwrap_or_default().replace('\0', " "))
                .collect();
            if left.is_empty() {
                return;
            }
            assert!(Instant::now() < until, "still running: {left:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn report(&self) -> Value {
        let text = std::fs::read_to_string(self.out.join("report.json")).expect("report.json");
        serde_json::from_str(&text).expect("JSON")
    }
}

fn holds(environment: &[u8], mark: &[u8]) -> bool {
    environment.split(|byte| *byte == 0).any(|variable| variable == mark)
}

fn send(pid: u32, signal: libc::c_int) {
    let pid = libc::pid_t::try_from(pid).expect("pid");
    // SAFETY: kill takes numbers only; the child has not been waited for, so the number is still its own.
    assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
}

/// Ends a script that hangs, so that the test fails instead of hanging, too. Goes with the returned value.
fn watchdog(child: &Child) -> std::sync::mpsc::Sender<()> {
    let (alive, gone) = std::sync::mpsc::channel::<()>();
    let pid = child.id();
    std::thread::spawn(move || {
        if gone.recv_timeout(Duration::from_secs(140)) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            send(pid, libc::SIGKILL);
        }
    });
    alive
}

fn list(value: &Value) -> &Vec<Value> {
    value.as_array().unwrap_or_else(|| panic!("not a list: {value}"))
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("not a number: {value}"))
}

fn at_least(percent: usize, what: &str, wanted: &[String], heard: &[String]) {
    let found = in_order(wanted, heard);
    println!("{what}: {found} of {} words", wanted.len());
    assert!(found * 100 >= wanted.len() * percent, "{what}: wanted {wanted:?}, heard {heard:?}");
}

fn texts(list: &[Value]) -> Vec<String> {
    list.iter().flat_map(|text| words(text.as_str().expect("text"))).collect()
}

#[test]
fn a_conversation_is_understood_and_heard_in_the_other_language() {
    let mut demo = Demo::new(&[]);
    let began = Instant::now();
    let ended = demo.run(None);
    let all = ended.lines.join("\n");
    println!("{all}");
    assert_eq!(ended.code, Some(0), "{all}");
    assert!(began.elapsed() < Duration::from_secs(120), "{:?}", began.elapsed());

    // The report is complete.
    let report = demo.report();
    assert_eq!(report["ok"], true);
    assert_eq!(report["lost"], serde_json::json!([]));
    // Delays that are set and not measured are told.
    assert!(number(&report["simulated_ms"]["mt"]) > 0.0 && number(&report["simulated_ms"]["tts"]) > 0.0, "{report}");
    assert!(all.contains("as the cloud services would"), "{all}");
    let segments = list(&report["segments"]);
    for (speaker, listener) in [("7777", "8888"), ("8888", "7777")] {
        let mine: Vec<&Value> = segments.iter().filter(|s| s["session"] == speaker).collect();
        assert!(mine.len() >= 3, "{speaker}: {mine:?}");
        for s in mine {
            assert_eq!(s["listener"], listener);
            assert!(!words(s["source_text"].as_str().expect("text")).is_empty(), "{s}");
            assert!(!words(s["translation"].as_str().expect("text")).is_empty(), "{s}");
            assert!(number(&s["lag_ms"]) > 0.0 && number(&s["lag_ms"]) < 15_000.0, "{s}");
            for stage in ["stt", "mt", "tts"] {
                assert!((0.0..8000.0).contains(&number(&s["stages_ms"][stage])), "{s}");
            }
            assert!(all.contains(s["translation"].as_str().expect("text")), "not shown: {s}");
        }
        let level = number(&report["speakers"][listener]["heard_dbfs"]);
        assert!((level + 20.0).abs() <= 3.0, "{listener} heard {level} dBFS");
    }

    // What was said in English is in the transcript.
    let script = include_str!("../src/bin/mgw-local-cloud/offline/demo.txt");
    let english: Vec<String> = script
        .lines()
        .filter(|line| line.split_whitespace().nth(1) == Some("en"))
        .flat_map(|line| words(&line.split_whitespace().skip(3).collect::<Vec<_>>().join(" ")))
        .collect();
    assert!(english.len() > 20, "{english:?}");
    at_least(80, "English transcript", &english, &texts(list(&report["speakers"]["7777"]["transcript"])));

    // What 7777 heard is English.
    let wanted: Vec<Value> =
        segments.iter().filter(|s| s["listener"] == "7777").map(|s| s["translation"].clone()).collect();
    let heard = recognised("en", &demo.out.join("7777-heard.wav"));
    let heard: Vec<Value> = list(&heard["words"]).iter().map(|w| w["text"].clone()).collect();
    at_least(60, "7777 heard", &texts(&wanted), &texts(&heard));

    // What 8888 heard is speech where its segments are, and silence elsewhere.
    let energy = recognised("es", &demo.out.join("8888-heard.wav"));
    let spans: Vec<(f64, f64)> =
        list(&energy["speech"]).iter().map(|s| (number(&s["start"]), number(&s["end"]))).collect();
    let marked: Vec<(f64, f64)> = segments
        .iter()
        .filter(|s| s["listener"] == "8888")
        .map(|s| (number(&s["heard_s"][0]), number(&s["heard_s"][1])))
        .collect();
    println!("speech {spans:?}\nmarked {marked:?}");
    // Two segments that follow each other closely are one span of speech.
    let mut joined: Vec<(f64, f64)> = Vec::new();
    for &(start, end) in &marked {
        match joined.last_mut() {
            Some(last) if start - last.1 < 0.4 => last.1 = end,
            _ => joined.push((start, end)),
        }
    }
    for (start, end) in &spans {
        let inside = |m: &&(f64, f64)| *start >= m.0 - TOLERANCE_S && *end <= m.1 + TOLERANCE_S;
        assert!(joined.iter().any(|m| inside(&m)), "speech at {start}..{end} belongs to no segment: {marked:?}");
    }
    for (start, end) in &marked {
        let speech: f64 = spans.iter().map(|s| (s.1.min(*end) - s.0.max(*start)).max(0.0)).sum();
        // A comma inside may be a pause; the ends may not.
        assert!(speech >= 0.75 * (end - start - VOICE_TAIL_S), "{start}..{end} has {speech} s of speech: {spans:?}");
    }
    for (start, end) in &joined {
        assert!(spans.iter().any(|s| (s.0 - start).abs() <= TOLERANCE_S), "nothing begins at {start}: {spans:?}");
        let ends = |s: &&(f64, f64)| s.1 <= end + TOLERANCE_S && s.1 >= end - VOICE_TAIL_S - TOLERANCE_S;
        assert!(spans.iter().any(|s| ends(&s)), "nothing ends at {end}: {spans:?}");
    }

    // The picture is well-formed and holds every text.
    let svg = demo.out.join("conversation.svg");
    let texts = succeed(Command::new("python3").arg("-c").arg(
        "import sys, xml.etree.ElementTree as e\nfor t in e.parse(sys.argv[1]).iter('{http://www.w3.org/2000/svg}text'): print(t.text)",
    ).arg(&svg));
    for s in segments {
        let begin: String = s["translation"].as_str().expect("text").chars().take(40).collect();
        assert!(texts.contains(&begin), "{begin} is not in the picture");
    }
}

/// What the local cloud's own recogniser hears in a file.
fn recognised(language: &str, wav: &Path) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mgw-local-cloud"));
    let told = succeed(command.args(["recognise", "--language", language]).arg(wav));
    serde_json::from_str(&told).expect("JSON")
}

#[test]
fn an_interrupted_call_leaves_what_there_was() {
    let mut demo = Demo::new(&[]);
    demo.fails(Some((" hears Bue", libc::SIGINT)), 130, &["interrupted", "MGW_DEMO_RUN"]);
    let report = demo.report();
    assert_eq!((&report["ok"], &report["why"]), (&Value::Bool(false), &Value::from("interrupted")));
    assert!(!list(&report["segments"]).is_empty());
    for leg in ["7777", "8888"] {
        let heard = std::fs::metadata(demo.out.join(format!("{leg}-heard.wav"))).expect("recording").len();
        assert!(heard > 2 * 16_000 * 2, "{heard} bytes");
    }
    assert!(demo.out.join("conversation.svg").is_file());
    assert!(number(&report["speakers"]["8888"]["heard_dbfs"]) > -25.0);
}

#[test]
fn nothing_outlives_a_script_that_is_killed() {
    let mut demo = Demo::new(&[]);
    let ended = demo.run(Some((" says ", libc::SIGKILL)));
    assert_eq!(ended.code, None, "{}", ended.lines.join("\n"));
}

#[test]
fn a_taken_port_is_told() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("address").port().to_string();
    Demo::new(&["--port", &port]).fails(None, 1, &["port", &port, "taken"]);
}

#[test]
fn sound_files_that_are_no_good_are_told() {
    Demo::new(&["--wav-a", "/nonexistent/a.wav"]).fails(None, 1, &["/nonexistent/a.wav", "No such file"]);
    Demo::new(&["--wav-b", "Cargo.toml"]).fails(None, 1, &["Cargo.toml is not a WAV file"]);
}

#[test]
fn a_missing_engine_is_told_with_its_package() {
    let mut demo = Demo::new(&[]);
    let programs = demo.out.join("programs");
    std::fs::create_dir_all(&programs).expect("folder");
    for folder in std::env::split_paths(&std::env::var_os("PATH").expect("PATH")) {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.file_name() != "flite" {
                // Of two programs of one name the first counts, as in PATH; the second link fails.
                let _ = std::os::unix::fs::symlink(entry.path(), programs.join(entry.file_name()));
            }
        }
    }
    demo.command.env("PATH", &programs);
    demo.fails(None, 1, &["flite", "apt-get install flite"]);
}

#[test]
fn services_out_of_reach_are_told() {
    Demo::new(&["--cloud"]).fails(None, 1, &["DEEPGRAM_API_KEY, DEEPL_API_KEY, ELEVENLABS_API_KEY"]);
    // A port where nobody listens any more.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", closed.local_addr().expect("address"));
    drop(closed);
    let mut demo = Demo::new(&["--cloud", "--services", &url]);
    for key in ["DEEPGRAM_API_KEY", "DEEPL_API_KEY", "ELEVENLABS_API_KEY"] {
        demo.command.env(key, "no-such-key");
    }
    demo.fails(None, 1, &["cannot be used"]);
}

#[test]
fn a_missing_library_is_told() {
    let mut demo = Demo::new(&["--library-dir", "/nonexistent"]);
    demo.fails(None, 1, &["/nonexistent/libmgw.so is missing", "cargo build --release"]);
}
