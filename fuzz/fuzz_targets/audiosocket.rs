//! AudioSocket streams, whole and in chunks of the size that the first byte tells.
#![no_main]

use std::hash::{DefaultHasher, Hash, Hasher};

use libfuzzer_sys::fuzz_target;
use mgw_fuzz::telephony::audiosocket::{Message, Reader, format_uuid, parse_uuid};

/// Count and hash of the messages and errors that a reader makes of chunks, and whether it ended between messages.
fn read<'a>(chunks: impl Iterator<Item = &'a [u8]>) -> (usize, u64, bool) {
    let (mut reader, mut count, mut hash) = (Reader::new(), 0, DefaultHasher::new());
    for mut chunk in chunks {
        loop {
            match reader.next(&mut chunk) {
                Ok(None) => break,
                Ok(Some(Message::Audio { hz, samples })) => {
                    assert_eq!(samples.len() % 2, 0);
                    (hz, samples).hash(&mut hash);
                }
                Ok(Some(Message::Uuid(uuid))) => {
                    assert_eq!(parse_uuid(&format_uuid(&uuid)), Some(uuid));
                    uuid.hash(&mut hash);
                }
                Ok(Some(Message::Dtmf(digit))) => digit.hash(&mut hash),
                Ok(Some(Message::Hangup)) => 0.hash(&mut hash),
                Ok(Some(Message::Error(code) | Message::Other(code))) => code.hash(&mut hash),
                Err(error) => error.to_string().hash(&mut hash),
            }
            count += 1;
        }
        assert!(chunk.is_empty());
    }
    (count, hash.finish(), reader.is_between_messages())
}

fuzz_target!(|input: &[u8]| {
    let Some((size, stream)) = input.split_first() else { return };
    let whole = read(std::iter::once(stream));
    assert_eq!(read(stream.chunks(usize::from(*size).max(1))), whole);
    if let Ok(text) = str::from_utf8(stream) {
        let _ = parse_uuid(text);
    }
});
