//! The shim as a process, with telephones of RTP and AudioSocket, judged by what they hear.

#[path = "../support/mod.rs"]
mod support;

mod asterisk;
mod attack;
mod audiosocket;
mod ear;
mod load;
mod rtp;
mod trouble;

use std::sync::atomic::{AtomicU16, Ordering};

/// A range of RTP ports of its own for each shim of this process.
pub fn ports() -> [u16; 2] {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 42_000 + 100 * NEXT.fetch_add(1, Ordering::Relaxed) + (std::process::id() % 10) as u16 * 1000;
    [first, first + 99]
}
