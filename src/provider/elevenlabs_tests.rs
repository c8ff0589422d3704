use proptest::prelude::*;
use serde_json::json;

use super::super::test_config::{KEYS, config, language};
use super::*;

#[test]
fn the_address_follows_the_settings() {
    for (settings, piece, there) in [
        (vec![], "/v1/text-to-speech/voice1/multi-stream-input?", true),
        (vec![], "model_id=eleven_flash_v2_5", true),
        (vec![], "language_code=es", true),
        (vec![("elevenlabs.model", "eleven_flash_v2")], "language_code", false),
        (vec![("elevenlabs.model", "eleven_multilingual_v2")], "language_code", false),
        (vec![("elevenlabs.model", "eleven_turbo_v2_5")], "language_code=es", true),
        (vec![("elevenlabs.model", "eleven_v3")], "language_code=es", true),
        (vec![("elevenlabs.model", "custom")], "language_code", false),
        (vec![], "output_format=pcm_24000", true),
        (vec![], "inactivity_timeout=180", true),
        (vec![], "auto_mode=true", true),
        (vec![], "enable_logging=true", true),
        (vec![("elevenlabs.enable_logging", "false")], "enable_logging=false", true),
        (vec![], "sync_alignment=true", true),
        (vec![], "enable_ssml_parsing=false", true),
        (vec![], "canary", false),
        (vec![("elevenlabs.base_url", "ws://127.0.0.1:9/x/")], "ws://127.0.0.1:9/x/v1/text-to-speech/voice1/", true),
    ] {
        let url = stream_url(&config(&settings), language("es"), 24_000).expect("a URL");
        assert_eq!(url.as_str().contains(piece), there, "{settings:?} {piece}: {url}");
    }
    let headers = headers(&config(&[])).expect("headers");
    assert_eq!(headers["xi-api-key"].to_str().ok(), Some(KEYS[2]));
    assert!(!format!("{headers:?}").contains("canary"));
}

#[test]
fn messages_out_are_the_vendors() {
    let plain = config(&[]);
    let voice = config(&[("elevenlabs.stability", "0.5"), ("elevenlabs.speed", "1.125")]);
    for (message, want) in [
        (open_context("s1", &plain), json!({"text": " ", "context_id": "s1"})),
        (
            open_context("s1", &voice),
            json!({"text": " ", "context_id": "s1", "voice_settings": {"stability": 0.5, "speed": 1.125}}),
        ),
        (say("s1", "Hola \"tú\"."), json!({"text": "Hola \"tú\". ", "context_id": "s1", "flush": true})),
        (close_context("s1"), json!({"context_id": "s1", "close_context": true})),
        (CLOSE_SOCKET.to_owned(), json!({"close_socket": true})),
    ] {
        assert_eq!(serde_json::from_str::<Value>(&message).ok(), Some(want), "{message}");
    }
}

