//! The checklist of OpenAI-compatible `POST /v1/chat/completions`.

use crate::harness::{Cloud, spelt};
use reqwest::Client;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const FAST: &str = "mt.latency_ms = 1\n[openai]\nchunk_ms = 0\nsplit_rate = 0.5\n";
const SYSTEM: &str = "You are a translator.\nTranslate from English (en) to Spanish (es). Answer with the translation only.";

fn ask(text: &str, more: Value) -> Value {
    let mut ask = json!({
        "model": "local-model", "temperature": 0,
        "messages": [
            {"role": "system", "content": SYSTEM},
            {"role": "user", "content": "enzozo"},
            {"role": "assistant", "content": "eszozo"},
            {"role": "user", "content": text},
        ],
    });
    for (name, value) in more.as_object().unwrap() {
        ask[name] = value.clone();
    }
    ask
}

async fn send(cloud: &Cloud, ask: &Value) -> reqwest::Response {
    let url = cloud.url("/v1/chat/completions");
    Client::new().post(url).header("authorization", "Bearer k").json(ask).send().await.unwrap()
}

/// The data of each event, comments apart, and how many comments and network reads there were.
async fn events(mut reply: reqwest::Response) -> (Vec<String>, usize, usize) {
    let (mut text, mut reads) = (String::new(), 0);
    while let Some(chunk) = reply.chunk().await.unwrap() {
        text.push_str(std::str::from_utf8(&chunk).unwrap());
        reads += 1;
    }
    assert!(text.ends_with("\n\n"));
    let comments = text.lines().filter(|l| l.starts_with(':')).count();
    (text.lines().filter_map(|l| l.strip_prefix("data: ")).map(str::to_owned).collect(), comments, reads)
}

#[tokio::test]
async fn whole_replies() {
    let cloud = Cloud::start_with("mt.latency_ms = 150", &["--api-key", "openai=k"]);
    let begin = Instant::now();
    let reply = send(&cloud, &ask("Enbaba enbabe.", json!({}))).await;
    assert!(begin.elapsed() >= Duration::from_millis(150));
    assert_eq!(reply.status(), 200);
    assert!(reply.headers()["x-request-id"].to_str().unwrap().starts_with("req_"));
    let body: Value = reply.json().await.unwrap();
    assert_eq!((&body["object"], &body["model"]), (&json!("chat.completion"), &json!("local-model")));
    let choice = &body["choices"][0];
    assert_eq!(choice["message"]["content"], "Esbaba esbabe.");
    assert_eq!((&choice["finish_reason"], &choice["message"]["role"]), (&json!("stop"), &json!("assistant")));
    let usage = &body["usage"];
    let sum = usage["prompt_tokens"].as_u64().unwrap() + usage["completion_tokens"].as_u64().unwrap();
    assert_eq!(usage["total_tokens"], sum);
    // Parts instead of a string, a developer instead of a system, and a limit.
    let mut parts = ask("", json!({"max_tokens": 1}));
    parts["messages"][0]["role"] = json!("developer");
    parts["messages"][3]["content"] = json!([{"type": "text", "text": "enbaba "}, {"type": "text", "text": "enbabe"}]);
    let body: Value = send(&cloud, &parts).await.json().await.unwrap();
    let said = body["choices"][0]["message"]["content"].as_str().unwrap();
    assert!("esbaba esbabe".starts_with(said) && said.len() <= 6, "{body}");
    assert_eq!(body["choices"][0]["finish_reason"], "length");
    cloud.assert_no_violations().await;
    assert_eq!(cloud.stats().await["translations"][0]["source"], "en");
}

