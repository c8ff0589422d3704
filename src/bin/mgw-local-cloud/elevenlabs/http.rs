//! `POST /v1/text-to-speech/{voice}/stream`: one text in, a chunked body of bare audio out.

use super::generate;
use super::params::{Params, Refusal, check_voice_settings};
use crate::app::App;
use crate::conn::ConnCtl;
use crate::fault;
use crate::scenario::{On, Stage};
use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Extension, Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
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

/// `POST /v1/text-to-speech/{voice}/stream`
pub async fn stream(
    State(app): State<Arc<App>>,
    Extension(ctl): Extension<Arc<ConnCtl>>,
    Path(voice): Path<String>,
    RawQuery(raw): RawQuery,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if let Err(response) = fault::on_plain_request(&app, &ctl, Stage::Tts, uri.path()).await {
        return response;
    }
    let refuse = |status: StatusCode, (code, text): Refusal| {
        app.stats.violation(format!("elevenlabs: {code}: {text}"));
        let kind = if status == StatusCode::UNAUTHORIZED { "authentication_error" } else { "validation_error" };
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
    let text = match read_body(&body, &mut params) {
        Ok(text) => text,
        Err(BodyError::Framework(name, text)) => {
            app.stats.violation(format!("elevenlabs: body: {name}: {text}"));
            let detail = json!([{"loc": ["body", name], "msg": text, "type": "value_error"}]);
            return (StatusCode::UNPROCESSABLE_ENTITY, Json(json!({"detail": detail}))).into_response();
        }
        Err(BodyError::Refused(refusal)) => return refuse(StatusCode::BAD_REQUEST, refusal),
    };
    let generation = app.fault(Stage::Tts, On::Generation);
    if let Some(fault) = generation {
        fault::later(&ctl, &fault);
    }
    let cost = text.chars().count().to_string();
    let request_id = app.uuid();
    let kind = params.format.content_type();
    let (sender, receiver) = mpsc::channel::<Bytes>(4);
    tokio::spawn(async move {
        let stop = Arc::new(AtomicBool::new(false));
        let sent = generate::run(&app, &params, text, &stop, |chunk| {
            let sender = sender.clone();
            async move { sender.send(chunk.bytes.into()).await.is_ok() }
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
