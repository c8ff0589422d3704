//! The vendors' own refusals by name, and replies that no honest vendor gives.

use crate::harness::{Cloud, Got, PATIENCE, sentence, spelt};
use futures_util::StreamExt;
use reqwest::{Client, Response};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::{Error, Message};

const LISTEN: &str = "/v1/listen?model=nova-3&encoding=linear16&sample_rate=16000";
const AUTH: (&str, &str) = ("authorization", "Token k");
const SPEAK: &str = "/v1/text-to-speech/v/multi-stream-input?output_format=pcm_16000";

fn faults(stage: &str, on: &str, kind: &str, names: &[&str]) -> String {
    let one = |(i, name): (usize, &&str)| {
        let at = i + 1;
        format!(
            "[[fault]]\nstage = \"{stage}\"\non = \"{on}\"\nat = {at}\nkind = \"{kind}\"\nname = \"{name}\"\nretry_after = 7\n"
        )
    };
    format!("mt.latency_ms = 1\n{}", names.iter().enumerate().map(one).collect::<String>())
}

async fn translate(client: &Client, cloud: &Cloud) -> Response {
    let ask = json!({"text": ["enbaba"], "target_lang": "ES"});
    client.post(cloud.url("/v2/translate")).header("authorization", "DeepL-Auth-Key k").json(&ask).send().await.unwrap()
}

fn client() -> Client {
    Client::builder().user_agent("x").redirect(reqwest::redirect::Policy::none()).build().unwrap()
}

#[tokio::test]
async fn deepgram_refuses_handshakes_in_its_own_words() {
    let cases = [
        ("deepgram_400", 400, "Bad Request"),
        ("deepgram_401", 401, "INVALID_AUTH"),
        ("deepgram_402", 402, "ASR_PAYMENT_REQUIRED"),
        ("deepgram_403", 403, "INSUFFICIENT_PERMISSIONS"),
        ("deepgram_429", 429, "TOO_MANY_REQUESTS"),
        ("deepgram_503", 503, ""),
    ];
    let cloud = Cloud::start(&faults("stt", "request", "vendor", &cases.map(|c| c.0)));
    for (name, status, code) in cases {
        let refused = cloud.refused(LISTEN, AUTH).await;
        assert_eq!(refused.status(), status, "{name}");
        assert!(!refused.headers()["dg-error"].is_empty(), "{name}");
        let id = refused.headers()["dg-request-id"].to_str().unwrap();
        assert_eq!(id.len(), 36, "{name}");
        let body = refused.body().clone().unwrap();
        match code {
            "" => assert_eq!(body, b"Service Unavailable"),
            code => {
                let body: Value = serde_json::from_slice(&body).unwrap();
                assert_eq!((&body["err_code"], &body["request_id"]), (&json!(code), &json!(id)), "{name}");
                assert_eq!(body["err_msg"], refused.headers()["dg-error"].to_str().unwrap(), "{name}");
            }
        }
        assert_eq!(refused.headers()["retry-after"], "7");
    }
    assert!(cloud.open(LISTEN, AUTH).await.is_ok());
}

#[tokio::test]
async fn deepgram_and_elevenlabs_close_with_their_codes() {
    let cloud = Cloud::start(&faults(
        "stt",
        "request",
        "vendor",
        &["deepgram_net0000", "deepgram_net0001", "deepgram_data0000"],
    ));
    for (code, hint) in [(1011, "net0000"), (1011, "net0001"), (1008, "DATA-0000")] {
        let mut ws = cloud.open(LISTEN, AUTH).await.unwrap().0;
        let (_, closed, reason) = ws.until_closed().await;
        assert!(closed == code && reason.contains(hint), "{closed} {reason}");
    }
    // In the middle of a call, on the third message.
    for name in ["quota_exceeded", "input_timeout_exceeded", "system_busy"] {
        let cloud = Cloud::start(&format!(
            "[[fault]]\nstage = \"tts\"\non = \"message\"\nat = 3\nkind = \"vendor\"\nname = \"elevenlabs_{name}\""
        ));
        let mut ws = cloud.open(SPEAK, ("xi-api-key", "k")).await.unwrap().0;
        ws.json(json!({"text": " ", "context_id": "a"})).await;
        ws.json(json!({"text": "esbaba ", "context_id": "a", "flush": true})).await;
        assert!(ws.until(|v| v["audio"].is_string()).await["contextId"] == "a");
        ws.json(json!({"text": "esbabe ", "context_id": "a"})).await;
        let (all, code, _) = ws.until_closed().await;
        let last = all.last().unwrap();
        assert_eq!((code, &last["error"], &last["code"]), (1008, &json!(name), &json!(1008)));
    }
}

