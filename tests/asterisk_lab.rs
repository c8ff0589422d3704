//! The lab itself, without mgw: what a real Asterisk does with calls, so that faults of the lab are told from mgw's.

mod support;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use serde_json::json;
use support::asterisk::measure::{amplitude, first_audio_s, level_dbfs, longest_gap_s, share_above, tone};
use support::asterisk::phones::RATE;
use support::asterisk::{AriApp, Asterisk, Codec, LightPhone, PhoneCall, Phones};
use support::leg::hear;
use support::live::sentence;
use support::wait_for;

const S: Duration = Duration::from_secs(1);

/// An echoed call: ten coded words, then a wide-band sound; returns what was heard.
fn echo(codec: Codec) {
    let gateway = Asterisk::gateway();
    let phones = Phones::new(&gateway);
    let words = sentence("en", 100..110, RATE, Duration::from_millis(500));
    let mut wide = tone(1000.0, 2000.0, 1.0, RATE);
    for (sample, high) in wide.iter_mut().zip(tone(6000.0, 2000.0, 1.0, RATE)) {
        *sample += high;
    }
    let call = phones.call("9000", codec, &words);
    call.say(&wide);
    call.wait_said_all();
    // What was said last is on its way back.
    std::thread::sleep(S / 2);
    let heard = call.hang_up();

    // The coded words lie below 3 kHz, so what is above 4 kHz is the wide-band sound.
    let part = (first_audio_s(&heard, RATE).expect("something was heard") * f64::from(RATE)) as usize;
    let (speech, sound) = heard.split_at(part + words.len() - RATE as usize / 4);
    let report = hear(speech, RATE);
    let numbers: Vec<u16> = report.words.iter().map(|(_, n)| *n).collect();
    assert_eq!(numbers, (100..110).collect::<Vec<_>>(), "{codec:?}: every word once, in order");
    assert_eq!(report.damaged, 0, "{codec:?}: whole");
    let (there, back) = (level_dbfs(&words, RATE).expect("speech"), level_dbfs(speech, RATE).expect("speech"));
    assert!((there - back).abs() < 1.0, "{codec:?}: said at {there:.1} dBFS, heard at {back:.1} dBFS");
    let gap = longest_gap_s(speech, RATE);
    assert!(gap <= 0.08, "{codec:?}: a gap of {gap} s where the words are 40 ms apart");
    let share = share_above(sound, RATE, 4000.0);
    match codec {
        Codec::Ulaw => assert!(share < 0.01, "8 kHz has nothing above 4 kHz: {share}"),
        _ => assert!((0.4..0.6).contains(&share), "{codec:?}: half of the energy is above 4 kHz: {share}"),
    }
    wait_for("an empty gateway", 10 * S, || gateway.leftovers().is_empty());
}

#[test]
fn wide_band_phones_hear_their_echo_whole() {
    echo(Codec::L16);
}

#[test]
fn g722_phones_hear_their_echo_whole() {
    echo(Codec::G722);
}

#[test]
fn telephone_band_phones_hear_their_echo_whole() {
    echo(Codec::Ulaw);
}

trait HangUp {
    fn hang_up(&self) -> Vec<i16>;
}

impl HangUp for PhoneCall {
    fn hang_up(&self) -> Vec<i16> {
        PhoneCall::hang_up(self)
    }
}

impl HangUp for LightPhone {
    fn hang_up(&self) -> Vec<i16> {
        LightPhone::hang_up(self)
    }
}

/// A phone in `Stasis(mgw,7777)`, answered, in a bridge with an ExternalMedia channel that talks to a socket of the test.
struct Leg<P> {
    call: P,
    caller: String,
    media: String,
    bridge: String,
    socket: UdpSocket,
    /// Where Asterisk says that it sends from and receives.
    address: std::net::SocketAddr,
}

