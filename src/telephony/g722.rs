//! G.722 (ITU-T G.722, 2012) at 64 kbit/s (mode 1): 16 kHz speech, two sub-bands of ADPCM, one byte for two samples.
//!
//! * **RTP**: payload type 9. Its clock runs at 8000 Hz although 16 kHz is coded (RFC 3551 section 4.5.2, an old error
//!   that was kept), so 20 ms are 320 samples, 160 bytes and 160 ticks: one tick for each byte.
//! * **Delay**: the two QMFs of encoder and decoder together delay by 22 samples (1.375 ms); there is no look-ahead.
//! * **Level**: samples are full-scale 16 bit. The analysis filter halves them into the 15-bit sub-bands of the
//!   standard and the synthesis filter doubles them again: unity gain, and what exceeds the range is limited at every
//!   step, never wrapped. Silence comes back as idle noise of up to 4 units (-78 dBFS), as the standard has it.
//! * **Bits**: two of the higher sub-band (4 to 8 kHz) in bits 7 and 6, six of the lower one in bits 5 to 0.
//!
//! Names of blocks in the comments (`QUANTL`, `UPPOL2` ...) are those of the standard's clause 6.2. All arithmetic is
//! exact, so the same samples give the same bytes on every machine.

/// Taps of the QMF (table 11 of the standard, scaled by 2^13); the filter is symmetric.
const QMF: [i16; 12] = [3, -11, 12, 32, -210, 951, 3876, -805, 362, -156, 53, -11];
/// All 24 taps, oldest sample first; the plain ones add the two polyphase branches (lower sub-band) ...
const ANALYSIS_LOW: [i16; 24] = analysis_taps(1);
/// ... and these subtract the even branch from the odd one (higher sub-band).
const ANALYSIS_HIGH: [i16; 24] = analysis_taps(-1);
/// The odd branch: the taps in reverse.
const QMF_ODD: [i16; 12] = reversed(QMF);
/// Samples before the newest pair that the analysis filter looks at.
const ANALYSIS_PAST: usize = 22;
/// Pairs of sub-band samples before the newest that the synthesis filter looks at.
const SYNTHESIS_PAST: usize = 11;
/// Pairs of samples in one pass, 20 ms; longer inputs take several.
const BLOCK: usize = 160;

/// Decision levels of the 60-level quantizer of the lower sub-band (Q6).
const LOW_LEVELS: [i32; 29] = [
    35, 72, 110, 150, 190, 233, 276, 323, 370, 422, 473, 530, 587, 650, 714, 786, 858, 940, 1023, 1121, 1219, 1339,
    1458, 1612, 1765, 1980, 2195, 2557, 2919,
];
/// Output levels of the lower sub-band's full inverse quantizer (QM6), by the six bits of the code.
#[rustfmt::skip]
const LOW_OUTPUT_6: [i32; 64] = [
     -17,  -17,  -17,  -17, -3101, -2738, -2376, -2088, -1873, -1689, -1535, -1399, -1279, -1170, -1072, -982,
    -899, -822, -750, -682,  -618,  -558,  -501,  -447,  -396,  -347,  -300,  -254,  -211,  -170,  -130,  -91,
    3101, 2738, 2376, 2088,  1873,  1689,  1535,  1399,  1279,  1170,  1072,   982,   899,   822,   750,  682,
     618,  558,  501,  447,   396,   347,   300,   254,   211,   170,   130,    91,    54,    17,   -54,  -17,
];
/// Output levels of the 4-bit inverse quantizer that drives the prediction (QM4), by the code's upper four bits.
const LOW_OUTPUT_4: [i32; 16] =
    [0, -2557, -1612, -1121, -786, -530, -323, -150, 2557, 1612, 1121, 786, 530, 323, 150, 0];
/// Steps of the lower quantizer's log scale (WL through RL4), by the code's upper four bits.
const LOW_STEPS: [i32; 16] = [-60, 3042, 1198, 538, 334, 172, 58, -30, 3042, 1198, 538, 334, 172, 58, -30, -60];
/// Decision level of the 4-level quantizer of the higher sub-band (Q2).
const HIGH_LEVEL: i32 = 564;
/// Output levels of the higher sub-band (QM2), by the two bits of the code.
const HIGH_OUTPUT: [i32; 4] = [-926, -202, 926, 202];
/// Steps of the higher quantizer's log scale (WH through RH2).
const HIGH_STEPS: [i32; 4] = [798, -214, 798, -214];
/// Powers of two, `2048 * 2^(i / 32)` (ILB).
const POWERS: [i32; 32] = [
    2048, 2093, 2139, 2186, 2233, 2282, 2332, 2383, 2435, 2489, 2543, 2599, 2656, 2714, 2774, 2834, 2896, 2960, 3025,
    3091, 3158, 3228, 3298, 3371, 3444, 3520, 3597, 3676, 3756, 3838, 3922, 4008,
];

