//! The checklist of Deepgram's `POST /v1/speak`.

use crate::harness::{Cloud, hear, spelt};
use reqwest::{Client, Response};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const FAST: &str = "[tts]\nfirst_audio_ms = 10\nspeed = 50.0\nodd_chunk_rate = 0.5\n";
const BARE: &str = "model=aura-2-celeste-es&encoding=linear16&container=none&sample_rate=16000";

async fn speak(cloud: &Cloud, query: &str, key: &str, text: &str) -> Response {
    let url = cloud.url(&format!("/v1/speak?{query}"));
    Client::new().post(url).header("authorization", key).json(&json!({"text": text})).send().await.unwrap()
}

#[tokio::test]
async fn speaks_bare_audio_and_files() {
    let cloud = Cloud::start(FAST);
    let text = spelt("es", 30..42);
    let mut reply = speak(&cloud, BARE, "Token k", &text).await;
    assert_eq!(reply.status(), 200);
    let headers = reply.headers().clone();
    assert_eq!(headers["content-type"], "audio/l16;rate=16000");
    assert_eq!((headers["dg-model-name"].to_str().unwrap(), headers["dg-request-id"].len()), ("aura-2-celeste-es", 36));
    assert_eq!(headers["dg-char-count"].to_str().unwrap(), text.len().to_string());
    assert!(headers["dg-model-uuid"].len() == 36 && headers["transfer-encoding"] == "chunked");
    let (mut bytes, mut odd) = (Vec::new(), false);
    while let Some(chunk) = reply.chunk().await.unwrap() {
        odd |= chunk.len() % 2 == 1;
        bytes.extend(chunk);
    }
    assert!(odd, "a sample must be split now and then");
    assert_eq!(hear(&bytes, 16000), (text.clone(), 0));
    // The default container is a file with a RIFF header of 44 bytes.
    let reply = speak(&cloud, "model=aura-2-celeste-es&encoding=linear16", "Bearer k", &text).await;
    assert_eq!(reply.headers()["content-type"], "audio/wav");
    let bytes = reply.bytes().await.unwrap();
    assert_eq!((&bytes[..4], &bytes[8..16], &bytes[36..40]), (&b"RIFF"[..], &b"WAVEfmt "[..], &b"data"[..]));
    assert_eq!(u32::from_le_bytes([bytes[24], bytes[25], bytes[26], bytes[27]]), 24000);
    assert_eq!(hear(&bytes[44..], 24000), (text, 0));
    let plain = Client::new().post(cloud.url(&format!("/v1/speak?{BARE}"))).header("authorization", "Token k");
    let reply = plain.header("content-type", "text/plain").body("esbaba").send().await.unwrap();
    assert_eq!(hear(&reply.bytes().await.unwrap(), 16000).0, "esbaba");
    cloud.assert_no_violations().await;
    assert_eq!(cloud.stats().await["requests"]["tts"], 3);
}

#[tokio::test]
async fn refuses_what_the_vendor_refuses() {
    let cloud = Cloud::start_with(FAST, &["--api-key", "deepgram=k"]);
    for (query, key, text, status, code) in [
        (BARE, "Token wrong", "x", 401, "INVALID_AUTH"),
        (BARE, "", "x", 401, "INVALID_AUTH"),
        ("model=aura-2-celeste-es", "Token k", "x", 400, "INVALID_QUERY_PARAMETER"),
        ("model=nova-3&encoding=linear16", "Token k", "x", 400, "Bad Request"),
        ("encoding=linear16&sample_rate=11025", "Token k", "x", 400, "INVALID_QUERY_PARAMETER"),
        ("encoding=mulaw&sample_rate=24000", "Token k", "x", 400, "INVALID_QUERY_PARAMETER"),
        ("encoding=linear16&container=ogg", "Token k", "x", 400, "INVALID_QUERY_PARAMETER"),
        ("encoding=linear16&colour=red", "Token k", "x", 400, "INVALID_QUERY_PARAMETER"),
        (BARE, "Token k", " ", 400, "Bad Request"),
        (BARE, "Token k", &"x".repeat(2001), 413, "Payload Too Large"),
    ] {
        let reply = speak(&cloud, query, key, text).await;
        assert_eq!(reply.status().as_u16(), status, "{query}");
        let error = reply.headers()["dg-error"].to_str().unwrap().to_owned();
        let body: Value = reply.json().await.unwrap();
        assert_eq!((&body["err_code"], &body["err_msg"]), (&json!(code), &json!(error)), "{query}");
    }
    let post = Client::new().post(cloud.url(&format!("/v1/speak?{BARE}"))).header("authorization", "Token k");
    assert_eq!(post.header("content-type", "text/xml").body("x").send().await.unwrap().status(), 415);
}

#[tokio::test]
async fn pace_and_concurrency_are_the_scenarios() {
    let cloud = Cloud::start("aura.max_requests = 1\n[tts]\nfirst_audio_ms = 200\nspeed = 4.0\n");
    let begin = Instant::now();
    let mut first = speak(&cloud, BARE, "Token k", &spelt("es", 0..20)).await;
    let second = speak(&cloud, BARE, "Token k", "esbaba").await;
    assert_eq!(second.status(), 429);
    assert_eq!(second.json::<Value>().await.unwrap()["err_code"], "TOO_MANY_REQUESTS");
    first.chunk().await.unwrap().unwrap();
    assert!(begin.elapsed() >= Duration::from_millis(200), "{:?}", begin.elapsed());
    let begin = Instant::now();
    while first.chunk().await.unwrap().is_some() {}
    // 3.6 s of audio at four times real time; the last chunk is sent when it begins.
    assert!(begin.elapsed() >= Duration::from_millis(700), "{:?}", begin.elapsed());
    cloud.until_stats(|s| s["busy"]["aura"] == 0).await;
    assert_eq!(speak(&cloud, BARE, "Token k", "esbaba").await.status(), 200);
}
