//! Flux, `GET /v2/listen`: the handshake, the websocket and its rules. What a turn is, is [`turn`]'s.

mod query;
mod turn;

use super::ends::Ends;
use super::{bearer_or_protocol, refused, refused_by_engine};
use crate::app::App;
use crate::conn::ConnCtl;
use crate::fault::{self, Open, Place};
use crate::scenario::{Fault, On, Stage};
use crate::stats::keep_last;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Extension, RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use query::Query;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};
use turn::{Event, Pace, Turns};

const PATH: &str = "/v2/listen";
/// What the vendor says of messages it does not know is not published: code and text are a guess.
const UNKNOWN: (&str, &str) =
    ("UNPARSABLE_CLIENT_MESSAGE", "Could not deserialize last text message: unknown message.");

/// `GET /v2/listen`
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
    let id = app.uuid();
    let refuse = |status: StatusCode, code: &str, text: &str| {
        app.stats.violation(format!("flux: {text}"));
        refused(&id, status, code, text)
    };
    if !bearer_or_protocol(&headers).is_some_and(|key| app.key_is_good("deepgram", &key)) {
        return refuse(StatusCode::UNAUTHORIZED, "INVALID_AUTH", "Invalid credentials.");
    }
    let query = match Query::parse(&raw.unwrap_or_default()) {
        Ok(query) => query,
        Err(text) => return refuse(StatusCode::BAD_REQUEST, "INVALID_QUERY_PARAMETER", &text),
    };
    let scenario = app.scenario();
    let open = app.stats.with(|n| n.open.get(&Stage::Stt).copied().unwrap_or(0));
    if usize::try_from(open).unwrap_or(0) >= scenario.stt.max_streams {
        let text = "Too many requests. Please try again later";
        return refused(&id, StatusCode::TOO_MANY_REQUESTS, "TOO_MANY_REQUESTS", text);
    }
    let language = if query.multi { "multi" } else { "en" };
    let recognizer = match app.engine.recognizer(language, query.sample_rate) {
        Ok(recognizer) => recognizer,
        Err(e) => return refused_by_engine(&app, &id, &e),
    };
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade.protocols(["token", "bearer"]).max_message_size(4 << 20),
        Err(rejection) => {
            app.stats.violation("flux: no websocket handshake");
            return rejection.into_response();
        }
    };
    let pace = Pace {
        update_ms: scenario.flux.update_ms,
        confident_ms: scenario.flux.confident_ms,
        word_times: scenario.flux.word_times,
        clause_words: scenario.stt.clause_words,
        ends: scenario.stt.end_of_turn_ms.map(|latency| Ends::new(latency, scenario.seed)),
    };
    let now = Instant::now();
    let mut stream = Stream {
        turns: Turns::new(query, pace, recognizer),
        id: id.clone(),
        sequence: 0,
        outbox: VecDeque::new(),
        pending: None,
        last_heard: now,
        idle: Duration::from_millis(scenario.flux.idle_timeout_ms),
        fault: fault.map(|f| (now + Duration::from_millis(f.after_ms), f)),
        _open: Open::new(&app, Stage::Stt, &ctl),
        ctl,
        app: app.clone(),
    };
    stream.post(json!({"type": "Connected"}), Duration::ZERO);
    let mut response = upgrade.on_upgrade(move |ws| stream.run(ws));
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert("dg-request-id", id);
    }
    response
}

