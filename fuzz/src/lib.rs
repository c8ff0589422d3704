//! What the fuzz targets share: the modules that need no sockets, and how an input is cut into packets.
//!
//! They are compiled from their files instead of from the library, whose TLS and HTTP would take minutes to build with
//! the sanitizers.

#[path = "../../src/bin/mgw-rtp-shim/ari/event.rs"]
pub mod ari_event;
#[path = "../../src/config/mod.rs"]
pub mod config;
#[path = "../../src/engine/mod.rs"]
pub mod engine;
#[path = "../../src/event.rs"]
pub mod event;
#[path = "../../src/provider/mod.rs"]
pub mod provider;
#[path = "../../src/telephony/mod.rs"]
pub mod telephony;

use std::time::Duration;

/// Cuts an input into packets: one byte of waiting time in units of 4 ms, one byte of length, the packet.
///
/// The last packet may be cut off. Times add up from zero.
pub fn packets(mut input: &[u8]) -> impl Iterator<Item = (Duration, &[u8])> {
    let mut now = Duration::ZERO;
    std::iter::from_fn(move || {
        let (&[wait, length], rest) = input.split_first_chunk()?;
        let (packet, rest) = rest.split_at(rest.len().min(usize::from(length)));
        input = rest;
        now += Duration::from_millis(4) * u32::from(wait);
        Some((now, packet))
    })
}
