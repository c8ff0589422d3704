//! Writes the seeds into `corpus/`: `cargo run --manifest-path fuzz/Cargo.toml --example seeds`.

use std::path::Path;
use std::time::Duration;

use mgw_fuzz::telephony::audiosocket as asock;
use mgw_fuzz::telephony::codec::{Codec, TELEPHONE_EVENT};
use mgw_fuzz::telephony::dtmf::Sender;
use mgw_fuzz::telephony::rtcp::{Ntp, Session, write_goodbye};
use mgw_fuzz::telephony::rtp::{Packet, Stream};
use mgw_fuzz::telephony::source::Source;

/// Appends a packet as [`mgw_fuzz::packets`] cuts it, `wait` units of 4 ms after the one before.
fn framed(seed: &mut Vec<u8>, wait: u8, packet: &[u8]) {
    seed.extend_from_slice(&[wait, u8::try_from(packet.len()).expect("a short packet")]);
    seed.extend_from_slice(packet);
}

/// `count` packets of 5 ms of audio of one source, 20 ms apart.
fn audio(seed: &mut Vec<u8>, ssrc: u32, first: u16, count: u32) {
    let mut stream = Stream::new(ssrc, first, 0xFFFF_FF00);
    let mut out = Vec::new();
    for n in 0..count {
        stream.write(&mut out, Codec::Pcmu.payload_type(), n == 0, 160, |out| Codec::Pcmu.encode(&[100; 40], out));
        framed(seed, 5, &out);
    }
}

