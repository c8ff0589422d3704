//! All sessions lose their vendor at once.

use std::time::{Duration, Instant};

use mgw::Gateway;
use mgw::config::Config;
use mgw::engine::LeaveMode;
use mgw::session;

use crate::support::{Cloud, wait_for};

const S: Duration = Duration::from_secs(1);
/// Two in a room.
const SESSIONS: usize = 500;

#[test]
fn five_hundred_sessions_are_back_in_seconds_and_in_good_order() {
    let cloud = Cloud::start("[stt]\nmax_streams = 2000\n");
    let config = cloud.config(&[("max_sessions", "600"), ("deepgram.max_streams", "0")]);
    let gateway = Gateway::new(&config).unwrap_or_else(|e| panic!("{e}"));
    let sessions: Vec<_> = (0..SESSIONS)
        .map(|i| {
            let profile = if i % 2 == 0 { "7777" } else { "8888" };
            gateway.open_session(profile, &format!("room-{}", i / 2), &Config::new()).expect("session")
        })
        .collect();
    let open = |stage: &str| cloud.stats()["open"][stage].as_u64().unwrap_or(0) as usize;
    let all = || open("stt") == SESSIONS && open("tts") == SESSIONS;
    wait_for("all connections", 120 * S, all);
    let requests = |stage: &str| cloud.stats()["requests"][stage].as_u64().unwrap_or(0);
    let (stt, tts) = (requests("stt"), requests("tts"));
    let begun = Instant::now();
    cloud.drop_all();
    wait_for("the loss", 60 * S, || requests("stt") > stt && requests("tts") > tts);
    wait_for("all connections again", 120 * S, all);
    let (stt, tts) = (requests("stt") - stt, requests("tts") - tts);
    println!("{SESSIONS} sessions: all back after {:.2} s, {stt} and {tts} attempts", begun.elapsed().as_secs_f64());
    // A refused or lost attempt may be repeated, but nobody hammers.
    assert!(stt <= 2 * SESSIONS as u64 && tts <= 2 * SESSIONS as u64, "{stt} and {tts} attempts");
    for id in sessions {
        session::close(id, LeaveMode::Now).expect("close");
    }
    gateway.shutdown(20 * S).unwrap_or_else(|e| panic!("{e}"));
}
