//! A connection breaks in every sentence, at a byte by chance of a stage by chance: the ear hears each word once, in order.
//!
//! Lanes run side by side, each with a local cloud of its own. One speaker talks without a stop but for the pauses
//! between sentences; at the beginning of each sentence the cloud gets a new fault. Two lanes have none: how much later
//! than theirs a sentence ends is what the recovery cost, by the ear.

use std::time::{Duration, Instant};

use mgw::Gateway;
use mgw::config::Config;
use mgw::engine::LeaveMode;
use mgw::session;
use serde_json::{Value, json};

use crate::support::codec::{Decoder, GAP_S, Heard, TOKEN_S, Token};
use crate::support::leg::{Leg, Manner};
use crate::support::live::sentence;
use crate::support::{Cloud, events};

const S: Duration = Duration::from_secs(1);
const RATE: u32 = 16_000;
const PER_SENTENCE: u16 = 5;
const PAUSE: Duration = Duration::from_millis(900);
/// Lanes without faults, for comparison.
const CONTROLS: usize = 2;

/// Numbers by chance, the same in every run (SplitMix64).
struct Chance(u64);

impl Chance {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % n
    }
}

/// A fault somewhere in the next sentence: about as many bytes as one takes in each stage.
fn fault(chance: &mut Chance) -> String {
    // MGW_TEST_STAGE and MGW_TEST_KIND, for a closer look.
    let only = |name: &str| std::env::var(name).unwrap_or_default();
    let (stage, kind) = (only("MGW_TEST_STAGE"), only("MGW_TEST_KIND"));
    let stages = [("stt", 60_000), ("mt", 900), ("tts", 50_000)];
    let drawn = stages[chance.below(3) as usize];
    let (stage, bytes) = stages.into_iter().find(|s| s.0 == stage).unwrap_or(drawn);
    let drawn = ["reset", "reset", "reset", "fin", "fin", "half_close", "black_hole"][chance.below(7) as usize];
    let kind = if kind.is_empty() { drawn } else { &kind };
    format!("[[fault]]\nstage = \"{stage}\"\non = \"byte\"\nat = {}\nkind = \"{kind}\"\n", 1 + chance.below(bytes))
}

#[derive(Default)]
struct Outcome {
    drops: u64,
    lost: Vec<u16>,
    doubled: Vec<u16>,
    out_of_order: u64,
    damaged: usize,
    /// Words of the speaker's own voice that passed.
    originals: u64,
    /// From the end of each sentence in the mouth to its end in the ear, in ms.
    lags: Vec<f64>,
    /// (word, begin, end in seconds) as the ear heard it; no word where it was damaged.
    heard: Vec<(Option<u16>, f64, f64)>,
}

