use proptest::collection::vec;
use proptest::prelude::*;

use super::super::rtp::{self, Stream};
use super::super::source::Source;
use super::session::{round_trip, short};
use super::*;

/// A packet with a right length; `first` has the version, the padding bit and the count.
fn raw(first: u8, kind: u8, body: &[u8]) -> Vec<u8> {
    assert_eq!(body.len() % 4, 0);
    let mut bytes = vec![first, kind];
    bytes.extend_from_slice(&(body.len() as u16 / 4).to_be_bytes());
    bytes.extend_from_slice(body);
    bytes
}

fn concat(packets: &[&[u8]]) -> Vec<u8> {
    packets.concat()
}

#[test]
fn validity() {
    let report = raw(0x80, 201, &[0, 0, 0, 1]);
    let cname = raw(0x81, 202, &[0, 0, 0, 1, 1, 1, b'a', 0]);
    let mut too_long = report.clone();
    too_long[3] = 2;
    let cases: &[(&str, Vec<u8>, Result<usize, Malformed>)] = &[
        ("empty receiver report", report.clone(), Ok(1)),
        ("report and name", concat(&[&report, &cname]), Ok(2)),
        ("sender report", raw(0x80, 200, &[0; 24]), Ok(1)),
        ("sender report with a block", raw(0x81, 200, &[0; 48]), Ok(1)),
        ("report with an extension", raw(0x80, 201, &[0; 12]), Ok(1)),
        ("another packet", concat(&[&report, &raw(0x85, 204, &[0; 8])]), Ok(2)),
        ("leaving", concat(&[&report, &raw(0x81, 203, &[0, 0, 0, 1])]), Ok(2)),
        ("leaving with a reason", concat(&[&report, &raw(0x81, 203, &[0, 0, 0, 1, 3, b'b', b'y', b'e'])]), Ok(2)),
        ("nobody leaves", concat(&[&report, &raw(0x80, 203, &[])]), Ok(2)),
        ("padded last", concat(&[&report, &raw(0xA1, 203, &[0, 0, 0, 1, 0, 0, 0, 4])]), Ok(2)),
        ("empty name", concat(&[&report, &raw(0x81, 202, &[0, 0, 0, 1, 0, 0, 0, 0])]), Ok(2)),
        ("no descriptions", concat(&[&report, &raw(0x80, 202, &[])]), Ok(2)),
        ("nothing", vec![], Err(Malformed::Short)),
        ("three bytes", report[..3].to_vec(), Err(Malformed::Short)),
        ("longer than the datagram", too_long, Err(Malformed::Short)),
        ("rest behind", concat(&[&report, &[0x80, 0]]), Err(Malformed::Short)),
        ("report without source", raw(0x80, 201, &[]), Err(Malformed::Short)),
        ("sender report cut off", raw(0x80, 200, &[0; 20]), Err(Malformed::Short)),
        ("version 1", raw(0x40, 201, &[0; 4]), Err(Malformed::Version)),
        ("version 1 later", concat(&[&report, &raw(0x41, 202, &[0; 8])]), Err(Malformed::Version)),
        ("name first", cname.clone(), Err(Malformed::NoReport)),
        ("RTP", raw(0x80, 118, &[0; 8]), Err(Malformed::NoReport)),
        ("padded first", raw(0xA0, 201, &[0, 0, 0, 1, 0, 0, 0, 4]), Err(Malformed::Padding)),
        (
            "padded in the middle",
            concat(&[&report, &raw(0xA1, 203, &[0, 0, 0, 1, 0, 0, 0, 4]), &cname]),
            Err(Malformed::Padding),
        ),
        ("padding of nothing", concat(&[&report, &raw(0xA1, 203, &[0; 8])]), Err(Malformed::Padding)),
        ("padding without bytes", concat(&[&report, &raw(0xA0, 203, &[])]), Err(Malformed::Padding)),
        (
            "padding of odd length",
            concat(&[&report, &raw(0xA1, 203, &[0, 0, 0, 1, 0, 0, 0, 3])]),
            Err(Malformed::Padding),
        ),
        ("padding beyond", concat(&[&report, &raw(0xA0, 203, &[0, 0, 0, 8])]), Err(Malformed::Padding)),
        ("blocks missing", raw(0x82, 201, &[0; 28]), Err(Malformed::Count)),
        ("sources missing", concat(&[&report, &raw(0x82, 203, &[0; 4])]), Err(Malformed::Count)),
        ("descriptions missing", concat(&[&report, &raw(0x82, 202, &cname[4..])]), Err(Malformed::Count)),
        ("name too long", concat(&[&report, &raw(0x81, 202, &[0, 0, 0, 1, 1, 9, b'a', 0])]), Err(Malformed::Text)),
        (
            "name without end",
            concat(&[&report, &raw(0x81, 202, &[0, 0, 0, 1, 1, 2, b'a', b'b'])]),
            Err(Malformed::Text),
        ),
        (
            "item without length",
            concat(&[&report, &raw(0x81, 202, &[0, 0, 0, 1, 1, 1, b'a', 1])]),
            Err(Malformed::Text),
        ),
        (
            "reason cut off",
            concat(&[&report, &raw(0x81, 203, &[0, 0, 0, 1, 4, b'b', b'y', b'e'])]),
            Err(Malformed::Text),
        ),
    ];
    for (name, bytes, expected) in cases {
        assert_eq!(Compound::parse(bytes).map(|compound| compound.packets().count()), *expected, "{name}");
    }
}

