use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// A packet of an event with the given timestamp, arriving at a time in ms.
#[derive(Clone, Copy)]
struct Sent(u64, u32, char, u16, bool);

const END: bool = true;
const GOES_ON: bool = false;

/// What is sent, and the digits that come of it with their duration in ms.
type Case<'a> = (&'a str, &'a [Sent], &'a [(char, u64)]);

/// What a receiver reports of the packets, polled every 20 ms until a second after the last: digit and ms.
fn receive(packets: &[Sent]) -> Vec<(char, u64)> {
    let mut receiver = Receiver::new(8000);
    let mut reported = Vec::new();
    let last = packets.iter().map(|sent| sent.0).max().unwrap_or(0);
    for ms in 0..last + 1000 {
        let now = Duration::from_millis(ms);
        let mut report = |digit: Digit| reported.push((digit.digit, digit.duration.as_millis() as u64));
        for Sent(_, timestamp, digit, duration, end) in packets.iter().filter(|sent| sent.0 == ms) {
            let event = Event { event: event_of(*digit).expect("a digit"), end: *end, volume: 10, duration: *duration };
            receiver.receive(*timestamp, &event.bytes(), now, &mut report);
        }
        if ms % 20 == 0 {
            receiver.poll(now, &mut report);
        }
    }
    reported
}

#[test]
fn digits_are_reported_once() {
    const HIGH: u32 = 0xFFFF_FF00;
    let cases: &[Case<'_>] = &[
        ("nothing", &[], &[]),
        (
            "whole",
            &[
                Sent(0, 5, '7', 160, GOES_ON),
                Sent(20, 5, '7', 320, GOES_ON),
                Sent(40, 5, '7', 480, END),
                Sent(60, 5, '7', 480, END),
                Sent(80, 5, '7', 480, END),
            ],
            &[('7', 60)],
        ),
        ("only the last end", &[Sent(80, 5, '7', 480, END)], &[('7', 60)]),
        ("only the begin", &[Sent(0, 5, '7', 160, GOES_ON)], &[('7', 20)]),
        ("a begin without duration", &[Sent(0, 5, '7', 0, GOES_ON)], &[('7', 0)]),
        ("ends lost", &[Sent(0, 5, '7', 160, GOES_ON), Sent(20, 5, '7', 320, GOES_ON)], &[('7', 40)]),
        (
            "ends lost, another digit",
            &[Sent(0, 5, '7', 160, GOES_ON), Sent(120, 965, '8', 160, GOES_ON), Sent(140, 965, '8', 320, END)],
            &[('7', 20), ('8', 40)],
        ),
        (
            "ends lost, only the end of another",
            &[Sent(0, 5, '7', 160, GOES_ON), Sent(120, 965, '8', 640, END)],
            &[('7', 20), ('8', 80)],
        ),
        ("the same digit twice", &[Sent(0, 5, '7', 640, END), Sent(120, 965, '7', 640, END)], &[('7', 80), ('7', 80)]),
        (
            "the same digit again as far on as a segment",
            &[Sent(0, 5, '7', 640, END), Sent(900, 65_540, '7', 160, END)],
            &[('7', 80), ('7', 20)],
        ),
        ("out of order, ends lost", &[Sent(0, 5, '7', 320, GOES_ON), Sent(1, 5, '7', 160, GOES_ON)], &[('7', 40)]),
        ("an end before a begin", &[Sent(0, 5, '7', 640, END), Sent(10, 5, '7', 160, GOES_ON)], &[('7', 80)]),
        (
            "late packets of the digit before",
            &[Sent(0, 5, '7', 640, END), Sent(20, 965, '8', 640, END), Sent(30, 5, '7', 640, END)],
            &[('7', 80), ('8', 80)],
        ),
        (
            "late after a pause and the next digit",
            &[Sent(0, 5, '7', 160, GOES_ON), Sent(500, 5, '7', 480, END)],
            &[('7', 20)],
        ),
        (
            "timestamps wrap",
            &[Sent(0, HIGH, '1', 640, END), Sent(120, HIGH.wrapping_add(960), '2', 640, END)],
            &[('1', 80), ('2', 80)],
        ),
        (
            "timestamps begin anew",
            &[Sent(0, 500_000, '1', 640, END), Sent(2000, 5, '2', 640, END)],
            &[('1', 80), ('2', 80)],
        ),
        (
            "a digit of two segments",
            &[
                Sent(0, 5, '*', 65_000, GOES_ON),
                Sent(40, 5, '*', 65_535, GOES_ON),
                Sent(60, 65_540, '*', 160, GOES_ON),
                Sent(80, 65_540, '*', 465, END),
            ],
            &[('*', 8250)],
        ),
    ];
    for (name, packets, expected) in cases {
        assert_eq!(receive(packets), *expected, "{name}");
    }
}

