//! The silences that end turns, where a scenario says how long they are.

use crate::scenario::Latency;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// Words of one breath are 40 ms apart: no turn ends in such a gap.
const LEAST_MS: u32 = 80;
const MOST_MS: u32 = 10_000;

/// One silence for each turn of a stream. Every stream draws the same ones, so that what different clients make of the
/// same talk can be compared.
#[derive(Clone, Debug)]
pub struct Ends {
    latency: Latency,
    rng: ChaCha8Rng,
    silence_ms: u32,
}

impl Ends {
    /// Drawn with the scenario's seed.
    pub fn new(latency: Latency, seed: u64) -> Ends {
        let mut ends = Ends { latency, rng: ChaCha8Rng::seed_from_u64(seed), silence_ms: 0 };
        ends.draw();
        ends
    }

    /// The silence that ends the turn under way.
    pub fn silence_ms(&self) -> u32 {
        self.silence_ms
    }

    /// Another turn.
    pub fn draw(&mut self) {
        let drawn = self.latency.draw(&mut self.rng).as_millis();
        self.silence_ms = u32::try_from(drawn).unwrap_or(MOST_MS).clamp(LEAST_MS, MOST_MS);
    }
}
