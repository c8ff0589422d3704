//! Wire formats of the phone side.

pub mod codec;
