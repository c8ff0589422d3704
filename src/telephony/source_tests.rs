use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const HZ: u32 = 16_000;

/// Checks a packet of 20 ms that is in time with its sequence number.
fn check(source: &mut Source, ssrc: u32, sequence: u16, ms: u64) -> Verdict {
    let packet = Packet {
        payload_type: 118,
        marker: false,
        sequence,
        timestamp: u32::from(sequence).wrapping_mul(320),
        ssrc,
        payload: &[],
    };
    source.check(&packet, Duration::from_millis(ms), HZ)
}

fn accepted(sequence: u64) -> Verdict {
    Verdict::Accept { sequence, restarted: false }
}

fn restarted(sequence: u64) -> Verdict {
    Verdict::Accept { sequence, restarted: true }
}

const JUMP: Verdict = Verdict::Reject(Reason::SequenceJump);
const LATE: Verdict = Verdict::Reject(Reason::TooLate);
const OTHER: Verdict = Verdict::Reject(Reason::OtherSource);

#[test]
fn sequence_numbers_of_one_source() {
    let cycle = 0x1_0000;
    let cases: &[(&str, &[u16], &[Verdict])] = &[
        ("in order", &[5, 6, 7], &[accepted(cycle + 5), accepted(cycle + 6), accepted(cycle + 7)]),
        ("a loss at the begin", &[5, 9], &[accepted(cycle + 5), accepted(cycle + 9)]),
        ("the first comes second", &[1, 0], &[accepted(cycle + 1), accepted(cycle)]),
        ("late over the wrap", &[1, 0xFFFF], &[accepted(cycle + 1), accepted(0xFFFF)]),
        ("wrap", &[0xFFFF, 0, 1], &[accepted(cycle + 0xFFFF), accepted(2 * cycle), accepted(2 * cycle + 1)]),
        (
            "wrap with a late one",
            &[0xFFFE, 0, 0xFFFF],
            &[accepted(cycle + 0xFFFE), accepted(2 * cycle), accepted(cycle + 0xFFFF)],
        ),
        ("twice", &[5, 5], &[accepted(cycle + 5), Verdict::Duplicate]),
        (
            "late and twice",
            &[5, 7, 6, 6, 5],
            &[accepted(cycle + 5), accepted(cycle + 7), accepted(cycle + 6), Verdict::Duplicate, Verdict::Duplicate],
        ),
        ("last of the window", &[100, 163, 100], &[accepted(cycle + 100), accepted(cycle + 163), Verdict::Duplicate]),
        (
            "new at the window's end",
            &[101, 163, 100],
            &[accepted(cycle + 101), accepted(cycle + 163), accepted(cycle + 100)],
        ),
        ("behind the window", &[100, 164, 100], &[accepted(cycle + 100), accepted(cycle + 164), LATE]),
        ("last of misorder", &[200, 201, 101], &[accepted(cycle + 200), accepted(cycle + 201), LATE]),
        ("jump back", &[200, 201, 100], &[accepted(cycle + 200), accepted(cycle + 201), JUMP]),
        ("longest loss", &[0, 2999], &[accepted(cycle), accepted(cycle + 2999)]),
        ("jump", &[0, 3000], &[accepted(cycle), JUMP]),
        ("jump that is followed", &[0, 3000, 3001], &[accepted(cycle), JUMP, restarted(3 * cycle + 3001)]),
        ("jump that is not", &[0, 3000, 3002, 1], &[accepted(cycle), JUMP, JUMP, accepted(cycle + 1)]),
        ("jump over the wrap", &[9000, 0xFFFF, 0], &[accepted(cycle + 9000), JUMP, restarted(3 * cycle)]),
        ("jump twice the same", &[0, 3000, 3000], &[accepted(cycle), JUMP, JUMP]),
    ];
    for (name, sequences, expected) in cases {
        let mut source = Source::new();
        let verdicts: Vec<_> = sequences.iter().zip(0..).map(|(s, n)| check(&mut source, 1, *s, 20 * n)).collect();
        assert_eq!(verdicts, *expected, "{name}");
    }
}

/// Packets as (ssrc, sequence, time in ms).
type Packets<'a> = &'a [(u32, u16, u64)];