fn lane(gateway: &Gateway, number: usize, sentences: u16, faulty: bool) -> Outcome {
    let cloud = Cloud::start("");
    let http = format!("http://{}", cloud.address);
    let mut options = Config::new();
    for vendor in ["deepgram", "deepl", "elevenlabs"] {
        options.set(&format!("{vendor}.base_url"), &http).expect("an address");
    }
    let room = format!("lane-{number}");
    // The ear of this test must not have to understand faster speech as well.
    options.set("playout.stretch_max", "1").expect("a speed");
    let a = gateway.open_session("7777", &room, &options).expect("speaker");
    let b = gateway.open_session("8888", &room, &options).expect("listener");
    let lead = 1500 * RATE as usize / 1000;
    let mut voice = vec![0; lead];
    let mut ends = Vec::new();
    for i in 0..sentences {
        let first = i * PER_SENTENCE;
        voice.extend(sentence("en", first..first + PER_SENTENCE, RATE, PAUSE));
        ends.push(voice.len() as f64 / f64::from(RATE) - PAUSE.as_secs_f64() - GAP_S);
    }
    let begun = Instant::now();
    let (ear, mouth) = (Leg::start(b, Manner::default(), Vec::new()), Leg::start(a, Manner::default(), voice));
    let mut chance = Chance(number as u64);
    let length = f64::from(PER_SENTENCE) * (TOKEN_S + GAP_S) + PAUSE.as_secs_f64();
    let mut drops = 0;
    let mut count = |cloud: &Cloud| drops += cloud.stats()["faults_total"].as_u64().expect("a number");
    for i in 0..sentences {
        let at = begun + Duration::from_secs_f64(1.4 + length * f64::from(i));
        std::thread::sleep(at.saturating_duration_since(Instant::now()));
        if faulty {
            cloud.set_scenario(&fault(&mut chance));
        }
    }
    std::thread::sleep(2 * S);
    cloud.set_scenario("");
    count(&cloud);
    // Until nothing has happened for long: retries and replays have their deadlines, all below this.
    let (mut last, mut before) = (Instant::now(), Value::Null);
    let limit = Instant::now() + 180 * S;
    while last.elapsed() < 14 * S {
        // On a busy machine the media thread may be late for once.
        let Ok(stats) = session::stats(a) else { continue };
        let stats: Value = serde_json::from_str(&stats).expect("JSON");
        let now = stats["segments"].clone();
        if !mouth.has_said_all() || now != before {
            (last, before) = (Instant::now(), now);
        }
        assert!(Instant::now() < limit, "lane {number} never ends: {stats}");
        std::thread::sleep(Duration::from_millis(200));
    }
    let (heard, _) = (ear.finish(), mouth.finish());
    session::close(a, LeaveMode::Now).expect("close");
    session::close(b, LeaveMode::Now).expect("close");
    judge(&heard, sentences, drops, &ends)
}

fn judge(heard: &[i16], sentences: u16, drops: u64, ends: &[f64]) -> Outcome {
    let mut outcome = Outcome { drops, ..Outcome::default() };
    let mut decoder = Decoder::new(RATE);
    let mut all = decoder.feed(heard);
    all.extend(decoder.finish());
    let mut numbers = Vec::new();
    for event in all {
        match event {
            Heard::Word { token, start, end } => {
                outcome.heard.push((Some(token.n), start, end));
                // The speaker's own voice, while translation was down for longer than 400 ms.
                if token.language() != "es" {
                    outcome.originals += 1;
                    continue;
                }
                numbers.push(token.n);
                if token.n % PER_SENTENCE == PER_SENTENCE - 1 {
                    outcome.lags.push((end - ends[usize::from(token.n / PER_SENTENCE)]) * 1000.0);
                }
            }
            Heard::Damaged { start, end } => {
                outcome.heard.push((None, start, end));
                outcome.damaged += 1;
            }
        }
    }
    let said = 0..sentences * PER_SENTENCE;
    outcome.lost = said.clone().filter(|n| !numbers.contains(n)).collect();
    outcome.doubled = said.filter(|n| numbers.iter().filter(|m| *m == n).count() > 1).collect();
    outcome.out_of_order = numbers.windows(2).filter(|pair| pair[1] < pair[0]).count() as u64;
    outcome
}

/// The words of a room that the host was told are lost.
fn reported(told: &[Value], room: &str) -> Vec<u16> {
    let lost = told.iter().filter(|e| e["type"] == "segment_lost" && e["room"] == room);
    let texts = lost.filter_map(|e| e["source_text"].as_str());
    texts.flat_map(str::split_whitespace).filter_map(Token::parse).map(|token| token.n).collect()
}

fn quantile(sorted: &[f64], q: f64) -> f64 {
    sorted.get(((sorted.len() as f64 - 1.0) * q).round() as usize).copied().unwrap_or(f64::NAN)
}

