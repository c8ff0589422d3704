//! Audio payloads by Asterisk's format names, with the payload types of its static table.
//!
//! | format | payload type | clock | payload |
//! |---|---|---|---|
//! | `slin16` | 118 | 16000 | 16-bit linear, big-endian (RFC 3551 section 4.5.11) |
//! | `slin` | 10, also 11 | 8000 | 16-bit linear, big-endian |
//! | `ulaw` | 0 | 8000 | mu-law |
//! | `alaw` | 8 | 8000 | A-law |

use std::fmt;

use super::g711;

/// Payload type of telephone-events (RFC 4733) in Asterisk's static table; their clock is 8000 Hz there.
pub const TELEPHONE_EVENT: u8 = 101;
/// Payload type of comfort noise (RFC 3389).
pub const COMFORT_NOISE: u8 = 13;
/// Payload type that older senders use for comfort noise.
pub const COMFORT_NOISE_OLD: u8 = 19;

/// A payload of 16-bit samples has an odd number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OddBytes;

impl fmt::Display for OddBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("odd number of bytes in 16-bit audio")
    }
}

impl std::error::Error for OddBytes {}

/// How a leg's audio is coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// `slin`: 16-bit linear at 8 kHz.
    L16Narrow,
    /// `slin16`: 16-bit linear at 16 kHz.
    L16Wide,
    /// `ulaw`: mu-law at 8 kHz.
    Pcmu,
    /// `alaw`: A-law at 8 kHz.
    Pcma,
}

impl Codec {
    /// All of them.
    pub const ALL: [Codec; 4] = [Codec::L16Narrow, Codec::L16Wide, Codec::Pcmu, Codec::Pcma];

    /// The codec of one of Asterisk's format names; `None` for those that are not spoken here.
    pub fn from_format(format: &str) -> Option<Codec> {
        Codec::ALL.into_iter().find(|codec| codec.format() == format)
    }

    /// Asterisk's name.
    pub const fn format(self) -> &'static str {
        match self {
            Codec::L16Narrow => "slin",
            Codec::L16Wide => "slin16",
            Codec::Pcmu => "ulaw",
            Codec::Pcma => "alaw",
        }
    }

    /// The payload type to send.
    pub const fn payload_type(self) -> u8 {
        match self {
            Codec::L16Narrow => 10,
            Codec::L16Wide => 118,
            Codec::Pcmu => 0,
            Codec::Pcma => 8,
        }
    }

    /// Whether packets of a payload type carry this codec.
    pub const fn accepts(self, payload_type: u8) -> bool {
        payload_type == self.payload_type() || matches!((self, payload_type), (Codec::L16Narrow, 11))
    }

    /// Samples per second, which is also the timestamp's clock.
    pub const fn hz(self) -> u32 {
        match self {
            Codec::L16Wide => 16_000,
            Codec::L16Narrow | Codec::Pcmu | Codec::Pcma => 8_000,
        }
    }

    /// Bytes of a payload for each sample.
    pub const fn bytes_per_sample(self) -> usize {
        match self {
            Codec::L16Narrow | Codec::L16Wide => 2,
            Codec::Pcmu | Codec::Pcma => 1,
        }
    }

    /// Appends a payload's samples to `out`.
    ///
    /// # Errors
    /// An odd number of bytes in linear audio; `out` is left as it was.
    pub fn decode(self, payload: &[u8], out: &mut Vec<i16>) -> Result<(), OddBytes> {
        match self {
            Codec::L16Narrow | Codec::L16Wide => {
                let (samples, []) = payload.as_chunks() else { return Err(OddBytes) };
                out.extend(samples.iter().map(|bytes| i16::from_be_bytes(*bytes)));
            }
            Codec::Pcmu => out.extend(payload.iter().map(|byte| g711::ulaw_to_linear(*byte))),
            Codec::Pcma => out.extend(payload.iter().map(|byte| g711::alaw_to_linear(*byte))),
        }
        Ok(())
    }

    /// Appends samples as a payload to `out`.
    pub fn encode(self, samples: &[i16], out: &mut Vec<u8>) {
        match self {
            Codec::L16Narrow | Codec::L16Wide => out.extend(samples.iter().flat_map(|sample| sample.to_be_bytes())),
            Codec::Pcmu => out.extend(samples.iter().map(|sample| g711::linear_to_ulaw(*sample))),
            Codec::Pcma => out.extend(samples.iter().map(|sample| g711::linear_to_alaw(*sample))),
        }
    }
}

