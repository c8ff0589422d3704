//! Every lie and every refusal that the local cloud knows, in the middle of a call: the call goes on, the host is told
//! what happened (with the vendor's request id, where it gave one), and no word is heard twice.
//!
//! Faults that pass come one after the other into the same call; those that last have a call each. All calls run side
//! by side, each with a local cloud of its own.

use std::time::Duration;

use mgw::Gateway;
use serde_json::Value;

use crate::support::Cloud;
use crate::talk::{Talk, Told, side_by_side};

const S: Duration = Duration::from_secs(1);
/// Calls at the same time.
const MOST: usize = 64;
/// A key that the local cloud is given by the tests.
const KEYS: [&str; 4] = ["dg-test-key", "dl-test-key", "el-test-key", "oa-test-key"];

/// Where the fault strikes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Hit {
    /// The next messages on the open websocket.
    Message,
    /// The next HTTP requests.
    Request,
    /// All handshakes, after every connection was broken.
    Handshake,
}

/// In the place of a code: nothing can be told, because nothing looks wrong.
const NOT_TOLD: &str = "-";

/// One fault: kind and name, and what the host is told.
#[derive(Clone, Copy, Debug)]
struct Case {
    fault: &'static str,
    hit: Hit,
    /// 0: until the scenario is set anew.
    count: u32,
    code: &'static str,
    /// The vendor gives a request id, so the event has it.
    id: bool,
}

/// A call with these providers that meets these faults.
struct Row {
    stage: &'static str,
    provider: &'static str,
    /// The original voice is to pass meanwhile.
    lasts: bool,
    cases: Vec<Case>,
}

const fn case(fault: &'static str, hit: Hit, count: u32, code: &'static str, id: bool) -> Case {
    Case { fault, hit, count, code, id }
}

