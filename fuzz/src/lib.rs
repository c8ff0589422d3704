//! What the fuzz targets share: the phone side's modules, which need only `std`, and how an input is cut into packets.

#[path = "../../src/bin/mgw-rtp-shim/ari/event.rs"]
pub mod event;
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
