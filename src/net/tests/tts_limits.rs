//! Synthesis with vendors that never end, connect without speaking, or stop early; and what a cancelled text leaves.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use crossbeam_channel::{Receiver, bounded};
use futures_util::poll;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::super::runtime::Restart;
use super::super::test_server::{Notes, PATIENCE, Peer, Server, read_request};
use super::super::tts::{NO_AUDIO, Tts};
use super::super::tts_queue::TtsQueue;
use super::super::{CHANNEL_SIZE, Driver, Outbox, Runtime};
use super::tts::{audio, ending, speak};
use super::tts_faults::{aligned, bytes, failure, given, is_request, last, open, text};
use super::{Media, NOWHERE, ROOM, SESSION, until};
use crate::engine::{NetCommand, RoomId, SegmentId};
use crate::net::FromNet;
use crate::provider::test_config::{config, language};
use crate::provider::{ErrorClass, SpeechChunk};

/// A line of `/stream/with-timestamps`: audio, and the characters it speaks.
fn line(samples: usize, chars: &str) -> Vec<u8> {
    let mut line = json!({"audio_base64": STANDARD.encode([1, 0].repeat(samples))});
    if !chars.is_empty() {
        let times: Vec<f64> = (0..chars.len()).map(|_| 0.0).collect();
        let chars: Vec<String> = chars.chars().map(String::from).collect();
        line["alignment"] = json!({"characters": chars, "character_start_times_seconds": times,
            "character_end_times_seconds": times});
    }
    format!("{line}\n").into_bytes()
}

/// Takes a request and sends `piece` again and again until nobody reads any more.
async fn drip(tcp: &mut TcpStream, first: &[u8], piece: &[u8]) {
    if read_request(tcp).await.is_none() {
        return;
    }
    let head = b"HTTP/1.1 200 OK\r\n\r\n";
    let mut sent = tcp.write_all(&[head, first].concat()).await;
    while sent.is_ok() {
        tokio::time::sleep(Duration::from_millis(100)).await;
        sent = tcp.write_all(piece).await;
    }
}

#[test]
fn a_reply_that_drips_is_given_up() {
    let rows = [
        ("elevenlabs_http", b"\n".to_vec(), false),
        ("elevenlabs_http", line(16, ""), true),
        ("aura", b"x".to_vec(), false),
    ];
    let begun = Instant::now();
    let mut running: Vec<(&str, bool, Server, Media)> = Vec::new();
    for (provider, piece, heard) in rows {
        let server = Server::start(move |_, mut tcp| {
            let piece = piece.clone();
            async move { drip(&mut tcp, b"", &piece).await }
        });
        let mut media = Media::new();
        let url = server.url();
        let settings = [("elevenlabs.base_url", &*url), ("deepgram.base_url", &*url), ("tts.provider", provider)];
        open(&mut media, SESSION, &settings);
        media.apply(speak(1, "uno dos"));
        running.push((provider, heard, server, media));
    }
    for (provider, heard, _server, mut media) in running {
        let (samples, end) = ending(&mut media, 1);
        assert_eq!((failure(end).code.as_str(), !samples.is_empty()), ("timeout", heard), "{provider}");
        assert!(begun.elapsed() >= NO_AUDIO, "{provider}: not before its time");
    }
}

#[test]
fn a_request_whose_text_is_cancelled_ends_at_once() {
    let notes = Notes::default();
    let seen = notes.clone();
    let server = Server::start(move |_, mut tcp| {
        let notes = notes.clone();
        async move {
            // So much audio that nothing but the cancellation can be why it is left.
            drip(&mut tcp, &line(16_000, "").repeat(60), b"\n").await;
            notes.add("left", "");
        }
    });
    let mut media = Media::new();
    open(&mut media, SESSION, &[("elevenlabs.base_url", &server.url()), ("tts.provider", "elevenlabs_http")]);
    media.apply(speak(1, "uno"));
    media.wait("audio", |message| matches!(message, FromNet::Speech { .. }).then_some(()));
    assert!(seen.all("left").is_empty());
    media.apply(NetCommand::Cancel { session: SESSION, segment: SegmentId(1), target: language("es") });
    until("the end of the request", || !seen.all("left").is_empty());
}

/// A synthesiser's parts, for a look at what the room is not told.
struct Rig {
    tts: Arc<Tts>,
    queue: Arc<TtsQueue>,
    receiver: Receiver<(RoomId, FromNet)>,
    runtime: Arc<Runtime>,
}

impl Rig {
    fn new(size: usize, settings: &[(&str, &str)]) -> Self {
        let runtime = Runtime::acquire(2).expect("a runtime");
        let (sender, receiver) = bounded(size);
        let driver = Driver {
            session: SESSION,
            outbox: Outbox { sender, room: ROOM },
            dialers: runtime.dialers(),
            accounts: runtime.accounts(),
            meter: Arc::default(),
            ca_file: None,
            counters: runtime.counters(),
        };
        let queue = Arc::new(TtsQueue::default());
        let tts = Tts::new(driver, Arc::new(config(settings)), language("es"), 16_000, Arc::clone(&queue));
        Self { tts: Arc::new(tts), queue, receiver, runtime }
    }

