//! ARI for tests without the shim: plain requests, and an application that keeps its events.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::StreamExt;
use serde_json::Value;
use tokio::sync::oneshot;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use super::Asterisk;

/// User and password of the sample `ari.conf`.
pub const USER: &str = "mgw";
pub const PASSWORD: &str = "change-me";

fn credentials() -> String {
    format!("Basic {}", STANDARD.encode(format!("{USER}:{PASSWORD}")))
}

/// One request below `/ari`; status 0 when nobody answers within 10 s.
pub fn request(port: u16, method: &str, path: &str, body: &str) -> (u16, Value) {
    exchange(port, method, path, body).unwrap_or((0, Value::Null))
}

fn exchange(port: u16, method: &str, path: &str, body: &str) -> std::io::Result<(u16, Value)> {
    let mut socket = TcpStream::connect(("127.0.0.1", port))?;
    socket.set_read_timeout(Some(Duration::from_secs(10)))?;
    let (length, authorization) = (body.len(), credentials());
    let head = format!(
        "{method} /ari{path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {authorization}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    socket.write_all(head.as_bytes())?;
    let mut text = String::new();
    socket.read_to_string(&mut text)?;
    let status = text.split_whitespace().nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Ok((status, serde_json::from_str(body).unwrap_or(Value::Null)))
}

/// A Stasis application: a websocket whose events are kept.
pub struct AriApp {
    events: Arc<Mutex<Vec<Value>>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl AriApp {
    /// Subscribes as `name`; calls that enter `Stasis(name,…)` come in from now on.
    pub fn connect(asterisk: &Asterisk, name: &str) -> AriApp {
        let events = Arc::new(Mutex::new(Vec::new()));
        let (stop, stopped) = oneshot::channel();
        let (ready, is_ready) = std::sync::mpsc::channel();
        let (port, name, kept) = (asterisk.http_port(), name.to_owned(), events.clone());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
            runtime.block_on(listen(port, &name, &kept, &ready, stopped));
        });
        is_ready.recv_timeout(Duration::from_secs(30)).expect("the websocket of ARI");
        AriApp { events, stop: Some(stop), thread: Some(thread) }
    }

    pub fn events(&self) -> Vec<Value> {
        self.events.lock().expect("events").clone()
    }

    /// The first event of a type that `fits`, waited for.
    pub fn wait(&self, kind: &str, mut fits: impl FnMut(&Value) -> bool) -> Value {
        let until = Instant::now() + Duration::from_secs(30);
        loop {
            let events = self.events();
            if let Some(event) = events.iter().find(|e| e["type"] == kind && fits(e)) {
                return event.clone();
            }
            let kinds: Vec<&str> = events.iter().filter_map(|e| e["type"].as_str()).collect();
            assert!(Instant::now() < until, "no {kind} among {kinds:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

async fn listen(
    port: u16,
    name: &str,
    kept: &Mutex<Vec<Value>>,
    ready: &std::sync::mpsc::Sender<()>,
    mut stopped: oneshot::Receiver<()>,
) {
    let mut request = format!("ws://127.0.0.1:{port}/ari/events?app={name}").into_client_request().expect("request");
    request.headers_mut().insert("Authorization", credentials().parse().expect("header"));
    let stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.expect("ARI");
    let (mut socket, _) = tokio_tungstenite::client_async(request, stream).await.expect("the websocket of ARI");
    ready.send(()).expect("the test waits");
    loop {
        tokio::select! {
            _ = &mut stopped => {
                let _ = socket.close(None).await;
                return;
            }
            message = socket.next() => match message {
                Some(Ok(Message::Text(text))) => {
                    kept.lock().expect("events").push(serde_json::from_str(&text).expect("an event is JSON"));
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return,
            },
        }
    }
}

impl Drop for AriApp {
    fn drop(&mut self) {
        drop(self.stop.take());
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
