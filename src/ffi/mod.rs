//! The C ABI: the `mgw_*` functions of `include/mgw.h`, one to one over the safe facade.
//!
//! A function here checks its arguments, turns them into safe values and calls the facade; it decides
//! nothing else. The doc comments are the header's text: cbindgen copies them (see `build.rs`), and
//! the conventions at the top of the header come from `cbindgen.toml`.
//!
//! | file | functions |
//! |---|---|
//! | [`base`] | types and constants, versions, status texts, the log |
//! | [`config`] | `mgw_config_*` |
//! | [`gateway`] | `mgw_gateway_*`, events, metrics |
//! | [`session`] | `mgw_session_*`, `mgw_last_error` |
//! | [`frames`] | push, pull, rates: the real-time edge |
//! | `inject` | faults on purpose, for tests (feature `fault-injection`) |
//! | `guard`, `args`, `table` | panics and fork, C arguments and results, handles |

// What a caller must see to is said once, in the header's conventions, and per function under "NULL:".
#![allow(clippy::missing_safety_doc)]
// The names are C's.
#![allow(non_camel_case_types)]

mod args;
pub mod base;
pub mod config;
pub mod frames;
pub mod gateway;
mod guard;
#[cfg(feature = "fault-injection")]
pub mod inject;
pub mod session;
mod table;

pub use base::*;
