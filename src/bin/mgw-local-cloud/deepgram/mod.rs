//! Deepgram: recognition on `GET /v1/listen` (here), [`flux`] and [`aura`].
//!
//! Here are the handshake, the websocket and its rules; what the audio means is [`session`]'s.

mod aura;
mod ends;
mod flux;
mod query;
mod rate;
mod session;
mod sha256;
mod vad;

pub use aura::speak;
pub use flux::listen as flux_listen;

use crate::app::App;
use crate::conn::ConnCtl;
use crate::engine::{EngineError, EngineErrorKind};
use crate::fault::vendor::NET_0001;
use crate::fault::{self, Open, Place};
use crate::scenario::{Fault, On, Stage};
use crate::stats::keep_last;
use axum::Json;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Extension, RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use ends::Ends;
use query::{Encoding, NO_SUCH_MODEL, Query};
use rand::RngExt;
use rate::RateWatch;
use session::{Kind, Pace, Session};
use sha256::Sha256;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::time::{Instant, sleep_until};

const PATH: &str = "/v1/listen";

/// `GET /v1/listen`
pub async fn listen(
    State(app): State<Arc<App>>,
    Extension(ctl): Extension<Arc<ConnCtl>>,
    headers: HeaderMap,
    RawQuery(raw): RawQuery,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    let fault = match fault::on_request(&app, &ctl, Stage::Stt, PATH, true).await {
        Ok(fault) => fault,
        Err(response) => return response,
    };
    let request_id = app.uuid();
    let refuse = |status: StatusCode, code: &str, text: &str| {
        app.stats.violation(format!("deepgram: {text}"));
        refused(&request_id, status, code, text)
    };
    if !bearer_or_protocol(&headers).is_some_and(|key| app.key_is_good("deepgram", &key)) {
        return refuse(StatusCode::UNAUTHORIZED, "INVALID_AUTH", "Invalid credentials.");
    }
    let pairs: Vec<_> = url::form_urlencoded::parse(raw.unwrap_or_default().as_bytes()).into_owned().collect();
    let query = match Query::parse(&pairs) {
        Ok(query) => query,
        // A model that does not exist is no malformed query.
        Err(text) if text.starts_with(NO_SUCH_MODEL) => return refuse(StatusCode::BAD_REQUEST, "Bad Request", &text),
        Err(text) => return refuse(StatusCode::BAD_REQUEST, "INVALID_QUERY_PARAMETER", &text),
    };
    for remark in &query.remarks {
        app.stats.violation(format!("deepgram: {remark}"));
    }
    let scenario = app.scenario();
    let open = app.stats.with(|n| n.open.get(&Stage::Stt).copied().unwrap_or(0));
    if usize::try_from(open).unwrap_or(0) >= scenario.stt.max_streams {
        let text = "Too many requests. Please try again later";
        return refused(&request_id, StatusCode::TOO_MANY_REQUESTS, "TOO_MANY_REQUESTS", text);
    }
    let recognizer = match app.engine.recognizer(&query.language, query.sample_rate) {
        Ok(recognizer) => recognizer,
        Err(e) => return refused_by_engine(&app, &request_id, &e),
    };
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade.protocols(["token", "bearer"]).max_message_size(4 << 20),
        Err(rejection) => {
            app.stats.violation("deepgram: no websocket handshake");
            return rejection.into_response();
        }
    };
    let pace = Pace {
        interim_ms: scenario.stt.interim_interval_ms,
        cut_ms: scenario.stt.cut_after_ms,
        clause_words: scenario.stt.clause_words,
        ends: scenario.stt.end_of_turn_ms.map(|latency| Ends::new(latency, scenario.seed)),
    };
    let encoding = query.encoding;
    let rate = query.sample_rate;
    let seed = app.chance(RngExt::random);
    let session = Session::new(query, pace, recognizer, request_id.clone(), seed);
    let open = Open::new(&app, Stage::Stt, &ctl);
    let now = Instant::now();
    let stream = Stream {
        session,
        request_id: request_id.clone(),
        encoding,
        sample_rate: rate,
        outbox: VecDeque::new(),
        started: now,
        last_heard: now,
        audio: false,
        rate: RateWatch::new(
            now.into_std(),
            scenario.deepgram.rate_limit,
            Duration::from_millis(scenario.deepgram.rate_window_ms),
        ),
        idle: Duration::from_millis(scenario.deepgram.idle_timeout_ms),
        sha: Sha256::new(),
        app: app.clone(),
        ctl,
        fault: fault.map(|f| (now + Duration::from_millis(f.after_ms), f)),
        _open: open,
    };
    let mut response = upgrade.on_upgrade(move |ws| stream.run(ws));
    if let Ok(id) = HeaderValue::from_str(&request_id) {
        response.headers_mut().insert("dg-request-id", id);
    }
    response
}

/// The key from `Authorization: Token|Bearer …`.
fn bearer(headers: &HeaderMap) -> Option<String> {
    key(headers, "authorization", ' ')
}

