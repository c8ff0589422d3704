//! mgw

pub mod config;
