//! One context of a synthesis socket: collects text until enough is there, and generates audio in order.

use super::alignment;
use super::params::{Params, Refusal};
use crate::app::App;
use crate::speech::{self, Chunk, Wanted};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::mpsc;

/// What a context's task tells its socket.
pub enum Told {
    /// A message for the client.
    Send(Value),
    /// The context has said isFinal and is gone.
    Done(String),
}

enum Job {
    Speak(String),
    End,
}

/// An open context.
pub struct Context {
    /// Whether text is still taken.
    pub closing: bool,
    /// When its client last spoke to it.
    pub last: tokio::time::Instant,
    buffer: String,
    schedule: Vec<usize>,
    generations: usize,
    jobs: mpsc::UnboundedSender<Job>,
    stop: Arc<AtomicBool>,
    auto: bool,
}

impl Context {
    /// Opens a context whose audio goes to `out`; `id` is `None` on the single-context socket.
    pub fn open(
        app: &Arc<App>,
        params: &Params,
        id: Option<String>,
        first: &Value,
        out: mpsc::Sender<Told>,
    ) -> Result<Context, Refusal> {
        let schedule = schedule(first)?;
        let (jobs, queue) = mpsc::unbounded_channel();
        let stop = Arc::new(AtomicBool::new(false));
        app.stats.with(|n| {
            n.contexts += 1;
            n.contexts_open += 1;
        });
        tokio::spawn(speak(app.clone(), params.wanted(), id.clone(), queue, stop.clone(), out));
        Ok(Context {
            closing: false,
            last: tokio::time::Instant::now(),
            buffer: String::new(),
            schedule,
            generations: 0,
            jobs,
            stop,
            auto: params.auto_mode,
        })
    }

    /// Takes text; returns how many generations began.
    pub fn text(&mut self, text: &str, flush: bool) -> usize {
        self.buffer.push_str(text);
        let need = self.schedule.get(self.generations).or(self.schedule.last()).copied().unwrap_or(0);
        let enough = self.auto || self.buffer.chars().count() >= need;
        if flush || (enough && !text.trim().is_empty()) { self.generate() } else { 0 }
    }

    fn generate(&mut self) -> usize {
        let text = std::mem::take(&mut self.buffer);
        if text.trim().is_empty() {
            return 0;
        }
        self.generations += 1;
        // The task outlives the queue's sender, so this cannot fail while the context is open.
        let _ = self.jobs.send(Job::Speak(text));
        1
    }

    /// Ends the context: what is left is spoken, or dropped if `stop`. Returns how many generations began.
    pub fn close(&mut self, stop: bool) -> usize {
        if self.closing {
            return 0;
        }
        self.closing = true;
        if stop {
            self.stop.store(true, Ordering::Relaxed);
        }
        let begun = if stop { 0 } else { self.generate() };
        let _ = self.jobs.send(Job::End);
        begun
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// `generation_config.chunk_length_schedule` of the first message, or the default.
fn schedule(first: &Value) -> Result<Vec<usize>, Refusal> {
    let Some(list) = first.pointer("/generation_config/chunk_length_schedule").filter(|v| !v.is_null()) else {
        return Ok(vec![120, 160, 250, 290]);
    };
    let read = |v: &Value| v.as_u64().filter(|n| (50..=500).contains(n)).and_then(|n| usize::try_from(n).ok());
    list.as_array()
        .filter(|list| !list.is_empty())
        .and_then(|list| list.iter().map(read).collect())
        .ok_or_else(|| ("invalid_input_message", "chunk_length_schedule: values from 50 to 500".to_owned()))
}

async fn speak(
    app: Arc<App>,
    wanted: Wanted,
    id: Option<String>,
    mut jobs: mpsc::UnboundedReceiver<Job>,
    stop: Arc<AtomicBool>,
    out: mpsc::Sender<Told>,
) {
    let with_id = |mut value: Value| {
        if let Some(id) = &id {
            value["contextId"] = json!(id);
        }
        value
    };
    while let Some(Job::Speak(text)) = jobs.recv().await {
        if stop.load(Ordering::Relaxed) {
            continue;
        }
        let spoken = speech::run(&app, &wanted, text, &stop, |chunk| {
            let message = Told::Send(with_id(audio(&chunk, id.is_none())));
            let out = out.clone();
            async move { out.send(message).await.is_ok() }
        });
        if let Err(e) = spoken.await {
            app.stats.violation(format!("elevenlabs: synthesis failed: {}", e.message));
            let message = json!({"message": e.message, "error": "synthesis_failed", "code": 1008});
            let _ = out.send(Told::Send(with_id(message))).await;
        }
    }
    let last = if id.is_some() {
        json!({"isFinal": true})
    } else {
        json!({"audio": null, "isFinal": true, "alignment": null, "normalizedAlignment": null})
    };
    app.stats.with(|n| n.contexts_open -= 1);
    let _ = out.send(Told::Send(with_id(last))).await;
    let _ = out.send(Told::Done(id.unwrap_or_default())).await;
}

fn audio(chunk: &Chunk, single: bool) -> Value {
    let aligned = alignment::of_message(chunk);
    let mut message =
        json!({"audio": STANDARD.encode(&chunk.bytes), "alignment": aligned, "normalizedAlignment": aligned});
    if single {
        message["isFinal"] = Value::Null;
    }
    message
}
