//! Planted keys and planted sentences: vendors that say them back in their errors do not get them into the log (at its
//! most talkative), the metrics, error texts or the events of other rooms; and no key into any event.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use mgw::Gateway;
use mgw::session;
use serde_json::Value;

use crate::support::Cloud;
use crate::support::live::text;
use crate::talk::{Talk, Told, side_by_side};

const S: Duration = Duration::from_secs(1);

/// Planted keys, by vendor.
const KEYS: [(&str, &str); 5] = [
    ("deepgram", "canary-dg-7f3a9c51e2b84d06"),
    ("deepl", "canary-dl-7f3a9c51e2b84d06"),
    ("elevenlabs", "canary-el-7f3a9c51e2b84d06"),
    ("openai", "canary-oa-7f3a9c51e2b84d06"),
    ("libretranslate", "canary-lt-7f3a9c51e2b84d06"),
];

/// A call: who serves it, its first word, and what is announced in it.
struct Call {
    providers: [(&'static str, &'static str); 3],
    first: u16,
    announced: &'static str,
    /// Nothing is wrong in it.
    innocent: bool,
}

/// Errors that say back what they were told, in every place that a vendor has for words: stage, fault.
const ECHOES: [(&str, &str); 13] = [
    ("mt", "kind = 'status'\ncode = 500\ntext = 'key {key} text {text}'"),
    ("mt", "kind = 'status'\ncode = 400\ntext = '{text}'"),
    ("mt", "kind = 'status'\ncode = 429\ntext = '{\"message\":\"{key} {text}\",\"error\":\"{text} {key}\"}'"),
    (
        "mt",
        "kind = 'status'\ncode = 503\ntext = '{\"error\":{\"message\":\"{text}\",\"type\":\"{text}\",\"code\":\"{key}\"}}'",
    ),
    (
        "tts",
        "on = 'message'\nkind = 'error_message'\ncode = 1008\ntext = '{\"message\":\"{text}\",\"error\":\"{key}\",\"code\":1008}'",
    ),
    ("tts", "on = 'message'\nkind = 'close'\ncode = 1011\ntext = '{key} {text}'"),
    ("stt", "on = 'message'\nkind = 'close'\ncode = 1011\ntext = '{key} {text}'"),
    ("stt", "on = 'message'\nkind = 'close'\ncode = 1011\ntext = 'cannot go on behind {text}'"),
    (
        "stt",
        "on = 'message'\nkind = 'error_message'\ncode = 1011\ntext = '{\"type\":\"Error\",\"code\":\"{key}\",\"description\":\"{text}\",\"request_id\":\"{key}\"}'",
    ),
    (
        "stt",
        "kind = 'status'\ncode = 503\nretry_after = 1\ntext = '{\"err_code\":\"{key}\",\"err_msg\":\"{key}\",\"request_id\":\"{key}\"}'",
    ),
    ("tts", "kind = 'status'\ncode = 500\ntext = 'key {key} text {text}'"),
    (
        "tts",
        "kind = 'status'\ncode = 400\ntext = '{\"err_code\":\"{key}\",\"err_msg\":\"{text}\",\"request_id\":\"{key}\"}'",
    ),
    (
        "tts",
        "kind = 'status'\ncode = 422\ntext = '{\"detail\":{\"code\":\"{key}\",\"message\":\"{text}\",\"request_id\":\"{text}\"}}'",
    ),
];

/// Words said in each call.
const WORDS: u16 = 90;

