use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::super::test_config::{KEYS, config};
use super::*;

fn query(config: &SessionConfig) -> BTreeMap<String, Vec<String>> {
    let mut pairs: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in listen_url(config, 16_000).expect("a URL").query_pairs() {
        pairs.entry(name.into_owned()).or_default().push(value.into_owned());
    }
    pairs
}

#[test]
fn the_address_follows_the_settings() {
    for (settings, name, want) in [
        (vec![], "model", vec!["nova-3"]),
        (vec![], "language", vec!["en"]),
        (vec![], "encoding", vec!["linear16"]),
        (vec![], "sample_rate", vec!["16000"]),
        (vec![], "interim_results", vec!["true"]),
        (vec![], "endpointing", vec!["300"]),
        (vec![("deepgram.endpointing_ms", "120")], "endpointing", vec!["120"]),
        (vec![], "utterance_end_ms", vec!["1000"]),
        (vec![], "vad_events", vec!["true"]),
        (vec![("deepgram.smart_format", "false")], "smart_format", vec!["false"]),
        (vec![("deepgram.no_delay", "false")], "no_delay", vec![]),
        (vec![], "mip_opt_out", vec!["true"]),
        (vec![("deepgram.mip_opt_out", "false")], "mip_opt_out", vec![]),
        (vec![("deepgram.keyterm", "Ann & Co,Tübingen")], "keyterm", vec!["Ann & Co", "Tübingen"]),
        (vec![("deepgram.keyterm", "Ann"), ("deepgram.model", "nova-2-phonecall")], "keyterm", vec![]),
        (vec![("deepgram.keyterm", "Ann"), ("deepgram.model", "nova-2-phonecall")], "keywords", vec!["Ann"]),
        (vec![("deepgram.tag", "lab 7")], "tag", vec!["lab 7"]),
    ] {
        let got = query(&config(&settings)).remove(name).unwrap_or_default();
        assert_eq!(got, want, "{settings:?} {name}");
    }
    let url = listen_url(&config(&[("deepgram.base_url", "http://127.0.0.1:9/dg")]), 8000).expect("a URL");
    assert!(url.as_str().starts_with("ws://127.0.0.1:9/dg/v1/listen?"), "{url}");
    assert!(!url.as_str().contains("canary"), "{url}");
    let headers = headers(&config(&[])).expect("headers");
    assert_eq!(headers[AUTHORIZATION].to_str().ok(), Some(format!("Token {}", KEYS[0]).as_str()));
    assert!(!format!("{headers:?}").contains("canary"));
}

/// A clock on which the connection's second 0 is session second 100.
fn clock() -> StreamClock {
    let mut clock = StreamClock::new(16_000);
    clock.sent(Duration::from_secs(100), 16_000 * 10);
    clock
}

