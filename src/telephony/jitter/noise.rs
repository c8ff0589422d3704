//! Comfort noise (RFC 3389) without a spectrum: softly low-passed noise of the announced level.

#[derive(Debug)]
pub(super) struct Noise {
    state: u32,
    low: f32,
    amplitude: f32,
}

impl Noise {
    pub fn new() -> Self {
        Noise { state: 0x2545_F491, low: 0.0, amplitude: 0.0 }
    }

    /// `level` in dB below overload, 0-127; 127 is taken for digital silence.
    pub fn set_level(&mut self, level: u8) {
        // Uniform noise has an RMS of 1/sqrt(3) of its peak; the filter below passes sqrt(1/3) of its power ratio.
        let rms = 32768.0 * 10_f32.powf(-f32::from(level.min(127)) / 20.0);
        self.amplitude = if level >= 127 { 0.0 } else { rms * 3.0 };
    }

    /// Adds noise to `out`.
    pub fn add(&mut self, out: &mut [i16]) {
        if self.amplitude == 0.0 {
            return;
        }
        for sample in out {
            self.state = self.state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let white = (self.state >> 8) as f32 / 8_388_608.0 - 1.0;
            // y += (x - y) / 2: variance a/(2-a) = 1/3 of the input's.
            self.low += 0.5 * (white - self.low);
            *sample = crate::telephony::conceal::round(f32::from(*sample) + self.low * self.amplitude);
        }
    }
}