#[test]
fn several_sources_are_described() {
    let chunks = [
        &[0, 0, 0, 1, 1, 2, b'a', b'b', 6, 1, b't', 0][..],
        &[0, 0, 0, 2, 0, 0, 0, 0],
        &[0, 0, 0, 3, 1, 0, 2, 2, b'x', b'y', 0, 0],
    ];
    let bytes = concat(&[&raw(0x80, 201, &[0; 4]), &raw(0x83, 202, &chunks.concat())]);
    let compound = Compound::parse(&bytes).expect("valid");
    let Some(Packet::Description(chunks)) = compound.packets().nth(1) else { panic!("no description") };
    let items: Vec<_> = descriptions(chunks).collect();
    assert_eq!(items, [(1, 1, &b"ab"[..]), (1, 6, b"t"), (3, 1, b""), (3, 2, b"xy")]);
}

#[test]
fn ntp_times() {
    assert_eq!(Ntp::from_unix(Duration::ZERO), Ntp(2_208_988_800 << 32));
    assert_eq!(Ntp::from_unix(Duration::from_millis(500)).0 as u32, 1 << 31);
    assert_eq!(Ntp(0x1234_5678_9ABC_DEF0).middle(), 0x5678_9ABC);
    assert_eq!((short(Duration::from_millis(1500)), short(Duration::MAX)), (0x1_8000, u32::MAX));
    // 2036-02-07 06:28:16 UTC, when the 32 bits of seconds wrap.
    let era = Duration::from_secs(2_085_978_496);
    assert_eq!(Ntp::from_unix(era), Ntp(0));
}

#[test]
fn round_trips() {
    // The example of RFC 3550 figure 2: A 0xb710:8000, DLSR 5.25 s, LSR 0xb705:2000, so 6.125 s.
    let arrival = Ntp(0xB44D_B710_8000_0000);
    let of = |last_report, since_last_report| {
        let block = ReportBlock { last_report, since_last_report, ..ReportBlock::parse(&[0; BLOCK_BYTES]) };
        round_trip(&block, arrival)
    };
    for (name, last_report, since, expected) in [
        ("figure 2", 0xB705_2000, 0x0005_4000, Some(Duration::from_millis(6125))),
        ("no report yet", 0, 0, None),
        ("at once", 0xB710_8000, 0, Some(Duration::ZERO)),
        ("clock went back", 0xB710_8001, 0, None),
        ("delay longer than the time passed", 0xB710_0000, 0x8001, None),
    ] {
        assert_eq!(of(last_report, since), expected, "{name}");
    }
}

/// Feeds a source with packets of these numbers.
fn hear(source: &mut Source, ssrc: u32, sequences: impl IntoIterator<Item = u16>) {
    for sequence in sequences {
        let packet = rtp::Packet {
            payload_type: 118,
            marker: false,
            sequence,
            timestamp: u32::from(sequence) * 320,
            ssrc,
            payload: &[],
        };
        source.check(&packet, Duration::from_millis(u64::from(sequence) * 20), 16_000);
    }
}

