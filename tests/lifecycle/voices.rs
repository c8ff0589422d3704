//! Who hears what: alone, in one language, at changing rates, announcements.

use std::time::{Duration, Instant};

use mgw::config::Config;
use mgw::media_port::{pull_frame, push_frame};
use mgw::{Status, session};
use serde_json::json;

use crate::support::leg::hear;
use crate::support::live::{LiveLeg, Stretch, sentence, text};
use crate::support::{Cloud, wait_for};
use crate::{Host, LIMIT, hears, is};

#[test]
fn alone_in_a_room_nothing_is_sent_and_silence_is_heard() {
    let cloud = Cloud::start("");
    let host = Host::new(&cloud.config(&[]));
    cloud.reset_stats();
    let a = host.leg("7777", "room");
    a.say_words("en", 0..8);
    crate::has_spoken(&a);
    host.wait("the session", |e| is(e, "joined", a.session));
    let stats = cloud.stats();
    for what in ["requests", "connections", "messages", "audio_s", "characters"] {
        assert_eq!(stats[what], json!({}), "{what}: {stats}");
    }
    assert!(stats["tcp_connections"].as_u64() <= Some(1), "none but the one that asked: {stats}");
    assert!(a.heard().len() > 16_000 && a.heard().iter().all(|s| *s == 0), "silence is heard");
    // The proof that the count counts: with a second member there is something to see.
    let b = host.leg("8888", "room");
    wait_for("connections", LIMIT, || cloud.stats()["connections"]["stt"] == 2);
    // Alone again, what is said goes nowhere.
    let gone = b.session;
    crate::close_now([b]);
    host.wait("the other's end", |e| is(e, "closed", gone));
    wait_for("no connection", LIMIT, || {
        let stats = cloud.stats();
        stats["open"]["stt"] == 0 && stats["open"]["tts"] == 0
    });
    cloud.reset_stats();
    a.say_words("en", 10..14);
    crate::has_spoken(&a);
    let stats = cloud.stats();
    assert_eq!((&stats["requests"], &stats["audio_s"]), (&json!({}), &json!({})), "{stats}");
    crate::close_now([a]);
}

#[test]
fn one_language_passes_bit_by_bit() {
    let cloud = Cloud::start("");
    let host = Host::new(&cloud.config(&[]));
    let (a, b) = (
        host.gateway.open_session("7777", "room", &Config::new()).expect("a"),
        host.gateway.open_session("7777", "room", &Config::new()).expect("b"),
    );
    // A voice in which every sample is its own: no two stretches of it are equal.
    let mut state = 1u32;
    let voice: Vec<i16> = (0..3 * 16_000)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 17) as i16 - 8192
        })
        .collect();
    let mut heard = Vec::new();
    let until = Instant::now() + LIMIT;
    // A frame is pushed when the one before it was heard: whatever the machine does, nothing piles up.
    for frame in voice.chunks(320) {
        assert_eq!(push_frame(a, frame), Status::Ok);
        loop {
            assert!(Instant::now() < until, "a frame is not heard");
            std::thread::sleep(Duration::from_millis(10));
            let mut out = [1; 320];
            let status = pull_frame(b, &mut out);
            heard.extend(out);
            if status == Status::Ok {
                break;
            }
        }
    }
    for _ in 0..20 {
        std::thread::sleep(Duration::from_millis(10));
        let mut out = [1; 320];
        assert!((pull_frame(b, &mut out) as i32) >= 0);
        heard.extend(out);
    }
    let mut rest = &heard[..];
    let mut at = 0;
    // The voice comes whole and unchanged; only a puller that was kept waiting may hear silence in between.
    while at < voice.len() {
        let skip = rest.iter().zip(std::iter::repeat(&0)).take_while(|(s, z)| s == z && **s != voice[at]).count();
        rest = &rest[skip..];
        let same = rest.iter().zip(&voice[at..]).take_while(|(s, v)| s == v).count();
        assert!(same > 0, "sample {at} of the voice is not what was heard");
        at += same;
        rest = &rest[same..];
    }
    let stats = cloud.stats();
    assert_eq!(stats["requests"].get("stt"), None, "one language needs no recogniser: {stats}");
    let dropped: serde_json::Value = serde_json::from_str(&session::stats(a).expect("stats")).expect("JSON");
    assert_eq!(dropped["original_cut_ms"], 0.0);
}

