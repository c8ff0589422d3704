//! Legs over RTP: formats, networks, first packets.

use std::time::Duration;

use mgw::telephony::codec::Codec;

use crate::ports;
use crate::support::leg::{Talk, hear};
use crate::support::phone::{Heard, Idle, Network};
use crate::support::shim::{Shim, config};
use crate::support::{Cloud, wait_for};

struct Row {
    name: &'static str,
    format: &'static str,
    send: &'static str,
    payload_type: u8,
    network: Network,
}

fn row(name: &'static str, format: &'static str, send: &'static str, payload_type: u8) -> Row {
    Row { name, format, send, payload_type, network: Network::default() }
}

fn talk(language: &'static str, first_word: u16) -> Talk {
    Talk {
        language,
        first_word,
        sentences: 4,
        words_per_sentence: 5,
        gap: Duration::from_millis(900),
        lead: Duration::from_millis(1500),
    }
}

/// A call of two phones; returns what each heard.
fn call(row: &Row) -> [Heard; 2] {
    let cloud = Cloud::start("");
    let extensions = ["7777", "8888"]
        .map(|name| format!("[shim.extension.{name}]\nformat = \"{}\"\nsend = \"{}\"\n", row.format, row.send));
    let shim = Shim::start(config(&cloud, ports(), &extensions.concat()));
    let codec = Codec::from_format(row.format).expect("format");
    let talks = [("7777", talk("en", 0)), ("8888", talk("es", 2000))];
    // Nobody speaks before both legs are there.
    let legs = talks.each_ref().map(|(extension, talk)| {
        let idle = Idle::new();
        let (_, address) = shim.open_leg(extension, idle.address(), None);
        (idle, address, talk.samples(codec.hz()))
    });
    let phones = legs.map(|(idle, address, voice)| idle.call(address, codec, voice, row.network));
    wait_for("all to be said", Duration::from_secs(60), || phones.iter().all(|p| p.has_said_all()));
    // The same sentences come back in the other language; then nothing more does.
    let wanted = talks[0].1.numbers().len();
    let complete = |phone: &crate::support::phone::Phone| {
        let (samples, rate) = phone.heard();
        hear(&samples, rate).words.len() >= wanted
    };
    let end = std::time::Instant::now() + Duration::from_secs(40);
    while std::time::Instant::now() < end && !phones.iter().all(complete) {
        std::thread::sleep(Duration::from_millis(200));
    }
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(cloud.stats()["violations"], serde_json::json!([]), "{}", row.name);
    phones.map(|p| p.finish())
}

#[test]
fn every_word_is_heard_over_every_format_and_a_bad_network() {
    let net = |network: Network| Network { seed: 7, ..network };
    let rows = [
        row("slin16 and G.722 back", "slin16", "g722", 9),
        row("slin16 both ways", "slin16", "slin16", 118),
        row("slin", "slin", "slin", 10),
        row("ulaw", "ulaw", "ulaw", 0),
        row("alaw", "alaw", "alaw", 8),
        Row {
            network: net(Network { duplicates: 0.1, late: 0.05, ..Network::default() }),
            ..row("duplicates, reordering", "slin16", "slin16", 118)
        },
        Row {
            network: net(Network { jitter: Duration::from_millis(50), ..Network::default() }),
            ..row("50 ms of jitter", "ulaw", "ulaw", 0)
        },
    ];
    let failures: Vec<String> = std::thread::scope(|scope| {
        let running: Vec<_> = rows
            .iter()
            .filter(|r| std::env::var("MGW_TEST_ROW").map_or(true, |wanted| r.name.contains(&wanted)))
            .map(|row| {
                (
                    row.name,
                    scope.spawn(move || {
                        let [a, b] = call(row);
                        for (ear, heard, language, first) in [("a", a, "en", 2000), ("b", b, "es", 0)] {
                            let report = hear(&heard.samples, heard.rate);
                            let wanted: Vec<_> = (first..first + 20).map(|n| (language, n)).collect();
                            assert_eq!(report.words, wanted, "{}, ear {ear}: every word once, in order", row.name);
                            assert_eq!(report.damaged, 0, "{}, ear {ear}: damaged words", row.name);
                            assert_eq!(heard.payload_types, [row.payload_type], "{}", row.name);
                            assert_eq!(heard.uneven, 0, "{}, ear {ear}: sequence or timestamp not even", row.name);
                            assert_eq!(heard.markers, 1, "{}: the first packet only", row.name);
                        }
                    }),
                )
            })
            .collect();
        running.into_iter().filter_map(|(name, t)| t.join().err().map(|_| name.to_owned())).collect()
    });
    assert!(failures.is_empty(), "rows that failed: {failures:?}");
}

/// Words of which no packet was lost: `talk` begins after 75 packets, a word and its gap take nine, a sentence ninety.
fn unharmed(lost: &[u64]) -> Vec<u16> {
    let whole = |word: u16| {
        let first = 75 + u64::from(word / 5) * 90 + u64::from(word % 5) * 9;
        // A hole beside a word is filled with what is like the word.
        !lost.iter().any(|n| (first.saturating_sub(2)..first + 9).contains(n))
    };
    (0..20).filter(|word| whole(*word)).collect()
}

