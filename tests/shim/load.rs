//! Many calls at once on a real Asterisk, and real speech through it.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::asterisk::{S, shim_for};
use crate::support::asterisk::measure::level_dbfs;
use crate::support::asterisk::phones::RATE;
use crate::support::asterisk::{Asterisk, Codec, LightPhone, Phones};
use crate::support::codec::WORDS;
use crate::support::leg::hear;
use crate::support::live::sentence;
use crate::support::{Cloud, cpu, temp_file, wait_for};

const CALLS: u16 = 20;
/// Words of a sentence and the time it takes with its pause.
const PER_SENTENCE: u16 = 5;
const SENTENCE: Duration = Duration::from_millis(1800);

fn length() -> Duration {
    let seconds = std::env::var("MGW_TEST_LOAD_S").ok().and_then(|s| s.parse().ok()).unwrap_or(60);
    Duration::from_secs(seconds)
}

struct Caller {
    phone: LightPhone,
    said: Vec<u16>,
}

/// Descriptors, threads and resident memory in kilobytes of a process.
fn footprint(pid: u32) -> (usize, usize, u64) {
    let count = |what: &str| std::fs::read_dir(format!("/proc/{pid}/{what}")).expect("process").count();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("process");
    let resident = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).expect("VmRSS");
    let resident = resident.trim().trim_end_matches(" kB").parse().expect("number");
    (count("fd"), count("task"), resident)
}

/// All calls of one round; panics unless every ear heard every word of its partner once, in order and whole.
fn round(gateway: &Asterisk, sentences: u16) {
    let words_each = sentences * PER_SENTENCE;
    let mut callers: Vec<[Caller; 2]> = Vec::new();
    for n in 0..CALLS {
        let pair = [("5", "en"), ("6", "es")].map(|(digit, language)| {
            let first = n * (WORDS / CALLS);
            let said: Vec<u16> = (0..words_each).map(|i| (first + i) % WORDS).collect();
            let mut voice = vec![0; RATE as usize * 2];
            for words in said.chunks(usize::from(PER_SENTENCE)) {
                voice.extend(sentence(language, words.iter().copied(), RATE, Duration::from_millis(900)));
            }
            Caller { phone: LightPhone::call(gateway, &format!("{digit}{n:02}"), &voice), said }
        });
        callers.push(pair);
    }
    let begin = Instant::now();
    for caller in callers.iter().flatten() {
        caller.phone.wait_up();
    }
    for caller in callers.iter().flatten() {
        wait_for("all to be said", length() + 120 * S, || caller.phone.has_said_all());
    }
    // The translation of the last sentence is still to come.
    wait_for("all to be heard", 60 * S, || {
        callers.iter().flatten().all(|c| hear(&c.phone.heard(), RATE).words.len() >= usize::from(words_each))
    });
    println!("{CALLS} calls of {words_each} words each way in {:.0} s", begin.elapsed().as_secs_f64());
    for [a, b] in &callers {
        let (heard_a, heard_b) = (a.phone.hang_up(), b.phone.hang_up());
        for (heard, language, said) in [(heard_a, "en", &b.said), (heard_b, "es", &a.said)] {
            let report = hear(&heard, RATE);
            let wanted: Vec<_> = said.iter().map(|n| (language, *n)).collect();
            assert_eq!(report.words, wanted, "every word once, in order");
            assert_eq!(report.damaged, 0);
        }
    }
}