impl<P: HangUp> Leg<P> {
    fn new(gateway: &Asterisk, app: &AriApp, call: P, format: &str) -> Leg<P> {
        // Events of earlier calls are kept: this one's channel is there and rings.
        let rings = |id: &serde_json::Value| {
            gateway.ari("GET", &format!("/channels/{}", id.as_str().expect("id")), "").1["state"] == "Ring"
        };
        let is_new = |e: &serde_json::Value| e["args"] == json!(["7777"]) && rings(&e["channel"]["id"]);
        let event = app.wait("StasisStart", is_new);
        let caller = event["channel"]["id"].as_str().expect("id").to_owned();
        assert_eq!(event["channel"]["state"], "Ring", "not answered yet");
        assert_eq!(event["channel"]["dialplan"]["app_data"], "mgw,7777");
        let socket = gateway
            .shim_ports()
            .find_map(|port| UdpSocket::bind(("127.0.0.1", port)).ok())
            .expect("a free port for the test's socket");
        socket.set_read_timeout(Some(2 * S)).expect("timeout");
        let (media, bridge) = (format!("media-{caller}"), format!("bridge-{caller}"));
        assert_eq!(gateway.ari("POST", &format!("/channels/{caller}/answer"), "").0, 204);
        let host = socket.local_addr().expect("address").to_string();
        let body = json!({"app": "mgw", "external_host": host, "format": format, "channelId": media});
        let (status, reply) = gateway.ari("POST", "/channels/externalMedia", &body.to_string());
        assert_eq!(status, 200, "{reply}");
        // Before that it cannot always be put into a bridge.
        app.wait("StasisStart", |e| e["channel"]["id"] == media.as_str());
        let variables = &reply["channelvars"];
        let text = |name: &str| variables[name].as_str().expect("a channel variable").to_owned();
        let address = format!("{}:{}", text("UNICASTRTP_LOCAL_ADDRESS"), text("UNICASTRTP_LOCAL_PORT"));
        let body = json!({"type": "mixing", "bridgeId": bridge});
        assert_eq!(gateway.ari("POST", "/bridges", &body.to_string()).0, 200);
        let leg = Leg { call, caller, media, bridge, socket, address: address.parse().expect("an address and a port") };
        leg.expect_silence("before the bridge");
        leg.add(gateway, &leg.media);
        leg.expect_silence("alone in the bridge");
        leg.add(gateway, &leg.caller);
        leg
    }

    fn add(&self, gateway: &Asterisk, channel: &str) {
        let path = format!("/bridges/{}/addChannel", self.bridge);
        assert_eq!(gateway.ari("POST", &path, &json!({"channel": [channel]}).to_string()).0, 204);
    }

    fn expect_silence(&self, when: &str) {
        self.socket.set_read_timeout(Some(Duration::from_millis(300))).expect("timeout");
        assert!(self.socket.recv(&mut [0; 2000]).is_err(), "a packet {when}");
        self.socket.set_read_timeout(Some(2 * S)).expect("timeout");
    }

    /// The next packets; all must come from the address that ARI named.
    fn receive(&self, count: usize) -> Vec<Vec<u8>> {
        let mut packets = Vec::new();
        while packets.len() < count {
            let mut packet = vec![0; 2000];
            let (n, from) = self.socket.recv_from(&mut packet).expect("a packet every 20 ms");
            assert_eq!(from, self.address, "packets come from where channelvars says");
            packet.truncate(n);
            packets.push(packet);
        }
        packets
    }

    /// Sends packets of 20 ms on an absolute clock.
    fn send(&self, payload_type: u8, step: u32, payloads: &[Vec<u8>]) {
        let begin = Instant::now();
        for (i, payload) in payloads.iter().enumerate() {
            let due = begin + Duration::from_millis(20) * i as u32;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            self.send_packet(0x6d67_7701, i as u16, i as u32 * step, payload_type, payload);
        }
    }

    fn send_packet(&self, source: u32, number: u16, timestamp: u32, payload_type: u8, payload: &[u8]) {
        let mut packet = vec![0x80, payload_type];
        packet.extend(number.to_be_bytes());
        packet.extend(timestamp.to_be_bytes());
        packet.extend(source.to_be_bytes());
        packet.extend(payload);
        self.socket.send_to(&packet, self.address).expect("send");
    }

