//! The emulator of the three cloud services, on loopback.
mod coded;
fn main() {}
