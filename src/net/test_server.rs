//! Vendors for tests: TCP servers on loopback that follow a script.

use std::collections::HashMap;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};

use super::runtime::lock;

/// Nothing in a test may take longer; reached only when it fails.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// A running server; it ends with the value.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    /// Connections taken so far.
    pub(super) connections: Arc<AtomicUsize>,
    _runtime: Ending,
}

struct Ending(Option<tokio::runtime::Runtime>);

impl Drop for Ending {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl Server {
    /// Runs `serve` for each connection, with its number from 0.
    pub(super) fn start<F, W>(serve: F) -> Self
    where
        F: Fn(usize, TcpStream) -> W + Send + Sync + 'static,
        W: Future<Output = ()> + Send + 'static,
    {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("test-server")
            .enable_all()
            .build()
            .expect("a runtime");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
        let address = listener.local_addr().expect("an address");
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        runtime.spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let number = counted.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(number, tcp));
            }
        });
        Self { address, connections, _runtime: Ending(Some(runtime)) }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// A peer's websocket.
pub(super) struct Peer {
    pub(super) ws: WebSocketStream<TcpStream>,
    /// Path and query asked for.
    pub(super) uri: String,
}

impl Peer {
    /// Takes an upgrade.
    #[allow(clippy::result_large_err, reason = "tungstenite's callback is typed so")]
    pub(super) async fn accept(tcp: TcpStream) -> Option<Self> {
        let mut uri = String::new();
        let note = |request: &Request, mut response: Response| -> Result<Response, ErrorResponse> {
            uri = request.uri().to_string();
            response.headers_mut().insert("dg-request-id", "request-1".parse().expect("a header"));
            Ok(response)
        };
        let ws = tokio_tungstenite::accept_hdr_async(tcp, note).await.ok()?;
        Some(Self { ws, uri })
    }

    pub(super) async fn send(&mut self, value: serde_json::Value) {
        let _ = self.ws.send(Message::text(value.to_string())).await;
    }

    /// The next TEXT or BINARY message.
    pub(super) async fn next(&mut self) -> Option<Message> {
        loop {
            match self.ws.next().await?.ok()? {
                Message::Ping(_) | Message::Pong(_) => {}
                Message::Close(_) => return None,
                message => return Some(message),
            }
        }
    }
}

/// Refuses an upgrade (or anything else) with a whole HTTP reply.
pub(super) async fn refuse(mut tcp: TcpStream, reply: &str) {
    read_request(&mut tcp).await;
    let _ = tcp.write_all(reply.as_bytes()).await;
}

/// Reads one HTTP request: its first line and its body.
pub(super) async fn read_request(tcp: &mut TcpStream) -> Option<(String, String)> {
    let mut bytes = Vec::new();
    loop {
        let mut piece = [0u8; 4096];
        let count = tcp.read(&mut piece).await.ok().filter(|count| *count > 0)?;
        bytes.extend_from_slice(&piece[..count]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head
            .lines()
            .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:").map(|n| n.trim().parse().ok()))
            .flatten()
            .unwrap_or(0);
        if body.len() >= length {
            return Some((head.lines().next().unwrap_or_default().to_owned(), body.to_owned()));
        }
    }
}

/// A JSON reply with a status.
pub(super) async fn reply(tcp: &mut TcpStream, status: u16, body: &str) {
    let text = format!(
        "HTTP/1.1 {status} X\r\ncontent-length: {}\r\ncontent-type: application/json\r\n\r\n{body}",
        body.len()
    );
    let _ = tcp.write_all(text.as_bytes()).await;
}

/// What a server saw, for the test to look at.
#[derive(Clone, Default)]
pub(super) struct Notes(Arc<Mutex<HashMap<&'static str, Vec<String>>>>);

impl Notes {
    pub(super) fn add(&self, kind: &'static str, text: impl Into<String>) {
        lock(&self.0).entry(kind).or_default().push(text.into());
    }

    pub(super) fn all(&self, kind: &'static str) -> Vec<String> {
        lock(&self.0).get(kind).cloned().unwrap_or_default()
    }
}
