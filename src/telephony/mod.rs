//! The phone side's wire formats and media repair, without sockets, clocks or threads.

pub mod conceal;
#[cfg(test)]
mod conceal_tests;
pub mod jitter;
