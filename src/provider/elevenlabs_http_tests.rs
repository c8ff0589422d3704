use proptest::prelude::*;
use serde_json::json;

use super::super::test_config::{KEYS, config, language};
use super::*;

#[test]
fn the_request_follows_the_settings() {
    let url = stream_url(&config(&[]), 16_000).expect("a URL");
    assert_eq!(url.path(), "/v1/text-to-speech/voice1/stream/with-timestamps");
    assert_eq!(url.query(), Some("output_format=pcm_16000&enable_logging=true"));
    let headers = headers(&config(&[])).expect("headers");
    assert_eq!((headers["xi-api-key"].to_str().ok(), headers["xi-api-key"].is_sensitive()), (Some(KEYS[2]), true));
    for (settings, want) in [
        (vec![], json!({"text": "Hola", "model_id": "eleven_flash_v2_5", "language_code": "es"})),
        (vec![("elevenlabs.model", "eleven_flash_v2")], json!({"text": "Hola", "model_id": "eleven_flash_v2"})),
        (
            vec![("elevenlabs.speed", "1.125")],
            json!({"text": "Hola", "model_id": "eleven_flash_v2_5", "language_code": "es", "voice_settings": {"speed": 1.125}}),
        ),
    ] {
        let body = body(&config(&settings), language("es"), "Hola").expect("a body");
        assert_eq!(serde_json::from_slice::<Value>(&body).ok(), Some(want));
    }
}

#[test]
fn lines_are_read_or_tolerated() {
    let speech = |audio: &[u8], aligned| Line::Speech { audio: audio.to_vec(), aligned };
    let aligned = Aligned::Chars(vec![("a".to_owned(), 0.0, 500.0)]);
    for (line, want) in [
        (
            r#"{"audio_base64":"AQID","alignment":{"characters":["a"],"character_start_times_seconds":[0],"character_end_times_seconds":[0.5]},"normalized_alignment":null}"#,
            speech(&[1, 2, 3], aligned),
        ),
        (r#"{"audio_base64":"AQID","alignment":null}"#, speech(&[1, 2, 3], Aligned::None)),
        (r#"{"audio_base64":"","alignment":7}"#, speech(&[], Aligned::Bad)),
        (r#"{"audio_base64":null}"#, Line::Unknown),
        (r#"{"new":1}"#, Line::Unknown),
        (r#"{"audio_base64":"%%%"}"#, Line::Malformed),
        (r#"{"audio_base64":7}"#, Line::Malformed),
        (r#"{"audio_base64":"AQ"#, Line::Malformed),
        ("7", Line::Malformed),
        (
            r#"{"detail":{"status":"quota_exceeded","message":"0 credits"}}"#,
            Line::Error(StageError::new(ErrorClass::ProviderOut, "quota_exceeded", "0 credits")),
        ),
    ] {
        assert_eq!(parse_line(line.as_bytes()), want, "{line}");
    }
    assert_eq!(parse_line(b"{\"audio_base64\":\"\xff\"}"), Line::Malformed);
}

#[test]
fn a_text_may_be_what_is_wrong() {
    for (status, body, class) in [
        (400, r#"{"detail":{"status":"voice_not_found","message":"m"}}"#, ErrorClass::Configuration),
        (400, r#"{"detail":{"status":"new_code","message":"m"}}"#, ErrorClass::BadRequest),
        (422, r#"{"detail":[{"loc":["body"],"msg":"m","type":"value_error"}]}"#, ErrorClass::BadRequest),
        (401, r#"{"detail":{"status":"quota_exceeded","message":"m"}}"#, ErrorClass::ProviderOut),
        (403, "", ErrorClass::Configuration),
        (429, "", ErrorClass::RetryLater(None)),
        (503, "", ErrorClass::RetryLater(None)),
    ] {
        assert_eq!(http_error(status, &HeaderMap::new(), body.as_bytes()).class, class, "{status} {body}");
    }
}

proptest! {
    #[test]
    fn lines_survive_any_cutting(text in "[ab\n]{0,60}", cuts in prop::collection::vec(0usize..9, 0..20)) {
        let mut lines = Lines::default();
        let (mut found, mut rest) = (Vec::new(), text.as_bytes());
        for cut in cuts {
            let (piece, tail) = rest.split_at(cut.min(rest.len()));
            found.extend(lines.push(piece).expect("short"));
            rest = tail;
        }
        found.extend(lines.push(rest).expect("short"));
        found.extend(lines.finish());
        let want: Vec<Vec<u8>> = text.split('\n').filter(|l| !l.is_empty()).map(|l| l.as_bytes().to_vec()).collect();
        prop_assert_eq!(found, want);
    }

    #[test]
    fn no_line_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        parse_line(&bytes);
    }
}

#[test]
fn a_line_without_an_end_is_refused() {
    let mut lines = Lines::default();
    let piece = vec![b'x'; 1 << 20];
    let refused = (0..6).find_map(|_| lines.push(&piece).err());
    assert_eq!(refused.map(|e| e.code).as_deref(), Some("message_too_long"));
}
