//! The checklist of Deepgram's `/v1/listen`.

use crate::harness::{Cloud, Socket, sentence, spelt};
use serde_json::{Value, json};
use std::time::Duration;

const AUTH: (&str, &str) = ("authorization", "Token k");
const BASE: &str = "/v1/listen?model=nova-3&encoding=linear16&sample_rate=16000";
const FULL: &str = "/v1/listen?model=nova-3&encoding=linear16&sample_rate=16000&language=en&interim_results=true&endpointing=300&utterance_end_ms=1000&vad_events=true&smart_format=true";

async fn open(cloud: &Cloud, path: &str) -> Socket {
    cloud.open(path, AUTH).await.unwrap().0
}

fn transcript(v: &Value) -> &str {
    v["channel"]["alternatives"][0]["transcript"].as_str().unwrap_or_default()
}

fn is(kind: &'static str) -> impl Fn(&Value) -> bool {
    move |v| v["type"] == kind
}

#[tokio::test]
async fn handshake_is_checked() {
    let cloud = Cloud::start_with("", &["--api-key", "deepgram=k"]);
    for auth in ["", "Token", "Token wrong", "Basic k", "k"] {
        let refused = cloud.refused(BASE, ("authorization", auth)).await;
        assert_eq!(refused.status(), 401, "{auth:?}");
        let body: Value = serde_json::from_slice(refused.body().as_ref().unwrap()).unwrap();
        assert_eq!((&body["err_code"], &body["err_msg"]), (&json!("INVALID_AUTH"), &json!("Invalid credentials.")));
        assert_eq!(refused.headers()["dg-error"], "Invalid credentials.");
        assert_eq!(body["request_id"], refused.headers()["dg-request-id"].to_str().unwrap());
    }
    for extra in ["&interim=true", "&interim_results=yes", "&utterance_end_ms=1000", "&language=tlh", "&channels=2"] {
        let refused = cloud.refused(&format!("{BASE}{extra}"), AUTH).await;
        assert_eq!(refused.status(), 400, "{extra}");
        assert!(refused.headers().contains_key("dg-error"), "{extra}");
    }
    let refused = cloud.refused("/v1/listen?model=nova-3&encoding=linear16", AUTH).await;
    assert!(String::from_utf8_lossy(refused.body().as_ref().unwrap()).contains("sample_rate"));
    let (_ws, response) = cloud.open(BASE, ("authorization", "bearer k")).await.unwrap();
    assert_eq!(response.headers()["dg-request-id"].len(), 36);
    let (_ws, response) = cloud.open(BASE, ("sec-websocket-protocol", "token, k")).await.unwrap();
    assert_eq!(response.headers()["sec-websocket-protocol"], "token");
}