#[tokio::test]
async fn statuses_and_bodies_over_http() {
    let cases = [
        ("deepl_403", 403, ""),
        ("deepl_413", 413, "Request Entity"),
        ("deepl_429", 429, "Too many"),
        ("deepl_429_empty", 429, ""),
        ("deepl_456", 456, "Quota"),
        ("deepl_500", 500, "Internal"),
        ("deepl_503", 503, "unavailable"),
        ("deepl_529", 529, "Too many"),
        ("deepl_529_empty", 529, ""),
        ("openai_401", 401, "\"code\":\"invalid_api_key\""),
        ("openai_429", 429, "\"code\":\"rate_limit_exceeded\""),
        ("openai_quota", 429, "insufficient_quota"),
        ("openai_500", 500, "\"code\":null"),
        ("libretranslate_403", 403, "Invalid API key"),
        ("libretranslate_429", 429, "Slowdown"),
        ("libretranslate_500", 500, "Cannot translate"),
    ];
    let cloud = Cloud::start(&faults("mt", "request", "vendor", &cases.map(|c| c.0)));
    let client = client();
    for (name, status, hint) in cases {
        let reply = translate(&client, &cloud).await;
        assert_eq!(
            (reply.status().as_u16(), reply.headers()["retry-after"].to_str().unwrap()),
            (status, "7"),
            "{name}"
        );
        let text = reply.text().await.unwrap();
        assert!(text.contains(hint) && text.is_empty() == hint.is_empty(), "{name}: {text}");
        assert!(hint.is_empty() || serde_json::from_str::<Value>(&text).is_ok(), "{name}: {text}");
    }
    assert_eq!(translate(&client, &cloud).await.status(), 200);
    let cases = [
        ("elevenlabs_invalid_api_key", 401, "/detail/code", "invalid_api_key"),
        ("elevenlabs_quota_exceeded", 401, "/detail/status", "quota_exceeded"),
        ("elevenlabs_too_many_concurrent_requests", 429, "/detail/status", "too_many_concurrent_requests"),
        ("elevenlabs_system_busy", 429, "/detail/code", "system_busy"),
        ("elevenlabs_422", 422, "/detail/0/msg", "Field required"),
        ("aura_413", 413, "/category", "PAYLOAD_TOO_LARGE"),
        ("aura_429", 429, "/err_code", "TOO_MANY_REQUESTS"),
    ];
    let cloud = Cloud::start(&faults("tts", "request", "vendor", &cases.map(|c| c.0)));
    for (name, status, pointer, value) in cases {
        let url = cloud.url("/v1/text-to-speech/v/stream?output_format=pcm_16000");
        let reply = client.post(url).header("xi-api-key", "k").json(&json!({"text": "esbaba"})).send().await.unwrap();
        assert_eq!(reply.status(), status, "{name}");
        let body: Value = reply.json().await.unwrap();
        assert_eq!(body.pointer(pointer), Some(&json!(value)), "{name}: {body}");
    }
}

