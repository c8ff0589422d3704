use std::sync::atomic::Ordering;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use super::super::test_server::{Notes, Peer, Server, refuse};
use super::{Media, NOWHERE, SESSION, reach, until};
use crate::engine::{NetCommand, SegmentId, SpeakJob};
use crate::net::FromNet;
use crate::provider::test_config::language;
use crate::provider::{ErrorClass, LinkState, SpeechChunk, Stage};

fn open(media: &mut Media, server: &str) {
    let config = reach(NOWHERE, NOWHERE, server);
    media.apply(NetCommand::OpenTts { session: SESSION, target: language("es"), config, rate: 16_000 });
}

pub(super) fn speak(segment: u64, text: &str) -> NetCommand {
    NetCommand::Speak(SpeakJob {
        session: SESSION,
        segment: SegmentId(segment),
        target: language("es"),
        text: text.to_owned(),
    })
}

/// The end of a segment, and the samples before it.
pub(super) fn ending(media: &mut Media, wanted: u64) -> (Vec<i16>, SpeechChunk) {
    let ends = |message: &FromNet| match message {
        FromNet::Speech { segment, chunk, .. } if *segment == SegmentId(wanted) => {
            (!matches!(chunk, SpeechChunk::Audio(_) | SpeechChunk::Reached(_))).then(|| chunk.clone())
        }
        _ => None,
    };
    let end = media.seen.iter().find_map(ends);
    let end = end.unwrap_or_else(|| media.wait("end of a segment", ends));
    let samples = media.seen.iter().filter_map(|message| match message {
        FromNet::Speech { segment, chunk: SpeechChunk::Audio(samples), .. } if *segment == SegmentId(wanted) => {
            Some(samples)
        }
        _ => None,
    });
    (samples.flatten().copied().collect(), end)
}

/// The next JSON message of a peer.
pub(super) async fn next(peer: &mut Peer) -> Option<Value> {
    match peer.next().await? {
        Message::Text(text) => serde_json::from_str(&text).ok(),
        _ => None,
    }
}

pub(super) fn audio(context: &Value, bytes: &[u8]) -> Value {
    json!({"audio": STANDARD.encode(bytes), "isFinal": null, "alignment": null, "contextId": context})
}

#[test]
fn texts_are_spoken_side_by_side_whatever_the_cutting() {
    let notes = Notes::default();
    let seen = notes.clone();
    let server = Server::start(move |_, tcp| {
        let notes = notes.clone();
        async move {
            let Some(mut peer) = Peer::accept(tcp).await else {
                return;
            };
            notes.add("uri", peer.uri.clone());
            let mut contexts = Vec::new();
            while let Some(message) = next(&mut peer).await {
                notes.add("message", message.to_string());
                if message["close_context"] == true {
                    contexts.push(message["context_id"].clone());
                }
                if contexts.len() == 2 {
                    // Odd pieces of two contexts, one among the other.
                    let (a, b) = (&contexts[0], &contexts[1]);
                    peer.send(audio(a, &[1, 0, 2])).await;
                    peer.send(audio(b, &[9])).await;
                    peer.send(json!({"type": "flush_done"})).await;
                    peer.send(audio(a, &[0, 3, 0])).await;
                    peer.send(audio(b, &[0, 8, 0])).await;
                    peer.send(json!({"audio": null, "isFinal": true, "context_id": b})).await;
                    peer.send(json!({"isFinal": true, "contextId": a})).await;
                    contexts.clear();
                }
            }
        }
    });
    let mut media = Media::new();
    open(&mut media, &server.url());
    media.ready(Stage::Tts);
    media.apply(speak(1, "Hola uno"));
    media.apply(speak(2, "dos"));
    assert_eq!(ending(&mut media, 1), (vec![1, 2, 3], SpeechChunk::End));
    assert_eq!(ending(&mut media, 2), (vec![9, 8], SpeechChunk::End));
    // Nothing to say is said at once, without the vendor.
    media.apply(speak(3, "..."));
    assert_eq!(ending(&mut media, 3), (vec![], SpeechChunk::End));
    let sent: Vec<Value> = seen.all("message").iter().filter_map(|text| serde_json::from_str(text).ok()).collect();
    let first: Vec<&Value> = sent.iter().filter(|message| message["context_id"] == "s1").collect();
    assert_eq!(first[0]["text"], " ");
    assert_eq!((&first[1]["text"], &first[1]["flush"]), (&json!("Hola uno "), &json!(true)));
    assert_eq!(first[2]["close_context"], true);
    assert!(seen.all("uri")[0].contains("/v1/text-to-speech/voice1/multi-stream-input?"));
    media.apply(NetCommand::CloseTts { session: SESSION, target: language("es") });
    until("goodbye", || seen.all("message").iter().any(|message| message.contains("close_socket")));
}

