//! A chat completion as server-sent events, cut as networks cut them.

use super::chunk;
use crate::app::App;
use crate::slots::Slot;
use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use rand::RngExt;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};

/// What to say.
pub struct Reply {
    /// Of the completion.
    pub id: String,
    /// Unix seconds.
    pub created: u64,
    /// As asked.
    pub model: String,
    /// The pieces of the answer.
    pub said: Vec<String>,
    /// `stop` or `length`.
    pub finish: &'static str,
    /// If asked for.
    pub usage: Option<Value>,
}

/// Streams a reply from `due` on; with `broken`, half of it and that error.
pub fn respond(app: Arc<App>, reply: Reply, due: Instant, broken: Option<String>, slot: Slot) -> Response {
    let (sender, receiver) = mpsc::channel::<Bytes>(4);
    tokio::spawn(async move {
        let _slot = slot;
        // An error means that the client has gone.
        let _ = send(&app, reply, due, broken, &sender).await;
    });
    let body = futures_util::stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|bytes| (Ok::<_, Infallible>(bytes), receiver))
    });
    ([(header::CONTENT_TYPE, "text/event-stream; charset=utf-8")], Body::from_stream(body)).into_response()
}

type Sent = Result<(), mpsc::error::SendError<Bytes>>;

async fn send(app: &App, reply: Reply, due: Instant, broken: Option<String>, sender: &mpsc::Sender<Bytes>) -> Sent {
    let scenario = app.scenario();
    let event = async |text: String| -> Sent {
        let mut bytes = Bytes::from(text);
        let cut = app
            .chance(|rng| rng.random_bool(scenario.openai.split_rate).then(|| rng.random_range(1..bytes.len().max(2))));
        if let Some(cut) = cut.filter(|cut| *cut < bytes.len()) {
            sender.send(bytes.split_to(cut)).await?;
            // Bytes that follow at once would come in one piece all the same.
            sleep(Duration::from_millis(1)).await;
        }
        sender.send(bytes).await
    };
    let data = |value: &Value| format!("data: {value}\n\n");
    event(": heartbeat\n\n".to_owned()).await?;
    sleep_until(due).await;
    let role = json!({"role": "assistant", "content": "", "refusal": null});
    event(data(&chunk(&reply, role, Value::Null))).await?;
    let upto = if broken.is_some() { reply.said.len() / 2 } else { reply.said.len() };
    for (i, piece) in reply.said[..upto].iter().enumerate() {
        event(data(&chunk(&reply, json!({"content": piece}), Value::Null))).await?;
        if i % 8 == 3 {
            event(": still here\n\n".to_owned()).await?;
        }
        sleep(Duration::from_millis(scenario.openai.chunk_ms)).await;
    }
    if let Some(error) = broken {
        return event(format!("data: {error}\n\n")).await;
    }
    event(data(&chunk(&reply, json!({}), json!(reply.finish)))).await?;
    if let Some(usage) = &reply.usage {
        let mut last = chunk(&reply, Value::Null, Value::Null);
        last["choices"] = json!([]);
        last["usage"] = usage.clone();
        event(data(&last)).await?;
    }
    event("data: [DONE]\n\n".to_owned()).await
}
