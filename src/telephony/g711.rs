//! G.711 companding (ITU-T G.711), both laws, both ways, on 16-bit linear samples.
//!
//! The standard's 14-bit (mu-law) and 13-bit (A-law) values are scaled to 16 bits, so that full scale of one is full
//! scale of the other. Values between two decision values get the code between them; a negative sample on a decision
//! value of mu-law gets the outer code, as its positive mirror does.

static ULAW: [i16; 256] = ulaw_table();
static ALAW: [i16; 256] = alaw_table();
/// Half of the first chord's step plus its begin: what mu-law adds so that every chord begins at a power of two.
const BIAS: i32 = 0x84;
/// Mu-law's greatest magnitude: its virtual decision value 8159 in 16 bits, less the bias, less one.
const CLIP: i32 = 32_635;

/// One mu-law byte as a linear sample, -32124..=32124.
pub fn ulaw_to_linear(byte: u8) -> i16 {
    ULAW[usize::from(byte)]
}

/// One A-law byte as a linear sample, -32256..=32256; none is 0.
pub fn alaw_to_linear(byte: u8) -> i16 {
    ALAW[usize::from(byte)]
}

/// A linear sample as a mu-law byte.
pub fn linear_to_ulaw(sample: i16) -> u8 {
    let sign = if sample < 0 { 0x80 } else { 0 };
    let biased = i32::from(sample).abs().min(CLIP) + BIAS;
    // Exponent and first four bits of the mantissa are chord and step already (2^7 is chord 0), and vector units have them.
    let code = ((biased as f32).to_bits() >> 19) - ((127 + 7) << 4);
    !(sign | code as u8)
}

/// A linear sample as an A-law byte.
pub fn linear_to_alaw(sample: i16) -> u8 {
    // The negative half is the mirror around -0.5, so that -1 and 0 lie on different sides.
    let (sign, magnitude) = if sample >= 0 { (0x80, sample) } else { (0, !sample) };
    let chord = (magnitude | 1).ilog2().saturating_sub(7);
    let shift = if chord == 0 { 4 } else { chord + 3 };
    (sign | (chord as u8) << 4 | (magnitude >> shift & 0x0F) as u8) ^ 0x55
}

const fn ulaw_table() -> [i16; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let code = !(byte as u8);
        let magnitude = (((((code & 0x0F) as i32) << 3) + BIAS) << (code >> 4 & 7)) - BIAS;
        table[byte] = (if code & 0x80 != 0 { -magnitude } else { magnitude }) as i16;
        byte += 1;
    }
    table
}

const fn alaw_table() -> [i16; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let code = byte as u8 ^ 0x55;
        let chord = code >> 4 & 7;
        let step = (((code & 0x0F) as i32) << 4) + 8;
        let magnitude = if chord == 0 { step } else { (step + 0x100) << (chord - 1) };
        table[byte] = (if code & 0x80 != 0 { magnitude } else { -magnitude }) as i16;
        byte += 1;
    }
    table
}

#[cfg(test)]
#[path = "g711_tests.rs"]
mod tests;
