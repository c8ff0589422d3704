//! Legs over AudioSocket: on a real Asterisk, and against peers that are none.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use mgw::telephony::audiosocket::{Message, Reader, parse_uuid, write_audio, write_dtmf, write_hangup, write_uuid};
use serde_json::json;

use crate::asterisk::{S, shim_for, talk, wait_words, words};
use crate::ports;
use crate::support::asterisk::phones::RATE;
use crate::support::asterisk::{Asterisk, Codec, LightPhone, Phones};
use crate::support::leg::hear;
use crate::support::phone::{Idle, Network};
use crate::support::shim::{Shim, config};
use crate::support::{Cloud, wait_for};

/// Of the sample configuration: a caller to 7000.
const UUID_7000: &str = "6f0f1c9a-3d64-4f0e-9f63-52a1c2f97000";

#[test]
fn callers_to_7000_and_8888_hear_every_word() {
    let gateway = Asterisk::gateway();
    let cloud = Cloud::start("");
    let shim = shim_for(&gateway, &cloud, "", "");
    // The dialplan application (8 kHz) with ARI, then the channel driver (16 kHz) with the application.
    for (one, other) in [("7000", "8888"), ("7100", "7001")] {
        let a = LightPhone::call(&gateway, one, &[]);
        let b = LightPhone::call(&gateway, other, &[]);
        a.wait_up();
        b.wait_up();
        shim.wait_calls(2);
        a.say(&talk("en", 0, 3));
        b.say(&talk("es", 2000, 3));
        wait_words("15 words at the first", 15, || a.heard());
        wait_words("15 words at the second", 15, || b.heard());
        std::thread::sleep(2 * S);
        assert_eq!(words(&a.heard(), "en"), (2000..2015).collect::<Vec<_>>(), "{one}");
        assert_eq!(words(&b.heard(), "es"), (0..15).collect::<Vec<_>>(), "{other}");
        // Hang-up both ways: the phone that stays is hung up by the shim.
        a.hang_up();
        b.wait_gone();
        gateway.wait_empty(40 * S);
        wait_for("a shim without legs", 40 * S, || shim.metric("mgw_shim_legs") == 0.0);
    }
    assert_eq!(cloud.stats()["violations"], json!([]));
}

#[test]
fn digits_of_an_audiosocket_caller_reach_the_phone_of_the_other() {
    let gateway = Asterisk::gateway();
    let cloud = Cloud::start("");
    let shim = shim_for(&gateway, &cloud, "relay_dtmf = true", "");
    let phones = Phones::new(&gateway);
    let a = phones.call_from("1001", "7000", Codec::Ulaw, &[]);
    let b = phones.call_from("1002", "8888", Codec::Ulaw, &[]);
    a.wait_up();
    b.wait_up();
    shim.wait_calls(2);
    a.send_dtmf("9*");
    wait_for("the digits at the other phone", 20 * S, || b.dtmf() == "9*");
}

/// An Asterisk of our own on one connection.
struct Peer {
    stream: TcpStream,
    reader: Reader,
}

impl Peer {
    fn connect(address: SocketAddr, uuid: &str) -> Peer {
        let mut stream = TcpStream::connect(address).expect("AudioSocket server");
        let mut message = Vec::new();
        write_uuid(&mut message, &parse_uuid(uuid).expect("UUID"));
        stream.write_all(&message).expect("UUID");
        stream.set_read_timeout(Some(S)).expect("timeout");
        Peer { stream, reader: Reader::new() }
    }

    /// Reads for a while; samples that came, and whether the other side hung up.
    fn listen(&mut self, time: Duration) -> (Vec<i16>, bool) {
        let (mut samples, mut buf) = (Vec::new(), [0; 4096]);
        let end = Instant::now() + time;
        while Instant::now() < end {
            match self.stream.read(&mut buf) {
                Ok(0) => return (samples, true),
                Ok(n) => {
                    let mut bytes = &buf[..n];
                    while let Some(message) = self.reader.next(&mut bytes).expect("well-formed") {
                        match message {
                            Message::Audio { samples: s, .. } => {
                                samples.extend(s.chunks_exact(2).map(|b| i16::from_le_bytes([b[0], b[1]])));
                            }
                            Message::Hangup => return (samples, true),
                            other => panic!("Asterisk would drop the call at {other:?}"),
                        }
                    }
                }
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(e) if e.kind() == ErrorKind::ConnectionReset => return (samples, true),
                Err(e) => panic!("{e}"),
            }
        }
        (samples, false)
    }
}

