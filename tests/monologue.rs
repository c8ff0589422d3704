//! Two minutes of English without a partner, by a real voice and real offline engines: what was given to the translator
//! is what was said, once and in order, and the listener is not left behind.

mod support;

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use mgw::config::Config;
use mgw::engine::LeaveMode;
use mgw::{Gateway, session};
use serde_json::Value;
use support::live::LiveLeg;
use support::text::{in_order, words};
use support::{Cloud, events, temp_file, wait_for};

const RATE: u32 = 16_000;
/// As a story that somebody tells on the telephone; the offline recogniser knows everyday words best.
const STORY: [&str; 29] = [
    "good morning and thank you for calling the house of the doctor",
    "my name is john and i want to tell you about the new hours",
    "we open at eight o'clock in the morning and we close at six",
    "on friday we close at three because the people want to go home",
    "the doctor can see you on monday or on tuesday after ten o'clock",
    "if you have a fever you should drink a lot of water and rest",
    "please bring the medicine that you take every day with you",
    "the first visit is free and the second one is twenty dollars",
    "you can pay at the door with money or with a card",
    "there is a big parking place behind the white house",
    "the bus stops in front of the school on the other side of the street",
    "last year we had more than two thousand people here",
    "most of them came because they had a cold or a bad back",
    "some of them came with children and we were happy to see them",
    "in the summer we have a second doctor who speaks spanish",
    "she comes from a small town near the sea in the south",
    "she likes to talk with old people and with young people",
    "when you call in the night nobody will answer the telephone",
    "then you should go to the hospital on the main street",
    "they are open all night and they have a lot of doctors",
    "do not wait when you feel that something is very wrong",
    "tell them your name and the name of your doctor",
    "they will call us in the morning and tell us what happened",
    "i will also send you a letter with all of these numbers",
    "put it on the door of your kitchen so that you can find it",
    "if you need a car to come here tell us one day before",
    "my brother drives every morning from the station to the house",
    "he waits for ten minutes and he does not take any money",
    "thank you very much for your time and have a good day",
];

/// The samples of a WAV file of one channel and 16 kHz.
fn samples(path: &PathBuf) -> Vec<i16> {
    let bytes = std::fs::read(path).expect("flite's file");
    let data = bytes.windows(4).position(|id| id == b"data").expect("a data chunk") + 8;
    assert_eq!(bytes[24..28], RATE.to_le_bytes(), "16 kHz");
    bytes[data..].as_chunks::<2>().0.iter().map(|pair| i16::from_le_bytes(*pair)).collect()
}

/// The story at -20 dBFS, with the pauses of somebody who reads: 350 ms.
fn voice() -> Vec<i16> {
    let mut all = vec![0; RATE as usize];
    for text in STORY {
        let file = temp_file("monologue.wav");
        let status = Command::new("flite").args(["-voice", "rms", "-t", text, "-o"]).arg(&file).status();
        assert!(status.expect("flite (scripts/setup.sh installs it)").success());
        let spoken = samples(&file);
        let square = spoken.iter().map(|s| f64::from(*s) * f64::from(*s)).sum::<f64>() / spoken.len() as f64;
        let gain = 3277.0 / square.sqrt();
        all.extend(spoken.iter().map(|s| (f64::from(*s) * gain).clamp(-32_000.0, 32_000.0) as i16));
        all.extend(vec![0; RATE as usize * 35 / 100]);
    }
    all
}

#[test]
fn what_is_translated_of_a_monologue_is_what_was_said() {
    let voice = voice();
    let length = voice.len() as f64 / f64::from(RATE);
    assert!(length > 110.0, "about two minutes, not {length} s");
    let cloud = Cloud::start_with("", &["--engine", "offline"]);
    let gateway = Gateway::new(&cloud.config(&[])).unwrap_or_else(|e| panic!("{e}"));
    let a = gateway.open_session("7777", "room", &Config::new()).expect("a");
    let b = gateway.open_session("8888", "room", &Config::new()).expect("b");
    let (leg_a, leg_b) = (LiveLeg::start(a, RATE, RATE), LiveLeg::start(b, RATE, RATE));
    leg_a.say(voice);
    let mut told: Vec<Value> = Vec::new();
    wait_for("the end of the story", Duration::from_secs(200), || {
        told.extend(events(&gateway));
        leg_a.has_said_all()
    });
    // Its last words go through all stages; then the ear is silent for a while.
    let mut before = 0;
    wait_for("the last translation", Duration::from_secs(60), || {
        std::thread::sleep(Duration::from_secs(4));
        told.extend(events(&gateway));
        let done = told.iter().filter(|e| e["type"] == "segment_done").count();
        std::mem::replace(&mut before, done) == done
    });
    let text = |kind: &str, field: &str| -> Vec<String> {
        let of = told.iter().filter(|e| e["type"] == kind && e["session"] == a.0 && e["final"] != false);
        of.filter_map(|e| e[field].as_str()).flat_map(words).collect()
    };
    let said: Vec<String> = STORY.iter().flat_map(|text| words(text)).collect();
    let recognised = text("transcript", "text");
    let translated = text("segment_done", "source_text");
    let lost = told.iter().filter(|e| e["type"] == "segment_lost").count();
    let (right, kept) = (in_order(&said, &translated), in_order(&recognised, &translated));
    let mut lags: Vec<f64> =
        told.iter().filter(|e| e["type"] == "segment_done").filter_map(|e| e["lag_ms"].as_f64()).collect();
    lags.sort_by(f64::total_cmp);
    let quantile = |q: f64| lags[((lags.len() - 1) as f64 * q) as usize];
    println!(
        "{} words said in {length:.0} s; the recogniser's finals have {}, what was translated {}: {kept} of them the same, \
         {right} as said; {lost} lost; {} segments, lag p50 {:.0} ms, p95 {:.0} ms, longest {:.0} ms",
        said.len(),
        recognised.len(),
        translated.len(),
        lags.len(),
        quantile(0.5),
        quantile(0.95),
        quantile(1.0)
    );
    // Offline engines mishear some words; what is committed may differ from the final text where it came first.
    assert!(right * 100 >= said.len() * 70, "{right} of {} words as said: {translated:?}", said.len());
    assert!(kept * 100 >= recognised.len() * 90, "{kept} of {} as in the finals", recognised.len());
    assert!(translated.len() * 100 <= recognised.len() * 106, "nothing is translated twice");
    assert_eq!(lost, 0);
    let loud = leg_b.heard().chunks(320).filter(|block| block.iter().any(|s| s.abs() > 600)).count();
    assert!(loud as f64 * 0.02 > length * 0.5, "the listener heard {} s of speech", loud as f64 * 0.02);
    leg_a.stop();
    leg_b.stop();
    for session in [a, b] {
        session::close(session, LeaveMode::Now).expect("close");
    }
}