const fn analysis_taps(even: i16) -> [i16; 24] {
    let mut taps = [0; 24];
    let mut i = 0;
    while i < 12 {
        taps[2 * i] = even * QMF[i];
        taps[2 * i + 1] = QMF[11 - i];
        i += 1;
    }
    taps
}

const fn reversed(taps: [i16; 12]) -> [i16; 12] {
    let mut out = [0; 12];
    let mut i = 0;
    while i < 12 {
        out[i] = taps[11 - i];
        i += 1;
    }
    out
}

/// The 16-bit saturation of the standard's adders and shifters.
#[inline(always)]
fn sat16(value: i32) -> i32 {
    value.clamp(-32768, 32767)
}

/// The 15-bit limiter of sub-band samples (`LIMIT`).
#[inline(always)]
fn sat15(value: i32) -> i32 {
    value.clamp(-16384, 16383)
}

/// Multiplies two 16-bit fractions (`MULT`); truncates towards minus infinity.
#[inline(always)]
fn mul15(a: i32, b: i32) -> i32 {
    (a * b) >> 15
}

/// A quantizer's level at a scale: tables are in units of 1/4096.
#[inline(always)]
fn scaled(level: i32, scale: i32) -> i32 {
    (level * scale) >> 12
}

/// Sum of products of as many samples as taps; cannot overflow 32 bits with the taps above, whose magnitudes add up to
/// 12964.
#[inline(always)]
fn dot<const N: usize>(taps: &[i16; N], samples: &[i16]) -> i32 {
    taps.iter().zip(samples).map(|(&tap, &sample)| i32::from(tap) * i32::from(sample)).sum()
}

/// One sub-band: the scale of its quantizer and its predictor (two poles, six zeros), the same in encoder and decoder.
#[derive(Clone, Debug)]
struct Band {
    /// Prediction of the next sample (SL, SH).
    predicted: i32,
    /// Part of it that comes from the zeros (SZ).
    zeros: i32,
    /// Logarithm of the scale, 2048 for each octave (NB).
    log_scale: i32,
    /// Scale of the quantizer (DET).
    scale: i32,
    /// Whether the last two sums of difference and zeros were negative (PLT).
    negative: [bool; 2],
    /// Newest reconstructed sample, doubled and limited (RLT).
    reconstructed: i32,
    /// Coefficients of the poles (A).
    poles: [i32; 2],
    /// Coefficients of the zeros (B).
    zero_taps: [i32; 6],
    /// Last six quantized differences, doubled, newest first (DLT).
    differences: [i32; 6],
}

impl Band {
    fn new(scale: i32) -> Band {
        Band {
            predicted: 0,
            zeros: 0,
            log_scale: 0,
            scale,
            negative: [false; 2],
            reconstructed: 0,
            poles: [0; 2],
            zero_taps: [0; 6],
            differences: [0; 6],
        }
    }

    /// State of the lower sub-band after a reset.
    fn low() -> Band {
        Band::new(32)
    }

    /// State of the higher sub-band after a reset.
    fn high() -> Band {
        Band::new(8)
    }

    /// Codes a sample of the lower sub-band, six bits (`SUBTRA`, `QUANTL`).
    #[inline]
    fn code_low(&self, sample: i32) -> u8 {
        let error = sat16(sample - self.predicted);
        let magnitude = if error < 0 { !error } else { error };
        // Number of scaled levels at or below the magnitude; comparing with all of them has no branch to mispredict.
        let limit = (magnitude + 1) << 12;
        let below = LOW_LEVELS.iter().filter(|&&level| level * self.scale < limit).count() as i32;
        // ILP counts down from 61, ILN from 31 but for its two smallest (63, 62).
        let code = match (error < 0, below) {
            (false, _) => 61 - below,
            (true, 0 | 1) => 63 - below,
            (true, _) => 33 - below,
        };
        code as u8
    }

    /// Codes a sample of the higher sub-band, two bits (`SUBTRA`, `QUANTH`).
    #[inline]
    fn code_high(&self, sample: i32) -> u8 {
        let error = sat16(sample - self.predicted);
        let magnitude = if error < 0 { !error } else { error };
        let small = magnitude < scaled(HIGH_LEVEL, self.scale);
        u8::from(small) + if error < 0 { 0 } else { 2 }
    }

