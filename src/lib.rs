//! mgw: two people on a phone call hear each other in their own languages.
pub mod config;
pub mod engine;
pub mod event;
pub mod media_port;
pub mod provider;
pub mod status;
