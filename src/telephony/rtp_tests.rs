use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// A packet of payload type 118 with the given first byte, then `rest` behind the twelve bytes.
fn packet(first: u8, rest: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first, 118, 0x12, 0x34, 0, 0, 1, 0x40, 0xDE, 0xAD, 0xBE, 0xEF];
    bytes.extend_from_slice(rest);
    bytes
}

/// A datagram and its payload.
type Case<'a> = (&'a str, Vec<u8>, Result<&'a [u8], Malformed>);

#[test]
fn headers() {
    let long_extension = packet(0x90, &[0, 0, 0xFF, 0xFF, 1, 2, 3, 4]);
    let rtcp_by_type = |second: u8| {
        let mut bytes = packet(0x80, &[1, 2]);
        bytes[1] = second;
        bytes
    };
    let cases: &[Case<'_>] = &[
        ("plain", packet(0x80, &[1, 2]), Ok(&[1, 2])),
        ("no payload", packet(0x80, &[]), Ok(&[])),
        ("two contributors", packet(0x82, &[1, 1, 1, 1, 2, 2, 2, 2, 9]), Ok(&[9])),
        ("fifteen contributors", packet(0x8F, &[7; 61]), Ok(&[7])),
        ("empty extension", packet(0x90, &[0xBE, 0xDE, 0, 0, 9]), Ok(&[9])),
        ("extension of a word", packet(0x90, &[0xBE, 0xDE, 0, 1, 5, 5, 5, 5, 9]), Ok(&[9])),
        ("padding", packet(0xA0, &[9, 0, 0, 3]), Ok(&[9])),
        ("padding only", packet(0xA0, &[0, 2]), Ok(&[])),
        ("everything", packet(0xB1, &[1, 1, 1, 1, 0, 0, 0, 1, 5, 5, 5, 5, 9, 8, 1]), Ok(&[9, 8])),
        ("nothing", vec![], Err(Malformed::Short)),
        ("one byte", vec![0x80], Err(Malformed::Short)),
        ("eleven bytes", packet(0x80, &[])[..11].to_vec(), Err(Malformed::Short)),
        ("version 1", packet(0x40, &[1]), Err(Malformed::NotRtp)),
        ("version 3", packet(0xC0, &[1]), Err(Malformed::NotRtp)),
        ("STUN", vec![0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42, 0, 0, 0, 0], Err(Malformed::NotRtp)),
        ("DTLS", packet(20, &[]), Err(Malformed::NotRtp)),
        ("sender report", rtcp_by_type(200), Err(Malformed::Rtcp)),
        ("first of RTCP", rtcp_by_type(192), Err(Malformed::Rtcp)),
        ("last of RTCP", rtcp_by_type(223), Err(Malformed::Rtcp)),
        ("short RTCP", vec![0x80, 203, 0, 0], Err(Malformed::Rtcp)),
        ("before RTCP", rtcp_by_type(191), Ok(&[1, 2])),
        ("behind RTCP", rtcp_by_type(224), Ok(&[1, 2])),
        ("type 64 without marker", rtcp_by_type(64), Ok(&[1, 2])),
        ("contributors cut off", packet(0x82, &[1, 1, 1, 1, 2, 2, 2]), Err(Malformed::Contributors)),
        ("extension head cut off", packet(0x90, &[0, 0, 0]), Err(Malformed::Extension)),
        ("extension cut off", packet(0x90, &[0, 0, 0, 2, 1, 1, 1, 1, 1, 1, 1]), Err(Malformed::Extension)),
        ("longest extension", long_extension, Err(Malformed::Extension)),
        ("padding of nothing", packet(0xA0, &[9, 0]), Err(Malformed::Padding)),
        ("padding beyond", packet(0xA0, &[9, 3]), Err(Malformed::Padding)),
        ("padding without bytes", packet(0xA0, &[]), Err(Malformed::Padding)),
        ("padding into the extension", packet(0xB0, &[0, 0, 0, 0, 2]), Err(Malformed::Padding)),
    ];
    for (name, bytes, expected) in cases {
        assert_eq!(Packet::parse(bytes).map(|packet| packet.payload), *expected, "{name}");
    }
}

