//! The two simple ways to interpret, written as simply as they are: (a) wait for the end of the turn, translate,
//! synthesise all, play; (b) translate each final result and stream its speech. They use the same emulated vendors in the
//! same run, over connections that are open before anybody speaks, and ask for the next text without waiting for the last.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use super::Recogniser;
use crate::stat::RATE;

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Way {
    WaitForTurn,
    StreamFinals,
}

/// The sound of one text.
#[derive(Default)]
struct Sound {
    samples: VecDeque<i16>,
    /// May be heard.
    playable: bool,
    /// No more comes.
    over: bool,
}

/// Sounds in the order of their texts.
type Ear = Arc<Mutex<VecDeque<Arc<Mutex<Sound>>>>>;

/// A speaker and a listener.
pub struct Reference {
    mouth: mpsc::UnboundedSender<Vec<i16>>,
    ear: Ear,
}

struct Interpreter {
    way: Way,
    address: SocketAddr,
    http: reqwest::Client,
    ear: Ear,
    /// Final texts of the turn under way.
    turn: Vec<String>,
}

impl Reference {
    pub fn start(runtime: &Handle, address: SocketAddr, recogniser: Recogniser, way: Way) -> Reference {
        let (mouth, frames) = mpsc::unbounded_channel();
        let ear = Ear::default();
        // The machine's own address is behind no proxy.
        let http = reqwest::Client::builder().no_proxy().user_agent("mgw-bench").build().expect("client");
        let interpreter = Interpreter { way, address, http, ear: ear.clone(), turn: Vec::new() };
        runtime.spawn(interpreter.run(recogniser, frames));
        Reference { mouth, ear }
    }

    pub fn push(&self, frame: &[i16]) {
        self.mouth.send(frame.to_vec()).expect("the interpreter runs");
    }

    /// Fills a frame with what is to be heard, and silence.
    pub fn pull(&self, out: &mut [i16]) {
        let mut ear = self.ear.lock().expect("ear");
        let mut filled = 0;
        while filled < out.len() {
            let Some(first) = ear.front().cloned() else { break };
            let mut sound = first.lock().expect("sound");
            let take = if sound.playable { sound.samples.len().min(out.len() - filled) } else { 0 };
            for (to, from) in out[filled..].iter_mut().zip(sound.samples.drain(..take)) {
                *to = from;
            }
            filled += take;
            if !(sound.over && sound.samples.is_empty()) {
                break;
            }
            ear.pop_front();
        }
        out[filled..].fill(0);
    }
}

impl Interpreter {
    async fn run(mut self, recogniser: Recogniser, mut frames: mpsc::UnboundedReceiver<Vec<i16>>) {
        let query = match recogniser {
            Recogniser::V1 => {
                "/v1/listen?model=nova-3&language=en&interim_results=true&punctuate=true&endpointing=300&utterance_end_ms=1000"
            }
            Recogniser::Flux => "/v2/listen?model=flux-general-en",
        };
        let url = format!("ws://{}{query}&encoding=linear16&sample_rate={RATE}", self.address);
        let mut request = url.into_client_request().expect("request");
        request.headers_mut().insert("authorization", "Token k".parse().expect("header"));
        let (socket, _) = tokio_tungstenite::connect_async(request).await.expect("the emulator listens");
        let (mut out, mut back) = socket.split();
        // Warm, so that the first text does not pay for the connection.
        self.translate("en").await;
        loop {
            tokio::select! {
                frame = frames.recv() => {
                    let Some(frame) = frame else { return };
                    let bytes: Vec<u8> = frame.iter().flat_map(|s| s.to_le_bytes()).collect();
                    out.send(Message::Binary(bytes.into())).await.expect("the emulator hears");
                }
                message = back.next() => {
                    let Some(Ok(message)) = message else { return };
                    if let Ok(text) = message.to_text() && let Ok(json) = serde_json::from_str(text) {
                        self.hear(&json);
                    }
                }
            }
        }
    }

    fn hear(&mut self, message: &Value) {
        let (text, over) = if message["event"] == "EndOfTurn" {
            (message["transcript"].as_str(), true)
        } else if message["is_final"] == true {
            (message["channel"]["alternatives"][0]["transcript"].as_str(), message["speech_final"] == true)
        } else {
            (None, message["type"] == "UtteranceEnd")
        };
        self.turn.extend(text.filter(|t| !t.is_empty()).map(str::to_owned));
        if (self.way == Way::StreamFinals || over) && !self.turn.is_empty() {
            let text = std::mem::take(&mut self.turn).join(" ");
            self.interpret(text);
        }
    }

    fn interpret(&self, text: String) {
        let sound = Arc::new(Mutex::new(Sound { playable: self.way == Way::StreamFinals, ..Sound::default() }));
        self.ear.lock().expect("ear").push_back(sound.clone());
        let worker = Interpreter { http: self.http.clone(), ear: self.ear.clone(), turn: Vec::new(), ..*self };
        tokio::spawn(async move {
            let text = worker.translate(&text).await;
            worker.speak(&text, &sound).await;
        });
    }

    async fn translate(&self, text: &str) -> String {
        let request = self.http.post(format!("http://{}/v2/translate", self.address));
        let body = json!({"text": [text], "source_lang": "EN", "target_lang": "ES"});
        let request = request.header("authorization", "DeepL-Auth-Key k").header("content-type", "application/json");
        let reply = request.body(body.to_string()).send().await.expect("translation").bytes().await.expect("body");
        let reply: Value = serde_json::from_slice(&reply).expect("JSON");
        reply["translations"][0]["text"].as_str().unwrap_or_else(|| panic!("no text in {reply}")).to_owned()
    }

    async fn speak(&self, text: &str, sound: &Mutex<Sound>) {
        let url =
            format!("http://{}/v1/text-to-speech/21m00Tcm4TlvDq8ikWAM/stream?output_format=pcm_{RATE}", self.address);
        let body = json!({"text": text, "model_id": "eleven_flash_v2_5"});
        let request = self.http.post(url).header("xi-api-key", "k").header("content-type", "application/json");
        let mut reply = request.body(body.to_string()).send().await.expect("speech");
        assert!(reply.status().is_success(), "{}", reply.status());
        let mut odd = Vec::new();
        while let Some(bytes) = reply.chunk().await.expect("audio") {
            odd.extend_from_slice(&bytes);
            let whole = odd.len() / 2 * 2;
            let samples = odd[..whole].chunks_exact(2).map(|b| i16::from_le_bytes([b[0], b[1]]));
            sound.lock().expect("sound").samples.extend(samples);
            odd.drain(..whole);
        }
        let mut sound = sound.lock().expect("sound");
        (sound.playable, sound.over) = (true, true);
    }
}