    /// Takes over a code of the lower sub-band (`INVQAL`, `LOGSCL`, `SCALEL`); the two lowest bits have no effect, so
    /// that they can be taken for data on the way.
    #[inline]
    fn take_low(&mut self, code: u8) {
        let upper = usize::from(code >> 2) & 15;
        let difference = scaled(LOW_OUTPUT_4[upper], self.scale);
        self.log_scale = (mul15(self.log_scale, 32512) + LOW_STEPS[upper]).clamp(0, 18432);
        self.scale = linear(self.log_scale, 8);
        self.predict(difference);
    }

    /// Takes over a code of the higher sub-band (`INVQAH`, `LOGSCH`, `SCALEH`).
    #[inline]
    fn take_high(&mut self, code: u8) {
        let code = usize::from(code & 3);
        let difference = scaled(HIGH_OUTPUT[code], self.scale);
        self.log_scale = (mul15(self.log_scale, 32512) + HIGH_STEPS[code]).clamp(0, 22528);
        self.scale = linear(self.log_scale, 10);
        self.predict(difference);
    }

    /// Sample of the lower sub-band that a code stands for (`INVQBL`, `RECONS`, `LIMIT`); before [`Band::take_low`].
    #[inline]
    fn decode_low(&self, code: u8) -> i32 {
        sat15(self.predicted + scaled(LOW_OUTPUT_6[usize::from(code & 63)], self.scale))
    }

    /// Sample of the higher sub-band that a code stands for; before [`Band::take_high`].
    #[inline]
    fn decode_high(&self, code: u8) -> i32 {
        sat15(self.predicted + scaled(HIGH_OUTPUT[usize::from(code & 3)], self.scale))
    }

    /// Adapts the predictor to a quantized difference and predicts the next sample.
    #[inline]
    fn predict(&mut self, difference: i32) {
        // PARREC, RECONS: of the first only the sign counts, which saturation never changes.
        let negative = difference + self.zeros < 0;
        let last = self.reconstructed;
        // Both doublings saturate (FILTEP after RECONS), so limiting the sum twice equals limiting its double once.
        let newest = sat16(2 * (self.predicted + difference));

        // UPPOL2, UPPOL1: sign-sign steps with a leak, kept where the filter is stable.
        let by_one = sat16(4 * self.poles[0]);
        let by_one = if negative == self.negative[0] { sat16(-by_one) } else { by_one };
        let by_two = if negative == self.negative[1] { 128 } else { -128 };
        let second = ((by_one >> 7) + by_two + mul15(self.poles[1], 32512)).clamp(-12288, 12288);
        let step = if negative == self.negative[0] { 192 } else { -192 };
        let limit = 15360 - second;
        let first = (step + mul15(self.poles[0], 32640)).clamp(-limit, limit);

        // UPZERO: the same for the zeros; no step where the difference is zero.
        let step = if difference == 0 { 0 } else { 128 };
        for (tap, &past) in self.zero_taps.iter_mut().zip(&self.differences) {
            let sign = (past ^ difference) >> 31;
            *tap = mul15(*tap, 32640) + ((step ^ sign) - sign);
        }

        // DELAYA, FILTEZ: oldest first, as the standard saturates each partial sum. The largest level at the largest
        // scale is 10228, so neither the doubled difference nor a product leaves 16 bits.
        let [d1, d2, d3, d4, d5, _] = self.differences;
        self.differences = [2 * difference, d1, d2, d3, d4, d5];
        let products = self.zero_taps.iter().zip(&self.differences).map(|(&tap, &past)| mul15(tap, past) as i16);
        self.zeros = i32::from(products.rev().fold(0, i16::saturating_add));

        // FILTEP, PREDIC.
        let from_poles = sat16(mul15(first, newest) + mul15(second, last));
        self.predicted = sat16(from_poles + self.zeros);
        self.poles = [first, second];
        self.negative = [negative, self.negative[0]];
        self.reconstructed = newest;
    }
}

/// Scale of a quantizer from its logarithm (`SCALEL`, `SCALEH`); `octaves` is where 2048 stands.
#[inline(always)]
fn linear(log_scale: i32, octaves: i32) -> i32 {
    let power = POWERS[(log_scale >> 6) as usize & 31];
    // Only the largest logarithm of either band is an octave above the table, hence one bit of room below.
    ((power << 1) >> (octaves + 1 - (log_scale >> 11))) << 2
}