#[test]
fn twenty_calls_lose_no_word_and_leak_nothing() {
    let gateway = Asterisk::gateway_with(
        "exten => _5XX,1,Stasis(mgw,7777,load-${EXTEN:1})\nexten => _6XX,1,Stasis(mgw,8888,load-${EXTEN:1})\n",
    );
    let cloud = Cloud::start("");
    let shim = shim_for(&gateway, &cloud, "", "");
    let empty = || {
        wait_for("an empty Asterisk", 60 * S, || gateway.leftovers().is_empty());
        wait_for("a shim without sessions", 60 * S, || {
            shim.metric("mgw_shim_legs") == 0.0 && shim.metric("mgw_sessions") == 0.0
        });
        // Connections to providers and to ARI are closed a moment later.
        std::thread::sleep(2 * S);
        footprint(shim.pid())
    };
    // A short round first: threads, pools and caches are there after it.
    round(&gateway, 2);
    let before = empty();
    let used = cpu(shim.pid());
    let begin = Instant::now();
    round(&gateway, (length().as_millis() / SENTENCE.as_millis()) as u16);
    let cores = (cpu(shim.pid()) - used).as_secs_f64() / begin.elapsed().as_secs_f64();
    let after = empty();
    println!(
        "descriptors, threads, memory in kB before and after: {before:?} {after:?}; the shim used {:.2} % of a core a call",
        cores * 100.0 / f64::from(CALLS)
    );
    // ARI's pool may hold a few kept connections more or less.
    assert!(after.0 <= before.0 + 8, "descriptors leak: {before:?} {after:?}");
    assert_eq!(before.1, after.1, "threads leak");
    assert!(after.2 < before.2 + 30_000, "memory leaks: {before:?} {after:?}");
    assert_eq!(cloud.stats()["violations"], serde_json::json!([]));
    assert_eq!(shim.metric("mgw_shim_ari_calls_refused"), 0.0);
}

fn cloud_tool(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_mgw-local-cloud")).args(arguments).output().expect("mgw-local-cloud");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn read_wav(path: &Path) -> Vec<i16> {
    let mut reader = hound::WavReader::open(path).expect("WAV");
    assert_eq!(reader.spec().sample_rate, RATE);
    reader.samples::<i16>().map(|s| s.expect("sample")).collect()
}

/// What the offline recogniser hears in a recording.
fn recognised(samples: &[i16], language: &str) -> Vec<String> {
    let path = temp_file("heard.wav");
    let spec =
        hound::WavSpec { channels: 1, sample_rate: RATE, bits_per_sample: 16, sample_format: hound::SampleFormat::Int };
    let mut writer = hound::WavWriter::create(&path, spec).expect("WAV");
    samples.iter().for_each(|s| writer.write_sample(*s).expect("sample"));
    writer.finalize().expect("WAV");
    let text = cloud_tool(&["recognise", "--language", language, path.to_str().expect("UTF-8")]);
    let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let words = json["words"].as_array().expect("words").iter();
    words.filter_map(|w| w["text"].as_str()).map(str::to_owned).collect()
}

#[test]
fn real_speech_is_translated_on_a_real_asterisk() {
    let gateway = Asterisk::gateway();
    let cloud = Cloud::start_with("", &["--engine", "offline"]);
    let shim = shim_for(&gateway, &cloud, "", "");
    let phones = Phones::new(&gateway);
    let folder = temp_file("voices").parent().expect("folder").to_owned();
    cloud_tool(&["demo-voices", folder.to_str().expect("UTF-8")]);
    let (english, spanish) = (read_wav(&folder.join("english.wav")), read_wav(&folder.join("spanish.wav")));
    let part = |samples: &[i16], from: f64, to: f64| {
        samples[(from * f64::from(RATE)) as usize..(to * f64::from(RATE)) as usize].to_vec()
    };
    let a = phones.call_from("1001", "7777", Codec::L16, &[]);
    let b = phones.call_from("1002", "8888", Codec::L16, &[]);
    a.wait_up();
    b.wait_up();
    wait_for("both in the room", 20 * S, || shim.calls().len() == 2);
    // "quiero hablar con el doctor", "mi hija tiene fiebre", "cuánto cuesta la medicina", from the demo's conversation.
    b.say(&part(&spanish, 8.0, 34.0));
    // "The doctor can see you tomorrow at ten o'clock.", said while the other pauses.
    a.say(&part(&english, 8.0, 34.0));
    a.wait_said_all();
    b.wait_said_all();
    std::thread::sleep(8 * S);
    let (heard_a, heard_b) = (a.hang_up(), b.hang_up());
    let english = recognised(&heard_a, "en");
    let mut rest = english.iter();
    for word in ["speak", "doctor", "daughter", "fever", "medicine"] {
        assert!(rest.any(|heard| heard == word), "\"{word}\" is missing at its place in {english:?}");
    }
    for heard in [&heard_a, &heard_b] {
        let level = level_dbfs(heard, RATE).expect("speech was heard");
        assert!((-23.0..=-17.0).contains(&level), "{level} dBFS");
    }
}
