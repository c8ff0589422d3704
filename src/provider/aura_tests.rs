use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::test_config::{KEYS, config, language};
use super::*;

#[test]
fn the_request_follows_the_settings() {
    let url = |settings: &[(&str, &str)], to: &str, rate| speak_url(&config(settings), language(to), rate);
    let plain = url(&[], "es", 16_000).expect("a URL");
    assert_eq!(plain.path(), "/v1/speak");
    assert_eq!(
        plain.query(),
        Some("model=aura-2-celeste-es&encoding=linear16&container=none&sample_rate=16000&mip_opt_out=true")
    );
    let more = [("aura.voice", "aura-2-x-de"), ("deepgram.mip_opt_out", "false"), ("deepgram.tag", "a b")];
    let more = url(&more, "de", 24_000).expect("a URL");
    assert!(
        more.as_str().ends_with("model=aura-2-x-de&encoding=linear16&container=none&sample_rate=24000&tag=a+b"),
        "{more}"
    );
    for (to, rate) in [("de", 16_000), ("es", 22_050)] {
        assert_eq!(url(&[], to, rate).map_err(|e| e.class), Err(ErrorClass::Configuration), "{to} {rate}");
    }
    let headers = headers(&config(&[])).expect("headers");
    assert_eq!(headers["authorization"].to_str().ok(), Some(format!("Token {}", KEYS[0]).as_str()));
    assert!(headers["authorization"].is_sensitive());
    assert_eq!(serde_json::from_slice::<Value>(&body(" \"Sí\", dijo.")).ok(), Some(json!({"text": "\"Sí\", dijo."})));
}

#[test]
fn errors_are_understood() {
    for (status, body, class, code) in [
        (
            401,
            r#"{"err_code":"INVALID_AUTH","err_msg":"Invalid credentials."}"#,
            ErrorClass::Configuration,
            "INVALID_AUTH",
        ),
        (
            402,
            r#"{"err_code":"ASR_PAYMENT_REQUIRED","err_msg":"No credit"}"#,
            ErrorClass::ProviderOut,
            "ASR_PAYMENT_REQUIRED",
        ),
        (400, r#"{"err_code":"Bad Request","err_msg":"no such model"}"#, ErrorClass::Configuration, "Bad Request"),
        (400, r#"{"err_code":"Bad Request","err_msg":"cannot be spoken"}"#, ErrorClass::BadRequest, "Bad Request"),
        (413, "", ErrorClass::BadRequest, "413"),
        (429, "", ErrorClass::RetryLater(Some(std::time::Duration::from_secs(2))), "429"),
        (503, "<html>", ErrorClass::RetryLater(Some(std::time::Duration::from_secs(2))), "503"),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert("retry-after", HeaderValue::from_static("2"));
        headers.insert("dg-request-id", HeaderValue::from_static("r1"));
        let error = http_error(status, &headers, body.as_bytes());
        assert_eq!(
            (error.class, error.code.as_str(), error.request_id.as_deref()),
            (class, code, Some("r1")),
            "{status} {body}"
        );
    }
    for (kind, good) in [
        ("audio/l16;rate=16000", true),
        ("", true),
        ("application/octet-stream", true),
        ("text/html", false),
        ("application/json", false),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_str(kind).expect("a header"));
        assert_eq!(check_reply(&headers).is_ok(), good, "{kind}");
    }
}

#[test]
fn a_header_is_not_heard() {
    let wave = |extra: &[u8], size: u32| {
        let mut bytes = b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0".to_vec();
        bytes.extend([0; 16]);
        bytes.extend(extra);
        bytes.extend(b"data");
        bytes.extend(size.to_le_bytes());
        bytes.extend([1, 0, 2, 0]);
        bytes
    };
    for (name, body, want) in [
        ("raw", vec![1, 0, 2, 0], vec![1, 2]),
        ("an odd byte", vec![1, 0, 2], vec![1]),
        ("nothing", vec![], vec![]),
        ("a header", wave(b"", 4), vec![1, 2]),
        ("a header for a stream", wave(b"", u32::MAX), vec![1, 2]),
        ("another chunk before", wave(b"LIST\x03\0\0\0abc\0", 4), vec![1, 2]),
        ("cut in the header", b"RIFF\0\0\0\0WAVEfmt ".to_vec(), vec![]),
        ("a size that lies", [&b"RIFF\0\0\0\0WAVEfmt \xff\xff\xff\xff"[..], &[0; 24], &[7, 0]].concat(), vec![7]),
        ("samples that look like RIFF", b"RIFFab".to_vec(), vec![0x4952, 0x4646, 0x6261]),
    ] {
        assert_eq!(samples(&body), want, "{name}");
    }
}

proptest! {
    #[test]
    fn nothing_that_comes_in_panics(bytes in prop::collection::vec(any::<u8>(), 0..80), status in any::<u16>()) {
        samples(&[b"RIFF\0\0\0\0WAVE".as_slice(), &bytes].concat());
        http_error(status, &HeaderMap::new(), &bytes);
    }
}
