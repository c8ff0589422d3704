//! RTP packets through the parser and one leg's source.
#![no_main]

use std::collections::HashSet;

use libfuzzer_sys::fuzz_target;
use mgw_fuzz::packets;
use mgw_fuzz::telephony::rtp::{HEADER_BYTES, Packet};
use mgw_fuzz::telephony::source::{Source, Verdict};

fuzz_target!(|input: &[u8]| {
    let _ = Packet::parse(input);
    let mut source = Source::new();
    let mut accepted = HashSet::new();
    let (mut written, mut checked, mut highest) = (Vec::new(), 0, 0);
    for (now, bytes) in packets(input) {
        let Ok(packet) = Packet::parse(bytes) else { continue };
        assert!(packet.payload.len() + HEADER_BYTES <= bytes.len());
        // A type that reads as RTCP with the marker is not written here, as RFC 5761 asks.
        packet.write(&mut written);
        assert_eq!(Packet::parse(&written), Ok(packet));
        checked += 1;
        if let Verdict::Accept { sequence, restarted } = source.check(&packet, now, 8000) {
            assert_eq!(sequence as u16, packet.sequence);
            assert_eq!(source.ssrc(), Some(packet.ssrc));
            assert!(!restarted || sequence > highest, "numbers go up over a restart");
            assert!(accepted.insert(sequence), "a number is given once");
            highest = highest.max(sequence);
        }
    }
    let stats = source.stats();
    assert_eq!(stats.received, accepted.len() as u64);
    let left = stats.duplicates + stats.held + stats.rejected_ssrc + stats.rejected_sequence;
    assert_eq!(stats.received + left, checked, "every packet is counted once");
    let _ = (stats.lost(), stats.jitter_ms(8000), source.reception());
});
