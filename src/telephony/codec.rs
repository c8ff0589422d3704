//! Placeholder of the other branch.

/// Payload formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// Signed linear, big-endian.
    L16 {
        /// Rate.
        hz: u32,
    },
}

impl Codec {
    /// By Asterisk's name.
    pub fn from_format(name: &str) -> Option<Codec> {
        (name == "slin16").then_some(Codec::L16 { hz: 16_000 })
    }

    /// Asterisk's name.
    pub fn format(self) -> &'static str {
        "slin16"
    }
}