fn rtp() -> Vec<(&'static str, Vec<u8>)> {
    let mut seeds = Vec::new();
    let mut seed = Vec::new();
    audio(&mut seed, 1, 0xFFFC, 8);
    seeds.push(("wrap", seed));

    let mut seed = Vec::new();
    audio(&mut seed, 1, 5, 3);
    audio(&mut seed, 2, 900, 3);
    seed.extend_from_slice(&[60, 0]);
    audio(&mut seed, 2, 903, 3);
    seeds.push(("another-source", seed));

    let mut seed = Vec::new();
    for sequence in [10, 12, 11, 11, 9000, 9001, 8950, 9002] {
        let mut out = Vec::new();
        let timestamp = u32::from(sequence) * 160;
        Packet { payload_type: 8, marker: false, sequence, timestamp, ssrc: 1, payload: &[0xD5; 8] }.write(&mut out);
        framed(&mut seed, 5, &out);
    }
    seeds.push(("reordered-and-jump", seed));

    let mut seed = Vec::new();
    // Two contributing sources, an extension of one word, three bytes of padding; then RTCP, STUN and a short one.
    framed(
        &mut seed,
        5,
        &[
            0xB2, 118, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0xBE, 0xDE, 0, 1, 0x10, 1, 0, 0, 9, 9, 0,
            0, 3,
        ],
    );
    framed(&mut seed, 5, &[0x80, 201, 0, 1, 0, 0, 0, 1]);
    framed(&mut seed, 5, &[0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    framed(&mut seed, 5, &[0x80, 0, 0]);
    seeds.push(("header-parts", seed));

    let mut seed = Vec::new();
    let (mut stream, mut sender, mut out) = (Stream::new(1, 7, 0), Sender::new(8000, 20), Vec::new());
    sender.push('5', Duration::from_millis(100)).expect("room");
    while let Some(event) = sender.next(stream.timestamp()) {
        let payload = |out: &mut Vec<u8>| out.extend_from_slice(&event.payload);
        stream.write_at(&mut out, TELEPHONE_EVENT, event.marker, event.timestamp, payload);
        stream.skip(160);
        framed(&mut seed, 5, &out);
    }
    seeds.push(("events", seed));
    seeds
}

fn rtcp() -> Vec<(&'static str, Vec<u8>)> {
    let (mut session, mut source, mut stream) = (Session::new("seed@mgw"), Source::new(), Stream::new(9, 0, 0));
    let (ntp, now) = (Ntp::from_unix(Duration::from_secs(1_800_000_000)), Duration::ZERO);
    let mut out = Vec::new();
    let mut seeds = Vec::new();
    session.report(&mut out, &stream, &source, ntp, now);
    seeds.push(("empty-report", out.clone()));
    let heard = Packet { payload_type: 0, marker: false, sequence: 3, timestamp: 480, ssrc: 5, payload: &[] };
    source.check(&heard, now, 8000);
    session.report(&mut out, &stream, &source, ntp, now);
    seeds.push(("receiver-report", out.clone()));
    stream.write(&mut out, 0, false, 160, |out| out.push(0xFF));
    session.report(&mut out, &stream, &source, ntp, now);
    write_goodbye(&mut out, 9, b"done");
    seeds.push(("sender-report-goodbye", out.clone()));

    // A conversation: the other side's audio, then its reports, so that own reports have blocks and round trips.
    let mut seed = Vec::new();
    audio(&mut seed, 9, 100, 3);
    framed(&mut seed, 250, &out);
    audio(&mut seed, 9, 105, 1);
    session.leave(&mut out, &stream, &source, ntp, now);
    framed(&mut seed, 250, &out);
    seeds.push(("conversation", seed));
    seeds
}

fn dtmf() -> Vec<(&'static str, Vec<u8>)> {
    let of = |digits: &str, keep: &dyn Fn(usize) -> bool| {
        let mut sender = Sender::new(8000, 20);
        for digit in digits.chars() {
            sender.push(digit, Duration::from_millis(100)).expect("room");
        }
        let (mut seed, mut timestamp, mut wait, mut count) = (Vec::new(), 0xFFFF_F000_u32, 0, 0);
        while sender.queued() > 0 || sender.is_sending() {
            if let Some(event) = sender.next(timestamp) {
                if keep(count) {
                    framed(&mut seed, wait, &[&event.timestamp.to_be_bytes()[..], &event.payload].concat());
                    wait = 0;
                }
                count += 1;
            }
            timestamp = timestamp.wrapping_add(160);
            wait += 5;
        }
        seed
    };
    vec![
        ("digits", of("19*#AD", &|_| true)),
        ("ends-lost", of("1122", &|n| n % 7 < 3)),
        ("one-of-seven", of("0000", &|n| n % 7 == 6)),
    ]
}

fn audiosocket() -> Vec<(&'static str, Vec<u8>)> {
    let mut out = Vec::new();
    let mut call = vec![7];
    asock::write_uuid(&mut out, b"0123456789abcdef");
    call.extend_from_slice(&out);
    for hz in [8_000, 16_000, 48_000] {
        asock::write_audio(&mut out, hz, &[1000; 20]).expect("a rate with a kind");
        call.extend_from_slice(&out);
    }
    asock::write_dtmf(&mut out, '#').expect("a digit");
    call.extend_from_slice(&out);
    asock::write_hangup(&mut out);
    call.extend_from_slice(&out);
    // An odd length, an unknown kind, an error, a UUID of two bytes, a message without its end.
    let wrong = vec![2, 0x10, 0, 3, 1, 2, 3, 0x02, 0, 1, 0, 0xFF, 0, 1, 4, 1, 0, 2, 1, 1, 0x12, 2, 0x80, 0, 0];
    let uuid = [&[255][..], asock::format_uuid(b"0123456789abcdef").as_bytes()].concat();
    vec![("call", call), ("wrong", wrong), ("uuid-text", uuid)]
}

fn main() -> std::io::Result<()> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for (target, seeds) in [("audiosocket", audiosocket()), ("dtmf", dtmf()), ("rtcp", rtcp()), ("rtp", rtp())] {
        std::fs::create_dir_all(corpus.join(target))?;
        for (name, seed) in seeds {
            std::fs::write(corpus.join(target).join(name), seed)?;
        }
    }
    Ok(())
}
