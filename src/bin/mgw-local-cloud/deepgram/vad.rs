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
    mean: f64,
}

impl Vad {
    /// Nothing heard yet.
    pub fn new() -> Vad {
        Vad {
            blocks: [0.0; 12],
            block: 0,
            frames: 0,
            least: f64::MAX,
            mean: 0.0,
        }
    }

    /// Whether a frame of 10 ms holds voice.
    pub fn voiced(&mut self, frame: &[i16]) -> bool {
        let count = frame.len().max(1) as f64;
        let mean = frame.iter().map(|s| f64::from(*s)).sum::<f64>() / count;
        // The slow mean is the line's DC offset; a frame's own mean would swallow low tones.
        self.mean += (mean - self.mean) * 0.1;
        let power = frame
            .iter()
            .map(|s| (f64::from(*s) - self.mean).powi(2))
            .sum::<f64>()
            / count;
        self.least = self.least.min(power);
        self.frames += 1;
        if self.frames == BLOCK {
            self.blocks[self.block] = self.least;
            self.block = (self.block + 1) % self.blocks.len();
            (self.frames, self.least) = (0, f64::MAX);
        }
        let floor = self
            .blocks
            .iter()
            .copied()
            .fold(f64::MAX, f64::min)
            .min(FLOOR_MOST);
        power > (floor * OVER_FLOOR).max(LEAST)
    }
}
