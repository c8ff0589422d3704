//! The checklist of Deepgram Flux, `/v2/listen`.

use crate::harness::{Cloud, Socket, sentence, spelt};
use serde_json::{Value, json};

const AUTH: (&str, &str) = ("authorization", "Token k");
const BASE: &str = "/v2/listen?model=flux-general-en&encoding=linear16&sample_rate=16000";

async fn open(cloud: &Cloud, more: &str) -> Socket {
    cloud.open(&format!("{BASE}{more}"), AUTH).await.unwrap().0
}

/// Sends audio and the end; returns all that came.
async fn said(cloud: &Cloud, more: &str, pcm: &[i16]) -> Vec<Value> {
    let mut ws = open(cloud, more).await;
    ws.pcm(pcm).await;
    ws.json(json!({"type": "CloseStream"})).await;
    let (all, code, _) = ws.until_closed().await;
    assert_eq!(code, 1000);
    let ids: Vec<u64> = all.iter().map(|v| v["sequence_id"].as_u64().unwrap()).collect();
    assert_eq!(ids, (0..all.len() as u64).collect::<Vec<_>>());
    assert!(all.iter().all(|v| v["request_id"] == all[0]["request_id"]));
    assert_eq!(all[0]["type"], "Connected");
    all
}

/// Events other than Updates, with their turns and transcripts.
fn turns(all: &[Value]) -> Vec<(&str, u64, &str)> {
    all.iter()
        .filter(|v| v["type"] == "TurnInfo" && v["event"] != "Update")
        .map(|v| (v["event"].as_str().unwrap(), v["turn_index"].as_u64().unwrap(), v["transcript"].as_str().unwrap()))
        .collect()
}

fn shown(numbers: std::ops::Range<u16>) -> String {
    let text = spelt("en", numbers);
    text[..1].to_uppercase() + &text[1..] + "."
}

#[tokio::test]
async fn handshake_is_checked() {
    let cloud = Cloud::start_with("", &["--api-key", "deepgram=k"]);
    let refused = cloud.refused(BASE, ("authorization", "Token x")).await;
    assert_eq!(
        (refused.status().as_u16(), &refused.headers()["dg-error"]),
        (401, &"Invalid credentials.".parse().unwrap())
    );
    for more in
        ["&interim_results=true", "&eot_threshold=1", "&eager_eot_threshold=0.9", "&language_hint=en", "&keyterm="]
    {
        let refused = cloud.refused(&format!("{BASE}{more}"), AUTH).await;
        assert_eq!(refused.status(), 400, "{more}");
    }
    let multi = BASE.replace("-en", "-multi") + "&language_hint=en&language_hint=es&keyterm=Anna&eot_timeout_ms=700";
    let (mut ws, response) = cloud.open(&multi, ("sec-websocket-protocol", "token, k")).await.unwrap();
    let connected = ws.until(|_| true).await;
    assert_eq!(connected["request_id"], response.headers()["dg-request-id"].to_str().unwrap());
    assert_eq!((&connected["type"], &connected["sequence_id"]), (&json!("Connected"), &json!(0)));
}

#[tokio::test]
async fn turns_begin_grow_and_end() {
    let cloud = Cloud::start("[stt]\nrevision_rate = 1.0");
    let pcm = [vec![0; 16000], sentence("en", 10..18, 1.0), sentence("en", 20..24, 1.0)].concat();
    let all = said(&cloud, "", &pcm).await;
    let events = turns(&all);
    let names: Vec<(&str, u64)> = events.iter().map(|e| (e.0, e.1)).collect();
    assert_eq!(names, [("StartOfTurn", 0), ("EndOfTurn", 0), ("StartOfTurn", 1), ("EndOfTurn", 1)]);
    assert!(!events[0].2.is_empty());
    assert_eq!((events[1].2, events[3].2), (shown(10..18).as_str(), shown(20..24).as_str()));
    let ends: Vec<&Value> = all.iter().filter(|v| v["event"] == "EndOfTurn").collect();
    assert_eq!(ends[0]["trigger"], "model");
    assert!(ends[0]["end_of_turn_confidence"].as_f64().unwrap() >= 0.7);
    assert_eq!(ends[0]["audio_window_start"], 0.0);
    assert_eq!(ends[0]["audio_window_end"], ends[1]["audio_window_start"]);
    let words = ends[0]["words"].as_array().unwrap();
    assert_eq!(words.len(), 8);
    let first = words[0]["start"].as_f64().unwrap();
    assert!((first - 1.0).abs() < 0.02 && words[0]["end"].as_f64().unwrap() > first, "{}", words[0]);
    // Updates come every 250 ms, in silence with nothing; a newest word that was wrong is right later.
    let updates: Vec<&Value> = all.iter().filter(|v| v["event"] == "Update").collect();
    let at: Vec<f64> = updates.iter().map(|v| v["audio_window_end"].as_f64().unwrap()).collect();
    assert!(at.len() > 12 && at.windows(2).all(|w| (w[1] - w[0] - 0.25).abs() < 1e-6), "{at:?}");
    assert_eq!(updates[0]["transcript"], "");
    let texts: Vec<Vec<&str>> = updates
        .iter()
        .filter(|v| v["turn_index"] == 0)
        .map(|v| v["words"].as_array().unwrap().iter().map(|w| w["word"].as_str().unwrap()).collect())
        .filter(|words: &Vec<&str>| !words.is_empty())
        .collect();
    assert!(texts.windows(2).any(|w| w[0].last() != w[1].get(w[0].len() - 1).or(None)), "{texts:?}");
    cloud.assert_no_violations().await;
    assert_eq!(cloud.stats().await["finals"], json!([shown(10..18), shown(20..24)]));
}