    /// Hangs up; the channel and the bridge of ExternalMedia stay until they are deleted.
    fn end(self, gateway: &Asterisk) -> Vec<i16> {
        let heard = self.call.hang_up();
        wait_for("the end of the caller's channel", 10 * S, || {
            gateway.ari("GET", &format!("/channels/{}", self.caller), "").0 == 404
        });
        assert_eq!(gateway.ari("DELETE", &format!("/channels/{}", self.media), "").0, 204, "it outlives the caller");
        assert_eq!(gateway.ari("DELETE", &format!("/bridges/{}", self.bridge), "").0, 204);
        heard
    }
}

fn number(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |n, b| n << 8 | u32::from(*b))
}

struct Format {
    name: &'static str,
    payload_type: u8,
    payload: usize,
    step: u32,
    /// Sampling rate of a linear payload.
    linear: Option<u32>,
}

const FORMATS: [Format; 4] = [
    Format { name: "slin16", payload_type: 118, payload: 640, step: 320, linear: Some(16_000) },
    Format { name: "slin", payload_type: 10, payload: 320, step: 160, linear: Some(8_000) },
    Format { name: "ulaw", payload_type: 0, payload: 160, step: 160, linear: None },
    Format { name: "g722", payload_type: 9, payload: 160, step: 160, linear: None },
];

#[test]
fn external_media_sends_what_the_documentation_says() {
    let gateway = Asterisk::gateway();
    let phones = Phones::new(&gateway);
    let app = AriApp::connect(&gateway, "mgw");
    for format in FORMATS {
        let name = format.name;
        let call = phones.call("7777", Codec::L16, &tone(1010.0, 8000.0, 20.0, RATE));
        let leg = Leg::new(&gateway, &app, call, name);
        // The first packets may still be the silence before the phone's answer has reached it.
        leg.receive(25);
        let packets = leg.receive(50);
        let ssrcs: BTreeSet<u32> = packets.iter().map(|p| number(&p[8..12])).collect();
        assert_eq!(ssrcs.len(), 1, "{name}: one source");
        for packet in &packets {
            assert_eq!(packet[0], 0x80, "{name}: version 2, no padding, extension or contributing sources");
            assert_eq!(packet[1], format.payload_type, "{name}: payload type, no marker bit");
            assert_eq!(packet.len(), 12 + format.payload, "{name}: 20 ms");
        }
        for pair in packets.windows(2) {
            let difference =
                |range: std::ops::Range<usize>| number(&pair[1][range.clone()]).wrapping_sub(number(&pair[0][range]));
            assert_eq!(difference(2..4) & 0xffff, 1, "{name}: sequence");
            assert_eq!(difference(4..8), format.step, "{name}: timestamp step");
        }
        if let Some(rate) = format.linear {
            let decode = |from: fn([u8; 2]) -> i16| -> Vec<i16> {
                packets.iter().flat_map(|p| p[12..].chunks_exact(2).map(|b| from([b[0], b[1]]))).collect()
            };
            let (big, little) = (decode(i16::from_be_bytes), decode(i16::from_le_bytes));
            let (big, little) = (amplitude(&big, rate, 1010.0), amplitude(&little, rate, 1010.0));
            assert!((big - 8000.0).abs() < 200.0, "{name}: big-endian at the level that was said: {big}");
            assert!(little < 2000.0, "{name}: not little-endian: {little}");
        }
        leg.end(&gateway);
    }
    wait_for("an empty gateway", 10 * S, || gateway.leftovers().is_empty());
}

/// What the phone hears when a 16 kHz leg is sent these payloads: amplitudes of 1 kHz and 6 kHz in the middle.
fn heard_back(
    gateway: &Asterisk,
    phones: &Phones,
    app: &AriApp,
    payload_type: u8,
    step: u32,
    payloads: &[Vec<u8>],
) -> (f64, f64) {
    let leg = Leg::new(gateway, app, phones.call("7777", Codec::L16, &[]), "slin16");
    leg.send(payload_type, step, payloads);
    let heard = leg.end(gateway);
    let Some(first) = first_audio_s(&heard, RATE) else { return (0.0, 0.0) };
    let begin = (first * f64::from(RATE)) as usize + RATE as usize / 5;
    let middle = &heard[begin.min(heard.len())..(begin + RATE as usize / 2).min(heard.len())];
    (amplitude(middle, RATE, 1000.0), amplitude(middle, RATE, 6000.0))
}

