//! Synthesis with vendors that fail, lie, are busy, or are not there.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use crossbeam_channel::bounded;
use futures_util::SinkExt;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use super::super::runtime::Restart;
use super::super::test_server::{Notes, PATIENCE, Peer, Server, read_request, refuse, reply};
use super::super::tts::Tts;
use super::super::tts_queue::{Closing, TtsQueue};
use super::super::{CHANNEL_SIZE, Driver, Outbox, Runtime};
use super::tts::{audio, ending, next, speak};
use super::{Media, ROOM, SESSION, until};
use crate::engine::{NetCommand, SegmentId, SessionId};
use crate::net::FromNet;
use crate::provider::test_config::{config, language};
use crate::provider::{ErrorClass, LinkState, SpeechChunk, Stage, StageError};

pub(super) fn open(media: &mut Media, session: SessionId, settings: &[(&str, &str)]) {
    let config = Arc::new(config(settings));
    media.apply(NetCommand::OpenTts { session, target: language("es"), config, rate: 16_000 });
}

/// Waits until a provider has this state.
fn link(media: &mut Media, wanted: &str, is: impl Fn(&LinkState) -> bool) {
    media.wait("link", |message| match message {
        FromNet::Link { stage: Stage::Tts, provider, state, .. } if *provider == wanted && is(state) => Some(()),
        _ => None,
    });
}

fn ready(media: &mut Media, wanted: &str) {
    link(media, wanted, |state| *state == LinkState::Ready);
}

pub(super) fn failure(end: SpeechChunk) -> StageError {
    match end {
        SpeechChunk::Failed(error) => error,
        other => panic!("not a failure: {other:?}"),
    }
}

/// What was given for a segment, without its end: lengths of audio and marks.
pub(super) fn given(media: &Media, wanted: u64) -> Vec<String> {
    let chunks = media.seen.iter().filter_map(|message| match message {
        FromNet::Speech { segment, chunk, .. } if *segment == SegmentId(wanted) => Some(chunk),
        _ => None,
    });
    chunks
        .filter_map(|chunk| match chunk {
            SpeechChunk::Audio(samples) => Some(samples.len().to_string()),
            SpeechChunk::Reached(byte) => Some(format!("<{byte}>")),
            _ => None,
        })
        .collect()
}

/// Audio of `samples` samples for characters of 10 ms each.
pub(super) fn aligned(context: &Value, chars: &str, samples: usize) -> Value {
    let starts: Vec<usize> = (0..chars.chars().count()).map(|i| i * 10).collect();
    let alignment = json!({"chars": chars.chars().map(String::from).collect::<Vec<_>>(),
        "charStartTimesMs": starts, "charDurationsMs": vec![10; starts.len()]});
    let mut message = audio(context, &[1, 0].repeat(samples));
    message["alignment"] = alignment;
    message
}

pub(super) async fn last(peer: &mut Peer, context: &Value) {
    peer.send(json!({"isFinal": true, "contextId": context})).await;
}

/// The next text of a peer: its context and itself.
pub(super) async fn text(peer: &mut Peer) -> Option<(Value, String)> {
    loop {
        let message = next(peer).await?;
        if message["flush"] == true {
            return Some((message["context_id"].clone(), message["text"].as_str()?.trim_end().to_owned()));
        }
    }
}

pub(super) async fn is_request(tcp: &TcpStream) -> bool {
    let mut head = [0; 4];
    while tcp.peek(&mut head).await.is_ok_and(|n| n > 0 && n < 4) {
        tokio::task::yield_now().await;
    }
    &head == b"POST"
}

/// Speaks every text that comes over a websocket, as one sample of `value`.
async fn serve(tcp: TcpStream, notes: &Notes, value: u8) {
    let Some(mut peer) = Peer::accept(tcp).await else { return };
    while let Some((context, text)) = text(&mut peer).await {
        notes.add("ws", text);
        peer.send(audio(&context, &[value, 0])).await;
        last(&mut peer, &context).await;
    }
}

/// Replies to one request with a status and raw bytes.
pub(super) async fn bytes(tcp: &mut TcpStream, head: &str, body: &[u8]) {
    let head = format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\n\r\n", body.len());
    let _ = tcp.write_all(&[head.as_bytes(), body].concat()).await;
}

