//! `mgw_gateway_*`, events and metrics: the library at work.

use std::ffi::{c_char, c_int};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;

use tracing::Level;

use super::args::{ErrorText, TextOut, not_null, write};
use super::config::held;
use super::guard::{guard, guard_text};
use super::table::Table;
use super::{mgw_config, mgw_gateway, mgw_status};
use crate::status::Status;
use crate::{Error, Gateway, NextEvent, log, sys};

static GATEWAYS: Table<Gateway> = Table::new(0x06);

/// Looks a handle up.
pub(super) fn gateway(gateway: mgw_gateway) -> Result<Arc<Gateway>, Status> {
    GATEWAYS.get(gateway)
}

/// Starts the library: media threads, network threads, room for sessions. Connects to nobody yet.
/// The configuration is copied and may be freed.
///
/// Thread: any.
/// Blocks: for the start of some threads.
/// NULL: gateway must not be; errbuf may be.
/// Returns: MGW_OK, MGW_ERR_CONFIG or MGW_ERR_BAD_VALUE (the text says what to set), MGW_ERR_RESOURCES,
/// MGW_ERR_LIMIT, MGW_ERR_HANDLE, MGW_ERR_NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mgw_gateway_new(
    config: mgw_config,
    gateway: *mut mgw_gateway,
    errbuf: *mut c_char,
    errlen: usize,
) -> mgw_status {
    // SAFETY: the header asks for a buffer of errlen bytes.
    let errors = unsafe { ErrorText::new(errbuf, errlen) };
    guard_text(errors, || {
        not_null(gateway).map_err(Error::plain)?;
        sys::watch_fork().map_err(|error| Error { status: Status::ErrResources, message: error.to_string() })?;
        // A copy, so that the handle is free for others while threads start.
        let config = held(config)?.lock().clone();
        let made = Gateway::new(&config)?;
        let handle = GATEWAYS.insert(made).map_err(Error::plain)?;
        log::report(Level::INFO, "mgw::ffi", format!("gateway of mgw {} started", env!("CARGO_PKG_VERSION")));
        // SAFETY: not NULL; the header asks for a valid pointer.
        unsafe { write(gateway, handle) }.map_err(Error::plain)
    })
}

/// Gives the gateway a new configuration for sessions that are made from now on; those that exist keep
/// theirs. The numbers of threads and the sizes of queues stay as they are.
///
/// Thread: any.
/// Blocks: no.
/// NULL: errbuf may be.
/// Returns: MGW_OK, MGW_ERR_CONFIG, MGW_ERR_BAD_VALUE, MGW_ERR_SHUTDOWN, MGW_ERR_HANDLE. On an error nothing
/// has changed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mgw_gateway_configure(
    gateway: mgw_gateway,
    config: mgw_config,
    errbuf: *mut c_char,
    errlen: usize,
) -> mgw_status {
    // SAFETY: the header asks for a buffer of errlen bytes.
    let errors = unsafe { ErrorText::new(errbuf, errlen) };
    guard_text(errors, || {
        let gateway = self::gateway(gateway).map_err(Error::plain)?;
        let config = held(config)?.lock().clone();
        gateway.configure(&config)
    })
}

/// Ends all sessions, connections and threads. For at most timeout_ms what was said before is still heard by
/// those whose threads go on pulling; what is pushed meanwhile is ignored. What is left then is ended by force and
/// reported lost. Afterwards session handles give MGW_ERR_SHUTDOWN or MGW_ERR_HANDLE; events that wait can
/// still be fetched. A second call does nothing.
///
/// Thread: any, but not from the log function.
/// Blocks: up to timeout_ms, and a moment for threads to end.
/// Returns: MGW_OK, MGW_ERR_TIMEOUT (all is ended, some of it by force), MGW_ERR_HANDLE.
#[unsafe(no_mangle)]
pub extern "C" fn mgw_gateway_shutdown(gateway: mgw_gateway, timeout_ms: u32) -> mgw_status {
    guard(|| {
        let gateway = self::gateway(gateway)?;
        gateway.shutdown(Duration::from_millis(u64::from(timeout_ms))).map_err(|error| error.status)?;
        Ok(Status::Ok)
    })
}