/// The same, or from `Sec-WebSocket-Protocol: token, …`.
fn bearer_or_protocol(headers: &HeaderMap) -> Option<String> {
    bearer(headers).or_else(|| key(headers, "sec-websocket-protocol", ','))
}

fn key(headers: &HeaderMap, name: &str, separator: char) -> Option<String> {
    let (scheme, key) = headers.get(name)?.to_str().ok()?.split_once(separator)?;
    let known = ["token", "bearer"].iter().any(|s| scheme.trim().eq_ignore_ascii_case(s));
    known.then(|| key.trim().to_owned())
}

/// The refusal of a stream that the engine does not open.
fn refused_by_engine(app: &App, request_id: &str, e: &EngineError) -> Response {
    let (status, code) = match e.kind {
        EngineErrorKind::UnsupportedLanguage | EngineErrorKind::BadInput => {
            let text = format!("{NO_SUCH_MODEL}: {}", e.message);
            app.stats.violation(format!("deepgram: {text}"));
            return refused(request_id, StatusCode::BAD_REQUEST, "Bad Request", &text);
        }
        EngineErrorKind::TooManyStreams => (StatusCode::TOO_MANY_REQUESTS, "TOO_MANY_REQUESTS"),
        EngineErrorKind::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "SERVICE_UNAVAILABLE"),
    };
    refused(request_id, status, code, &e.message)
}

