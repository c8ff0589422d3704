//! The control interface: health, figures, and, with the token, what changes state. JSON, on loopback by default.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde::Deserialize;
use serde_json::{Value, json};
use subtle::ConstantTimeEq;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::ari::outbound;
use crate::audiosocket;
use crate::rooms;
use crate::settings;
use crate::shim::Shim;
use crate::static_leg;

/// Connections at one time.
const MAX_CLIENTS: usize = 64;
/// Time for the head of a request, also of the next one on a kept connection.
const HEADER_TIME: Duration = Duration::from_secs(10);
/// Longest life of a connection: an outbound call rings for half a minute.
const CONNECTION_TIME: Duration = Duration::from_secs(120);
/// How long a list of calls is good enough for the next who asks: each leg's figures cost the library some work.
const LIST_AGE: Duration = Duration::from_millis(200);
/// Longest body taken, in bytes.
const MAX_BODY: usize = 64 * 1024;

/// An answer that is no success: a sentence that says what to do.
pub struct Refusal(pub StatusCode, pub String);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, Json(json!({ "error": self.1 }))).into_response()
    }
}

type Answer = Result<Json<Value>, Refusal>;

/// Serves until its task is dropped. Clients beyond [`MAX_CLIENTS`] wait, and slow ones are cut off: descriptors are for
/// calls.
pub async fn serve(listener: TcpListener, shim: Arc<Shim>) {
    let places = Arc::new(Semaphore::new(MAX_CLIENTS));
    let service = TowerToHyperService::new(router(shim));
    loop {
        // Never closed, so there is always a place in the end.
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(e) => {
                tracing::warn!("control interface: {e}");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let service = service.clone();
        tokio::spawn(async move {
            let _place = place;
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIME)
                .serve_connection(TokioIo::new(stream), service);
            // A client that goes away or is too slow is no trouble of ours.
            let _ = tokio::time::timeout(CONNECTION_TIME, connection).await;
        });
    }
}

fn router(shim: Arc<Shim>) -> Router {
    Router::new()
        .route("/health", get(health))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .route("/calls", get(list).post(dial))
        .route("/calls/{id}", delete(hang_up))
        .route("/legs", post(open_leg))
        .route("/audiosocket", post(register))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(shim)
}

async fn health() -> Json<Value> {
    Json(json!({ "status": "ok", "version": env!("CARGO_PKG_VERSION") }))
}

/// 200 when calls can be taken, 503 with the reasons when not.
async fn ready(State(shim): State<Arc<Shim>>) -> Response {
    let reasons = shim.not_ready();
    let code = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = json!({ "ready": reasons.is_empty(), "reasons": reasons, "ari": shim.ari.view() });
    (code, Json(body)).into_response()
}

async fn metrics(State(shim): State<Arc<Shim>>) -> Response {
    let mut text = shim.media.metrics();
    text.push_str(&shim.ari.metrics());
    text.push_str(&shim.audiosocket.metrics());
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}

async fn list(State(shim): State<Arc<Shim>>) -> Answer {
    let mut last = shim.listed.lock().await;
    if let Some((at, calls)) = &*last
        && at.elapsed() < LIST_AGE
    {
        return Ok(Json(calls.clone()));
    }
    // Each leg's figures may wait for a media thread.
    let calls = shim.calls.clone();
    let calls = tokio::task::spawn_blocking(move || calls.list()).await;
    let calls = calls.map_err(|_| Refusal(StatusCode::INTERNAL_SERVER_ERROR, "the figures cannot be had".into()))?;
    let answer = json!({ "calls": calls });
    *last = Some((Instant::now(), answer.clone()));
    Ok(Json(answer))
}

/// Lets only those in who know the token.
fn check_token(shim: &Shim, headers: &HeaderMap) -> Result<(), Refusal> {
    let Some(token) = &shim.settings.http.token else {
        let text = format!("nothing can be changed here: set shim.http.token or {} first", settings::TOKEN_ENV);
        return Err(Refusal(StatusCode::FORBIDDEN, text));
    };
    let given =
        headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok()).and_then(|v| v.strip_prefix("Bearer "));
    let same = given.is_some_and(|given| bool::from(given.as_bytes().ct_eq(token.expose().as_bytes())));
    if same {
        return Ok(());
    }
    Err(Refusal(
        StatusCode::UNAUTHORIZED,
        "send the header \"Authorization: Bearer TOKEN\" with shim.http.token".into(),
    ))
}

/// Axum's own refusal of a body, as ours.
fn body<T>(body: Result<Json<T>, axum::extract::rejection::JsonRejection>) -> Result<T, Refusal> {
    body.map(|Json(value)| value).map_err(|e| Refusal(e.status(), e.body_text()))
}

fn check_room(room: Option<&str>) -> Result<(), Refusal> {
    room.map_or(Ok(()), rooms::check_name).map_err(|why| Refusal(StatusCode::BAD_REQUEST, why.to_owned()))
}

/// An outbound call.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Dial {
    legs: Vec<DialLeg>,
    #[serde(default)]
    room: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DialLeg {
    extension: String,
    /// As in Asterisk's `Dial()`: `PJSIP/1001`.
    endpoint: String,
}

async fn dial(
    State(shim): State<Arc<Shim>>,
    headers: HeaderMap,
    ask: Result<Json<Dial>, axum::extract::rejection::JsonRejection>,
) -> Answer {
    check_token(&shim, &headers)?;
    let ask = body(ask)?;
    check_room(ask.room.as_deref())?;
    let legs: Vec<(String, String)> = ask.legs.into_iter().map(|l| (l.extension, l.endpoint)).collect();
    let channels =
        outbound::dial(&shim, &legs, ask.room.as_deref()).await.map_err(|why| Refusal(StatusCode::BAD_GATEWAY, why))?;
    Ok(Json(json!({ "channels": channels })))
}

async fn hang_up(State(shim): State<Arc<Shim>>, headers: HeaderMap, Path(id): Path<String>) -> Answer {
    check_token(&shim, &headers)?;
    if shim.calls.hang_up(&id) {
        return Ok(Json(json!({ "hung_up": id })));
    }
    Err(Refusal(StatusCode::NOT_FOUND, "no leg of this id is open; GET /calls lists them".into()))
}

async fn open_leg(
    State(shim): State<Arc<Shim>>,
    headers: HeaderMap,
    ask: Result<Json<static_leg::Ask>, axum::extract::rejection::JsonRejection>,
) -> Answer {
    check_token(&shim, &headers)?;
    let ask = body(ask)?;
    check_room(ask.room.as_deref())?;
    let (id, address) = static_leg::open(&shim, ask).map_err(|(busy, why)| {
        Refusal(if busy { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::BAD_REQUEST }, why)
    })?;
    Ok(Json(json!({ "id": id, "address": address.to_string() })))
}

async fn register(
    State(shim): State<Arc<Shim>>,
    headers: HeaderMap,
    ask: Result<Json<audiosocket::Registration>, axum::extract::rejection::JsonRejection>,
) -> Answer {
    check_token(&shim, &headers)?;
    let ask = body(ask)?;
    check_room(ask.room.as_deref())?;
    let uuid = shim.audiosocket.register(&shim.settings, ask).map_err(|why| Refusal(StatusCode::BAD_REQUEST, why))?;
    Ok(Json(json!({ "uuid": uuid.to_string() })))
}
