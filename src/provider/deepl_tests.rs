use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::test_config::{KEYS, config, language};
use super::*;
use crate::engine::{SegmentId, SessionId};

fn job(settings: &[(&str, &str)], text: &str, context: &[&str]) -> TranslateJob {
    TranslateJob {
        session: SessionId(1),
        segment: SegmentId(1),
        source: language("en"),
        target: language("es"),
        text: text.to_owned(),
        context: context.iter().map(|text| (*text).to_owned()).collect(),
        config: Arc::new(config(settings)),
        budget: Duration::from_secs(1),
    }
}

fn sent(settings: &[(&str, &str)], text: &str, context: &[&str]) -> Value {
    serde_json::from_slice(&body(&[&job(settings, text, context)]).expect("a body")).expect("JSON")
}

#[test]
fn the_body_follows_job_and_settings() {
    let basic = json!({"text": ["Hi \"you\""], "source_lang": "EN", "target_lang": "ES", "split_sentences": "0",
        "preserve_formatting": true});
    assert_eq!(sent(&[], "Hi \"you\"", &[]), basic);
    for (settings, context, name, want) in [
        (vec![], vec!["a.", "b.", "c.", "d."], "context", json!("b. c. d.")),
        (vec![("deepl.context_segments", "1")], vec!["a.", "b."], "context", json!("b.")),
        (vec![("deepl.context_segments", "0")], vec!["a."], "context", Value::Null),
        (vec![("deepl.formality", "prefer_more")], vec![], "formality", json!("prefer_more")),
        (vec![("deepl.model_type", "latency_optimized")], vec![], "model_type", json!("latency_optimized")),
        (vec![("deepl.glossary_id", "g-1")], vec![], "glossary_id", json!("g-1")),
    ] {
        assert_eq!(sent(&settings, "Hi", &context)[name], want, "{settings:?} {context:?}");
    }
    let long = "x".repeat(MAX_CONTEXT);
    assert_eq!(sent(&[], "Hi", &[&long])["context"], Value::Null, "context that is too long is left out");
    let error = body(&[&job(&[], &"x".repeat(MAX_BODY), &[])]).expect_err("too long");
    assert_eq!(error.class, ErrorClass::BadRequest);
}

#[test]
fn addresses_and_headers_follow_key_and_region() {
    for (region, key, want) in [
        (DeeplRegion::Default, "k", "https://api.deepl.com"),
        (DeeplRegion::Default, "k:fx", "https://api-free.deepl.com"),
        (DeeplRegion::Us, "k", "https://api-us.deepl.com"),
        (DeeplRegion::Jp, "k", "https://api-jp.deepl.com"),
    ] {
        assert_eq!(base_url(region, key), want);
    }
    let config = config(&[]);
    assert_eq!(translate_url(&config.deepl.base_url), "https://api-free.deepl.com/v2/translate");
    let headers = headers(&config).expect("headers");
    assert_eq!(headers[AUTHORIZATION].to_str().ok(), Some(format!("DeepL-Auth-Key {}", KEYS[1]).as_str()));
    assert_eq!(headers[USER_AGENT].to_str().ok(), Some(AGENT));
    assert!(!format!("{headers:?}").contains("canary"));
}

#[test]
fn several_texts_go_together_with_the_context_of_the_first() {
    let jobs = [job(&[], "One.", &["Before."]), job(&[], "Two.", &["Before.", "One."]), job(&[], "", &[])];
    let sent: Value = serde_json::from_slice(&body(&jobs.iter().collect::<Vec<_>>()).expect("a body")).expect("JSON");
    assert_eq!((&sent["text"], &sent["context"]), (&json!(["One.", "Two.", ""]), &json!("Before.")));
    let many: Vec<&TranslateJob> = std::iter::repeat_n(&jobs[0], MOST_TEXTS + 1).collect();
    assert!(body(&many[..MOST_TEXTS]).is_ok());
    for too_much in [&many[..], &[]] {
        assert_eq!(body(too_much).expect_err("not sent").class, ErrorClass::BadRequest);
    }
}