#[test]
fn asterisk_hears_only_static_payload_types_and_g722_is_the_wide_one() {
    let gateway = Asterisk::gateway();
    let phones = Phones::new(&gateway);
    let app = AriApp::connect(&gateway, "mgw");
    let mut wide = tone(1000.0, 4000.0, 2.0, RATE);
    for (sample, high) in wide.iter_mut().zip(tone(6000.0, 3000.0, 2.0, RATE)) {
        *sample += high;
    }
    // Asterisk itself encodes G.722: what a g722 leg receives from a phone.
    let leg = Leg::new(&gateway, &app, phones.call("7777", Codec::L16, &[wide.clone(), wide.clone()].concat()), "g722");
    let g722: Vec<Vec<u8>> = leg.receive(75).into_iter().map(|p| p[12..].to_vec()).collect();
    leg.end(&gateway);
    let linear = |rate: u32| -> Vec<Vec<u8>> {
        let samples = if rate == RATE { wide.clone() } else { tone(1000.0, 4000.0, 2.0, rate) };
        samples.chunks(rate as usize / 50).map(|c| c.iter().flat_map(|s| s.to_be_bytes()).collect()).collect()
    };

    // L16 at 16 kHz by the number that Asterisk itself sends: dynamic numbers are known to a leg only by SDP.
    let (low, high) = heard_back(&gateway, &phones, &app, 118, 320, &linear(RATE));
    assert_eq!((low, high), (0.0, 0.0), "payload type 118 is heard: send slin16 legs L16 instead of G.722");
    let (low, high) = heard_back(&gateway, &phones, &app, 10, 160, &linear(8000));
    assert!((low - 4000.0).abs() < 200.0 && high < 50.0, "payload type 10, L16 at 8 kHz: {low} and {high}");
    let (low, high) = heard_back(&gateway, &phones, &app, 9, 160, &g722);
    assert!((low - 4000.0).abs() < 200.0, "G.722: 1 kHz at {low}");
    assert!((high - 3000.0).abs() < 200.0, "G.722: 6 kHz at {high}");
    wait_for("an empty gateway", 10 * S, || gateway.leftovers().is_empty());
}

/// What a phone hears of sounds that are sent with these sources, sequence numbers and timestamps: for each sound the
/// frames of 20 ms that are missing, or none where nothing of it is heard.
fn missing(gateway: &Asterisk, app: &AriApp, sounds: &[(u32, Vec<u16>, u32)]) -> Vec<Option<Vec<usize>>> {
    let leg = Leg::new(gateway, app, LightPhone::call(gateway, "7777", &[]), "slin16");
    for (i, (source, numbers, timestamp)) in sounds.iter().enumerate() {
        let begin = Instant::now();
        for (k, number) in numbers.iter().enumerate() {
            let due = begin + Duration::from_millis(20) * k as u32;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            // A value of its own for each frame, as a constant: resampling leaves its middle as it is.
            let value = (1000 * (i + 1) + 10 * k) as i16;
            let payload = value.to_be_bytes().repeat(160);
            leg.send_packet(*source, *number, timestamp.wrapping_add(160 * k as u32), 10, &payload);
        }
        std::thread::sleep(S / 2);
    }
    let heard = leg.end(gateway);
    // Between two frames the resampler makes values of its own, some of them those of a frame that is not there.
    let seen: BTreeSet<i16> = heard.chunk_by(|a, b| a == b).filter(|run| run.len() > 100).map(|run| run[0]).collect();
    // The last frames of a sound stay in Asterisk's resampler until there is more: they are not judged.
    let judge = |(i, (_, numbers, _)): (usize, &(u32, Vec<u16>, u32))| {
        let frames = numbers.len() - 5;
        let is_missing = |k: &usize| !seen.contains(&((1000 * (i + 1) + 10 * k) as i16));
        let missing: Vec<usize> = (0..frames).filter(is_missing).collect();
        (missing.len() < frames).then_some(missing)
    };
    sounds.iter().enumerate().map(judge).collect()
}

