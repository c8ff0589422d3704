//! `POST /v1/text-to-speech/{voice}/stream`: one text in, a chunked body of bare audio out; with `/with-timestamps`
//! lines of JSON with audio and alignment.

use super::alignment;
use super::params::{self, Params, Refusal, check_voice_settings};
use crate::app::App;
use crate::conn::ConnCtl;
use crate::fault;
use crate::scenario::{On, Stage};
use crate::slots::Slot;
use crate::speech::{self, Chunk};
use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Extension, Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use tokio::sync::mpsc;

const FIELDS: &[&str] = &[
    "text",
    "model_id",
    "language_code",
    "voice_settings",
    "pronunciation_dictionary_locators",
    "seed",
    "previous_text",
    "next_text",
    "previous_request_ids",
    "next_request_ids",
    "apply_text_normalization",
    "apply_language_text_normalization",
    "use_pvc_as_ivc",
];

type Parts = (State<Arc<App>>, Extension<Arc<ConnCtl>>, Path<String>, RawQuery, Uri, HeaderMap);

/// `POST /v1/text-to-speech/{voice}/stream`
pub async fn stream(
    app: State<Arc<App>>,
    ctl: Extension<Arc<ConnCtl>>,
    voice: Path<String>,
    raw: RawQuery,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    respond((app, ctl, voice, raw, uri, headers), &body, false).await
}

/// `POST /v1/text-to-speech/{voice}/stream/with-timestamps`
pub async fn with_timestamps(
    app: State<Arc<App>>,
    ctl: Extension<Arc<ConnCtl>>,
    voice: Path<String>,
    raw: RawQuery,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    respond((app, ctl, voice, raw, uri, headers), &body, true).await
}

async fn respond(parts: Parts, body: &[u8], timed: bool) -> Response {
    let (State(app), Extension(ctl), Path(voice), RawQuery(raw), uri, headers) = parts;
    if let Err(response) = fault::on_plain_request(&app, &ctl, Stage::Tts, uri.path()).await {
        return response;
    }
    let refuse = |status: StatusCode, (code, text): Refusal| {
        if status != StatusCode::TOO_MANY_REQUESTS {
            app.stats.violation(format!("elevenlabs: {code}: {text}"));
        }
        let kind = match status.as_u16() {
            401 => "authentication_error",
            429 => "rate_limit_error",
            _ => "validation_error",
        };
        let detail = json!({"type": kind, "code": code, "status": code, "message": text, "request_id": app.uuid()});
        (status, Json(json!({"detail": detail}))).into_response()
    };
    let key = headers.get("xi-api-key").and_then(|v| v.to_str().ok()).unwrap_or_default();
    if !app.key_is_good("elevenlabs", key) {
        return refuse(StatusCode::UNAUTHORIZED, ("invalid_api_key", "Invalid API key".to_owned()));
    }
    let parsed = Params::parse(voice, &app.scenario().tts.voices, &raw.unwrap_or_default(), false);
    let mut params = match parsed {
        Ok(params) => params,
        Err(refusal) => return refuse(StatusCode::BAD_REQUEST, refusal),
    };
    let text = match read_body(body, &mut params) {
        Ok(text) => text,
        Err(BodyError::Framework(name, text)) => {
            app.stats.violation(format!("elevenlabs: body: {name}: {text}"));
            let detail = json!([{"loc": ["body", name], "msg": text, "type": "value_error"}]);
            return (StatusCode::UNPROCESSABLE_ENTITY, Json(json!({"detail": detail}))).into_response();
        }
        Err(BodyError::Refused(refusal)) => return refuse(StatusCode::BAD_REQUEST, refusal),
    };
    let most = app.scenario().elevenlabs.max_requests;
    let Some(slot) = Slot::take(&app, "elevenlabs", most) else {
        let text = format!("Too many concurrent requests. Your subscription has a maximum of {most}.");
        return refuse(StatusCode::TOO_MANY_REQUESTS, ("too_many_concurrent_requests", text));
    };
    if !params::within_quota(&app, &text) {
        return refuse(StatusCode::UNAUTHORIZED, params::quota_exceeded());
    }
    let generation = app.fault(Stage::Tts, On::Generation);
    if let Some(fault) = generation {
        fault::later(&ctl, &fault);
    }
    let cost = text.chars().count().to_string();
    let request_id = app.uuid();
    let kind = if timed { "application/json" } else { params.format.content_type() };
    params.sync_alignment = timed;
    let wanted = params.wanted();
    let (sender, receiver) = mpsc::channel::<Bytes>(4);
    tokio::spawn(async move {
        let _slot = slot;
        let stop = Arc::new(AtomicBool::new(false));
        let sent = speech::run(&app, &wanted, text, &stop, |chunk| {
            let sender = sender.clone();
            let bytes = if timed { line(&chunk) } else { chunk.bytes };
            async move { sender.send(bytes.into()).await.is_ok() }
        });
        if let Err(e) = sent.await {
            app.stats.violation(format!("elevenlabs: synthesis failed: {}", e.message));
        }
    });
    let body = futures_util::stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|bytes| (Ok::<_, Infallible>(bytes), receiver))
    });
    let extra = [
        (header::CONTENT_TYPE.as_str(), kind),
        ("request-id", &request_id),
        ("character-cost", &cost),
        ("current-concurrent-requests", "1"),
        ("maximum-concurrent-requests", "15"),
    ];
    (extra.map(|(n, v)| (n.to_owned(), v.to_owned())), Body::from_stream(body)).into_response()
}

/// A line of `/with-timestamps`.
fn line(chunk: &Chunk) -> Vec<u8> {
    let aligned = alignment::of_line(chunk);
    let audio = STANDARD.encode(&chunk.bytes);
    let mut line = json!({"audio_base64": audio, "alignment": aligned, "normalized_alignment": aligned}).to_string();
    line.push('\n');
    line.into_bytes()
}

enum BodyError {
    /// 422 with an array, as the vendor's framework does it.
    Framework(&'static str, String),
    Refused(Refusal),
}

fn read_body(body: &[u8], params: &mut Params) -> Result<String, BodyError> {
    let framework = |name, text: &str| BodyError::Framework(name, text.to_owned());
    let Ok(Value::Object(fields)) = serde_json::from_slice::<Value>(body) else {
        return Err(framework("text", "JSON decode error"));
    };
    if let Some(name) = fields.keys().find(|name| !FIELDS.contains(&name.as_str())) {
        return Err(BodyError::Framework("body", format!("unknown field {name:.40}")));
    }
    let Some(text) = fields.get("text").and_then(Value::as_str) else {
        return Err(framework("text", "Field required"));
    };
    if let Some(model) = fields.get("model_id") {
        let Some(model) = model.as_str() else {
            return Err(framework("model_id", "Input should be a valid string"));
        };
        params.model = model.to_owned();
    }
    params.language = fields.get("language_code").and_then(Value::as_str).map(str::to_owned);
    params.check_model(false).map_err(BodyError::Refused)?;
    check_voice_settings(fields.get("voice_settings").unwrap_or(&Value::Null)).map_err(BodyError::Refused)?;
    if text.trim().is_empty() {
        return Err(BodyError::Refused(("empty_text", "text must not be empty".to_owned())));
    }
    if text.chars().count() > params.character_limit() {
        return Err(BodyError::Refused((
            "max_character_limit_exceeded",
            "The text is too long for this model.".to_owned(),
        )));
    }
    Ok(text.to_owned())
}
