//! The loop guard, by ear: a microphone that hears the translation does not send it back, and what is said over it is
//! translated all the same.

mod support;

use std::time::Duration;

use mgw::config::Config;
use mgw::engine::LeaveMode;
use mgw::{Gateway, session};
use support::live::{Echo, LiveLeg};
use support::{Cloud, events, wait_for};

const LIMIT: Duration = Duration::from_secs(120);
const RATE: u32 = 16_000;
/// How late the echo is, beside the 40 ms of the leg itself.
const DELAYS: [u64; 4] = [5, 60, 150, 300];
const SENTENCES: u16 = 8;

#[test]
fn an_echo_never_comes_around_and_what_is_said_over_it_does() {
    let cloud = Cloud::start("");
    let gateway = Gateway::new(&cloud.config(&[])).unwrap_or_else(|e| panic!("{e}"));
    let legs: Vec<(LiveLeg, LiveLeg)> = DELAYS
        .iter()
        .map(|delay| {
            let room = format!("echo-{delay}");
            let open = |profile| gateway.open_session(profile, &room, &Config::new()).expect("a session");
            let (a, b) = (open("7777"), open("8888"));
            let echo = Echo { delay: Duration::from_millis(*delay), gain_db: -20.0 };
            (LiveLeg::start(a, RATE, RATE), LiveLeg::start_with_echo(b, RATE, echo))
        })
        .collect();
    for (a, b) in &legs {
        for i in 0..SENTENCES {
            a.say_words("en", i * 5..i * 5 + 5);
            // Half a sentence shifted, so that words fall on echoes and into the gaps between them.
            if i % 2 == 1 {
                b.say(vec![0; RATE as usize * 11 / 10]);
                b.say_words("es", 2000 + i * 4..2000 + i * 4 + 4);
            } else {
                b.say(vec![0; RATE as usize]);
            }
        }
    }
    let theirs: Vec<u16> = (0..SENTENCES * 5).collect();
    let own: Vec<u16> = (0..SENTENCES).filter(|i| i % 2 == 1).flat_map(|i| 2000 + i * 4..2000 + i * 4 + 4).collect();
    for (delay, (a, b)) in DELAYS.iter().zip(&legs) {
        wait_for("the translation in the ear with the echo", LIMIT, || b.words("es").last() == theirs.last());
        wait_for("what was said over it", LIMIT, || a.words("en").last() == own.last());
        assert_eq!(b.words("es"), theirs, "{delay} ms: every word once");
    }
    // The last echo has had its time: a recogniser's final, a translation, a voice.
    std::thread::sleep(Duration::from_secs(4));
    for (delay, (a, _)) in DELAYS.iter().zip(&legs) {
        assert_eq!(a.words("en"), own, "{delay} ms: what was really said, and nothing else");
    }
    let told = events(&gateway);
    for delay in DELAYS {
        let mine = |e: &&serde_json::Value| e["type"] == "echo_dropped" && e["room"] == format!("echo-{delay}");
        let words: u64 = told.iter().filter(mine).filter_map(|e| e["words"].as_u64()).sum();
        assert!(words > u64::from(SENTENCES), "{delay} ms: the echo was there to be recognised, {words} words");
    }
    for (a, b) in legs {
        let sessions = [a.session, b.session];
        a.stop();
        b.stop();
        for session in sessions {
            session::close(session, LeaveMode::Now).expect("close");
        }
    }
}
