//! LibreTranslate: `/translate`, `/detect`, `/languages`, `/health`.

mod ask;

use crate::app::App;
use crate::conn::ConnCtl;
use crate::engine::{EngineError, EngineErrorKind};
use crate::fault;
use crate::scenario::Stage;
use crate::slots::Slot;
use crate::stats::{Translation, keep_last};
use ask::{Ask, Fields, NAMES, Texts};
use axum::Json;
use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, Request, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::time::{Instant, sleep_until};

const MOST_BODY: usize = 1 << 20;

/// A status and the text of `error`.
pub type Refusal = (StatusCode, String);

/// `GET /health`
pub async fn health() -> Response {
    Json(json!({"status": "ok"})).into_response()
}

/// `GET /languages`
pub async fn languages() -> Response {
    let codes: Vec<&str> = NAMES.iter().map(|(code, _)| *code).collect();
    let all: Vec<Value> =
        NAMES.iter().map(|(code, name)| json!({"code": code, "name": name, "targets": codes})).collect();
    Json(all).into_response()
}

/// `POST /translate`
pub async fn translate(
    State(app): State<Arc<App>>,
    Extension(ctl): Extension<Arc<ConnCtl>>,
    request: Request<Body>,
) -> Response {
    if let Err(response) = fault::on_plain_request(&app, &ctl, Stage::Mt, "/translate").await {
        return response;
    }
    let Some(_slot) = Slot::take(&app, "libretranslate", app.scenario().libretranslate.max_requests) else {
        return refuse(&app, (StatusCode::TOO_MANY_REQUESTS, "Slowdown: 80 per 1 minute".to_owned()));
    };
    let begin = Instant::now();
    match translated(&app, request).await {
        Ok(value) => {
            let scenario = app.scenario();
            sleep_until(begin + app.chance(|rng| scenario.mt.latency_ms.draw(rng))).await;
            Json(value).into_response()
        }
        Err(refusal) => refuse(&app, refusal),
    }
}

/// `POST /detect`
pub async fn detect(
    State(app): State<Arc<App>>,
    Extension(ctl): Extension<Arc<ConnCtl>>,
    request: Request<Body>,
) -> Response {
    if let Err(response) = fault::on_plain_request(&app, &ctl, Stage::Mt, "/detect").await {
        return response;
    }
    match detected(&app, request).await {
        Ok(value) => Json(value).into_response(),
        Err(refusal) => refuse(&app, refusal),
    }
}

fn refuse(app: &App, (status, text): Refusal) -> Response {
    if status.as_u16() < 429 {
        app.stats.violation(format!("libretranslate: {text}"));
    }
    (status, Json(json!({ "error": text }))).into_response()
}

async fn fields(app: &App, request: Request<Body>) -> Result<Fields, Refusal> {
    let (parts, body) = request.into_parts();
    let Ok(bytes) = axum::body::to_bytes(body, MOST_BODY).await else {
        return Err((StatusCode::PAYLOAD_TOO_LARGE, "Request Entity Too Large".to_owned()));
    };
    let fields = Fields::read(&parts.headers, &bytes)?;
    let key = fields.text("api_key")?.unwrap_or_default();
    if app.wants_key("libretranslate") && !app.key_is_good("libretranslate", &key) {
        let text =
            if key.is_empty() { "Please contact the server operator to get an API key" } else { "Invalid API key" };
        return Err((StatusCode::FORBIDDEN, text.to_owned()));
    }
    Ok(fields)
}

async fn translated(app: &Arc<App>, request: Request<Body>) -> Result<Value, Refusal> {
    let ask = Ask::check(&fields(app, request).await?, app.scenario().libretranslate.char_limit)?;
    let worker = app.clone();
    let many = matches!(ask.texts, Texts::Many(_));
    let work = tokio::task::spawn_blocking(move || {
        let (mut texts, mut found) = (Vec::new(), Vec::new());
        for text in ask.texts.list() {
            let (source, translated) = worker.engine.translate(text, ask.source.as_deref(), &ask.target, None)?;
            let done = Translation {
                source: source.clone(),
                target: ask.target.clone(),
                text: text.clone(),
                translated: translated.clone(),
                context: None,
            };
            worker.stats.with(|n| {
                *n.characters.entry(Stage::Mt).or_default() += text.chars().count() as u64;
                keep_last(&mut n.translations, done);
            });
            texts.push(translated);
            found.push(json!({"confidence": 90.0, "language": source.to_ascii_lowercase()}));
        }
        let one = |mut list: Vec<Value>| if many { json!(list) } else { list.pop().unwrap_or_default() };
        let mut reply = json!({"translatedText": one(texts.into_iter().map(Value::from).collect())});
        if ask.source.is_none() {
            reply["detectedLanguage"] = one(found);
        }
        if ask.alternatives > 0 {
            // One translation is all that the engines know.
            reply["alternatives"] = json!([]);
        }
        Ok(reply)
    });
    done(work.await)
}

async fn detected(app: &Arc<App>, request: Request<Body>) -> Result<Value, Refusal> {
    let fields = fields(app, request).await?;
    let Some(text) = fields.text("q")? else {
        return Err(ask::missing("q"));
    };
    let worker = app.clone();
    let work = tokio::task::spawn_blocking(move || {
        let (source, _) = worker.engine.translate(&text, None, "en", None)?;
        Ok(json!([{"confidence": 90.0, "language": source.to_ascii_lowercase()}]))
    });
    done(work.await)
}

fn done(work: Result<Result<Value, EngineError>, tokio::task::JoinError>) -> Result<Value, Refusal> {
    match work {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(e)) if matches!(e.kind, EngineErrorKind::UnsupportedLanguage | EngineErrorKind::BadInput) => {
            Err((StatusCode::BAD_REQUEST, e.message))
        }
        Ok(Err(e)) => Err((StatusCode::INTERNAL_SERVER_ERROR, format!("Cannot translate text: {}", e.message))),
        Err(_) => Err((StatusCode::INTERNAL_SERVER_ERROR, "Cannot translate text: internal error".to_owned())),
    }
}

/// The media type of a request.
fn media_type(headers: &HeaderMap) -> &str {
    let kind = headers.get("content-type").and_then(|v| v.to_str().ok()).unwrap_or_default();
    kind.split(';').next().unwrap_or_default().trim()
}
