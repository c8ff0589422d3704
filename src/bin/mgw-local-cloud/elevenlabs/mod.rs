//! ElevenLabs text to speech: two websockets and two HTTP streams.

mod alignment;
mod context;
mod http;
mod params;
mod socket;

pub use http::{stream, with_timestamps};
pub use socket::{multi, single};