#[test]
fn silence_comes_from_the_first_moment_and_a_hang_up_ends_the_leg() {
    let cloud = Cloud::start("");
    let shim = Shim::start(config(&cloud, ports(), ""));
    let address = shim.audiosocket.expect("it listens");
    let mut peer = Peer::connect(address, UUID_7000);
    // It says nothing and still gets 20 ms of sound every 20 ms.
    let (samples, over) = peer.listen(2 * S);
    assert!(!over);
    assert!((14_000..=16_800).contains(&samples.len()), "{} samples of 8 kHz in 2 s", samples.len());
    assert_eq!(shim.calls()[0]["transport"], "audiosocket");
    let mut message = Vec::new();
    write_dtmf(&mut message, '7').expect("digit");
    peer.stream.write_all(&message).expect("digit");
    wait_for("the digit", 5 * S, || shim.calls()[0]["media"]["leg"]["dtmf_digits"] == 1);
    write_hangup(&mut message);
    peer.stream.write_all(&message).expect("hang-up");
    wait_for("the end of the leg", 20 * S, || shim.calls().is_empty());
    // Hung up from here, it is told so.
    let mut peer = Peer::connect(address, UUID_7000);
    wait_for("the leg", 5 * S, || shim.calls().len() == 1);
    let id = shim.calls()[0]["id"].as_str().expect("id").to_owned();
    shim.change("DELETE", &format!("/calls/{id}"), json!({}));
    assert!(peer.listen(10 * S).1, "nobody hung up");
    wait_for("no sessions", 20 * S, || shim.metric("mgw_sessions") == 0.0);
}

#[test]
fn a_uuid_must_be_known_and_a_registered_one_is_good_for_one_call() {
    let cloud = Cloud::start("");
    let shim = Shim::start(config(&cloud, ports(), ""));
    let address = shim.audiosocket.expect("it listens");
    let body = json!({ "extension": "7000", "room": "room-1" });
    for (token, status) in [(None, 401), (Some("wrong"), 401)] {
        assert_eq!(shim.ask("POST", "/audiosocket", Some(&body), token).0, status);
    }
    let uuid = shim.change("POST", "/audiosocket", body)["uuid"].as_str().expect("UUID").to_owned();
    let mut good = Peer::connect(address, &uuid);
    wait_for("the leg", 5 * S, || shim.calls().len() == 1);
    assert_eq!(shim.calls()[0]["room"], "room-1");
    // The same again, and one that nobody knows: hung up without a leg.
    for uuid in [uuid.as_str(), "00000000-0000-4000-8000-000000000000"] {
        assert!(Peer::connect(address, uuid).listen(5 * S).1, "{uuid} got in");
    }
    let mut no_uuid = TcpStream::connect(address).expect("connect");
    no_uuid.write_all(&[0x10, 0, 2, 0, 0].repeat(10)).expect("audio");
    let mut rest = Vec::new();
    let _ = no_uuid.read_to_end(&mut rest);
    assert!(rest.is_empty(), "audio without a UUID was answered");
    assert_eq!(shim.metric("mgw_shim_audiosocket_refused_unknown_uuid"), 2.0);
    assert!(!good.listen(S).1, "the good one was disturbed");
}