#[test]
fn payloads() {
    let event = Event { event: 11, end: true, volume: 10, duration: 800 };
    assert_eq!(event.bytes(), [11, 0x8A, 0x03, 0x20]);
    assert_eq!(Event::parse(&[11, 0x8A, 0x03, 0x20]), Some(event));
    assert_eq!(Event::parse(&[11, 0xCA, 0x03, 0x20, 9]), Some(event), "reserved bit and what follows are not read");
    assert_eq!(Event::parse(&[11, 0x8A, 3]), None);
    let digits: String = (0..=255).filter_map(|event| Event { event, ..Event::parse(&[0; 4])? }.digit()).collect();
    assert_eq!(digits, "0123456789*#ABCD");
    assert!(digits.chars().zip(0..).all(|(digit, event)| event_of(digit) == Some(event)));
    assert_eq!(event_of('a'), None);
    let mut receiver = Receiver::new(8000);
    receiver.receive(0, &[16, 0x80, 0, 1], Duration::ZERO, |digit| panic!("{digit:?} from a flash"));
    receiver.receive(0, &[1], Duration::ZERO, |digit| panic!("{digit:?} from a byte"));
    assert_eq!(receiver.ignored(), 2);
}

#[test]
fn a_restart_finishes_a_digit() {
    let mut receiver = Receiver::new(16_000);
    let mut digits = Vec::new();
    receiver.receive(900, &[1, 0, 1, 0x40], Duration::ZERO, |digit| digits.push(digit));
    receiver.restart(|digit| digits.push(digit));
    receiver.receive(800, &[2, 0x80, 1, 0x40], Duration::from_millis(1), |digit| digits.push(digit));
    let expected = ['1', '2'].map(|digit| Digit { digit, duration: Duration::from_millis(20) });
    assert_eq!(digits, expected);
}

#[test]
fn packets_of_a_digit() {
    let mut sender = Sender::new(8000, 20);
    assert_eq!(sender.next(0), None);
    assert_eq!(sender.push('#', Duration::from_millis(1)), Ok(()));
    assert_eq!(sender.push('1', Duration::from_millis(121)), Ok(()));
    let mut seen = Vec::new();
    for tick in 0..20 {
        let packet = sender.next(1000 + 160 * tick);
        seen.push(packet.map(|packet| {
            let event = Event::parse(&packet.payload).expect("own payload");
            (event.digit().expect("a digit"), packet.timestamp, packet.marker, event.duration, event.end)
        }));
    }
    let of = |digit, timestamp, ticks: &[(u16, bool)]| -> Vec<_> {
        let first = ticks[0].0;
        ticks.iter().map(|&(duration, end)| Some((digit, timestamp, duration == first, duration, end))).collect()
    };
    let hash = of(
        '#',
        1000,
        &[(160, GOES_ON), (320, GOES_ON), (480, GOES_ON), (640, GOES_ON), (800, END), (800, END), (800, END)],
    );
    let one = of(
        '1',
        1000 + 8 * 160,
        &[
            (160, GOES_ON),
            (320, GOES_ON),
            (480, GOES_ON),
            (640, GOES_ON),
            (800, GOES_ON),
            (960, GOES_ON),
            (1120, END),
            (1120, END),
            (1120, END),
        ],
    );
    let expected: Vec<_> = hash.into_iter().chain([None]).chain(one).chain([None; 3]).collect();
    assert_eq!(seen, expected);
    assert!(!sender.is_sending());
}

