//! `mgw-rtp-shim`: connects mgw to an Asterisk that nobody has to compile anything for.
#![forbid(unsafe_code)]

mod ari;
mod attend;
mod calls;
mod media;
mod rooms;
mod settings;
mod shim;

fn main() {}
