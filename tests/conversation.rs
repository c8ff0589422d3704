//! Conversations in real time against the local cloud, judged by what the ears heard.

mod support;

use std::time::{Duration, Instant};

use mgw::Gateway;
use mgw::engine::LeaveMode;
use mgw::session;
use serde_json::Value;
use support::codec::Token;
use support::leg::{EarReport, Leg, Manner, Talk, hear};
use support::{Cloud, events, schema};

const S: Duration = Duration::from_secs(1);

struct Row {
    name: &'static str,
    scenario: &'static str,
    a: Manner,
    b: Manner,
    sentences: usize,
    /// Some words may be missing in an ear, if each of them was reported lost.
    losses_allowed: bool,
}

fn row(name: &'static str) -> Row {
    Row { name, scenario: "", a: Manner::default(), b: Manner::default(), sentences: 10, losses_allowed: false }
}

fn rows() -> Vec<Row> {
    let m = Manner::default;
    vec![
        row("16 kHz, 20 ms"),
        Row {
            scenario: "[tts]\nspeed = 20.0\nchunk_ms = [3, 47]\nodd_chunk_rate = 0.5\n",
            ..row("tts at 20 times real time, odd chunks")
        },
        Row {
            a: Manner { push_ppm: 100, pull_ppm: -100, ..m() },
            b: Manner { push_ppm: 100, pull_ppm: -100, ..m() },
            ..row("pushers +100 ppm, pullers -100 ppm")
        },
        Row { a: Manner { frame_ms: 10, ..m() }, b: Manner { frame_ms: 30, ..m() }, ..row("10 and 30 ms frames") },
        Row {
            a: Manner { rate_in: 8000, rate_out: 8000, ..m() },
            b: Manner { rate_in: 48_000, rate_out: 48_000, ..m() },
            ..row("8 kHz beside 48 kHz")
        },
        // At 8 s the speaker is in the pause between two sentences: 1.5 s lead, 0.9 s words, 0.9 s pause.
        Row { a: Manner { mute: 8 * S..38 * S, ..m() }, ..row("a speaker that stops pushing for 30 s") },
        Row {
            b: Manner { away: 8 * S..18 * S, ..m() },
            losses_allowed: true,
            ..row("a listener that does not pull for 10 s")
        },
        Row {
            scenario: "[stt]\nfinal_delay_ms = { median = 200, p95 = 600 }\n[mt]\nlatency_ms = { median = 120, p95 = 900 }\n[tts]\nfirst_audio_ms = { median = 288, p95 = 900 }\n",
            ..row("stages with long tails")
        },
    ]
}

/// One conversation; returns its events.
fn converse(row: &Row) -> Vec<Value> {
    let cloud = Cloud::start(row.scenario);
    let gateway = Gateway::new(&cloud.config(&[])).unwrap_or_else(|e| panic!("{}: {e}", row.name));
    let talk = |language, first_word| Talk {
        language,
        first_word,
        sentences: row.sentences,
        words_per_sentence: 5,
        gap: Duration::from_millis(900),
        lead: Duration::from_millis(1500),
    };
    let (talk_a, talk_b) = (talk("en", 0), talk("es", 2000));
    let a = gateway.open_session("7777", "room", &row.a.options()).expect("session a");
    let b = gateway.open_session("8888", "room", &row.b.options()).expect("session b");
    let leg_a = Leg::start(a, row.a.clone(), talk_a.samples(row.a.rate_in));
    let leg_b = Leg::start(b, row.b.clone(), talk_b.samples(row.b.rate_in));

    // Until both have said all and every committed segment has come to its end, in sound or in a report.
    let mut seen = Vec::new();
    let until = Instant::now() + Duration::from_secs(240) + 4 * row.sentences as u32 * S;
    let mut settled = Instant::now();
    loop {
        seen.extend(events(&gateway));
        let count = |kind: &str| seen.iter().filter(|e| e["type"] == kind).count();
        let open = count("translation") > count("segment_done") + count("segment_lost");
        if open || !leg_a.has_said_all() || !leg_b.has_said_all() {
            settled = Instant::now();
        }
        if settled.elapsed() > 4 * S {
            break;
        }
        assert!(Instant::now() < until, "{}: it never ends", row.name);
        std::thread::sleep(Duration::from_millis(50));
    }
    let (heard_a, heard_b) = (leg_a.finish(), leg_b.finish());
    session::close(a, LeaveMode::Drain).expect("close a");
    session::close(b, LeaveMode::Drain).expect("close b");
    gateway.shutdown(10 * S).unwrap_or_else(|e| panic!("{}: {e}", row.name));
    seen.extend(events(&gateway));

    if std::env::var_os("MGW_TEST_EVENTS").is_some() {
        for event in &seen {
            println!("{event}");
        }
    }
    seen.iter().for_each(schema::check);
    judge(row, "b", &hear(&heard_b, row.b.rate_out), "es", &talk_a.numbers(), &lost_words(&seen, "en"));
    judge(row, "a", &hear(&heard_a, row.a.rate_out), "en", &talk_b.numbers(), &lost_words(&seen, "es"));
    let stats = cloud.stats();
    assert_eq!(stats["violations"], serde_json::json!([]), "{}: {stats}", row.name);
    seen
}

/// Word numbers of all segments that were reported lost, spoken in `language`.
fn lost_words(events: &[Value], language: &str) -> Vec<u16> {
    events
        .iter()
        .filter(|e| e["type"] == "segment_lost")
        .flat_map(|e| e["source_text"].as_str().unwrap_or_default().split_whitespace())
        .filter_map(Token::parse)
        .filter(|t| t.language() == language)
        .map(|t| t.n)
        .collect()
}

fn judge(row: &Row, ear: &str, heard: &EarReport, language: &str, said: &[u16], lost: &[u16]) {
    let name = format!("{}, ear {ear}", row.name);
    let foreign: Vec<_> = heard.words.iter().filter(|(l, _)| *l != language).collect();
    assert!(foreign.is_empty(), "{name}: heard words of another language: {foreign:?}");
    let numbers: Vec<u16> = heard.words.iter().map(|(_, n)| *n).collect();
    if row.losses_allowed {
        assert!(numbers.is_sorted_by(|x, y| x < y), "{name}: order or doubles: {numbers:?}");
        let missing: Vec<&u16> = said.iter().filter(|n| !numbers.contains(n) && !lost.contains(n)).collect();
        assert!(missing.is_empty(), "{name}: neither heard nor reported lost: {missing:?}");
    } else {
        assert_eq!(numbers, said, "{name}: every word once, in order");
        assert_eq!(heard.damaged, 0, "{name}: damaged words");
        assert!(lost.is_empty(), "{name}: reported lost: {lost:?}");
    }
}

#[test]
fn every_word_is_heard_once_in_order_and_whole_in_all_manners() {
    // All at once: they mostly wait, and a busy machine is part of the test.
    let failures: Vec<String> = std::thread::scope(|scope| {
        // MGW_TEST_ROW=text runs only the rows whose names hold it, for a closer look.
        let only = std::env::var("MGW_TEST_ROW").unwrap_or_default();
        let runs: Vec<_> = rows()
            .into_iter()
            .filter(|row| row.name.contains(&only))
            .map(|row| std::thread::Builder::new().name(row.name.into()).spawn_scoped(scope, move || converse(&row)))
            .collect();
        runs.into_iter()
            .filter_map(|run| match run.expect("thread").join() {
                Ok(_) => None,
                Err(panic) => Some(panic.downcast::<String>().map_or_else(|_| "panic".into(), |s| *s)),
            })
            .collect()
    });
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