/// Encoder of one stream.
///
/// Lives as long as the stream: its state must follow the one of the far decoder, so it is not replaced at a pause.
#[derive(Clone, Debug)]
pub struct Encoder {
    low: Band,
    high: Band,
    /// The last samples of the pass before, then room for those of the next.
    line: [i16; ANALYSIS_PAST + 2 * BLOCK],
}

impl Default for Encoder {
    fn default() -> Encoder {
        Encoder::new()
    }
}

impl Encoder {
    /// An encoder in the state after a reset.
    pub fn new() -> Encoder {
        Encoder { low: Band::low(), high: Band::high(), line: [0; ANALYSIS_PAST + 2 * BLOCK] }
    }

    /// Encodes `samples` (16 kHz, full-scale 16 bit, an even number of them; the last of an odd number is left out) and
    /// appends one byte for each two samples to `out`.
    ///
    /// How the stream is cut into even pieces makes no difference to the bytes. Allocates only if `out` has no room.
    pub fn encode(&mut self, samples: &[i16], out: &mut Vec<u8>) {
        out.reserve(samples.len() / 2);
        let whole = &samples[..samples.len() & !1];
        for part in whole.chunks(2 * BLOCK) {
            self.line[ANALYSIS_PAST..ANALYSIS_PAST + part.len()].copy_from_slice(part);
            let used = ANALYSIS_PAST + part.len();
            // The filter first, for the whole pass: it has no feedback, so its loop stays apart from the one that has.
            let mut bands = [[0; 2]; BLOCK];
            for (band, window) in bands.iter_mut().zip(self.line[..used].windows(24).step_by(2)) {
                *band = [dot(&ANALYSIS_LOW, window), dot(&ANALYSIS_HIGH, window)].map(|sum| sat15(sum >> 14));
            }
            let (low, high) = (&mut self.low, &mut self.high);
            out.extend(bands[..part.len() / 2].iter().map(|&[low_sample, high_sample]| {
                let code_low = low.code_low(low_sample);
                low.take_low(code_low);
                let code_high = high.code_high(high_sample);
                high.take_high(code_high);
                (code_high << 6) | code_low
            }));
            self.line.copy_within(part.len()..used, 0);
        }
    }
}

/// Decoder of one stream.
#[derive(Clone, Debug)]
pub struct Decoder {
    low: Band,
    high: Band,
    /// Sums of the sub-bands: those the next pass looks back at, then room for its own.
    sums: [i16; SYNTHESIS_PAST + BLOCK],
    /// Differences of the sub-bands, likewise.
    differences: [i16; SYNTHESIS_PAST + BLOCK],
}

impl Default for Decoder {
    fn default() -> Decoder {
        Decoder::new()
    }
}

impl Decoder {
    /// A decoder in the state after a reset.
    pub fn new() -> Decoder {
        let line = [0; SYNTHESIS_PAST + BLOCK];
        Decoder { low: Band::low(), high: Band::high(), sums: line, differences: line }
    }

    /// Decodes `payload` and appends two samples (16 kHz, full-scale 16 bit) for each byte to `out`.
    ///
    /// Any bytes are a valid stream. How it is cut into calls makes no difference to the samples. Allocates only if
    /// `out` has no room.
    pub fn decode(&mut self, payload: &[u8], out: &mut Vec<i16>) {
        out.reserve(2 * payload.len());
        for part in payload.chunks(BLOCK) {
            let sums = &mut self.sums[SYNTHESIS_PAST..];
            let differences = &mut self.differences[SYNTHESIS_PAST..];
            for ((&code, sum), difference) in part.iter().zip(sums).zip(differences) {
                let low = self.low.decode_low(code);
                self.low.take_low(code);
                let high = self.high.decode_high(code >> 6);
                self.high.take_high(code >> 6);
                // Both sub-bands have 15 bits, so these have 16.
                *sum = (low + high) as i16;
                *difference = (low - high) as i16;
            }
            let used = SYNTHESIS_PAST + part.len();
            for (sums, differences) in self.sums[..used].windows(12).zip(self.differences[..used].windows(12)) {
                out.push(sat16(dot(&QMF_ODD, differences) >> 11) as i16);
                out.push(sat16(dot(&QMF, sums) >> 11) as i16);
            }
            self.sums.copy_within(part.len()..used, 0);
            self.differences.copy_within(part.len()..used, 0);
        }
    }
}

#[cfg(test)]
#[path = "g722_tests.rs"]
mod tests;