#[test]
fn refusals() {
    let mut sender = Sender::new(16_000, 20);
    assert_eq!(sender.push('x', MIN_DURATION), Err(Refused::NoDigit));
    for _ in 0..MAX_QUEUED {
        assert_eq!(sender.push('1', MIN_DURATION), Ok(()));
    }
    assert_eq!(sender.push('1', MIN_DURATION), Err(Refused::Full));
    assert_eq!(sender.queued(), MAX_QUEUED);
    sender.next(0);
    assert_eq!((sender.queued(), sender.is_sending()), (MAX_QUEUED - 1, true));
    assert_eq!(sender.push('1', Duration::MAX), Ok(()));
}

#[test]
fn no_duration_overflows() {
    for (hz, packet_ms) in [(8_000, 20), (16_000, 20), (48_000, 20), (48_000, 60), (8_000, 1), (1, 1), (192_000, 20)] {
        let mut sender = Sender::new(hz, packet_ms);
        sender.push('5', Duration::MAX).expect("room");
        let (mut last, mut ends) = (0, 0);
        while sender.queued() > 0 || sender.is_sending() {
            let Some(packet) = sender.next(0) else { continue };
            let event = Event::parse(&packet.payload).expect("own payload");
            assert!(event.duration >= last, "{hz} Hz: {} after {last}", event.duration);
            last = event.duration;
            ends += u32::from(event.end);
        }
        assert_eq!(ends, ENDS, "{hz} Hz");
    }
}

proptest! {
    /// Whatever is lost or comes out of order by one place, each digit with a packet left is reported once, in order.
    #[test]
    fn loss_does_not_double_or_drop_digits(
        digits in "[0-9A-D*#]{1,12}", ms in 0_u64..300, lost in vec(prop::bool::weighted(0.6), 400), swap: bool,
    ) {
        let mut sender = Sender::new(8000, 20);
        for digit in digits.chars() {
            prop_assert_eq!(sender.push(digit, Duration::from_millis(ms)), Ok(()));
        }
        let mut receiver = Receiver::new(8000);
        let (mut expected, mut reported) = (Vec::new(), Vec::new());
        let mut arrivals = Vec::new();
        for (tick, lost) in (0_u32..).zip(lost.into_iter().chain(std::iter::repeat(false))) {
            if !sender.is_sending() && sender.queued() == 0 {
                break;
            }
            let Some(packet) = sender.next(160 * tick) else { continue };
            if !lost {
                if expected.last().is_none_or(|(timestamp, _)| *timestamp != packet.timestamp) {
                    let digit = Event::parse(&packet.payload).and_then(|event| event.digit()).expect("a digit");
                    expected.push((packet.timestamp, digit));
                }
                arrivals.push((20 * u64::from(tick), packet));
            }
        }
        if swap {
            // Neighbours of one digit change places: what is late for its own digit must not matter either.
            for pair in arrivals.chunks_mut(2) {
                if let [(_, first), (_, second)] = pair && first.timestamp == second.timestamp {
                    std::mem::swap(first, second);
                }
            }
        }
        let last = arrivals.last().map_or(0, |(ms, _)| *ms);
        let mut arrivals = arrivals.into_iter().peekable();
        for now in (0..last + 1000).step_by(20) {
            let mut report = |digit: Digit| reported.push(digit.digit);
            let time = Duration::from_millis(now);
            while let Some((_, packet)) = arrivals.next_if(|(ms, _)| *ms == now) {
                receiver.receive(packet.timestamp, &packet.payload, time, &mut report);
            }
            receiver.poll(time, &mut report);
        }
        let expected: Vec<char> = expected.into_iter().map(|(_, digit)| digit).collect();
        prop_assert_eq!(reported, expected);
    }

    #[test]
    fn random_packets_never_panic(packets in vec((any::<u32>(), vec(any::<u8>(), 0..6), 0_u64..400), 0..60)) {
        let mut receiver = Receiver::new(8000);
        let (mut now, mut reported, count) = (Duration::ZERO, 0, packets.len());
        for (timestamp, payload, wait) in packets {
            now += Duration::from_millis(wait);
            receiver.receive(timestamp, &payload, now, |_| reported += 1);
            receiver.poll(now, |_| reported += 1);
        }
        receiver.restart(|_| reported += 1);
        prop_assert!(reported <= count, "one packet makes one digit at most");
    }

    #[test]
    fn what_is_written_is_read(event: u8, end: bool, volume in 0_u8..64, duration: u16) {
        let event = Event { event, end, volume, duration };
        prop_assert_eq!(Event::parse(&event.bytes()), Some(event));
    }
}