/// What follows a client's message: go on, or send what waits and close.
type Next = Option<(u16, &'static str)>;

struct Stream {
    turns: Turns,
    id: String,
    sequence: u64,
    outbox: VecDeque<(Instant, Value)>,
    /// A `Configure` not yet answered, and when it will be.
    pending: Option<(Instant, Value)>,
    last_heard: Instant,
    idle: Duration,
    fault: Option<(Instant, Fault)>,
    _open: Open,
    ctl: Arc<ConnCtl>,
    app: Arc<App>,
}

impl Stream {
    async fn run(mut self, mut ws: WebSocket) {
        loop {
            let due = self.outbox.front().map(|(due, _)| *due);
            let fault_at = self.fault.as_ref().map(|(at, _)| *at);
            let configure_at = self.pending.as_ref().map(|(at, _)| *at);
            let far = Instant::now() + Duration::from_secs(3600);
            tokio::select! {
                biased;
                () = sleep_until(fault_at.unwrap_or(far)), if fault_at.is_some() => {
                    let Some((_, fault)) = self.fault.take() else { continue };
                    let place = Place { path: PATH, context: None };
                    if !fault::on_socket(&mut ws, &self.ctl, &fault, place).await {
                        return;
                    }
                }
                () = sleep_until(due.unwrap_or(far)), if due.is_some() => {
                    let Some((_, message)) = self.outbox.pop_front() else { continue };
                    if self.send(&mut ws, message).await.is_err() {
                        return;
                    }
                }
                () = sleep_until(configure_at.unwrap_or(far)), if configure_at.is_some() => {
                    let Some((_, message)) = self.pending.take() else { continue };
                    self.configure(&message);
                }
                () = sleep_until(self.last_heard + self.idle) => {
                    self.app.stats.violation("flux: no message in time (INACTIVE_CLIENT)");
                    self.error("INACTIVE_CLIENT", "The client did not send audio or a message in time.");
                    return self.end(&mut ws, 1011, "INACTIVE_CLIENT").await;
                }
                message = ws.recv() => {
                    let Some(Ok(message)) = message else { return };
                    if !matches!(message, Message::Binary(_) | Message::Text(_)) {
                        continue;
                    }
                    self.last_heard = Instant::now();
                    self.app.stats.with(|n| *n.messages.entry(Stage::Stt).or_default() += 1);
                    if let Some(fault) = self.app.fault(Stage::Stt, On::Message) {
                        self.fault = Some((Instant::now() + Duration::from_millis(fault.after_ms), fault));
                    }
                    let next = match message {
                        Message::Binary(bytes) => self.binary(&bytes),
                        Message::Text(text) => self.text(&text),
                        _ => None,
                    };
                    if let Some((code, reason)) = next {
                        return self.end(&mut ws, code, reason).await;
                    }
                }
            }
        }
    }

    /// Sends a message with the next number of all messages. Only a fatal error does not say which request it is of.
    async fn send(&mut self, ws: &mut WebSocket, mut message: Value) -> Result<(), axum::Error> {
        if message["type"] != "Error" {
            message["request_id"] = json!(self.id);
        }
        message["sequence_id"] = json!(self.sequence);
        self.sequence += 1;
        ws.send(Message::text(message.to_string())).await
    }

    async fn end(&mut self, ws: &mut WebSocket, code: u16, reason: &str) {
        for (due, message) in std::mem::take(&mut self.outbox) {
            sleep_until(due).await;
            if self.send(ws, message).await.is_err() {
                return;
            }
        }
        fault::close(ws, code, reason).await;
    }

    fn post(&mut self, message: Value, delay: Duration) {
        // A slow message holds back those behind it: the order is the vendor's promise.
        let earliest = self.outbox.back().map_or_else(Instant::now, |(due, _)| (*due).max(Instant::now()));
        self.outbox.push_back((earliest.max(Instant::now() + delay), message));
    }

    fn post_events(&mut self, events: Vec<Event>) {
        let scenario = self.app.scenario();
        for event in events {
            let latency = if event.settled { scenario.stt.final_delay_ms } else { scenario.stt.interim_delay_ms };
            let delay = self.app.chance(|rng| latency.draw(rng));
            if event.json["event"] == "EndOfTurn"
                && let Some(text) = event.json["transcript"].as_str().filter(|t| !t.is_empty())
            {
                self.ctl.told(|told| told.text = text.to_owned());
                self.app.stats.with(|n| keep_last(&mut n.finals, text.to_owned()));
            }
            self.post(event.json, delay);
        }
    }

    fn error(&mut self, code: &str, text: &str) {
        self.post(json!({"type": "Error", "code": code, "description": text}), Duration::ZERO);
    }

    fn binary(&mut self, bytes: &[u8]) -> Next {
        if bytes.is_empty() {
            self.app.stats.violation("flux: empty binary frame");
            return self.close_stream();
        }
        if bytes.starts_with(b"{\"type\"") {
            self.app.stats.violation("flux: JSON in a binary frame was taken for audio");
        }
        let Some(pcm) = self.turns.query().encoding.samples(bytes) else {
            self.app.stats.violation("flux: half a sample (DATA-0000)");
            return Some((1008, "DATA-0000: The payload cannot be decoded as linear16 audio."));
        };
        let seconds = pcm.len() as f64 / f64::from(self.turns.query().sample_rate);
        self.app.stats.with(|n| *n.audio_s.entry(Stage::Stt).or_default() += seconds);
        // Recognition is heavy with real models; other connections go on meanwhile.
        let events = tokio::task::block_in_place(|| self.turns.audio(&pcm));
        self.post_events(events);
        None
    }

    fn text(&mut self, text: &str) -> Next {
        let message: Value = serde_json::from_str(text).unwrap_or_default();
        match message["type"].as_str() {
            Some("CloseStream") => self.close_stream(),
            Some("ForceEndTurn") => {
                let events = self.turns.force();
                self.post_events(events);
                None
            }
            Some("Configure") if self.pending.is_some() => {
                self.app.stats.violation("flux: a Configure before the last was answered");
                let text = "A Configure is pending.";
                let failure =
                    json!({"type": "ConfigureFailure", "code": "CONFIGURE_ALREADY_PENDING", "description": text});
                self.post(failure, Duration::ZERO);
                None
            }
            Some("Configure") => {
                let delay = Duration::from_millis(self.app.scenario().flux.configure_delay_ms);
                if delay.is_zero() {
                    self.configure(&message);
                } else {
                    self.pending = Some((Instant::now() + delay, message));
                }
                None
            }
            kind => {
                // There is no KeepAlive here: silence keeps a stream alive.
                self.app.stats.violation(format!("flux: unknown message {:.40}", kind.unwrap_or("without a type")));
                self.error(UNKNOWN.0, UNKNOWN.1);
                Some((1008, UNKNOWN.0))
            }
        }
    }

    fn configure(&mut self, message: &Value) {
        let answer = match self.turns.query().configure(message) {
            Ok(()) => {
                let query = self.turns.query();
                let mut answer = json!({"type": "ConfigureSuccess", "thresholds": query.thresholds.json(), "keyterms": query.keyterms});
                if query.multi {
                    answer["language_hints"] = json!(query.hints);
                }
                answer
            }
            Err((code, text)) => {
                self.app.stats.violation(format!("flux: {text}"));
                json!({"type": "ConfigureFailure", "code": code, "description": text})
            }
        };
        self.post(answer, Duration::ZERO);
    }

    fn close_stream(&mut self) -> Next {
        let events = self.turns.close();
        self.post_events(events);
        Some((1000, ""))
    }
}
