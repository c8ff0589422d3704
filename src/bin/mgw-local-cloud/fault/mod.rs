//! Carries out a scenario's faults on HTTP exchanges and websockets.

pub mod hostile;
pub mod vendor;

pub use hostile::Place;

use crate::app::App;
use crate::conn::ConnCtl;
use crate::scenario::{Fault, FaultKind, On, Stage};
use axum::body::Body;
use axum::extract::ws::{CloseFrame, Message, WebSocket};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use futures_util::SinkExt;
use hostile::Frame;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;

/// Longest stall: tests end sooner, and a forgotten client must not keep a task for ever.
const FOREVER: Duration = Duration::from_secs(3600);

/// Counts an HTTP request or handshake; `Err` is the fault's reply to give instead of the real one.
/// The returned fault is to be carried out on the websocket, or breaks off a streamed reply.
pub async fn on_request(
    app: &App,
    ctl: &Arc<ConnCtl>,
    stage: Stage,
    path: &str,
    websocket: bool,
) -> Result<Option<Fault>, Response> {
    app.stats.with(|n| *n.requests.entry(stage).or_default() += 1);
    if ctl.recognise(stage) && !websocket {
        app.accepted(stage, ctl);
    }
    if ctl.is_doomed() {
        // The byte stream ends the connection, and this with it.
        sleep(FOREVER).await;
    }
    let Some(fault) = app.fault(stage, On::Request) else {
        return Ok(None);
    };
    let place = Place { path, context: None };
    if websocket && !refuses(&fault) {
        return Ok(Some(fault));
    }
    match fault.kind {
        FaultKind::Reset | FaultKind::Close | FaultKind::Fin if fault.after_ms > 0 => {
            later(ctl, &fault);
            return Ok(None);
        }
        _ => sleep(Duration::from_millis(fault.after_ms)).await,
    }
    match fault.kind {
        FaultKind::Reset | FaultKind::Close | FaultKind::Fin | FaultKind::BlackHole => {
            break_off(ctl, &fault);
            sleep(FOREVER).await;
            Ok(None)
        }
        FaultKind::HalfClose | FaultKind::Drip => {
            ctl.impose(&fault);
            Ok(None)
        }
        FaultKind::Stall => {
            sleep(stall(&fault)).await;
            Ok(None)
        }
        FaultKind::Status | FaultKind::ErrorMessage => Err(reply(&fault, fault.code.unwrap_or(503), said(ctl, &fault))),
        FaultKind::Garbage => Err(reply(&fault, 200, "<html>\u{0}\u{1}this is not what you asked for".to_owned())),
        FaultKind::Hostile => Err(hostile::reply(name(&fault), place)),
        FaultKind::Vendor if vendor::reply(name(&fault)).is_some_and(|r| r.mid_stream) => Ok(Some(fault)),
        FaultKind::Vendor => Err(vendors(app, &fault)),
    }
}

/// As [`on_request`] for a reply that is not streamed: what would break it off replaces it.
pub async fn on_plain_request(app: &App, ctl: &Arc<ConnCtl>, stage: Stage, path: &str) -> Result<(), Response> {
    match on_request(app, ctl, stage, path, false).await? {
        Some(fault) => Err(vendors(app, &fault)),
        None => Ok(()),
    }
}

fn name(fault: &Fault) -> &str {
    fault.name.as_deref().unwrap_or_default()
}

/// Whether a fault of a handshake refuses it; others wait until the websocket is open.
fn refuses(fault: &Fault) -> bool {
    match fault.kind {
        FaultKind::Status => true,
        FaultKind::Vendor => vendor::reply(name(fault)).is_some_and(|r| r.socket.is_none()),
        FaultKind::Hostile => name(fault) == "redirect",
        _ => false,
    }
}

/// A fault's text, with what it says back of what the client sent.
fn said(ctl: &ConnCtl, fault: &Fault) -> String {
    ctl.told(|told| told.fill(fault.text.as_deref().unwrap_or_default()))
}

fn break_off(ctl: &ConnCtl, fault: &Fault) {
    match fault.kind {
        FaultKind::Reset => ctl.reset(),
        FaultKind::Close => ctl.drop_now(),
        _ => ctl.impose(fault),
    }
}

