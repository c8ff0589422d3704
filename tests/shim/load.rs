//! Many calls at once on a real Asterisk, and real speech through it.

use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::asterisk::{S, shim_for};
use crate::ear::{Progress, Wanted, faults};
use crate::support::asterisk::measure::level_dbfs;
use crate::support::asterisk::phones::RATE;
use crate::support::asterisk::{Asterisk, Codec, LATE, LightPhone, Phones};
use crate::support::codec::{GAP_S, TOKEN_S, WORDS};
use crate::support::live::sentence;
use crate::support::shim::Shim;
use crate::support::{Cloud, cpu, temp_file, wait_for};

/// Calls at once; on a machine that cannot keep time with so many it is half of that, and so on …
const CALLS: u16 = 20;
/// … down to this.
const LEAST_CALLS: u16 = 5;
/// Words of a sentence and the time it takes with its pause.
const PER_SENTENCE: u16 = 5;
const SENTENCE: Duration = Duration::from_millis(1800);
/// The gateway's dialplan sends back what comes.
const ECHO: &str = "9000";
/// Before the first sentence.
const LEAD: Duration = Duration::from_secs(1);
/// An ear that has heard nothing new for so long, when all is said, will not hear more.
const QUIET: Duration = Duration::from_secs(20);

fn length() -> Duration {
    let seconds = std::env::var("MGW_TEST_LOAD_S").ok().and_then(|s| s.parse().ok()).unwrap_or(60);
    Duration::from_secs(seconds)
}

struct Caller {
    name: String,
    phone: LightPhone,
    voice: Vec<i16>,
    /// What its partner is to hear.
    wanted: Vec<Wanted>,
    ear: Progress,
}

impl Caller {
    fn call(gateway: &Asterisk, name: String, [own, foreign]: [&'static str; 2], said: &[u16]) -> Caller {
        let phone = LightPhone::call(gateway, &name, &[]);
        let mut voice = vec![0; (LEAD.as_secs_f64() * f64::from(RATE)) as usize];
        let mut wanted = Vec::new();
        for words in said.chunks(usize::from(PER_SENTENCE)) {
            let begin = voice.len() as f64 / f64::from(RATE);
            wanted.extend(words.iter().zip(0u8..).map(|(number, i)| {
                let said_s = begin + f64::from(i) * (TOKEN_S + GAP_S);
                Wanted { language: foreign, number: *number, said_s }
            }));
            voice.extend(sentence(own, words.iter().copied(), RATE, Duration::from_millis(900)));
        }
        Caller { name, phone, voice, wanted, ear: Progress::new() }
    }

    /// Whether a leg that the shim lists is this one's.
    fn has(&self, leg: &serde_json::Value) -> bool {
        let extension = if self.name.starts_with('5') { "7777" } else { "8888" };
        leg["extension"] == extension && leg["room"] == format!("load-{}", &self.name[1..])
    }
}

/// What became of a round.
struct Round {
    /// Ears that did not hear every word of their partner once, in order and whole.
    faults: Vec<String>,
    /// Where packets were later than [`LATE`] though the shim has no part in it: at phones, or at phones that speak with
    /// Asterisk alone.
    late: Vec<String>,
    /// Cores that the shim used.
    cores: f64,
}

/// Descriptors, threads and resident memory in kilobytes of a process.
fn footprint(pid: u32) -> (usize, usize, u64) {
    let count = |what: &str| std::fs::read_dir(format!("/proc/{pid}/{what}")).expect("process").count();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("process");
    let resident = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).expect("VmRSS");
    let resident = resident.trim().trim_end_matches(" kB").parse().expect("number");
    (count("fd"), count("task"), resident)
}