#[tokio::test]
async fn a_conversation_from_speech_to_metadata() {
    let cloud = Cloud::start("[stt]\ninterim_interval_ms = 250\nrevision_rate = 1.0");
    let mut ws = open(&cloud, FULL).await;
    ws.pcm(&vec![0; 16000]).await;
    ws.pcm(&sentence("en", 10..16, 1.5)).await;
    ws.pcm(&sentence("en", 20..24, 1.5)).await;
    ws.json(json!({"type": "CloseStream"})).await;
    let (all, code, _) = ws.until_closed().await;
    assert_eq!(code, 1000);
    assert_eq!(all.last().unwrap()["type"], "Metadata");
    let metadata = all.last().unwrap();
    let sent = 1.0 + 3.0 + 10.0 * 0.18;
    assert!((metadata["duration"].as_f64().unwrap() - sent).abs() < 0.02, "{metadata}");
    assert_eq!(metadata["sha256"].as_str().unwrap().len(), 64);
    assert!(transcript(&all[0]).is_empty() && all[0]["is_final"] == false, "silence has empty results");

    let started: Vec<f64> =
        all.iter().filter(|v| v["type"] == "SpeechStarted").map(|v| v["timestamp"].as_f64().unwrap()).collect();
    assert_eq!(started.len(), 2);
    assert!((started[0] - 1.0).abs() < 0.03 && (started[1] - 3.58).abs() < 0.03, "{started:?}");
    let ends: Vec<f64> =
        all.iter().filter(|v| v["type"] == "UtteranceEnd").map(|v| v["last_word_end"].as_f64().unwrap()).collect();
    assert_eq!(ends.len(), 2);
    assert!((ends[0] - 2.04).abs() < 0.01, "{ends:?}");

    let finals: Vec<&Value> = all.iter().filter(|v| v["speech_final"] == true).collect();
    let texts: Vec<String> = finals.iter().map(|v| transcript(v).to_lowercase()).collect();
    assert_eq!(texts, [spelt("en", 10..16) + ".", spelt("en", 20..24) + "."]);
    let first = &finals[0]["channel"]["alternatives"][0]["words"][0];
    assert!(
        first["punctuated_word"].as_str().unwrap().starts_with("En")
            && first["word"].as_str().unwrap().starts_with("en")
    );
    assert!((first["start"].as_f64().unwrap() - 1.0).abs() < 0.005, "{first}");

    // Interims grow; a newest word that was wrong is right in the next.
    let interims: Vec<Vec<&str>> = all
        .iter()
        .filter(|v| v["is_final"] == false && v["start"].as_f64().unwrap() < 1.5 && !transcript(v).is_empty())
        .map(|v| transcript(v).split(' ').collect())
        .collect();
    assert!(interims.len() >= 3, "{interims:?}");
    assert!(interims.windows(2).all(|w| w[0].len() <= w[1].len()), "{interims:?}");
    let revised = interims.windows(2).any(|w| w[0].last() != w[1].get(w[0].len() - 1));
    assert!(revised, "{interims:?}");

    // Results are seamless: each begins where the last final ended.
    let mut from = 0.0;
    for v in all.iter().filter(|v| v["type"] == "Results") {
        assert!((v["start"].as_f64().unwrap() - from).abs() < 1e-6);
        if v["is_final"] == true {
            from += v["duration"].as_f64().unwrap();
        }
    }
    cloud.assert_no_violations().await;
    let stats = cloud.until_stats(|s| s["open"]["stt"] == 0).await;
    assert!((stats["audio_s"]["stt"].as_f64().unwrap() - sent).abs() < 0.01);
}

#[tokio::test]
async fn hears_its_language_only_and_multi_hears_all() {
    let cloud = Cloud::start("");
    let pcm = [sentence("en", 0..2, 0.0), sentence("es", 2..4, 0.5)].concat();
    for (language, words) in [
        ("en-US", spelt("en", 0..2)),
        ("es", spelt("es", 2..4)),
        ("multi", spelt("en", 0..2) + " " + &spelt("es", 2..4)),
    ] {
        let mut ws = open(&cloud, &format!("{BASE}&language={language}&endpointing=100")).await;
        ws.pcm(&pcm).await;
        let result = ws.until(|v| v["speech_final"] == true).await;
        assert_eq!(transcript(&result), words);
        if language == "multi" {
            assert_eq!(result["channel"]["alternatives"][0]["languages"], json!(["en", "es"]));
        }
    }
}

#[tokio::test]
async fn multi_names_the_language_of_every_word_once() {
    let cloud = Cloud::start("");
    let pcm = [sentence("en", 0..2, 0.0), sentence("es", 2..4, 0.0), sentence("en", 4..5, 0.5)].concat();
    let mut ws = open(&cloud, &format!("{BASE}&language=multi&endpointing=100&keyterm=Anna")).await;
    ws.pcm(&pcm).await;
    let result = ws.until(|v| v["speech_final"] == true).await;
    let alternative = &result["channel"]["alternatives"][0];
    assert_eq!(alternative["languages"], json!(["en", "es"]));
    let spoken: Vec<&str> =
        alternative["words"].as_array().unwrap().iter().map(|w| w["language"].as_str().unwrap()).collect();
    assert_eq!(spoken, ["en", "en", "es", "es", "en"]);
    // One language: nothing is said of it.
    let mut ws = open(&cloud, &format!("{BASE}&endpointing=100")).await;
    ws.pcm(&pcm).await;
    let result = ws.until(|v| v["speech_final"] == true).await;
    let alternative = &result["channel"]["alternatives"][0];
    assert!(alternative.get("languages").is_none() && alternative["words"][0].get("language").is_none());
}

