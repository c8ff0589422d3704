//! Events against their published schema: every kind that can be made, and every event of a varied run.

mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use mgw::engine::{LeaveMode, Verb};
use mgw::event::{EventKind, Marks, Measures, Played};
use mgw::{Gateway, session};
use serde_json::{Value, json};
use support::live::{Echo, LiveLeg, text};
use support::{Cloud, events, schema, wait_for};

const LIMIT: Duration = Duration::from_secs(60);

/// Every kind of event; those with fields that may be absent once with and once without them.
fn every_kind() -> Vec<EventKind> {
    let t = || "text".to_owned();
    let full = Marks {
        speech_start_ms: Some(1.0),
        speech_end_ms: Some(2.0),
        committed_ms: Some(3.0),
        translated_ms: Some(4.0),
        first_audio_ms: Some(5.0),
        playout_start_ms: Some(6.0),
        playout_end_ms: Some(7.0),
    };
    let done = |marks, stages_ms, measures| EventKind::SegmentDone {
        segment: 1,
        listener: 0x1_0002,
        listener_id: String::new(),
        target: "es-419".into(),
        source_text: t(),
        text: t(),
        commit: "clause, 2 stable interims".into(),
        start_ms: 0.0,
        end_ms: 1.5,
        lag_ms: 900.0,
        heard_ms: 700.0,
        complete: true,
        marks,
        stages_ms,
        measures,
        playout: Box::new(Played { stretch: 1.08, pause_cut_ms: 240.0, trimmed_ms: 85.5, gain_db: -3.5 }),
    };
    let lost = |segment, listener, target: Option<&str>, stage, source_text| EventKind::SegmentLost {
        segment,
        listener,
        target: target.map(str::to_owned),
        stage,
        reason: t(),
        source_text,
        start_ms: 0.0,
        end_ms: 10.0,
    };
    let provider = |stage, state, code: Option<&str>, retry_in_ms| EventKind::Provider {
        stage,
        provider: "deepgram".into(),
        state,
        code: code.map(str::to_owned),
        message: code.map(str::to_owned),
        request_id: code.map(str::to_owned),
        retry_in_ms,
    };
    let transcript =
        |r#final, language| EventKind::Transcript { r#final, text: t(), start_ms: 0.0, end_ms: 1.0, language };
    let mut all = vec![
        EventKind::Joined {
            members: 1,
            language: "en".into(),
            hears: "pt-BR".into(),
            role: Some("agent".into()),
            labels: [("call".to_owned(), "42".to_owned())].into(),
        },
        EventKind::Left { members: 0 },
        EventKind::EchoDropped { words: 2, start_ms: 0.0, end_ms: 10.0 },
        EventKind::MarkReached { mark: 1, heard: true },
        EventKind::Drained {},
        EventKind::Closed { segments: 2, lost: 1 },
        EventKind::SpeechStarted { at_ms: 12.25 },
        transcript(false, None),
        transcript(true, Some("en".into())),
        EventKind::Translation {
            segment: 7,
            source: "en".into(),
            target: "zh-Hant".into(),
            source_text: t(),
            text: t(),
            commit: "end of turn".into(),
            mt_ms: 80.0,
        },
        done(
            full,
            [("stt", 1.0), ("mt", 2.0), ("tts", 3.0)].into(),
            Some(Box::new(Measures { words: 4, ..Measures::default() })),
        ),
        done(Marks::default(), Default::default(), None),
        EventKind::ListenerAbsent { idle_ms: 500.0 },
        EventKind::ListenerBack { absent_ms: 900.0, missed: 3 },
        EventKind::FailOpen { active: true, speaker: 9, reason: t() },
        EventKind::AudioDropped { stage: "input", dropped_ms: 20.0, at_ms: 1.0 },
        EventKind::AudioDropped { stage: "original", dropped_ms: 20.0, at_ms: 1.0 },
        EventKind::SaidDone { segment: 3, text: t(), heard_ms: 20.0, complete: false },
        EventKind::Error { code: "engine_panic", message: t() },
        EventKind::EventsLost { interims: 1, others: 0 },
    ];
    all.extend(["0", "9", "*", "#", "A", "D"].map(|digit| EventKind::Dtmf { digit: digit.into() }));
    for stage in ["stt", "mt", "tts", "playout", "input", "engine"] {
        all.push(lost(Some(1), Some(2), Some("es"), stage, Some(t())));
        all.push(lost(None, None, None, stage, None));
    }
    for stage in ["stt", "mt", "tts"] {
        all.push(provider(stage, "connecting", None, None));
        all.push(provider(stage, "ready", None, None));
        all.push(provider(stage, "down", Some("1011 NET-0001"), Some(100.0)));
    }
    all
}