/// Frees a gateway and its events; shuts it down at once, by force, if that was not done before. The
/// descriptor of mgw_event_fd() is closed.
///
/// Thread: any, but not from the log function.
/// Blocks: a moment, if it was not shut down before.
/// Returns: MGW_OK, MGW_ERR_HANDLE (never valid, or freed before).
#[unsafe(no_mangle)]
pub extern "C" fn mgw_gateway_free(gateway: mgw_gateway) -> mgw_status {
    guard(|| {
        let gateway = GATEWAYS.remove(gateway)?;
        // Another thread may still be inside a call; its share must not keep the threads alive. That
        // some sessions were ended by force is what free means.
        let _ = gateway.shutdown(Duration::ZERO);
        Ok(Status::Ok)
    })
}

/// Takes the next event of all sessions: one JSON object, NUL-terminated (docs/events.schema.json). All
/// events of one session come in order.
///
/// Thread: any; several may fetch, each event goes to one of them.
/// Blocks: never waits for an event.
/// NULL: len must not be; buf may be if cap is 0.
/// Returns: MGW_OK (len: length without the NUL), MGW_EMPTY (no event waits; poll mgw_event_fd()),
/// MGW_ERR_BUFFER_TOO_SHORT (len: the cap that is needed; the event stays), MGW_ERR_HANDLE, MGW_ERR_NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mgw_next_event(
    gateway: mgw_gateway,
    buf: *mut c_char,
    cap: usize,
    len: *mut usize,
) -> mgw_status {
    guard(|| {
        // SAFETY: the header asks for a buffer of cap bytes and a valid len.
        let mut out = unsafe { TextOut::new(buf, cap, len) }?;
        let gateway = self::gateway(gateway)?;
        match gateway.next_event(out.room()) {
            Ok(written) => {
                out.finish(written);
                Ok(Status::Ok)
            }
            Err(NextEvent::Empty) => Ok(Status::Empty),
            Err(NextEvent::TooShort(needed)) => Err(out.too_short(needed)),
        }
    })
}

/// A descriptor for poll, select or epoll that is readable while events wait. Do not read from it and do
/// not close it; it belongs to the gateway and is valid until mgw_gateway_free(). When it is readable, call
/// mgw_next_event() until MGW_EMPTY.
///
/// Thread: any.
/// Blocks: never.
/// NULL: fd must not be.
/// Returns: MGW_OK, MGW_ERR_HANDLE, MGW_ERR_NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mgw_event_fd(gateway: mgw_gateway, fd: *mut c_int) -> mgw_status {
    guard(|| {
        not_null(fd)?;
        let gateway = self::gateway(gateway)?;
        // SAFETY: not NULL; the header asks for a valid pointer.
        unsafe { write(fd, gateway.event_fd().as_raw_fd()) }?;
        Ok(Status::Ok)
    })
}

/// Counters and gauges of the gateway as Prometheus text, NUL-terminated.
///
/// Thread: any.
/// Blocks: no.
/// NULL: len must not be; buf may be if cap is 0.
/// Returns: MGW_OK (len: length without the NUL), MGW_ERR_BUFFER_TOO_SHORT (len: the cap that is needed; it
/// can grow until the next call), MGW_ERR_HANDLE, MGW_ERR_NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mgw_metrics(
    gateway: mgw_gateway,
    buf: *mut c_char,
    cap: usize,
    len: *mut usize,
) -> mgw_status {
    guard(|| {
        // SAFETY: the header asks for a buffer of cap bytes and a valid len.
        let mut out = unsafe { TextOut::new(buf, cap, len) }?;
        out.put(&self::gateway(gateway)?.metrics())
    })
}
