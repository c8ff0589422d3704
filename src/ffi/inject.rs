//! Entries that make the library fail on purpose, for tests of hosts written in C. They exist with the feature
//! `fault-injection` only and are in no header: whoever wants them asks the dynamic linker.

use std::time::Duration;

use super::gateway::gateway as find_gateway;
use super::guard::guard;
use super::{mgw_gateway, mgw_session, mgw_status};
use crate::engine::SessionId;
use crate::session as facade;
use crate::status::Status;

/// Makes the engine of the session's room panic at its next tick.
#[unsafe(no_mangle)]
pub extern "C" fn mgw_inject_panic(session: mgw_session) -> mgw_status {
    guard(|| facade::inject_panic(SessionId(session)).map(|()| Status::Ok).map_err(|error| error.status))
}

/// Makes every media thread do nothing for so long.
#[unsafe(no_mangle)]
pub extern "C" fn mgw_inject_hang(gateway: mgw_gateway, ms: u32) -> mgw_status {
    guard(|| {
        find_gateway(gateway)?.inject_hang(Duration::from_millis(u64::from(ms)));
        Ok(Status::Ok)
    })
}
