//! The checklist of DeepL's `/v2/translate`.

use crate::harness::{Cloud, spelt};
use reqwest::{Client, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

fn client() -> Client {
    Client::builder().user_agent("checklist/1").build().unwrap()
}

fn post(client: &Client, cloud: &Cloud) -> RequestBuilder {
    client.post(cloud.url("/v2/translate")).header("authorization", "DeepL-Auth-Key k")
}

async fn body(request: RequestBuilder) -> (u16, Value) {
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    assert!(response.headers().contains_key("x-trace-id"));
    let bytes = response.bytes().await.unwrap();
    (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
}

const FAST: &str = "[mt]\nlatency_ms = 1\n";

#[tokio::test]
async fn translates_json_and_form_in_order() {
    let cloud = Cloud::start("");
    let (client, text) = (client(), "Enbaba, enbabe. Hello!");
    let ask = json!({"text": [text, spelt("en", 7..9), ""], "target_lang": "ES", "context": "before", "show_billed_characters": true, "model_type": "latency_optimized"});
    let begin = Instant::now();
    let (status, reply) = body(post(&client, &cloud).json(&ask)).await;
    assert_eq!(status, 200);
    assert!(begin.elapsed() >= Duration::from_millis(100), "the default latency");
    let list = reply["translations"].as_array().unwrap();
    assert_eq!(list[0]["text"], "Esbaba, esbabe. [Hello]!");
    assert_eq!(list[1]["text"], json!(spelt("es", 7..9)));
    assert!(list.iter().all(|t| t["detected_source_language"] == "EN" && t["model_type_used"] == "latency_optimized"));
    assert_eq!(list[0]["billed_characters"], text.chars().count());
    let form =
        "text=enbaba&text=enbabe&target_lang=de&source_lang=en&split_sentences=0&preserve_formatting=1&formality=more";
    let request = post(&client, &cloud).header("content-type", "application/x-www-form-urlencoded").body(form);
    let (status, reply) = body(request).await;
    assert_eq!((status, &reply["translations"][1]["text"]), (200, &json!("debabe")));
    let usage = client.get(cloud.url("/v2/usage")).header("authorization", "DeepL-Auth-Key k");
    let (status, usage) = body(usage).await;
    assert_eq!((status, &usage["character_count"]), (200, &json!(22 + 13 + 12)));
    cloud.assert_no_violations().await;
    let stats = cloud.stats().await;
    assert_eq!(stats["translations"][0]["context"], "before");
    assert_eq!(stats["requests"]["mt"], 2);
}

#[tokio::test]
async fn refuses_what_the_vendor_refuses() {
    let cloud = Cloud::start_with(FAST, &["--api-key", "deepl=k"]);
    let client = client();
    let good = json!({"text": ["enbaba"], "target_lang": "ES"});
    let with = |name: &str, value: Value| {
        let mut ask = good.clone();
        ask[name] = value;
        ask
    };
    let no_agent = Client::new();
    let (status, reply) = body(post(&no_agent, &cloud).json(&good)).await;
    assert_eq!((status, reply), (400, json!({"message": "User-Agent header missing."})));
    for auth in ["", "DeepL-Auth-Key wrong", "DeepL-Auth-Key  k", "Bearer k"] {
        let request = client.post(cloud.url("/v2/translate")).header("authorization", auth).json(&good);
        assert_eq!(body(request).await, (403, Value::Null), "{auth:?}");
    }
    let old = client.post(cloud.url("/v2/translate?auth_key=k")).json(&good);
    assert_eq!(body(old).await.0, 403);
    for (ask, code) in [
        (json!({"target_lang": "ES"}), 400),
        (json!({"text": [], "target_lang": "ES"}), 400),
        (json!({"text": "enbaba", "target_lang": "ES"}), 400),
        (json!({"text": ["enbaba"]}), 400),
        (with("text", json!(vec!["enbaba"; 51])), 400),
        (with("text", json!(vec!["enbaba"; 50])), 200),
        (with("target_lang", json!("XX")), 400),
        (with("source_lang", json!("EN-US")), 400),
        (with("formality", json!("more")), 200),
        (with("formality", json!("rude")), 400),
        (json!({"text": ["enbaba"], "target_lang": "ZH", "formality": "more"}), 400),
        (json!({"text": ["enbaba"], "target_lang": "ZH", "formality": "prefer_more"}), 200),
        (with("split_sentences", json!(0)), 400),
        (with("glossary_id", json!("g")), 400),
        (with("model_type", json!("best")), 400),
        (with("context", json!("x".repeat(130 * 1024))), 413),
    ] {
        let (status, reply) = body(post(&client, &cloud).json(&ask)).await;
        assert_eq!(status, code, "{:.200} {reply}", ask.to_string());
        assert!(status == 200 || reply["message"].is_string());
    }
    assert_eq!(body(post(&client, &cloud).header("content-type", "text/xml").body("x")).await.0, 415);
}

#[tokio::test]
async fn quota_and_statuses_by_scenario() {
    let cloud = Cloud::start(
        r#"
        [mt]
        latency_ms = 1
        [deepl]
        character_limit = 20
        [[fault]]
        stage = "mt"
        at = 2
        kind = "status"
        code = 429
        text = '{"message":"Too many requests"}'
        [[fault]]
        stage = "mt"
        at = 3
        count = 2
        kind = "status"
        code = 529
        "#,
    );
    let client = client();
    let ask = json!({"text": ["enbaba enbabe"], "target_lang": "ES"});
    let mut seen = Vec::new();
    for _ in 0..6 {
        seen.push(body(post(&client, &cloud).json(&ask)).await);
    }
    let codes: Vec<u16> = seen.iter().map(|s| s.0).collect();
    assert_eq!(codes, [200, 429, 529, 529, 456, 456]);
    assert_eq!(seen[1].1["message"], "Too many requests");
    assert_eq!(seen[2].1, Value::Null);
    assert_eq!(seen[4].1["message"], "Quota for this billing period has been exceeded.");
    let stats = cloud.stats().await;
    assert_eq!((&stats["faults_total"], &stats["faults"][2]["hit"]), (&json!(3), &json!(4)));
}

#[tokio::test]
async fn connections_are_kept_and_closed_when_idle() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let cloud = Cloud::start("[mt]\nlatency_ms = 1\n[deepl]\nkeep_alive_ms = 300");
    let mut stream = tokio::net::TcpStream::connect(&cloud.address).await.unwrap();
    let ask = r#"{"text":["enbaba"],"target_lang":"ES"}"#;
    let request = format!(
        "POST /v2/translate HTTP/1.1\r\nHost: x\r\nUser-Agent: x\r\nAuthorization: DeepL-Auth-Key k\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{ask}",
        ask.len()
    );
    let mut buffer = vec![0; 4096];
    for _ in 0..3 {
        stream.write_all(request.as_bytes()).await.unwrap();
        let n = stream.read(&mut buffer).await.unwrap();
        assert!(buffer[..n].starts_with(b"HTTP/1.1 200"));
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    let begin = Instant::now();
    let n = tokio::time::timeout(Duration::from_secs(5), stream.read(&mut buffer)).await.unwrap().unwrap();
    assert!(n == 0 && begin.elapsed() < Duration::from_secs(2), "closed by the server after {:?}", begin.elapsed());
}

#[tokio::test]
async fn speaks_http2_and_tls() {
    let cloud = Cloud::start(FAST);
    let h2 = Client::builder().user_agent("x").http2_prior_knowledge().build().unwrap();
    let ask = json!({"text": ["enbaba"], "target_lang": "ES"});
    let response = post(&h2, &cloud).json(&ask).send().await.unwrap();
    assert_eq!((response.status(), response.version()), (StatusCode::OK, reqwest::Version::HTTP_2));

    let dir = tempfile::tempdir().unwrap();
    let ca = dir.path().join("ca.pem");
    let cloud = Cloud::start_with(FAST, &["--tls", "--ca-out", ca.to_str().unwrap()]);
    assert!(cloud.line.ends_with(" tls"));
    let ca = reqwest::Certificate::from_pem(&std::fs::read(&ca).unwrap()).unwrap();
    let tls = Client::builder().user_agent("x").tls_certs_only([ca]).build().unwrap();
    let url = format!("https://{}/v2/translate", cloud.address);
    let response = tls.post(url).header("authorization", "DeepL-Auth-Key k").json(&ask).send().await.unwrap();
    assert_eq!((response.status(), response.version()), (StatusCode::OK, reqwest::Version::HTTP_2));
}