fn event(text: &str) -> Option<SttEvent> {
    match parse(text) {
        Message::Results(results) => results.into_event(&clock()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn results_become_events_in_session_time() {
    let ms = Duration::from_millis;
    let text = r#"{"type":"Results","channel_index":[0,1],"duration":1.5,"start":2.0,"is_final":true,"speech_final":true,
        "new_field":{"x":[1]},"channel":{"alternatives":[{"transcript":"Hello there.","confidence":0.9,"languages":["en"],
        "words":[{"word":"hello","start":2.1,"end":2.5,"confidence":0.99,"punctuated_word":"Hello"},
        {"word":"there","start":2.5,"end":3.0,"confidence":7}]}]},"from_finalize":false}"#;
    let Some(SttEvent::Final { transcript, speech_final: true }) = event(text) else { panic!("{:?}", event(text)) };
    assert_eq!((transcript.start, transcript.end), (ms(102_000), ms(103_500)));
    assert_eq!(transcript.text, "Hello there.");
    assert_eq!(transcript.language.as_deref(), Some("en"));
    let words: Vec<_> = transcript.words.iter().map(|w| (w.text.as_str(), w.start, w.end, w.confidence)).collect();
    assert_eq!(words, [("Hello", ms(102_100), ms(102_500), 0.99), ("there", ms(102_500), ms(103_000), 1.0)]);

    for (what, is_final, speech_final, transcript, kept) in [
        ("an interim", false, false, "hel", true),
        ("an interim without text", false, false, "", false),
        ("silence", true, false, "", true),
        ("silence that ends an utterance", true, true, "", true),
    ] {
        let text = serde_json::json!({"type": "Results", "start": 0, "duration": 1, "is_final": is_final,
            "speech_final": speech_final, "channel": {"alternatives": [{"transcript": transcript, "words": []}]}});
        let got = event(&text.to_string());
        assert_eq!(got.is_some(), kept, "{what}");
        match got {
            Some(SttEvent::Final { speech_final: got, .. }) => assert!(is_final && got == speech_final, "{what}"),
            Some(SttEvent::Interim(_)) => assert!(!is_final, "{what}"),
            other => assert!(!kept, "{what}: {other:?}"),
        }
    }
}

#[test]
fn other_messages_are_read_or_tolerated() {
    for (text, want) in [
        (r#"{"type":"Metadata","request_id":"r","duration":3.5,"models":[]}"#, Message::Metadata { duration: 3.5 }),
        (
            r#"{"type":"UtteranceEnd","channel":[0,1],"last_word_end":3.1}"#,
            Message::UtteranceEnd { last_word_end: 3.1 },
        ),
        (r#"{"type":"SpeechStarted","channel":[0],"timestamp":0.5}"#, Message::SpeechStarted { timestamp: 0.5 }),
        (r#"{"type":"ConfigureSuccess"}"#, Message::Unknown),
        (r#"{"type":"Results","channel":{}}"#, Message::Results(Results::default())),
        (r#"{"no":"type"}"#, Message::Unknown),
        (r#"{"type":5}"#, Message::Malformed),
        (r#"{"type":"Results","start":"soon"}"#, Message::Malformed),
        (r#"{"type":"Results","start":1.0,"duration":1.0,"is_final":true}"#, Message::Malformed),
        ("", Message::Malformed),
        ("[]", Message::Unknown),
        ("null", Message::Malformed),
        (
            r#"{"type":"Error","variant":"SchemaError","description":"bad \u0007 thing","request_id":"r1"}"#,
            Message::Error(
                StageError::new(ErrorClass::BadRequest, "SchemaError", "bad thing").with_request_id(Some("r1")),
            ),
        ),
        (
            r#"{"type":"Error","code":"NET-0001","description":"late"}"#,
            Message::Error(StageError::new(ErrorClass::RetryNow, "NET-0001", "late")),
        ),
    ] {
        assert_eq!(parse(text), want, "{text}");
    }
}

#[test]
fn refused_upgrades_are_understood() {
    use ErrorClass::{Configuration, ProviderOut, RetryLater};
    let seconds = |s| RetryLater(Some(Duration::from_secs(s)));
    for (status, headers, body, class, code, message, id) in [
        (
            401,
            vec![("dg-request-id", "id1"), ("dg-error", "Invalid credentials.")],
            r#"{"err_code":"INVALID_AUTH","err_msg":"Invalid credentials.","request_id":"id2"}"#,
            Configuration,
            "INVALID_AUTH",
            "Invalid credentials.",
            Some("id1"),
        ),
        (
            400,
            vec![],
            r#"{"category":"INVALID_QUERY_PARAMETER","message":"Failed to deserialize.","details":"model","request_id":"id3"}"#,
            Configuration,
            "INVALID_QUERY_PARAMETER",
            "Failed to deserialize. model",
            Some("id3"),
        ),
        (403, vec![], "no access\n", Configuration, "403", "no access", None),
        (402, vec![("dg-error", "Not enough credit")], "", ProviderOut, "402", "Not enough credit", None),
        (
            402,
            vec![],
            r#"{"err_code":"ASR_PAYMENT_REQUIRED","err_msg":"Not enough credits.","request_id":"id4"}"#,
            ProviderOut,
            "ASR_PAYMENT_REQUIRED",
            "Not enough credits.",
            Some("id4"),
        ),
        (
            429,
            vec![("retry-after", "3")],
            r#"{"err_code":"TOO_MANY_REQUESTS","err_msg":"Too many"}"#,
            seconds(3),
            "TOO_MANY_REQUESTS",
            "Too many",
            None,
        ),
        (503, vec![], "", RetryLater(None), "503", "The provider has an internal fault or is overloaded.", None),
        (
            404,
            vec![],
            "{}",
            Configuration,
            "404",
            "The provider does not know what was asked for; check model, voice and base URL.",
            None,
        ),
        (
            301,
            vec![("location", "https://elsewhere")],
            "",
            Configuration,
            "301",
            "The provider sent us elsewhere; check the base URL.",
            None,
        ),
    ] {
        let headers: HeaderMap =
            headers.into_iter().map(|(name, value)| (name.parse().expect(name), value.parse().expect(value))).collect();
        let want = StageError::new(class, code, message).with_request_id(id);
        assert_eq!(http_error(status, &headers, body.as_bytes()), want, "{status} {body}");
    }
}

#[test]
fn closes_are_understood() {
    for (code, reason, class, name) in [
        (None, "", ErrorClass::RetryNow, "closed"),
        (Some(1000), "", ErrorClass::RetryNow, "1000"),
        (Some(1008), "DATA-0000: cannot decode", ErrorClass::BadRequest, "1008 DATA-0000"),
        (
            Some(1011),
            "Deepgram did not receive audio. See https://dpgr.am/net0001 (NET-0001)",
            ErrorClass::RetryNow,
            "1011 NET-0001",
        ),
        (Some(1013), "", ErrorClass::RetryLater(None), "1013"),
    ] {
        let error = close_error(code, reason);
        assert_eq!((error.class, error.code.as_str()), (class, name), "{code:?} {reason}");
        assert!(!error.message.is_empty());
    }
}

proptest! {
    #[test]
    fn nothing_that_comes_in_panics(bytes in prop::collection::vec(any::<u8>(), 0..300), status in any::<u16>(),
        numbers in prop::array::uniform4(any::<f64>())) {
        let text = String::from_utf8_lossy(&bytes);
        parse(&text);
        http_error(status, &HeaderMap::new(), &bytes);
        close_error(Some(status), &text);
        let [start, duration, from, to] = numbers.map(|n| serde_json::json!(n));
        let message = serde_json::json!({"type": "Results", "start": start, "duration": duration, "is_final": true,
            "channel": {"alternatives": [{"transcript": text, "words": [{"word": text, "start": from, "end": to}]}]}});
        if let Message::Results(results) = parse(&message.to_string()) {
            let Some(SttEvent::Final { transcript, .. }) = results.into_event(&clock()) else { panic!("a final is kept") };
            prop_assert!(transcript.start <= transcript.end && transcript.end <= Duration::from_secs(110));
        }
    }
}