/// The name a kind has in JSON. A kind that is added does not compile until it is added here, too.
fn name(kind: &EventKind) -> &'static str {
    match kind {
        EventKind::Joined { .. } => "joined",
        EventKind::Left { .. } => "left",
        EventKind::Closed { .. } => "closed",
        EventKind::SpeechStarted { .. } => "speech_started",
        EventKind::Transcript { .. } => "transcript",
        EventKind::Translation { .. } => "translation",
        EventKind::SegmentDone { .. } => "segment_done",
        EventKind::SegmentLost { .. } => "segment_lost",
        EventKind::ListenerAbsent { .. } => "listener_absent",
        EventKind::ListenerBack { .. } => "listener_back",
        EventKind::Provider { .. } => "provider",
        EventKind::FailOpen { .. } => "fail_open",
        EventKind::AudioDropped { .. } => "audio_dropped",
        EventKind::EchoDropped { .. } => "echo_dropped",
        EventKind::MarkReached { .. } => "mark_reached",
        EventKind::Drained {} => "drained",
        EventKind::Dtmf { .. } => "dtmf",
        EventKind::SaidDone { .. } => "said_done",
        EventKind::Error { .. } => "error",
        EventKind::EventsLost { .. } => "events_lost",
    }
}

/// A kind as it leaves the library.
fn record(kind: &EventKind) -> Value {
    let mut record = serde_json::to_value(kind).expect("an event is JSON");
    let common = json!({"seq": 1, "time_ms": 0.5, "session": 65_536, "id": "", "room": "r", "profile": "7777"});
    record.as_object_mut().expect("object").extend(common.as_object().expect("object").clone());
    record
}

#[test]
fn every_kind_of_event_is_by_the_schema() {
    for kind in every_kind() {
        let record = record(&kind);
        assert_eq!(record["type"], name(&kind));
        schema::check(&record);
    }
}

#[test]
fn the_schema_defines_exactly_the_kinds_there_are() {
    let made: BTreeSet<String> = every_kind().iter().map(|kind| name(kind).to_owned()).collect();
    let source = include_str!("../src/event.rs");
    let body = source.split("pub enum EventKind {").nth(1).and_then(|s| s.split("\n}").next()).expect("EventKind");
    let declared: BTreeSet<String> = body
        .lines()
        .filter_map(|line| line.strip_prefix("    ")?.trim_end_matches("},").strip_suffix(" {"))
        .filter(|name| name.starts_with(char::is_uppercase))
        .map(snake)
        .collect();
    assert_eq!(made, declared, "every_kind() makes all variants");
    let referred: BTreeSet<String> = schema::SCHEMA["oneOf"]
        .as_array()
        .expect("oneOf")
        .iter()
        .filter_map(|r| r["$ref"].as_str()?.strip_prefix("#/$defs/").map(str::to_owned))
        .collect();
    assert_eq!(made, referred, "docs/events.schema.json, oneOf");
    let defs = schema::SCHEMA["$defs"].as_object().expect("$defs");
    let events: BTreeSet<String> =
        defs.iter().filter(|(_, def)| !def["properties"]["type"].is_null()).map(|(name, _)| name.clone()).collect();
    assert_eq!(made, events, "docs/events.schema.json, $defs");
    let document = include_str!("../docs/events.md");
    for kind in &made {
        assert!(document.contains(&format!("`{kind}`")), "docs/events.md does not tell of {kind}");
        let def = &defs[kind];
        assert_eq!(def["properties"]["type"], json!({ "const": kind }));
        assert_eq!(def["additionalProperties"], false, "{kind}");
        for (field, property) in def["properties"].as_object().expect("properties") {
            let told = |p: &Value| p["description"].as_str().is_some_and(|d| !d.is_empty());
            let shared = property["$ref"].as_str().and_then(|r| r.strip_prefix("#/$defs/")).map(|name| &defs[name]);
            assert!(field == "type" || told(property) || shared.is_some_and(told), "{kind}.{field} is not explained");
            // A time without a unit in its name or text is a trap.
            let unit = property["description"].as_str().is_some_and(|d| d.contains("milliseconds"));
            let shared_unit =
                shared.is_some_and(|d| d["description"].as_str().is_some_and(|d| d.contains("milliseconds")));
            assert!(!field.ends_with("_ms") || unit || shared_unit, "{kind}.{field} has no unit");
        }
    }
}