#[test]
fn other_sources() {
    let cycle = 0x1_0000;
    let cases: &[(&str, Packets<'_>, &[Verdict])] = &[
        (
            "a stray packet first, then the real source",
            &[(9, 500, 0), (1, 5, 10), (1, 6, 30), (1, 7, 50)],
            &[accepted(cycle + 500), Verdict::Hold, restarted(3 * cycle + 6), accepted(3 * cycle + 7)],
        ),
        (
            "a proved source is not interrupted",
            &[(1, 5, 0), (1, 6, 20), (9, 70, 21), (9, 71, 22), (1, 7, 40), (9, 72, 41), (1, 8, 60)],
            &[accepted(cycle + 5), accepted(cycle + 6), OTHER, OTHER, accepted(cycle + 7), OTHER, accepted(cycle + 8)],
        ),
        (
            "not before the silence is over",
            &[(1, 5, 0), (1, 6, 20), (9, 70, 40), (9, 71, 219), (9, 72, 220), (9, 73, 240)],
            &[
                accepted(cycle + 5),
                accepted(cycle + 6),
                OTHER,
                OTHER,
                restarted(3 * cycle + 72),
                accepted(3 * cycle + 73),
            ],
        ),
        (
            "after silence it takes two in sequence",
            &[(1, 5, 0), (1, 6, 20), (9, 70, 300), (9, 72, 320), (9, 73, 340)],
            &[accepted(cycle + 5), accepted(cycle + 6), Verdict::Hold, Verdict::Hold, restarted(3 * cycle + 73)],
        ),
        (
            "the silent one comes back in time",
            &[(1, 5, 0), (1, 6, 20), (9, 70, 300), (1, 7, 310), (9, 71, 320)],
            &[accepted(cycle + 5), accepted(cycle + 6), Verdict::Hold, accepted(cycle + 7), OTHER],
        ),
        (
            "the replaced one has to prove itself",
            &[(1, 5, 0), (1, 6, 20), (9, 70, 300), (9, 71, 320), (1, 7, 330), (1, 8, 600), (1, 9, 620)],
            &[
                accepted(cycle + 5),
                accepted(cycle + 6),
                Verdict::Hold,
                restarted(3 * cycle + 71),
                OTHER,
                restarted(5 * cycle + 8),
                accepted(5 * cycle + 9),
            ],
        ),
        (
            "proof is forgotten when it was used",
            &[(1, 5, 0), (9, 70, 10), (9, 71, 20), (1, 6, 300), (1, 7, 320), (1, 8, 340), (9, 72, 600), (9, 73, 620)],
            &[
                accepted(cycle + 5),
                Verdict::Hold,
                restarted(3 * cycle + 71),
                Verdict::Hold,
                restarted(5 * cycle + 7),
                accepted(5 * cycle + 8),
                Verdict::Hold,
                restarted(7 * cycle + 73),
            ],
        ),
        (
            "several others at a time",
            &[
                (1, 5, 0),
                (1, 6, 20),
                (6, 60, 300),
                (7, 70, 301),
                (8, 80, 302),
                (9, 90, 303),
                (10, 1, 304),
                (7, 71, 305),
            ],
            &[
                accepted(cycle + 5),
                accepted(cycle + 6),
                Verdict::Hold,
                Verdict::Hold,
                Verdict::Hold,
                Verdict::Hold,
                Verdict::Hold,
                restarted(3 * cycle + 71),
            ],
        ),
        (
            "duplicates do not keep a source alive",
            &[(1, 5, 0), (1, 6, 20), (1, 6, 200), (9, 70, 210), (9, 71, 230)],
            &[accepted(cycle + 5), accepted(cycle + 6), Verdict::Duplicate, OTHER, restarted(3 * cycle + 71)],
        ),
    ];
    for (name, packets, expected) in cases {
        let mut source = Source::new();
        let verdicts: Vec<_> = packets.iter().map(|&(ssrc, seq, ms)| check(&mut source, ssrc, seq, ms)).collect();
        assert_eq!(verdicts, *expected, "{name}");
    }
}

#[test]
fn sprayed_sources_neither_interrupt_nor_grow() {
    let mut source = Source::new();
    for n in 0..10_000_u32 {
        let ms = u64::from(n) * 20;
        assert!(matches!(check(&mut source, 1, n as u16, ms), Verdict::Accept { restarted: false, .. }), "packet {n}");
        for forged in 0..20 {
            let ssrc = 1000 + n * 20 + forged;
            // The first packet alone proves nothing, so then others are only held.
            let expected = if n == 0 { Verdict::Hold } else { OTHER };
            assert_eq!(check(&mut source, ssrc, forged as u16, ms + 1), expected);
        }
    }
    let stats = source.stats();
    assert_eq!((stats.received, stats.lost(), stats.rejected_ssrc, stats.restarts), (10_000, 0, 199_980, 0));
    assert_eq!(source.ssrc(), Some(1));
    assert!(size_of::<Source>() < 512, "{} bytes", size_of::<Source>());
}

#[test]
fn counts() {
    let mut source = Source::new();
    assert_eq!((source.stats(), source.reception()), (SourceStats::default(), None));
    for (sequence, ms) in [(0xFFFE, 0), (0xFFFF, 20), (2, 80), (1, 81), (1, 82), (20_000, 90)] {
        check(&mut source, 1, sequence, ms);
    }
    check(&mut source, 9, 4, 100);
    let stats = source.stats();
    assert_eq!((stats.received, stats.expected, stats.lost()), (4, 5, 1));
    assert_eq!((stats.duplicates, stats.reordered, stats.rejected_sequence, stats.rejected_ssrc), (1, 1, 1, 1));
    let reception = source.reception().expect("there is a source");
    assert_eq!((reception.ssrc, reception.expected, reception.received), (1, 5, 5), "A.3 counts the duplicate");
    assert_eq!(reception.highest_sequence, 0x1_0002, "one wrap");
    check(&mut source, 9, 6, 290);
    check(&mut source, 9, 7, 300);
    let stats = source.stats();
    assert_eq!((stats.restarts, stats.held, stats.expected, stats.received), (1, 1, 6, 5));
    let reception = source.reception().expect("there is a source");
    assert_eq!((reception.ssrc, reception.expected, reception.highest_sequence, reception.restarts), (9, 1, 7, 1));
}

/// Runs packets of 20 ms that arrive at `20 n + delay(n)` ms; the jitter in ms afterwards.
fn jitter(packets: u64, delay: impl Fn(u64) -> u64) -> f64 {
    let mut source = Source::new();
    for n in 0..packets {
        check(&mut source, 1, n as u16, 20 * n + delay(n));
    }
    source.stats().jitter_ms(HZ)
}

#[test]
fn jitter_follows_the_standard() {
    assert_eq!(jitter(100, |_| 0), 0.0);
    assert_eq!(jitter(100, |_| 60), 0.0, "a constant delay is none");
    let alternating = jitter(1000, |n| 8 * (n % 2));
    assert!((alternating - 8.0).abs() < 0.1, "each transit differs by 8 ms from the last: {alternating}");
    let once = jitter(3, |n| if n == 2 { 16 } else { 0 });
    assert!((once - 1.0).abs() < 0.1, "a sixteenth of 16 ms: {once}");
    assert_eq!(SourceStats::default().jitter_ms(0), 0.0);
}

#[test]
fn events_pauses_and_new_bases_are_no_jitter() {
    let mut source = Source::new();
    let mut sequence = 0;
    let mut send = |payload_type, timestamp, ms| {
        let packet = Packet { payload_type, marker: false, sequence, timestamp, ssrc: 1, payload: &[] };
        sequence += 1;
        source.check(&packet, Duration::from_millis(ms), HZ);
        source.stats().jitter
    };
    for n in 0..10 {
        send(118, 320 * n, 20 * u64::from(n));
    }
    for n in 10..18 {
        // An event repeats the timestamp of its begin.
        assert_eq!(send(101, 3200, 20 * n), 0);
    }
    for n in 18..30 {
        assert_eq!(send(118, 320 * n, 20 * u64::from(n)), 0, "audio goes on where it would be");
    }
    for n in 30..40 {
        assert_eq!(send(118, 0xFFFF_0000_u32.wrapping_add(320 * n), 20 * u64::from(n)), 0, "new base, with a wrap");
    }
    assert_eq!(send(118, 0xFFFF_0000_u32.wrapping_add(320 * 40), 20 * 40 + 5000), 0, "a pause that stops the clock");
}

#[test]
fn jitter_is_measured_within_one_base() {
    let mut source = Source::new();
    // Packets as (payload type, timestamp, time in ms), all of one source.
    let mut sequence = 0;
    let mut send = |packets: &[(u8, u32, u64)]| {
        for &(payload_type, timestamp, ms) in packets {
            let packet = Packet { payload_type, marker: false, sequence, timestamp, ssrc: 1, payload: &[] };
            sequence += 1;
            source.check(&packet, Duration::from_millis(ms), HZ);
        }
        source.stats().jitter
    };
    assert_eq!(send(&[(118, 0, 0), (118, 320, 20), (118, 320, 30), (118, 320, 35), (118, 640, 40)]), 0, "repeated");
    assert_eq!(send(&[(0, 2000, 60), (0, 2320, 80), (118, 1600, 100), (118, 1920, 120)]), 0, "another payload type");
    assert!(send(&[(118, 2240, 180)]) > 0, "40 ms late");
    let other =
        |sequence, timestamp| Packet { payload_type: 118, marker: false, sequence, timestamp, ssrc: 2, payload: &[] };
    for (sequence, ms) in [(0, 400), (1, 420), (2, 440)] {
        source.check(&other(sequence, 4000 + 320 * u32::from(sequence)), Duration::from_millis(ms), HZ);
    }
    assert_eq!((source.ssrc(), source.stats().jitter), (Some(2), 0), "another source begins at none");
}

#[test]
fn a_day_of_packets() {
    let mut source = Source::new();
    let packets = 24 * 3600 * 50_u64;
    let mut last = 0;
    for n in 0..packets {
        // One in a hundred is lost, arrival swings by 2 ms; sequence and timestamp begin just before their wraps.
        if n % 100 == 50 {
            continue;
        }
        let packet = Packet {
            payload_type: 118,
            marker: false,
            sequence: (n as u16).wrapping_add(0xFFF0),
            timestamp: (n as u32).wrapping_mul(320).wrapping_add(0xFFFF_FF00),
            ssrc: 1,
            payload: &[],
        };
        let verdict = source.check(&packet, Duration::from_millis(20 * n + 2 * (n % 2)), HZ);
        let Verdict::Accept { sequence, restarted: false } = verdict else { panic!("packet {n}: {verdict:?}") };
        assert_eq!(sequence, 0x1_FFF0 + n);
        assert!(sequence > last);
        last = sequence;
    }
    let stats = source.stats();
    assert_eq!((stats.expected, stats.received, stats.lost()), (packets, packets / 100 * 99, packets / 100));
    assert_eq!(stats.restarts + stats.duplicates + stats.rejected_sequence + stats.rejected_ssrc, 0);
    assert!((1.0..2.1).contains(&stats.jitter_ms(HZ)), "{} ms", stats.jitter_ms(HZ));
    assert_eq!(source.reception().expect("there is a source").highest_sequence, (0xFFF0 + packets - 1) as u32);
}

proptest! {
    #[test]
    fn no_number_is_given_twice(
        packets in vec((0_u32..3, prop_oneof![0_u16..40, 60_000_u16..60_100, any::<u16>()], 0_u64..120), 0..300),
    ) {
        let mut source = Source::new();
        let mut seen = std::collections::BTreeSet::new();
        let mut before_restart = 0;
        let mut now = 0;
        for (ssrc, sequence, wait) in packets {
            now += wait;
            if let Verdict::Accept { sequence: extended, restarted } = check(&mut source, ssrc, sequence, now) {
                prop_assert_eq!(extended as u16, sequence);
                if restarted {
                    before_restart = seen.last().copied().unwrap_or(0);
                }
                prop_assert!(extended > before_restart);
                prop_assert!(seen.insert(extended));
            }
        }
        let stats = source.stats();
        prop_assert_eq!(stats.received, seen.len() as u64);
    }
}
