//! A real Asterisk 22 for tests: a gateway that runs the sample configuration of `examples/asterisk`, and a second
//! Asterisk as phones. Loopback only, any number of pairs at once on one machine, no root rights.
//!
//! ```text
//! let gateway = Asterisk::gateway();
//! let phones = Phones::new(&gateway);
//! let call = phones.call("7777", Codec::L16, &samples);   // 16 kHz; silence follows
//! call.wait_up();
//! let heard = call.hang_up();                               // what the phone heard since the answer, 16 kHz
//! ```
//!
//! [`LightPhone`] is the phone for many calls at once.

// Not every test file uses all of it.
#![allow(unused_imports)]

pub mod ari;
pub mod light;
mod light_ear;
mod light_sip;
pub mod manager;
pub mod measure;
pub mod phones;
mod ports;
mod process;
pub mod root;

pub use ari::AriApp;
pub use light::{LATE, Lateness, LightPhone};
pub use phones::{Codec, PhoneCall, Phones};
pub use process::{Asterisk, Setup};
pub use root::Root;