#[tokio::test]
async fn eager_ends_are_resumed_or_kept() {
    let cloud = Cloud::start("flux.word_times = false");
    // The pause of 0.22 s is enough for the eager threshold (0.16 s), not for the end (0.28 s).
    let pcm = [vec![0; 9600], sentence("en", 0..4, 0.18), sentence("en", 4..6, 0.8)].concat();
    let all = said(&cloud, "&eager_eot_threshold=0.4", &pcm).await;
    let events = turns(&all);
    let names: Vec<&str> = events.iter().map(|e| e.0).collect();
    assert_eq!(names, ["StartOfTurn", "EagerEndOfTurn", "TurnResumed", "EagerEndOfTurn", "EndOfTurn"]);
    assert_eq!((events[1].2, events[3].2), (shown(0..4).as_str(), shown(0..6).as_str()));
    assert_eq!(events[3].2, events[4].2, "the end has the words of the eager end");
    assert!(events.iter().all(|e| e.1 == 0));
    let words = all.iter().flat_map(|v| v["words"].as_array().into_iter().flatten());
    assert!(words.into_iter().all(|w| w["word"].is_string() && w.get("start").is_none() && w.get("end").is_none()));
    // Without the threshold there are no eager ends.
    let all = said(&cloud, "", &pcm).await;
    assert_eq!(turns(&all).iter().map(|e| e.0).collect::<Vec<_>>(), ["StartOfTurn", "EndOfTurn"]);
    // Where confidence grows slowly, the time-out ends the turn.
    let cloud = Cloud::start("flux.confident_ms = 60000");
    let all = said(&cloud, "&eot_timeout_ms=500", &pcm).await;
    let end = all.iter().find(|v| v["event"] == "EndOfTurn").unwrap();
    assert_eq!((&end["trigger"], end["transcript"].as_str().unwrap()), (&json!("timeout"), shown(0..6).as_str()));
}

/// Silence of each turn's end as a scenario wants it, alike in all streams; commas where clauses end.
#[tokio::test]
async fn ends_of_turns_and_clauses_by_the_scenario() {
    let scenario = "[stt]\nend_of_turn_ms = { median = 260, p95 = 1500 }\nclause_words = 4\nrevision_depth = 3\nrevision_rate = 1.0";
    let cloud = Cloud::start(scenario);
    let turns: Vec<Vec<i16>> = (0..12).map(|turn| sentence("en", turn * 6..turn * 6 + 6, 6.0)).collect();
    let pcm = [vec![vec![0; 9600]], turns].concat().concat();
    let mut silences: Vec<Vec<f64>> = Vec::new();
    for _ in 0..2 {
        let all = said(&cloud, "&eot_timeout_ms=10000&eager_eot_threshold=0.35", &pcm).await;
        let ends: Vec<&Value> = all.iter().filter(|v| v["event"] == "EndOfTurn").collect();
        assert_eq!(ends.len(), 12);
        silences.push(ends.iter().map(|v| silence(v)).collect());
        // Words 3, 7, 11 ... end clauses; the last word of a turn has a full stop instead.
        let commas = |text: &str| text.matches(',').count();
        assert_eq!(
            ends.iter().map(|v| commas(v["transcript"].as_str().unwrap())).collect::<Vec<_>>(),
            [1, 1].repeat(6)
        );
        // Eager ends come at half the silence, with the same words.
        let eager: Vec<&Value> = all.iter().filter(|v| v["event"] == "EagerEndOfTurn").collect();
        assert_eq!(eager.len(), 12);
        for (eager, whole) in eager.iter().zip(&silences[silences.len() - 1]) {
            assert!((silence(eager) - whole / 2.0).abs() < 0.03, "{eager}");
        }
        // Updates err in up to three words.
        let doubtful = |w: &&Value| w["confidence"].as_f64() < Some(0.6);
        let wrong = |v: &Value| v["words"].as_array().unwrap().iter().filter(doubtful).count();
        let worst = all.iter().filter(|v| v["event"] == "Update").map(wrong).max();
        assert!(worst >= Some(2), "{worst:?}");
    }
    assert_eq!(silences[0], silences[1]);
    let mut sorted = silences[0].clone();
    sorted.sort_by(f64::total_cmp);
    assert!(sorted[0] >= 0.07 && sorted[11] > 2.0 * sorted[5] && sorted[5] > 0.12 && sorted[5] < 0.6, "{sorted:?}");
    cloud.assert_no_violations().await;
}

