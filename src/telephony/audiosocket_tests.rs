use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// A message's bytes; the length is that of the payload.
fn message(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind];
    bytes.extend_from_slice(&(payload.len() as u16).to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// What a reader makes of a stream that comes in the given chunks, as text so that it outlives the reader's buffer.
fn read<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<String> {
    let mut reader = Reader::new();
    let mut seen = Vec::new();
    for mut chunk in chunks {
        loop {
            match reader.next(&mut chunk) {
                Ok(None) => break,
                other => seen.push(format!("{other:?}")),
            }
        }
        assert!(chunk.is_empty());
    }
    seen
}

#[test]
fn kinds() {
    let uuid = *b"0123456789abcdef";
    let cases: &[(u8, &[u8], Result<Message<'_>, Malformed>)] = &[
        (0x00, &[], Ok(Message::Hangup)),
        (0x00, &[1], Err(Malformed::HangupLength(1))),
        (0x01, &uuid, Ok(Message::Uuid(uuid))),
        (0x01, &uuid[..15], Err(Malformed::UuidLength(15))),
        (0x01, &[0; 17], Err(Malformed::UuidLength(17))),
        (0x01, &[], Err(Malformed::UuidLength(0))),
        (0x02, &[1, 2, 3], Ok(Message::Other(2))),
        (0x03, b"0", Ok(Message::Dtmf('0'))),
        (0x03, b"9", Ok(Message::Dtmf('9'))),
        (0x03, b"*", Ok(Message::Dtmf('*'))),
        (0x03, b"#", Ok(Message::Dtmf('#'))),
        (0x03, b"D", Ok(Message::Dtmf('D'))),
        (0x03, b"E", Err(Malformed::Digit(b'E'))),
        (0x03, b"a", Err(Malformed::Digit(b'a'))),
        (0x03, b"", Err(Malformed::DtmfLength(0))),
        (0x03, b"12", Err(Malformed::DtmfLength(2))),
        (0x0F, &[], Ok(Message::Other(0x0F))),
        (0x10, &[1, 2], Ok(Message::Audio { hz: 8_000, samples: &[1, 2] })),
        (0x10, &[], Ok(Message::Audio { hz: 8_000, samples: &[] })),
        (0x11, &[1, 2], Ok(Message::Audio { hz: 12_000, samples: &[1, 2] })),
        (0x12, &[1, 2], Ok(Message::Audio { hz: 16_000, samples: &[1, 2] })),
        (0x12, &[1, 2, 3], Err(Malformed::OddAudio(3))),
        (0x15, &[1, 2], Ok(Message::Audio { hz: 44_100, samples: &[1, 2] })),
        (0x18, &[1, 2], Ok(Message::Audio { hz: 192_000, samples: &[1, 2] })),
        (0x19, &[1], Ok(Message::Other(0x19))),
        (0xFF, &[2], Ok(Message::Error(2))),
        (0xFF, &[], Err(Malformed::ErrorLength(0))),
        (0xFF, &[1, 1], Err(Malformed::ErrorLength(2))),
    ];
    // All in one stream: an error leaves out only its own message.
    let mut reader = Reader::new();
    let stream: Vec<u8> = cases.iter().flat_map(|(kind, payload, _)| message(*kind, payload)).collect();
    let mut rest = &stream[..];
    for (kind, payload, expected) in cases {
        assert_eq!(reader.next(&mut rest), expected.map(Some), "{kind:#04x} {payload:?}");
        assert!(reader.is_between_messages());
    }
    assert_eq!(reader.next(&mut rest), Ok(None));
    let texts: std::collections::BTreeSet<_> =
        cases.iter().filter_map(|(.., expected)| expected.err()).map(|error| error.to_string()).collect();
    assert_eq!(texts.len(), 11, "{texts:?}");
}

#[test]
fn the_longest_message_and_no_more_is_held() {
    let long = message(0x7F, &[5; 65_535]);
    assert_eq!(long.len(), MAX_MESSAGE);
    let mut reader = Reader::new();
    let mut rest = &long[..MAX_MESSAGE - 1];
    assert_eq!(reader.next(&mut rest), Ok(None));
    assert!(!reader.is_between_messages());
    let mut rest = &[5, 0x00, 0, 0][..];
    assert_eq!(reader.next(&mut rest), Ok(Some(Message::Other(0x7F))));
    let (at, capacity) = (reader.buffer.as_ptr(), reader.buffer.capacity());
    assert_eq!(reader.next(&mut rest), Ok(Some(Message::Hangup)));
    for _ in 0..3 {
        let mut rest = &long[..];
        assert_eq!(reader.next(&mut rest), Ok(Some(Message::Other(0x7F))));
    }
    assert_eq!((reader.buffer.as_ptr(), reader.buffer.capacity()), (at, capacity), "no allocation in steady state");
}

#[test]
fn what_cannot_be_sent() {
    let mut out = vec![1];
    for (hz, samples, expected) in [
        (11_025, 160, Err(Unsendable::Rate(11_025))),
        (8_000, 0, Err(Unsendable::Empty)),
        (8_000, 32_768, Err(Unsendable::TooLong(32_768))),
        (8_000, 32_767, Ok(())),
        (16_000, 320, Ok(())),
    ] {
        assert_eq!(write_audio(&mut out, hz, &vec![1; samples]), expected);
        assert_eq!(out.len(), if expected.is_ok() { 3 + 2 * samples } else { 0 });
    }
    for digit in ['E', 'a', ' ', '\0', 'ä', '٣'] {
        assert!(write_dtmf(&mut out, digit).is_err(), "{digit}");
        assert!(out.is_empty());
    }
}

#[test]
fn uuids() {
    let bytes = [0x01, 0x23, 0x45, 0x67, 0x89, 0xAB, 0xCD, 0xEF, 0xFE, 0xDC, 0xBA, 0x98, 0x76, 0x54, 0x32, 0x10];
    let text = "01234567-89ab-cdef-fedc-ba9876543210";
    assert_eq!(format_uuid(&bytes), text);
    assert_eq!(parse_uuid(text), Some(bytes));
    assert_eq!(parse_uuid(&text.to_uppercase()), Some(bytes));
    for wrong in [
        "",
        "0123456789abcdeffedcba9876543210",
        "{01234567-89ab-cdef-fedc-ba9876543210}",
        "01234567-89ab-cdef-fedc-ba987654321",
        "01234567-89ab-cdef-fedc-ba98765432100",
        "0123456-789ab-cdef-fedc-ba9876543210",
        "01234567+89ab-cdef-fedc-ba9876543210",
        "0123456g-89ab-cdef-fedc-ba9876543210",
        "01234567-89ab-cdef-fedc-ba98765432\u{e9}",
    ] {
        assert_eq!(parse_uuid(wrong), None, "{wrong}");
    }
}

fn any_message() -> impl Strategy<Value = Vec<u8>> {
    let kind = prop_oneof![Just(0_u8), Just(1), Just(3), 0x10_u8..0x19, Just(0xFF), any::<u8>()];
    (kind, vec(any::<u8>(), 0..40)).prop_map(|(kind, payload)| message(kind, &payload))
}

proptest! {
    #[test]
    fn chunks_do_not_matter(messages in vec(any_message(), 0..8), sizes in vec(1_usize..30, 1..20)) {
        let stream = messages.concat();
        let whole = read([&stream[..]]);
        prop_assert_eq!(whole.len(), messages.len());
        let mut chunks = Vec::new();
        let mut rest = &stream[..];
        for size in sizes.iter().cycle() {
            let (chunk, later) = rest.split_at(rest.len().min(*size));
            chunks.push(chunk);
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(read(chunks), whole);
    }

    #[test]
    fn random_bytes_never_panic(stream in vec(any::<u8>(), 0..600), size in 1_usize..50) {
        prop_assert_eq!(read(stream.chunks(size)), read([&stream[..]]));
    }

    #[test]
    fn what_is_written_is_read(uuid: [u8; 16], digit in "[0-9A-D*#]", rate in 0_usize..9, samples in vec(any::<i16>(), 1..400)) {
        let hz = RATES[rate];
        let digit = digit.chars().next().expect("one digit");
        let mut out = Vec::new();
        let mut reader = Reader::new();
        write_uuid(&mut out, &uuid);
        prop_assert_eq!(reader.next(&mut &out[..]), Ok(Some(Message::Uuid(uuid))));
        prop_assert_eq!(write_dtmf(&mut out, digit), Ok(()));
        prop_assert_eq!(reader.next(&mut &out[..]), Ok(Some(Message::Dtmf(digit))));
        prop_assert_eq!(write_audio(&mut out, hz, &samples), Ok(()));
        let bytes: Vec<u8> = samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
        prop_assert_eq!(reader.next(&mut &out[..]), Ok(Some(Message::Audio { hz, samples: &bytes })));
        write_hangup(&mut out);
        prop_assert_eq!(reader.next(&mut &out[..]), Ok(Some(Message::Hangup)));
        prop_assert_eq!(parse_uuid(&format_uuid(&uuid)), Some(uuid));
    }
}