#[test]
fn a_peer_that_does_not_read_loses_frames_and_nobody_else_does() {
    let cloud = Cloud::start("");
    let shim = Shim::start(config(&cloud, ports(), ""));
    let mut deaf = Peer::connect(shim.audiosocket.expect("it listens"), UUID_7000);
    let idle = Idle::new();
    let (_, leg) = shim.open_leg("8888", idle.address(), None);
    let codec = mgw::telephony::codec::Codec::L16Wide;
    let phone = idle.call(leg, codec, Vec::new(), Network::default());
    // It speaks at 48 kHz, so that what it is sent back fills its buffers soon.
    let (mut voice, mut message) = (Vec::new(), Vec::new());
    for sample in talk("en", 0, 2) {
        voice.extend([sample; 3]);
    }
    deaf.stream.set_write_timeout(Some(5 * S)).expect("timeout");
    let begin = Instant::now();
    let mut not_sent = 0;
    for n in 0u32.. {
        let frame: Vec<i16> = voice.iter().skip(n as usize * 960).take(960).copied().collect();
        let frame = if frame.len() == 960 { frame } else { vec![0; 960] };
        write_audio(&mut message, 48_000, &frame).expect("48 kHz");
        deaf.stream.write_all(&message).expect("the socket is always drained");
        let due = begin + Duration::from_millis(20) * (n + 1);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        if n % 50 == 49 {
            let calls = shim.calls();
            let leg = calls.iter().find(|c| c["transport"] == "audiosocket").expect("its leg");
            not_sent = leg["media"]["leg"]["frames_not_sent"].as_u64().expect("number");
        }
        if not_sent > 0 && hear(&phone.heard().0, RATE).words.len() >= 10 {
            break;
        }
        assert!(
            begin.elapsed() < 120 * S,
            "frames not sent {not_sent}, heard {:?}",
            hear(&phone.heard().0, RATE).words
        );
    }
    let heard = phone.finish();
    assert_eq!(words(&heard.samples, "es"), (0..10).collect::<Vec<_>>());
    assert_eq!(heard.uneven, 0);
}

#[test]
fn half_open_connections_do_not_harm_calls() {
    let cloud = Cloud::start("");
    let shim = Shim::start(config(&cloud, ports(), ""));
    let address = shim.audiosocket.expect("it listens");
    let legs = [("7777", "en", 0u16), ("8888", "es", 2000)].map(|(extension, language, first)| {
        let idle = Idle::new();
        let (_, leg) = shim.open_leg(extension, idle.address(), None);
        (idle, leg, talk(language, first, 4))
    });
    // Nobody speaks before both legs are there.
    let codec = mgw::telephony::codec::Codec::L16Wide;
    let phones = legs.map(|(idle, leg, voice)| idle.call(leg, codec, voice, Network::default()));
    // All are held open at this end; none says who it is.
    let mut held = Vec::new();
    for n in 0..5000 {
        held.push(TcpStream::connect(address).unwrap_or_else(|e| panic!("connection {n}: {e}")));
        if n % 1000 == 999 {
            // In the middle of it a caller gets in.
            assert!(!Peer::connect(address, UUID_7000).listen(Duration::from_millis(500)).1, "after {n}");
        }
    }
    wait_for("all to be spoken", 60 * S, || phones.iter().all(|p| p.has_said_all()));
    wait_for("all to be heard", 60 * S, || phones.iter().all(|p| hear(&p.heard().0, RATE).words.len() >= 20));
    let [a, b] = phones.map(|p| p.finish());
    assert_eq!(words(&a.samples, "en"), (2000..2020).collect::<Vec<_>>());
    assert_eq!(words(&b.samples, "es"), (0..20).collect::<Vec<_>>());
    assert_eq!((a.uneven, b.uneven), (0, 0));
    let metric = |name: &str| shim.metric(&format!("mgw_shim_audiosocket_{name}"));
    assert!(metric("closed_for_room") + metric("refused_silent") >= 4000.0, "silent connections are closed");
    drop(held);
}

#[test]
fn a_caller_that_presses_a_hundred_keys_and_goes_leaves_nothing() {
    let cloud = Cloud::start("");
    let shim = Shim::start(config(&cloud, ports(), ""));
    let mut peer = Peer::connect(shim.audiosocket.expect("it listens"), UUID_7000);
    let (mut message, mut all) = (Vec::new(), Vec::new());
    for _ in 0..100 {
        write_dtmf(&mut message, '1').expect("digit");
        all.extend_from_slice(&message);
    }
    peer.stream.write_all(&all).expect("digits");
    drop(peer);
    wait_for("the end of the leg", 20 * S, || {
        shim.metric("mgw_shim_audiosocket_accepted") == 1.0 && shim.calls().is_empty()
    });
    wait_for("no legs", 20 * S, || shim.metric("mgw_shim_legs") == 0.0);
}
