//! Servers that say back what they were told, and certificates that a client must refuse.

use crate::harness::{Cloud, Got, sentence, spelt};
use reqwest::{Certificate, Client};
use serde_json::json;

const LISTEN: &str = "/v1/listen?model=nova-3&encoding=linear16&sample_rate=16000";
const SPEAK: &str = "/v1/text-to-speech/v/multi-stream-input?output_format=pcm_16000";

fn fault(stage: &str, on: &str, at: u32, more: &str) -> String {
    format!(
        "[[fault]]\nstage = \"{stage}\"\non = \"{on}\"\nat = {at}\ntext = \"key {{key}}, text {{text}}.\"\n{more}\n"
    )
}

#[tokio::test]
async fn statuses_say_back_key_and_text() {
    let cloud = Cloud::start("");
    let (http, said) = (Client::builder().user_agent("x").build().unwrap(), "good morning");
    let chat = json!({"messages": [{"role": "system", "content": "x"}, {"role": "user", "content": said}]});
    for (stage, path, header, body) in [
        ("mt", "/v2/translate", ("authorization", "DeepL-Auth-Key k1"), json!({"text": ["good", "morning"]})),
        ("mt", "/v1/chat/completions", ("authorization", "Bearer k1"), chat),
        ("mt", "/translate", ("x-nothing", ""), json!({"q": said, "api_key": "k1"})),
        ("tts", "/v1/speak", ("authorization", "Token k1"), json!({"text": said})),
        ("tts", "/v1/text-to-speech/v/stream", ("xi-api-key", "k1"), json!({"text": said})),
    ] {
        let url = cloud.url("/__scenario");
        let scenario = fault(stage, "request", 1, "kind = \"status\"\ncode = 500");
        assert_eq!(http.put(url).body(scenario).send().await.unwrap().status(), 204);
        let reply = http.post(cloud.url(path)).header(header.0, header.1).json(&body).send().await.unwrap();
        assert_eq!(reply.status(), 500, "{path}");
        assert_eq!(reply.text().await.unwrap(), "key k1, text good morning.", "{path}");
    }
}

#[tokio::test]
async fn websockets_say_back_key_and_text() {
    let cloud = Cloud::start(&fault("stt", "request", 1, "kind = \"status\"\ncode = 401"));
    let refused = cloud.refused(LISTEN, ("authorization", "Token k1")).await;
    assert_eq!(refused.body().as_deref(), Some(&b"key k1, text ."[..]));
    let cloud = Cloud::start("");
    let mut ws = cloud.open(LISTEN, ("authorization", "Token k1")).await.unwrap().0;
    ws.pcm(&sentence("en", 0..2, 1.0)).await;
    let text = spelt("en", 0..2);
    ws.until(|v| v["is_final"] == true && v["channel"]["alternatives"][0]["transcript"] == text).await;
    let scenario = fault("stt", "message", 1, "kind = \"close\"\ncode = 1011");
    let set = Client::new().put(cloud.url("/__scenario")).body(scenario).send().await.unwrap();
    assert_eq!(set.status(), 204);
    ws.json(json!({"type": "KeepAlive"})).await;
    let (_, code, reason) = ws.until_closed().await;
    assert_eq!((code, reason), (1011, format!("key k1, text {text}.")));
    let cloud = Cloud::start(&fault("tts", "message", 2, "kind = \"error_message\"\ncode = 1008"));
    let mut ws = cloud.open(SPEAK, ("xi-api-key", "k1")).await.unwrap().0;
    ws.json(json!({"text": " ", "context_id": "a"})).await;
    ws.json(json!({"text": "esbaba ", "context_id": "a", "flush": true})).await;
    match ws.next().await {
        Got::Text(said) => assert_eq!(said, "key k1, text esbaba ."),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn certificates_are_faulty_as_asked_and_control_paths_need_none() {
    for (fault, hint) in [
        ("wrong-name", "NotValidForName"),
        ("expired", "Expired"),
        ("self-signed", "UnknownIssuer"),
        ("untrusted", "UnknownIssuer"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let ca = dir.path().join("ca.pem");
        let cloud = Cloud::start_with("", &["--tls", "--ca-out", ca.to_str().unwrap(), "--tls-fault", fault]);
        let ca = Certificate::from_pem(&std::fs::read(&ca).unwrap()).unwrap();
        let client = Client::builder().user_agent("x").tls_certs_only([ca]).build().unwrap();
        let error = client.get(format!("https://{}/health", cloud.address)).send().await.unwrap_err();
        assert!(format!("{error:?}").contains(hint), "{fault}: {error:?}");
        // In plain text there is nothing but the control paths.
        assert_eq!(reqwest::get(cloud.url("/health")).await.unwrap().status(), 400);
        let stats = cloud.stats().await;
        assert_eq!((&stats["tcp_connections"], &stats["violations_total"]), (&json!(1), &json!(1)), "{stats}");
    }
}
