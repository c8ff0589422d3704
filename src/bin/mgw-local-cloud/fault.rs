//! Carries out a scenario's faults on HTTP exchanges and websockets.

use crate::app::App;
use crate::conn::ConnCtl;
use crate::scenario::{Fault, FaultKind, On, Stage};
use axum::body::Body;
use axum::extract::ws::{CloseFrame, Message, WebSocket};
use axum::http::{StatusCode, header};
use axum::response::Response;
use std::sync::Arc;
use std::time::Duration;

/// Longest stall: tests end sooner, and a forgotten client must not keep a task for ever.
const FOREVER: Duration = Duration::from_secs(3600);

/// Counts an HTTP request or handshake; `Err` is the fault's reply to give instead of the real one.
/// For a handshake the returned fault is to be carried out on the websocket.
pub async fn on_request(
    app: &App,
    ctl: &Arc<ConnCtl>,
    stage: Stage,
    websocket: bool,
) -> Result<Option<Fault>, Response> {
    app.stats.with(|n| *n.requests.entry(stage).or_default() += 1);
    let Some(fault) = app.fault(stage, On::Request) else {
        return Ok(None);
    };
    let status = fault.kind == FaultKind::Status;
    if websocket && !status {
        return Ok(Some(fault));
    }
    match fault.kind {
        FaultKind::Reset | FaultKind::Close if fault.after_ms > 0 => {
            let (ctl, wait) = (ctl.clone(), Duration::from_millis(fault.after_ms));
            let reset = fault.kind == FaultKind::Reset;
            tokio::spawn(async move {
                tokio::time::sleep(wait).await;
                if reset { ctl.reset() } else { ctl.drop_now() }
            });
            return Ok(None);
        }
        _ => tokio::time::sleep(Duration::from_millis(fault.after_ms)).await,
    }
    match fault.kind {
        FaultKind::Reset | FaultKind::Close => {
            if fault.kind == FaultKind::Reset {
                ctl.reset()
            } else {
                ctl.drop_now()
            }
            tokio::time::sleep(FOREVER).await;
            Ok(None)
        }
        FaultKind::Stall => {
            tokio::time::sleep(stall(&fault)).await;
            Ok(None)
        }
        FaultKind::Status | FaultKind::ErrorMessage => {
            Err(reply(fault.code.unwrap_or(503), fault.text.unwrap_or_default()))
        }
        FaultKind::Garbage => Err(reply(200, "<html>\u{0}\u{1}this is not what you asked for".to_owned())),
    }
}

fn stall(fault: &Fault) -> Duration {
    if fault.ms == 0 { FOREVER } else { Duration::from_millis(fault.ms) }
}

fn reply(status: u16, text: String) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    let kind = if text.starts_with(['{', '[']) { "application/json" } else { "text/plain" };
    if !text.is_empty() {
        response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    }
    *response.body_mut() = Body::from(text);
    response
}

/// Carries out a fault on a websocket. Returns whether the connection lives on.
pub async fn on_socket(ws: &mut WebSocket, ctl: &ConnCtl, fault: &Fault) -> bool {
    match fault.kind {
        FaultKind::Reset => {
            ctl.reset();
            false
        }
        FaultKind::Close | FaultKind::Status => {
            close(ws, fault.code.unwrap_or(1011), fault.text.as_deref().unwrap_or_default()).await;
            false
        }
        FaultKind::Stall => {
            tokio::time::sleep(stall(fault)).await;
            true
        }
        FaultKind::Garbage => ws.send(Message::text("\u{1}{not json")).await.is_ok(),
        FaultKind::ErrorMessage => {
            let sent = ws.send(Message::text(fault.text.clone().unwrap_or_default())).await.is_ok();
            match fault.code {
                Some(code) => {
                    close(ws, code, "").await;
                    false
                }
                None => sent,
            }
        }
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
    pub fn new(app: &Arc<App>, stage: Stage) -> Open {
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
