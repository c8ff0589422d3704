//! What the caller's thread and the media thread share: rings, counters, the flush mark, handles.
//!
//! This is the real-time edge. Pushing and pulling copy samples and touch atomics, and nothing else:
//! no allocation, no lock, no clock, no system call, no waiting. One thread may push while another
//! pulls; a second one on the same side gets [`Status::ErrBusy`].
//!
//! Life of a port: [`open`] places the caller's half into a fixed table and returns the engine's half
//! for the media thread; [`retire`] makes the handle stale; [`Retired::try_free`] frees the caller's
//! half once no call is inside any more. The caller's thread is never the last owner of anything.

mod caller;
mod engine_side;
mod table;
#[cfg(test)]
mod tests;

use crate::engine::SessionId;
use crate::status::Status;

pub use engine_side::{EnginePort, Pushed};
use table::pinned;
pub use table::{MAX_SESSIONS, Retired, check, is_open, open, retire};

/// Sample rates that a session may push and pull, in Hz (signed linear of Asterisk, and 44.1 kHz).
pub const RATES: [u32; 9] = [8000, 12000, 16000, 24000, 32000, 44100, 48000, 96000, 192_000];
/// Longest frame of one push or pull, in milliseconds.
pub const MAX_FRAME_MS: u32 = 120;
/// Pulls without a sign of life from the engine before [`Status::Original`] is returned.
pub const DEAD_AFTER_PULLS: u32 = 25;
/// … and pulled audio, in milliseconds: half a second of 20 ms frames is 25 pulls.
pub const DEAD_AFTER_MS: u64 = 480;

/// A direction of a session's audio, seen from the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// What is pushed.
    In,
    /// What is pulled.
    Out,
}

/// Takes what the leg said: 1 sample to 120 ms of mono 16-bit PCM. Wait-free.
pub fn push_frame(id: SessionId, samples: &[i16]) -> Status {
    pinned(id, |port| port.push.with(|side| side.push(samples, &port.shared)).unwrap_or(Status::ErrBusy))
}

/// Says that `count` samples are missing here. Wait-free.
pub fn push_gap(id: SessionId, count: u64) -> Status {
    pinned(id, |port| port.push.with(|side| side.gap(count)).unwrap_or(Status::ErrBusy))
}

/// Fills `out` with what the leg shall hear; always all of it, with silence where there is nothing. Wait-free.
pub fn pull_frame(id: SessionId, out: &mut [i16]) -> Status {
    pinned(id, |port| port.pull.with(|side| side.pull(out, &port.shared)).unwrap_or(Status::ErrBusy))
}

/// Changes the rate of one direction, in order with the frames. Wait-free.
pub fn set_rate(id: SessionId, direction: Direction, hz: u32) -> Status {
    if !RATES.contains(&hz) {
        return Status::ErrRate;
    }
    pinned(id, |port| match direction {
        Direction::In => port.push.with(|side| side.set_rate(hz)).unwrap_or(Status::ErrBusy),
        Direction::Out => port.pull.with(|side| side.set_rate(hz, &port.shared)).unwrap_or(Status::ErrBusy),
    })
}