/// Carries out a fault of the transport on HTTP after its time, while a reply is under way; any other ends the connection.
pub fn later(ctl: &Arc<ConnCtl>, fault: &Fault) {
    let (ctl, fault) = (ctl.clone(), fault.clone());
    tokio::spawn(async move {
        sleep(Duration::from_millis(fault.after_ms)).await;
        if fault.kind.of_transport() { break_off(&ctl, &fault) } else { ctl.drop_now() }
    });
}

/// The body of a vendor's fault, with a request id in it.
pub fn vendor_body(app: &App, fault: &Fault) -> String {
    vendor::reply(name(fault)).map(|r| r.body.replace("{id}", &app.uuid())).unwrap_or_default()
}

fn vendors(app: &App, fault: &Fault) -> Response {
    let Some(answer) = vendor::reply(name(fault)) else {
        return reply(fault, 503, String::new());
    };
    let id = app.uuid();
    let status = if answer.status == 0 { 503 } else { answer.status };
    let mut response = reply(fault, status, answer.body.replace("{id}", &id));
    for (name, value) in answer.headers {
        if let Ok(value) = HeaderValue::from_str(&value.replace("{id}", &id)) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

fn stall(fault: &Fault) -> Duration {
    if fault.ms == 0 { FOREVER } else { Duration::from_millis(fault.ms) }
}

fn reply(fault: &Fault, status: u16, text: String) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    let kind = if text.starts_with(['{', '[']) { "application/json" } else { "text/plain" };
    if !text.is_empty() {
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    }
    if let Some(seconds) = fault.retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    *response.body_mut() = Body::from(text);
    response
}

/// Carries out a fault on a websocket. Returns whether the connection lives on.
pub async fn on_socket(ws: &mut WebSocket, ctl: &ConnCtl, fault: &Fault, place: Place<'_>) -> bool {
    match fault.kind {
        FaultKind::Reset => {
            ctl.reset();
            false
        }
        FaultKind::Close | FaultKind::Status => {
            close(ws, fault.code.unwrap_or(1011), &said(ctl, fault)).await;
            false
        }
        FaultKind::Fin | FaultKind::HalfClose | FaultKind::BlackHole | FaultKind::Drip => {
            // The byte stream does it at its next turn; its handler finds out by itself.
            ctl.impose(fault);
            true
        }
        FaultKind::Stall => {
            sleep(stall(fault)).await;
            true
        }
        FaultKind::Garbage => ws.send(Message::text("\u{1}{not json")).await.is_ok(),
        FaultKind::ErrorMessage => {
            let sent = ws.send(Message::text(said(ctl, fault))).await.is_ok();
            match fault.code {
                Some(code) => {
                    close(ws, code, "").await;
                    false
                }
                None => sent,
            }
        }
        FaultKind::Vendor => {
            let Some((message, code, reason)) = vendor::reply(name(fault)).and_then(|r| r.socket) else {
                return true;
            };
            if let Some(message) = message
                && ws.send(Message::text(message)).await.is_err()
            {
                return false;
            }
            close(ws, code, &reason).await;
            false
        }
        FaultKind::Hostile => match hostile::message(name(fault), place) {
            Frame::Text(text) => ws.send(Message::text(text)).await.is_ok(),
            Frame::Binary(bytes) => ws.send(Message::binary(bytes)).await.is_ok(),
            Frame::Raw(bytes) => {
                ctl.inject(&bytes);
                ws.flush().await.is_ok()
            }
        },
    }
}

/// Sends a close frame and waits for the peer's, so that it is not lost in a reset by unread data.
pub async fn close(ws: &mut WebSocket, code: u16, reason: &str) {
    // A close frame's reason holds 123 bytes.
    let mut end = reason.len().min(123);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    let frame = CloseFrame { code, reason: reason[..end].into() };
    if ws.send(Message::Close(Some(frame))).await.is_ok() {
        let drain = async { while let Some(Ok(_)) = ws.recv().await {} };
        let _ = tokio::time::timeout(Duration::from_secs(2), drain).await;
    }
}

/// Counts an open websocket for as long as it lives.
pub struct Open(Arc<App>, Stage);

impl Open {
    /// Counts one.
    pub fn new(app: &Arc<App>, stage: Stage, ctl: &ConnCtl) -> Open {
        app.accepted(stage, ctl);
        app.stats.with(|n| {
            *n.connections.entry(stage).or_default() += 1;
            *n.open.entry(stage).or_default() += 1;
        });
        Open(app.clone(), stage)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.stats.with(|n| *n.open.entry(self.1).or_default() -= 1);
    }
}