#[test]
fn a_drop_leaves_marks_and_the_rest_is_spoken_over_the_next_connection() {
    let notes = Notes::default();
    let seen = notes.clone();
    let server = Server::start(move |number, tcp| {
        let notes = notes.clone();
        async move {
            if number > 0 {
                return serve(tcp, &notes, 7).await;
            }
            let Some(mut peer) = Peer::accept(tcp).await else { return };
            let Some((context, _)) = text(&mut peer).await else { return };
            peer.send(aligned(&context, "uno dos t", 9 * 160)).await;
            // Neither a close frame nor a last word: the connection is simply gone.
            drop(peer);
        }
    });
    let mut media = Media::new();
    open(&mut media, SESSION, &[("elevenlabs.base_url", &server.url()), ("tts.provider", "elevenlabs")]);
    media.ready(Stage::Tts);
    media.apply(speak(1, "uno dos tres"));
    let (_, end) = ending(&mut media, 1);
    assert_eq!(failure(end).class, ErrorClass::RetryNow);
    assert_eq!(given(&media, 1), ["<0>", "480", "<3>", "640", "<7>", "320"]);
    // As the engine does it.
    media.seen.clear();
    media.apply(speak(1, "tres"));
    assert_eq!(ending(&mut media, 1), (vec![7], SpeechChunk::End));
    assert_eq!(seen.all("ws"), ["tres"]);
}

