//! Audio as text: base64 of little-endian 16-bit samples, or `value*count` where all samples are equal (silence).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serializer};

/// Most samples that a `value*count` may stand for: 87 s at the highest rate. A room is given far less at a time.
const MOST: usize = 1 << 24;

/// Appends the text for `samples`; `bytes` is room to work in.
pub(super) fn append(samples: &[i16], bytes: &mut Vec<u8>, out: &mut Vec<u8>) {
    use std::io::Write as _;
    match samples.split_first() {
        Some((first, rest)) if !rest.is_empty() && rest.iter().all(|s| s == first) => {
            // Writing to a Vec does not fail.
            let _ = write!(out, "{first}*{}", samples.len());
        }
        _ => {
            bytes.clear();
            bytes.extend(samples.iter().flat_map(|s| s.to_le_bytes()));
            let begin = out.len();
            out.resize(begin + bytes.len().div_ceil(3) * 4, 0);
            let written = STANDARD.encode_slice(&bytes, &mut out[begin..]).unwrap_or(0);
            out.truncate(begin + written);
        }
    }
}

/// The samples of a text.
pub(super) fn parse(text: &str) -> Option<Vec<i16>> {
    if let Some((value, count)) = text.split_once('*') {
        let count = count.parse().ok().filter(|count| *count <= MOST)?;
        return Some(vec![value.parse().ok()?; count]);
    }
    let bytes = STANDARD.decode(text).ok()?;
    let (pairs, rest) = bytes.as_chunks::<2>();
    rest.is_empty().then(|| pairs.iter().map(|pair| i16::from_le_bytes(*pair)).collect())
}

/// Writes samples.
///
/// # Errors
/// Those of the serialiser.
pub fn serialize<S: Serializer>(samples: &[i16], to: S) -> Result<S::Ok, S::Error> {
    let (mut bytes, mut text) = (Vec::new(), Vec::new());
    append(samples, &mut bytes, &mut text);
    to.serialize_str(&String::from_utf8_lossy(&text))
}

/// Reads samples.
///
/// # Errors
/// A text that is no audio.
pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<i16>, D::Error> {
    parse(&String::deserialize(from)?).ok_or_else(|| D::Error::custom("audio that is not base64 of 16-bit samples"))
}
