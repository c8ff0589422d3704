//! Voice activity by energy in 10 ms frames, with a noise floor that follows the line.

/// Quietest frame power that can be voice (about -54 dBFS).
const LEAST: f64 = 65.0 * 65.0;
/// The floor never counts as higher than this (about -30 dBFS), or steady speech would become its own floor.
const FLOOR_MOST: f64 = 1000.0 * 1000.0;
/// Voice is this much stronger than the floor (9.5 dB).
const OVER_FLOOR: f64 = 9.0;
const BLOCK: usize = 25;

/// Decides frame by frame.
pub struct Vad {
    /// Least power in each of the last blocks of 250 ms.
    blocks: [f64; 12],
    block: usize,
    frames: usize,
    least: f64,
    mean: Option<f64>,
}

impl Vad {
    /// Nothing heard yet. The line counts as silent for half a second, then its floor is known.
    pub fn new() -> Vad {
        let mut blocks = [f64::MAX; 12];
        blocks[..2].fill(0.0);
        Vad { blocks, block: 0, frames: 0, least: f64::MAX, mean: None }
    }

    /// Whether a frame of 10 ms holds voice.
    pub fn voiced(&mut self, frame: &[i16]) -> bool {
        let count = frame.len().max(1) as f64;
        let mean = frame.iter().map(|s| f64::from(*s)).sum::<f64>() / count;
        // The slow mean is the line's DC offset; a frame's own mean would swallow low tones.
        let line = self.mean.map_or(mean, |line| line + (mean - line) * 0.1);
        self.mean = Some(line);
        let power = frame.iter().map(|s| (f64::from(*s) - line).powi(2)).sum::<f64>() / count;
        self.least = self.least.min(power);
        self.frames += 1;
        if self.frames == BLOCK {
            self.blocks[self.block] = self.least;
            self.block = (self.block + 1) % self.blocks.len();
            (self.frames, self.least) = (0, f64::MAX);
        }
        let floor = self.blocks.iter().copied().fold(f64::MAX, f64::min).min(FLOOR_MOST);
        power > (floor * OVER_FLOOR).max(LEAST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coded::codec::{self, Token};
    use rand::{RngExt, SeedableRng};

    /// Speech of one second at any level, with noise 20 dB below it and a DC offset, is found where it is.
    #[test]
    fn finds_speech_in_noise() {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(4);
        for db in [-40.0, -20.0, -3.0] {
            let mut pcm = Vec::new();
            codec::silence(1.0, 8000, &mut pcm);
            for n in 0..6 {
                codec::encode(Token { lang: 0, n }, 8000, db, &mut pcm);
                codec::silence(codec::GAP_S, 8000, &mut pcm);
            }
            codec::silence(1.0, 8000, &mut pcm);
            let peak = 0.1 * 32767.0 * 10_f64.powf(db / 20.0);
            for s in &mut pcm {
                let dirty = f64::from(*s) + (rng.random::<f64>() * 2.0 - 1.0) * peak + 900.0;
                *s = dirty.clamp(-32768.0, 32767.0) as i16;
            }
            let mut vad = Vad::new();
            let voiced: Vec<bool> = pcm.chunks_exact(80).map(|f| vad.voiced(f)).collect();
            let after = &voiced[60..];
            let (first, last) = (after.iter().position(|v| *v), after.iter().rposition(|v| *v));
            let (first, last) = (first.unwrap() + 60, last.unwrap() + 60);
            assert!((99..=102).contains(&first), "{db} dB: begins at frame {first}");
            assert!((200..=206).contains(&last), "{db} dB: ends at frame {last}");
            let share = voiced[first..last].iter().filter(|v| **v).count();
            assert!(share >= 75, "{db} dB: {share} frames of voice");
        }
    }
}
