//! mgw: two people on a phone call hear each other in their own languages.
//!
//! Whatever owns a call leg pushes what the leg says and pulls what it shall hear, 20 ms at a time.
//! Recognition, translation, synthesis, timing and failures happen in here and never disturb the
//! caller's thread. C programs use `include/mgw.h`; Rust ones [`Gateway`], [`session`] and [`media_port`].
//!
//! ```text
//!  caller's thread            media thread (10 ms)                     tokio runtime
//!  push_frame ─► up ring ───► engine::room: time line, ledger,  ─────► net::stt ◄─► recogniser
//!                             segments, playout (no I/O, time   ─────► net::mt  ◄─► translator
//!  pull_frame ◄─ 2 down rings ◄─ as an argument)                ◄───── net::tts ◄─► synthesiser
//! ```
//!
//! | zone | files | may not |
//! |---|---|---|
//! | real-time edge | `ffi/frames`, `media_port` | allocate, lock, log, read the clock, enter the kernel |
//! | sans-IO core | `engine/`, `provider/`, `telephony/` | touch sockets, tokio, clocks, threads; no `unsafe` |
//! | I/O edge | `net/`, `media_thread`, `bin/` | decide anything about words or playout |
//!
//! | to change | look at |
//! |---|---|
//! | a C function, the header | `ffi/`, `cbindgen.toml`, `status` |
//! | a setting | `config/keys`, then `config/session` |
//! | what is committed, when | `engine/ledger/` (its `mod` has a map), `engine/room/speaking` |
//! | what is translated, deadlines, losses | `engine/room/segments` |
//! | what is spoken, going on where that failed | `engine/room/synthesis`, `engine/segment` |
//! | how lag is measured | `engine/measures` |
//! | what is heard, when, how fast | `engine/playout` (its `mod.rs` has a map), `engine/stretch`, `engine/room/listening` |
//! | how loud | `engine/loudness`, `engine/level`, `engine/original` |
//! | what is translated ahead | `engine/room/speculation` |
//! | the original under the translation, ducking, overlap | `engine/room/mixing`, `engine/talking` |
//! | echoes of the translation | `engine/loop_guard`, `engine/talking` |
//! | what changes in mid-call | `engine/room/changes` |
//! | who is connected to whom, failing open | `engine/room/membership`, `engine/member` |
//! | a vendor's messages | `provider/deepgram`, `flux`, `deepl`, `openai`, `libretranslate`, `elevenlabs`, `aura` |
//! | which words a piece of speech has spoken, clauses | `provider/alignment`, `provider/text` |
//! | what is recognised again after a lost connection | `provider/replay`, `net/stt`, `engine/ledger` |
//! | which provider is asked, circuits, limits, money | `provider/circuit`, `net/accounts`, `net/meter` |
//! | RTP, RTCP, DTMF, G.711, G.722, AudioSocket, jitter buffer (feature `telephony`) | `telephony/` |
//! | calls from Asterisk, the control interface, `doctor` | `bin/mgw-rtp-shim/` (its `main.rs` has a map) |
//! | connections, retries, limits | `net/` |
//! | events, their JSON | `event`, `event_queue`, `docs/events.schema.json` |
//! | flight records, running a room again | `engine/record`, `recorder`, `bin/mgw-replay/` |
//! | threads, panics, life cycle | `media_thread`, `gateway`, `sys` |
//!
//! The whole story is in `docs/architecture.md`.

#[cfg(not(any(feature = "tls-rustls", feature = "tls-openssl")))]
compile_error!("choose a TLS implementation: feature tls-rustls (default) or tls-openssl");

// Words that a machine can check, for tests of sound.
#[cfg(test)]
#[path = "bin/mgw-local-cloud/coded/codec.rs"]
mod codec;
pub mod config;
pub mod engine;
pub mod event;
mod event_queue;
pub mod ffi;
mod gateway;
pub mod log;
pub mod media_port;
mod media_thread;
mod metrics;
pub mod net;
pub mod provider;
mod recorder;
pub mod status;
pub mod sys;
#[cfg(feature = "telephony")]
pub mod telephony;

pub use event_queue::NextEvent;
pub use gateway::{Error, Gateway, session};
pub use status::Status;
