//! The checklist of ElevenLabs' websockets and HTTP stream.

use crate::harness::{Cloud, Socket, hear, spelt};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const KEY: (&str, &str) = ("xi-api-key", "k");
const MULTI: &str = "/v1/text-to-speech/voice/multi-stream-input?model_id=eleven_flash_v2_5&output_format=pcm_16000";
const SINGLE: &str = "/v1/text-to-speech/voice/stream-input?model_id=eleven_flash_v2_5&output_format=pcm_24000";
const FAST: &str = "[tts]\nfirst_audio_ms = 10\nspeed = 50.0\nodd_chunk_rate = 0.5\n";

async fn open(cloud: &Cloud, path: &str) -> Socket {
    cloud.open(path, KEY).await.unwrap().0
}

fn audio(v: &Value) -> Vec<u8> {
    v["audio"].as_str().map(|a| STANDARD.decode(a).unwrap()).unwrap_or_default()
}

/// Opens a socket, sends messages and returns the error that ends it.
async fn error(cloud: &Cloud, path: &str, messages: &[Value]) -> String {
    let mut ws = open(cloud, path).await;
    for message in messages {
        ws.json(message.clone()).await;
    }
    let (all, code, _) = ws.until_closed().await;
    assert_eq!(code, 1008);
    let last = all.last().unwrap();
    assert_eq!(last["code"], 1008);
    last["error"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn contexts_speak_side_by_side_each_to_its_is_final() {
    let cloud = Cloud::start(FAST);
    let mut ws = open(&cloud, MULTI).await;
    ws.json(json!({"text": " ", "context_id": "a", "voice_settings": {"stability": 0.5, "speed": 1.0}})).await;
    ws.json(json!({"text": format!("{} ", spelt("es", 0..9)), "context_id": "a", "flush": true})).await;
    ws.json(json!({"text": format!("{} ", spelt("en", 40..45)), "context_id": "b", "flush": true})).await;
    ws.json(json!({"text": "", "context_id": "b"})).await;
    ws.json(json!({"text": format!("{} ", spelt("es", 9..12)), "context_id": "a"})).await;
    ws.json(json!({"context_id": "a", "close_context": true})).await;
    ws.json(json!({"context_id": "b", "close_context": true})).await;
    let (mut heard, mut finals, mut odd): (BTreeMap<String, Vec<u8>>, _, _) = (BTreeMap::new(), Vec::new(), false);
    while finals.len() < 2 {
        let v = ws.until(|_| true).await;
        let id = v["contextId"].as_str().unwrap().to_owned();
        if v["isFinal"] == true {
            finals.push(id);
            continue;
        }
        assert!(!finals.contains(&id), "audio after isFinal");
        assert!(v["alignment"].is_null());
        odd |= audio(&v).len() % 2 == 1;
        heard.entry(id).or_default().extend(audio(&v));
    }
    assert!(odd, "a sample must be split now and then");
    assert_eq!(hear(&heard["a"], 16000), (spelt("es", 0..12), 0));
    assert_eq!(hear(&heard["b"], 16000), (spelt("en", 40..45), 0));
    ws.json(json!({"close_socket": true})).await;
    assert_eq!(ws.until_closed().await.1, 1000);
    cloud.assert_no_violations().await;
    let stats = cloud.stats().await;
    assert_eq!((&stats["contexts"], &stats["contexts_open"]), (&json!(2), &json!(0)));
    assert!((stats["audio_s"]["tts"].as_f64().unwrap() - 17.0 * 0.18).abs() < 0.01);
}

#[tokio::test]
async fn single_context_schedule_and_alignment() {
    let cloud = Cloud::start(FAST);
    let mut ws = open(&cloud, &format!("{SINGLE}&sync_alignment=true")).await;
    ws.json(json!({"text": " ", "generation_config": {"chunk_length_schedule": [50]}})).await;
    ws.json(json!({"text": spelt("es", 0..4) + " "})).await;
    ws.json(json!({"text": " "})).await;
    ws.json(json!({"text": spelt("es", 4..8) + " "})).await;
    let first = ws.until(|v| v["audio"].is_string()).await;
    assert!(first["isFinal"].is_null());
    ws.json(json!({"text": ""})).await;
    let (all, code, _) = ws.until_closed().await;
    assert_eq!(code, 1000);
    assert_eq!(
        all.last().unwrap(),
        &json!({"audio": null, "isFinal": true, "alignment": null, "normalizedAlignment": null})
    );
    let mut bytes = audio(&first);
    let mut text = String::new();
    for v in std::iter::once(&first).chain(&all) {
        for c in v["alignment"]["chars"].as_array().into_iter().flatten() {
            text.push_str(c.as_str().unwrap());
        }
    }
    all.iter().for_each(|v| bytes.extend(audio(v)));
    assert_eq!(hear(&bytes, 24000), (spelt("es", 0..8), 0));
    assert_eq!(text.split_whitespace().collect::<Vec<_>>().join(" "), spelt("es", 0..8));
    // Less than the schedule asks for is not spoken before a flush.
    let mut ws = open(&cloud, SINGLE).await;
    ws.json(json!({"text": " "})).await;
    ws.json(json!({"text": "esbaba "})).await;
    let silent = tokio::time::timeout(Duration::from_millis(400), ws.next()).await;
    assert!(silent.is_err(), "{silent:?}");
    ws.json(json!({"text": " ", "flush": true})).await;
    assert!(!audio(&ws.until(|_| true).await).is_empty());
    cloud.assert_no_violations().await;
}

#[tokio::test]
async fn pace_is_the_scenarios() {
    let cloud = Cloud::start("");
    let mut ws = open(&cloud, MULTI).await;
    let text = spelt("es", 0..20) + " ";
    let begin = Instant::now();
    ws.json(json!({"text": " ", "context_id": "a"})).await;
    ws.json(json!({"text": text, "context_id": "a", "flush": true})).await;
    ws.json(json!({"context_id": "a", "close_context": true})).await;
    ws.until(|v| v["audio"].is_string()).await;
    let first = begin.elapsed().as_secs_f64();
    assert!((0.288..0.6).contains(&first), "first audio after {first} s");
    ws.until(|v| v["isFinal"] == true).await;
    // 3.6 s of audio at three times real time; the last chunk is sent when it begins.
    let speed = 3.6 / (begin.elapsed().as_secs_f64() - first);
    assert!((2.2..4.2).contains(&speed), "{speed} times real time");
}

#[tokio::test]
async fn rules_of_the_sockets() {
    let cloud = Cloud::start_with(FAST, &["--api-key", "elevenlabs=k"]);
    let space = json!({"text": " ", "context_id": "a"});
    assert_eq!(error(&cloud, MULTI, &[json!({"text": "hello ", "context_id": "a"})]).await, "invalid_input_message");
    assert_eq!(error(&cloud, SINGLE, &[json!({"text": "  "})]).await, "invalid_input_message");
    let again = json!({"text": "x ", "context_id": "a", "voice_settings": {"speed": 1.0}});
    assert_eq!(error(&cloud, MULTI, &[space.clone(), again]).await, "invalid_input_message");
    let many: Vec<Value> = (0..6).map(|i| json!({"text": " ", "context_id": i.to_string()})).collect();
    assert_eq!(error(&cloud, MULTI, &many).await, "max_active_contexts_exceeded");
    let loud = json!({"text": " ", "voice_settings": {"stability": 7}});
    assert_eq!(error(&cloud, SINGLE, &[loud]).await, "invalid_parameters");
    let short = json!({"text": " ", "generation_config": {"chunk_length_schedule": [10]}});
    assert_eq!(error(&cloud, SINGLE, &[short]).await, "invalid_input_message");
    for (query, code) in [
        ("output_format=pcm_11025", "invalid_output_format"),
        ("output_format=pcm_16000&inactivity_timeout=999", "invalid_parameters"),
        ("output_format=pcm_16000&model_id=eleven_v3", "unsupported_model"),
    ] {
        assert_eq!(error(&cloud, &format!("/v1/text-to-speech/v/multi-stream-input?{query}"), &[]).await, code);
    }
    assert_eq!(error(&cloud, &format!("{MULTI}&inactivity_timeout=0.3"), &[space]).await, "input_timeout_exceeded");
    // Keys: wrong, missing, and given in the first message.
    for (header, key) in [("wrong", ""), ("", "wrong"), ("", "")] {
        let mut ws = cloud.open(SINGLE, ("xi-api-key", header)).await.unwrap().0;
        ws.json(json!({"text": " ", "xi_api_key": key})).await;
        let (all, code, _) = ws.until_closed().await;
        assert_eq!((code, &all[0]["error"]), (1008, &json!("invalid_api_key")));
    }
    for name in ["xi_api_key", "xi-api-key"] {
        let mut ws = cloud.open(SINGLE, ("xi-api-key", "")).await.unwrap().0;
        ws.json(json!({"text": " ", name: "k"})).await;
        ws.json(json!({"text": ""})).await;
        assert_eq!(ws.until_closed().await.1, 1000);
    }
}

#[tokio::test]
async fn an_idle_context_ends_and_the_others_live_on() {
    let cloud = Cloud::start(FAST);
    let mut ws = open(&cloud, &format!("{MULTI}&inactivity_timeout=0.5")).await;
    ws.json(json!({"text": " ", "context_id": "a"})).await;
    ws.json(json!({"text": " ", "context_id": "b"})).await;
    for _ in 0..5 {
        ws.json(json!({"text": "", "context_id": "b"})).await;
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    let ended = ws.until(|v| v["isFinal"] == true).await;
    assert_eq!(ended["contextId"], "a");
    ws.json(json!({"text": "esbaba ", "context_id": "b", "flush": true})).await;
    assert_eq!(ws.until(|_| true).await["contextId"], "b");
}

#[tokio::test]
async fn http_stream() {
    let cloud = Cloud::start_with(FAST, &["--api-key", "elevenlabs=k"]);
    let client = reqwest::Client::new();
    let post = |query: &str, key: &str, ask: Value| {
        client
            .post(cloud.url(&format!("/v1/text-to-speech/v/stream?{query}")))
            .header("xi-api-key", key)
            .json(&ask)
            .send()
    };
    let text = spelt("de", 100..110);
    let ask = json!({"text": text, "model_id": "eleven_flash_v2_5", "language_code": "de"});
    let reply = post("output_format=pcm_22050", "k", ask.clone()).await.unwrap();
    assert_eq!((reply.status().as_u16(), reply.headers()["content-type"].to_str().unwrap()), (200, "audio/pcm"));
    assert!(reply.headers().contains_key("request-id"));
    assert_eq!(hear(&reply.bytes().await.unwrap(), 22050), (text, 0));
    let reply = post("output_format=pcm_16000", "wrong", ask.clone()).await.unwrap();
    assert_eq!(reply.status(), 401);
    assert_eq!(reply.json::<Value>().await.unwrap()["detail"]["code"], "invalid_api_key");
    let reply = post("output_format=wav", "k", ask).await.unwrap();
    assert_eq!(reply.status(), 400);
    let reply = post("output_format=pcm_16000", "k", json!({"model_id": "eleven_flash_v2_5"})).await.unwrap();
    assert_eq!(reply.status(), 422);
    assert!(reply.json::<Value>().await.unwrap()["detail"].is_array());
}