#[test]
fn messages_in_are_read_or_tolerated() {
    let speech = |context: Option<&str>, audio: &[u8], last| Message::Speech {
        context: context.map(str::to_owned),
        audio: audio.to_vec(),
        aligned: Aligned::None,
        last,
    };
    for (text, want) in [
        (r#"{"audio":"AQID","isFinal":null,"alignment":null,"contextId":"s1"}"#, speech(Some("s1"), &[1, 2, 3], false)),
        (r#"{"audio":"AQID","context_id":"s1","new":{}}"#, speech(Some("s1"), &[1, 2, 3], false)),
        (r#"{"audio":"","contextId":"s1"}"#, speech(Some("s1"), &[], false)),
        (
            r#"{"audio":"AQI=","alignment":{"chars":["a"],"charStartTimesMs":[0],"charDurationsMs":[9]},"contextId":"s1"}"#,
            Message::Speech {
                context: Some("s1".to_owned()),
                audio: vec![1, 2],
                aligned: Aligned::Chars(vec![("a".to_owned(), 0.0, 9.0)]),
                last: false,
            },
        ),
        (
            r#"{"audio":"AQI=","alignment":"odd"}"#,
            Message::Speech { context: None, audio: vec![1, 2], aligned: Aligned::Bad, last: false },
        ),
        (r#"{"audio":null,"isFinal":true,"contextId":"s1"}"#, speech(Some("s1"), &[], true)),
        (r#"{"isFinal":true,"context_id":"s1"}"#, speech(Some("s1"), &[], true)),
        (r#"{"is_final":true,"contextId":"s1"}"#, speech(Some("s1"), &[], true)),
        (r#"{"isFinal":true}"#, speech(None, &[], true)),
        (r#"{"audio":"AQID\/w==","contextId":"s1"}"#, speech(Some("s1"), &[1, 2, 3, 255], false)),
        (r#"{"type":"flush_done","contextId":"s1"}"#, Message::Unknown),
        (r#"{"audio":null}"#, Message::Unknown),
        (r#"{"audio":"not base64!"}"#, Message::Malformed),
        (r#"{"audio":5}"#, Message::Malformed),
        ("", Message::Malformed),
        (
            r#"{"message":"Have not received a new text","error":"input_timeout_exceeded","code":1008}"#,
            Message::Error {
                context: None,
                error: StageError::new(ErrorClass::RetryNow, "input_timeout_exceeded", "Have not received a new text"),
            },
        ),
        (
            r#"{"message":"No","error":"quota_exceeded","contextId":"s2"}"#,
            Message::Error {
                context: Some("s2".to_owned()),
                error: StageError::new(ErrorClass::ProviderOut, "quota_exceeded", "No"),
            },
        ),
        (
            r#"{"message":"odd","code":1008}"#,
            Message::Error { context: None, error: StageError::new(ErrorClass::RetryNow, "1008", "odd") },
        ),
    ] {
        assert_eq!(parse(text), want, "{text}");
    }
}

#[test]
fn errors_are_understood() {
    use ErrorClass::{BadRequest, Configuration, ProviderOut, RetryLater, RetryNow};
    for (status, body, class, code, message) in [
        (
            401,
            r#"{"detail":{"status":"invalid_api_key","message":"Invalid API key"}}"#,
            Configuration,
            "invalid_api_key",
            "Invalid API key",
        ),
        (
            401,
            r#"{"detail":{"status":"quota_exceeded","message":"0 credits"}}"#,
            ProviderOut,
            "quota_exceeded",
            "0 credits",
        ),
        (
            400,
            r#"{"detail":{"type":"validation_error","code":"voice_not_found","message":"No voice"}}"#,
            Configuration,
            "voice_not_found",
            "No voice",
        ),
        (
            422,
            r#"{"detail":[{"loc":["query"],"msg":"bad format","type":"value_error"}]}"#,
            Configuration,
            "value_error",
            "bad format",
        ),
        (
            429,
            r#"{"detail":{"status":"too_many_concurrent_requests","message":"Wait"}}"#,
            RetryLater(Some(std::time::Duration::from_secs(4))),
            "too_many_concurrent_requests",
            "Wait",
        ),
        (403, r#"{"detail":"forbidden"}"#, Configuration, "403", "forbidden"),
        (500, "oops", RetryLater(Some(std::time::Duration::from_secs(4))), "500", "oops"),
        (
            503,
            "",
            RetryLater(Some(std::time::Duration::from_secs(4))),
            "503",
            "The provider has an internal fault or is overloaded.",
        ),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert("retry-after", HeaderValue::from_static("4"));
        assert_eq!(
            http_error(status, &headers, body.as_bytes()),
            StageError::new(class, code, message),
            "{status} {body}"
        );
    }
    for (code, reason, class) in [
        (None, "", RetryNow),
        (Some(1000), "", RetryNow),
        (Some(1008), "invalid_api_key", Configuration),
        (Some(1008), "This request exceeds your quota: quota_exceeded.", ProviderOut),
        (Some(1008), "too many contexts", RetryNow),
        (Some(1013), "", RetryLater(None)),
        (Some(1009), "", BadRequest),
    ] {
        assert_eq!(close_error(code, reason).class, class, "{code:?} {reason}");
    }
}

proptest! {
    #[test]
    fn nothing_that_comes_in_panics(bytes in prop::collection::vec(any::<u8>(), 0..300), status in any::<u16>()) {
        let text = String::from_utf8_lossy(&bytes);
        parse(&text);
        http_error(status, &HeaderMap::new(), &bytes);
        close_error(Some(status), &text);
    }

    #[test]
    fn samples_survive_any_cutting(samples in prop::collection::vec(any::<i16>(), 0..200), cuts in prop::collection::vec(0usize..17, 0..60)) {
        let bytes: Vec<u8> = samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
        let mut joiner = PcmJoiner::default();
        let (mut joined, mut rest) = (Vec::new(), bytes.as_slice());
        for cut in cuts {
            let (piece, tail) = rest.split_at(cut.min(rest.len()));
            joined.extend(joiner.push(piece));
            rest = tail;
        }
        joined.extend(joiner.push(rest));
        prop_assert_eq!(joined, samples);
    }
}
