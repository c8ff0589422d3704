//! The formats of synthesised audio that the emulator can make.

use crate::g711;

/// Coding of the audio sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// Signed 16-bit little-endian.
    Pcm,
    /// G.711 mu-law.
    Ulaw,
    /// G.711 A-law.
    Alaw,
}

/// Coding and rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    /// Coding of a sample.
    pub coding: Coding,
    /// Hz.
    pub rate: u32,
}

impl Format {
    /// Samples as bytes.
    pub fn bytes(self, pcm: &[i16]) -> Vec<u8> {
        match self.coding {
            Coding::Pcm => pcm.iter().flat_map(|s| s.to_le_bytes()).collect(),
            Coding::Ulaw => pcm.iter().map(|s| g711::linear_to_ulaw(*s)).collect(),
            Coding::Alaw => pcm.iter().map(|s| g711::linear_to_alaw(*s)).collect(),
        }
    }

    /// Bytes of one sample.
    pub fn width(self) -> usize {
        if self.coding == Coding::Pcm { 2 } else { 1 }
    }

    /// Content type of a bare stream.
    pub fn content_type(self) -> &'static str {
        if self.coding == Coding::Pcm { "audio/pcm" } else { "audio/basic" }
    }
}
