//! ElevenLabs text to speech: two websockets and the HTTP stream.

mod context;
mod generate;
mod http;
mod params;
mod socket;

pub use http::stream;
pub use socket::{multi, single};