    fn run(&self) {
        let (tts, starter) = (Arc::clone(&self.tts), self.runtime.task_starter());
        starter.spawn(starter.token(), move || Arc::clone(&tts).run(), |_| async { Restart::No });
    }

    fn push(&self, segment: u64) {
        assert!(self.queue.push(SegmentId(segment), "uno".to_owned()));
    }

    /// The samples that come until as many texts have ended.
    fn ends(&self, count: usize) -> Vec<i16> {
        let (mut samples, mut ended) = (Vec::new(), 0);
        while ended < count {
            match self.receiver.recv_timeout(PATIENCE).expect("an end").1 {
                FromNet::Speech { chunk: SpeechChunk::Audio(more), .. } => samples.extend(more),
                FromNet::Speech { chunk: SpeechChunk::End | SpeechChunk::Failed(_), .. } => ended += 1,
                _ => {}
            }
        }
        samples
    }
}

#[test]
fn a_synthesiser_that_connects_but_gives_no_audio_is_taken_for_out_until_it_speaks() {
    let healthy = Notes::default();
    let heal = healthy.clone();
    let server = Server::start(move |_, tcp| {
        let healthy = healthy.clone();
        async move {
            let Some(mut peer) = Peer::accept(tcp).await else { return };
            while let Some((context, _)) = text(&mut peer).await {
                if !healthy.all("yes").is_empty() {
                    peer.send(audio(&context, &[9, 0])).await;
                    last(&mut peer, &context).await;
                }
            }
        }
    });
    let aura = Server::start(|_, mut tcp| async move {
        while read_request(&mut tcp).await.is_some() {
            bytes(&mut tcp, "200 OK", &[4, 0]).await;
        }
    });
    let (url, other) = (server.url(), aura.url());
    let settings =
        [("elevenlabs.base_url", &*url), ("deepgram.base_url", &*other), ("tts.provider", "elevenlabs,aura")];
    let rig = Rig::new(CHANNEL_SIZE, &settings);
    rig.run();
    until("a connection", || rig.tts.lane.is_ready());
    // Two silent texts cost the connection; the next one stays silent too.
    rig.push(1);
    rig.push(2);
    assert_eq!(rig.ends(2), [4, 4]);
    assert!(rig.tts.roster.works(0), "it may have been bad luck");
    until("another connection", || server.connections.load(Ordering::SeqCst) == 2 && rig.tts.lane.is_ready());
    rig.push(3);
    assert_eq!(rig.ends(1), [4]);
    assert!(!rig.tts.roster.works(0), "that it can be reached does not help");
    heal.add("yes", "");
    let deadline = Instant::now() + PATIENCE;
    for segment in 4.. {
        assert!(Instant::now() < deadline, "it is never tried again");
        rig.push(segment);
        if rig.ends(1) == [9] {
            break;
        }
    }
    assert!(rig.tts.roster.works(0), "it speaks");
}

#[test]
fn connections_over_which_nothing_ever_comes_are_failures() {
    let server = Server::start(|_, tcp| async move {
        let Some(mut peer) = Peer::accept(tcp).await else { return };
        let _ = text(&mut peer).await;
        std::future::pending::<()>().await;
    });
    let rig = Rig::new(CHANNEL_SIZE, &[("elevenlabs.base_url", &server.url()), ("tts.provider", "elevenlabs")]);
    rig.run();
    until("a connection", || rig.tts.lane.is_ready());
    rig.push(1);
    assert!(rig.ends(1).is_empty(), "two connections were tried");
    assert!(rig.tts.roster.works(0));
    rig.push(2);
    until("the third failure", || !rig.tts.roster.works(0));
}

#[test]
fn a_text_that_is_sent_twice_is_counted_twice() {
    let server = Server::start(|number, mut tcp| async move {
        while read_request(&mut tcp).await.is_some() && number > 0 {
            bytes(&mut tcp, "200 OK", &[1, 0]).await;
        }
    });
    let mut media = Media::new();
    open(&mut media, SESSION, &[("deepgram.base_url", &server.url()), ("tts.provider", "aura")]);
    media.apply(speak(1, "uno"));
    assert_eq!(ending(&mut media, 1), (vec![1], SpeechChunk::End));
    assert_eq!(server.connections.load(Ordering::SeqCst), 2);
    assert_eq!(media.port.spent(SESSION).tts_chars, 6);
}