#[test]
fn a_drop_in_every_sentence_and_every_word_is_heard_once() {
    // MGW_TEST_SENTENCES is what `make soak` sets; its outcome is kept.
    let soak: Option<usize> = std::env::var("MGW_TEST_SENTENCES").ok().and_then(|n| n.parse().ok());
    let (lanes, each) = match soak {
        Some(sentences) => (20, (sentences / 20).clamp(1, 800) as u16),
        None => (8, 30),
    };
    let config = Cloud::start("").config(&[("max_sessions", "200")]);
    let gateway = Gateway::new(&config).unwrap_or_else(|e| panic!("{e}"));
    let mut told: Vec<Value> = Vec::new();
    let outcomes: Vec<(bool, Outcome)> = std::thread::scope(|scope| {
        let gateway = &gateway;
        let runs: Vec<_> = (0..lanes + CONTROLS)
            .map(|number| (number >= CONTROLS, scope.spawn(move || lane(gateway, number, each, number >= CONTROLS))))
            .collect();
        while !runs.iter().all(|(_, run)| run.is_finished()) {
            told.extend(events(gateway));
            std::thread::sleep(Duration::from_millis(100));
        }
        runs.into_iter().map(|(faulty, run)| (faulty, run.join().expect("a lane"))).collect()
    });
    told.extend(events(&gateway));
    if std::env::var_os("MGW_TEST_EVENTS").is_some() {
        told.iter().for_each(|event| println!("{event}"));
    }
    let mut control: Vec<f64> = outcomes.iter().filter(|o| !o.0).flat_map(|o| o.1.lags.clone()).collect();
    control.sort_by(f64::total_cmp);
    let usual = quantile(&control, 0.5);
    let faulty: Vec<&Outcome> = outcomes.iter().filter(|o| o.0).map(|o| &o.1).collect();
    let mut late: Vec<f64> = faulty.iter().flat_map(|o| o.lags.iter().map(|lag| lag - usual)).collect();
    late.sort_by(f64::total_cmp);
    let sum = |f: &dyn Fn(&Outcome) -> u64| faulty.iter().map(|o| f(o)).sum::<u64>();
    let (drops, sentences) = (sum(&|o| o.drops), lanes as u64 * u64::from(each));
    // Whether the machine kept time: what a late round leaves out is heard as a hole, with a fault or without one.
    let late_rounds = gateway
        .metrics()
        .lines()
        .find_map(|line| line.strip_prefix("mgw_media_rounds_late ").and_then(|n| n.parse::<u64>().ok()));
    let report = json!({
        "late_rounds": late_rounds,
        "sentences": sentences, "drops": drops, "lost": sum(&|o| o.lost.len() as u64),
        "doubled": sum(&|o| o.doubled.len() as u64), "out_of_order": sum(&|o| o.out_of_order),
        "damaged": sum(&|o| o.damaged as u64), "original_words": sum(&|o| o.originals),
        "reported_lost": told.iter().filter(|e| e["type"] == "segment_lost").count(),
        "usual_lag_ms": usual.round(),
        "p50_recover_ms": quantile(&late, 0.5).round(), "p99_recover_ms": quantile(&late, 0.99).round(),
    });
    println!("{report}");
    if soak.is_some() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("target/soak");
        std::fs::create_dir_all(&folder).expect("target/soak");
        std::fs::write(folder.join("providers.json"), format!("{report:#}\n")).expect("target/soak/providers.json");
    }
    let (mut wrong, mut control_wrong) = (0, 0);
    for (number, (faulty, o)) in outcomes.iter().enumerate() {
        let told = reported(&told, &format!("lane-{number}"));
        let silent: Vec<u16> = o.lost.iter().copied().filter(|n| !told.contains(n)).collect();
        let here = silent.len() + o.doubled.len() + o.out_of_order as usize;
        if here > 0 {
            println!("lane {number}: lost untold {silent:?}, doubled {:?}, {} out of order", o.doubled, o.out_of_order);
            for odd in silent.iter().chain(&o.doubled) {
                let near = |n: &Option<u16>| n.is_some_and(|n| n.abs_diff(*odd) <= 2);
                let from = o.heard.iter().position(|(n, ..)| near(n)).unwrap_or_default();
                let to = o.heard.iter().rposition(|(n, ..)| near(n)).unwrap_or_default();
                println!("  around {odd}: {:?}", &o.heard[from..=to]);
            }
        }
        match faulty {
            true => wrong += here,
            false => control_wrong += here,
        }
    }
    assert_eq!(control_wrong, 0, "lanes without faults lose nothing, unless the machine does not keep time");
    assert_eq!(wrong, 0, "words lost without a report, doubled or out of order");
    assert!(drops * 2 > sentences, "too few drops for what this test is for: {drops}");
}
