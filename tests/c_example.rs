//! A call through the C example: `translate_call` as C compiles it, coded WAV files in, what the ears heard out.
//!
//! In real time: about 1.8 s for each sentence of a side, both sides at once. `MGW_TEST_SENTENCES` sets how many
//! each side says (100), for soaks.
#![cfg(target_os = "linux")]

mod native;
mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use native::{library, named, package, succeed};
use serde_json::Value;
use support::leg::hear;
use support::{Cloud, schema, temp_file};

const WORDS_PER_SENTENCE: usize = 5;
const RATE: u32 = 16_000;

/// `translate_call`, compiled strictly against the header and linked with the library of this build.
fn translate_call(folder: &Path) -> PathBuf {
    let soname = format!("libmgw.so.{}", mgw::ffi::mgw_abi_version());
    for name in ["libmgw.so", soname.as_str()] {
        std::os::unix::fs::symlink(library(), folder.join(name)).expect("link");
    }
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let mut build = cc::Build::new();
    let mut command =
        build.cargo_metadata(false).opt_level(1).target(&target).host(&target).get_compiler().to_command();
    let program = folder.join("translate_call");
    command.args(["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]).arg("-I").arg(package().join("include"));
    command.arg(package().join("c-examples/translate_call.c")).arg("-o").arg(&program);
    command.arg("-L").arg(folder).args(["-lmgw", "-pthread"]).arg(format!("-Wl,-rpath,{}", folder.display()));
    succeed(&mut command);
    program
}

/// Writes a WAV file of sentences by the local cloud's own talker; returns the numbers of its words.
fn talk(language: &str, first_word: u16, sentences: usize, out: &Path) -> Vec<u16> {
    let said = succeed(
        Command::new(env!("CARGO_BIN_EXE_mgw-local-cloud"))
            .args(["talk", "--language", language, "--gap-ms", "900", "--lead-ms", "1500"])
            .args(["--first-word", &first_word.to_string(), "--sentences", &sentences.to_string()])
            .args(["--words-per-sentence", &WORDS_PER_SENTENCE.to_string(), "--rate", &RATE.to_string()])
            .arg(out),
    );
    let said: Value = serde_json::from_str(&said).expect("what talk says is JSON");
    said["words"].as_array().expect("words").iter().map(|w| w["n"].as_u64().expect("n") as u16).collect()
}

/// The samples of a WAV file as `wav.h` writes it: 44 bytes of head, then 16-bit mono.
fn read_wav(path: &Path) -> Vec<i16> {
    let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    assert_eq!(&bytes[..4], b"RIFF");
    assert_eq!(u32::from_le_bytes([bytes[24], bytes[25], bytes[26], bytes[27]]), RATE);
    assert_eq!(&bytes[36..40], b"data");
    bytes[44..].chunks_exact(2).map(|b| i16::from_le_bytes([b[0], b[1]])).collect()
}

/// Runs the call, which prints to files; ends it and fails when it takes far too long.
fn run(program: &Path, args: &[&Path], folder: &Path, json: &Path, limit: Duration) -> String {
    let out = folder.join("printed.txt");
    let file = std::fs::File::create(&out).expect("printed.txt");
    let errors = file.try_clone().expect("printed.txt");
    let max_s = limit.as_secs().to_string();
    let mut command = Command::new(program);
    command.args(["--max-s", &max_s, "--tail-ms", "6000", "--json"]).arg(json).args(args);
    let mut child = command.stdin(Stdio::null()).stdout(file).stderr(errors).spawn().unwrap_or_else(|e| panic!("{e}"));
    let until = Instant::now() + limit + Duration::from_secs(60);
    let status = loop {
        if let Some(status) = child.try_wait().expect("wait") {
            break status;
        }
        if Instant::now() > until {
            child.kill().expect("kill");
            child.wait().expect("wait");
            panic!("{} does not end", named(&command));
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    let printed = std::fs::read_to_string(&out).expect("printed.txt");
    assert!(status.success(), "{status}: {}", printed.lines().rev().take(20).collect::<Vec<_>>().join("\n"));
    printed
}

/// Every word once, in order, whole, in the other's language.
fn judge(ear: &str, wav: &Path, language: &str, said: &[u16]) -> usize {
    let heard = hear(&read_wav(wav), RATE);
    let foreign: Vec<_> = heard.words.iter().filter(|(l, _)| *l != language).collect();
    assert!(foreign.is_empty(), "ear {ear} heard words of another language: {foreign:?}");
    let numbers: Vec<u16> = heard.words.iter().map(|(_, n)| *n).collect();
    let missing: Vec<_> = said.iter().filter(|n| !numbers.contains(n)).collect();
    assert_eq!(numbers, said, "ear {ear}: every word once and in order; missing {missing:?}");
    assert_eq!(heard.damaged, 0, "ear {ear}: damaged words");
    numbers.len()
}

#[test]
fn a_long_call_through_the_c_example_loses_nothing() {
    let sentences: usize =
        std::env::var("MGW_TEST_SENTENCES").map_or(100, |n| n.parse().expect("MGW_TEST_SENTENCES is a number"));
    // The codec knows 4096 words, and each must be heard exactly once.
    assert!((1..=4096 / WORDS_PER_SENTENCE).contains(&sentences), "MGW_TEST_SENTENCES: 1 to 819");
    let folder = temp_file("c_example").parent().expect("folder").to_owned();
    let program = translate_call(&folder);
    let path = |name: &str| folder.join(name);
    let (wav_a, wav_b, heard_a, heard_b) = (path("a.wav"), path("b.wav"), path("a-heard.wav"), path("b-heard.wav"));
    // Word numbers of the two sides overlap in long calls; the languages tell them apart.
    let said_a = talk("en", 0, sentences, &wav_a);
    let said_b = talk("es", 2048, sentences, &wav_b);
    assert_eq!(said_a.len(), sentences * WORDS_PER_SENTENCE);

    let cloud = Cloud::start("");
    let config = path("mgw.toml");
    let url = format!("http://{}", cloud.address);
    let text = format!(
        "[deepgram]\nbase_url = \"{url}\"\napi_key = \"dg\"\n[deepl]\nbase_url = \"{url}\"\napi_key = \"dl\"\n\
         [elevenlabs]\nbase_url = \"{url}\"\napi_key = \"el\"\n\
         [profile.7777]\nlanguage = \"en\"\n[profile.8888]\nlanguage = \"es\"\n"
    );
    std::fs::write(&config, text).expect("mgw.toml");
    let limit = Duration::from_secs(60 + 3 * sentences as u64);
    let begun = Instant::now();
    let json = path("events.jsonl");
    let printed = run(&program, &[&config, &wav_a, &wav_b, &heard_a, &heard_b], &folder, &json, limit);
    let took = begun.elapsed();

    let words_b = judge("B", &heard_b, "es", &said_a);
    let words_a = judge("A", &heard_a, "en", &said_b);
    let events = std::fs::read_to_string(&json).expect("events.jsonl");
    let mut lags = Vec::new();
    for line in events.lines() {
        let event: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        schema::check(&event);
        assert_ne!(event["type"], "segment_lost", "{line}");
        if event["type"] == "segment_done" {
            assert_eq!(event["complete"], true, "{line}");
            lags.push(event["lag_ms"].as_f64().expect("lag_ms"));
        }
    }
    let stats = cloud.stats();
    assert_eq!(stats["violations"], serde_json::json!([]), "{stats}");
    let last = printed.lines().last().unwrap_or_default();
    assert_eq!(last, format!("{} segments heard, 0 lost", lags.len()));
    lags.sort_by(f64::total_cmp);
    println!(
        "{sentences} sentences each way in {:.0} s: B heard {words_b} of {} words, A heard {words_a} of {}, \
         each once, in order and whole; {} segments, lag median {:.0} ms, largest {:.0} ms",
        took.as_secs_f64(),
        said_a.len(),
        said_b.len(),
        lags.len(),
        lags[lags.len() / 2],
        lags[lags.len() - 1],
    );
}
