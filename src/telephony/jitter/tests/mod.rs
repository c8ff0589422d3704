//! The jitter buffer behind a relay that loses, delays, swaps and repeats packets, in virtual time and by seed.

mod drift;
mod property;
mod relay;
mod rows;
mod rules;
mod scaling;