#[test]
fn rates_change_in_mid_call_and_in_mid_word() {
    let cloud = Cloud::start("");
    let host = Host::new(&cloud.config(&[]));
    let (mut a, b) = host.call("room");
    // The speaker's rate changes in a pause, then inside a word, then in pauses again.
    a.say_words("en", 0..4);
    a.then_rate_in(48_000);
    let at_48 = sentence("en", 10..14, 48_000, Duration::from_millis(900));
    let at_16 = sentence("en", 10..14, 16_000, Duration::from_millis(900));
    // Word 12 begins after 2 x 180 ms; 70 ms into it is its middle.
    let ms = 430;
    a.say(at_48[..ms * 48].to_vec());
    a.then_rate_in(16_000);
    a.say(at_16[ms * 16..].to_vec());
    a.then_rate_in(8000);
    a.say_words("en", 20..24);
    a.then_rate_in(16_000);
    a.say_words("en", 30..34);
    // The listener's rate changes in each pause between what it hears.
    let want: Vec<u16> = [0..4, 10..14, 20..24, 30..34].into_iter().flatten().collect();
    let mut rate = 16_000;
    for end in [3, 13, 23, 33] {
        wait_for("a sentence", LIMIT, || words(&b.stretches()).last() == Some(&end));
        rate = if rate == 16_000 { 48_000 } else { 16_000 };
        b.set_rate_out(rate);
    }
    assert_eq!(words(&b.stretches()), want, "every word once, in order");
    // Now twice while a word is heard. The frame that is pulled at that moment has a hole, which may cost that word
    // its meaning; no other one is lost, and none comes twice.
    a.say_words("en", 40..50);
    for change in 0..2 {
        wait_for("words", LIMIT, || words(&b.stretches()).last() >= Some(&(40 + change * 3)));
        wait_for("a sound", LIMIT, || is_loud(&b.stretches()));
        rate = if rate == 16_000 { 48_000 } else { 16_000 };
        b.set_rate_out(rate);
    }
    wait_for("the last word", LIMIT, || words(&b.stretches()).last() == Some(&49));
    let last: Vec<u16> = words(&b.stretches()).split_off(want.len());
    assert!(last.is_sorted_by(|x, y| x < y), "order or doubles: {last:?}");
    assert!(last.len() >= 8, "two changes cost two words at most: {last:?}");
    assert_eq!(host.lost_words("en"), [0u16; 0]);
    crate::close_now([a, b]);
}

/// Words in what was heard at several rates, brought to 16 kHz.
fn words(stretches: &[Stretch]) -> Vec<u16> {
    let mut all: Vec<i16> = Vec::new();
    for stretch in stretches {
        match stretch.rate {
            16_000 => all.extend(&stretch.samples),
            // The mean of three samples is filter enough for tones below 4 kHz.
            48_000 => {
                all.extend(
                    stretch.samples.chunks(3).map(|c| (c.iter().map(|s| i32::from(*s)).sum::<i32>() / 3) as i16),
                );
            }
            other => panic!("{other} Hz"),
        }
    }
    hear(&all, 16_000).words.into_iter().filter(|(l, _)| *l == "es").map(|(_, n)| n).collect()
}

/// The last 20 ms heard are loud.
fn is_loud(stretches: &[Stretch]) -> bool {
    let Some(Stretch { rate, samples }) = stretches.last() else { return false };
    samples.iter().rev().take(*rate as usize / 50).any(|s| s.unsigned_abs() > 1000)
}

#[test]
fn announcements_are_heard_in_the_ear_s_language() {
    let cloud = Cloud::start("");
    let host = Host::new(&cloud.config(&[]));
    // Even alone in a room.
    let alone: LiveLeg = host.leg("8888", "another room");
    let (a, b) = host.call("room");
    session::say(alone.session, &text("es", 500..503), "").expect("say");
    session::say(b.session, &text("en", 510..513), "en").expect("say");
    session::say(a.session, &text("en", 520..523), "en").expect("say");
    hears("in its own language, untouched", &alone, "es", 500..503);
    hears("translated for who hears another", &b, "es", 510..513);
    hears("in its own language", &a, "en", 520..523);
    for leg in [&alone, &a, &b] {
        host.wait("the report", |e| is(e, "said_done", leg.session) && e["complete"] == true);
        assert_eq!(host.count(|e| is(e, "said_done", leg.session)), 1);
        assert_eq!(hear(&leg.heard(), 16_000).damaged, 0);
    }
    // A call goes on around it.
    a.say_words("en", 0..4);
    session::say(b.session, &text("es", 530..532), "es").expect("say");
    wait_for("both", LIMIT, || {
        let heard = b.words("es");
        [0, 1, 2, 3, 530, 531].iter().all(|n| heard.contains(n))
    });
    let refused = session::say(b.session, "hola", "tlh").expect_err("no such language");
    assert_eq!(refused.status, Status::ErrBadValue);
    crate::close_now([alone, a, b]);
}
