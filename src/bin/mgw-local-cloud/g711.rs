//! G.711 companding (ITU-T G.711), both laws, both ways.

/// One mu-law byte as linear PCM.
pub fn ulaw_to_linear(byte: u8) -> i16 {
    let code = !byte;
    let magnitude = ((i32::from(code & 0x0F) << 3) + 0x84) << (code >> 4 & 7);
    let value = magnitude - 0x84;
    (if code & 0x80 != 0 { -value } else { value }) as i16
}

/// One A-law byte as linear PCM.
pub fn alaw_to_linear(byte: u8) -> i16 {
    let code = byte ^ 0x55;
    let segment = code >> 4 & 7;
    let mantissa = (i32::from(code & 0x0F) << 4) + 8;
    let value = if segment == 0 { mantissa } else { (mantissa + 0x100) << (segment - 1) };
    (if code & 0x80 != 0 { value } else { -value }) as i16
}

/// Linear PCM as a mu-law byte.
pub fn linear_to_ulaw(sample: i16) -> u8 {
    let sign = if sample < 0 { 0x80 } else { 0 };
    let magnitude = i32::from(sample).abs().min(32635) + 0x84;
    let segment = (magnitude as u32).ilog2().saturating_sub(7);
    !(sign | (segment as u8) << 4 | (magnitude >> (segment + 3) & 0x0F) as u8)
}

/// Linear PCM as an A-law byte.
pub fn linear_to_alaw(sample: i16) -> u8 {
    let sign = if sample >= 0 { 0x80 } else { 0 };
    let magnitude = if sample >= 0 { i32::from(sample) } else { -(i32::from(sample) + 1) };
    let segment = (magnitude as u32 | 1).ilog2().saturating_sub(7);
    let mantissa = magnitude >> if segment == 0 { 4 } else { segment + 3 } & 0x0F;
    (sign | (segment as u8) << 4 | mantissa as u8) ^ 0x55
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_survive_the_round_trip() {
        for byte in 0..=255_u8 {
            // Mu-law has two zeros; both mean 0.
            assert_eq!(ulaw_to_linear(linear_to_ulaw(ulaw_to_linear(byte))), ulaw_to_linear(byte));
            assert_eq!(linear_to_alaw(alaw_to_linear(byte)), byte);
        }
        // Values of the standard's tables.
        assert_eq!(ulaw_to_linear(0x00), -32124);
        assert_eq!(ulaw_to_linear(0xFF), 0);
        assert_eq!(alaw_to_linear(0xD5), 8);
        assert_eq!(alaw_to_linear(0x2A), -32256);
    }
}