#[test]
fn the_next_provider_speaks_and_the_first_one_comes_back() {
    let (notes, healthy) = (Notes::default(), Notes::default());
    let (seen, heal) = (notes.clone(), healthy.clone());
    let elevenlabs = Server::start(move |_, mut tcp| {
        let (notes, healthy) = (notes.clone(), healthy.clone());
        async move {
            if is_request(&tcp).await {
                while let Some((line, body)) = read_request(&mut tcp).await {
                    notes.add("http", format!("{line} {body}"));
                    let line = json!({"audio_base64": STANDARD.encode([3, 0, 4, 0]), "alignment": {"characters": ["u", "n", "o"],
                        "character_start_times_seconds": [0, 0, 0], "character_end_times_seconds": [0, 0, 0.0001]}});
                    bytes(&mut tcp, "200 OK\r\ncontent-type: application/json", format!("{line}\n\n").as_bytes()).await;
                }
            } else if healthy.all("yes").is_empty() {
                refuse(tcp, "HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n").await;
            } else {
                serve(tcp, &notes, 9).await;
            }
        }
    });
    let mut media = Media::new();
    open(&mut media, SESSION, &[("elevenlabs.base_url", &elevenlabs.url())]);
    ready(&mut media, "elevenlabs_http");
    let down = |message: &FromNet| {
        matches!(message, FromNet::Link { provider: "elevenlabs", state: LinkState::Down { error, retry_in }, .. }
        if error.code == "503" && retry_in.is_some_and(|pause| pause.is_zero()))
    };
    assert!(media.seen.iter().any(down), "{:?}", media.seen);
    media.apply(speak(1, "uno"));
    assert_eq!(ending(&mut media, 1), (vec![3, 4], SpeechChunk::End));
    assert_eq!(given(&media, 1), ["<0>", "2", "<3>"]);
    let request = &seen.all("http")[0];
    assert!(request.contains("/stream/with-timestamps?") && request.contains(r#""text":"uno""#), "{request}");
    heal.add("yes", "");
    ready(&mut media, "elevenlabs");
    media.apply(speak(2, "dos"));
    assert_eq!(ending(&mut media, 2), (vec![9], SpeechChunk::End));
    assert_eq!(seen.all("ws"), ["dos"]);
}

#[test]
fn aura_speaks_clause_by_clause_when_elevenlabs_is_out() {
    let body = r#"{"detail":{"status":"quota_exceeded","message":"0 credits"}}"#;
    let elevenlabs = Server::start(move |_, mut tcp| async move {
        while read_request(&mut tcp).await.is_some() {
            reply(&mut tcp, 401, body).await;
        }
    });
    let notes = Notes::default();
    let seen = notes.clone();
    let aura = Server::start(move |_, mut tcp| {
        let notes = notes.clone();
        async move {
            while let Some((line, body)) = read_request(&mut tcp).await {
                notes.add("line", line);
                let text =
                    serde_json::from_str::<Value>(&body).expect("JSON")["text"].as_str().unwrap_or_default().to_owned();
                let n = notes.all("text").len() as u8 + 1;
                notes.add("text", text);
                bytes(&mut tcp, "200 OK\r\ncontent-type: audio/l16;rate=16000", &[n, 0, n, 0]).await;
            }
        }
    });
    let mut media = Media::new();
    let settings = [
        ("elevenlabs.base_url", &*elevenlabs.url()),
        ("deepgram.base_url", &*aura.url()),
        ("tts.provider", "elevenlabs,elevenlabs_http,aura"),
    ];
    open(&mut media, SESSION, &settings);
    let whole = "Buenos días, señora. ¿Cómo está usted hoy? Me alegro mucho de verla.";
    media.apply(speak(1, whole));
    assert_eq!(ending(&mut media, 1), (vec![1, 1, 2, 2, 3, 3], SpeechChunk::End));
    assert_eq!(seen.all("text"), ["Buenos días, señora.", "¿Cómo está usted hoy?", "Me alegro mucho de verla."]);
    assert!(
        seen.all("line")[0]
            .starts_with("POST /v1/speak?model=aura-2-celeste-es&encoding=linear16&container=none&sample_rate=16000")
    );
    let ends = [whole.find(" ¿"), whole.find(" Me"), Some(whole.len())].map(|at| format!("<{}>", at.unwrap_or(0)));
    assert_eq!(given(&media, 1), ["<0>", "2", &ends[0], "2", &ends[1], "2", &ends[2]]);
    let serves = |message: &FromNet| matches!(message, FromNet::Link { provider: "aura", state: LinkState::Ready, .. });
    assert!(media.seen.iter().any(serves), "{:?}", media.seen);
}

#[test]
fn a_clause_that_fails_leaves_the_ones_before_it() {
    for (status, body, class) in [
        (
            401,
            r#"{"err_code":"INVALID_AUTH","err_msg":"Invalid credentials.","request_id":"r7"}"#,
            ErrorClass::Configuration,
        ),
        (402, r#"{"err_code":"PAYMENT","err_msg":"No credit.","request_id":"r7"}"#, ErrorClass::ProviderOut),
        (429, r#"{"err_code":"TOO_MANY_REQUESTS","err_msg":"Wait.","request_id":"r7"}"#, ErrorClass::RetryLater(None)),
        (500, r#"{"err_code":"INTERNAL","err_msg":"Oops.","request_id":"r7"}"#, ErrorClass::RetryLater(None)),
    ] {
        let aura = Server::start(move |_, mut tcp| async move {
            let mut first = true;
            while read_request(&mut tcp).await.is_some() {
                match std::mem::take(&mut first) {
                    true => bytes(&mut tcp, "200 OK", &[1, 0]).await,
                    false => reply(&mut tcp, status, body).await,
                }
            }
        });
        let mut media = Media::new();
        open(&mut media, SESSION, &[("deepgram.base_url", &aura.url()), ("tts.provider", "aura")]);
        media.ready(Stage::Tts);
        media.apply(speak(1, "La primera frase es esta. La segunda ya no llega."));
        let (samples, end) = ending(&mut media, 1);
        let error = failure(end);
        assert_eq!((samples, error.class, error.request_id.as_deref()), (vec![1], class, Some("r7")), "{status}");
        assert_eq!(given(&media, 1), ["<0>", "1", "<25>"], "{status}");
    }
}

#[test]
fn what_cannot_be_read_fails_the_text_and_what_is_not_known_does_not() {
    let raw = |kind, payload: Vec<u8>| Message::Frame(Frame::message(payload, OpCode::Data(kind), true));
    /// What is sent, and the samples or the error's code that come of it.
    type Row = (&'static str, Vec<Message>, Result<Vec<i16>, &'static str>);
    let rows: Vec<Row> = vec![
        ("bad base64", vec![Message::text(r#"{"audio":"%%%","contextId":"s1"}"#)], Err("bad_message")),
        ("truncated JSON", vec![Message::text(r#"{"audio":"AQ"#)], Err("bad_message")),
        ("a wrong type", vec![Message::text(r#"{"audio":7,"contextId":"s1"}"#)], Err("bad_message")),
        ("a list", vec![Message::text("[1]")], Err("bad_message")),
        ("invalid UTF-8", vec![raw(Data::Text, vec![0xff, 0xfe])], Err("protocol")),
        ("a reserved opcode", vec![raw(Data::Reserved(3), vec![1])], Err("protocol")),
        ("giant", vec![Message::text("x".repeat(2 << 20))], Err("message_too_long")),
        (
            "an error",
            vec![Message::text(r#"{"error":"system_busy","message":"m","contextId":"s1"}"#)],
            Err("system_busy"),
        ),
        ("unknown types", vec![Message::text(r#"{"type":"new"}"#), Message::binary(vec![1, 2, 3])], Ok(vec![5, 6])),
        ("missing fields", vec![Message::text("{}"), Message::text(r#"{"contextId":"s1"}"#)], Ok(vec![5, 6])),
        ("no context's name", vec![Message::text(r#"{"audio":"CAA="}"#)], Ok(vec![5, 8, 6])),
        (
            "an odd byte",
            vec![
                Message::text(r#"{"audio":"CA==","contextId":"s1"}"#),
                Message::text(r#"{"audio":"AA==","contextId":"s1"}"#),
            ],
            Ok(vec![5, 8, 6]),
        ),
        ("another's context", vec![Message::text(r#"{"audio":"CAA=","contextId":"s99"}"#)], Ok(vec![5, 6])),
        (
            "an alignment that lies",
            vec![Message::text(r#"{"audio":"CAA=","alignment":{"chars":["x"]},"contextId":"s1"}"#)],
            Ok(vec![5, 8, 6]),
        ),
    ];
    for (name, messages, want) in rows {
        let server = Server::start(move |_, tcp| {
            let messages = messages.clone();
            async move {
                let Some(mut peer) = Peer::accept(tcp).await else { return };
                while let Some((context, _)) = text(&mut peer).await {
                    peer.send(audio(&context, &[5, 0])).await;
                    for message in messages.clone() {
                        let _ = peer.ws.send(message).await;
                    }
                    peer.send(audio(&context, &[6, 0])).await;
                    last(&mut peer, &context).await;
                }
            }
        });
        let mut media = Media::new();
        open(&mut media, SESSION, &[("elevenlabs.base_url", &server.url()), ("tts.provider", "elevenlabs")]);
        media.ready(Stage::Tts);
        media.apply(speak(1, "uno"));
        let (samples, end) = ending(&mut media, 1);
        match (want, end) {
            (Ok(want), SpeechChunk::End) => assert_eq!(samples, want, "{name}"),
            (Err(code), SpeechChunk::Failed(error)) => {
                assert_eq!((samples, error.code.as_str()), (vec![5], code), "{name}")
            }
            (_, end) => panic!("{name}: {end:?}"),
        }
    }
}

#[test]
fn a_quota_that_ends_in_mid_call_moves_the_call_to_the_next_provider() {
    let server = Server::start(|_, tcp| async move {
        let Some(mut peer) = Peer::accept(tcp).await else { return };
        let Some((context, _)) = text(&mut peer).await else { return };
        peer.send(aligned(&context, "uno ", 640)).await;
        let reason = "This request exceeds your quota: quota_exceeded.";
        let _ = peer.ws.close(Some(CloseFrame { code: 1008.into(), reason: reason.into() })).await;
        while peer.next().await.is_some() {}
    });
    let aura = Server::start(|_, mut tcp| async move {
        while read_request(&mut tcp).await.is_some() {
            bytes(&mut tcp, "200 OK", &[4, 0]).await;
        }
    });
    let mut media = Media::new();
    let settings = [
        ("elevenlabs.base_url", &*server.url()),
        ("deepgram.base_url", &*aura.url()),
        ("tts.provider", "elevenlabs,aura"),
    ];
    open(&mut media, SESSION, &settings);
    media.ready(Stage::Tts);
    media.apply(speak(1, "uno dos"));
    let error = failure(ending(&mut media, 1).1);
    assert_eq!(
        (error.class, given(&media, 1)),
        (ErrorClass::ProviderOut, ["<0>", "480", "<3>", "160"].map(str::to_owned).to_vec())
    );
    media.seen.clear();
    media.apply(speak(1, "dos"));
    assert_eq!(ending(&mut media, 1), (vec![4], SpeechChunk::End));
}

#[test]
fn a_black_hole_is_noticed_and_the_text_spoken_over_another_connection() {
    let notes = Notes::default();
    let server = Server::start(move |number, tcp| {
        let notes = notes.clone();
        async move {
            if number > 0 {
                return serve(tcp, &notes, 7).await;
            }
            let Some(mut peer) = Peer::accept(tcp).await else { return };
            let _ = text(&mut peer).await;
            // Neither reads nor writes any more, and pings are not answered.
            std::future::pending::<()>().await;
        }
    });
    let mut media = Media::new();
    open(&mut media, SESSION, &[("elevenlabs.base_url", &server.url()), ("tts.provider", "elevenlabs")]);
    media.ready(Stage::Tts);
    let begun = Instant::now();
    media.apply(speak(1, "uno"));
    assert_eq!(ending(&mut media, 1), (vec![7], SpeechChunk::End));
    assert!(begun.elapsed().as_millis() >= 1800, "not before its time: {:?}", begun.elapsed());
    assert_eq!(server.connections.load(Ordering::SeqCst), 2);
    let down = |message: &FromNet| matches!(message, FromNet::Link { state: LinkState::Down { error, .. }, .. } if error.code == "no_answer");
    assert!(media.seen.iter().any(down));
}

#[test]
fn a_text_without_audio_goes_to_the_next_provider_though_the_first_one_lives() {
    let server = Server::start(|_, tcp| async move {
        let Some(mut peer) = Peer::accept(tcp).await else { return };
        while text(&mut peer).await.is_some() {}
    });
    let aura = Server::start(|_, mut tcp| async move {
        while read_request(&mut tcp).await.is_some() {
            bytes(&mut tcp, "200 OK", &[4, 0]).await;
        }
    });
    let mut media = Media::new();
    let settings = [
        ("elevenlabs.base_url", &*server.url()),
        ("deepgram.base_url", &*aura.url()),
        ("tts.provider", "elevenlabs,aura"),
    ];
    open(&mut media, SESSION, &settings);
    media.ready(Stage::Tts);
    media.apply(speak(1, "uno"));
    assert_eq!(ending(&mut media, 1), (vec![4], SpeechChunk::End));
    assert_eq!(server.connections.load(Ordering::SeqCst), 1, "the connection stays");
}

#[test]
fn a_text_that_stops_in_its_middle_goes_on_with_the_next_provider() {
    let server = Server::start(|_, tcp| async move {
        let Some(mut peer) = Peer::accept(tcp).await else { return };
        while let Some((context, _)) = text(&mut peer).await {
            peer.send(aligned(&context, "uno ", 640)).await;
        }
    });
    let aura = Server::start(|_, mut tcp| async move {
        while read_request(&mut tcp).await.is_some() {
            bytes(&mut tcp, "200 OK", &[4, 0]).await;
        }
    });
    let mut media = Media::new();
    let settings = [
        ("elevenlabs.base_url", &*server.url()),
        ("deepgram.base_url", &*aura.url()),
        ("tts.provider", "elevenlabs,aura"),
    ];
    open(&mut media, SESSION, &settings);
    media.ready(Stage::Tts);
    media.apply(speak(1, "uno dos"));
    let error = failure(ending(&mut media, 1).1);
    assert_eq!((error.class, error.code.as_str()), (ErrorClass::RetryNow, "no_audio"));
    media.seen.clear();
    media.apply(speak(1, "dos"));
    assert_eq!(ending(&mut media, 1), (vec![4], SpeechChunk::End));
    assert_eq!(server.connections.load(Ordering::SeqCst), 1, "the connection stays");
}

#[test]
fn audio_that_cannot_be_assigned_makes_all_texts_begin_again() {
    let notes = Notes::default();
    let seen = notes.clone();
    let server = Server::start(move |number, tcp| {
        let notes = notes.clone();
        async move {
            if number > 0 {
                return serve(tcp, &notes, 7).await;
            }
            let Some(mut peer) = Peer::accept(tcp).await else { return };
            let (_, _) = (text(&mut peer).await, text(&mut peer).await);
            peer.send(json!({"audio": "AQA="})).await;
            while peer.next().await.is_some() {}
        }
    });
    let mut media = Media::new();
    open(&mut media, SESSION, &[("elevenlabs.base_url", &server.url()), ("tts.provider", "elevenlabs")]);
    media.ready(Stage::Tts);
    media.apply(speak(1, "uno"));
    media.apply(speak(2, "dos"));
    for segment in [1, 2] {
        assert_eq!(ending(&mut media, segment), (vec![7], SpeechChunk::End), "{segment}");
    }
    assert_eq!(seen.all("ws"), ["uno", "dos"]);
}

#[test]
fn a_budget_that_is_used_up_ends_the_spending() {
    let notes = Notes::default();
    let seen = notes.clone();
    let server = Server::start(move |_, tcp| {
        let notes = notes.clone();
        async move { serve(tcp, &notes, 7).await }
    });
    let mut media = Media::new();
    let settings = [("elevenlabs.base_url", &*server.url()), ("tts.provider", "elevenlabs"), ("budget.tts_chars", "4")];
    open(&mut media, SESSION, &settings);
    media.ready(Stage::Tts);
    media.apply(speak(1, "hola"));
    assert_eq!(ending(&mut media, 1), (vec![7], SpeechChunk::End));
    media.apply(speak(2, "no"));
    let error = failure(ending(&mut media, 2).1);
    assert_eq!((error.class, error.code.as_str()), (ErrorClass::ProviderOut, "budget"));
    assert_eq!(seen.all("ws"), ["hola"]);
    let down = |message: &FromNet| matches!(message, FromNet::Link { state: LinkState::Down { error, .. }, .. } if error.code == "budget");
    assert!(media.seen.iter().any(down));
}

#[test]
fn who_finds_no_place_waits_for_one() {
    let notes = Notes::default();
    let server = Server::start(move |_, tcp| {
        let notes = notes.clone();
        async move { serve(tcp, &notes, 7).await }
    });
    let mut media = Media::new();
    let settings =
        [("elevenlabs.base_url", &*server.url()), ("tts.provider", "elevenlabs"), ("elevenlabs.max_streams", "1")];
    open(&mut media, SessionId(1), &settings);
    media.ready(Stage::Tts);
    open(&mut media, SESSION, &settings);
    link(&mut media, "elevenlabs", |state| *state == LinkState::Waiting);
    media.apply(speak(1, "uno"));
    media.apply(NetCommand::CloseTts { session: SessionId(1), target: language("es") });
    assert_eq!(ending(&mut media, 1), (vec![7], SpeechChunk::End));
    until("both connections", || server.connections.load(Ordering::SeqCst) == 2);
}

#[test]
fn a_connection_that_is_not_used_is_replaced_before_the_vendor_closes_it() {
    for limit in ["0", "1"] {
        let notes = Notes::default();
        let seen = notes.clone();
        let server = Server::start(move |number, tcp| {
            let notes = notes.clone();
            async move {
                if number > 0 {
                    return serve(tcp, &notes, 7).await;
                }
                let Some(mut peer) = Peer::accept(tcp).await else { return };
                let said = text(&mut peer).await;
                notes.add("first", format!("{said:?}"));
            }
        });
        let runtime = Runtime::acquire(2).expect("a runtime");
        let (sender, receiver) = bounded(CHANNEL_SIZE);
        let driver = Driver {
            session: SESSION,
            outbox: Outbox { sender, room: ROOM },
            dialers: runtime.dialers(),
            accounts: runtime.accounts(),
            meter: Arc::default(),
            ca_file: None,
            counters: runtime.counters(),
        };
        let settings = [
            ("elevenlabs.base_url", &*server.url()),
            ("tts.provider", "elevenlabs"),
            ("elevenlabs.max_streams", limit),
        ];
        let queue = Arc::new(TtsQueue::default());
        let mut tts = Tts::new(driver, Arc::new(config(&settings)), language("es"), 16_000, Arc::clone(&queue));
        tts.unused = Duration::from_millis(100);
        let (tts, again) = (Arc::new(tts), Arc::clone(&queue));
        let token = runtime.task_starter().token();
        runtime.task_starter().spawn(token, move || Arc::clone(&tts).run(), |_| async { Restart::No });
        until("another connection", || server.connections.load(Ordering::SeqCst) >= 2);
        until("the end of the first one", || !seen.all("first").is_empty());
        assert_eq!(seen.all("first"), ["None"], "closed without a text");
        assert!(again.push(SegmentId(1), "uno".to_owned()));
        let deadline = Instant::now() + PATIENCE;
        let mut told = Vec::new();
        while !matches!(told.last(), Some(FromNet::Speech { chunk: SpeechChunk::End, .. })) {
            told.push(receiver.recv_deadline(deadline).expect("an end").1);
        }
        let down = |message: &FromNet| matches!(message, FromNet::Link { state: LinkState::Down { .. }, .. });
        assert!(!told.iter().any(down), "nothing was lost: {told:?}");
        queue.close(Closing::Now);
    }
}
