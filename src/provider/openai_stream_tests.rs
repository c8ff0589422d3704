use proptest::prelude::*;

use super::*;
use crate::provider::ErrorClass;

/// Reads `reply` in pieces of `size` bytes.
fn read(reply: &[u8], size: usize) -> Result<String, StageError> {
    let mut reader = Reader::default();
    for piece in reply.chunks(size) {
        reader.push(piece)?;
    }
    reader.finish()
}

const ROLE: &str = r#"data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}"#;
const STOP: &str = r#"data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;

fn said(text: &str) -> String {
    format!(
        r#"data: {{"id":"c","object":"chat.completion.chunk","choices":[{{"index":0,"delta":{{"content":"{text}"}},"finish_reason":null}}],"usage":null}}"#
    )
}

#[test]
fn translations_are_put_together() {
    let usage = r#"data: {"choices":[],"usage":{"total_tokens":3}}"#;
    let done = "data: [DONE]";
    let (hello, world) = (said("¡Hola, "), said("señor 😀!"));
    let whole = r#"{"choices":[{"index":0,"message":{"role":"assistant","content":" Hola \n"},"finish_reason":"stop"}],"usage":{}}"#;
    let thought = said("<think>They say\\nhello</think>\\n\\nHola");
    let other = r#"data: {"choices":[{"index":1,"delta":{"content":"NO"}}]}"#;
    let ended = r#"data: {"choices":[{"index":0,"delta":{"content":"Hola"},"finish_reason":"eos"}],"error":null}"#;
    for (name, reply, want) in [
        ("usual", [ROLE, &hello, &world, STOP, usage, done, ""].join("\n\n"), "¡Hola, señor 😀!"),
        ("CRLF", [ROLE, &hello, &world, STOP, done, ""].join("\r\n\r\n"), "¡Hola, señor 😀!"),
        ("CR", [ROLE, &hello, &world, STOP, done, ""].join("\r\r"), "¡Hola, señor 😀!"),
        (
            "comments",
            [": ping\n", ":", &hello, ": x\n:\n\n\n", &world, "id: 4\nretry: 3", STOP, done, ""].join("\n\n"),
            "¡Hola, señor 😀!",
        ),
        (
            "no space",
            [hello.replacen(": ", ":", 1), STOP.replacen(": ", ":", 1), "data:[DONE]\n\n".into()].join("\n\n"),
            "¡Hola,",
        ),
        ("byte order mark", format!("\u{feff}\n\n{hello}\n\n{done}\n\n"), "¡Hola,"),
        (
            "an event over two lines",
            "data: {\"choices\":\ndata: [{\"index\":0,\"delta\":{\"content\":\"Hola\"}}]}\n\ndata: [DONE]\n\n".into(),
            "Hola",
        ),
        ("no last blank line", [&hello, STOP].join("\n\n"), "¡Hola,"),
        ("no DONE", [&hello, STOP, ""].join("\n\n"), "¡Hola,"),
        ("no reason for the end", [&hello, done].join("\n\n"), "¡Hola,"),
        ("more after the end", [&hello, STOP, done, &world, "data: {{{", ""].join("\n\n"), "¡Hola,"),
        ("another choice", [other, &hello, STOP, done, ""].join("\n\n"), "¡Hola,"),
        ("another end", format!("{ended}\n\n"), "Hola"),
        ("a named event", format!("event: message\n{ended}\n\n"), "Hola"),
        ("thoughts", [&thought, STOP, done, ""].join("\n\n"), "Hola"),
        ("thoughts later are said", [&hello, &said("<think>"), STOP, done, ""].join("\n\n"), "¡Hola, <think>"),
        ("whole", format!("\n {whole}"), "Hola"),
        (
            "no choices in the usage",
            [&hello, STOP, r#"data: {"choices":null,"usage":{}}"#, done, ""].join("\n\n"),
            "¡Hola,",
        ),
    ] {
        for size in [1, 2, 3, 7, reply.len()] {
            assert_eq!(read(reply.as_bytes(), size), Ok(want.to_owned()), "{name} in pieces of {size}");
        }
    }
}

#[test]
fn half_a_translation_is_an_error() {
    use ErrorClass::{BadRequest, Configuration, ProviderOut, RetryLater, RetryNow};
    let hello = said("Hola");
    let end = |reason: &str| STOP.replace("\"stop\"", &format!("\"{reason}\""));
    for (name, reply, class, code) in [
        ("nothing", String::new(), RetryNow, "bad_reply"),
        ("only DONE", "data: [DONE]\n\n".into(), RetryNow, "bad_reply"),
        ("no end", [&hello, ""].join("\n\n"), RetryNow, "bad_reply"),
        ("cut in an event", [&hello, &STOP[..30]].join("\n\n"), RetryNow, "bad_reply"),
        ("length", [&hello, &end("length"), "data: [DONE]", ""].join("\n\n"), BadRequest, "length"),
        ("filter", [&hello, &end("content_filter"), ""].join("\n\n"), BadRequest, "content_filter"),
        ("tool", [&hello, &end("tool_calls"), ""].join("\n\n"), BadRequest, "tool_calls"),
        ("refusal", r#"data: {"choices":[{"index":0,"delta":{"refusal":"No."}}]}"#.into(), BadRequest, "refusal"),
        (
            "error",
            [&hello, r#"data: {"error":{"message":"x","type":"server_error","code":null}}"#, ""].join("\n\n"),
            RetryLater(None),
            "server_error",
        ),
        ("named error", "event: error\ndata: {\"message\":\"x\"}\n\n".into(), RetryNow, "stream_error"),
        ("error text", "data: {\"error\":\"boom\"}\n\n".into(), RetryNow, "stream_error"),
        (
            "error object",
            "data: {\"object\":\"error\",\"message\":\"x\",\"type\":\"BadRequestError\",\"code\":400}\n\n".into(),
            BadRequest,
            "BadRequestError",
        ),
        ("quota", "data: {\"error\":{\"code\":\"insufficient_quota\"}}\n\n".into(), ProviderOut, "insufficient_quota"),
        (
            "key",
            "data: {\"error\":{\"type\":\"authentication_error\"}}\n\n".into(),
            Configuration,
            "authentication_error",
        ),
        ("wrong type", r#"data: {"choices":[{"index":0,"delta":{"content":5}}]}"#.into(), RetryNow, "bad_reply"),
        ("choices no list", r#"data: {"choices":{"delta":{}}}"#.into(), RetryNow, "bad_reply"),
        ("truncated JSON", "data: {\"choices\":[{\"index\"\n\n".into(), RetryNow, "bad_reply"),
        ("no JSON", "<html>502</html>".into(), RetryNow, "bad_reply"),
        ("only a thought", [&said("<think>Hm"), STOP, ""].join("\n\n"), RetryNow, "bad_reply"),
        ("whole, cut", r#"{"choices":[{"index":0,"message":{"content":"Ho"#.into(), RetryNow, "bad_reply"),
        (
            "whole, length",
            r#"{"choices":[{"message":{"content":"Ho"},"finish_reason":"length"}]}"#.into(),
            BadRequest,
            "length",
        ),
        ("whole, empty", r#"{"choices":[]}"#.into(), RetryNow, "bad_reply"),
        ("whole, error", r#"{"error":{"message":"x"}}"#.into(), RetryNow, "stream_error"),
        ("endless line", format!("data: {}", "x".repeat(MOST_REPLY)), RetryNow, "reply_too_long"),
        ("endless comments", ": x\n".repeat(MOST_REPLY / 4 + 1), RetryNow, "reply_too_long"),
    ] {
        for size in [1, 5, 4096] {
            let error = read(reply.as_bytes(), size).expect_err(name);
            assert_eq!((error.class, error.code.as_str()), (class, code), "{name} in pieces of {size}");
        }
    }
    let mut bytes = said("Ho").into_bytes();
    bytes.extend_from_slice(b"\xff\n\n");
    assert_eq!(read(&bytes, 1).expect_err("not UTF-8").code, "bad_reply");
}

#[test]
fn the_end_is_known_as_soon_as_it_is_told() {
    let mut reader = Reader::default();
    reader.push(format!("{}\n\n", said("Hola")).as_bytes()).expect("read");
    assert!(!reader.is_done());
    reader.push(b"data: [DONE]\n\n").expect("read");
    assert!(reader.is_done());
}

proptest! {
    #[test]
    fn nothing_that_comes_in_panics(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..8)) {
        let mut reader = Reader::default();
        if pieces.iter().all(|piece| reader.push(piece).is_ok()) {
            let _ = reader.finish();
        }
    }

    #[test]
    fn any_cut_reads_the_same(text in "[^\\p{C}]{1,40}", cuts in prop::collection::vec(1usize..20, 1..60)) {
        let text = format!("x{text}x");
        let quoted = serde_json::to_string(&text).expect("JSON");
        let reply = format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":{quoted}}}}}]}}\r\n\r\n{STOP}\r\n\r\ndata: [DONE]\r\n\r\n");
        let (mut reader, mut rest, mut cuts) = (Reader::default(), reply.as_bytes(), cuts.into_iter().cycle());
        while !rest.is_empty() {
            let (piece, left) = rest.split_at(cuts.next().unwrap_or(1).min(rest.len()));
            reader.push(piece).expect("read");
            rest = left;
        }
        prop_assert_eq!(reader.finish(), Ok(text));
    }
}