#[test]
fn replies_are_read() {
    for (reply, texts, want) in [
        (r#"{"translations":[{"detected_source_language":"EN","text":"Hola","new":1}]}"#, 1, Some(vec!["Hola"])),
        (r#"{"translations":[{"text":""}],"x":null}"#, 1, Some(vec![""])),
        (r#"{"translations":[{"text":"b"},{"text":"a"}]}"#, 2, Some(vec!["b", "a"])),
        (r#"{"translations":[{"text":"b"},{"text":"a"}]}"#, 1, None),
        (r#"{"translations":[{"text":"b"},{"text":"a"}]}"#, 3, None),
        (r#"{"translations":[]}"#, 1, None),
        (r#"{"translations":[{"text":5}]}"#, 1, None),
        (r#"{"translations":[{}]}"#, 1, None),
        (r#"{"translations":{"text":"a"}}"#, 1, None),
        (r#"{"translations":[{"text":"a"}"#, 1, None),
        ("", 1, None),
        ("<html>", 1, None),
    ] {
        let want: Option<Vec<String>> = want.map(|texts| texts.into_iter().map(str::to_owned).collect());
        assert_eq!(parse_reply(reply.as_bytes(), texts).ok(), want, "{reply}");
    }
    assert!(parse_reply(b"{\"translations\":[{\"text\":\"\xff\"}]}", 1).is_err(), "not UTF-8");
}

#[test]
fn usage_tells_a_quota_that_is_used_up() {
    for (reply, left) in [
        (r#"{"character_count":1,"character_limit":2}"#, true),
        (r#"{"character_count":2,"character_limit":2}"#, false),
        (r#"{"character_count":1,"character_limit":2,"api_key_character_count":3,"api_key_character_limit":3}"#, false),
        (r#"{"character_count":5}"#, true),
        (r#"{"character_count":"x","character_limit":2}"#, true),
        ("", true),
    ] {
        assert_eq!(
            check_usage(reply.as_bytes()).map_err(|error| error.class),
            if left { Ok(()) } else { Err(ErrorClass::ProviderOut) },
            "{reply}"
        );
    }
}

#[test]
fn errors_are_understood() {
    use ErrorClass::{BadRequest, Configuration, ProviderOut, RetryLater};
    for (status, retry_after, body, class, message) in [
        (
            400,
            None,
            r#"{"message":"Bad request. Reason: target_lang"}"#,
            BadRequest,
            "Bad request. Reason: target_lang",
        ),
        (403, None, "", Configuration, "The provider does not accept the key, or the key may not do this."),
        (403, None, r#"{"message":"Forbidden"}"#, Configuration, "Forbidden"),
        (
            404,
            None,
            "",
            Configuration,
            "The provider does not know what was asked for; check model, voice and base URL.",
        ),
        (413, None, "", BadRequest, "The request is too large."),
        (429, Some("2"), "", RetryLater(Some(Duration::from_secs(2))), "Too many requests."),
        (429, None, "nonsense", RetryLater(None), "Too many requests."),
        (456, None, "", ProviderOut, "The quota of the billing period is used up."),
        (
            456,
            None,
            r#"{"message":"Quota for this billing period has been exceeded."}"#,
            ProviderOut,
            "Quota for this billing period has been exceeded.",
        ),
        (500, None, "", RetryLater(None), "The provider has an internal fault or is overloaded."),
        (
            503,
            Some("1"),
            "",
            RetryLater(Some(Duration::from_secs(1))),
            "The provider has an internal fault or is overloaded.",
        ),
        (504, None, "", RetryLater(None), "The provider took too long."),
        (529, None, "", RetryLater(None), "The provider has an internal fault or is overloaded."),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert("x-trace-id", HeaderValue::from_static("trace-1"));
        if let Some(pause) = retry_after {
            headers.insert("retry-after", HeaderValue::from_static(pause));
        }
        let want = StageError::new(class, status.to_string(), message).with_request_id(Some("trace-1"));
        assert_eq!(http_error(status, &headers, body.as_bytes()), want, "{status} {body}");
    }
}

proptest! {
    #[test]
    fn nothing_that_comes_in_panics(bytes in prop::collection::vec(any::<u8>(), 0..300), status in any::<u16>()) {
        let _ = (parse_reply(&bytes, 1), check_usage(&bytes));
        http_error(status, &HeaderMap::new(), &bytes);
    }

    #[test]
    fn any_text_survives_the_body(text in ".{0,200}", said in prop::collection::vec(".{0,50}", 0..4)) {
        let said: Vec<&str> = said.iter().map(String::as_str).collect();
        let sent = sent(&[], &text, &said);
        prop_assert_eq!(sent["text"][0].as_str(), Some(text.as_str()));
    }
}
