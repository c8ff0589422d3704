//! Last sentences: with the time to be heard, and without.

use std::time::{Duration, Instant};

use mgw::engine::LeaveMode;
use mgw::{Status, session};

use crate::support::leg::hear;
use crate::support::live::sentence;
use crate::support::{Cloud, wait_for};
use crate::{Host, hears, is};

/// A sentence without a pause behind it: the recogniser has not ended it when the last sample is pushed.
fn last_sentence(words: std::ops::Range<u16>) -> Vec<i16> {
    sentence("en", words, 16_000, Duration::ZERO)
}

#[test]
fn a_leaver_s_last_sentence_reaches_the_others_whole() {
    let cloud = Cloud::start("");
    let host = Host::new(&cloud.config(&[]));
    let (a, b) = host.call("room");
    a.say(last_sentence(10..15));
    crate::has_spoken(&a);
    let id = a.session;
    session::close(id, LeaveMode::Drain).expect("close");
    hears("the one who stays", &b, "es", 10..15);
    host.wait("the leaver's last event", |e| is(e, "closed", id));
    assert_eq!(hear(&b.heard(), 16_000).damaged, 0);
    assert_eq!(host.lost_words("en"), [0u16; 0]);
    let closed = host.seen().into_iter().find(|e| is(e, "closed", id)).expect("closed");
    assert_eq!((closed["segments"].as_u64(), closed["lost"].as_u64()), (Some(1), Some(0)), "{closed}");
}

#[test]
fn one_that_leaves_at_once_is_told_what_was_lost() {
    // A slow translator keeps the first sentence on its way.
    let cloud = Cloud::start("[mt]\nlatency_ms = 5000\n");
    let host = Host::new(&cloud.config(&[]));
    let (a, b) = host.call("room");
    a.say_words("en", 10..13);
    host.wait("what was said first", |e| is(e, "transcript", a.session) && e["final"] == true);
    // The second one nobody has recognised yet.
    a.say(last_sentence(20..24));
    crate::has_spoken(&a);
    session::close(a.session, LeaveMode::Now).expect("close");
    host.wait("the leaver's last event", |e| is(e, "closed", a.session));
    assert_eq!(host.lost_words("en"), [10, 11, 12], "the sentence on its way");
    let unheard = |e: &serde_json::Value| {
        let end = e["end_ms"].as_f64().zip(e["start_ms"].as_f64()).map_or(0.0, |(end, start)| end - start);
        is(e, "segment_lost", a.session) && e["stage"] == "stt" && end > 300.0
    };
    assert_eq!(host.count(unheard), 1, "the span that nobody recognised");
    let closed = host.seen().into_iter().find(|e| is(e, "closed", a.session)).expect("closed");
    assert_eq!(closed["lost"], 2, "{closed}");
    assert_eq!(b.words("es"), [0u16; 0]);
}

#[test]
fn a_shutdown_with_time_lets_the_last_sentence_be_heard() {
    let cloud = Cloud::start("");
    let host = Host::new(&cloud.config(&[]));
    let (a, b) = host.call("room");
    a.say(last_sentence(30..35));
    crate::has_spoken(&a);
    // The listener goes on pulling while the shutdown waits for it.
    let begun = Instant::now();
    host.gateway.shutdown(Duration::from_secs(60)).expect("everything could be heard");
    assert!(begun.elapsed() < Duration::from_secs(55), "it ends when all is heard, not at the deadline");
    hears("the listener", &b, "es", 30..35);
    assert_eq!(hear(&b.heard(), 16_000).damaged, 0);
    assert_eq!(host.lost_words("en"), [0u16; 0]);
    for leg in [&a, &b] {
        assert_eq!(host.count(|e| is(e, "closed", leg.session)), 1);
    }
}

#[test]
fn a_shutdown_that_cannot_drain_ends_by_force_and_says_what_was_lost() {
    let cloud = Cloud::start("[mt]\nlatency_ms = 60000\n");
    let host = Host::new(&cloud.config(&[("segment.timeout_ms", "60000")]));
    let (a, b) = host.call("room");
    a.say_words("en", 40..44);
    host.wait("what was said", |e| is(e, "transcript", a.session) && e["final"] == true);
    let begun = Instant::now();
    let ended = host.gateway.shutdown(Duration::from_millis(500));
    assert_eq!(ended.map_err(|e| e.status), Err(Status::ErrTimeout));
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert_eq!(host.lost_words("en"), (40..44).collect::<Vec<_>>());
    for leg in [&a, &b] {
        assert_eq!(host.count(|e| is(e, "closed", leg.session)), 1);
        assert_eq!(mgw::media_port::push_frame(leg.session, &[0; 320]), Status::ErrShutdown);
    }
}

/// Providers that refuse must not keep sessions from coming to their end.
#[test]
fn refused_sessions_that_drain_are_closed_by_the_shutdown() {
    let cloud = Cloud::start_with("", &["--api-key", "deepgram=good", "--api-key", "elevenlabs=good"]);
    let host = Host::new(&cloud.config(&[]));
    let (a, b) = (host.leg("7777", "room"), host.leg("8888", "room"));
    host.wait("a refusal", |e| e["type"] == "provider" && e["state"] == "down");
    a.say(last_sentence(50..54));
    b.say(last_sentence(60..64));
    crate::has_spoken(&a);
    crate::has_spoken(&b);
    for leg in [&a, &b] {
        session::close(leg.session, LeaveMode::Drain).expect("close");
    }
    let _ = host.gateway.shutdown(Duration::from_secs(1));
    for leg in [&a, &b] {
        wait_for("the last event", crate::LIMIT, || host.count(|e| is(e, "closed", leg.session)) == 1);
    }
    let told = |e: &serde_json::Value| e["type"] == "segment_lost" && e["stage"] == "stt";
    assert!(host.count(|e| told(e) && e["session"] == a.session.0) > 0, "what A said was not recognised");
}
