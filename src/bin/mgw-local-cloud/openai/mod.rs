//! OpenAI-compatible `POST /v1/chat/completions` as a translator, streamed by server-sent events or whole.
//!
//! The emulator is no language model: it translates the last user message between the languages that a line
//! `Translate from <English name> (<code>) to <English name> (<code>)` of the system message names.

mod ask;
mod stream;

use crate::app::App;
use crate::conn::ConnCtl;
use crate::engine::EngineErrorKind;
use crate::fault;
use crate::scenario::Stage;
use crate::slots::Slot;
use crate::stats::{Translation, keep_last};
use ask::Ask;
use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use rand::RngExt;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::SystemTime;
use tokio::time::{Instant, sleep_until};

const PATH: &str = "/v1/chat/completions";
const MOST_BODY: usize = 1 << 20;

/// Status, `type`, `code`, `param`, and text of a refusal.
pub struct Refusal {
    status: StatusCode,
    kind: &'static str,
    code: Option<&'static str>,
    param: Option<String>,
    text: String,
}

impl Refusal {
    /// 400 for a parameter.
    pub fn bad(param: &str, text: impl Into<String>) -> Refusal {
        let param = (!param.is_empty()).then(|| param.to_owned());
        Refusal { status: StatusCode::BAD_REQUEST, kind: "invalid_request_error", code: None, param, text: text.into() }
    }

    fn of(status: StatusCode, kind: &'static str, code: Option<&'static str>, text: impl Into<String>) -> Refusal {
        Refusal { status, kind, code, param: None, text: text.into() }
    }
}

/// `POST /v1/chat/completions`
pub async fn completions(
    State(app): State<Arc<App>>,
    Extension(ctl): Extension<Arc<ConnCtl>>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let broken = match fault::on_request(&app, &ctl, Stage::Mt, PATH, false).await {
        Ok(fault) => fault.map(|f| fault::vendor_body(&app, &f)),
        Err(response) => return response,
    };
    let mut response = match answer(&app, &headers, body, broken).await {
        Ok(response) => response,
        Err(refusal) => {
            if refusal.status.as_u16() < 429 {
                app.stats.violation(format!("openai: {}", refusal.text));
            }
            let error =
                json!({"message": refusal.text, "type": refusal.kind, "param": refusal.param, "code": refusal.code});
            (refusal.status, axum::Json(json!({ "error": error }))).into_response()
        }
    };
    if let Ok(id) = HeaderValue::from_str(&format!("req_{}", app.uuid().replace('-', ""))) {
        response.headers_mut().insert("x-request-id", id);
    }
    response
}

async fn answer(app: &Arc<App>, headers: &HeaderMap, body: Body, broken: Option<String>) -> Result<Response, Refusal> {
    let begin = Instant::now();
    let key = headers
        .get(header::AUTHORIZATION)
        .and_then(|v| v.to_str().ok())
        .and_then(|v| v.strip_prefix("Bearer "))
        .unwrap_or_default();
    // Local servers want no key.
    if app.wants_key("openai") && !app.key_is_good("openai", key) {
        let text = "Incorrect API key provided.";
        return Err(Refusal::of(StatusCode::UNAUTHORIZED, "invalid_request_error", Some("invalid_api_key"), text));
    }
    let Some(slot) = Slot::take(app, "openai", app.scenario().openai.max_requests) else {
        let text = "Rate limit reached for requests.";
        return Err(Refusal::of(StatusCode::TOO_MANY_REQUESTS, "requests", Some("rate_limit_exceeded"), text));
    };
    let bytes = axum::body::to_bytes(body, MOST_BODY).await;
    let bytes = bytes.map_err(|_| {
        Refusal::of(StatusCode::PAYLOAD_TOO_LARGE, "invalid_request_error", None, "Request body too large.")
    })?;
    let ask = Ask::parse(headers, &bytes)?;
    let translated = translate(app, &ask).await?;
    let scenario = app.scenario();
    let id = format!("chatcmpl-{}", app.uuid().replace('-', ""));
    let created = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let all = pieces(app, &translated);
    let most = ask.max_tokens.unwrap_or(usize::MAX);
    let finish = if all.len() > most { "length" } else { "stop" };
    let said: Vec<String> = all.into_iter().take(most).collect();
    // A token is a few letters here as there.
    let usage = json!({
        "prompt_tokens": ask.prompt_characters / 4, "completion_tokens": said.len(),
        "total_tokens": ask.prompt_characters / 4 + said.len(),
    });
    let due = begin + app.chance(|rng| scenario.mt.latency_ms.draw(rng));
    if ask.stream {
        let reply = stream::Reply { id, created, model: ask.model, said, finish, usage: ask.usage.then_some(usage) };
        return Ok(stream::respond(app.clone(), reply, due, broken, slot));
    }
    sleep_until(due).await;
    if let Some(body) = broken {
        let kind = [(header::CONTENT_TYPE, "application/json")];
        return Ok((StatusCode::INTERNAL_SERVER_ERROR, kind, body).into_response());
    }
    let message = json!({"role": "assistant", "content": said.concat(), "refusal": null});
    let choice = json!({"index": 0, "message": message, "logprobs": null, "finish_reason": finish});
    Ok(axum::Json(json!({
        "id": id, "object": "chat.completion", "created": created, "model": ask.model, "choices": [choice], "usage": usage,
    }))
    .into_response())
}

async fn translate(app: &Arc<App>, ask: &Ask) -> Result<String, Refusal> {
    app.stats.with(|n| *n.characters.entry(Stage::Mt).or_default() += ask.text.chars().count() as u64);
    let (worker, text, source, target) = (app.clone(), ask.text.clone(), ask.source.clone(), ask.target.clone());
    let work = tokio::task::spawn_blocking(move || {
        let (_, translated) = worker.engine.translate(&text, Some(&source), &target, None)?;
        let done = Translation { source, target, text, translated: translated.clone(), context: None };
        worker.stats.with(|n| keep_last(&mut n.translations, done));
        Ok::<_, crate::engine::EngineError>(translated)
    });
    match work.await {
        Ok(Ok(translated)) => Ok(translated),
        Ok(Err(e)) if matches!(e.kind, EngineErrorKind::UnsupportedLanguage | EngineErrorKind::BadInput) => {
            Err(Refusal::bad("messages", e.message))
        }
        Ok(Err(e)) => Err(Refusal::of(StatusCode::SERVICE_UNAVAILABLE, "server_error", None, e.message)),
        Err(_) => Err(Refusal::of(StatusCode::INTERNAL_SERVER_ERROR, "server_error", None, "The server had an error.")),
    }
}

/// Cuts a text as tokens are: a few characters each, with no respect for words.
fn pieces(app: &App, text: &str) -> Vec<String> {
    let mut out = Vec::new();
    let mut rest: Vec<char> = text.chars().collect();
    while !rest.is_empty() {
        let length = app.chance(|rng| rng.random_range(1..=6)).min(rest.len());
        out.push(rest.drain(..length).collect());
    }
    out
}

/// A body of JSON for an event or a test of the shape.
fn chunk(reply: &stream::Reply, delta: Value, finish: Value) -> Value {
    let choice = json!({"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish});
    json!({
        "id": reply.id, "object": "chat.completion.chunk", "created": reply.created, "model": reply.model,
        "choices": [choice], "usage": null,
    })
}
