//! Scripted translators, and what the tests of translation share.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::super::test_server::{Notes, Server, read_request, reply};
use super::{Media, NOWHERE, SESSION};
use crate::config::SessionConfig;
use crate::engine::{NetCommand, SegmentId, TranslateJob};
use crate::net::FromNet;
use crate::provider::test_config::{config, language};
use crate::provider::{LinkState, Stage, StageError};

/// What a vendor does with a request.
pub(super) enum Act {
    /// Translates, as its protocol wants it.
    Translate,
    /// Answers with a status and a JSON body.
    Reply(u16, String),
    /// Sends these pieces of a raw reply, each by itself, and closes.
    Raw(Vec<Vec<u8>>),
    /// The same, and resets the connection.
    Reset(Vec<u8>),
    /// Says nothing as long as the client waits.
    Silence,
    /// Waits until the test has added a note `go`, then translates.
    Wait,
}

/// A reply with status 200 and `body`, and more headers.
pub(super) fn whole(body: &[u8], headers: &str) -> Act {
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n{headers}\r\n", body.len());
    Act::Raw(vec![[head.as_bytes(), body].concat()])
}

/// Server-sent events in these pieces; the end of the connection is the end of the reply.
pub(super) fn events(pieces: impl IntoIterator<Item = impl Into<Vec<u8>>>) -> Act {
    let head =
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nx-request-id: req-7\r\nconnection: close\r\n\r\n";
    Act::Raw(std::iter::once(head.to_vec()).chain(pieces.into_iter().map(Into::into)).collect())
}

