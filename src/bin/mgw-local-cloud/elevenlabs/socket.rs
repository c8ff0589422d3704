//! The websockets `stream-input` (one context) and `multi-stream-input` (several), and their rules.

use super::context::{Context, Told};
use super::params::{Params, Refusal, check_voice_settings, quota_exceeded, within_quota};
use crate::app::App;
use crate::conn::ConnCtl;
use crate::fault::{self, Open, Place};
use crate::scenario::{CloseContext, Fault, On, Stage};
use crate::slots::Slot;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Extension, Path, RawQuery, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

type Upgrade = Result<WebSocketUpgrade, WebSocketUpgradeRejection>;

const FIELDS: &[&str] = &[
    "text",
    "voice_settings",
    "generation_config",
    "generator_config",
    "pronunciation_dictionary_locators",
    "xi_api_key",
    "xi-api-key",
    "authorization",
    "flush",
    "try_trigger_generation",
    "context_id",
    "close_context",
    "close_socket",
];
const SETTINGS: &[&str] = &["voice_settings", "generation_config", "pronunciation_dictionary_locators"];

/// `GET /v1/text-to-speech/{voice}/stream-input`
pub async fn single(
    app: State<Arc<App>>,
    ctl: Extension<Arc<ConnCtl>>,
    voice: Path<String>,
    raw: RawQuery,
    headers: HeaderMap,
    upgrade: Upgrade,
) -> Response {
    open(app.0, ctl.0, voice.0, raw.0, &headers, upgrade, false).await
}

/// `GET /v1/text-to-speech/{voice}/multi-stream-input`
pub async fn multi(
    app: State<Arc<App>>,
    ctl: Extension<Arc<ConnCtl>>,
    voice: Path<String>,
    raw: RawQuery,
    headers: HeaderMap,
    upgrade: Upgrade,
) -> Response {
    open(app.0, ctl.0, voice.0, raw.0, &headers, upgrade, true).await
}

async fn open(
    app: Arc<App>,
    ctl: Arc<ConnCtl>,
    voice: String,
    raw: Option<String>,
    headers: &HeaderMap,
    upgrade: Upgrade,
    multi: bool,
) -> Response {
    let path = format!("/v1/text-to-speech/{voice}/{}", if multi { "multi-stream-input" } else { "stream-input" });
    let fault = match fault::on_request(&app, &ctl, Stage::Tts, &path, true).await {
        Ok(fault) => fault,
        Err(response) => return response,
    };
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade.max_message_size(1 << 20),
        Err(rejection) => {
            app.stats.violation("elevenlabs: no websocket handshake");
            return rejection.into_response();
        }
    };
    let params = Params::parse(voice, &app.scenario().tts.voices, &raw.unwrap_or_default(), true);
    let header = headers.get("xi-api-key").and_then(|v| v.to_str().ok()).map(str::to_owned);
    upgrade.on_upgrade(move |mut ws| async move {
        let _open = Open::new(&app, Stage::Tts, &ctl);
        let most = app.scenario().elevenlabs.max_sockets;
        let Some(_slot) = Slot::take(&app, "elevenlabs_sockets", most) else {
            let text = format!("Too many concurrent requests. Your subscription has a maximum of {most}.");
            return say(&mut ws, &("too_many_concurrent_requests", text)).await;
        };
        let params = match params {
            Ok(params) => params,
            // The vendor accepts the handshake first and then says what it does not like.
            Err(refusal) => return refuse(&app, &mut ws, &refusal).await,
        };
        let key = header.or_else(|| params.query_key.clone());
        let (out, told) = mpsc::channel(8);
        let fault = fault.map(|f| (Instant::now() + Duration::from_millis(f.after_ms), f));
        let socket = Socket {
            app,
            ctl,
            params,
            multi,
            key,
            authorised: false,
            contexts: BTreeMap::new(),
            out,
            fault,
            ending: false,
        };
        socket.run(ws, told).await;
    })
}

async fn refuse(app: &App, ws: &mut WebSocket, refusal: &Refusal) {
    // Quota is nothing that a client does wrong.
    if refusal.0 != "quota_exceeded" {
        app.stats.violation(format!("elevenlabs: {}: {}", refusal.0, refusal.1));
    }
    say(ws, refusal).await;
}

async fn say(ws: &mut WebSocket, (code, text): &Refusal) {
    let message = json!({"message": text, "error": code, "code": 1008});
    if ws.send(Message::text(message.to_string())).await.is_ok() {
        fault::close(ws, 1008, text).await;
    }
}

