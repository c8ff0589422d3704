//! The flight record: all that happened to a room, as text that runs it again bit for bit.
//!
//! One JSON object a line. The first is the [`Header`]; then each input of the room in its order, and what else was
//! done to it:
//!
//! ```text
//! {"mgw_flight_record":1,"version":"0.1.0","room":"sales","first_segment":1,"part":1,"started":"20260131T120000Z"}
//! {"at":1200345678,"in":{"join":{"session":4294967297,"config":{…}}},"out":"9c0f…"}
//! {"at":1210000000,"in":{"said":{"session":4294967297}},"pcm":"AAD/fw…"}
//! {"at":1210000000,"in":"tick","out":""}
//! {"at":1220000000,"do":{"rejoin":{"session":1,"config":{…},"in_hz":8000,"out_hz":8000}}}
//! {"over":"ended"}
//! ```
//!
//! `at` is gateway time in nanoseconds. `out` says that the room's outputs were taken here, and is a digest of them (16
//! hex digits; empty if there were none): of all inputs since the one before. `pcm` is base64 of little-endian 16-bit
//! samples, or `value*count` where all are equal. `over` is the last line, [`Over`]; without it the process ended first.
//!
//! Secrets are never in it. What was said and heard is.
//!
//! | file | what |
//! |---|---|
//! | `writer` | lines from inputs and outputs |
//! | `reader` | lines back to inputs |
//! | `replay` | a room run again, and compared |
//! | `pcm` | audio as text |

pub mod pcm;
pub mod reader;
pub mod replay;
#[cfg(test)]
mod tests;
pub mod writer;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use super::ProviderName;
use crate::config::{MtProvider, SttProvider, TtsProvider};

/// The version of the format that is written, and the only one that is read.
pub const FORMAT: u32 = 1;

/// The first line of a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// [`FORMAT`].
    pub mgw_flight_record: u32,
    /// The version of mgw that wrote it.
    pub version: String,
    /// The room's name.
    pub room: String,
    /// What `Room::new` was given.
    pub first_segment: u64,
    /// 1; higher after the room's engine panicked and was built anew.
    pub part: u32,
    /// When, in UTC: `20260131T120000Z`.
    pub started: String,
}

/// Why a record has no more lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Over {
    /// The room ended.
    Ended,
    /// The room's engine panicked in the input before; the next part follows in another file.
    Panicked,
    /// It has reached the size that the configuration allows.
    Full,
    /// The disk did not keep up.
    Slow,
    /// The disk refused to take more.
    Failed,
}

impl Over {
    /// For a person.
    pub fn text(self) -> &'static str {
        match self {
            Over::Ended => "the room ended",
            Over::Panicked => "the room's engine panicked and was built anew; the next part goes on with it",
            Over::Full => "it has reached recorder.max_mb",
            Over::Slow => "the disk did not keep up",
            Over::Failed => "the disk refused to take more",
        }
    }
}

/// A session's settings, shared in the engine, by value in a record.
pub mod settings {
    use std::sync::Arc;

    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::config::SessionConfig;

    /// Writes them without secrets.
    ///
    /// # Errors
    /// Those of the serialiser.
    pub fn serialize<S: Serializer>(config: &Arc<SessionConfig>, to: S) -> Result<S::Ok, S::Error> {
        (**config).serialize(to)
    }

    /// Reads them; what the record lacks is at its default.
    ///
    /// # Errors
    /// Settings that mgw would not take.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Arc<SessionConfig>, D::Error> {
        let value = serde_json::Value::deserialize(from)?;
        SessionConfig::from_record(value).map(Arc::new).map_err(D::Error::custom)
    }
}

/// Reads a provider's name.
///
/// # Errors
/// A name that no provider has.
pub fn provider<'de, D: Deserializer<'de>>(from: D) -> Result<ProviderName, D::Error> {
    let name = String::deserialize(from)?;
    let known = [SttProvider::NAMES, MtProvider::NAMES, TtsProvider::NAMES];
    let found = known.into_iter().flatten().find(|known| **known == name);
    found.copied().ok_or_else(|| D::Error::custom("a provider that is not known here"))
}

/// What is wrong with a text, without anything that stands in it: it may be what somebody said.
pub(crate) fn shape(error: &serde_json::Error) -> String {
    use serde_json::error::Category;
    let at = error.column();
    match error.classify() {
        Category::Eof => "it is cut off".into(),
        Category::Syntax => format!("it is not JSON from column {at} on"),
        _ => {
            let text = error.to_string();
            // Names of fields are ours; the texts of our own readers quote nothing.
            let ours = ["missing field", "a language", "a provider", "a word", "a sample rate", "a stage", "audio"];
            match ours.iter().any(|known| text.starts_with(known)) {
                true => text.split(" at line").next().unwrap_or_default().to_owned(),
                false => format!("it is not what this version of mgw writes (column {at})"),
            }
        }
    }
}