/// What each vendor's client makes of the lies.
fn hostile(hit: Hit, count: u32, id: bool, codes: [&'static str; 9]) -> Vec<Case> {
    let names = [
        "unknown_type",
        "missing_fields",
        "wrong_types",
        "truncated_json",
        "invalid_utf8",
        "odd_bytes",
        "bad_base64",
        "giant",
        "deep_json",
    ];
    names
        .into_iter()
        .zip(codes)
        .filter(|(_, code)| !code.is_empty())
        .map(|(name, code)| case(name, hit, count, code, id))
        .collect()
}

fn rows() -> Vec<Row> {
    use Hit::{Handshake, Message, Request};
    let mut rows = Vec::new();
    let mut row = |stage, provider, lasts, cases| rows.push(Row { stage, provider, lasts, cases });

    let bad = "bad_message";
    let words = ["unknown_message", bad, bad, bad, "protocol", "binary_message", bad, "message_too_long", bad];
    row("stt", "deepgram", false, hostile(Message, 1, true, words));
    row("stt", "flux", false, hostile(Message, 1, true, words));
    row(
        "stt",
        "deepgram",
        false,
        vec![
            case("deepgram_net0000", Message, 1, "1011", true),
            case("deepgram_net0001", Message, 1, "1011", true),
            case("deepgram_data0000", Message, 1, "1008 DATA-0000", true),
            case("deepgram_429", Handshake, 3, "TOO_MANY_REQUESTS", true),
            case("deepgram_503", Handshake, 3, "503", true),
        ],
    );
    row(
        "stt",
        "flux",
        false,
        vec![
            case("flux_internal", Message, 1, "INTERNAL_SERVER_ERROR", true),
            case("deepgram_net0000", Message, 1, "1011", true),
            case("deepgram_429", Handshake, 3, "TOO_MANY_REQUESTS", true),
            case("deepgram_503", Handshake, 3, "503", true),
        ],
    );
    for (fault, code, id) in [
        ("deepgram_400", "Bad Request", true),
        ("deepgram_401", "INVALID_AUTH", true),
        ("deepgram_402", "ASR_PAYMENT_REQUIRED", true),
        ("deepgram_403", "INSUFFICIENT_PERMISSIONS", true),
        ("redirect", "302", false),
    ] {
        row("stt", "deepgram", true, vec![case(fault, Handshake, 0, code, id)]);
    }
    for (fault, code, id) in [("deepgram_401", "INVALID_AUTH", true), ("redirect", "302", false)] {
        row("stt", "flux", true, vec![case(fault, Handshake, 0, code, id)]);
    }

    let reply = "bad_reply";
    for (provider, id) in [("deepl", true), ("openai", false), ("libretranslate", false)] {
        let codes = [reply, reply, reply, reply, reply, reply, "", "reply_too_long", reply];
        row("mt", provider, false, hostile(Request, 0, id, codes));
        row("mt", provider, true, vec![case("redirect", Request, 0, "302", id)]);
    }
    row(
        "mt",
        "deepl",
        false,
        vec![
            case("deepl_413", Request, 0, "413", true),
            case("deepl_429", Request, 0, "429", true),
            case("deepl_429_empty", Request, 0, "429", true),
            case("deepl_500", Request, 0, "500", true),
            case("deepl_503", Request, 0, "503", true),
            case("deepl_529", Request, 0, "529", true),
            case("deepl_529_empty", Request, 0, "529", true),
        ],
    );
    row(
        "mt",
        "openai",
        false,
        vec![
            case("openai_429", Request, 0, "rate_limit_exceeded", true),
            case("openai_500", Request, 0, "500", true),
            case("openai_mid_stream", Request, 0, "server_error", true),
        ],
    );
    row(
        "mt",
        "libretranslate",
        false,
        vec![
            case("libretranslate_429", Request, 0, "429", false),
            case("libretranslate_500", Request, 0, "500", false),
        ],
    );
    for (provider, fault, code, id) in [
        ("deepl", "deepl_403", "403", true),
        ("deepl", "deepl_456", "456", true),
        ("openai", "openai_401", "invalid_api_key", true),
        ("openai", "openai_quota", "insufficient_quota", true),
        ("libretranslate", "libretranslate_403", "403", false),
    ] {
        row("mt", provider, true, vec![case(fault, Request, 0, code, id)]);
    }

    // An odd chunk may be half a sample, as vendors send it: nothing tells it from a lie.
    let spoken = ["unknown_message", "unknown_message", bad, bad, "protocol", NOT_TOLD, bad, "message_too_long", bad];
    row("tts", "elevenlabs", false, hostile(Message, 1, false, spoken));
    row(
        "tts",
        "elevenlabs",
        false,
        vec![
            case("elevenlabs_too_many_concurrent_requests", Message, 1, "too_many_concurrent_requests", false),
            case("elevenlabs_system_busy", Message, 1, "system_busy", false),
            case("elevenlabs_input_timeout_exceeded", Message, 1, "input_timeout_exceeded", false),
        ],
    );
    let odd = "unknown_message";
    let streamed = [odd, odd, odd, reply, odd, reply, odd, "message_too_long", reply];
    row("tts", "elevenlabs_http", false, hostile(Request, 1, false, streamed));
    row(
        "tts",
        "elevenlabs_http",
        false,
        vec![
            case("elevenlabs_422", Request, 1, "missing", false),
            case("elevenlabs_too_many_concurrent_requests", Request, 1, "too_many_concurrent_requests", true),
            case("elevenlabs_system_busy", Request, 1, "system_busy", true),
        ],
    );
    // Bare samples: any bytes are sound.
    row("tts", "aura", false, hostile(Request, 1, false, [NOT_TOLD; 9]));
    row(
        "tts",
        "aura",
        false,
        vec![
            case("aura_413", Request, 1, "PAYLOAD_TOO_LARGE", true),
            case("aura_429", Request, 1, "TOO_MANY_REQUESTS", true),
            case("deepgram_503", Request, 1, "503", true),
        ],
    );
    for (provider, hit, fault, code, id) in [
        ("elevenlabs", Message, "elevenlabs_invalid_api_key", "invalid_api_key", false),
        ("elevenlabs", Message, "elevenlabs_quota_exceeded", "quota_exceeded", false),
        ("elevenlabs", Handshake, "redirect", "302", false),
        ("elevenlabs_http", Request, "elevenlabs_invalid_api_key", "invalid_api_key", true),
        ("elevenlabs_http", Request, "elevenlabs_quota_exceeded", "quota_exceeded", true),
        ("elevenlabs_http", Request, "redirect", "302", false),
        ("aura", Request, "deepgram_401", "INVALID_AUTH", true),
        ("aura", Request, "deepgram_402", "ASR_PAYMENT_REQUIRED", true),
        ("aura", Request, "redirect", "302", false),
    ] {
        row("tts", provider, true, vec![case(fault, hit, 0, code, id)]);
    }
    rows
}

fn scenario(stage: &str, case: &Case) -> String {
    let kind = if case.fault.contains("_") && !is_hostile(case.fault) { "vendor" } else { "hostile" };
    let kind = if case.fault == "redirect" { "hostile" } else { kind };
    let on = if case.hit == Hit::Message { "message" } else { "request" };
    format!(
        "[[fault]]\nstage = \"{stage}\"\non = \"{on}\"\nat = 1\ncount = {}\nkind = \"{kind}\"\nname = \"{}\"\n",
        case.count, case.fault
    )
}

fn is_hostile(name: &str) -> bool {
    !["deepgram_", "flux_", "deepl_", "openai_", "libretranslate_", "elevenlabs_", "aura_"]
        .iter()
        .any(|vendor| name.starts_with(vendor))
}

fn run(gateway: &Gateway, told: &Told, room: &str, row: &Row) {
    let cloud = Cloud::start("");
    let base = format!("http://{}", cloud.address);
    let key = format!("{}.provider", row.stage);
    let mut talk = Talk::begin(gateway, told, room, cloud, &base, &[(&key, row.provider)]);
    talk.until_heard("es", 60 * S);
    for case in &row.cases {
        meet(&mut talk, row, case);
    }
    talk.end();
}

fn meet(talk: &mut Talk<'_>, row: &Row, case: &Case) {
    let (before, fired) = (talk.told.of(&talk.room).len(), faults(&talk.cloud));
    let words = talk.say();
    // In the middle of it.
    std::thread::sleep(Duration::from_millis(500));
    talk.cloud.set_scenario(&scenario(row.stage, case));
    if case.hit == Hit::Handshake {
        talk.cloud.drop_all();
    }
    let what = format!("{case:?}");
    talk.wait(&what, 20 * S, || faults(&talk.cloud) > fired);
    if row.lasts {
        talk.wait("the original voice", 30 * S, || {
            let told = talk.told.of(&talk.room);
            told[before..].iter().any(|e| e["type"] == "fail_open" && e["active"] == true)
        });
        talk.until_heard("en", 30 * S);
    }
    if case.code != NOT_TOLD {
        talk.wait(&what, 20 * S, || {
            let told = talk.told.of(&talk.room);
            // What is odd about a provider that still serves is told once.
            let earlier = told[..before].iter().filter(|event| event["state"] == "ready");
            earlier.chain(&told[before..]).any(|event| tells(event, row, case))
        });
    }
    talk.cloud.set_scenario("");
    if row.stage == "stt" && !row.lasts {
        // Recognition loses nothing.
        talk.hears("es", &words, 30 * S);
    }
    talk.until_heard("es", 70 * S);
}

/// Whether an event says what happened, with the vendor's request id if there is to be one.
fn tells(event: &Value, row: &Row, case: &Case) -> bool {
    let text = |name: &str| event[name].as_str().unwrap_or_default();
    match text("type") {
        _ if event["stage"] != row.stage => false,
        "provider" => {
            event["code"] == case.code
                && event["provider"] == row.provider
                && (!case.id || text("request_id").len() >= 32)
        }
        // A fault of one text says nothing about its provider.
        "segment_lost" => {
            let reason = text("reason");
            reason.contains(&format!("({}", case.code)) && (!case.id || reason.contains("; request "))
        }
        _ => false,
    }
}

fn faults(cloud: &Cloud) -> u64 {
    cloud.stats()["faults_total"].as_u64().expect("a number")
}

#[test]
fn whatever_a_server_says_the_call_goes_on_and_the_host_is_told() {
    let only = std::env::var("MGW_TEST_ROW").unwrap_or_default();
    let config = Cloud::start("").config(&[("max_sessions", "200"), ("openai.api_key", "oa-test-key")]);
    let gateway = Gateway::new(&config).unwrap_or_else(|e| panic!("{e}"));
    let told = Told::default();
    let name = |row: &Row| format!("{} {} {}", row.stage, row.provider, row.cases[0].fault);
    let mut jobs: Vec<(String, Row)> = rows().into_iter().map(|row| (name(&row), row)).collect();
    jobs.retain(|(name, _)| name.contains(&only));
    // The longest first.
    jobs.sort_by_key(|(_, row)| std::cmp::Reverse(if row.lasts { 10 } else { row.cases.len() }));
    let begun = std::time::Instant::now();
    let failed = side_by_side(&gateway, &told, MOST, &jobs, |room, row| run(&gateway, &told, room, row));
    println!("{} calls in {:?}", jobs.len(), begun.elapsed());
    assert!(failed.is_empty(), "{} of {} calls:\n{}", failed.len(), jobs.len(), failed.join("\n\n"));
    for event in told.all().into_values().flatten() {
        let text = event.to_string();
        assert!(!KEYS.iter().any(|key| text.contains(key)), "a key in {text}");
    }
    gateway.shutdown(20 * S).unwrap_or_else(|e| panic!("{e}"));
}
