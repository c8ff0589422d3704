//! Notes what a client sent, so that faults can say it back: `{key}` and `{text}` in a fault's text.
//!
//! Careless vendors do so in error bodies and close reasons; no log of the client may repeat it.

use crate::app::App;
use crate::conn::ConnCtl;
use axum::body::Body;
use axum::extract::{Extension, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use std::sync::Arc;

const MOST_BODY: usize = 4 << 20;

/// What a connection was told last.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// The request's key.
    pub key: String,
    /// What was to be translated or spoken, or was recognised.
    pub text: String,
}

impl Told {
    /// A fault's text with what it says back.
    pub fn fill(&self, text: &str) -> String {
        // Quotes of what was said must not break the JSON that may be around it.
        let plain = |text: &str| text.replace(['"', '\\'], " ");
        text.replace("{key}", &plain(&self.key)).replace("{text}", &plain(&self.text))
    }
}

/// Takes note of every request to a service before it is answered.
pub async fn note(
    State(app): State<Arc<App>>,
    Extension(ctl): Extension<Arc<ConnCtl>>,
    request: Request,
    next: Next,
) -> Response {
    let (parts, body) = request.into_parts();
    let key = key(&parts.headers);
    ctl.told(|told| *told = Told { key, ..Told::default() });
    let says_back =
        |text: &Option<String>| text.as_deref().is_some_and(|t| t.contains("{text}") || t.contains("{key}"));
    // Bodies are only held back for a scenario that wants them.
    if !app.scenario().fault.iter().any(|fault| says_back(&fault.text)) {
        return next.run(Request::from_parts(parts, body)).await;
    }
    let Ok(bytes) = axum::body::to_bytes(body, MOST_BODY).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let fields: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    ctl.told(|told| {
        told.text = text(&fields);
        if let Some(key) = fields["api_key"].as_str() {
            told.key = key.to_owned();
        }
    });
    next.run(Request::from_parts(parts, Body::from(bytes))).await
}

fn key(headers: &HeaderMap) -> String {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let authorization = || header("authorization").map(|all| all.split_once(' ').map_or(all, |(_, key)| key));
    header("xi-api-key").or_else(authorization).unwrap_or_default().trim().to_owned()
}

/// What is to be translated or spoken: a string or strings of `text` or `q`, or a chat's last message.
fn text(fields: &Value) -> String {
    let last = fields["messages"].as_array().and_then(|all| all.last()).map(|message| &message["content"]);
    let value = [Some(&fields["text"]), Some(&fields["q"]), last].into_iter().flatten().find(|v| !v.is_null());
    match value {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" "),
        _ => String::new(),
    }
}