struct Socket {
    app: Arc<App>,
    ctl: Arc<ConnCtl>,
    params: Params,
    multi: bool,
    key: Option<String>,
    authorised: bool,
    contexts: BTreeMap<String, Context>,
    out: mpsc::Sender<Told>,
    fault: Option<(Instant, Fault)>,
    /// The client wants no more: close when the last context has finished.
    ending: bool,
}

impl Socket {
    async fn run(mut self, mut ws: WebSocket, mut told: mpsc::Receiver<Told>) {
        let mut last = Instant::now();
        let timeout = Duration::from_secs_f64(self.params.inactivity_s);
        let far = Duration::from_secs(3600);
        loop {
            if self.ending && self.contexts.is_empty() {
                return fault::close(&mut ws, 1000, "").await;
            }
            let fault_at = self.fault.as_ref().map(|(at, _)| *at);
            let oldest = self.contexts.values().filter(|c| !c.closing).map(|c| c.last + timeout).min();
            tokio::select! {
                biased;
                () = sleep_until(fault_at.unwrap_or_else(|| Instant::now() + far)), if fault_at.is_some() => {
                    let Some((_, fault)) = self.fault.take() else { continue };
                    let context = self.contexts.keys().next().map(String::as_str).filter(|_| self.multi);
                    let place = Place { path: "/v1/text-to-speech/", context };
                    if !fault::on_socket(&mut ws, &self.ctl, &fault, place).await {
                        return;
                    }
                }
                message = ws.recv() => {
                    let Some(Ok(message)) = message else { return };
                    let text = match &message {
                        Message::Text(text) => text.as_str(),
                        Message::Binary(_) => "",
                        _ => continue,
                    };
                    last = Instant::now();
                    self.app.stats.with(|n| *n.messages.entry(Stage::Tts).or_default() += 1);
                    if let Some(fault) = self.app.fault(Stage::Tts, On::Message) {
                        self.fault = Some((last + Duration::from_millis(fault.after_ms), fault));
                    }
                    let begun = match self.message(text) {
                        Ok(begun) => begun,
                        Err(refusal) => return refuse(&self.app, &mut ws, &refusal).await,
                    };
                    for _ in 0..begun {
                        if let Some(fault) = self.app.fault(Stage::Tts, On::Generation) {
                            self.fault = Some((Instant::now() + Duration::from_millis(fault.after_ms), fault));
                        }
                    }
                }
                Some(told) = told.recv() => match told {
                    Told::Send(value) => {
                        if ws.send(Message::text(value.to_string())).await.is_err() {
                            return;
                        }
                    }
                    Told::Done(id) => drop(self.contexts.remove(&id)),
                },
                () = sleep_until(last + timeout), if !self.ending => {
                    let text = format!(
                        "Have not received a new text input within the timeout of {:.1} seconds. Streaming input terminated.",
                        self.params.inactivity_s
                    );
                    return refuse(&self.app, &mut ws, &("input_timeout_exceeded", text)).await;
                }
                () = sleep_until(oldest.unwrap_or_else(|| Instant::now() + far)), if self.multi && oldest.is_some() => {
                    // A context that nobody keeps alive ends alone; the socket lives on.
                    for context in self.contexts.values_mut().filter(|c| c.last + timeout <= Instant::now()) {
                        context.close(false);
                    }
                }
            }
        }
    }

