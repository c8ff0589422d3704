//! mgw: two people on a phone call hear each other in their own languages.
//!
//! (Map to be written.)
#![allow(missing_docs)]
pub mod config;
pub mod engine;
pub mod event;
pub mod net;
pub mod provider;
pub mod status;
