//! Providers that refuse or go away, and TLS.

use std::time::{Duration, Instant};

use crate::support::codec::Token;
use crate::support::leg::hear;
use crate::support::{Cloud, wait_for};
use crate::{Host, LIMIT, hears, hears_original, is};

#[test]
fn a_refused_key_is_told_once_and_the_original_voice_passes() {
    let cloud = Cloud::start_with("", &["--api-key", "deepgram=another-key"]);
    let host = Host::new(&cloud.config(&[]));
    let (a, b) = (host.leg("7777", "room"), host.leg("8888", "room"));
    let down = |e: &serde_json::Value| is(e, "provider", a.session) && e["stage"] == "stt" && e["state"] == "down";
    host.wait("the refusal", down);
    host.wait("the original voice", |e| is(e, "fail_open", b.session) && e["active"] == true);
    for n in 0..4 {
        hears_original("the original voice", &a, &b, 100 * n);
    }
    let told: Vec<_> = host.seen().into_iter().filter(down).collect();
    assert_eq!(told.len(), 1, "one change, one event: {told:?}");
    assert!(told[0]["code"].as_str().is_some_and(|c| !c.is_empty()), "{}", told[0]);
    assert!(told[0]["message"].as_str().is_some_and(|m| !m.is_empty() && !m.contains("dg-test-key")), "{}", told[0]);
    let fail_open = host.count(|e| is(e, "fail_open", b.session));
    assert_eq!(fail_open, 1, "one change, one event");
    // A key that is wrong stays wrong: a few attempts in all this time, for two sessions.
    let requests = cloud.stats()["requests"]["stt"].as_u64().expect("requests");
    assert!((2..=8).contains(&requests), "{requests} attempts");
    crate::close_now([a, b]);
}

#[test]
fn a_call_over_tls_by_a_test_authority() {
    let cloud = Cloud::start_tls("");
    let host = Host::new(&cloud.config(&[]));
    let (a, b) = host.call("room");
    a.say_words("en", 0..5);
    b.say_words("es", 100..105);
    hears("B", &b, "es", 0..5);
    hears("A", &a, "en", 100..105);
    assert_eq!(host.count(|e| e["type"] == "segment_lost" || e["state"] == "down"), 0);
    crate::close_now([a, b]);
}

#[test]
fn an_unknown_authority_is_refused() {
    let cloud = Cloud::start_tls("");
    let host = Host::new(&cloud.config(&[("tls.ca_file", "")]));
    let (a, b) = (host.leg("7777", "room"), host.leg("8888", "room"));
    host.wait("the refusal", |e| is(e, "provider", a.session) && e["stage"] == "stt" && e["state"] == "down");
    host.wait("the original voice", |e| is(e, "fail_open", b.session) && e["active"] == true);
    hears_original("the original voice", &a, &b, 0);
    assert_eq!(host.count(|e| e["type"] == "provider" && e["state"] == "ready"), 0);
    crate::close_now([a, b]);
}

/// Connections are reset in the middle of a talk. Every word said is heard (translated, or as it was while translation
/// was down) or lies in a span or text that was reported lost.
#[test]
fn dropped_connections_come_back_and_losses_are_told() {
    for (stage, fault) in [
        ("stt", "stage = \"stt\"\non = \"message\"\nat = 200\nkind = \"reset\"\n"),
        ("tts", "stage = \"tts\"\non = \"generation\"\nat = 3\nkind = \"reset\"\n"),
        ("mt", "stage = \"mt\"\nat = 4\ncount = 3\nkind = \"reset\"\n"),
    ] {
        let cloud = Cloud::start(&format!("[[fault]]\n{fault}"));
        let host = Host::new(&cloud.config(&[]));
        let (a, b) = host.call("room");
        let from = Instant::now();
        let said: Vec<u16> = (0..40).collect();
        for sentence in said.chunks(4) {
            a.say_words("en", sentence.iter().copied());
        }
        crate::has_spoken(&a);
        wait_for("the last words", LIMIT, || b.words("es").ends_with(&[36, 37, 38, 39]));
        wait_for("all segments to end", LIMIT, || {
            host.count(|e| e["type"] == "translation")
                <= host.count(|e| e["type"] == "segment_done") + host.count(|e| e["type"] == "segment_lost")
        });
        let fired = cloud.stats()["faults_total"].as_u64();
        assert!(fired >= Some(1), "{stage}: the fault was not fired in {:?}", from.elapsed());
        let ear = hear(&b.heard(), 16_000);
        let translated: Vec<u16> = ear.words.iter().filter(|(l, _)| *l == "es").map(|(_, n)| *n).collect();
        assert!(translated.is_sorted_by(|x, y| x < y), "{stage}: order or doubles: {translated:?}");
        let mut covered: Vec<u16> = ear.words.iter().map(|(_, n)| *n).collect();
        covered.extend(host.lost_words("en"));
        covered.extend(words_in_lost_spans(&host));
        let missing: Vec<&u16> = said.iter().filter(|n| !covered.contains(n)).collect();
        assert!(missing.is_empty(), "{stage}: neither heard nor reported: {missing:?}; heard {translated:?}");
        crate::close_now([a, b]);
    }
}

