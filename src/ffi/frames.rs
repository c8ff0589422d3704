//! Push, pull and rates: the real-time edge. Nothing here allocates, locks, logs or calls the system.

use super::args::{frame, frame_mut};
use super::guard::guard;
use super::{MGW_IN, MGW_OUT, mgw_session, mgw_status};
use crate::engine::SessionId;
use crate::media_port::{self, Direction};
use crate::status::Status;

/// Takes what the leg said: mono 16-bit PCM at the session's input rate, from 1 sample to 120 ms. Push
/// silence too, or mgw_push_gap(), or nothing: a speaker who does not push is silent.
/// If the library cannot keep up, the frame is dropped and counted, and MGW_OK is returned.
///
/// Thread: one at a time pushes; another may pull meanwhile. Fit for a real-time thread.
/// Blocks: never; no allocation, lock or system call.
/// NULL: samples must not be. It is read until the call returns, and must be aligned as int16_t.
/// Returns: MGW_OK, MGW_ERR_EMPTY, MGW_ERR_FRAME_TOO_LONG (count is in samples, not bytes), MGW_ERR_BUSY
/// (another thread is pushing), MGW_ERR_ARGUMENT (alignment), MGW_ERR_SHUTDOWN, MGW_ERR_HANDLE, MGW_ERR_NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mgw_push_frame(session: mgw_session, samples: *const i16, count: usize) -> mgw_status {
    guard(|| {
        // SAFETY: the header asks for count samples that do not change meanwhile.
        let samples = unsafe { frame(samples, count) }?;
        Ok(media_port::push_frame(SessionId(session), samples))
    })
}

/// Says that count samples are missing here (lost packets, for example), so that times stay right. At most
/// an hour at once.
///
/// Thread: as mgw_push_frame(), and one of both at a time.
/// Blocks: never; no allocation, lock or system call.
/// Returns: MGW_OK, MGW_ERR_EMPTY (0 samples), MGW_ERR_FRAME_TOO_LONG, MGW_ERR_AGAIN, MGW_ERR_BUSY,
/// MGW_ERR_SHUTDOWN, MGW_ERR_HANDLE.
#[unsafe(no_mangle)]
pub extern "C" fn mgw_push_gap(session: mgw_session, count: u64) -> mgw_status {
    guard(|| Ok(media_port::push_gap(SessionId(session), count)))
}

/// Fills samples with what the leg shall hear: mono 16-bit PCM at the session's output rate, from 1 sample
/// to 120 ms. On MGW_OK and on every note all of it is written, with silence where there is nothing; on an
/// error nothing is. The puller is the clock of playout: pull at the pace at which the leg hears.
///
/// Thread: one at a time pulls; another may push meanwhile. Fit for a real-time thread.
/// Blocks: never; no allocation, lock or system call.
/// NULL: samples must not be. It must be aligned as int16_t.
/// Returns: MGW_OK, MGW_SILENCE (nothing to hear), MGW_ORIGINAL (the engine has shown no life for 25 pulls: let
/// the leg hear the other's original voice, if you hold it), MGW_ERR_EMPTY, MGW_ERR_FRAME_TOO_LONG,
/// MGW_ERR_BUSY (another thread is pulling), MGW_ERR_ARGUMENT (alignment), MGW_ERR_SHUTDOWN, MGW_ERR_HANDLE,
/// MGW_ERR_NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mgw_pull_frame(session: mgw_session, samples: *mut i16, count: usize) -> mgw_status {
    guard(|| {
        // SAFETY: the header asks for count samples that are the library's until the call returns.
        let samples = unsafe { frame_mut(samples, count) }?;
        Ok(media_port::pull_frame(SessionId(session), samples))
    })
}

/// Changes the sample rate of one direction, MGW_IN or MGW_OUT, in order with the frames: those that are
/// pushed or pulled from now on have it. Rates: 8000, 12000, 16000, 24000, 32000, 44100, 48000, 96000,
/// 192000 Hz. Pulled frames are silent until the engine has switched (some 10 ms).
///
/// Thread: the one that pushes (MGW_IN) or pulls (MGW_OUT).
/// Blocks: never; no allocation, lock or system call.
/// Returns: MGW_OK, MGW_ERR_RATE, MGW_ERR_ARGUMENT (direction), MGW_ERR_AGAIN, MGW_ERR_BUSY, MGW_ERR_SHUTDOWN,
/// MGW_ERR_HANDLE.
#[unsafe(no_mangle)]
pub extern "C" fn mgw_session_set_rate(session: mgw_session, direction: i32, hz: u32) -> mgw_status {
    guard(|| {
        let direction = match direction {
            MGW_IN => Direction::In,
            MGW_OUT => Direction::Out,
            _ => return Err(Status::ErrArgument),
        };
        Ok(media_port::set_rate(SessionId(session), direction, hz))
    })
}