#[tokio::test]
async fn configure_changes_key_terms() {
    let cloud = Cloud::start("");
    let mut ws = open(&cloud, BASE).await;
    ws.json(json!({"type": "Configure", "keyterms": ["Anna", "Bert"]})).await;
    let success = ws.until(is("ConfigureSuccess")).await;
    assert!(success["request_id"].is_string() && success["keyterms"] == json!(["Anna", "Bert"]), "{success}");
    ws.json(json!({"type": "Configure", "keyterms": vec!["x"; 101]})).await;
    let failure = ws.until(is("ConfigureFailure")).await;
    assert_eq!(failure["code"], "CONFIGURE_KEYTERM_LIMIT_EXCEEDED");
    let mut ws = open(&cloud, &BASE.replace("nova-3", "nova-2")).await;
    ws.json(json!({"type": "Configure", "keyterms": ["Anna"]})).await;
    assert_eq!(ws.until(is("ConfigureFailure")).await["code"], "CONFIGURE_KEYTERMS_NOT_SUPPORTED");
}

#[tokio::test]
async fn long_speech_is_cut_at_word_gaps_and_every_word_comes_once() {
    let cloud = Cloud::start("");
    let mut ws = open(&cloud, &format!("{BASE}&endpointing=300")).await;
    ws.pcm(&sentence("en", 0..60, 0.6)).await;
    ws.json(json!({"type": "CloseStream"})).await;
    let (all, ..) = ws.until_closed().await;
    let finals: Vec<&Value> = all.iter().filter(|v| v["is_final"] == true && !transcript(v).is_empty()).collect();
    let text: Vec<&str> = finals.iter().map(|v| transcript(v)).collect();
    assert_eq!(text.join(" "), spelt("en", 0..60));
    assert!(finals.len() >= 3 && finals[0]["speech_final"] == false);
    let length = finals[0]["duration"].as_f64().unwrap();
    assert!((4.0..5.4).contains(&length), "{length}");
}

#[tokio::test]
async fn a_scenario_ends_turns_and_clauses() {
    let cloud = Cloud::start("[stt]\nend_of_turn_ms = 620\nclause_words = 3\ninterim_interval_ms = 250");
    let path = "/v1/listen?model=nova-3&encoding=linear16&sample_rate=16000&interim_results=true&punctuate=true&endpointing=300";
    let mut ws = open(&cloud, path).await;
    ws.pcm(&[vec![0; 9600], sentence("en", 0..8, 1.5)].concat()).await;
    let comma = ws.until(|v| transcript(v).contains(',')).await;
    assert_eq!(comma["is_final"], false, "as soon as a later word is known");
    let end = ws.until(|v| v["speech_final"] == true).await;
    let words: Vec<&str> = transcript(&end).split(' ').collect();
    let commas: Vec<usize> = (0..words.len()).filter(|i| words[*i].ends_with(',')).collect();
    assert_eq!(commas, [2, 5], "{words:?}");
    let last = end["channel"]["alternatives"][0]["words"][7]["end"].as_f64().unwrap();
    let silence = end["start"].as_f64().unwrap() + end["duration"].as_f64().unwrap() - last;
    assert!((silence - 0.62).abs() < 0.03, "{silence}");
    cloud.assert_no_violations().await;
}

