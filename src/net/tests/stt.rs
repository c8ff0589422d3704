use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use super::super::test_server::{Notes, Peer, Server, refuse};
use super::{Media, NOWHERE, SESSION, reach, until};
use crate::engine::NetCommand;
use crate::net::FromNet;
use crate::provider::{ErrorClass, Stage, SttEvent};

const RATE: u32 = 16_000;

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn results(start: f64, duration: f64, text: &str, is_final: bool) -> serde_json::Value {
    json!({"type": "Results", "start": start, "duration": duration, "is_final": is_final, "speech_final": is_final,
        "channel": {"alternatives": [{"transcript": text, "words": [
            {"word": text, "punctuated_word": text, "start": start, "end": start + duration, "confidence": 1.0}]}]}})
}

/// 20 ms whose samples are all `value` (below 100 it is a pause).
fn frame(at: Duration, value: i16) -> NetCommand {
    NetCommand::Audio { session: SESSION, at, samples: vec![value; 320] }
}

fn open(media: &mut Media, server: &str) {
    media.apply(NetCommand::OpenStt { session: SESSION, config: reach(server, NOWHERE, NOWHERE), rate: RATE });
}

#[test]
fn a_stream_from_open_to_closed() {
    let notes = Notes::default();
    let seen = notes.clone();
    let server = Server::start(move |_, tcp| {
        let notes = notes.clone();
        async move {
            let Some(mut peer) = Peer::accept(tcp).await else {
                return;
            };
            notes.add("uri", peer.uri.clone());
            let mut bytes = 0;
            while let Some(message) = peer.next().await {
                match message {
                    Message::Binary(data) => {
                        assert!(!data.is_empty() && data.len() <= 3200, "{} bytes", data.len());
                        notes.add("audio", format!("{:?}", &data[..2]));
                        let before = bytes;
                        bytes += data.len();
                        if before < 640 && bytes >= 640 {
                            peer.send(json!({"type": "NewThing", "x": 1})).await;
                            peer.send(json!({"type": "SpeechStarted", "timestamp": 0.01})).await;
                            peer.send(results(0.0, 0.02, "hi", false)).await;
                        }
                    }
                    Message::Text(text) if text.contains("Finalize") => {
                        peer.send(results(0.0, 0.04, "Hi.", true)).await;
                        peer.send(json!({"type": "UtteranceEnd", "last_word_end": 0.04})).await;
                    }
                    Message::Text(text) => {
                        assert!(text.contains("CloseStream"), "{text}");
                        peer.send(results(0.04, 0.02, "", true)).await;
                        peer.send(json!({"type": "Metadata", "duration": bytes as f64 / 32_000.0})).await;
                        let _ = peer.ws.close(None).await;
                    }
                    _ => {}
                }
            }
        }
    });
    let mut media = Media::new();
    open(&mut media, &server.url());
    media.apply(frame(ms(10_000), 258));
    let at = media.stt("start of speech", |event| match event {
        SttEvent::SpeechStarted { at } => Some(*at),
        _ => None,
    });
    assert_eq!(at, ms(10_010));
    let interim = media.stt("interim", |event| match event {
        SttEvent::Interim(transcript) => Some(transcript.clone()),
        _ => None,
    });
    assert_eq!((interim.text.as_str(), interim.start, interim.end), ("hi", ms(10_000), ms(10_020)));
    media.apply(frame(ms(10_020), 258));
    media.apply(NetCommand::FinalizeStt { session: SESSION });
    let words = media.stt("final", |event| match event {
        SttEvent::Final { transcript, speech_final: true } => Some(transcript.words.clone()),
        _ => None,
    });
    assert_eq!((words[0].text.as_str(), words[0].end), ("Hi.", ms(10_040)));
    let end = media.stt("utterance end", |event| match event {
        SttEvent::UtteranceEnd { last_word_end } => Some(*last_word_end),
        _ => None,
    });
    assert_eq!(end, ms(10_040));
    media.apply(frame(ms(30_000), 258));
    media.apply(NetCommand::CloseStt { session: SESSION, drain: true });
    let last = media.stt("last final", |event| match event {
        SttEvent::Final { transcript, .. } => Some(transcript.clone()),
        _ => None,
    });
    assert_eq!((last.text.as_str(), last.start, last.end), ("", ms(30_000), ms(30_020)));
    media.stt("closed", |event| (*event == SttEvent::Closed).then_some(()));
    let lost = media.seen.iter().filter(|m| matches!(m, FromNet::Stt { event: SttEvent::Lost { .. }, .. })).count();
    assert_eq!(lost, 0, "{:#?}", media.seen);
    assert!(seen.all("audio").iter().all(|bytes| bytes == "[2, 1]"), "little-endian: {:?}", seen.all("audio"));
    assert!(seen.all("uri")[0].starts_with("/v1/listen?model=nova-3&language=en&encoding=linear16&sample_rate=16000"));
    let unknown = media.port.counters().values().into_iter().find(|(name, _)| *name == "unknown_messages");
    assert!(unknown.is_some_and(|(_, count)| count >= 1));
}

