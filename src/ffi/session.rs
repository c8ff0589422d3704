//! `mgw_session_*`: one leg of a call, apart from its frames.

use std::ffi::c_char;

use super::args::{ErrorText, TextOut, not_null, text, write};
use super::config::held;
use super::gateway::gateway as find_gateway;
use super::guard::{guard, guard_text};
use super::{
    MGW_DRAIN, MGW_FINALIZE, MGW_FLUSH, MGW_MARK, MGW_MUTE, MGW_NOW, MGW_UNMUTE, mgw_config, mgw_gateway, mgw_session,
    mgw_status,
};
use crate::config::Config;
use crate::engine::{LeaveMode, SessionId, Verb};
use crate::status::Status;
use crate::{Error, media_port, session as facade};

/// Opens a session from a profile and puts it into a room, which begins with its first session.
/// options (0 for none) holds settings of this session alone, stronger than its profile: id, label.*,
/// language, hears, role, tts.voice, rate.in, rate.out and others. All three are copied.
///
/// Thread: any.
/// Blocks: no; connections are made in the background.
/// NULL: profile, room and session must not be; errbuf may be.
/// Returns: MGW_OK, MGW_ERR_UNKNOWN_PROFILE, MGW_ERR_CONFIG or MGW_ERR_BAD_VALUE (the text says what to set),
/// MGW_ERR_LIMIT (max_sessions, those that still drain included), MGW_ERR_AGAIN, MGW_ERR_RESOURCES, MGW_ERR_SHUTDOWN, MGW_ERR_TEXT, MGW_ERR_HANDLE, MGW_ERR_NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mgw_session_new(
    gateway: mgw_gateway,
    profile: *const c_char,
    room: *const c_char,
    options: mgw_config,
    session: *mut mgw_session,
    errbuf: *mut c_char,
    errlen: usize,
) -> mgw_status {
    // SAFETY: the header asks for a buffer of errlen bytes.
    let errors = unsafe { ErrorText::new(errbuf, errlen) };
    guard_text(errors, || {
        // SAFETY: the header asks for NUL-terminated texts that do not change meanwhile.
        let (profile, room) = unsafe { (text(profile).map_err(Error::plain)?, text(room).map_err(Error::plain)?) };
        not_null(session).map_err(Error::plain)?;
        let gateway = find_gateway(gateway).map_err(Error::plain)?;
        let options = if options == 0 { Config::new() } else { held(options)?.lock().clone() };
        let id = gateway.open_session(profile, room, &options)?;
        // SAFETY: not NULL; the header asks for a valid pointer.
        unsafe { write(session, id.0) }.map_err(Error::plain)
    })
}

/// Closes a session; its handle is stale at once. With mode MGW_DRAIN what it said before still reaches
/// the others; with MGW_NOW it is reported lost. The event "closed" is its last.
///
/// Thread: any, also while another pushes or pulls (that one gets MGW_ERR_HANDLE next).
/// Blocks: no.
/// Returns: MGW_OK, MGW_ERR_ARGUMENT (mode), MGW_ERR_HANDLE.
#[unsafe(no_mangle)]
pub extern "C" fn mgw_session_close(session: mgw_session, mode: i32) -> mgw_status {
    guard(|| {
        let mode = match mode {
            MGW_DRAIN => LeaveMode::Drain,
            MGW_NOW => LeaveMode::Now,
            _ => return Err(Status::ErrArgument),
        };
        done(facade::close(SessionId(session), mode))
    })
}

/// Changes a setting in mid-call: the keys that docs/configuration.md calls live (languages, voices, gains, the mix).
///
/// Thread: any.
/// Blocks: no.
/// NULL: key and value must not be; errbuf may be.
/// Returns: MGW_OK, MGW_ERR_UNKNOWN_KEY, MGW_ERR_BAD_VALUE, MGW_ERR_NOT_LIVE, MGW_ERR_AGAIN, MGW_ERR_TEXT,
/// MGW_ERR_HANDLE, MGW_ERR_NULL. On an error nothing has changed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mgw_session_set(
    session: mgw_session,
    key: *const c_char,
    value: *const c_char,
    errbuf: *mut c_char,
    errlen: usize,
) -> mgw_status {
    // SAFETY: the header asks for a buffer of errlen bytes.
    let errors = unsafe { ErrorText::new(errbuf, errlen) };
    guard_text(errors, || {
        // SAFETY: the header asks for NUL-terminated texts that do not change meanwhile.
        let (key, value) = unsafe { (text(key).map_err(Error::plain)?, text(value).map_err(Error::plain)?) };
        facade::set(SessionId(session), key, value)
    })
}

