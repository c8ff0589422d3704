//! app_mgw.so in a real Asterisk, with telephones, judged by what they hear.
//!
//! `MGW_TEST_ROUNDS` sets how often the tests of rough handling repeat themselves (3).
#![cfg(target_os = "linux")]

#[path = "../native/mod.rs"]
mod native;
#[path = "../support/mod.rs"]
mod support;

mod calls;
mod changes;
#[path = "../shim/ear.rs"]
#[allow(dead_code)]
mod ear;
mod host;
mod load;
mod memcheck;
mod oldest;
mod troubles;