/// From the last word's end to the message.
fn silence(v: &Value) -> f64 {
    let last = v["words"].as_array().unwrap().last().unwrap()["end"].as_f64().unwrap();
    v["audio_window_end"].as_f64().unwrap() - last
}

#[tokio::test]
async fn all_languages_and_a_forced_end() {
    let cloud = Cloud::start("");
    let mut ws = cloud.open(&(BASE.replace("-en", "-multi") + "&language_hint=es"), AUTH).await.unwrap().0;
    ws.pcm(&[vec![0; 8000], sentence("en", 0..3, 0.0), sentence("es", 3..6, 0.06)].concat()).await;
    ws.json(json!({"type": "ForceEndTurn"})).await;
    let end = ws.until(|v| v["event"] == "EndOfTurn").await;
    assert_eq!((&end["trigger"], &end["languages"]), (&json!("manual"), &json!(["en", "es"])));
    assert_eq!((&end["languages_hinted"], end["words"].as_array().unwrap().len()), (&json!(["es"]), 6));
}

#[tokio::test]
async fn configure_is_answered() {
    let cloud = Cloud::start("flux.configure_delay_ms = 200");
    let mut ws = open(&cloud, "&keyterm=a").await;
    let eager = json!({"type": "Configure", "thresholds": {"eager_eot_threshold": 0.4}, "keyterms": ["b", "c"]});
    ws.json(eager.clone()).await;
    ws.json(eager).await;
    let failure = ws.until(|v| v["type"] == "ConfigureFailure").await;
    assert_eq!(failure["code"], "CONFIGURE_ALREADY_PENDING");
    let success = ws.until(|v| v["type"] == "ConfigureSuccess").await;
    assert_eq!(
        (&success["thresholds"], &success["keyterms"]),
        (&json!({"eager_eot_threshold": 0.4, "eot_threshold": 0.7, "eot_timeout_ms": 5000}), &json!(["b", "c"]))
    );
    for wrong in [
        json!({"type": "Configure", "thresholds": {"eot_threshold": 0.2}}),
        json!({"type": "Configure", "language_hints": ["es"]}),
        json!({"type": "Configure", "colour": "red"}),
    ] {
        ws.json(wrong).await;
        let failure = ws.until(|v| v["type"] == "ConfigureFailure").await;
        assert!(failure["code"].is_string() && failure["description"].is_string(), "{failure}");
    }
    ws.pcm(&[vec![0; 9600], sentence("en", 0..4, 0.5)].concat()).await;
    ws.until(|v| v["event"] == "EagerEndOfTurn").await;
}

#[tokio::test]
async fn silence_on_the_wire_and_unknown_messages_end_it() {
    let cloud = Cloud::start("flux.idle_timeout_ms = 400");
    let mut ws = open(&cloud, "").await;
    ws.pcm(&[0; 320]).await;
    let (all, code, _) = ws.until_closed().await;
    let last = all.last().unwrap();
    assert_eq!((code, &last["type"], &last["code"]), (1011, &json!("Error"), &json!("INACTIVE_CLIENT")));
    assert_eq!(last["sequence_id"], all.len() - 1);
    // There is no KeepAlive.
    let mut ws = open(&cloud, "").await;
    ws.json(json!({"type": "KeepAlive"})).await;
    let (all, code, _) = ws.until_closed().await;
    assert_eq!((code, &all.last().unwrap()["type"]), (1008, &json!("Error")));
    assert!(all.last().unwrap()["description"].as_str().unwrap().contains("unknown message"));
    let mut ws = open(&cloud, "").await;
    ws.binary(vec![0; 3]).await;
    assert_eq!(ws.until_closed().await.1, 1008);
    for hint in ["INACTIVE_CLIENT", "unknown message KeepAlive", "half a sample"] {
        cloud.assert_violation(hint).await;
    }
    let cloud = Cloud::start(
        "stt.max_streams = 1\nfault = [{ stage = \"stt\", at = 3, kind = \"vendor\", name = \"flux_internal\" }]",
    );
    let first = open(&cloud, "").await;
    assert_eq!(cloud.refused(BASE, AUTH).await.status(), 429);
    drop(first);
    cloud.until_stats(|s| s["open"]["stt"] == 0).await;
    let (all, code, _) = open(&cloud, "").await.until_closed().await;
    assert_eq!((code, &all.last().unwrap()["code"]), (1011, &json!("INTERNAL_SERVER_ERROR")));
}
