//! The checklist of LibreTranslate.

use crate::harness::{Cloud, spelt};
use reqwest::Client;
use serde_json::{Value, json};

const FAST: &str = "mt.latency_ms = 1\n";

async fn post(cloud: &Cloud, path: &str, ask: &Value) -> (u16, Value) {
    let reply = Client::new().post(cloud.url(path)).json(ask).send().await.unwrap();
    (reply.status().as_u16(), reply.json().await.unwrap())
}

#[tokio::test]
async fn translates_strings_and_arrays_as_json_and_as_a_form() {
    let cloud = Cloud::start(FAST);
    let ask = json!({"q": "Enbaba, enbabe.", "source": "en", "target": "es", "format": "text"});
    assert_eq!(post(&cloud, "/translate", &ask).await, (200, json!({"translatedText": "Esbaba, esbabe."})));
    let ask = json!({"q": [spelt("de", 0..2), "frbaba"], "source": "auto", "target": "es", "alternatives": 2});
    let (status, reply) = post(&cloud, "/translate", &ask).await;
    assert_eq!((status, &reply["translatedText"]), (200, &json!([spelt("es", 0..2), "esbaba"])));
    assert_eq!(
        (&reply["detectedLanguage"][0]["language"], &reply["detectedLanguage"][1]["language"]),
        (&json!("de"), &json!("fr"))
    );
    assert!(reply["detectedLanguage"][0]["confidence"].is_f64() && reply["alternatives"].is_array());
    let form = Client::new()
        .post(cloud.url("/translate"))
        .header("content-type", "application/x-www-form-urlencoded")
        .body("q=enbaba+enbabe&source=en&target=zh");
    let reply: Value = form.send().await.unwrap().json().await.unwrap();
    assert_eq!(reply["translatedText"], spelt("zh", 0..2));
    let (_, found) = post(&cloud, "/detect", &json!({"q": "esbaba"})).await;
    assert_eq!(found, json!([{"confidence": 90.0, "language": "es"}]));
    let get = async |path: &str| -> Value { reqwest::get(cloud.url(path)).await.unwrap().json().await.unwrap() };
    assert_eq!(get("/health").await, json!({"status": "ok"}));
    let all = get("/languages").await;
    let english = all.as_array().unwrap().iter().find(|l| l["code"] == "en").unwrap().clone();
    assert_eq!(english["name"], "English");
    assert!(english["targets"].as_array().unwrap().contains(&json!("zh-Hans")));
    cloud.assert_no_violations().await;
    assert_eq!(cloud.stats().await["translations"].as_array().unwrap().len(), 4);
}

#[tokio::test]
async fn errors_in_the_servers_words() {
    let cloud = Cloud::start(&format!("{FAST}libretranslate.char_limit = 20\n"));
    let good = json!({"q": "enbaba", "source": "en", "target": "es"});
    let with = |name: &str, value: Value| {
        let mut ask = good.clone();
        ask[name] = value;
        ask
    };
    for (ask, text) in [
        (json!([]), "Invalid JSON format"),
        (with("q", Value::Null), "Invalid request: missing q parameter"),
        (with("source", Value::Null), "Invalid request: missing source parameter"),
        (with("target", Value::Null), "Invalid request: missing target parameter"),
        (with("source", json!("tlh")), "tlh is not supported"),
        (with("target", json!("tlh")), "tlh is not supported"),
        (with("format", json!("rtf")), "rtf format is not supported"),
        (with("alternatives", json!("many")), "Invalid request: alternatives parameter is not a number"),
        (with("alternatives", json!(9)), "Invalid request: alternatives parameter must be <= 3"),
        (with("q", json!("x".repeat(21))), "Invalid request: request (21) exceeds text limit (20)"),
    ] {
        assert_eq!(post(&cloud, "/translate", &ask).await, (400, json!({ "error": text })), "{ask}");
    }
    let cloud = Cloud::start_with(FAST, &["--api-key", "libretranslate=k"]);
    let (status, reply) = post(&cloud, "/translate", &good).await;
    assert!(status == 403 && reply["error"].as_str().unwrap().contains("get an API key"), "{reply}");
    assert_eq!(
        post(&cloud, "/translate", &with("api_key", json!("x"))).await,
        (403, json!({"error": "Invalid API key"}))
    );
    assert_eq!(post(&cloud, "/translate", &with("api_key", json!("k"))).await.0, 200);
    let cloud = Cloud::start("mt.latency_ms = 1000\nlibretranslate.max_requests = 1\n");
    let (a, b) = tokio::join!(post(&cloud, "/translate", &good), post(&cloud, "/translate", &good));
    let slow = if a.0 == 429 { a } else { b };
    assert!(slow.0 == 429 && slow.1["error"].as_str().unwrap().starts_with("Slowdown"), "{slow:?}");
}