#[test]
fn report_blocks_count_since_the_last() {
    let mut session = Session::new("a@b");
    let mut source = Source::new();
    assert_eq!(session.block(&source, Duration::ZERO), None);
    let mut next = |source: &Source| {
        let block = session.block(source, Duration::ZERO).expect("there is a source");
        (block.ssrc, block.fraction_lost, block.lost, block.highest_sequence)
    };
    hear(&mut source, 5, 0..64);
    assert_eq!(next(&source), (5, 0, 0, 63));
    hear(&mut source, 5, (64..128).filter(|n| n % 4 != 0));
    assert_eq!(next(&source), (5, 64, 16, 127), "a quarter");
    assert_eq!(next(&source), (5, 0, 16, 127), "nothing came since");
    hear(&mut source, 5, [124, 126, 126, 126]);
    assert_eq!(next(&source), (5, 0, 12, 127), "a late one and three duplicates: less lost, no fraction");
    hear(&mut source, 5, [2500]);
    assert_eq!(next(&source), (5, 255, 12 + 2372, 2500), "all but one");
    hear(&mut source, 9, [3000, 3001]);
    assert_eq!(next(&source), (9, 0, 0, 3001), "another source begins at zero");
    hear(&mut source, 9, [3005, 20_000, 20_001, 20_003]);
    assert_eq!(next(&source), (9, 85, 1, 20_003), "so does the same one behind a jump: one of three lost");
}

#[test]
fn two_legs_measure_the_round_trip() {
    // Both clocks count from different moments; the way takes 30 ms, there and back.
    let unix = Duration::from_secs(1_800_000_000);
    let ntp = |ms| Ntp::from_unix(unix + Duration::from_millis(ms));
    let far_now = |ms| Duration::from_millis(ms) + Duration::from_secs(77);
    let (mut near, mut far) = (Session::new("near"), Session::new("far"));
    let (mut near_stream, far_stream) = (Stream::new(5, 0, 0), Stream::new(9, 0, 0));
    let (near_source, mut far_source) = (Source::new(), Source::new());
    let mut out = Vec::new();
    near_stream.write(&mut out, 118, false, 320, |out| out.extend_from_slice(&[0; 640]));
    hear(&mut far_source, 5, [0]);

    near.report(&mut out, &near_stream, &near_source, ntp(0), Duration::ZERO);
    let compound = Compound::parse(&out).expect("own report");
    let packets: Vec<_> = compound.packets().collect();
    let sender = SenderInfo { ntp: ntp(0), timestamp: 320, packets: 1, octets: 640 };
    assert_eq!(packets[0], Packet::Report { ssrc: 5, sender: Some(sender), blocks: &[] });
    let Packet::Description(chunks) = packets[1] else { panic!("no name") };
    assert_eq!(descriptions(chunks).collect::<Vec<_>>(), [(5, 1, &b"near"[..])]);
    assert_eq!(packets.len(), 2);

    let wrong_clock = Ntp(0);
    let received = far.receive(&out, &far_stream, &far_source, wrong_clock, far_now(30)).expect("valid");
    assert_eq!(received, Received::default());
    far.leave(&mut out, &far_stream, &far_source, wrong_clock, far_now(1530));
    let report = Compound::parse(&out).expect("own report").packets().next();
    assert!(matches!(report, Some(Packet::Report { ssrc: 9, sender: None, .. })), "it sent nothing: {report:?}");

    let mut near_source = near_source;
    hear(&mut near_source, 9, [0]);
    let received =
        near.receive(&out, &near_stream, &near_source, ntp(1560), Duration::from_millis(1560)).expect("valid");
    let round_trip = received.round_trip.expect("the block tells of the report");
    assert!(round_trip.abs_diff(Duration::from_millis(60)) < Duration::from_micros(100), "{round_trip:?}");
    assert!(received.goodbye);
    let block = received.report.expect("a block about this leg");
    assert_eq!((block.ssrc, block.lost, block.since_last_report), (5, 0, 0x1_8000));

    near.report(&mut out, &near_stream, &near_source, ntp(5000), Duration::from_secs(5));
    let report = Compound::parse(&out).expect("own report").packets().next();
    assert!(matches!(report, Some(Packet::Report { sender: None, .. })), "nothing sent since: {report:?}");
    assert_eq!(
        near.receive(&out[1..], &near_stream, &near_source, ntp(0), Duration::ZERO).map(|_| ()),
        Compound::parse(&out[1..]).map(|_| ())
    );
    assert_eq!(near.malformed(), 1);
}

