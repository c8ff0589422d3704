//! Vendors that fail, in every way the local cloud knows: what the ears hear all the same, and what the host is told.

#[path = "../support/mod.rs"]
mod support;

mod canary;
mod certificates;
mod exactly_once;
mod hostile;
mod storm;
mod talk;