    /// Carries out one message; returns how many generations it began.
    fn message(&mut self, text: &str) -> Result<usize, Refusal> {
        let invalid = |text: &str| ("invalid_input_message", text.to_owned());
        let Ok(Value::Object(fields)) = serde_json::from_str::<Value>(text) else {
            return Err(invalid("The message is not a JSON object in a TEXT frame."));
        };
        if let Some(name) = fields.keys().find(|name| !FIELDS.contains(&name.as_str())) {
            self.app.stats.violation(format!("elevenlabs: unknown field {name:.40}"));
        }
        let message = Value::Object(fields);
        let flag = |name: &str| match message.get(name) {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(b)) => Ok(*b),
            Some(_) => Err(invalid(&format!("{name} must be true or false"))),
        };
        let said = match message.get("text") {
            None | Some(Value::Null) => None,
            Some(Value::String(s)) => Some(s.as_str()),
            Some(_) => return Err(invalid("text must be a string")),
        };
        if let Some(text) = said.filter(|text| !text.trim().is_empty()) {
            self.ctl.told(|told| told.text = text.to_owned());
        }
        let first = !self.authorised;
        if said.is_some_and(|text| !within_quota(&self.app, text)) {
            return Err(quota_exceeded());
        }
        if first {
            self.authorise(&message)?;
            if said != Some(" ") {
                return Err(invalid("The first message must have a text of exactly one space."));
            }
        }
        if let Some(settings) = message.get("voice_settings") {
            check_voice_settings(settings)?;
        }
        if self.multi { self.multi(&message, said, flag) } else { self.single(&message, said, first, flag) }
    }

    fn authorise(&mut self, message: &Value) -> Result<(), Refusal> {
        let given = ["xi_api_key", "xi-api-key", "authorization"].iter().find_map(|n| message.get(*n)?.as_str());
        let key = self.key.as_deref().or(given).unwrap_or_default();
        let key = key.strip_prefix("Bearer ").unwrap_or(key);
        if !self.app.key_is_good("elevenlabs", key) {
            return Err(("invalid_api_key", "Invalid API key".to_owned()));
        }
        self.authorised = true;
        Ok(())
    }

    fn single(
        &mut self,
        message: &Value,
        said: Option<&str>,
        first: bool,
        flag: impl Fn(&str) -> Result<bool, Refusal>,
    ) -> Result<usize, Refusal> {
        if first {
            let context = Context::open(&self.app, &self.params, None, message, self.out.clone())?;
            self.contexts.insert(String::new(), context);
            return Ok(0);
        }
        let flush = flag("flush")? || flag("try_trigger_generation")?;
        let Some(context) = self.contexts.get_mut("").filter(|c| !c.closing) else {
            return Err(("invalid_input_message", "The input has already ended.".to_owned()));
        };
        match said {
            Some("") => {
                self.ending = true;
                Ok(context.close(false))
            }
            Some(text) => {
                check_length(&self.params, text)?;
                if !text.ends_with(' ') {
                    self.app.stats.violation("elevenlabs: text does not end with a space");
                }
                Ok(context.text(text, flush))
            }
            None if flush => Ok(context.text("", true)),
            None => Err(("invalid_input_message", "text is missing".to_owned())),
        }
    }

    fn multi(
        &mut self,
        message: &Value,
        said: Option<&str>,
        flag: impl Fn(&str) -> Result<bool, Refusal>,
    ) -> Result<usize, Refusal> {
        if flag("close_socket")? {
            self.ending = true;
            return Ok(self.contexts.values_mut().map(|c| c.close(false)).sum());
        }
        let id = match message.get("context_id") {
            None | Some(Value::Null) => "default",
            Some(Value::String(id)) => id.as_str(),
            Some(_) => {
                return Err(("invalid_input_message", "context_id must be a string".to_owned()));
            }
        };
        let (flush, close) = (flag("flush")?, flag("close_context")?);
        let settings = SETTINGS.iter().any(|name| message.get(*name).is_some_and(|v| !v.is_null()));
        if let Some(context) = self.contexts.get_mut(id) {
            context.last = Instant::now();
            if context.closing {
                if !close {
                    self.app.stats.violation(format!("elevenlabs: text for the closed context {id:.40}"));
                }
                return Ok(0);
            }
            if settings {
                return Err((
                    "invalid_input_message",
                    format!("Settings of context {id} cannot be changed while it is open."),
                ));
            }
            if close {
                return Ok(context.close(self.app.scenario().tts.close_context == CloseContext::Stop));
            }
            return match said {
                // KeepContextAlive
                Some("") => Ok(0),
                Some(text) => {
                    check_length(&self.params, text)?;
                    Ok(context.text(text, flush))
                }
                None if flush => Ok(context.text("", true)),
                None => Err(("invalid_input_message", "text is missing".to_owned())),
            };
        }
        let Some(text) = said.filter(|_| !close) else {
            // It may just have ended by itself.
            return Ok(0);
        };
        if text.is_empty() {
            self.app.stats.violation(format!("elevenlabs: context {id:.40} kept alive but not open"));
            return Ok(0);
        }
        check_length(&self.params, text)?;
        if self.contexts.len() >= self.app.scenario().tts.max_contexts {
            let text = format!("Maximum simultaneous contexts exceeded ({}).", self.app.scenario().tts.max_contexts);
            return Err(("max_active_contexts_exceeded", text));
        }
        let mut context = Context::open(&self.app, &self.params, Some(id.to_owned()), message, self.out.clone())?;
        let begun = context.text(text, flush);
        self.contexts.insert(id.to_owned(), context);
        Ok(begun)
    }
}

fn check_length(params: &Params, text: &str) -> Result<(), Refusal> {
    let short = text.chars().count() <= params.character_limit();
    short
        .then_some(())
        .ok_or_else(|| ("max_character_limit_exceeded", "The text is too long for this model.".to_owned()))
}