#[test]
fn planted_keys_and_sentences_are_found_nowhere() {
    let log = Arc::new(Mutex::new(Vec::<String>::new()));
    let lines = Arc::clone(&log);
    let sink: mgw::log::Sink = Box::new(move |level, target, message| {
        let line = format!("{level} {} {}", target.to_string_lossy(), message.to_string_lossy());
        lines.lock().expect("log").push(line);
    });
    mgw::log::set(Some(tracing::Level::TRACE), Some(sink)).expect("a log");
    let keys: Vec<(String, &str)> = KEYS.iter().map(|(vendor, key)| (format!("{vendor}.api_key"), *key)).collect();
    let keys: Vec<(&str, &str)> = keys.iter().map(|(name, key)| (name.as_str(), *key)).collect();
    let gateway = Gateway::new(&Cloud::start("").config(&keys)).unwrap_or_else(|e| panic!("{e}"));
    let told = Told::default();
    let call = |stt, mt, tts, first, announced, innocent| Call {
        providers: [("stt.provider", stt), ("mt.provider", mt), ("tts.provider", tts)],
        first,
        announced,
        innocent,
    };
    let calls = [
        call("deepgram", "deepl", "elevenlabs", 2000, "purple lanterns sing at midnight", false),
        call("flux", "openai", "elevenlabs_http", 2200, "seven otters guard the granite vault", false),
        call("deepgram", "libretranslate", "aura", 2400, "the velvet anchor sinks on Thursday", false),
        call("deepgram", "deepl", "elevenlabs", 2600, "a quiet copper kite above the bakery", true),
    ];
    let jobs: Vec<(String, Call)> = calls.into_iter().map(|c| (format!("canary {}", c.first), c)).collect();
    let errors = Mutex::new(Vec::new());
    let failed = side_by_side(&gateway, &told, jobs.len(), &jobs, |room, call| {
        let said = speak(&gateway, &told, room, call);
        errors.lock().expect("errors").extend(said);
    });
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
    let metrics = gateway.metrics();
    gateway.shutdown(20 * S).unwrap_or_else(|e| panic!("{e}"));
    mgw::log::set(None, None).expect("silence");

    let log = log.lock().expect("log").clone();
    let errors = errors.into_inner().expect("errors");
    let shown: Vec<String> = log.iter().chain(&errors).cloned().chain([metrics]).collect();
    assert!(log.iter().any(|line| line.contains("recogniser connected")), "the log was on: {} lines", log.len());
    assert!(errors.iter().any(|text| !text.is_empty()), "there were errors");
    let events = told.all();
    for (room, call) in &jobs {
        let own = &events[room];
        let planted = planted(call);
        let found = |text: &str| planted.iter().find(|secret| text.to_lowercase().contains(secret.as_str())).cloned();
        // What is looked for can be found where it belongs.
        assert!(own.iter().any(|e| e["type"] == "transcript" && found(&e.to_string()).is_some()), "{room}");
        for text in &shown {
            assert_eq!(found(text), None, "of {room} in {text}");
        }
        for (other, events) in events.iter().filter(|(other, _)| *other != room) {
            for event in events {
                assert_eq!(found(&event.to_string()), None, "of {room} in {other}: {event}");
            }
        }
        for event in own {
            for field in ["message", "code", "reason", "request_id"] {
                assert_eq!(found(event[field].as_str().unwrap_or_default()), None, "{field} of {event}");
            }
        }
    }
    let texts = events.values().flatten().map(Value::to_string).chain(shown);
    for text in texts {
        // All have this in common; the vendor's letters stand before it.
        assert!(!text.contains("7f3a9c51") && !text.contains("canary-dg-") && !text.contains("canary-el-"), "{text}");
    }
}

/// What nobody else may learn of a call: its words in both languages, and pieces of what was announced.
fn planted(call: &Call) -> Vec<String> {
    let words = |language| text(language, call.first..call.first + WORDS);
    let both = format!("{} {}", words("en"), words("es"));
    let announced = call.announced.split(' ').filter(|word| word.len() > 5);
    both.split(' ').chain(announced).map(str::to_lowercase).collect()
}

/// One call through all errors; gives what the sessions' last errors said.
fn speak(gateway: &Gateway, told: &Told, room: &str, call: &Call) -> Vec<String> {
    // A word that is wrong at first may be one of another call's.
    let cloud = Cloud::start("stt.revision_rate = 0.0\n");
    let base = format!("http://{}", cloud.address);
    let mut talk = Talk::begin(gateway, told, room, cloud, &base, &call.providers);
    talk.next = call.first;
    talk.until_heard("es", 60 * S);
    let mut errors = Vec::new();
    for (stage, fault) in ECHOES {
        let socket = stage == "stt" || stage == "tts" && call.providers[2].1 == "elevenlabs";
        // A refused handshake keeps the websocket away for long, so there is one of that kind.
        let fits = if fault.contains("'message'") { socket } else { !(socket && fault.contains("code = 422")) };
        if call.innocent || !fits {
            continue;
        }
        let before = talk.cloud.stats()["faults_total"].as_u64().expect("a number");
        talk.say();
        std::thread::sleep(Duration::from_millis(400));
        talk.cloud.set_scenario(&format!("[[fault]]\nstage = '{stage}'\nat = 1\ncount = 2\n{fault}\n"));
        if socket && !fault.contains("'message'") {
            talk.cloud.drop_all();
        }
        let [_, listener] = talk.sessions();
        session::say(listener, call.announced, "").expect("an announcement");
        talk.wait(fault, 30 * S, || talk.cloud.stats()["faults_total"].as_u64().is_some_and(|n| n > before));
        talk.wait("its words", 30 * S, || talk.has_said_all());
        errors.extend(talk.sessions().into_iter().filter_map(session::last_error));
    }
    talk.cloud.set_scenario("");
    assert!(talk.next <= call.first + WORDS, "more words than are looked for");
    errors.extend(talk.sessions().into_iter().filter_map(session::last_error));
    talk.end();
    errors
}
