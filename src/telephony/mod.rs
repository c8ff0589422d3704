//! The phone side's wire formats and media repair, without sockets, clocks or threads.

pub mod conceal;
pub mod jitter;
