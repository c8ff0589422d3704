//! The program: start, end, refusals, and its two tools.

use crate::harness::{Cloud, spelt};
use serde_json::Value;
use std::io::Read;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

fn run(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mgw-local-cloud")).args(args).stdin(Stdio::null()).output().unwrap()
}

fn wait(cloud: &mut Cloud) -> Option<i32> {
    let begin = Instant::now();
    loop {
        if let Some(status) = cloud.child.try_wait().unwrap() {
            return status.code();
        }
        assert!(begin.elapsed() < Duration::from_secs(10), "still running");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn refuses_with_one_line_and_code_2() {
    let cloud = Cloud::start("");
    let dir = tempfile::tempdir().unwrap();
    let bad = dir.path().join("bad.toml");
    std::fs::write(&bad, "[sst]\nx = 1").unwrap();
    for (args, hint) in [
        (vec!["--listen", cloud.address.as_str()], "cannot listen"),
        (vec!["--listen", "0.0.0.0:0"], "loopback"),
        (vec!["--scenario", bad.to_str().unwrap()], "sst"),
        (vec!["--scenario", "/nonexistent"], "/nonexistent"),
        (vec!["--api-key", "google=k"], "--api-key"),
    ] {
        let output = run(&args);
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(text.starts_with("mgw-local-cloud: ") && text.contains(hint), "{text}");
        assert!(output.stdout.is_empty());
    }
    let taken = run(&["--listen", &cloud.address]);
    assert_eq!(String::from_utf8(taken.stderr).unwrap().lines().count(), 1);
}

#[test]
fn ends_with_its_parent_or_by_signal() {
    let mut cloud = Cloud::start("");
    drop(cloud.child.stdin.take());
    assert_eq!(wait(&mut cloud), Some(0));
    for signal in ["-TERM", "-INT"] {
        let mut cloud = Cloud::start("");
        // The shell's own kill: a program of that name is not on every machine.
        let sent = Command::new("sh").args(["-c", &format!("kill {signal} {}", cloud.child.id())]).status().unwrap();
        assert!(sent.success());
        assert_eq!(wait(&mut cloud), Some(0), "{signal}");
    }
}

#[test]
fn announces_itself_with_exactly_one_line() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_mgw-local-cloud"))
        .args(["serve", "--exit-with-parent"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut text = String::new();
    child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    assert!(child.wait().unwrap().success());
    assert!(text.starts_with("mgw-local-cloud listening on 127.0.0.1:") && text.lines().count() == 1, "{text:?}");
}

#[test]
fn talk_says_what_ear_hears() {
    let dir = tempfile::tempdir().unwrap();
    let wav = dir.path().join("a.wav");
    let wav = wav.to_str().unwrap();
    let tool = |args: &[&str]| -> Value {
        let output = run(args);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let said = tool(&[
        "talk",
        "--language",
        "es",
        "--words",
        "0 1 2 | 3 4 5",
        "--rate",
        "8000",
        "--gap-ms",
        "900",
        "--lead-ms",
        "500",
        "--level-db",
        "-30",
        wav,
    ]);
    let heard = tool(&["ear", wav]);
    let text = |v: &Value| {
        v["words"].as_array().unwrap().iter().map(|w| w["text"].as_str().unwrap()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(text(&said), spelt("es", 0..6));
    assert_eq!(text(&heard), text(&said));
    assert!(heard["damaged"].as_array().unwrap().is_empty());
    for (a, b) in said["words"].as_array().unwrap().iter().zip(heard["words"].as_array().unwrap()) {
        assert!((a["start"].as_f64().unwrap() - b["start"].as_f64().unwrap()).abs() < 0.004);
    }
    assert!((heard["max_gap"].as_f64().unwrap() - 0.9).abs() < 0.01);
    assert_eq!(said["words"][3]["sentence"], 1);
    let made =
        tool(&["talk", "--sentences", "4", "--words-per-sentence", "6", "--seed", "9", "--first-word", "4090", wav]);
    let numbers: Vec<u64> = made["words"].as_array().unwrap().iter().map(|w| w["n"].as_u64().unwrap()).collect();
    assert!(numbers.iter().enumerate().all(|(i, n)| *n == (4090 + i as u64) % 4096), "{numbers:?}");
    assert_eq!(made["words"].as_array().unwrap().last().unwrap()["sentence"], 3);
    assert_eq!(text(&tool(&["ear", wav])), text(&made));
    assert_eq!(run(&["ear", "/nonexistent"]).status.code(), Some(2));
}
