//! Coded speech: the codec and the engine made of it.
pub mod codec;
#[cfg(test)]
mod codec_tests;
mod engine;

pub use engine::{CodedEngine, capital, ends_clause};
