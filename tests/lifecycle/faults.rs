//! Faults inside the library, by injection, and a host that pushes too much.

use std::time::Duration;

use mgw::media_port::{pull_frame, push_frame};
use mgw::{Status, session};

use crate::support::leg::hear;
use crate::support::{Cloud, wait_for};
use crate::{Host, LIMIT, hears, hears_original, is};

/// Refuses every recogniser until another scenario is set.
const NO_RECOGNISER: &str = "[[fault]]\nstage = \"stt\"\nat = 1\ncount = 0\nkind = \"status\"\ncode = 503\n";

#[test]
fn a_panic_in_a_room_costs_the_translation_only_and_only_for_a_while() {
    // With it, Rust's own hook looks symbols up for a second on the thread that every room here lives on.
    let backtrace = std::env::var("RUST_BACKTRACE").unwrap_or_default();
    assert!(matches!(backtrace.as_str(), "" | "0"), "run this test with RUST_BACKTRACE=0, as scripts/test.sh does");
    let cloud = Cloud::start("");
    // Both rooms on one thread.
    let host = Host::new(&cloud.config(&[("media_threads", "1")]));
    let (a, b) = host.call("room that panics");
    let (c, d) = host.call("room that never notices");
    a.say_words("en", 0..4);
    hears("before", &b, "es", 0..4);
    // The other room talks all the time.
    for n in 0..8 {
        c.say_words("en", 1000 + n * 5..1005 + n * 5);
        d.say_words("es", 2000 + n * 5..2005 + n * 5);
    }
    wait_for("the other room to be busy", LIMIT, || !d.words("es").is_empty());
    cloud.set_scenario(NO_RECOGNISER);
    session::inject_panic(a.session).expect("inject");
    for leg in [&a, &b] {
        host.wait("the report", |e| is(e, "error", leg.session) && e["code"] == "engine_panic");
    }
    let open = |active: bool| {
        let (a, b) = (a.session, b.session);
        move |e: &serde_json::Value| is(e, "fail_open", b) && e["active"] == active && e["speaker"] == a.0
    };
    host.wait("the original voice", open(true));
    hears_original("meanwhile", &a, &b, 20);
    cloud.set_scenario("");
    host.wait("translations again", open(false));
    a.say_words("en", 500..504);
    wait_for("the translation", LIMIT, || b.words("es").ends_with(&[500, 501, 502, 503]));
    // What was said in between was heard as it was, or reported.
    let after: Vec<u16> = b.words("es").into_iter().filter(|n| *n >= 20).collect();
    assert!(after.is_sorted_by(|x, y| x < y), "order or doubles: {after:?}");
    hears("the other room, C's words", &d, "es", 1000..1040);
    hears("the other room, D's words", &c, "en", 2000..2040);
    for leg in [&c, &d] {
        assert_eq!(hear(&leg.heard(), 16_000).damaged, 0);
        assert_eq!(host.count(|e| is(e, "error", leg.session) || is(e, "segment_lost", leg.session)), 0);
    }
    crate::close_now([a, b, c, d]);
}

#[test]
fn a_hung_media_thread_makes_pulls_say_original_until_it_is_back() {
    let cloud = Cloud::start("");
    let host = Host::new(&cloud.config(&[("media_threads", "1")]));
    let (a, b) = host.call("room");
    b.stop();
    let b = host.seen().iter().find(|e| e["profile"] == "8888").and_then(|e| e["session"].as_u64()).expect("b");
    let b = mgw::engine::SessionId(b);
    let mut frame = [0; 320];
    wait_for("a sign of life", LIMIT, || pull_frame(b, &mut frame) == Status::Silence);
    // Rounds after that pull: the first pull of the count sees a sign of life.
    let from = rounds(&host);
    wait_for("rounds", LIMIT, || rounds(&host) >= from + 3);
    host.gateway.inject_hang(Duration::from_secs(4));
    // The thread takes the command at its next round; statistics are answered by it, so no answer means that it hangs.
    wait_for("the hang", LIMIT, || session::stats(b).is_err());
    let mut pulls = 1;
    // One pull sees the last sign of life, 25 see none.
    while pull_frame(b, &mut frame) != Status::Original {
        pulls += 1;
        assert!(pulls <= 40, "no pull says that the engine is dead");
        assert!(frame.iter().all(|s| *s == 0));
    }
    assert!((25..=27).contains(&pulls), "{pulls} pulls");
    assert_eq!(push_frame(b, &[0; 320]), Status::Ok, "pushing goes on");
    wait_for("its return", LIMIT, || pull_frame(b, &mut frame) != Status::Original);
    let b = crate::support::live::LiveLeg::start(b, 16_000, 16_000);
    host.wait("the listener", |e| is(e, "listener_back", b.session) || is(e, "joined", b.session));
    a.say_words("en", 0..5);
    hears("afterwards", &b, "es", 0..5);
    crate::close_now([a, b]);
}

/// Rounds of the media threads since the start.
fn rounds(host: &Host) -> u64 {
    let metrics = host.gateway.metrics();
    let line = metrics.lines().find_map(|l| l.strip_prefix("mgw_media_rounds "));
    line.and_then(|n| n.parse().ok()).unwrap_or_else(|| panic!("no rounds in {metrics}"))
}

#[test]
fn what_does_not_fit_into_the_ring_is_counted_and_told() {
    let cloud = Cloud::start("");
    let host = Host::new(&cloud.config(&[]));
    let (a, b) = host.call("room");
    let id = a.session;
    a.stop();
    // 6 s at once; the ring holds 1.5 s, and a media thread that is quick may take out a little meanwhile.
    let mut frames = 0u64;
    for _ in 0..300 {
        assert_eq!(push_frame(id, &[3000; 320]), Status::Ok, "the call goes on");
        frames += 1;
    }
    // The gap is told with the next frame that fits.
    let stats = || -> serde_json::Value { serde_json::from_str(&session::stats(id).expect("stats")).expect("JSON") };
    wait_for("the report", LIMIT, || {
        push_frame(id, &[0; 320]);
        frames += 1;
        host.count(|e| is(e, "audio_dropped", id) && e["stage"] == "input") > 0
    });
    let stats = stats();
    let dropped = stats["samples_dropped"].as_u64().expect("samples_dropped");
    assert!(dropped >= 16_000 && dropped % 320 == 0, "{stats}");
    assert!(stats["frames_in"].as_u64() >= Some(frames), "{stats}");
    wait_for("all of it", LIMIT, || {
        let told: f64 = host
            .seen()
            .iter()
            .filter(|e| is(e, "audio_dropped", id) && e["stage"] == "input")
            .filter_map(|e| e["dropped_ms"].as_f64())
            .sum();
        (told - dropped as f64 / 16.0).abs() < 1.0
    });
    crate::close_now([b]);
}