#[tokio::test]
async fn hostile_messages_precede_the_real_ones() {
    let names = [
        "unknown_type",
        "missing_fields",
        "wrong_types",
        "truncated_json",
        "odd_bytes",
        "bad_base64",
        "giant",
        "deep_json",
    ];
    let cloud = Cloud::start(&faults("stt", "request", "hostile", &names));
    for name in names {
        let mut ws = cloud.open(LISTEN, AUTH).await.unwrap().0;
        let message = tokio::time::timeout(PATIENCE, ws.ws.next()).await.unwrap().unwrap().unwrap();
        match (name, &message) {
            ("odd_bytes", Message::Binary(bytes)) => assert_eq!(bytes.len() % 2, 1),
            ("giant", Message::Text(text)) => assert!(text.len() > 2 << 20),
            ("deep_json", Message::Text(text)) => assert!(text.starts_with("[[[[") && text.len() == 200_000),
            ("truncated_json", Message::Text(text)) => assert!(serde_json::from_str::<Value>(text).is_err()),
            (_, Message::Text(text)) => {
                let value: Value = serde_json::from_str(text).unwrap();
                assert_eq!(value["type"] == "Results", name != "unknown_type", "{name}");
                assert!(!value["channel"]["alternatives"][0]["words"].is_array(), "{name}");
            }
            _ => panic!("{name}: {message:?}"),
        }
        // The stream goes on.
        ws.pcm(&sentence("en", 0..2, 0.3)).await;
        ws.until(|v| v["channel"]["alternatives"][0]["transcript"] == spelt("en", 0..2)).await;
    }
    let cloud = Cloud::start(&faults("stt", "request", "hostile", &["invalid_utf8", "redirect"]));
    let mut ws = cloud.open(LISTEN, AUTH).await.unwrap().0;
    assert!(matches!(ws.next().await, Got::Broken(Error::Utf8(_))));
    let refused = cloud.refused(LISTEN, AUTH).await;
    assert_eq!((refused.status().as_u16(), &refused.headers()["location"]), (302, &"/v1/listen".parse().unwrap()));
    // The bytes of the bad frame themselves, in the middle of a synthesis.
    let scenario = "[tts]\nfirst_audio_ms = 1\n[[fault]]\nstage = \"tts\"\non = \"generation\"\nat = 1\nkind = \"hostile\"\nname = \"bad_base64\"";
    let cloud = Cloud::start(scenario);
    let mut ws = cloud.open(SPEAK, ("xi-api-key", "k")).await.unwrap().0;
    ws.json(json!({"text": " ", "context_id": "a"})).await;
    ws.json(json!({"text": "esbaba ", "context_id": "a", "flush": true})).await;
    let first = ws.until(|_| true).await;
    assert!(first["audio"].as_str().unwrap().contains('@') && first["contextId"] == "a", "{first}");
    ws.until(|v| v["audio"].as_str().is_some_and(|a| !a.contains('@'))).await;
}

#[tokio::test]
async fn hostile_bodies_replace_the_real_ones() {
    let names = [
        "unknown_type",
        "missing_fields",
        "wrong_types",
        "truncated_json",
        "invalid_utf8",
        "odd_bytes",
        "deep_json",
        "redirect",
        "giant",
    ];
    let cloud = Cloud::start(&faults("mt", "request", "hostile", &names));
    let client = client();
    for name in names {
        let reply = translate(&client, &cloud).await;
        if name == "redirect" {
            assert_eq!(
                (reply.status().as_u16(), reply.headers()["location"].to_str().unwrap()),
                (302, "/v2/translate")
            );
            continue;
        }
        assert_eq!(reply.status(), 200, "{name}");
        let bytes = reply.bytes().await.unwrap();
        match name {
            "giant" => assert!(bytes.len() >= 64 << 20, "{}", bytes.len()),
            "invalid_utf8" => assert!(std::str::from_utf8(&bytes).is_err()),
            "deep_json" => assert_eq!(bytes.len(), 200_000),
            "truncated_json" | "odd_bytes" => assert!(serde_json::from_slice::<Value>(&bytes).is_err(), "{name}"),
            _ => {
                let value: Value = serde_json::from_slice(&bytes).unwrap();
                assert!(!value["translations"][0]["text"].is_string(), "{name}: {value}");
            }
        }
    }
    // A client that stops reading a giant is not waited for.
    let cloud = Cloud::start(&faults("mt", "request", "hostile", &["giant"]));
    let mut stream = tokio::net::TcpStream::connect(&cloud.address).await.unwrap();
    let head = "POST /v2/translate HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut some = vec![0; 100_000];
    stream.read_exact(&mut some).await.unwrap();
    drop(stream);
    assert_eq!(translate(&client, &cloud).await.status(), 200);
}