#[test]
fn sequence_numbers_go_forward_and_never_to_zero_again() {
    let gateway = Asterisk::gateway();
    let app = AriApp::connect(&gateway, "mgw");
    let from = |first: u16| -> Vec<u16> { (0..30).map(|k| first.wrapping_add(k)).collect() };
    let whole = || Some(Vec::new());
    let missing = |sounds: &[(u32, Vec<u16>, u32)]| missing(&gateway, &app, sounds);

    assert_eq!(missing(&[(1, from(0), 0)]), [whole()], "0 is a number to begin with");
    assert_eq!(missing(&[(1, from(u16::MAX - 9), 0)]), [Some(vec![10])], "0 after 65535 is lost");
    let without_zero: Vec<u16> = (65_526..=65_535).chain(1..=20).collect();
    assert_eq!(missing(&[(1, without_zero, 0)]), [whole()], "1 after 65535 loses nothing");
    let sounds = [(1, from(1000), 0), (2, from(1100), 5), (2, from(1200), 0)];
    assert_eq!(missing(&sounds), [whole(), whole(), whole()], "a new source, and a timestamp that goes back");
    let sounds = [(1, from(1000), 0), (2, from(100), 5)];
    assert_eq!(missing(&sounds), [whole(), None], "a new source with older numbers is not heard");
    let sounds = [(1, from(1000), 0), (1, from(41_000), 500_000)];
    assert_eq!(missing(&sounds), [whole(), None], "more than half of the range ahead is behind");
}

#[test]
fn keys_go_by_ari_and_not_by_external_media() {
    let gateway = Asterisk::gateway();
    let phones = Phones::new(&gateway);
    let app = AriApp::connect(&gateway, "mgw");
    let leg = Leg::new(&gateway, &app, phones.call("7777", Codec::L16, &[]), "slin16");
    leg.receive(5);
    leg.call.send_dtmf("5");
    app.wait("ChannelDtmfReceived", |e| e["digit"] == "5" && e["channel"]["id"] == leg.caller.as_str());
    let types: BTreeSet<u8> = leg.receive(25).iter().map(|p| p[1]).collect();
    assert_eq!(types, BTreeSet::from([118]), "no telephone event comes to the leg");
    let path = format!("/channels/{}/dtmf?dtmf=7", leg.caller);
    assert_eq!(gateway.ari("POST", &path, "").0, 204);
    wait_for("the key at the phone", 10 * S, || leg.call.dtmf() == "7");
    leg.end(&gateway);
}

#[test]
fn without_the_shim_a_caller_is_told_and_let_go() {
    let gateway = Asterisk::gateway();
    let phones = Phones::new(&gateway);
    let extensions = ["7777", "8842", "7000", "7101"];
    let calls = extensions.map(|extension| phones.call(extension, Codec::L16, &[]));
    for (extension, call) in extensions.iter().zip(&calls) {
        wait_for("the call at the gateway", 10 * S, || gateway.log().contains(&format!("[{extension}@mgw:1]")));
        call.wait_gone();
        // Extension 7000 is answered before it looks for the shim; the application wants that.
        assert!(call.recorded().iter().all(|s| *s == 0), "{extension}: heard after an answer");
        let told = gateway.log().contains(&format!("[{extension}@mgw-unavailable:3] Playback"));
        assert_eq!(told, *extension != "7000", "{extension}: the announcement");
    }
    assert!(!gateway.log().contains("does not exist in any format"), "the announcement has a sound");
    wait_for("an empty gateway", 10 * S, || gateway.leftovers().is_empty());
}

#[test]
fn the_gateway_can_call_phones() {
    let gateway = Asterisk::gateway();
    let phones = Phones::new(&gateway);
    let words = sentence("es", 7..12, RATE, Duration::from_millis(300));
    let call = phones.answer("1002", &words);
    assert!(call.is_gone());
    gateway.rx("channel originate PJSIP/1002 application Echo");
    call.wait_up();
    call.wait_said_all();
    std::thread::sleep(S / 2);
    let report = hear(&call.hang_up(), RATE);
    assert_eq!(report.words, (7..12).map(|n| ("es", n)).collect::<Vec<_>>());
    // Nobody waits for a second call.
    gateway.rx("channel originate PJSIP/1002 application Echo");
    wait_for("an empty gateway", 10 * S, || gateway.leftovers().is_empty());
}

