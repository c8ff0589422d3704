//! Connections with recognisers that are lost, are refused, or fall silent.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use super::super::test_server::{Notes, Peer, Server, refuse};
use super::{Media, NOWHERE, SESSION, config, until};
use crate::engine::NetCommand;
use crate::net::FromNet;
use crate::provider::{LinkState, Stage, SttEvent};

const RATE: u32 = 16_000;

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A final result with one word.
fn word(start: f64, end: f64, text: &str) -> serde_json::Value {
    json!({"type": "Results", "start": start, "duration": end - start, "is_final": true, "speech_final": true,
        "channel": {"alternatives": [{"transcript": text, "words": [
            {"word": text, "punctuated_word": text, "start": start, "end": end, "confidence": 1.0}]}]}})
}

/// `length` ms whose samples are all `value` (below 100 it is a pause).
fn audio(at: u64, length: u64, value: i16) -> NetCommand {
    NetCommand::Audio { session: SESSION, at: ms(at), samples: vec![value; (length * 16) as usize] }
}

fn open(media: &mut Media, server: &str, more: &[(&str, &str)]) {
    let mut settings =
        vec![("deepgram.base_url", server), ("deepl.base_url", NOWHERE), ("elevenlabs.base_url", NOWHERE)];
    settings.extend(more);
    media.apply(NetCommand::OpenStt { session: SESSION, config: Arc::new(config(&settings)), rate: RATE });
}

/// Samples of a BINARY message.
fn count(message: &Message) -> usize {
    match message {
        Message::Binary(data) => data.len() / 2,
        _ => 0,
    }
}

fn order(media: &Media) -> Vec<String> {
    let told = media.seen.iter().filter_map(|message| match message {
        FromNet::Stt { event, .. } => Some(match event {
            SttEvent::Final { transcript, .. } => format!("final {}", transcript.text),
            SttEvent::Recovered(transcript) => format!("recovered {}", transcript.text),
            SttEvent::Replaying { start, .. } => format!("replaying {}", start.as_millis()),
            SttEvent::Replayed { start, .. } => format!("replayed {}", start.as_millis()),
            SttEvent::Lost { start, end } => format!("lost {}-{}", start.as_millis(), end.as_millis()),
            _ => return None,
        }),
        _ => None,
    });
    let mut told: Vec<String> = told.collect();
    // The end of a gap is told when it is found, so its beginning comes twice.
    let mut seen = std::collections::HashSet::new();
    told.retain(|line| seen.insert(line.clone()) || !line.starts_with("replaying"));
    told
}

#[test]
fn what_a_lost_connection_did_not_answer_is_recognised_again_beside_the_live_stream() {
    let notes = Notes::default();
    let seen = notes.clone();
    let server = Server::start(move |number, tcp| {
        let notes = notes.clone();
        async move {
            let Some(mut peer) = Peer::accept(tcp).await else { return };
            let (mut samples, mut first) = (0, 0);
            while let Some(message) = peer.next().await {
                samples += count(&message);
                if let Message::Binary(data) = &message
                    && first == 0
                {
                    first = i16::from_le_bytes([data[0], data[1]]);
                }
                match (number, first) {
                    (0, _) if samples == 1600 => {
                        // 40 ms are answered for, the other 60 ms are not.
                        peer.send(word(0.0, 0.04, "one")).await;
                        let frame = CloseFrame { code: 1011.into(), reason: "timeout, see NET-0000".into() };
                        let _ = peer.ws.close(Some(frame)).await;
                        while peer.next().await.is_some() {}
                        return;
                    }
                    // The gap: what nobody answered for, and what follows up to the pause.
                    (_, 1002) if matches!(&message, Message::Text(text) if text.contains("CloseStream")) => {
                        notes.add("gap", samples.to_string());
                        peer.send(word(0.0, 0.06, "two")).await;
                        peer.send(json!({"type": "Metadata", "duration": 0.2})).await;
                        return;
                    }
                    (_, 1003) if samples == 3200 + 1600 => peer.send(word(0.2, 0.3, "four")).await,
                    _ => {}
                }
            }
        }
    });
    let mut media = Media::new();
    open(&mut media, &server.url(), &[]);
    media.ready(Stage::Stt);
    media.apply(audio(0, 40, 1001));
    media.apply(audio(40, 60, 1002));
    let (error, retry_in) = media.down(Stage::Stt);
    assert_eq!((error.code.as_str(), error.request_id.as_deref()), ("1011 NET-0000", Some("request-1")));
    assert!(retry_in.is_some_and(|pause| pause <= ms(100)), "{retry_in:?}");
    media.apply(audio(100, 60, 1003));
    media.apply(audio(160, 140, 0));
    media.apply(audio(300, 100, 1003));
    media.stt("the live stream's word", |event| {
        matches!(event, SttEvent::Final { transcript, .. } if transcript.text == "four").then_some(())
    });
    let replayed = |media: &Media| order(media).iter().any(|line| line.starts_with("replayed"));
    if !replayed(&media) {
        media.stt("end of the replay", |event| matches!(event, SttEvent::Replayed { .. }).then_some(()));
    }
    let told = order(&media);
    let place = |line: &str| told.iter().position(|l| l == line).unwrap_or_else(|| panic!("no {line} in {told:?}"));
    assert_eq!(told.len(), 5, "{told:?}");
    assert!(place("final one") < place("replaying 40"), "{told:?}");
    assert!(
        place("recovered two") > place("replaying 40") && place("recovered two") < place("replayed 40"),
        "{told:?}"
    );
    assert!(place("final four") > place("replaying 40"));
    // 60 ms, and 200 ms up to the end of the message in which the pause is long enough.
    assert_eq!(seen.all("gap"), [(260 * 16).to_string()]);
}