/// A translator of any protocol. `script` gets the number of the translation (from 0) and its texts; requests that
/// translate nothing are noted as `greet` and answered with `greeting`.
pub(super) fn vendor_that_greets(
    notes: &Notes,
    greeting: impl Fn(usize) -> (u16, &'static str) + Send + Sync + 'static,
    script: impl Fn(usize, &[String]) -> Act + Send + Sync + 'static,
) -> Server {
    let (notes, asked, greeted) = (notes.clone(), Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
    let script = Arc::new((script, greeting));
    Server::start(move |_, mut tcp| {
        let (notes, asked, greeted) = (notes.clone(), asked.clone(), greeted.clone());
        let script = Arc::clone(&script);
        async move {
            while let Some((line, body)) = read_request(&mut tcp).await {
                if line.starts_with("GET") {
                    let (status, body) = script.1(greeted.fetch_add(1, Ordering::SeqCst));
                    notes.add("greet", line);
                    reply(&mut tcp, status, body).await;
                    continue;
                }
                let texts = texts(&body);
                let number = asked.fetch_add(1, Ordering::SeqCst);
                notes.add("asked", texts.join("|"));
                if !act(&mut tcp, script.0(number, &texts), &line, &texts, &notes).await {
                    return;
                }
            }
        }
    })
}

/// The same with a kind greeting.
pub(super) fn vendor(notes: &Notes, script: impl Fn(usize, &[String]) -> Act + Send + Sync + 'static) -> Server {
    vendor_that_greets(notes, |_| (200, "{}"), script)
}

/// False if the connection is over.
async fn act(tcp: &mut TcpStream, act: Act, line: &str, texts: &[String], notes: &Notes) -> bool {
    match act {
        Act::Translate => reply(tcp, 200, &translation(line, texts)).await,
        Act::Reply(status, body) => reply(tcp, status, &body).await,
        Act::Raw(pieces) => {
            for piece in pieces {
                let _ = tcp.write_all(&piece).await;
                let _ = tcp.flush().await;
            }
            return false;
        }
        Act::Reset(bytes) => {
            let _ = tcp.write_all(&bytes).await;
            let _ = tcp.set_zero_linger();
            return false;
        }
        Act::Silence => {
            while read_request(tcp).await.is_some() {}
            return false;
        }
        Act::Wait => {
            while notes.all("go").is_empty() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            reply(tcp, 200, &translation(line, texts)).await;
        }
    }
    true
}

/// The texts of a request of any of the protocols.
fn texts(body: &str) -> Vec<String> {
    let body: Value = serde_json::from_str(body).expect("JSON");
    let several = [&body["text"], &body["q"]].into_iter().find_map(Value::as_array);
    let strings = |values: &[Value]| values.iter().filter_map(|v| v.as_str().map(str::to_owned)).collect();
    match several {
        Some(texts) => strings(texts),
        None => strings(&[body["messages"].as_array().and_then(|m| m.last()).expect("messages")["content"].clone()]),
    }
}

/// `deepl:Hello` and its like.
fn translation(line: &str, texts: &[String]) -> String {
    let all = |name: &str| texts.iter().map(|text| format!("{name}:{text}")).collect::<Vec<_>>();
    let value = match line {
        _ if line.contains("/v2/translate") => {
            json!({"translations": all("deepl").into_iter().map(|text| json!({"text": text})).collect::<Vec<_>>()})
        }
        _ if line.contains("/chat/completions") => {
            json!({"choices": [{"index": 0, "message": {"content": all("openai")[0]}, "finish_reason": "stop"}]})
        }
        _ => json!({"translatedText": all("libretranslate")}),
    };
    value.to_string()
}

/// Settings with these providers in their order, and `more`.
pub(super) fn settings(providers: &[(&str, &Server)], more: &[(&str, &str)]) -> Arc<SessionConfig> {
    let names: Vec<&str> = providers.iter().map(|(name, _)| *name).collect();
    let names = names.join(",");
    let urls: Vec<(String, String)> =
        providers.iter().map(|(name, server)| (format!("{name}.base_url"), server.url())).collect();
    let mut all =
        vec![("mt.provider", names.as_str()), ("deepgram.base_url", NOWHERE), ("elevenlabs.base_url", NOWHERE)];
    all.extend(urls.iter().map(|(key, url)| (key.as_str(), url.as_str())));
    all.extend_from_slice(more);
    Arc::new(config(&all))
}

/// Asks for a translation of `text` into Spanish.
pub(super) fn ask(media: &mut Media, config: &Arc<SessionConfig>, segment: u64, text: &str, budget_ms: u64) {
    ask_into(media, config, segment, text, budget_ms, "es");
}

pub(super) fn ask_into(
    media: &mut Media,
    config: &Arc<SessionConfig>,
    segment: u64,
    text: &str,
    budget_ms: u64,
    target: &str,
) {
    media.apply(NetCommand::Translate(TranslateJob {
        session: SESSION,
        segment: SegmentId(segment),
        source: language("en"),
        target: language(target),
        text: text.to_owned(),
        context: Vec::new(),
        config: Arc::clone(config),
        budget: Duration::from_millis(budget_ms),
    }));
}

/// The answer for a segment, seen already or still to come.
pub(super) fn answer(media: &mut Media, wanted: u64) -> Result<String, StageError> {
    let pick = |message: &FromNet| match message {
        FromNet::Translated { segment, result, .. } if *segment == SegmentId(wanted) => Some(result.clone()),
        _ => None,
    };
    match media.seen.iter().find_map(pick) {
        Some(result) => result,
        None => media.wait("translation", pick),
    }
}

/// What was told about translators so far: `deepl ready`, `deepl down 403 at once`.
pub(super) fn told(media: &Media) -> Vec<String> {
    let mut told = Vec::new();
    for message in &media.seen {
        if let FromNet::Link { stage: Stage::Mt, provider, state, .. } = message {
            told.push(match state {
                LinkState::Ready => format!("{provider} ready"),
                LinkState::Down { error, retry_in: Some(Duration::ZERO) } => {
                    format!("{provider} down {} at once", error.code)
                }
                LinkState::Down { error, .. } => format!("{provider} down {}", error.code),
                other => format!("{provider} {other:?}"),
            });
        }
    }
    told
}

/// That each of these segments was answered once.
pub(super) fn once(media: &Media, segments: impl IntoIterator<Item = u64>) {
    for wanted in segments {
        let answers = media
            .seen
            .iter()
            .filter(|m| matches!(m, FromNet::Translated { segment: SegmentId(s), .. } if *s == wanted));
        assert_eq!(answers.count(), 1, "segment {wanted} in {:#?}", media.seen);
    }
}
