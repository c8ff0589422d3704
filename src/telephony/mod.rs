//! The phone side: wire formats and the state of one call leg, without sockets and clocks.
//!
//! | file | what | source |
//! |---|---|---|
//! | `audiosocket` | Asterisk's AudioSocket messages over TCP | Asterisk `res_audiosocket` |
//! | `codec` | audio payloads and their payload types, comfort noise | RFC 3551, RFC 3389, Asterisk's static table |
//! | `conceal` | sound in the place of lost packets | after ITU-T G.711 Appendix I |
//! | `dtmf` | key presses as telephone-events, both ways | RFC 4733 |
//! | `g711` | mu-law and A-law | ITU-T G.711 |
//! | `g722` | wide band in 64 kbit/s | ITU-T G.722 |
//! | `jitter` | packets as they come to one even stream | |
//! | `outgoing` | what is sent back, and Asterisk's limits there | |
//! | `rtcp` | reports, round trip time, leaving | RFC 3550 section 6 |
//! | `rtp` | packets, the sender's state | RFC 3550 section 5, RFC 5761, RFC 7983 |
//! | `source` | which received packets to take; loss and jitter | RFC 3550 appendices A.1, A.3, A.8 |
//!
//! Time comes in as a [`Duration`](std::time::Duration) since any fixed start. Nothing here allocates per packet
//! when the caller reuses its buffers.

pub mod audiosocket;
pub mod codec;
pub mod conceal;
#[cfg(test)]
mod conceal_tests;
pub mod dtmf;
pub mod g711;
pub mod g722;
pub mod jitter;
pub mod outgoing;
pub mod rtcp;
pub mod rtp;
pub mod source;
