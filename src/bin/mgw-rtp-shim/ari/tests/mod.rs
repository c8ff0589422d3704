//! Against the stand-in for Asterisk.

mod events;
mod link;
mod rest;
mod wiring;

use std::sync::Arc;

/// [`super::run`] is spawned by the program.
#[allow(dead_code, reason = "it is enough that this compiles")]
fn run_may_be_spawned(shim: Arc<crate::shim::Shim>) -> impl Send {
    super::run(shim)
}