#[test]
fn a_gap_that_nobody_recognises_is_lost_with_its_span() {
    let server = Server::start(|number, tcp| async move {
        if number > 1 {
            return refuse(tcp, "HTTP/1.1 503 X\r\ncontent-length: 0\r\n\r\n").await;
        }
        let Some(mut peer) = Peer::accept(tcp).await else { return };
        while let Some(message) = peer.next().await {
            if count(&message) > 0 {
                return;
            }
        }
    });
    let mut media = Media::new();
    open(&mut media, &server.url(), &[]);
    media.ready(Stage::Stt);
    media.apply(audio(1000, 100, 1001));
    media.stt("gap", |event| matches!(event, SttEvent::Replaying { .. }).then_some(()));
    media.apply(NetCommand::CloseStt { session: SESSION, drain: true });
    media.stt("closed", |event| (*event == SttEvent::Closed).then_some(()));
    assert_eq!(order(&media), ["replaying 1000", "lost 1000-1100", "replayed 1000"]);
}

#[test]
fn a_black_hole_is_left_and_nothing_is_lost_in_it() {
    let notes = Notes::default();
    let seen = notes.clone();
    let server = Server::start(move |number, tcp| {
        let notes = notes.clone();
        async move {
            let Some(mut peer) = Peer::accept(tcp).await else { return };
            if number == 0 {
                // Reads nothing and answers nothing, pings included; the connection stays open.
                return std::future::pending().await;
            }
            while let Some(message) = peer.next().await {
                notes.add("audio", count(&message).to_string());
            }
        }
    });
    let mut media = Media::new();
    open(&mut media, &server.url(), &[]);
    media.ready(Stage::Stt);
    media.apply(audio(0, 100, 1001));
    let (error, _) = media.down(Stage::Stt);
    assert_eq!(error.code, "no_sign_of_life");
    until("the audio again", || seen.all("audio").iter().any(|n| n == "1600"));
}

#[test]
fn the_next_provider_serves_until_the_first_is_back() {
    let broken = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let refuses = Arc::clone(&broken);
    let server = Server::start(move |_, tcp| {
        let refuses = Arc::clone(&refuses);
        async move {
            let mut head = [0u8; 16];
            let _ = tcp.peek(&mut head).await;
            if head.starts_with(b"GET /v1/listen") && refuses.load(Ordering::SeqCst) {
                let reply = "HTTP/1.1 503 X\r\nretry-after: 0.1\r\ncontent-length: 0\r\n\r\n";
                return refuse(tcp, reply).await;
            }
            let Some(mut peer) = Peer::accept(tcp).await else { return };
            while let Some(message) = peer.next().await {
                if count(&message) > 0 && peer.uri.starts_with("/v2/") {
                    peer.send(json!({"type": "TurnInfo", "event": "EndOfTurn", "audio_window_start": 0.0,
                        "audio_window_end": 0.1, "transcript": "from flux", "words": []}))
                        .await;
                }
            }
        }
    });
    let mut media = Media::new();
    open(&mut media, &server.url(), &[("stt.provider", "deepgram,flux")]);
    let link = |media: &mut Media| {
        media.wait("link", |message| match message {
            FromNet::Link { provider, state, .. } => Some((*provider, state.clone())),
            _ => None,
        })
    };
    let (provider, state) = link(&mut media);
    assert!(
        matches!(state, LinkState::Down { retry_in: Some(Duration::ZERO), .. }) && provider == "deepgram",
        "{provider} {state:?}"
    );
    assert_eq!(link(&mut media), ("flux", LinkState::Ready));
    media.apply(audio(0, 100, 1001));
    let text = media.stt("final", |event| match event {
        SttEvent::Final { transcript, .. } => Some(transcript.text.clone()),
        _ => None,
    });
    assert_eq!(text, "from flux");
    broken.store(false, Ordering::SeqCst);
    assert_eq!(link(&mut media), ("deepgram", LinkState::Ready));
    assert!(!order(&media).iter().any(|line| line.starts_with("lost")), "{:?}", order(&media));
}