#[test]
fn a_request_uses_the_only_place_of_a_connection_that_is_silent() {
    let (notes, live) = (Notes::default(), Arc::new(AtomicUsize::new(0)));
    let seen = notes.clone();
    let server = Server::start(move |_, mut tcp| {
        let (notes, live) = (notes.clone(), Arc::clone(&live));
        async move {
            live.fetch_add(1, Ordering::SeqCst);
            if is_request(&tcp).await {
                notes.add("open", live.load(Ordering::SeqCst).to_string());
                if read_request(&mut tcp).await.is_some() {
                    bytes(&mut tcp, "200 OK\r\nconnection: close", &line(2, "uno")).await;
                }
            } else if let Some(mut peer) = Peer::accept(tcp).await {
                notes.add("ws", "");
                while text(&mut peer).await.is_some() {}
            }
            live.fetch_sub(1, Ordering::SeqCst);
        }
    });
    let mut media = Media::new();
    let settings = [
        ("elevenlabs.base_url", &*server.url()),
        ("deepgram.base_url", NOWHERE),
        ("tts.provider", "elevenlabs,elevenlabs_http"),
        ("elevenlabs.max_streams", "1"),
    ];
    open(&mut media, SESSION, &settings);
    until("a connection", || !seen.all("ws").is_empty());
    media.apply(speak(1, "uno"));
    assert_eq!(ending(&mut media, 1), (vec![1, 1], SpeechChunk::End));
    assert_eq!(seen.all("open"), ["1"], "never more than the account allows");
    until("the connection again", || seen.all("ws").len() == 2);
}

#[tokio::test]
async fn nothing_of_a_cancelled_text_that_waits_for_room_is_delivered() {
    let rig = Rig::new(1, &[("tts.provider", "elevenlabs")]);
    let sender = &rig.tts.driver.outbox;
    let speech = |value| SpeechChunk::Audio(vec![value]);
    for (segment, ends) in [(1, false), (2, true)] {
        let filler = FromNet::Speech { segment: SegmentId(0), target: language("es"), chunk: SpeechChunk::End };
        assert_eq!(sender.offer(filler), None);
        rig.push(segment);
        let job = rig.queue.next().expect("a text");
        let work = async {
            match ends {
                true => rig.tts.ended(job.clone(), 0, Ok(true)).await,
                false => assert!(!rig.tts.deliver(&job, speech(1)).await),
            }
        };
        tokio::pin!(work);
        assert!(poll!(&mut work).is_pending(), "there is no room");
        assert!(rig.queue.cancel(SegmentId(segment)), "until its end is delivered it is known");
        // As the engine does it: the same segment again.
        rig.push(segment);
        let again = rig.queue.next().expect("a text");
        assert!(rig.receiver.try_recv().is_ok(), "room");
        work.await;
        assert!(rig.receiver.try_recv().is_err(), "of the text that was cancelled");
        assert!(rig.tts.deliver(&again, speech(2)).await);
        let got = rig.receiver.try_recv().expect("a piece").1;
        assert!(matches!(&got, FromNet::Speech { chunk, .. } if *chunk == speech(2)), "{got:?}");
    }
}

#[test]
fn words_that_the_alignment_lacks_at_the_end_are_asked_for_again() {
    /// Speaks a text over a websocket.
    async fn say(peer: &mut Peer, context: &Value, text: &str) {
        match text {
            "uno dos tres" => peer.send(aligned(context, "uno dos ", 8 * 160)).await,
            "sin fin cierto" => {
                peer.send(aligned(context, "sin ", 4 * 160)).await;
                peer.send(audio(context, &[1, 0].repeat(8 * 160))).await;
            }
            whole => peer.send(aligned(context, whole, whole.len() * 160)).await,
        }
        last(peer, context).await;
    }
    let server = Server::start(|_, mut tcp| async move {
        if is_request(&tcp).await {
            while read_request(&mut tcp).await.is_some() {
                bytes(&mut tcp, "200 OK", &line(2, "uno ")).await;
            }
        } else if let Some(mut peer) = Peer::accept(tcp).await {
            while let Some((context, text)) = text(&mut peer).await {
                say(&mut peer, &context, &text).await;
            }
        }
    });
    for (provider, reached) in [("elevenlabs", "<7>"), ("elevenlabs_http", "<3>")] {
        let mut media = Media::new();
        open(&mut media, SESSION, &[("elevenlabs.base_url", &server.url()), ("tts.provider", provider)]);
        media.apply(speak(1, "uno dos tres"));
        let error = failure(ending(&mut media, 1).1);
        assert_eq!((error.class, error.code.as_str()), (ErrorClass::RetryNow, "cut_short"), "{provider}");
        let marks: Vec<String> = given(&media, 1).into_iter().filter(|mark| mark.starts_with('<')).collect();
        assert_eq!(marks.last().map(String::as_str), Some(reached), "{provider}");
    }
    let mut media = Media::new();
    open(&mut media, SESSION, &[("elevenlabs.base_url", &server.url()), ("tts.provider", "elevenlabs")]);
    // Nobody knows what audio without an alignment says; and a text that is covered has ended.
    for (segment, text) in [(1, "sin fin cierto"), (2, "tres")] {
        media.apply(speak(segment, text));
        assert_eq!(ending(&mut media, segment).1, SpeechChunk::End, "{text}");
    }
}