#[test]
fn reports_about_others_are_left_out() {
    let mut session = Session::new("a");
    let (stream, mut source) = (Stream::new(5, 0, 0), Source::new());
    hear(&mut source, 9, [0, 1]);
    let other = SenderInfo { ntp: Ntp(7 << 32), timestamp: 0, packets: 0, octets: 0 };
    let mut out = Vec::new();
    write_report(&mut out, 8, Some(&other), &[ReportBlock { ssrc: 6, ..ReportBlock::parse(&[0; BLOCK_BYTES]) }]);
    write_goodbye(&mut out, 8, b"tired");
    let received = session.receive(&out, &stream, &source, Ntp(9 << 32), Duration::ZERO);
    assert_eq!(received, Ok(Received::default()));
    assert_eq!(
        session.block(&source, Duration::from_secs(1)).map(|block| (block.last_report, block.since_last_report)),
        Some((0, 0))
    );
}

#[test]
fn sender_reports_belong_to_their_source() {
    let mut session = Session::new("a");
    let (stream, mut source) = (Stream::new(5, 0, 0), Source::new());
    hear(&mut source, 9, [0, 1]);
    for (ssrc, seconds) in [(9, 7), (8, 70)] {
        let mut out = Vec::new();
        let info = SenderInfo { ntp: Ntp(seconds << 32), timestamp: 0, packets: 0, octets: 0 };
        write_report(&mut out, ssrc, Some(&info), &[]);
        let received = session.receive(&out, &stream, &source, Ntp(0), Duration::from_secs(1));
        assert_eq!(received, Ok(Received::default()));
    }
    let mut last = |source: &Source| {
        let block = session.block(source, Duration::from_secs(3)).expect("there is a source");
        (block.ssrc, block.last_report, block.since_last_report)
    };
    assert_eq!(last(&source), (9, 7 << 16, 2 << 16), "not the report of a source that is not heard");
    hear(&mut source, 8, [50, 51]);
    assert_eq!(last(&source), (8, 0, 0), "not that of the source before");
}

fn any_block() -> impl Strategy<Value = ReportBlock> {
    (any::<[u32; 5]>(), any::<u8>(), -0x80_0000_i32..0x80_0000).prop_map(|(words, fraction_lost, lost)| ReportBlock {
        ssrc: words[0],
        fraction_lost,
        lost,
        highest_sequence: words[1],
        jitter: words[2],
        last_report: words[3],
        since_last_report: words[4],
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        ssrc: u32, sends: bool, words: [u32; 3], ntp: u64, blocks in vec(any_block(), 0..33),
        cname in vec(any::<u8>(), 0..300), reason in vec(any::<u8>(), 0..300),
    ) {
        let info = SenderInfo { ntp: Ntp(ntp), timestamp: words[0], packets: words[1], octets: words[2] };
        let info = sends.then_some(info);
        let mut out = Vec::new();
        write_report(&mut out, ssrc, info.as_ref(), &blocks);
        write_cname(&mut out, ssrc, &cname);
        write_goodbye(&mut out, ssrc, &reason);
        let compound = Compound::parse(&out);
        prop_assert!(compound.is_ok(), "{compound:?}");
        let packets: Vec<_> = compound.expect("checked").packets().collect();
        prop_assert_eq!(packets.len(), 3);
        let Packet::Report { ssrc: from, sender, .. } = packets[0] else { panic!("{:?}", packets[0]) };
        prop_assert_eq!((from, sender), (ssrc, info));
        prop_assert!(packets[0].blocks().eq(blocks.into_iter().take(31)));
        let Packet::Description(chunks) = packets[1] else { panic!("{:?}", packets[1]) };
        let items: Vec<_> = descriptions(chunks).collect();
        prop_assert_eq!(items, vec![(ssrc, CNAME, &cname[..cname.len().min(255)])]);
        let Packet::Goodbye { reason: read, .. } = packets[2] else { panic!("{:?}", packets[2]) };
        prop_assert_eq!(read, &reason[..reason.len().min(255)]);
        prop_assert!(packets[2].leaving().eq([ssrc]));
    }

    #[test]
    fn random_bytes_never_panic(bytes in vec(any::<u8>(), 0..80), count in 0_u8..4, kind in 200_u8..205) {
        let _ = Compound::parse(&bytes);
        let body = &bytes[..bytes.len() / 4 * 4];
        let bytes = concat(&[&raw(0x80, 201, &[0; 4]), &raw(0x80 | count, kind, body)]);
        if let Ok(compound) = Compound::parse(&bytes) {
            for packet in compound.packets() {
                let _ = (packet.blocks().count(), packet.leaving().count());
                if let Packet::Description(chunks) = packet {
                    let _ = descriptions(chunks).count();
                }
            }
        }
    }
}