fn refused(request_id: &str, status: StatusCode, code: &str, text: &str) -> Response {
    let body = serde_json::json!({"err_code": code, "err_msg": text, "request_id": request_id});
    let mut response = (status, Json(body)).into_response();
    for (name, value) in [("dg-request-id", request_id), ("dg-error", text)] {
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// What follows a client's message.
enum Next {
    Go,
    /// Send what waits, then close.
    Close(u16, String),
}

struct Stream {
    session: Session,
    request_id: String,
    encoding: Encoding,
    sample_rate: u32,
    outbox: VecDeque<(Instant, String)>,
    started: Instant,
    last_heard: Instant,
    audio: bool,
    rate: RateWatch,
    idle: Duration,
    sha: Sha256,
    app: Arc<App>,
    ctl: Arc<ConnCtl>,
    fault: Option<(Instant, Fault)>,
    _open: Open,
}

impl Stream {
    async fn run(mut self, mut ws: WebSocket) {
        loop {
            // KeepAlive alone does not keep a stream that never had audio.
            let idle_at = if self.audio { self.last_heard } else { self.started } + self.idle;
            let due = self.outbox.front().map(|(due, _)| *due);
            let fault_at = self.fault.as_ref().map(|(at, _)| *at);
            let far = Instant::now() + Duration::from_secs(3600);
            tokio::select! {
                biased;
                () = sleep_until(fault_at.unwrap_or(far)), if fault_at.is_some() => {
                    let Some((_, fault)) = self.fault.take() else { continue };
                    if !fault::on_socket(&mut ws, &self.ctl, &fault, Place { path: PATH, context: None }).await {
                        return;
                    }
                }
                () = sleep_until(due.unwrap_or(far)), if due.is_some() => {
                    let Some((_, text)) = self.outbox.pop_front() else { continue };
                    if ws.send(Message::text(text)).await.is_err() {
                        return;
                    }
                }
                () = sleep_until(idle_at) => {
                    self.app.stats.violation("deepgram: no audio or KeepAlive in time (NET-0001)");
                    return fault::close(&mut ws, 1011, NET_0001).await;
                }
                message = ws.recv() => {
                    let Some(Ok(message)) = message else { return };
                    if !matches!(message, Message::Binary(_) | Message::Text(_)) {
                        continue;
                    }
                    self.app.stats.with(|n| *n.messages.entry(Stage::Stt).or_default() += 1);
                    if let Some(fault) = self.app.fault(Stage::Stt, On::Message) {
                        self.fault = Some((Instant::now() + Duration::from_millis(fault.after_ms), fault));
                    }
                    let next = match message {
                        Message::Binary(bytes) => self.binary(&bytes),
                        Message::Text(text) => self.text(&text),
                        _ => Next::Go,
                    };
                    if let Next::Close(code, reason) = next {
                        return self.end(&mut ws, code, &reason).await;
                    }
                }
            }
        }
    }

    async fn end(&mut self, ws: &mut WebSocket, code: u16, reason: &str) {
        for (due, text) in std::mem::take(&mut self.outbox) {
            sleep_until(due).await;
            if ws.send(Message::text(text)).await.is_err() {
                return;
            }
        }
        fault::close(ws, code, reason).await;
    }

    fn binary(&mut self, bytes: &[u8]) -> Next {
        self.last_heard = Instant::now();
        if bytes.is_empty() {
            self.app.stats.violation("deepgram: empty binary frame");
            return self.close_stream();
        }
        if bytes.starts_with(b"{\"type\"") {
            self.app.stats.violation("deepgram: JSON in a binary frame was taken for audio");
        }
        self.audio = true;
        let Some(pcm) = self.encoding.samples(bytes) else {
            self.app.stats.violation("deepgram: half a sample (DATA-0000)");
            return Next::Close(1008, "DATA-0000: The payload cannot be decoded as linear16 audio.".to_owned());
        };
        self.sha.update(bytes);
        let seconds = pcm.len() as f64 / f64::from(self.sample_rate);
        self.app.stats.with(|n| *n.audio_s.entry(Stage::Stt).or_default() += seconds);
        if let Some(text) = self.rate.audio(std::time::Instant::now(), seconds) {
            self.app.stats.violation(format!("deepgram: {text}"));
        }
        // Recognition is heavy with real models; other connections go on meanwhile.
        let messages = tokio::task::block_in_place(|| self.session.audio(&pcm));
        self.post(messages);
        Next::Go
    }

    fn text(&mut self, text: &str) -> Next {
        self.last_heard = Instant::now();
        let parsed: Result<serde_json::Value, _> = serde_json::from_str(text);
        let kind = parsed.as_ref().ok().and_then(|v| v.get("type")).and_then(|t| t.as_str());
        match kind {
            Some("KeepAlive") => Next::Go,
            Some("Finalize") => {
                let messages = self.session.finalize();
                self.post(messages);
                Next::Go
            }
            Some("CloseStream") => self.close_stream(),
            Some("Configure") => {
                let answer = self.configure(&parsed.unwrap_or_default());
                self.outbox.push_back((Instant::now(), answer.to_string()));
                Next::Go
            }
            _ => {
                self.app.stats.violation(format!("deepgram: unknown message {:.60}", text));
                let error = serde_json::json!({"type": "Error", "variant": "SchemaError", "description": "Could not deserialize last text message."});
                self.outbox.push_back((Instant::now(), error.to_string()));
                Next::Close(1008, "DATA-0000: Could not deserialize last text message.".to_owned())
            }
        }
    }

    /// Carries out a `Configure`, which can only change the key terms.
    fn configure(&mut self, message: &serde_json::Value) -> serde_json::Value {
        let id = self.request_id.clone();
        let failure = |code: &str, text: &str| serde_json::json!({"type": "ConfigureFailure", "request_id": id, "code": code, "description": text});
        let query = self.session.query();
        let mut answer = serde_json::json!({"type": "ConfigureSuccess", "request_id": id});
        // Null is as good as nothing: the terms stay.
        if let Some(given) = message.get("keyterms").filter(|v| !v.is_null()) {
            if !query.model.starts_with("nova-3") {
                return failure("CONFIGURE_KEYTERMS_NOT_SUPPORTED", "keyterms are supported by nova-3 models only");
            }
            let terms: Option<Vec<String>> =
                given.as_array().and_then(|list| list.iter().map(|v| v.as_str().map(str::to_owned)).collect());
            match terms {
                Some(terms) if terms.len() <= query::MOST_TERMS => query.keyterms = terms,
                Some(_) => return failure("CONFIGURE_KEYTERM_LIMIT_EXCEEDED", "too many keyterms"),
                None => return failure("CONFIGURE_INTERNAL_ERROR", "keyterms must be an array of strings"),
            }
            answer["keyterms"] = serde_json::json!(query.keyterms);
        }
        answer
    }

    fn close_stream(&mut self) -> Next {
        let messages = self.session.close(&iso_now(), &self.sha.clone().hex());
        self.post(messages);
        Next::Close(1000, String::new())
    }

    fn post(&mut self, messages: Vec<session::Message>) {
        let scenario = self.app.scenario();
        for message in messages {
            let delay = match message.kind {
                Kind::Interim => self.app.chance(|rng| scenario.stt.interim_delay_ms.draw(rng)),
                Kind::Final => self.app.chance(|rng| scenario.stt.final_delay_ms.draw(rng)),
                Kind::Event => Duration::ZERO,
            };
            if message.kind == Kind::Final
                && let Some(text) = message.json.pointer("/channel/alternatives/0/transcript").and_then(|t| t.as_str())
                && !text.is_empty()
            {
                self.ctl.told(|told| told.text = text.to_owned());
                self.app.stats.with(|n| keep_last(&mut n.finals, text.to_owned()));
            }
            // A slow message holds back those behind it: the order is the vendor's promise.
            let earliest = self.outbox.back().map_or_else(Instant::now, |(due, _)| (*due).max(Instant::now()));
            self.outbox.push_back((earliest.max(Instant::now() + delay), message.json.to_string()));
        }
    }
}

/// Now as `2026-11-20T10:35:00.000Z` (civil date from days, Howard Hinnant's algorithm).
fn iso_now() -> String {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since.as_secs() / 86400 + 719_468, since.as_secs() % 86400);
    let (era, doe) = (days / 146_097, days % 146_097);
    let yoe = (doe - doe / 1460 + doe / 36524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let (day, month) = (doy - (153 * mp + 2) / 5 + 1, if mp < 10 { mp + 3 } else { mp - 9 });
    let year = yoe + era * 400 + u64::from(month <= 2);
    let (h, m, s) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}.{:03}Z", since.subsec_millis())
}