/// Speaks a text into this session's ear, after what is queued for it. language is the text's; it is
/// translated if the session hears another. The event "said_done" reports the end of what was heard;
/// one of which nothing was heard (it failed, was flushed, or the session did not pull) is told by
/// "segment_lost" instead.
///
/// Thread: any.
/// Blocks: no.
/// NULL: text must not be; language NULL stands for the language that the session hears.
/// Returns: MGW_OK, MGW_ERR_BAD_VALUE (language), MGW_ERR_ARGUMENT (flags must be 0), MGW_ERR_EMPTY (no text),
/// MGW_ERR_AGAIN, MGW_ERR_TEXT, MGW_ERR_HANDLE, MGW_ERR_NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mgw_session_say(
    session: mgw_session,
    text: *const c_char,
    language: *const c_char,
    flags: u32,
) -> mgw_status {
    guard(|| {
        // SAFETY: the header asks for NUL-terminated texts that do not change meanwhile.
        let said = unsafe { self::text(text) }?;
        let language = if language.is_null() {
            ""
        } else {
            // SAFETY: as above.
            unsafe { self::text(language) }?
        };
        if flags != 0 {
            return Err(Status::ErrArgument);
        }
        if said.trim().is_empty() {
            return Err(Status::ErrEmpty);
        }
        done(facade::say(SessionId(session), said, language))
    })
}

/// Gives a command: MGW_FLUSH, MGW_FINALIZE, MGW_MUTE, MGW_UNMUTE or MGW_MARK.
///
/// Thread: any.
/// Blocks: no.
/// Returns: MGW_OK, MGW_ERR_ARGUMENT (verb), MGW_ERR_AGAIN, MGW_ERR_HANDLE.
#[unsafe(no_mangle)]
pub extern "C" fn mgw_session_command(session: mgw_session, verb: i32) -> mgw_status {
    guard(|| {
        let verb = match verb {
            MGW_FLUSH => Verb::Flush,
            MGW_FINALIZE => Verb::Finalize,
            MGW_MUTE => Verb::Mute,
            MGW_UNMUTE => Verb::Unmute,
            MGW_MARK => Verb::Mark,
            _ => return Err(Status::ErrArgument),
        };
        done(facade::command(SessionId(session), verb))
    })
}

/// Reports a DTMF digit that the leg sent: one of '0' to '9', '*', '#', 'A' to 'D'. It comes back as an event,
/// in order with the session's others.
///
/// Thread: any.
/// Blocks: no.
/// Returns: MGW_OK, MGW_ERR_ARGUMENT (digit), MGW_ERR_AGAIN, MGW_ERR_HANDLE.
#[unsafe(no_mangle)]
pub extern "C" fn mgw_session_dtmf(session: mgw_session, digit: c_char) -> mgw_status {
    guard(|| {
        // char is signed on some machines and not on others.
        let digit = char::from(digit.to_ne_bytes()[0]);
        if !matches!(digit, '0'..='9' | '*' | '#' | 'A'..='D') {
            return Err(Status::ErrArgument);
        }
        done(facade::dtmf(SessionId(session), digit))
    })
}

/// Counters of a session as one JSON object, NUL-terminated.
///
/// Thread: any, but not a real-time one.
/// Blocks: until the session's media thread has answered, at most 200 ms.
/// NULL: len must not be; buf may be if cap is 0.
/// Returns: MGW_OK (len: length without the NUL), MGW_ERR_BUFFER_TOO_SHORT (len: the cap that is needed; it
/// can grow until the next call), MGW_ERR_AGAIN, MGW_ERR_TIMEOUT (no answer), MGW_ERR_HANDLE, MGW_ERR_NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mgw_session_stats(
    session: mgw_session,
    buf: *mut c_char,
    cap: usize,
    len: *mut usize,
) -> mgw_status {
    guard(|| {
        // SAFETY: the header asks for a buffer of cap bytes and a valid len.
        let mut out = unsafe { TextOut::new(buf, cap, len) }?;
        let stats = facade::stats(SessionId(session)).map_err(|error| error.status)?;
        out.put(&stats)
    })
}

/// The latest trouble of a session (a refused setting, a provider's refusal) as a sentence for a person,
/// NUL-terminated. It stays until the next one.
///
/// Thread: any.
/// Blocks: no.
/// NULL: len must not be; buf may be if cap is 0.
/// Returns: MGW_OK (len: length without the NUL), MGW_EMPTY (no trouble so far; len is not written),
/// MGW_ERR_BUFFER_TOO_SHORT (len: the cap that is needed), MGW_ERR_HANDLE, MGW_ERR_NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mgw_last_error(
    session: mgw_session,
    buf: *mut c_char,
    cap: usize,
    len: *mut usize,
) -> mgw_status {
    guard(|| {
        // SAFETY: the header asks for a buffer of cap bytes and a valid len.
        let mut out = unsafe { TextOut::new(buf, cap, len) }?;
        let id = SessionId(session);
        match media_port::check(id) {
            Status::Ok => facade::last_error(id).map_or(Ok(Status::Empty), |trouble| out.put(&trouble)),
            stale => Err(stale),
        }
    })
}

fn done(result: Result<(), Error>) -> Result<Status, Status> {
    result.map(|()| Status::Ok).map_err(|error| error.status)
}
