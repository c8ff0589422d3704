//! Sample rate conversion by rubato's FFT resampler, with every sample accounted for.

use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Fft, FixedSync, Resampler as _};

/// Converts mono 16-bit PCM between two fixed rates.
///
/// The converter's own delay is cut off at the start and made up for by [`finish`](Self::finish), so that
/// `n` samples in give `n * to / from` (rounded up) out and sounds keep their place in time.
/// Equal rates pass bit-exact.
pub struct Resampler {
    from: u32,
    to: u32,
    /// None when the rates are equal, or when rubato refuses them (then samples pass unconverted).
    inner: Option<Box<Inner>>,
}

struct Inner {
    fft: Fft<f32>,
    input: Vec<f32>,
    output: Vec<f32>,
    /// Output frames still to be cut off at the start.
    skip: usize,
    taken: u64,
    given: u64,
}

impl Resampler {
    /// A converter from `from` to `to` Hz that works in chunks of `chunk_ms` (10 or 20).
    pub fn new(from: u32, to: u32, chunk_ms: u32) -> Self {
        let inner = (from != to)
            .then(|| {
                let chunk = (from * chunk_ms / 1000) as usize;
                // One sub-chunk: its delay is half a chunk.
                let window = rubato::WindowFunction::BlackmanHarris2;
                let fft = Fft::new_custom(from as usize, to as usize, chunk, 1, 1, window, FixedSync::Both).ok()?;
                let output = vec![0.0; fft.output_frames_max()];
                let skip = fft.output_delay();
                let input = Vec::with_capacity(2 * fft.input_frames_max());
                Some(Box::new(Inner { fft, input, output, skip, taken: 0, given: 0 }))
            })
            .flatten();
        Resampler { from, to, inner }
    }

    /// Converts `samples` and appends to `out` what is ready.
    pub fn process(&mut self, samples: &[i16], out: &mut Vec<i16>) {
        let Some(inner) = &mut self.inner else {
            out.extend_from_slice(samples);
            return;
        };
        inner.taken += samples.len() as u64;
        inner.input.extend(samples.iter().map(|&s| f32::from(s)));
        inner.run(out, u64::MAX);
    }

    /// Gives the rest of what was taken; the converter then begins anew.
    pub fn finish(&mut self, out: &mut Vec<i16>) {
        let Some(inner) = &mut self.inner else { return };
        let total = (inner.taken * u64::from(self.to)).div_ceil(u64::from(self.from));
        // Two chunks of silence are always enough: the delay is half a chunk.
        for _ in 0..4 {
            if inner.given >= total {
                break;
            }
            let chunk = inner.fft.input_frames_next();
            inner.input.resize(chunk.max(inner.input.len()), 0.0);
            inner.run(out, total);
        }
        *self = Resampler::new(self.from, self.to, 1000 * inner.fft.input_frames_max() as u32 / self.from);
    }
}

impl Inner {
    fn run(&mut self, out: &mut Vec<i16>, limit: u64) {
        loop {
            let need = self.fft.input_frames_next();
            let room = self.fft.output_frames_next();
            if self.input.len() < need || self.output.len() < room {
                return;
            }
            let done = {
                let Ok(input) = InterleavedSlice::new(&self.input[..need], 1, need) else { return };
                let Ok(mut output) = InterleavedSlice::new_mut(&mut self.output[..room], 1, room) else { return };
                self.fft.process_into_buffer(&input, &mut output, None)
            };
            self.input.drain(..need);
            let Ok((_, made)) = done else { return };
            let cut = self.skip.min(made);
            self.skip -= cut;
            let keep = ((made - cut) as u64).min(limit.saturating_sub(self.given)) as usize;
            self.given += keep as u64;
            out.extend(
                self.output[cut..cut + keep]
                    .iter()
                    .map(|&s| s.round().clamp(f32::from(i16::MIN), f32::from(i16::MAX)) as i16),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(hz: f64, rate: u32, count: usize) -> Vec<i16> {
        (0..count)
            .map(|i| ((i as f64 * hz / f64::from(rate) * std::f64::consts::TAU).sin() * 10_000.0) as i16)
            .collect()
    }

    fn convert(input: &[i16], from: u32, to: u32, piece: usize) -> Vec<i16> {
        let mut resampler = Resampler::new(from, to, 20);
        let mut out = Vec::new();
        for part in input.chunks(piece) {
            resampler.process(part, &mut out);
        }
        resampler.finish(&mut out);
        out
    }

    fn rms(samples: &[i16]) -> f64 {
        (samples.iter().map(|&s| f64::from(s).powi(2)).sum::<f64>() / samples.len() as f64).sqrt()
    }

    #[test]
    fn every_pair_of_rates_keeps_length_place_and_level() {
        for from in crate::media_port::RATES {
            for to in crate::media_port::RATES {
                let n = (from / 2 + 77) as usize;
                let input = tone(1000.0, from, n);
                let out = convert(&input, from, to, 333);
                let want = (n as u64 * u64::from(to)).div_ceil(u64::from(from));
                assert_eq!(out.len() as u64, want, "{from} -> {to}");
                if from == to {
                    assert_eq!(out, input);
                    continue;
                }
                // The same tone generated at the target rate must lie on top of it (away from the edges).
                let ideal = tone(1000.0, to, out.len());
                let edge = (to / 50) as usize;
                let middle = edge..out.len() - edge;
                let error: Vec<i16> = middle.clone().map(|i| out[i].saturating_sub(ideal[i])).collect();
                let ratio = rms(&error) / rms(&ideal[middle]);
                assert!(ratio < 0.01, "{from} -> {to}: error {ratio:.4}");
            }
        }
    }

    #[test]
    fn what_does_not_fit_the_target_band_is_removed() {
        // 5 kHz cannot exist at 8 kHz; an alias at 3 kHz would.
        let out = convert(&tone(5000.0, 16_000, 16_000), 16_000, 8000, 320);
        assert!(rms(&out[400..7000]) < 100.0, "alias at {:.0}", rms(&out[400..7000]));
        // 3.4 kHz is telephone band and must stay.
        let kept = rms(&convert(&tone(3300.0, 16_000, 16_000), 16_000, 8000, 320)[400..7000]);
        assert!(kept > 6300.0, "3.3 kHz at {kept:.0} of 7071");
    }

    #[test]
    fn a_short_sound_survives() {
        let input = tone(700.0, 24_000, 50);
        assert_eq!(convert(&input, 24_000, 8000, 7).len(), 17);
        assert_eq!(convert(&[], 24_000, 8000, 7).len(), 0);
    }
}
