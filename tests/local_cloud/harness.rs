//! Starts the emulator, opens raw websockets to it, and makes coded speech.

use crate::codec::{self, Decoder, Heard, Token};
use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue, Response};
use tokio_tungstenite::tungstenite::{Error, Message};

/// Nothing a test waits for takes longer.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// A running emulator; ends with the value.
pub struct Cloud {
    pub child: Child,
    pub address: String,
    pub line: String,
    _dir: tempfile::TempDir,
}

impl Cloud {
    pub fn start(scenario: &str) -> Cloud {
        Cloud::start_with(scenario, &[])
    }

    pub fn start_with(scenario: &str, args: &[&str]) -> Cloud {
        // reqwest is built without a default provider; another test may have installed it already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("scenario.toml");
        std::fs::write(&file, scenario).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_mgw-local-cloud"))
            .args(["--listen", "127.0.0.1:0", "--exit-with-parent", "--scenario"])
            .arg(&file)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let line = line.trim_end().to_owned();
        let address =
            line.strip_prefix("mgw-local-cloud listening on ").expect(&line).trim_end_matches(" tls").to_owned();
        Cloud { child, address, line, _dir: dir }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Opens a websocket with one extra header (none if its value is empty).
    pub async fn open(
        &self,
        path: &str,
        header: (&'static str, &str),
    ) -> Result<(Socket, Response<Option<Vec<u8>>>), Error> {
        let mut request = format!("ws://{}{path}", self.address).into_client_request().unwrap();
        if !header.1.is_empty() {
            request.headers_mut().insert(HeaderName::from_static(header.0), HeaderValue::from_str(header.1).unwrap());
        }
        let stream = TcpStream::connect(&self.address).await.unwrap();
        let (ws, response) = tokio_tungstenite::client_async(request, stream).await?;
        Ok((Socket { ws }, response))
    }

    /// The status, headers and body of a refused handshake.
    pub async fn refused(&self, path: &str, header: (&'static str, &str)) -> Response<Option<Vec<u8>>> {
        match self.open(path, header).await {
            Err(Error::Http(response)) => *response,
            Ok(_) => panic!("{path} was accepted"),
            Err(e) => panic!("{path}: {e}"),
        }
    }

    pub async fn stats(&self) -> Value {
        reqwest::get(self.url("/__stats")).await.unwrap().json().await.unwrap()
    }

    /// Waits until the stats fulfil a condition.
    pub async fn until_stats(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        let begin = std::time::Instant::now();
        loop {
            let stats = self.stats().await;
            if wanted(&stats) {
                return stats;
            }
            assert!(begin.elapsed() < PATIENCE, "{stats}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub async fn assert_no_violations(&self) {
        let stats = self.stats().await;
        assert_eq!(stats["violations_total"], 0, "{}", stats["violations"]);
    }

    pub async fn assert_violation(&self, hint: &str) {
        let stats = self.stats().await;
        let found = stats["violations"].as_array().unwrap().iter().any(|v| v.as_str().unwrap().contains(hint));
        assert!(found, "no {hint:?} in {}", stats["violations"]);
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One client websocket.
pub struct Socket {
    pub ws: WebSocketStream<TcpStream>,
}

/// What came.
#[derive(Debug)]
pub enum Got {
    Json(Value),
    Text(String),
    Close(u16, String),
    Broken(Error),
}

impl Socket {
    pub async fn text(&mut self, text: &str) {
        self.ws.send(Message::text(text)).await.unwrap();
    }

    pub async fn json(&mut self, value: Value) {
        self.text(&value.to_string()).await;
    }

    pub async fn binary(&mut self, bytes: Vec<u8>) {
        self.ws.send(Message::binary(bytes)).await.unwrap();
    }

    /// Sends PCM in pieces of 20 ms at 16 kHz.
    pub async fn pcm(&mut self, pcm: &[i16]) {
        for piece in pcm.chunks(320) {
            self.binary(piece.iter().flat_map(|s| s.to_le_bytes()).collect()).await;
        }
    }

    pub async fn next(&mut self) -> Got {
        loop {
            let message = tokio::time::timeout(PATIENCE, self.ws.next()).await.expect("nothing came");
            return match message {
                Some(Ok(Message::Text(text))) => match serde_json::from_str(&text) {
                    Ok(value) => Got::Json(value),
                    Err(_) => Got::Text(text.to_string()),
                },
                Some(Ok(Message::Close(Some(frame)))) => Got::Close(frame.code.into(), frame.reason.to_string()),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
                Some(Ok(other)) => panic!("{other:?}"),
                Some(Err(e)) => Got::Broken(e),
                None => Got::Broken(Error::ConnectionClosed),
            };
        }
    }

    /// The next JSON message that `wanted` accepts.
    pub async fn until(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            match self.next().await {
                Got::Json(value) if wanted(&value) => return value,
                Got::Json(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// All JSON messages up to the close frame, and that.
    pub async fn until_closed(&mut self) -> (Vec<Value>, u16, String) {
        let mut values = Vec::new();
        loop {
            match self.next().await {
                Got::Json(value) => values.push(value),
                Got::Close(code, reason) => {
                    // Reading on sends our own close frame.
                    let end = self.next().await;
                    assert!(matches!(end, Got::Broken(_)), "{end:?} after the close frame");
                    return (values, code, reason);
                }
                other => panic!("{other:?} after {values:?}"),
            }
        }
    }
}

/// A sentence of consecutive words with silence after it, 16 kHz.
pub fn sentence(language: &str, numbers: std::ops::Range<u16>, silence_s: f64) -> Vec<i16> {
    let mut pcm = Vec::new();
    for n in numbers {
        codec::encode(Token::new(language, n).unwrap(), 16000, -20.0, &mut pcm);
        codec::silence(codec::GAP_S, 16000, &mut pcm);
    }
    codec::silence(silence_s, 16000, &mut pcm);
    pcm
}

/// The spelling of consecutive words.
pub fn spelt(language: &str, numbers: std::ops::Range<u16>) -> String {
    numbers.map(|n| Token::new(language, n).unwrap().text()).collect::<Vec<_>>().join(" ")
}

/// What audio says, and how many damaged spans it has.
pub fn hear(bytes: &[u8], rate: u32) -> (String, usize) {
    let pcm: Vec<i16> = bytes.chunks_exact(2).map(|b| i16::from_le_bytes([b[0], b[1]])).collect();
    let mut decoder = Decoder::new(rate);
    let mut heard = decoder.feed(&pcm);
    heard.extend(decoder.finish());
    let words: Vec<String> = heard
        .iter()
        .filter_map(|h| if let Heard::Word { token, .. } = h { Some(token.text()) } else { None })
        .collect();
    (words.join(" "), heard.len() - words.len())
}
