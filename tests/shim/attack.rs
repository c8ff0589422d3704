//! Strangers that send RTP to the ports of calls: bounded in time and number.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mgw::telephony::codec::Codec;

use crate::asterisk::{S, talk, words};
use crate::ports;
use crate::support::asterisk::phones::RATE;
use crate::support::leg::hear;
use crate::support::phone::{Idle, Network};
use crate::support::shim::{Shim, config};
use crate::support::{Cloud, wait_for};

/// Packets in a second, over all ports.
const RATE_OF_ATTACK: u64 = 100_000;

/// How long: 20 s in `make soak`.
fn length() -> Duration {
    let seconds = std::env::var("MGW_TEST_ATTACK_S").ok().and_then(|s| s.parse().ok()).unwrap_or(8);
    Duration::from_secs(seconds)
}

#[test]
fn a_spray_of_rtp_gets_nothing_in_and_nothing_out() {
    let cloud = Cloud::start("");
    let range = ports();
    let shim = Shim::start(config(&cloud, range, ""));
    let mut targets = Vec::new();
    let legs = [("7777", "en", 0u16), ("8888", "es", 2000)].map(|(extension, language, first)| {
        let idle = Idle::new();
        let (_, leg) = shim.open_leg(extension, idle.address(), None);
        targets.push(leg);
        (idle, leg, talk(language, first, 4))
    });
    // Nobody speaks before both legs are there.
    let phones = legs.map(|(idle, leg, voice)| idle.call(leg, Codec::L16Wide, voice, Network::default()));
    // Every port of the range, those of the calls many times over, RTCP's too.
    for port in range[0]..range[1] {
        targets.push(([127, 0, 0, 1], port).into());
    }
    let stop = Arc::new(AtomicBool::new(false));
    let (sent, answers) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let attacker = {
        let (stop, sent, answers, targets) = (stop.clone(), sent.clone(), answers.clone(), targets.clone());
        std::thread::spawn(move || {
            let socket = UdpSocket::bind("127.0.0.1:0").expect("attacker");
            socket.set_nonblocking(true).expect("non-blocking");
            let begin = Instant::now();
            let (mut n, mut answer) = (0u64, [0; 2048]);
            while !stop.load(Ordering::Relaxed) && begin.elapsed() < 3 * length() {
                let due = (begin.elapsed().as_micros() as u64 * RATE_OF_ATTACK / 1_000_000).min(n + 5000);
                while n < due {
                    // Guessed sources, rising numbers, loud audio; some are RTCP or telephone-events.
                    let kind = match n % 16 {
                        0 => 200,
                        1 => 101,
                        _ => [118, 0, 8, 10][n as usize % 4],
                    };
                    let mut packet = vec![0x80, kind, (n >> 8) as u8, n as u8];
                    packet.extend((n as u32 * 320).to_be_bytes());
                    packet.extend((n as u32 % 7).to_be_bytes());
                    packet.resize(12 + 640, 0x55);
                    let target =
                        if n % 2 == 0 { targets[n as usize / 2 % 2] } else { targets[n as usize % targets.len()] };
                    let _ = socket.send_to(&packet, target);
                    n += 1;
                }
                while let Ok((length, _)) = socket.recv_from(&mut answer) {
                    answers.fetch_add(length as u64, Ordering::Relaxed);
                }
                sent.store(n, Ordering::Relaxed);
                std::thread::sleep(Duration::from_micros(200));
            }
        })
    };
    let begin = Instant::now();
    wait_for("all to be spoken", 90 * S, || phones.iter().all(|p| p.has_said_all()));
    wait_for("all to be heard", 90 * S, || phones.iter().all(|p| hear(&p.heard().0, RATE).words.len() >= 20));
    std::thread::sleep(length().saturating_sub(begin.elapsed()));
    let legs: Vec<_> = shim.calls().iter().map(|c| c["media"]["leg"].clone()).collect();
    stop.store(true, Ordering::Relaxed);
    attacker.join().expect("attacker");
    let [a, b] = phones.map(|p| p.finish());
    assert_eq!(words(&a.samples, "en"), (2000..2020).collect::<Vec<_>>(), "the calls are unharmed");
    assert_eq!(words(&b.samples, "es"), (0..20).collect::<Vec<_>>());
    assert_eq!((a.uneven, b.uneven), (0, 0));
    assert_eq!(answers.load(Ordering::Relaxed), 0, "bytes went out to the attacker");
    let sent = sent.load(Ordering::Relaxed);
    for leg in &legs {
        assert_eq!(leg["packets_rejected"], 0, "a stranger's packet reached the shim: {leg}");
        assert_eq!(leg["packets_duplicate"], 0, "{leg}");
        assert_eq!(leg["dtmf_digits"], 0, "{leg}");
        assert!(leg["strangers"].as_u64().expect("number") > sent / 8, "{sent} were sent, {leg}");
    }
    println!("{sent} packets in {:.1} s", begin.elapsed().as_secs_f64());
    assert!(sent > 20_000 * length().as_secs(), "no attack: {sent} packets");
}