#[test]
fn a_refused_key_is_told_and_not_hammered() {
    let body = r#"{"err_code":"INVALID_AUTH","err_msg":"Invalid credentials.","request_id":"r-body"}"#;
    let server = Server::start(move |_, tcp| async move {
        let reply = format!(
            "HTTP/1.1 401 Unauthorized\r\ndg-error: Invalid credentials.\r\ndg-request-id: r-head\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        refuse(tcp, &reply).await;
    });
    let mut media = Media::new();
    open(&mut media, &server.url());
    let (error, retry_in) = media.down(Stage::Stt);
    assert_eq!(error.class, ErrorClass::Configuration);
    assert_eq!(error.message, "Invalid credentials.");
    assert_eq!(error.request_id.as_deref(), Some("r-head"));
    assert!(retry_in.is_some_and(|pause| pause >= Duration::from_secs(29)), "{retry_in:?}");
    // What could not be sent is told when the session ends, and the end is told too.
    media.apply(frame(ms(500), 1));
    media.apply(NetCommand::CloseStt { session: SESSION, drain: true });
    let lost = media.stt("loss", |event| match event {
        SttEvent::Lost { start, end } => Some((*start, *end)),
        _ => None,
    });
    assert_eq!(lost, (ms(500), ms(520)));
    media.stt("closed", |event| (*event == SttEvent::Closed).then_some(()));
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);
}

#[test]
fn too_large_a_message_ends_the_connection_not_us() {
    let server = Server::start(|number, tcp| async move {
        let Some(mut peer) = Peer::accept(tcp).await else {
            return;
        };
        if number == 0 {
            peer.send(json!({"type": "Results", "junk": "x".repeat(2 << 20)})).await;
        }
        while peer.next().await.is_some() {}
    });
    let mut media = Media::new();
    open(&mut media, &server.url());
    let (error, _) = media.down(Stage::Stt);
    assert_eq!((error.class, error.code.as_str()), (ErrorClass::RetryNow, "message_too_long"));
    media.ready(Stage::Stt);
}

#[test]
fn a_silent_session_keeps_its_connection() {
    let notes = Notes::default();
    let seen = notes.clone();
    let server = Server::start(move |_, tcp| {
        let notes = notes.clone();
        async move {
            let Some(mut peer) = Peer::accept(tcp).await else {
                return;
            };
            while let Some(message) = peer.next().await {
                match message {
                    Message::Binary(data) => {
                        notes.add("sent", format!("{} zero {}", data.len(), data.iter().all(|b| *b == 0)))
                    }
                    Message::Text(text) => notes.add("sent", text.to_string()),
                    _ => {}
                }
            }
        }
    });
    let mut media = Media::new();
    open(&mut media, &server.url());
    media.ready(Stage::Stt);
    until("keep-alive", || seen.all("sent").len() == 2);
    // The vendor wants some audio in the first 10 s; afterwards a word is enough.
    assert_eq!(seen.all("sent"), ["640 zero true", r#"{"type":"KeepAlive"}"#]);
}

#[test]
fn what_is_too_much_is_sent_slowly_and_told() {
    let notes = Notes::default();
    let seen = notes.clone();
    let server = Server::start(move |_, tcp| {
        let notes = notes.clone();
        async move {
            let Some(mut peer) = Peer::accept(tcp).await else {
                return;
            };
            let begun = std::time::Instant::now();
            let mut samples = 0usize;
            while let Some(message) = peer.next().await {
                if let Message::Binary(data) = message {
                    samples += data.len() / 2;
                    let speed = (samples as f64 / f64::from(RATE) - 0.6) / begun.elapsed().as_secs_f64();
                    if speed > 1.25 {
                        notes.add("too fast", speed.to_string());
                    }
                    notes.add("samples", samples.to_string());
                }
            }
        }
    });
    let mut media = Media::new();
    open(&mut media, &server.url());
    for i in 0..400 {
        media.apply(frame(ms(i * 20), 1));
    }
    // 5 s of 8 are kept, and a little was sent at once.
    media.stt("loss", |event| matches!(event, SttEvent::Lost { end, .. } if *end == ms(3000)).then_some(()));
    let lost = media.seen.iter().filter_map(|message| match message {
        FromNet::Stt { event: SttEvent::Lost { start, end }, .. } => Some(*end - *start),
        _ => None,
    });
    let lost: Duration = lost.sum();
    assert!(lost >= ms(2300) && lost <= ms(3000), "{lost:?}");
    until("2 s of audio", || seen.all("samples").last().is_some_and(|n| n.parse().unwrap_or(0) >= 2 * RATE));
    assert_eq!(seen.all("too fast"), Vec::<String>::new());
}