#[test]
fn fields() {
    let mut bytes = packet(0x80, &[1, 2]);
    bytes[1] |= 0x80;
    let expected = Packet {
        payload_type: 118,
        marker: true,
        sequence: 0x1234,
        timestamp: 320,
        ssrc: 0xDEAD_BEEF,
        payload: &[1, 2],
    };
    assert_eq!(Packet::parse(&bytes), Ok(expected));
    let reasons = [
        Malformed::Short,
        Malformed::NotRtp,
        Malformed::Rtcp,
        Malformed::Contributors,
        Malformed::Extension,
        Malformed::Padding,
    ];
    let texts: std::collections::BTreeSet<_> = reasons.iter().map(ToString::to_string).collect();
    assert_eq!(texts.len(), reasons.len(), "each reason has its own text");
}

#[test]
fn a_stream_counts_packets_and_follows_time() {
    let mut stream = Stream::new(7, 0xFFFE, 0xFFFF_FFFF - 319);
    let mut out = Vec::new();
    let mut sent = Vec::new();
    let mut note = |out: &[u8]| {
        let packet = Packet::parse(out).expect("own packet");
        sent.push((packet.sequence, packet.timestamp, packet.marker, packet.payload.len()));
    };
    stream.write(&mut out, 118, true, 320, |out| out.extend_from_slice(&[0; 640]));
    note(&out);
    stream.skip(320);
    stream.write(&mut out, 118, true, 320, |out| out.extend_from_slice(&[0; 640]));
    note(&out);
    let event = stream.timestamp();
    for step in 0..2 {
        stream.write_at(&mut out, 101, step == 0, event, |out| out.extend_from_slice(&[0; 4]));
        note(&out);
        stream.skip(320);
    }
    stream.write(&mut out, 118, false, 320, |out| out.extend_from_slice(&[0; 640]));
    note(&out);
    let begin = 0xFFFF_FFFF - 319;
    assert_eq!(begin, 0_u32.wrapping_sub(320));
    assert_eq!(
        sent,
        [
            (0xFFFE, begin, true, 640),
            (0xFFFF, 320, true, 640),
            (0, 640, true, 4),
            (1, 640, false, 4),
            (2, 1280, false, 640)
        ]
    );
    assert_eq!((stream.packets(), stream.octets()), (5, 3 * 640 + 2 * 4));
    assert_eq!((stream.ssrc(), stream.sequence(), stream.timestamp()), (7, 3, 1600));
}

#[test]
fn a_stream_keeps_the_buffer() {
    let mut stream = Stream::new(7, 0, 0);
    let mut out = Vec::with_capacity(HEADER_BYTES + 640);
    let at = out.as_ptr();
    for _ in 0..100 {
        stream.write(&mut out, 118, false, 320, |out| out.extend_from_slice(&[0; 640]));
    }
    assert_eq!((out.as_ptr(), out.len()), (at, HEADER_BYTES + 640));
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        payload_type in 0_u8..64, marker: bool, sequence: u16, timestamp: u32, ssrc: u32, payload in vec(any::<u8>(), 0..700),
    ) {
        let packet = Packet { payload_type, marker, sequence, timestamp, ssrc, payload: &payload };
        let mut bytes = Vec::new();
        packet.write(&mut bytes);
        prop_assert_eq!(Packet::parse(&bytes), Ok(packet));
    }

    #[test]
    fn random_bytes_never_panic(mut bytes in vec(any::<u8>(), 0..120), first in 0x80_u8..0xC0) {
        let _ = Packet::parse(&bytes);
        if let Some(byte) = bytes.first_mut() {
            *byte = first;
        }
        if let Ok(packet) = Packet::parse(&bytes) {
            prop_assert!(packet.payload.len() + HEADER_BYTES <= bytes.len());
        }
    }
}