/// So many calls, each of so many sentences both ways.
fn round(gateway: &Asterisk, shim: &Shim, calls: u16, sentences: u16) -> Round {
    let words_each = sentences * PER_SENTENCE;
    let (begin, used) = (Instant::now(), cpu(shim.pid()));
    let mut callers: Vec<Caller> = Vec::new();
    for n in 0..calls {
        let said: Vec<u16> = (0..words_each).map(|i| (n * (WORDS / CALLS) + i) % WORDS).collect();
        for (digit, languages) in [("5", ["en", "es"]), ("6", ["es", "en"])] {
            callers.push(Caller::call(gateway, format!("{digit}{n:02}"), languages, &said));
        }
    }
    for caller in &callers {
        caller.phone.wait_up();
    }
    shim.wait_calls(callers.len());
    // They measure Asterisk, on which the shim's words come: one for five calls.
    let echoes: Vec<LightPhone> = (0..=calls / 5).map(|_| LightPhone::call(gateway, ECHO, &[])).collect();
    for echo in &echoes {
        echo.wait_up();
        wait_for("an echo", 60 * S, || echo.packets() > 25);
    }
    for phone in callers.iter().map(|c| &c.phone).chain(&echoes) {
        phone.watch();
    }
    for caller in &callers {
        caller.phone.say(&caller.voice);
    }
    // Until all is heard, or all is said and nothing more comes.
    let (mut heard, mut since, limit) = (0, Instant::now(), length() + 180 * S);
    let speech = Instant::now();
    loop {
        std::thread::sleep(S);
        let words: Vec<usize> = callers.iter_mut().map(|c| c.ear.words(&c.phone)).collect();
        let sum = words.iter().sum::<usize>();
        if sum != heard || !callers.iter().all(|c| c.phone.has_said_all()) {
            (heard, since) = (sum, Instant::now());
        }
        if words.iter().all(|n| *n >= usize::from(words_each)) || since.elapsed() > QUIET {
            break;
        }
        assert!(speech.elapsed() < limit, "waited {limit:?} for all to be said and heard: {words:?}");
    }
    let cores = (cpu(shim.pid()) - used).as_secs_f64() / begin.elapsed().as_secs_f64();
    println!("{calls} calls of {words_each} words each way in {:.0} s", begin.elapsed().as_secs_f64());
    let legs = shim.calls();
    let recordings: Vec<Vec<i16>> = callers.iter().map(|c| c.phone.hang_up()).collect();
    let mut round = Round { faults: Vec::new(), late: Vec::new(), cores };
    for (n, caller) in callers.iter().enumerate() {
        let partner = n ^ 1;
        if let Some(faults) = faults(&caller.wanted, &recordings[partner]) {
            let leg = legs.iter().find(|leg| caller.has(leg)).map(|leg| leg["media"]["leg"].to_string());
            round.faults.push(format!(
                "{} did not hear {} well: {faults}\n  the speaker's leg: {}",
                callers[partner].name,
                caller.name,
                leg.unwrap_or_default()
            ));
        }
    }
    let mut worst = [Duration::ZERO; 2];
    let sent = callers.iter().map(|c| (0, format!("{} sent", c.name), c.phone.lateness()));
    let echoed = echoes.iter().map(|echo| (1, "an echo came".to_owned(), echo.arrivals()));
    for (kind, what, late) in sent.chain(echoed) {
        worst[kind] = worst[kind].max(late.worst);
        if !late.beyond.is_empty() {
            let some = late.beyond.iter().take(10).map(|(at, by)| format!("{} ms at {at:.2} s", by.as_millis()));
            let some: Vec<String> = some.collect();
            round.late.push(format!("{what} {} packets late: {}", late.beyond.len(), some.join(", ")));
        }
    }
    println!("without the shim, phones sent up to {:.1?} late and echoes came up to {:.1?} late", worst[0], worst[1]);
    round
}

/// Seen also when the test passes, whose prints cargo keeps to itself.
fn tell(text: &str) {
    // Without a standard error nobody can be told.
    let _ = writeln!(std::io::stderr(), "load test: {text}");
}

/// A round in which nobody missed anything, with as many calls as the machine carries, `calls` at most. Where words are
/// missing though phones and Asterisk kept time, the shim has lost them; where these did not, the round says nothing.
fn perfect(gateway: &Asterisk, shim: &Shim, mut calls: u16, sentences: u16, empty: impl Fn()) -> (u16, Round) {
    loop {
        let round = round(gateway, shim, calls, sentences);
        if round.faults.is_empty() {
            return (calls, round);
        }
        let (faults, late) = (round.faults.join("\n"), round.late.join("\n"));
        assert!(!round.late.is_empty(), "{calls} calls, phones and Asterisk on time within {LATE:?}:\n{faults}");
        assert!(
            calls > LEAST_CALLS,
            "this machine does not carry {calls} calls: phones or Asterisk do not keep time on it, so it cannot be told \
             whether the shim loses words. Give it more or idler cores.\n{late}\n{faults}"
        );
        tell(&format!(
            "void: {calls} calls are too many for this machine now, phones or Asterisk were late.\n{late}\n{faults}"
        ));
        empty();
        calls = (calls / 2).max(LEAST_CALLS);
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
        gateway.wait_empty(60 * S);
        wait_for("a shim without sessions", 60 * S, || {
            shim.metric("mgw_shim_legs") == 0.0 && shim.metric("mgw_sessions") == 0.0
        });
        // Connections to providers and to ARI are closed a moment later.
        std::thread::sleep(2 * S);
        footprint(shim.pid())
    };
    // A short round first: threads, pools and caches are there after it.
    let (calls, _) = perfect(&gateway, &shim, CALLS, 2, || {
        empty();
    });
    let before = empty();
    let sentences = (length().as_millis() / SENTENCE.as_millis()) as u16;
    let (calls, round) = perfect(&gateway, &shim, calls, sentences, || {
        empty();
    });
    let after = empty();
    if calls < CALLS {
        tell(&format!("this machine carried {calls} calls only, the test is meant for {CALLS}"));
    }
    println!(
        "descriptors, threads, memory in kB before and after: {before:?} {after:?}; the shim used {:.2} % of a core a call",
        round.cores * 100.0 / f64::from(calls)
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
    shim.wait_calls(2);
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