#[test]
fn it_can_be_restarted_stopped_and_never_outlives_the_test() {
    let mut gateway = Asterisk::gateway();
    let phones = Phones::new(&gateway);
    let call = phones.call("9000", Codec::L16, &[]);
    call.wait_up();
    assert_eq!(gateway.leftovers().len(), 1, "{:?}", gateway.leftovers());

    let before = gateway.pid();
    gateway.restart();
    assert_ne!(gateway.pid(), before);
    assert!(gateway.leftovers().is_empty(), "a new Asterisk has no calls");
    assert_eq!(gateway.ari("GET", "/asterisk/info", "").0, 200, "ARI is back on its port");
    // The phone was not told: its side is up until it hangs up itself.
    call.hang_up();
    let call = phones.call("9000", Codec::L16, &[]);
    call.wait_up();
    call.hang_up();

    let stopped = gateway.stopped();
    let port = gateway.http_port();
    let asked = std::thread::spawn(move || support::asterisk::ari::request(port, "GET", "/asterisk/info", "").0);
    std::thread::sleep(S);
    assert!(!asked.is_finished(), "a stopped Asterisk answers nothing");
    drop(stopped);
    assert_eq!(asked.join().expect("thread"), 200, "it goes on where it was");

    drop(phones);
    let (pid, folder) = gateway.abandon();
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists(), "Asterisk lives on");
    assert!(!folder.exists(), "its folder is left behind");
}

#[test]
fn forty_light_phones_at_once_lose_no_word() {
    let gateway = Asterisk::gateway();
    let words = |i: u16| 40 * i..40 * i + 40;
    let before = gateway.cpu();
    let begin = Instant::now();
    let calls: Vec<LightPhone> =
        (0..40).map(|i| LightPhone::call(&gateway, "9000", &sentence("en", words(i), RATE, Duration::ZERO))).collect();
    calls.iter().for_each(LightPhone::wait_up);
    assert_eq!(gateway.leftovers().len(), 40, "one channel each");
    calls.iter().for_each(LightPhone::wait_said_all);
    std::thread::sleep(S / 2);
    let seconds = begin.elapsed().as_secs_f64();
    let share = 100.0 * (gateway.cpu() - before).as_secs_f64() / seconds / 40.0;
    println!("the gateway's Asterisk took {share:.2} % of a core per call in {seconds:.1} s");
    for (i, call) in (0..).zip(&calls) {
        let report = hear(&call.hang_up(), RATE);
        let numbers: Vec<u16> = report.words.iter().map(|(_, n)| *n).collect();
        assert_eq!(numbers, words(i).collect::<Vec<_>>(), "call {i}");
        assert_eq!(report.damaged, 0, "call {i}");
    }
    wait_for("an empty gateway", 10 * S, || gateway.leftovers().is_empty());
}

#[test]
fn a_light_phone_is_told_when_it_is_refused_or_the_other_side_hangs_up() {
    let gateway = Asterisk::gateway();
    let refused = LightPhone::call(&gateway, "7777", &[]);
    refused.wait_gone();
    assert_eq!(refused.status(), 503, "no shim: congestion");
    let call = LightPhone::call(&gateway, "9000", &[]);
    call.wait_up();
    wait_for("its echo", 10 * S, || call.packets() > 10);
    gateway.rx("channel request hangup all");
    call.wait_gone();
}

/// A message of AudioSocket: kind and payload; none at the end.
fn message(socket: &mut TcpStream) -> Option<(u8, Vec<u8>)> {
    let mut head = [0; 3];
    socket.read_exact(&mut head).ok()?;
    let mut payload = vec![0; usize::from(u16::from_be_bytes([head[1], head[2]]))];
    socket.read_exact(&mut payload).ok()?;
    Some((head[0], payload))
}

