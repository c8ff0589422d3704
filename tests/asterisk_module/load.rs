//! Many translated calls in one Asterisk.
//!
//! `MGW_TEST_LOAD_S` sets how long they last (60 s), `MGW_TEST_CALLS` how many they are (50).

use std::io::Write;
use std::time::{Duration, Instant};

use crate::ear::{Wanted, faults};
use crate::host::*;
use crate::support::asterisk::phones::RATE;
use crate::support::asterisk::{Asterisk, LATE, LightPhone};
use crate::support::codec::{GAP_S, TOKEN_S, WORDS};
use crate::support::live::sentence;
use crate::support::{Cloud, cpu, wait_for};

/// Down to so many, where the machine does not carry more.
const LEAST: u16 = 6;
const PER_SENTENCE: u16 = 5;
const SENTENCE_S: f64 = 1.8;
/// When nobody has heard anything new for so long and all is said, nobody will hear more.
const QUIET: Duration = Duration::from_secs(10);
/// CPU time of the hook's thread for one callback, at the 99th percentile.
const MOST_US: f64 = 10.0;

fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().and_then(|s| s.parse().ok()).unwrap_or(usual)
}

struct Party {
    phone: LightPhone,
    voice: Vec<i16>,
    /// What its partner is to hear.
    wanted: Vec<Wanted>,
}

impl Party {
    fn new(phone: LightPhone, [own, foreign]: [&'static str; 2], said: &[u16]) -> Party {
        let mut voice = vec![0; RATE as usize];
        let mut wanted = Vec::new();
        for words in said.chunks(usize::from(PER_SENTENCE)) {
            let begin = voice.len() as f64 / f64::from(RATE);
            wanted.extend(words.iter().zip(0u8..).map(|(number, i)| {
                let said_s = begin + f64::from(i) * (TOKEN_S + GAP_S);
                Wanted { language: foreign, number: *number, said_s }
            }));
            voice.extend(sentence(own, words.iter().copied(), RATE, Duration::from_millis(900)));
        }
        Party { phone, voice, wanted }
    }
}

/// Segments that were heard by now, of all sessions.
fn heard_segments(gateway: &Asterisk) -> u64 {
    let text = gateway.rx("mgw show sessions");
    let heard = text.lines().filter_map(|line| line.split_whitespace().nth(7)?.parse::<u64>().ok());
    heard.sum()
}

/// What became of a round: ears that missed something, phones and echoes that were late without the module's doing.
struct Round {
    faults: Vec<String>,
    late: Vec<String>,
    cost: String,
}

fn round(gateway: &Asterisk, calls: u16, sentences: u16) -> Round {
    let each = sentences * PER_SENTENCE;
    let mut parties = Vec::new();
    for n in 0..calls {
        let said: Vec<u16> = (0..each).map(|i| (n * 40 + i) % WORDS).collect();
        let (a, b) = pair(gateway, n.into());
        parties.push(Party::new(a, ["en", "es"], &said));
        parties.push(Party::new(b, ["es", "en"], &said));
    }
    wait_for("all calls translated", 60 * S, || states(gateway) == vec!["active"; calls.into()]);
    // They measure phones and Asterisk without translation.
    let echoes: Vec<LightPhone> = (0..=calls / 10).map(|_| LightPhone::call(gateway, "9000", &[])).collect();
    for echo in &echoes {
        echo.wait_up();
        wait_for("an echo", 60 * S, || echo.packets() > 25);
    }
    gateway.rx("mgw measure on");
    let (begin, used) = (Instant::now(), cpu(gateway.pid()));
    parties.iter().map(|p| &p.phone).chain(&echoes).for_each(LightPhone::watch);
    parties.iter().for_each(|p| p.phone.say(&p.voice));
    // By the module's own count: to decode the ears while the calls go on would take the time from what is tested.
    let (mut heard, mut since) = (0, Instant::now());
    while since.elapsed() < QUIET {
        std::thread::sleep(2 * S);
        let sum = heard_segments(gateway);
        if sum != heard || !parties.iter().all(|p| p.phone.has_said_all()) {
            (heard, since) = (sum, Instant::now());
        }
    }
    let shown = gateway.rx("mgw show calls");
    let cost = shown.lines().find(|l| l.starts_with("CPU time")).expect("it was measured").to_owned();
    gateway.rx("mgw measure off");
    let cores = (cpu(gateway.pid()) - used).as_secs_f64() / begin.elapsed().as_secs_f64();
    tell(&format!(
        "{calls} calls of {each} words each way in {:.0} s, Asterisk used {cores:.2} cores. {cost}",
        begin.elapsed().as_secs_f64()
    ));
    let recordings: Vec<Vec<i16>> = parties.iter().map(|p| p.phone.hang_up()).collect();
    let missed = |(n, p): (usize, &Party)| Some(format!("ear {}: {}", n ^ 1, faults(&p.wanted, &recordings[n ^ 1])?));
    let faults: Vec<String> = parties.iter().enumerate().filter_map(missed).collect();
    let sent = parties.iter().map(|p| p.phone.lateness());
    let all = sent.chain(echoes.iter().map(LightPhone::arrivals)).filter(|l| !l.beyond.is_empty());
    let late = all.map(|l| format!("{} packets late, up to {:.0?}", l.beyond.len(), l.worst)).collect();
    Round { faults, late, cost }
}

/// Seen also when the test passes, whose prints cargo keeps to itself.
fn tell(text: &str) {
    // Without a standard error nobody can be told.
    let _ = writeln!(std::io::stderr(), "load of the module: {text}");
}

#[test]
fn many_calls_lose_no_word_and_cost_little() {
    let cloud = Cloud::start("");
    let gateway = gateway_with(&conf(&cloud, "events = error,state", "").replacen("events = all\n", "", 1), module());
    let sentences = (number("MGW_TEST_LOAD_S", 60) as f64 / SENTENCE_S) as u16;
    let mut calls = number("MGW_TEST_CALLS", 50) as u16;
    let round = loop {
        let round = round(&gateway, calls, sentences);
        wait_empty(&gateway);
        if round.faults.is_empty() {
            break round;
        }
        let (faults, late) = (round.faults.join("\n"), round.late.join("\n"));
        assert!(!round.late.is_empty(), "{calls} calls, phones and Asterisk on time within {LATE:?}:\n{faults}");
        assert!(calls > LEAST, "this machine does not carry {calls} calls:\n{late}\n{faults}");
        tell(&format!(
            "void: {calls} calls are too many for this machine now, phones or Asterisk were late.\n{late}\n{faults}"
        ));
        calls = (calls / 2).max(LEAST);
    };
    let p99 =
        round.cost.split("p99 ").nth(1).and_then(|rest| rest.split(' ').next()).and_then(|n| n.parse::<f64>().ok());
    assert!(p99.expect("a figure") < MOST_US, "{}", round.cost);
    assert_eq!(cloud.stats()["violations"], serde_json::json!([]));
}
