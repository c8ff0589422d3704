//! Replies that no honest vendor gives: a client must neither panic nor hang nor believe them.
//!
//! | name | websocket message, before the real ones | HTTP reply, instead of the real one |
//! |---|---|---|
//! | `unknown_type` | a type nobody knows | an object of unknown fields |
//! | `missing_fields` | the usual type without its fields | `{}` |
//! | `wrong_types` | strings for objects, numbers for strings | the same |
//! | `truncated_json` | the first part of a message | the first part of a body |
//! | `invalid_utf8` | a TEXT frame with bytes that are no UTF-8 | a body with such bytes |
//! | `odd_bytes` | stt: a BINARY frame of 3 bytes; tts: 3 bytes of audio | a body of 3 bytes |
//! | `bad_base64` | audio that is no base64 | the same |
//! | `giant` | a message of 2 MB | a body of 64 MB, streamed |
//! | `redirect` | handshake only: 302 to itself | 302 to itself |
//! | `deep_json` | 100000 arrays in each other | the same |

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use serde_json::{Value, json};
use std::convert::Infallible;

/// All names.
pub const NAMES: &[&str] = &[
    "unknown_type",
    "missing_fields",
    "wrong_types",
    "truncated_json",
    "invalid_utf8",
    "odd_bytes",
    "bad_base64",
    "giant",
    "redirect",
    "deep_json",
];

const GIANT_MESSAGE: usize = 2 << 20;
const GIANT_BODY: usize = 64 << 20;
const DEPTH: usize = 100_000;

/// Where a fault strikes.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    /// Path of the request.
    pub path: &'a str,
    /// An open context of a synthesis socket.
    pub context: Option<&'a str>,
}

/// A message to send.
pub enum Frame {
    /// As TEXT.
    Text(String),
    /// As BINARY.
    Binary(Vec<u8>),
    /// As bytes of the socket.
    Raw(Vec<u8>),
}

impl Place<'_> {
    fn is_speech(self) -> bool {
        self.path.contains("/text-to-speech/") || self.path == "/v1/speak"
    }

    /// The message or body that a client expects here, with these contents for what matters.
    fn shaped(self, text: Value) -> Value {
        match self.path {
            "/v2/listen" => {
                json!({"type": "TurnInfo", "event": text, "turn_index": text, "transcript": text, "words": text})
            }
            "/v1/listen" => json!({
                "type": "Results", "start": text, "duration": text, "is_final": text,
                "channel": {"alternatives": [{"transcript": text, "confidence": text, "words": text}]},
            }),
            "/v2/translate" => json!({"translations": [{"detected_source_language": text, "text": text}]}),
            "/translate" => json!({"translatedText": text}),
            "/v1/chat/completions" => json!({"id": text, "choices": [{"index": text, "message": {"content": text}}]}),
            _ => json!({"audio": text, "isFinal": null, "contextId": self.context}),
        }
    }

    fn text(self, name: &str) -> String {
        match name {
            "unknown_type" => json!({"type": "Surprise", "event": "Surprise", "payload": [1, 2, 3]}).to_string(),
            "missing_fields" => match self.path {
                "/v1/listen" => json!({"type": "Results"}).to_string(),
                "/v2/listen" => json!({"type": "TurnInfo"}).to_string(),
                _ => "{}".to_owned(),
            },
            "wrong_types" if self.path == "/v1/listen" => {
                json!({"type": "Results", "channel": "left", "start": "now", "duration": [], "is_final": 1}).to_string()
            }
            "wrong_types" => self.shaped(json!({"a": [7]})).to_string(),
            "bad_base64" => self.shaped(json!("@@@ no base64 @@@")).to_string(),
            "odd_bytes" => self.shaped(json!("AAAA")).to_string(),
            "deep_json" => "[".repeat(DEPTH) + &"]".repeat(DEPTH),
            "giant" => self.shaped(json!("a".repeat(GIANT_MESSAGE))).to_string(),
            // truncated_json, and what has no message of its own
            _ => {
                let mut text = self.shaped(json!("truncated")).to_string();
                text.truncate(text.len() * 2 / 3);
                text
            }
        }
    }
}

/// The message of a name.
pub fn message(name: &str, place: Place<'_>) -> Frame {
    match name {
        "odd_bytes" if !place.is_speech() => Frame::Binary(vec![1, 2, 3]),
        "invalid_utf8" => {
            let mut payload = b"{\"type\":\"Results\",\"transcript\":\"".to_vec();
            payload.extend([0xC3, 0x28, 0xFF, 0xFE, 0x80]);
            payload.extend(b"\"}");
            // FIN and TEXT, then a length below 126: servers do not mask (RFC 6455, 5.2).
            let mut frame = vec![0x81, u8::try_from(payload.len()).unwrap_or(125)];
            frame.extend(payload);
            Frame::Raw(frame)
        }
        _ => Frame::Text(place.text(name)),
    }
}

/// The HTTP reply of a name.
pub fn reply(name: &str, place: Place<'_>) -> Response {
    let mut response = Response::new(Body::empty());
    let bare = place.is_speech() && !place.path.ends_with("/with-timestamps");
    let kind = if bare { "audio/pcm" } else { "application/json" };
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    *response.body_mut() = match name {
        "redirect" => {
            *response.status_mut() = StatusCode::FOUND;
            if let Ok(value) = HeaderValue::from_str(place.path) {
                response.headers_mut().insert(header::LOCATION, value);
            }
            Body::empty()
        }
        "giant" => {
            let head = if bare { String::new() } else { "{\"giant\":\"".to_owned() };
            let first = futures_util::stream::iter([Bytes::from(head)]);
            let block = Bytes::from(vec![if bare { 0 } else { b'a' }; 64 << 10]);
            let rest = futures_util::stream::iter((0..GIANT_BODY / block.len()).map(move |_| block.clone()));
            Body::from_stream(futures_util::StreamExt::map(
                futures_util::StreamExt::chain(first, rest),
                Ok::<_, Infallible>,
            ))
        }
        "invalid_utf8" => Body::from(b"{\"translations\":[{\"text\":\"\xC3\x28\xFF\xFE\"}]}".to_vec()),
        "odd_bytes" => Body::from(vec![1, 2, 3]),
        _ => Body::from(place.text(name)),
    };
    response
}