#[tokio::test]
async fn streams() {
    let cloud = Cloud::start(FAST);
    let text = spelt("en", 0..30);
    for usage in [false, true] {
        let more = json!({"stream": true, "stream_options": {"include_usage": usage}});
        let reply = send(&cloud, &ask(&text, more)).await;
        assert!(reply.headers()["content-type"].to_str().unwrap().starts_with("text/event-stream"));
        let (mut data, comments, reads) = events(reply).await;
        assert!(comments >= 2 && reads > 20, "{comments} comments in {reads} reads");
        assert_eq!(data.pop().unwrap(), "[DONE]");
        let mut data: Vec<Value> = data.iter().map(|d| serde_json::from_str(d).unwrap()).collect();
        assert!(data.iter().all(|d| d["object"] == "chat.completion.chunk" && d["id"] == data[0]["id"]));
        if usage {
            let last = data.pop().unwrap();
            assert_eq!(last["choices"], json!([]));
            assert!(last["usage"]["completion_tokens"].as_u64().unwrap() > 20, "{last}");
        }
        assert!(data.iter().all(|d| d["usage"].is_null()));
        assert_eq!(data[0]["choices"][0]["delta"]["role"], "assistant");
        assert_eq!(data.last().unwrap()["choices"][0]["finish_reason"], "stop");
        let said: String =
            data.iter().map(|d| d["choices"][0]["delta"]["content"].as_str().unwrap_or_default()).collect();
        assert_eq!(said, spelt("es", 0..30));
    }
    cloud.assert_no_violations().await;
}

#[tokio::test]
async fn errors_have_the_vendors_shape() {
    let cloud = Cloud::start_with(FAST, &["--api-key", "openai=other"]);
    let body: Value = send(&cloud, &ask("enbaba", json!({}))).await.json().await.unwrap();
    assert_eq!(body["error"]["code"], "invalid_api_key");
    let cloud = Cloud::start(FAST);
    let good = ask("enbaba", json!({}));
    let with = |path: &str, value: Value| {
        let mut ask = good.clone();
        *ask.pointer_mut(path).unwrap() = value;
        ask
    };
    for (ask, param) in [
        (with("/model", json!("")), "model"),
        (with("/messages", json!([])), "messages"),
        (with("/messages/0/content", json!("Translate this into Spanish.")), "messages"),
        (with("/messages/0/content", json!("Translate from Klingon (tlh) to Spanish (es)")), "messages"),
        (with("/messages/3/role", json!("boss")), "messages[3].role"),
        (with("/messages/3/content", json!(7)), "messages[3].content"),
        (with("/temperature", json!(9)), "temperature"),
        (ask("enbaba", json!({"stream": "yes"})), "stream"),
        (ask("enbaba", json!({"stream_options": {"include_usage": true}})), "stream_options"),
        (ask("enbaba", json!({"colour": "red"})), "colour"),
    ] {
        let reply = send(&cloud, &ask).await;
        assert_eq!(reply.status(), 400, "{ask}");
        let body: Value = reply.json().await.unwrap();
        let error = &body["error"];
        assert_eq!((&error["type"], &error["param"]), (&json!("invalid_request_error"), &json!(param)), "{body}");
        assert!(error["message"].is_string() && error.as_object().unwrap().contains_key("code"));
    }
}

#[tokio::test]
async fn breaks_off_in_mid_stream_and_limits_concurrency() {
    let cloud = Cloud::start(
        r#"
        mt.latency_ms = 1000
        openai.max_requests = 1
        fault = [{ stage = "mt", at = 1, kind = "vendor", name = "openai_mid_stream" }]
        "#,
    );
    let (data, ..) = events(send(&cloud, &ask(&spelt("en", 0..9), json!({"stream": true}))).await).await;
    let last: Value = serde_json::from_str(data.last().unwrap()).unwrap();
    assert_eq!((&last["error"]["type"], &last["error"]["code"]), (&json!("server_error"), &Value::Null));
    let said: String = data
        .iter()
        .filter_map(|d| serde_json::from_str::<Value>(d).unwrap()["choices"][0]["delta"]["content"].as_str().map(str::to_owned))
        .collect();
    assert!(spelt("es", 0..9).starts_with(&said) && !said.is_empty(), "{said}");
    let both = [ask("enbaba", json!({})), ask("enbabe", json!({}))];
    let (a, b) = tokio::join!(send(&cloud, &both[0]), send(&cloud, &both[1]));
    let mut codes = [a.status().as_u16(), b.status().as_u16()];
    codes.sort_unstable();
    assert_eq!(codes, [200, 429]);
}
