//! A stand-in for Asterisk's ARI: keeps channels and bridges, records requests, and fails as it is told.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{FromRequestParts, Request, State};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use serde_json::{Value, json};
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Control, Status};
use crate::settings::Ari;

pub const PASSWORD: &str = "a-secret-word";

/// What happens to a request instead of what it asks for.
#[derive(Clone, Debug)]
pub enum Fault {
    Answer(u16, &'static str),
    /// No answer, and nothing is done.
    Stall,
    /// Done, but no answer.
    DoneInSilence,
}

/// What happens to a websocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Socket {
    Serve,
    /// Accepted and closed at once.
    Close,
    /// Accepted, then nothing: no pong either.
    Mute,
}

#[derive(Debug)]
pub struct Things {
    /// `METHOD path?query body`, without `/ari`.
    pub requests: Vec<String>,
    pub channels: BTreeMap<String, Value>,
    /// Bridges and who is in them.
    pub bridges: BTreeMap<String, BTreeSet<String>>,
    pub variables: BTreeMap<(String, String), String>,
    /// By the beginning of `METHOD path`; each as often as it says.
    pub faults: Vec<(String, usize, Fault)>,
    pub socket: Socket,
    pub connections: usize,
    pub app_gone: bool,
    /// The application is kept, and no event is sent to it.
    pub inactive: bool,
}

#[derive(Clone)]
pub struct Mock {
    pub address: SocketAddr,
    things: Arc<Mutex<Things>>,
    events: broadcast::Sender<String>,
    stop: CancellationToken,
}

impl Mock {
    pub async fn start() -> Mock {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let mock = Mock {
            address: listener.local_addr().expect("address"),
            things: Arc::new(Mutex::new(Things {
                requests: Vec::new(),
                channels: BTreeMap::new(),
                bridges: BTreeMap::new(),
                variables: BTreeMap::new(),
                faults: Vec::new(),
                socket: Socket::Serve,
                connections: 0,
                app_gone: false,
                inactive: false,
            })),
            events: broadcast::channel(256).0,
            stop: CancellationToken::new(),
        };
        let router = Router::new().fallback(any).with_state(mock.clone());
        let stop = mock.stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                served = axum::serve(listener, router).into_future() => served.expect("serves"),
                () = stop.cancelled() => {}
            }
        });
        mock
    }

    pub fn things(&self) -> MutexGuard<'_, Things> {
        self.things.lock().expect("no panic while locked")
    }

    /// The next `times` requests that begin so fail.
    pub fn fault(&self, request: &str, times: usize, fault: Fault) {
        self.things().faults.push((request.to_owned(), times, fault));
    }

    pub fn send(&self, event: &Value) {
        let _ = self.events.send(event.to_string());
    }

    /// A caller in our application, without an event.
    pub fn add_caller(&self, id: &str, args: &str) {
        let plan = json!({ "app_name": "Stasis", "app_data": format!("mgw,{args}") });
        let channel = json!({ "id": id, "name": format!("PJSIP/{id}"), "state": "Ring", "dialplan": plan });
        self.things().channels.insert(id.to_owned(), channel);
    }

    pub fn has(&self, request: &str) -> bool {
        self.things().requests.iter().any(|r| r.starts_with(request))
    }

    /// Ids of channels and bridges.
    pub fn left(&self) -> Vec<String> {
        let things = self.things();
        things.channels.keys().chain(things.bridges.keys()).cloned().collect()
    }

    pub fn settings(&self) -> Ari {
        Ari {
            url: format!("http://{}", self.address).parse().expect("url"),
            username: "mgw".into(),
            password: mgw::config::Secret::parse(PASSWORD).expect("password"),
            app: "mgw".into(),
            timeout: Duration::from_secs(20),
        }
    }

    pub fn control(&self) -> Arc<Control> {
        self.control_with(&self.settings())
    }

    pub fn control_with(&self, settings: &Ari) -> Arc<Control> {
        let control = Control::new(settings, Status::default(), TaskTracker::new());
        Arc::new(control.expect("a client"))
    }
}

fn says(status: u16, body: impl Into<String>) -> Response {
    let status = StatusCode::from_u16(status).expect("status");
    (status, [(header::CONTENT_TYPE, "application/json")], body.into()).into_response()
}

fn missing(what: &str) -> Response {
    says(404, json!({ "message": format!("{what} not found") }).to_string())
}

