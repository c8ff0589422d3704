//! What the whole ABI shares: types and constants, versions, status texts, and the log.

use std::ffi::{CStr, c_char, c_int, c_void};

use tracing::Level;

use crate::status::Status;
use crate::{log, sys};

use super::args;
use super::guard::guard;

/// Result of a call: one of enum mgw_status_code.
pub type mgw_status = i32;
/// Settings as they are collected. 0 is never valid.
pub type mgw_config = u64;
/// The library at work: threads, connections, rooms. 0 is never valid.
pub type mgw_gateway = u64;
/// One leg of a call. 0 is never valid; below 2^53, so that JSON readers keep it exact.
pub type mgw_session = u64;

/// For mgw_session_close(): the last sentence still reaches the others.
pub const MGW_DRAIN: i32 = 1;
/// For mgw_session_close(): at once; what was in flight is reported lost.
pub const MGW_NOW: i32 = 2;

/// For mgw_session_set_rate(): what is pushed.
pub const MGW_IN: i32 = 1;
/// For mgw_session_set_rate(): what is pulled.
pub const MGW_OUT: i32 = 2;

/// For mgw_session_command(): drop what is queued for this session's ear; it is reported as not heard.
pub const MGW_FLUSH: i32 = 1;
/// For mgw_session_command(): ask the recogniser to finalise what it has.
pub const MGW_FINALIZE: i32 = 2;
/// For mgw_session_command(): what the session says is replaced by silence.
pub const MGW_MUTE: i32 = 3;
/// For mgw_session_command(): ends MGW_MUTE.
pub const MGW_UNMUTE: i32 = 4;
/// For mgw_session_command(): tell by the event `mark_reached` when what is queued for this session's ear now has been heard.
pub const MGW_MARK: i32 = 5;

/// For mgw_set_log(): nothing.
pub const MGW_LOG_OFF: i32 = 0;
/// For mgw_set_log(): what needs a person.
pub const MGW_LOG_ERROR: i32 = 1;
/// For mgw_set_log(): what went wrong and was dealt with.
pub const MGW_LOG_WARN: i32 = 2;
/// For mgw_set_log(): what an operator wants to know.
pub const MGW_LOG_INFO: i32 = 3;
/// For mgw_set_log(): what a developer wants to know.
pub const MGW_LOG_DEBUG: i32 = 4;
/// For mgw_set_log(): everything.
pub const MGW_LOG_TRACE: i32 = 5;

/// Receives log records.
///
/// Called by one library thread named mgw-log only, one call at a time. The texts are valid until it
/// returns. It may be slow (records are then dropped and counted, never waited for), must not unwind,
/// and may call any mgw function.
pub type mgw_log_fn =
    Option<unsafe extern "C" fn(level: c_int, target: *const c_char, message: *const c_char, user: *mut c_void)>;

const VERSION: &CStr = match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
    Ok(text) => text,
    Err(_) => panic!("version with NUL"),
};

/// The library's version, such as "0.1.0"; compare with MGW_VERSION_STRING.
///
/// Thread: any, also in a forked child.
/// Blocks: never.
/// Returns: static text, never NULL.
#[unsafe(no_mangle)]
pub extern "C" fn mgw_version() -> *const c_char {
    VERSION.as_ptr()
}

/// The library's ABI version. A program that was compiled with another MGW_ABI_VERSION must not use it.
///
/// Thread: any, also in a forked child.
/// Blocks: never.
/// Returns: the number.
#[unsafe(no_mangle)]
pub extern "C" fn mgw_abi_version() -> u32 {
    args::ABI_VERSION
}

/// What a status means and what to do about it.
///
/// Thread: any, also in a forked child.
/// Blocks: never.
/// Returns: static text, never NULL; "unknown status" for other numbers.
#[unsafe(no_mangle)]
pub extern "C" fn mgw_status_str(status: mgw_status) -> *const c_char {
    Status::from_number(status).map_or(c"unknown status", Status::c_text).as_ptr()
}

/// Sets who receives the log of the whole library, and the most verbose level. Before the first call
/// nothing is logged, and nothing is ever printed.
///
/// With fn NULL (or MGW_LOG_OFF) the log is silent and its thread ends. When this returns, the function
/// set before is never called again. Call it so before the code of fn is unloaded.
/// Keys, and what people say, are never logged.
///
/// Thread: any, also from inside fn.
/// Blocks: until a running call of the old fn has returned (unless called from inside it).
/// NULL: fn and user may be.
/// Returns: MGW_OK, MGW_ERR_ARGUMENT (level), MGW_ERR_RESOURCES (no thread to be had; the log is silent then).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mgw_set_log(level: i32, r#fn: mgw_log_fn, user: *mut c_void) -> mgw_status {
    guard(|| {
        let level = match level {
            MGW_LOG_OFF => None,
            MGW_LOG_ERROR => Some(Level::ERROR),
            MGW_LOG_WARN => Some(Level::WARN),
            MGW_LOG_INFO => Some(Level::INFO),
            MGW_LOG_DEBUG => Some(Level::DEBUG),
            MGW_LOG_TRACE => Some(Level::TRACE),
            _ => return Err(Status::ErrArgument),
        };
        sys::watch_fork().map_err(|_| Status::ErrResources)?;
        let sink = r#fn.map(|call| {
            let user = User(user);
            let sink: log::Sink = Box::new(move |level, target, message| {
                let user = user.get();
                // SAFETY: the host vouches for its function and user pointer until it has set another
                // one; both texts are NUL-terminated and outlive the call.
                unsafe { call(c_int::from(log::number(level)), target.as_ptr(), message.as_ptr(), user) }
            });
            sink
        });
        log::set(level, sink).map_err(|_| Status::ErrResources)?;
        Ok(Status::Ok)
    })
}

/// The host's pointer on its way to the log thread; mgw never looks behind it.
struct User(*mut c_void);

// SAFETY: only handed back to the host, whose header says that its function runs on another thread.
unsafe impl Send for User {}

impl User {
    fn get(&self) -> *mut c_void {
        self.0
    }
}