#[test]
fn what_the_network_does_not_lose_is_heard() {
    let rows = [("1 %", 0.01, 0), ("5 %", 0.05, 0), ("20 %", 0.2, 0), ("200 ms every 2 s", 0.0, 100)];
    std::thread::scope(|scope| {
        for (name, loss, burst_every) in rows {
            scope.spawn(move || {
                let cloud = Cloud::start("");
                let shim = Shim::start(config(&cloud, ports(), ""));
                let (one, other) = (Idle::new(), Idle::new());
                let (_, leg) = shim.open_leg("7777", one.address(), None);
                let (_, other_leg) = shim.open_leg("8888", other.address(), None);
                let network = Network { loss, burst_every, seed: 11, ..Network::default() };
                let phone = one.call(leg, Codec::L16Wide, talk("en", 0).samples(16_000), network);
                let listener = other.call(other_leg, Codec::L16Wide, Vec::new(), Network::default());
                wait_for("all to be said", Duration::from_secs(60), || phone.has_said_all());
                std::thread::sleep(Duration::from_secs(8));
                let (lost, wanted) = (phone.lost(), unharmed(&phone.lost()));
                let heard: Vec<u16> = hear(&listener.heard().0, 16_000).words.iter().map(|(_, n)| *n).collect();
                assert!(!lost.is_empty() && !wanted.is_empty(), "{name}: lost {lost:?}");
                assert!(heard.is_sorted_by(|a, b| a < b), "{name}: order or doubles: {heard:?}");
                let missing: Vec<&u16> = wanted.iter().filter(|w| !heard.contains(w)).collect();
                assert!(missing.is_empty(), "{name}: {missing:?} were not lost and not heard; heard {heard:?}");
                let calls = shim.calls();
                let leg = &calls.iter().find(|c| c["extension"] == "7777").expect("leg")["media"]["leg"];
                let told = leg["packets_lost"].as_u64().expect("number") as i64;
                assert!((told - lost.len() as i64).abs() <= 4 + lost.len() as i64 / 4, "{name}: {told} of {lost:?}");
                assert!(leg["buffer_ms"].as_f64().expect("number") < 150.0, "{name}: {leg}");
            });
        }
    });
}

#[test]
fn what_lies_in_the_jitter_buffer_at_a_hang_up_is_still_heard() {
    let cloud = Cloud::start("");
    let shim = Shim::start(config(&cloud, ports(), ""));
    let (one, other) = (Idle::new(), Idle::new());
    let (id, leg) = shim.open_leg("7777", one.address(), None);
    let (_, other_leg) = shim.open_leg("8888", other.address(), None);
    // The buffer learns in the first sentences that packets come up to 200 ms late.
    let network = Network { jitter: Duration::from_millis(200), seed: 3, ..Network::default() };
    let talk = Talk { gap: Duration::from_millis(500), ..talk("en", 0) };
    let mut voice = talk.samples(16_000);
    // The last word is the last sound.
    voice.truncate(voice.len() - 16_000 * 54 / 100);
    let phone = one.call(leg, Codec::L16Wide, voice, network);
    let listener = other.call(other_leg, Codec::L16Wide, Vec::new(), Network::default());
    wait_for("all to be said", Duration::from_secs(60), || phone.has_said_all());
    // The last packets are still on their way through the network.
    std::thread::sleep(Duration::from_millis(200));
    shim.change("DELETE", &format!("/calls/{id}"), serde_json::json!({}));
    wait_for("the partner's end of the call", Duration::from_secs(40), || shim.calls().is_empty());
    let (samples, rate) = listener.heard();
    let words: Vec<u16> = hear(&samples, rate).words.iter().map(|(_, n)| *n).collect();
    // What the jitter costs before the buffer knows of it is not the matter here.
    assert_eq!(words[words.len().saturating_sub(5)..], [15, 16, 17, 18, 19], "the last sentence: {words:?}");
}

#[test]
fn a_leg_that_cannot_be_had_ends_nobody_else_s_call() {
    let cloud = Cloud::start("");
    let shim = Shim::start(config(&cloud, ports(), ""));
    let idle = Idle::new();
    let (_, leg) = shim.open_leg("7777", idle.address(), None);
    // It still speaks when the other comes.
    let voice = Talk { sentences: 30, ..talk("en", 0) }.samples(16_000);
    let waiting = idle.call(leg, Codec::L16Wide, voice, Network::default());
    // An address of another family than ours.
    let ask = serde_json::json!({ "extension": "8888", "peer": "[::1]:4000" });
    let (status, why) = shim.ask("POST", "/legs", Some(&ask), Some(crate::support::shim::TOKEN));
    assert_eq!(status, 400, "{why}");
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(shim.calls().len(), 1, "the one that waits goes on waiting");
    let other = Idle::new();
    let (_, other_leg) = shim.open_leg("8888", other.address(), None);
    let partner = other.call(other_leg, Codec::L16Wide, Vec::new(), Network::default());
    wait_for("a word", Duration::from_secs(40), || !hear(&partner.heard().0, 16_000).words.is_empty());
    drop(waiting);
}