fn snake(name: &str) -> String {
    let mut out = String::new();
    for (i, c) in name.chars().enumerate() {
        if c.is_uppercase() && i > 0 {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

#[test]
fn the_schema_refuses_what_is_not_an_event() {
    let good = record(&EventKind::Left { members: 1 });
    assert!(schema::takes(&good));
    let mut more = good.clone();
    more["surprise"] = json!(1);
    let mut less = good.clone();
    less.as_object_mut().expect("object").remove("members");
    let mut other = good.clone();
    other["type"] = json!("unheard_of");
    let mut negative = record(&EventKind::SpeechStarted { at_ms: 1.0 });
    negative["at_ms"] = json!(-1.0);
    let mut null = good;
    null["members"] = Value::Null;
    for wrong in [more, less, other, negative, null] {
        assert!(!schema::takes(&wrong), "{wrong}");
    }
}

/// A run in which as many kinds as can be had from outside happen; each is checked as the host reads it.
#[test]
fn every_event_of_a_varied_run_is_by_the_schema() {
    let cloud = Cloud::start("");
    let gateway = Gateway::new(&cloud.config(&[("events.capacity", "256")])).expect("gateway");
    let mut seen: Vec<Value> = Vec::new();
    let had = |seen: &mut Vec<Value>, what: &dyn Fn(&Value) -> bool| {
        seen.extend(events(&gateway));
        seen.iter().any(what)
    };
    let is = |kind: &'static str| move |e: &Value| e["type"] == kind;

    let mut options = mgw::config::Config::new();
    options.set("id", "leg \"A\"").expect("id");
    let a = gateway.open_session("7777", "varied", &options).expect("a");
    let b = gateway.open_session("8888", "", &Default::default()).expect("an unnamed room");
    session::close(b, LeaveMode::Now).expect("close");
    let b = gateway.open_session("8888", "varied", &Default::default()).expect("b");
    let leg_a = LiveLeg::start(a, 16_000, 16_000);
    // Its microphone hears its ear.
    let leg_b = LiveLeg::start_with_echo(b, 16_000, Echo { delay: Duration::from_millis(60), gain_db: -20.0 });

    // A sentence heard, an echo of it, an announcement, a digit.
    session::dtmf(a, '#').expect("dtmf");
    session::say(b, &text("en", 900..902), "en").expect("say");
    leg_a.say_words("en", 0..4);
    wait_for("a segment", LIMIT, || had(&mut seen, &is("segment_done")));
    wait_for("the echo", LIMIT, || had(&mut seen, &is("echo_dropped")));
    wait_for("the announcement", LIMIT, || had(&mut seen, &is("said_done")));

    // The listener goes away, misses something and comes back.
    leg_b.stop();
    wait_for("absence", LIMIT, || had(&mut seen, &is("listener_absent")));
    leg_a.say_words("en", 10..13);
    wait_for("a loss", LIMIT, || had(&mut seen, &is("segment_lost")));
    let leg_b = LiveLeg::start(b, 16_000, 16_000);
    wait_for("the return", LIMIT, || had(&mut seen, &is("listener_back")));

    // Something that waits is flushed; the vendors fail and come back.
    leg_a.say_words("en", 20..24);
    wait_for("a translation", LIMIT, || {
        had(&mut seen, &|e| e["type"] == "translation" && e["segment"].as_u64() > Some(3))
    });
    session::command(b, Verb::Mark).expect("mark");
    session::command(b, Verb::Flush).expect("flush");
    cloud.set_scenario(
        "[[fault]]\nstage = \"mt\"\nat = 1\ncount = 0\nkind = \"status\"\ncode = 456\ntext = '{\"message\":\"Quota exceeded\"}'\n",
    );
    leg_a.say_words("en", 30..33);
    wait_for("an outage", LIMIT, || had(&mut seen, &|e| e["type"] == "provider" && e["state"] == "down"));
    wait_for("the original voice", LIMIT, || had(&mut seen, &|e| e["type"] == "fail_open" && e["active"] == true));

    // More is pushed at once than the ring can hold.
    leg_a.stop();
    for _ in 0..200 {
        mgw::media_port::push_frame(a, &[1000; 320]);
    }
    mgw::media_port::push_gap(a, 1600);
    mgw::media_port::push_frame(a, &[0; 320]);
    wait_for("dropped audio", LIMIT, || had(&mut seen, &is("audio_dropped")));
    #[cfg(feature = "fault-injection")]
    {
        session::inject_panic(a).expect("inject");
        wait_for("a panic", LIMIT, || had(&mut seen, &is("error")));
    }
    // Events that the host does not fetch: more than the queue holds.
    for _ in 0..400 {
        while session::dtmf(b, '1').is_err() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    // Statistics are answered behind all digits.
    wait_for("an answer", LIMIT, || session::stats(b).is_ok());
    seen.extend(events(&gateway));
    session::close(a, LeaveMode::Now).expect("close");
    leg_b.stop();
    gateway.shutdown(Duration::from_secs(1)).ok();
    seen.extend(events(&gateway));

    let types: BTreeSet<&str> = seen.iter().filter_map(|e| e["type"].as_str()).collect();
    for event in &seen {
        schema::check(event);
    }
    let mut wanted: BTreeSet<&str> = every_kind().iter().map(name).collect();
    if !cfg!(feature = "fault-injection") {
        wanted.remove("error");
    }
    assert_eq!(types, wanted, "the run had every kind of event");
    let numbers: Vec<u64> = seen.iter().filter_map(|e| e["seq"].as_u64()).collect();
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>(), "seq rises by one");
    let times: Vec<f64> = seen.iter().filter_map(|e| e["time_ms"].as_f64()).collect();
    assert_eq!(times.len(), numbers.len());
}