/// Words of which nobody knows the text: those whose place on the speaker's time line lies in a lost span. The time
/// line's origin is taken from the words that were recognised.
fn words_in_lost_spans(host: &Host) -> Vec<u16> {
    /// From one word's beginning to the next one's in a sentence, and from one sentence's to the next one's.
    const WORD_MS: f64 = 180.0;
    const SENTENCE_MS: f64 = 4.0 * WORD_MS + 900.0;
    let place = |n: u16| f64::from(n / 4) * SENTENCE_MS + f64::from(n % 4) * WORD_MS;
    let seen = host.seen();
    let finals = seen.iter().filter(|e| e["type"] == "transcript" && e["final"] == true);
    let origins: Vec<f64> = finals
        .filter_map(|e| {
            let first = e["text"].as_str()?.split_whitespace().next()?;
            Some(e["start_ms"].as_f64()? - place(Token::parse(first)?.n))
        })
        .collect();
    let Some(origin) = origins.iter().copied().min_by(f64::total_cmp) else { return Vec::new() };
    let spans: Vec<(f64, f64)> = seen
        .iter()
        .filter(|e| e["type"] == "segment_lost" && e["source_text"].is_null())
        .filter_map(|e| Some((e["start_ms"].as_f64()?, e["end_ms"].as_f64()?)))
        .collect();
    let reached = |n: u16| {
        let (from, to) = (origin + place(n), origin + place(n) + 140.0);
        // Of the word some part was lost; the origin is known to a fraction of a word.
        spans.iter().any(|(start, end)| from < *end + 60.0 && to > *start - 60.0)
    };
    (0..40).filter(|n| reached(*n)).collect()
}

/// A long absence of a vendor: nothing storms, and translation is back without anybody's doing.
#[test]
fn an_outage_is_told_once_and_ends_by_itself() {
    let cloud = Cloud::start("");
    let host = Host::new(&cloud.config(&[]));
    let (a, b) = host.call("room");
    a.say_words("en", 0..4);
    hears("before", &b, "es", 0..4);
    // Recognisers are refused from now on, and the open ones end.
    cloud.set_scenario(
        "[[fault]]\nstage = \"stt\"\nat = 1\ncount = 0\nkind = \"status\"\ncode = 503\n\
         [[fault]]\nstage = \"stt\"\non = \"message\"\nat = 1\ncount = 2\nkind = \"close\"\ncode = 1011\n",
    );
    host.wait("the original voice", |e| is(e, "fail_open", b.session) && e["active"] == true);
    let from = Instant::now();
    hears_original("meanwhile", &a, &b, 100);
    std::thread::sleep(Duration::from_secs(3).saturating_sub(from.elapsed()));
    let downs: Vec<String> = host
        .seen()
        .iter()
        .filter(|e| is(e, "provider", a.session) && e["state"] == "down")
        .map(|e| e["code"].as_str().unwrap_or("-").to_owned())
        .collect();
    assert!(!downs.is_empty() && downs.len() <= 2, "the drop and the refusal, each once: {downs:?}");
    cloud.set_scenario("");
    host.wait("translations again", |e| is(e, "fail_open", b.session) && e["active"] == false);
    a.say_words("en", 500..504);
    wait_for("the translation", LIMIT, || b.words("es").ends_with(&[500, 501, 502, 503]));
    crate::close_now([a, b]);
}
