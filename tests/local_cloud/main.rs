//! Speaks the vendors' protocols to the emulator as a client that shares no code with the library.

mod broken;
mod careless;
#[path = "../../src/bin/mgw-local-cloud/coded/codec.rs"]
mod codec;
mod deepgram;
mod deepl;
mod elevenlabs;
mod faults;
mod flux;
mod harness;
mod hostile;
mod libretranslate;
mod process;
