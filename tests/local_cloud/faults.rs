//! The scenario's faults, as a client sees them.

use crate::harness::{Cloud, Got, sentence};
use serde_json::json;
use std::time::{Duration, Instant};
use tokio_tungstenite::tungstenite::Error;

const LISTEN: &str = "/v1/listen?model=nova-3&encoding=linear16&sample_rate=16000";
const AUTH: (&str, &str) = ("authorization", "Token k");

#[tokio::test]
async fn websocket_faults() {
    let cloud = Cloud::start(
        r#"
        fault = [
          { stage = "stt", at = 1, kind = "status", code = 429, text = "Too many requests" },
          { stage = "stt", on = "connection", at = 2, kind = "close", code = 1011, text = "NET-0000", after_ms = 50 },
          { stage = "stt", at = 3, kind = "reset" },
          { stage = "stt", at = 4, kind = "error_message", text = '{"type":"Error"}', code = 1008 },
          { stage = "stt", at = 5, kind = "garbage" },
          { stage = "stt", on = "message", at = 2, kind = "stall", ms = 500 },
        ]
        "#,
    );
    assert_eq!(cloud.refused(LISTEN, AUTH).await.status(), 429);
    let mut ws = cloud.open(LISTEN, AUTH).await.unwrap().0;
    assert!(matches!(ws.next().await, Got::Close(1011, reason) if reason == "NET-0000"));
    let mut ws = cloud.open(LISTEN, AUTH).await.unwrap().0;
    let got = ws.next().await;
    assert!(matches!(&got, Got::Broken(Error::Io(e)) if e.kind() == std::io::ErrorKind::ConnectionReset), "{got:?}");
    let mut ws = cloud.open(LISTEN, AUTH).await.unwrap().0;
    let (all, code, _) = ws.until_closed().await;
    assert_eq!((all, code), (vec![json!({"type": "Error"})], 1008));
    let mut ws = cloud.open(LISTEN, AUTH).await.unwrap().0;
    assert!(matches!(ws.next().await, Got::Text(text) if text.contains("not json")));
    // The stream goes on; its second message stalls it for a while.
    let begin = Instant::now();
    ws.pcm(&sentence("en", 0..2, 0.3)).await;
    ws.until(|v| v["speech_final"] == true).await;
    assert!(begin.elapsed() >= Duration::from_millis(500));
    let stats = cloud.stats().await;
    assert_eq!(stats["faults_total"], 6, "{}", stats["faults"]);
}

#[tokio::test]
async fn http_and_generation_faults_and_another_scenario_at_run_time() {
    let cloud = Cloud::start("");
    let client = reqwest::Client::builder().user_agent("x").build().unwrap();
    let scenario = r#"
        [mt]
        latency_ms = { median = 5, p95 = 20 }
        [[fault]]
        stage = "mt"
        at = 1
        kind = "reset"
        [[fault]]
        stage = "mt"
        at = 2
        kind = "garbage"
        [[fault]]
        stage = "mt"
        at = 3
        kind = "stall"
        ms = 300
        [[fault]]
        stage = "tts"
        on = "generation"
        at = 1
        kind = "reset"
    "#;
    let put = client.put(cloud.url("/__scenario")).body(scenario).send().await.unwrap();
    assert_eq!(put.status(), 204);
    let wrong = client.put(cloud.url("/__scenario")).body("[mt]\nlatencies = 3").send().await.unwrap();
    assert_eq!(wrong.status(), 400);
    let ask = json!({"text": ["enbaba"], "target_lang": "ES"});
    let send = || client.post(cloud.url("/v2/translate")).header("authorization", "DeepL-Auth-Key k").json(&ask).send();
    assert!(send().await.is_err());
    let garbage = send().await.unwrap();
    assert_eq!(garbage.status(), 200);
    assert!(garbage.json::<serde_json::Value>().await.is_err());
    let begin = Instant::now();
    assert_eq!(send().await.unwrap().status(), 200);
    assert!(begin.elapsed() >= Duration::from_millis(300));
    let path = "/v1/text-to-speech/v/multi-stream-input?output_format=pcm_16000";
    let mut ws = cloud.open(path, ("xi-api-key", "k")).await.unwrap().0;
    ws.json(json!({"text": " ", "context_id": "a"})).await;
    ws.json(json!({"text": "esbaba ", "context_id": "a", "flush": true})).await;
    assert!(matches!(ws.next().await, Got::Broken(_)));
    let shown = client.get(cloud.url("/__scenario")).send().await.unwrap().json::<serde_json::Value>().await.unwrap();
    assert_eq!(shown["fault"].as_array().unwrap().len(), 4);
    assert_eq!(client.delete(cloud.url("/__stats")).send().await.unwrap().status(), 204);
    assert_eq!(cloud.stats().await["faults_total"], 0);
}