/// A call over AudioSocket that is sent a sound of 1 kHz and 6 kHz at `rate` as messages of `kind`: the UUID that came,
/// the kinds and sizes that came, and the amplitudes of the two tones at the phone.
fn audiosocket(
    gateway: &Asterisk,
    phones: &Phones,
    extension: &str,
    kind: u8,
    rate: u32,
) -> (String, BTreeSet<(u8, usize)>, (f64, f64)) {
    let server = TcpListener::bind(("127.0.0.1", gateway.audiosocket_port())).expect("the port is free");
    let call = phones.call(extension, Codec::L16, &[]);
    let (mut socket, _) = server.accept().expect("Asterisk connects");
    socket.set_read_timeout(Some(10 * S)).expect("timeout");
    let (first, uuid) = message(&mut socket).expect("a first message");
    assert_eq!(first, 0x01, "{extension}: the UUID comes first");
    let mut sender = socket.try_clone().expect("socket");
    let reader = std::thread::spawn(move || {
        let mut seen = Vec::new();
        while let Some((kind, payload)) = message(&mut socket) {
            seen.push((kind, payload));
        }
        seen
    });
    call.wait_up();
    let mut sound = tone(1000.0, 4000.0, 1.6, rate);
    if rate >= RATE {
        for (sample, high) in sound.iter_mut().zip(tone(6000.0, 3000.0, 1.6, rate)) {
            *sample += high;
        }
    }
    let begin = Instant::now();
    for (i, samples) in sound.chunks(rate as usize / 50).enumerate() {
        std::thread::sleep((begin + Duration::from_millis(20) * i as u32).saturating_duration_since(Instant::now()));
        let payload: Vec<u8> = samples.iter().flat_map(|s| s.to_le_bytes()).collect();
        let length = (payload.len() as u16).to_be_bytes();
        sender.write_all(&[&[kind, length[0], length[1]], payload.as_slice()].concat()).expect("send");
    }
    call.send_dtmf("5");
    let heard = call.hang_up();
    let seen = reader.join().expect("reader");
    let keys: Vec<&[u8]> = seen.iter().filter(|(kind, _)| *kind == 0x03).map(|(_, key)| key.as_slice()).collect();
    assert_eq!(keys, [b"5"], "{extension}: the key");
    assert!(seen.iter().all(|(kind, _)| *kind != 0x00), "{extension}: a phone's hang-up is a plain end");
    let kinds = seen.iter().filter(|(kind, _)| *kind != 0x03).map(|(kind, payload)| (*kind, payload.len())).collect();
    let start = (first_audio_s(&heard, RATE).expect("something was heard") * f64::from(RATE)) as usize;
    let middle = &heard[start + RATE as usize / 5..start + RATE as usize];
    let uuid = uuid.iter().map(|b| format!("{b:02x}")).collect();
    (uuid, kinds, (amplitude(middle, RATE, 1000.0), amplitude(middle, RATE, 6000.0)))
}

#[test]
fn audiosocket_takes_both_rates_and_sends_its_own() {
    let gateway = Asterisk::gateway();
    let phones = Phones::new(&gateway);
    let (first, second) = ("6f0f1c9a3d644f0e9f6352a1c2f97000", "6f0f1c9a3d644f0e9f6352a1c2f97001");
    for (extension, uuid, sends, kind, rate) in [
        // The application sends 8 kHz only, and plays what it is given.
        ("7000", first, (0x10, 320), 0x10, 8_000),
        ("7001", second, (0x10, 320), 0x12, 16_000),
        // The channel driver sends as c(slin16) says.
        ("7100", first, (0x12, 640), 0x12, 16_000),
        ("7101", second, (0x12, 640), 0x10, 8_000),
    ] {
        let (seen_uuid, kinds, (low, high)) = audiosocket(&gateway, &phones, extension, kind, rate);
        assert_eq!(seen_uuid, uuid, "{extension}");
        assert_eq!(kinds, BTreeSet::from([sends]), "{extension}: kind and size of 20 ms");
        assert!((low - 4000.0).abs() < 200.0, "{extension}: 1 kHz at {low}");
        if rate >= RATE {
            assert!((high - 3000.0).abs() < 200.0, "{extension}: 6 kHz at {high}");
        } else {
            assert!(high < 50.0, "{extension}: 6 kHz at {high}");
        }
    }
    wait_for("an empty gateway", 10 * S, || gateway.leftovers().is_empty());
}
