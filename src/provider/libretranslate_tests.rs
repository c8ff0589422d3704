use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::test_config::{config, language};
use super::*;
use crate::engine::{SegmentId, SessionId};

fn job(settings: &[(&str, &str)], text: &str, target: &str) -> TranslateJob {
    TranslateJob {
        session: SessionId(1),
        segment: SegmentId(1),
        source: language("en"),
        target: language(target),
        text: text.to_owned(),
        context: vec!["Before.".to_owned()],
        config: Arc::new(config(settings)),
        budget: Duration::from_secs(1),
    }
}

fn sent(jobs: &[&TranslateJob]) -> Value {
    serde_json::from_slice(&body(jobs).expect("a body")).expect("JSON")
}

#[test]
fn the_body_follows_jobs_and_settings() {
    let (one, two) = (job(&[], "One \"x\".", "es"), job(&[], "Two.", "es"));
    assert_eq!(
        sent(&[&one, &two]),
        json!({"q": ["One \"x\".", "Two."], "source": "en", "target": "es", "format": "text"})
    );
    let keyed = job(&[("libretranslate.api_key", "canary-libre-key-0000005")], "x", "zh");
    assert_eq!(sent(&[&keyed])["api_key"], json!("canary-libre-key-0000005"));
    for (target, want) in [("zh", "zh-Hans"), ("pt-BR", "pt-BR"), ("en-GB", "en"), ("nl", "nl")] {
        assert_eq!(sent(&[&job(&[], "x", target)])["target"], json!(want));
    }
    assert_eq!(body(&[]).expect_err("no text").class, ErrorClass::BadRequest);
    let config = config(&[]);
    assert_eq!(translate_url(&config.libretranslate.base_url), "http://127.0.0.1:5000/translate");
    assert_eq!(languages_url(&config.libretranslate.base_url), "http://127.0.0.1:5000/languages");
    assert_eq!(headers()[CONTENT_TYPE], "application/json");
}

#[test]
fn replies_are_read() {
    for (reply, texts, want) in [
        (r#"{"translatedText":["a","b"],"detectedLanguage":[]}"#, 2, Some(vec!["a", "b"])),
        (r#"{"translatedText":["a"]}"#, 1, Some(vec!["a"])),
        (r#"{"translatedText":"a"}"#, 1, Some(vec!["a"])),
        (r#"{"translatedText":""}"#, 1, Some(vec![""])),
        (r#"{"translatedText":"a"}"#, 2, None),
        (r#"{"translatedText":["a","b"]}"#, 1, None),
        (r#"{"translatedText":["a",5]}"#, 2, None),
        (r#"{"translatedText":null}"#, 1, None),
        (r#"{"translations":[]}"#, 1, None),
        (r#"{"translatedText":["a""#, 1, None),
        ("", 1, None),
    ] {
        let want: Option<Vec<String>> = want.map(|texts| texts.into_iter().map(str::to_owned).collect());
        assert_eq!(parse_reply(reply.as_bytes(), texts).ok(), want, "{reply}");
    }
}

#[test]
fn errors_are_understood() {
    use ErrorClass::{BadRequest, Configuration, ProviderOut, RetryLater};
    for (status, body, class, code, message) in [
        (
            400,
            r#"{"error":"Invalid request: request (9) exceeds text limit (5)"}"#,
            BadRequest,
            "400",
            "Invalid request: request (9) exceeds text limit (5)",
        ),
        (400, r#"{"error":"xx is not supported"}"#, Configuration, "language", "xx is not supported"),
        (400, r#"{"error":"doc format is not supported"}"#, BadRequest, "400", "doc format is not supported"),
        (
            400,
            r#"{"error":"Thai (th) is not available as a target language from Dutch (nl)"}"#,
            Configuration,
            "language",
            "Thai (th) is not available as a target language from Dutch (nl)",
        ),
        (403, r#"{"error":"Invalid API key"}"#, Configuration, "403", "Invalid API key"),
        (
            403,
            r#"{"error":"Too many request limits violations"}"#,
            ProviderOut,
            "403",
            "Too many request limits violations",
        ),
        (
            404,
            "<html>",
            Configuration,
            "404",
            "The provider does not know what was asked for; check model, voice and base URL.",
        ),
        (429, r#"{"error":"Slowdown: 80 per 1 minute"}"#, RetryLater(None), "429", "Slowdown: 80 per 1 minute"),
        (500, r#"{"error":"Cannot translate text: x"}"#, RetryLater(None), "500", "Cannot translate text: x"),
        (500, r#"{"error":7}"#, RetryLater(None), "500", "The provider has an internal fault or is overloaded."),
    ] {
        assert_eq!(
            http_error(status, &HeaderMap::new(), body.as_bytes()),
            StageError::new(class, code, message),
            "{status} {body}"
        );
    }
}

proptest! {
    #[test]
    fn nothing_that_comes_in_panics(bytes in prop::collection::vec(any::<u8>(), 0..300), status in any::<u16>()) {
        let _ = parse_reply(&bytes, 1);
        http_error(status, &HeaderMap::new(), &bytes);
    }
}
