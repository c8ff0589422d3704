//! A synthesiser in this very process, so that the clock that sees its first byte leave also sees the frame that carries it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;

use crate::stat::{Chance, RATE};

/// Speech for one text, in milliseconds, and how much of it one message carries.
const SPEECH_MS: u32 = 300;
const MESSAGE_MS: u32 = 100;

/// When the first audio of a text was given to the socket, by text.
type Sent = Arc<Mutex<HashMap<String, Instant>>>;

/// ElevenLabs' multi-context socket, as far as one text after the other needs it.
pub struct Vendor {
    pub address: SocketAddr,
    sent: Sent,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Vendor {
    pub fn start() -> Vendor {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("vendor")
            .enable_all()
            .build()
            .expect("runtime");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("port");
        let address = listener.local_addr().expect("address");
        let sent = Sent::default();
        let notes = sent.clone();
        runtime.spawn(async move {
            let mut number = 0;
            while let Ok((tcp, _)) = listener.accept().await {
                number += 1;
                tokio::spawn(speak(tcp, notes.clone(), Chance::new(number)));
            }
        });
        Vendor { address, sent, runtime: Some(runtime) }
    }

    /// When the first audio of this text left, if it has.
    pub fn sent(&self, text: &str) -> Option<Instant> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner).get(text).copied()
    }
}

impl Drop for Vendor {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// One connection: each text is answered after a time by chance with a loud tone and its end.
async fn speak(tcp: TcpStream, sent: Sent, mut chance: Chance) -> Option<()> {
    tcp.set_nodelay(true).ok()?;
    let mut ws = tokio_tungstenite::accept_async(tcp).await.ok()?;
    let samples = (RATE * MESSAGE_MS / 1000) as usize;
    let bytes: Vec<u8> = (0..samples).flat_map(|i| (if i % 2 == 0 { 6000i16 } else { -6000 }).to_le_bytes()).collect();
    let audio = STANDARD.encode(&bytes);
    while let Some(Ok(message)) = ws.next().await {
        let Message::Text(text) = message else { continue };
        let asked: Value = serde_json::from_str(&text).ok()?;
        let said = asked["text"].as_str().unwrap_or_default().trim();
        if said.is_empty() {
            continue;
        }
        let context = asked["context_id"].clone();
        let chunk = json!({"audio": audio, "contextId": context}).to_string();
        tokio::time::sleep(chance.below(Duration::from_millis(60))).await;
        sent.lock().unwrap_or_else(PoisonError::into_inner).insert(said.to_owned(), Instant::now());
        for _ in 0..SPEECH_MS / MESSAGE_MS {
            ws.send(Message::text(chunk.clone())).await.ok()?;
        }
        ws.send(Message::text(json!({"contextId": context, "isFinal": true}).to_string())).await.ok()?;
    }
    Some(())
}
