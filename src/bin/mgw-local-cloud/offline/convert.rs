//! Sample rate conversion and speech level.
//!
//! The converter is a windowed-sinc polyphase filter (Kaiser window, beta 8: about 80 dB of stop band), cut off
//! below half of the lower rate.

/// Zero crossings of the sinc on each side.
const CROSSINGS: f64 = 24.0;
/// Kaiser window's shape.
const BETA: f64 = 8.0;
/// Where the filter's centre of transition lies, as a part of the lower rate's half.
const CUTOFF: f64 = 0.92;
/// Most phases kept in the table; odd ratios are rounded to the nearest phase (below -60 dB).
const MAX_PHASES: u64 = 2048;

/// A streaming converter between two sample rates.
pub struct Converter {
    step_in: u64,
    step_out: u64,
    phases: u64,
    taps: usize,
    table: Vec<f32>,
    history: Vec<f32>,
    /// Position of the next output in the history, in 1/`step_out` input samples.
    position: u64,
}

impl Converter {
    /// A converter from `from` to `to` Hz.
    pub fn new(from: u32, to: u32) -> Self {
        let (from, to) = (u64::from(from.max(1)), u64::from(to.max(1)));
        let divisor = gcd(from, to);
        let (step_in, step_out) = (from / divisor, to / divisor);
        let phases = step_out.min(MAX_PHASES);
        let ratio = (to as f64 / from as f64).min(1.0) * CUTOFF;
        let half = (CROSSINGS / ratio).ceil();
        let taps = 2 * half as usize;
        let mut table = Vec::with_capacity(taps * phases as usize);
        for phase in 0..phases {
            let offset = phase as f64 / phases as f64;
            let mut row: Vec<f64> = (0..taps).map(|i| kernel(i as f64 - (half - 1.0) - offset, ratio, half)).collect();
            // Unity gain at 0 Hz for every phase, or a constant input would come out with a ripple.
            let sum: f64 = row.iter().sum();
            row.iter_mut().for_each(|tap| *tap /= sum);
            table.extend(row.iter().map(|tap| *tap as f32));
        }
        let history = vec![0.0; half as usize - 1];
        Self { step_in, step_out, phases, taps, table, history, position: 0 }
    }

    /// Converts a piece; keeps what the next piece needs.
    pub fn convert(&mut self, pcm: &[i16], out: &mut Vec<i16>) {
        if self.step_in == self.step_out {
            out.extend_from_slice(pcm);
            return;
        }
        self.history.extend(pcm.iter().map(|sample| f32::from(*sample)));
        loop {
            let first = (self.position / self.step_out) as usize;
            let Some(window) = self.history.get(first..first + self.taps) else {
                break;
            };
            let phase = (self.position % self.step_out) * self.phases / self.step_out;
            let row = &self.table[phase as usize * self.taps..][..self.taps];
            let sum: f32 = window.iter().zip(row).map(|(sample, tap)| sample * tap).sum();
            out.push(to_i16(sum));
            self.position += self.step_in;
        }
        let used = ((self.position / self.step_out) as usize).min(self.history.len());
        self.history.drain(..used);
        self.position -= used as u64 * self.step_out;
    }

    /// Converts what is left in the filter.
    pub fn flush(&mut self, out: &mut Vec<i16>) {
        self.convert(&vec![0; self.taps / 2], out);
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// The windowed sinc at `x` input samples from its centre.
fn kernel(x: f64, ratio: f64, half: f64) -> f64 {
    let place = x / half;
    if place.abs() >= 1.0 {
        return 0.0;
    }
    let angle = std::f64::consts::PI * x * ratio;
    let sinc = if angle.abs() < 1e-9 { 1.0 } else { angle.sin() / angle };
    sinc * ratio * bessel_i0(BETA * (1.0 - place * place).sqrt()) / bessel_i0(BETA)
}

/// Modified Bessel function of the first kind, order 0, by its power series.
fn bessel_i0(x: f64) -> f64 {
    let mut term = 1.0;
    let mut sum = 1.0;
    for k in 1..60 {
        term *= (x / 2.0 / f64::from(k)).powi(2);
        sum += term;
    }
    sum
}

fn to_i16(sample: f32) -> i16 {
    sample.round().clamp(-32768.0, 32767.0) as i16
}

/// Root mean square of a piece, in sample units.
pub fn rms(pcm: &[i16]) -> f64 {
    if pcm.is_empty() {
        return 0.0;
    }
    (pcm.iter().map(|s| f64::from(*s).powi(2)).sum::<f64>() / pcm.len() as f64).sqrt()
}

/// Which 20 ms pieces hold speech: not more than 30 dB below the loudest. Empty for silence.
pub fn active_pieces(pcm: &[i16], rate: u32) -> Vec<&[i16]> {
    let size = (rate as usize / 50).max(1);
    let loudest = pcm.chunks(size).map(rms).fold(0.0, f64::max);
    pcm.chunks(size).filter(|piece| loudest > 1.0 && rms(piece) > loudest * 0.0316).collect()
}

/// Level of the speech without its pauses, in dB below full scale (`None` for silence).
pub fn active_level(pcm: &[i16], rate: u32) -> Option<f64> {
    let active = active_pieces(pcm, rate).concat();
    (!active.is_empty()).then(|| 20.0 * (rms(&active) / 32768.0).log10())
}

/// Brings speech to `target` dB below full scale; less if its peak would pass -1 dB.
pub fn normalise(pcm: &mut [i16], rate: u32, target: f64) {
    let Some(level) = active_level(pcm, rate) else {
        return;
    };
    let peak = pcm.iter().map(|sample| f64::from(*sample).abs()).fold(1.0, f64::max);
    let gain = 10f64.powf((target - level) / 20.0).min(29200.0 / peak);
    for sample in pcm {
        *sample = to_i16((f64::from(*sample) * gain) as f32);
    }
}

/// Cuts silence from both ends, leaving `before` and `after` seconds of it.
pub fn trim(pcm: &[i16], rate: u32, before: f64, after: f64) -> &[i16] {
    let size = (rate as usize / 100).max(1);
    let loudest = pcm.chunks(size).map(rms).fold(0.0, f64::max);
    let loud = |piece: &[i16]| loudest > 1.0 && rms(piece) > loudest * 0.01;
    let Some(first) = pcm.chunks(size).position(loud) else {
        return &[];
    };
    let last = pcm.chunks(size).rposition(loud).unwrap_or(first);
    let lead = (before * f64::from(rate)) as usize;
    let tail = (after * f64::from(rate)) as usize;
    &pcm[(first * size).saturating_sub(lead)..((last + 1) * size + tail).min(pcm.len())]
}
