use std::time::Duration;

use super::super::stream_clock::StreamClock;
use super::super::test_config::{KEYS, config};
use super::*;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[test]
fn the_address_has_what_the_session_wants() {
    // (settings, must be in the query, must not)
    type Row = (&'static [(&'static str, &'static str)], &'static [&'static str], &'static [&'static str]);
    let rows: &[Row] = &[
        (
            &[],
            &["model=flux-general-en", "encoding=linear16", "sample_rate=16000", "eot_timeout_ms=5000"],
            &["threshold", "language", "interim_results"],
        ),
        (&[("language", "es-419")], &["model=flux-general-multi", "language_hint=es"], &[]),
        (&[("language", "es"), ("deepgram.multi", "on")], &["model=flux-general-multi"], &["language_hint"]),
        (
            &[("flux.eot_threshold", "0.8"), ("flux.eager_eot_threshold", "0.5"), ("flux.eot_timeout_ms", "700")],
            &["eot_threshold=0.8", "eager_eot_threshold=0.5", "eot_timeout_ms=700"],
            &[],
        ),
        (&[("deepgram.keyterm", "Ibuprofen,Dr. Ng")], &["keyterm=Ibuprofen", "keyterm=Dr.+Ng"], &[]),
        (&[("flux.model", "flux-general-multi")], &["model=flux-general-multi", "language_hint=en"], &[]),
    ];
    for (settings, has, has_not) in rows {
        let more: Vec<_> = settings
            .iter()
            .map(|(key, value)| (if *key == "language" { "profile.t.language" } else { key }, *value))
            .collect();
        let url = listen_url(&config(&more), 16_000).expect("an address").to_string();
        assert!(url.starts_with("wss://api.deepgram.com/v2/listen?"), "{url}");
        assert!(has.iter().all(|part| url.contains(part)), "{url} lacks one of {has:?}");
        assert!(has_not.iter().all(|part| !url.contains(part)), "{url} has one of {has_not:?}");
        assert!(KEYS.iter().all(|key| !url.contains(key)));
    }
    let none = listen_url(&config(&[("profile.t.language", "sv")]), 16_000).expect_err("no Swedish");
    assert_eq!(none.class, ErrorClass::Configuration);
}

fn turn(event: &str, text: &str, words: &str) -> String {
    format!(
        r#"{{"type":"TurnInfo","request_id":"r","sequence_id":3,"event":"{event}","turn_index":0,
        "audio_window_start":0.5,"audio_window_end":1.5,"transcript":"{text}","words":{words},"end_of_turn_confidence":0.1,
        "languages":["en","es"]}}"#
    )
}

#[test]
fn turns_become_events_in_session_time() {
    let mut clock = StreamClock::new(16_000);
    clock.sent(ms(10_000), 32_000);
    let timed = r#"[{"word":"Hi,","confidence":0.9,"start":0.6,"end":0.8},{"word":"you.","confidence":7,"start":0.9,"end":1.2}]"#;
    let told = |event: &str, text: &str, words: &str| match parse(&turn(event, text, words)) {
        Message::Turn(turn) => turn.into_event(&clock),
        other => panic!("{other:?}"),
    };
    assert_eq!(told("StartOfTurn", "", "[]"), Some(SttEvent::SpeechStarted { at: ms(10_500) }));
    assert_eq!(told("Update", " ", "[]"), None);
    let Some(SttEvent::Interim(t)) = told("Update", "Hi, you.", timed) else { panic!("an interim") };
    assert_eq!((t.start, t.end, t.language.as_deref()), (ms(10_500), ms(11_500), Some("en")));
    let words: Vec<_> = t.words.iter().map(|w| (w.text.as_str(), w.start, w.end, w.confidence)).collect();
    assert_eq!(words, [("Hi,", ms(10_600), ms(10_800), 0.9), ("you.", ms(10_900), ms(11_200), 1.0)]);
    // Words without times are spread over the turn.
    let untimed = r#"[{"word":"Hi,","confidence":0.9},{"word":"you.","confidence":0.9}]"#;
    let Some(SttEvent::Final { transcript, speech_final: true }) = told("EndOfTurn", "Hi, you.", untimed) else {
        panic!("a final")
    };
    let words: Vec<_> = transcript.words.iter().map(|w| (w.text.as_str(), w.start, w.end)).collect();
    assert_eq!(words, [("Hi,", ms(10_500), ms(11_000)), ("you.", ms(11_000), ms(11_500))]);
    assert!(matches!(told("EagerEndOfTurn", "Hi", "[]"), Some(SttEvent::EagerEnd(t)) if t.text == "Hi"));
    assert!(matches!(told("TurnResumed", "Hi", "[]"), Some(SttEvent::Resumed(t)) if t.text == "Hi"));
    assert!(matches!(told("EndOfTurn", "", "[]"), Some(SttEvent::Final { .. })), "an answer, if an empty one");
}

#[test]
fn other_messages_and_nonsense() {
    for (text, want) in [
        (r#"{"type":"Connected","request_id":"r","sequence_id":0}"#, Message::Connected),
        (r#"{"type":"ConfigureSuccess","request_id":"r","sequence_id":0,"thresholds":{}}"#, Message::Note),
        (r#"{"type":"ConfigureFailure","request_id":"r","sequence_id":0}"#, Message::Note),
        (r#"{"type":"Warning","code":"x"}"#, Message::Note),
        (r#"{"type":"SomethingNew"}"#, Message::Unknown),
        (r#"{"x":1}"#, Message::Unknown),
        (r#"{"type":"TurnInfo","event":"Dance"}"#, Message::Malformed),
        (r#"{"type":"TurnInfo"}"#, Message::Malformed),
        (r#"{"type":"TurnInfo","event":"Update","words":7}"#, Message::Malformed),
        (r#"{"type":"TurnInfo","event":"Update","transcript":["#, Message::Malformed),
        ("[]", Message::Unknown),
        ("7", Message::Malformed),
        ("", Message::Malformed),
    ] {
        assert_eq!(parse(text), want, "{text}");
    }
    for (code, class) in [
        ("INTERNAL_SERVER_ERROR", ErrorClass::RetryNow),
        ("INACTIVE_CLIENT", ErrorClass::RetryNow),
        ("NET-0001", ErrorClass::RetryNow),
        ("DATA-0000", ErrorClass::BadRequest),
    ] {
        let text =
            format!(r#"{{"type":"Error","request_id":"r9","sequence_id":4,"code":"{code}","description":"it broke"}}"#);
        let Message::Error(error) = parse(&text) else { panic!("{text}") };
        assert_eq!((error.class, error.code.as_str(), error.message.as_str()), (class, code, "it broke"));
        assert_eq!(error.request_id.as_deref(), Some("r9"));
    }
}