#[test]
fn whoever_forges_the_peer_s_address_is_not_heard_either() {
    let cloud = Cloud::start("");
    let shim = Shim::start(config(&cloud, ports(), ""));
    let idle = Idle::new();
    let (_, leg) = shim.open_leg("7777", idle.address(), None);
    let other = Idle::new();
    let (_, other_leg) = shim.open_leg("8888", other.address(), None);
    // The forger shares the phone's own socket: the same address, another source, as with a spoofed packet.
    let forger = idle.clone_socket();
    let phone = idle.call(leg, Codec::L16Wide, talk("en", 0, 3), Network::default());
    let listener = other.call(other_leg, Codec::L16Wide, Vec::new(), Network::default());
    // Whoever proves itself first is the source; from then on nobody else is, as long as it speaks.
    let frames = || {
        let calls = shim.calls();
        calls.iter().filter(|c| c["extension"] == "7777").filter_map(|c| c["media"]["leg"]["frames_in"].as_u64()).sum()
    };
    wait_for("the phone's first packets", 10 * S, || -> bool {
        let n: u64 = frames();
        n > 2
    });
    let begin = Instant::now();
    let mut n = 0u16;
    while begin.elapsed() < 8 * S {
        for ssrc in [1u32, 2, u32::from(n)] {
            let mut packet = vec![0x80, 118];
            packet.extend(n.to_be_bytes());
            packet.extend((u32::from(n) * 320).to_be_bytes());
            packet.extend(ssrc.to_be_bytes());
            packet.resize(12 + 640, 0x55);
            let _ = forger.send(&packet);
        }
        n = n.wrapping_add(1);
        std::thread::sleep(Duration::from_millis(2));
    }
    wait_for("all to be heard", 60 * S, || hear(&listener.heard().0, RATE).words.len() >= 15);
    let calls = shim.calls();
    let figures = calls.iter().find(|c| c["extension"] == "7777").expect("leg")["media"]["leg"].clone();
    assert!(figures["packets_rejected"].as_u64().expect("number") > 5000, "{figures}");
    assert_eq!(words(&listener.finish().samples, "es"), (0..15).collect::<Vec<_>>());
    drop(phone);
}

#[test]
fn what_changes_state_needs_the_token() {
    let cloud = Cloud::start("");
    let shim = Shim::start(config(&cloud, ports(), ""));
    let leg = serde_json::json!({ "extension": "7777", "peer": "127.0.0.1:9" });
    let dial = serde_json::json!({ "legs": [] });
    for (method, path, body) in [
        ("POST", "/legs", &leg),
        ("POST", "/calls", &dial),
        ("DELETE", "/calls/x", &dial),
        ("POST", "/audiosocket", &leg),
    ] {
        for token in [None, Some(""), Some("shim-test-toke"), Some("shim-test-token2")] {
            let (status, text) = shim.ask(method, path, Some(body), token);
            assert_eq!(status, 401, "{method} {path} with {token:?}: {text}");
        }
    }
    assert!(shim.calls().is_empty());
    let (status, text) = shim.ask(
        "POST",
        "/legs",
        Some(&serde_json::json!({ "extension": "7777", "peer": "192.0.2.1:9" })),
        Some(crate::support::shim::TOKEN),
    );
    assert_eq!(status, 400, "{text}");
    assert!(text.contains("allow_remote"), "{text}");
    let (status, text) = shim.ask(
        "POST",
        "/legs",
        Some(&serde_json::json!({ "extension": "1", "peer": "127.0.0.1:9" })),
        Some(crate::support::shim::TOKEN),
    );
    assert_eq!(status, 400);
    assert!(text.contains("7777"), "it tells what there is: {text}");
}

#[test]
fn a_stopping_shim_lets_calls_finish_and_takes_no_more() {
    let cloud = Cloud::start("");
    let shim = Shim::start(config(&cloud, ports(), ""));
    let legs = ["7777", "8888"].map(|extension| {
        let idle = Idle::new();
        let (id, leg) = shim.open_leg(extension, idle.address(), None);
        (id, idle, leg)
    });
    let voice = talk("en", 0, 1);
    let phones = legs.map(|(id, idle, leg)| (id, idle.call(leg, Codec::L16Wide, voice.clone(), Network::default())));
    shim.signal("TERM");
    wait_for("the end of readiness", 10 * S, || !shim.is_ready());
    let body = serde_json::json!({ "extension": "7777", "peer": "127.0.0.1:9" });
    assert_eq!(shim.ask("POST", "/legs", Some(&body), Some(crate::support::shim::TOKEN)).0, 503);
    wait_for("the sentence", 30 * S, || hear(&phones[1].1.heard().0, RATE).words.len() >= 5);
    for (id, _) in &phones {
        shim.ask("DELETE", &format!("/calls/{id}"), None, Some(crate::support::shim::TOKEN));
    }
    assert!(shim.wait_end(30 * S), "it ended well");
}