async fn any(State(mock): State<Mock>, request: Request) -> Response {
    let (mut parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap_or_default();
    let path = parts.uri.path().to_owned();
    let Some(path) = path.strip_prefix("/ari") else { return says(404, "<html>Not Found</html>") };
    let line = format!("{} {path}", parts.method);
    let query = parts.uri.query().unwrap_or_default().to_owned();
    let text = String::from_utf8_lossy(&body).into_owned();
    mock.things().requests.push(format!("{line}?{query} {text}"));

    let wanted = base64::engine::general_purpose::STANDARD.encode(format!("mgw:{PASSWORD}"));
    if parts.headers.get(header::AUTHORIZATION).is_none_or(|got| *got != format!("Basic {wanted}")) {
        return says(401, r#"{"message":"Authentication required"}"#);
    }
    let fault = {
        let mut things = mock.things();
        let fault = things.faults.iter_mut().find(|(begin, times, _)| *times > 0 && line.starts_with(begin.as_str()));
        fault.map(|(_, times, fault)| {
            *times -= 1;
            fault.clone()
        })
    };
    match fault {
        Some(Fault::Answer(status, body)) => return says(status, body),
        Some(Fault::Stall) => std::future::pending().await,
        Some(Fault::DoneInSilence) => {
            answer(&mut mock.things(), &parts.method, path, &query, &body);
            std::future::pending().await
        }
        None => {}
    }
    if path == "/events" {
        let upgrade = WebSocketUpgrade::from_request_parts(&mut parts, &()).await.expect("an upgrade");
        let events = mock.events.subscribe();
        let socket = {
            let mut things = mock.things();
            things.connections += 1;
            things.inactive = false;
            things.socket
        };
        return upgrade.on_upgrade(move |ws| websocket(ws, socket, events));
    }
    if let Some(name) = path.strip_prefix("/events/user/") {
        if !mock.things().inactive {
            mock.send(&json!({ "type": "ChannelUserevent", "eventname": name }));
        }
        return says(204, "");
    }
    answer(&mut mock.things(), &parts.method, path, &query, &body)
}

async fn websocket(mut ws: WebSocket, socket: Socket, mut events: broadcast::Receiver<String>) {
    match socket {
        Socket::Close => return,
        Socket::Mute => std::future::pending().await,
        Socket::Serve => {}
    }
    loop {
        tokio::select! {
            event = events.recv() => {
                let Ok(event) = event else { return };
                // The test's word for an end of the connection.
                if event == "\"close\"" || ws.send(Message::Text(event.into())).await.is_err() {
                    return;
                }
            }
            message = ws.recv() => if !matches!(message, Some(Ok(_))) { return },
        }
    }
}

fn answer(things: &mut Things, method: &Method, path: &str, query: &str, body: &Bytes) -> Response {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let done = || says(204, "");
    match (method.as_str(), parts.as_slice()) {
        ("GET", ["asterisk", "ping"]) => says(200, r#"{"ping":"pong"}"#),
        ("GET", ["applications", _]) if things.app_gone => missing("Application"),
        ("GET", ["applications", app]) => {
            let ids: Vec<&String> = things.channels.keys().collect();
            says(200, json!({ "name": app, "channel_ids": ids }).to_string())
        }
        ("GET", ["channels"]) => says(200, json!(things.channels.values().collect::<Vec<_>>()).to_string()),
        ("GET", ["bridges"]) => {
            let all: Vec<Value> =
                things.bridges.iter().map(|(id, inside)| json!({ "id": id, "channels": inside })).collect();
            says(200, json!(all).to_string())
        }
        ("GET", ["bridges", id]) => match things.bridges.get(*id) {
            Some(inside) => says(200, json!({ "id": id, "channels": inside }).to_string()),
            None => missing("Bridge"),
        },
        ("POST", ["bridges"]) => {
            things.bridges.insert(text("bridgeId"), BTreeSet::new());
            says(200, json!({ "id": text("bridgeId") }).to_string())
        }
        ("DELETE", ["bridges", id]) => things.bridges.remove(*id).map_or_else(|| missing("Bridge"), |_| done()),
        ("POST", ["bridges", id, "addChannel"]) => {
            let added = super::event::list(&body["channel"]);
            if let Some(unknown) = added.iter().find(|c| !things.channels.contains_key(*c)) {
                return says(400, json!({ "message": format!("Channel not found {unknown}") }).to_string());
            }
            match things.bridges.get_mut(*id) {
                Some(inside) => {
                    inside.extend(added);
                    done()
                }
                None => missing("Bridge"),
            }
        }
        ("POST", ["channels", "externalMedia"]) => {
            let variables = json!({ "UNICASTRTP_LOCAL_ADDRESS": "127.0.0.1", "UNICASTRTP_LOCAL_PORT": "28882" });
            let plan = json!({ "app_name": "Stasis", "app_data": "mgw" });
            let channel =
                json!({ "id": text("channelId"), "state": "Down", "dialplan": plan, "channelvars": variables });
            things.channels.insert(text("channelId"), channel.clone());
            says(200, channel.to_string())
        }
        ("POST", ["channels"]) => {
            let channel = json!({ "id": text("channelId"), "state": "Down", "dialplan": { "app_name": "AppDial2" } });
            things.channels.insert(text("channelId"), channel.clone());
            says(200, channel.to_string())
        }
        (_, ["channels", id, ..]) if !things.channels.contains_key(*id) => missing("Channel"),
        ("GET", ["channels", id]) => says(200, things.channels[*id].to_string()),
        ("DELETE", ["channels", id]) => {
            things.channels.remove(*id);
            done()
        }
        ("GET", ["channels", id, "variable"]) => {
            let name = query.trim_start_matches("variable=");
            match things.variables.get(&((*id).to_owned(), name.to_owned())) {
                Some(value) => says(200, json!({ "value": value }).to_string()),
                None => missing("Provided variable was"),
            }
        }
        ("POST", ["channels", id, "variable"]) => {
            things.variables.insert(((*id).to_owned(), text("variable")), text("value"));
            done()
        }
        ("POST", ["channels", id, "answer"]) => {
            if let Some(channel) = things.channels.get_mut(*id) {
                channel["state"] = "Up".into();
            }
            done()
        }
        ("POST", ["channels", _, "ring" | "dtmf"]) => done(),
        _ => says(405, r#"{"message":"Invalid method"}"#),
    }
}

/// Waits for a condition, generously.
pub async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..6000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("in 30 s it did not come true that {what}");
}