#[test]
fn a_standby_takes_over_without_a_new_connection() {
    let server = Server::start(|number, tcp| async move {
        let Some(mut peer) = Peer::accept(tcp).await else { return };
        while let Some(message) = peer.next().await {
            if number == 0 && count(&message) > 320 {
                return;
            }
        }
    });
    let mut media = Media::new();
    open(&mut media, &server.url(), &[("stt.standby", "on")]);
    media.ready(Stage::Stt);
    until("standby", || server.connections.load(Ordering::SeqCst) == 2);
    // Nobody speaks: there is nothing to replay, so a third connection could only be the live one's.
    let begun = Instant::now();
    media.apply(audio(0, 100, 1));
    media.down(Stage::Stt);
    media.ready(Stage::Stt);
    assert!(begun.elapsed() < Duration::from_secs(10));
    assert_eq!(order(&media), [""; 0]);
}

#[test]
fn a_session_waits_for_a_free_stream_and_a_budget_ends_all() {
    let server = Server::start(|_, tcp| async move {
        let Some(mut peer) = Peer::accept(tcp).await else { return };
        while peer.next().await.is_some() {}
    });
    let mut media = Media::new();
    let more = [("deepgram.max_streams", "1"), ("budget.stt_s", "1")];
    open(&mut media, &server.url(), &more);
    media.ready(Stage::Stt);
    let mut second = Media::new();
    open(&mut second, &server.url(), &more);
    second.wait("waiting", |message| matches!(message, FromNet::Link { state: LinkState::Waiting, .. }).then_some(()));
    for i in 0..11 {
        media.apply(audio(i * 100, 100, 1001));
    }
    let (error, retry_in) = media.down(Stage::Stt);
    assert_eq!((error.code.as_str(), error.message.as_str()), ("budget", "The budget budget.stt_s is used up."));
    assert!(retry_in.is_some_and(|pause| pause > Duration::from_secs(1)));
    // The place is free again.
    second.ready(Stage::Stt);
    assert_eq!(server.connections.load(Ordering::SeqCst), 2);
}

#[test]
fn a_recogniser_that_takes_connections_and_never_answers_is_left_for_the_next() {
    let server = Server::start(|_, tcp| async move {
        let mut head = [0u8; 16];
        let _ = tcp.peek(&mut head).await;
        let mute = head.starts_with(b"GET /v1/listen");
        let Some(mut peer) = Peer::accept(tcp).await else { return };
        while let Some(message) = peer.next().await {
            if count(&message) > 0 && !mute {
                peer.send(json!({"type": "TurnInfo", "event": "EndOfTurn", "audio_window_start": 0.0,
                    "audio_window_end": 0.1, "transcript": "from flux", "words": []}))
                    .await;
            }
        }
    });
    let mut media = Media::new();
    open(&mut media, &server.url(), &[("stt.provider", "deepgram,flux")]);
    media.ready(Stage::Stt);
    for i in 0..70 {
        media.apply(audio(i * 100, 100, 1001));
        std::thread::sleep(ms(60));
    }
    let (error, retry_in) = media.down(Stage::Stt);
    assert_eq!((error.code.as_str(), retry_in), ("no_answer", Some(Duration::ZERO)));
    let provider = media.wait("link", |message| match message {
        FromNet::Link { provider, state: LinkState::Ready, .. } => Some(*provider),
        _ => None,
    });
    assert_eq!(provider, "flux");
    media.stt("flux's final", |event| {
        matches!(event, SttEvent::Final { transcript, .. } if transcript.text == "from flux").then_some(())
    });
}