#[test]
fn a_drop_repeats_only_what_was_not_begun() {
    let server = Server::start(|number, tcp| async move {
        let Some(mut peer) = Peer::accept(tcp).await else {
            return;
        };
        let mut contexts = Vec::new();
        while let Some(message) = next(&mut peer).await {
            if message["close_context"] != true {
                continue;
            }
            contexts.push(message["context_id"].clone());
            if number == 0 && contexts.len() == 2 {
                peer.send(audio(&contexts[0], &[5, 0])).await;
                let frame = CloseFrame { code: 1011.into(), reason: "gone".into() };
                let _ = peer.ws.close(Some(frame)).await;
                while peer.next().await.is_some() {}
                return;
            }
            if number == 1 {
                peer.send(audio(&message["context_id"], &[7, 0])).await;
                peer.send(json!({"isFinal": true, "contextId": message["context_id"]})).await;
            }
        }
    });
    let mut media = Media::new();
    open(&mut media, &server.url());
    media.ready(Stage::Tts);
    media.apply(speak(1, "uno"));
    media.apply(speak(2, "dos"));
    let (begun, end) = ending(&mut media, 1);
    assert_eq!(begun, [5]);
    assert!(matches!(&end, SpeechChunk::Failed(error) if error.class == ErrorClass::RetryNow), "{end:?}");
    assert_eq!(ending(&mut media, 2), (vec![7], SpeechChunk::End));
    assert_eq!(server.connections.load(Ordering::SeqCst), 2);
}

#[test]
fn four_at_a_time_and_not_too_many_behind() {
    let notes = Notes::default();
    let seen = notes.clone();
    let go = Notes::default();
    let told = go.clone();
    let server = Server::start(move |_, tcp| {
        let (notes, go) = (notes.clone(), go.clone());
        async move {
            let Some(mut peer) = Peer::accept(tcp).await else {
                return;
            };
            while let Some(message) = next(&mut peer).await {
                if message["close_context"] != true {
                    continue;
                }
                notes.add("context", message["context_id"].to_string());
                if notes.all("context").len() == 4 {
                    while go.all("go").is_empty() {
                        tokio::task::yield_now().await;
                    }
                    peer.send(audio(&json!("s0"), &[1, 0])).await;
                    peer.send(json!({"isFinal": true, "contextId": "s0"})).await;
                }
            }
        }
    });
    let mut media = Media::new();
    // All before the connection is there: the queue takes 64 of them.
    open(&mut media, &server.url());
    for segment in 0..80 {
        media.apply(speak(segment, "hola"));
    }
    media.apply(NetCommand::Cancel { session: SESSION, segment: SegmentId(4), target: language("es") });
    told.add("go", "");
    let (_, refused) = ending(&mut media, 79);
    assert!(matches!(&refused, SpeechChunk::Failed(error) if error.code == "queue_full"), "{refused:?}");
    assert_eq!(ending(&mut media, 0), (vec![1], SpeechChunk::End));
    until("the next one", || seen.all("context").len() >= 5);
    assert_eq!(seen.all("context"), ["\"s0\"", "\"s1\"", "\"s2\"", "\"s3\"", "\"s5\""]);
    media.apply(speak(1000, "hola"));
    let other = NetCommand::Speak(SpeakJob {
        session: SESSION,
        segment: SegmentId(2000),
        target: language("fr"),
        text: "salut".to_owned(),
    });
    media.apply(other);
    let (_, closed) = ending(&mut media, 2000);
    assert!(matches!(&closed, SpeechChunk::Failed(error) if error.code == "not_open"), "{closed:?}");
}

#[test]
fn a_cancelled_text_is_not_heard() {
    let notes = Notes::default();
    let seen = notes.clone();
    let go = Notes::default();
    let told = go.clone();
    let server = Server::start(move |_, tcp| {
        let (notes, go) = (notes.clone(), go.clone());
        async move {
            let Some(mut peer) = Peer::accept(tcp).await else {
                return;
            };
            while let Some(message) = next(&mut peer).await {
                if message["close_context"] != true {
                    continue;
                }
                notes.add("context", message["context_id"].to_string());
                while go.all("go").is_empty() {
                    tokio::task::yield_now().await;
                }
                peer.send(audio(&message["context_id"], &[1, 0])).await;
                peer.send(json!({"isFinal": true, "contextId": message["context_id"]})).await;
            }
        }
    });
    let mut media = Media::new();
    open(&mut media, &server.url());
    media.apply(speak(1, "uno"));
    until("context", || seen.all("context").len() == 1);
    media.apply(NetCommand::Cancel { session: SESSION, segment: SegmentId(1), target: language("es") });
    told.add("go", "");
    media.apply(speak(2, "dos"));
    assert_eq!(ending(&mut media, 2), (vec![1], SpeechChunk::End));
    let first = |message: &FromNet| matches!(message, FromNet::Speech { segment: SegmentId(1), .. });
    assert!(!media.seen.iter().any(first), "{:?}", media.seen);
}

#[test]
fn a_wrong_voice_fails_texts_at_once() {
    let body = r#"{"detail":{"status":"voice_not_found","message":"No such voice"}}"#;
    let server = Server::start(move |_, tcp| async move {
        refuse(tcp, &format!("HTTP/1.1 400 Bad\r\ncontent-length: {}\r\n\r\n{body}", body.len())).await;
    });
    let mut media = Media::new();
    open(&mut media, &server.url());
    media.apply(speak(1, "uno"));
    let (_, end) = ending(&mut media, 1);
    assert!(matches!(&end, SpeechChunk::Failed(error) if error.class == ErrorClass::Configuration), "{end:?}");
    let down = |message: &FromNet| {
        matches!(message, FromNet::Link { stage: Stage::Tts, state: LinkState::Down { error, .. }, .. }
            if error.code == "voice_not_found")
    };
    assert!(media.seen.iter().any(down));
}