#[tokio::test]
async fn finalize_answers_from_finalize_and_mulaw_is_heard() {
    let cloud = Cloud::start("");
    let mut ws = open(&cloud, "/v1/listen?model=nova-2-phonecall&encoding=mulaw&sample_rate=16000").await;
    // The G.711 encoder by its definition: the code whose value is nearest.
    let value = |code: u8| {
        let code = !code;
        let v = (((i32::from(code & 15) << 3) + 132) << (code >> 4 & 7)) - 132;
        if code & 128 != 0 { -v } else { v }
    };
    let ulaw = |s: &i16| (0..=255_u8).min_by_key(|c| (value(*c) - i32::from(*s)).abs()).unwrap();
    let pcm = sentence("en", 5..8, 0.02);
    ws.binary(pcm.iter().map(ulaw).collect()).await;
    ws.json(json!({"type": "Finalize"})).await;
    let result = ws.until(|v| v["from_finalize"] == true).await;
    assert_eq!(transcript(&result), spelt("en", 5..8));
    assert_eq!(result["is_final"], true);
}

#[tokio::test]
async fn keep_alive_rules() {
    let cloud = Cloud::start("[deepgram]\nidle_timeout_ms = 600");
    // Audio and then text keep-alives: lives on well past the time-out.
    let mut ws = open(&cloud, BASE).await;
    ws.pcm(&[0; 320]).await;
    for _ in 0..8 {
        tokio::time::sleep(Duration::from_millis(200)).await;
        ws.json(json!({"type": "KeepAlive"})).await;
    }
    ws.json(json!({"type": "CloseStream"})).await;
    assert_eq!(ws.until_closed().await.1, 1000);
    cloud.assert_no_violations().await;
    // Neither.
    let mut ws = open(&cloud, BASE).await;
    ws.pcm(&[0; 320]).await;
    let (_, code, reason) = ws.until_closed().await;
    assert_eq!(code, 1011);
    assert!(reason.contains("https://dpgr.am/net0001"), "{reason}");
    // Keep-alives alone do not replace the first audio.
    let mut ws = open(&cloud, BASE).await;
    for _ in 0..2 {
        ws.json(json!({"type": "KeepAlive"})).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(ws.until_closed().await.1, 1011);
    // A keep-alive in a binary frame is audio.
    let mut ws = open(&cloud, BASE).await;
    ws.binary(br#"{"type":"KeepAlive"}"#.to_vec()).await;
    ws.json(json!({"type": "CloseStream"})).await;
    ws.until_closed().await;
    cloud.assert_violation("JSON in a binary frame").await;
}

#[tokio::test]
async fn bad_frames_end_the_stream() {
    let cloud = Cloud::start("");
    let mut ws = open(&cloud, BASE).await;
    ws.binary(vec![0; 641]).await;
    let (_, code, reason) = ws.until_closed().await;
    assert!(code == 1008 && reason.contains("DATA-0000"), "{code} {reason}");
    let mut ws = open(&cloud, BASE).await;
    ws.pcm(&sentence("en", 1..3, 0.0)).await;
    ws.binary(Vec::new()).await;
    let (all, code, _) = ws.until_closed().await;
    assert_eq!((code, transcript(&all[0])), (1000, spelt("en", 1..3).as_str()));
    let mut ws = open(&cloud, BASE).await;
    ws.text("hello").await;
    let (all, code, _) = ws.until_closed().await;
    assert_eq!((code, &all[0]["type"]), (1008, &json!("Error")));
    for hint in ["half a sample", "empty binary", "unknown message"] {
        cloud.assert_violation(hint).await;
    }
}

#[tokio::test]
async fn haste_is_a_violation_and_finals_can_be_late() {
    let cloud = Cloud::start("[deepgram]\nrate_window_ms = 200\n[stt]\nfinal_delay_ms = 400");
    let mut ws = open(&cloud, BASE).await;
    ws.pcm(&sentence("en", 1..4, 0.5)).await;
    let begin = std::time::Instant::now();
    ws.until(is("Results")).await;
    assert!(begin.elapsed() >= Duration::from_millis(300), "{:?}", begin.elapsed());
    ws.pcm(&vec![0; 16000 * 4]).await;
    ws.json(json!({"type": "CloseStream"})).await;
    ws.until(is("Metadata")).await;
    cloud.assert_violation("faster than 1.25").await;
}