/// Whether a payload type is comfort noise.
pub const fn is_comfort_noise(payload_type: u8) -> bool {
    matches!(payload_type, COMFORT_NOISE | COMFORT_NOISE_OLD)
}

/// The level of comfort noise in -dBov, 0 (loudest) ..=127, from its payload's first byte (RFC 3389 section 3.1).
///
/// The spectrum that may follow is not read. `None` for an empty payload or a first byte with the reserved bit set.
pub fn comfort_noise_level(payload: &[u8]) -> Option<u8> {
    payload.first().copied().filter(|level| *level < 0x80)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn table() {
        let cases = [
            ("slin16", 118, &[118][..], 16_000, 640),
            ("slin", 10, &[10, 11], 8_000, 320),
            ("ulaw", 0, &[0], 8_000, 160),
            ("alaw", 8, &[8], 8_000, 160),
        ];
        for (format, payload_type, accepted, hz, bytes) in cases {
            let codec = Codec::from_format(format).expect(format);
            assert_eq!((codec.format(), codec.payload_type(), codec.hz()), (format, payload_type, hz));
            assert_eq!(codec.hz() as usize / 50 * codec.bytes_per_sample(), bytes, "{format}: bytes of 20 ms");
            let accepts: Vec<u8> = (0..=127).filter(|payload_type| codec.accepts(*payload_type)).collect();
            assert_eq!(accepts, accepted, "{format}");
        }
        for unknown in ["", "slin48", "ULAW", "opus", "slin16 "] {
            assert_eq!(Codec::from_format(unknown), None, "{unknown:?}");
        }
    }

    #[test]
    fn payloads() {
        let mut samples = vec![99];
        for (codec, payload, expected) in [
            (Codec::L16Wide, &[0x12, 0x34, 0xFF, 0xFE][..], &[0x1234, -2][..]),
            (Codec::L16Narrow, &[0x80, 0x00], &[i16::MIN]),
            (Codec::Pcmu, &[0x00, 0xFF, 0x80], &[-32124, 0, 32124]),
            (Codec::Pcma, &[0xD5, 0x2A, 0xAA], &[8, -32256, 32256]),
            (Codec::Pcma, &[], &[]),
        ] {
            samples.truncate(1);
            assert_eq!(codec.decode(payload, &mut samples), Ok(()));
            assert_eq!((samples[0], &samples[1..]), (99, expected), "{codec:?}: appended");
            let mut bytes = vec![7];
            codec.encode(expected, &mut bytes);
            assert_eq!((bytes[0], &bytes[1..]), (7, payload), "{codec:?}: appended");
        }
        for codec in [Codec::L16Narrow, Codec::L16Wide] {
            samples.truncate(1);
            assert_eq!(codec.decode(&[1, 2, 3], &mut samples), Err(OddBytes));
            assert_eq!(samples, [99]);
        }
    }

    #[test]
    fn comfort_noise() {
        for (payload, level) in
            [(&[][..], None), (&[0], Some(0)), (&[127], Some(127)), (&[128], None), (&[60, 1, 2], Some(60))]
        {
            assert_eq!(comfort_noise_level(payload), level, "{payload:?}");
        }
        let types: Vec<u8> = (0..=127).filter(|payload_type| is_comfort_noise(*payload_type)).collect();
        assert_eq!(types, [13, 19]);
    }

    proptest! {
        #[test]
        fn linear_audio_comes_back(samples in vec(any::<i16>(), 0..400)) {
            let (mut bytes, mut back) = (Vec::new(), Vec::new());
            Codec::L16Wide.encode(&samples, &mut bytes);
            prop_assert_eq!(Codec::L16Wide.decode(&bytes, &mut back), Ok(()));
            prop_assert_eq!(back, samples);
        }
    }
}
