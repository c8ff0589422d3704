use super::*;

/// One interval of a law's positive half in 16-bit samples: its decision values, its output value.
struct Interval {
    from: i32,
    to: i32,
    output: i32,
}

/// G.711 table 2a: eight chords of 16 steps of 2, 4, .. 256 in 14 bits; the first step of all is half as wide.
fn ulaw_intervals() -> Vec<Interval> {
    let mut from = 0;
    let mut intervals = Vec::new();
    for chord in 0..8 {
        let step = 2 << chord;
        for index in 0..16 {
            let to = if chord == 0 && index == 0 { 1 } else { from + step };
            let output = if to == 1 { 0 } else { (from + to) / 2 };
            intervals.push(Interval { from: 4 * from, to: 4 * to, output: 4 * output });
            from = to;
        }
    }
    assert_eq!(from, 8159, "the virtual decision value of the table");
    intervals
}

/// G.711 table 1a: 32 steps of 2, then six chords of 16 steps of 4, 8, .. 128, in 13 bits.
fn alaw_intervals() -> Vec<Interval> {
    let mut from = 0;
    let mut intervals = Vec::new();
    for chord in 0..8 {
        let step = 2 << i32::max(chord - 1, 0);
        for _ in 0..16 {
            let to = from + step;
            intervals.push(Interval { from: 8 * from, to: 8 * to, output: 4 * (from + to) });
            from = to;
        }
    }
    assert_eq!(from, 4096, "the virtual decision value of the table");
    intervals
}

#[test]
fn codes_have_the_values_of_the_tables() {
    for (index, interval) in ulaw_intervals().iter().enumerate() {
        let positive = 0xFF - index as u8;
        assert_eq!(i32::from(ulaw_to_linear(positive)), interval.output, "mu-law {positive:#04x}");
        assert_eq!(i32::from(ulaw_to_linear(positive & 0x7F)), -interval.output, "mu-law {:#04x}", positive & 0x7F);
    }
    for (index, interval) in alaw_intervals().iter().enumerate() {
        let positive = (0x80 + index as u8) ^ 0x55;
        assert_eq!(i32::from(alaw_to_linear(positive)), interval.output, "A-law {positive:#04x}");
        assert_eq!(i32::from(alaw_to_linear(positive ^ 0x80)), -interval.output, "A-law {:#04x}", positive ^ 0x80);
    }
}

#[test]
fn every_sample_gets_the_code_of_its_interval() {
    let (ulaw, alaw) = (ulaw_intervals(), alaw_intervals());
    let find = |intervals: &[Interval], magnitude: i32| {
        intervals.iter().position(|i| (i.from..i.to).contains(&magnitude)).unwrap_or(127) as u8
    };
    for sample in i16::MIN..=i16::MAX {
        let value = i32::from(sample);
        let expected = 0xFF - find(&ulaw, value.abs());
        let expected = if value < 0 { expected & 0x7F } else { expected };
        assert_eq!(linear_to_ulaw(sample), expected, "mu-law of {sample}");
        let expected = (0x80 + find(&alaw, if value < 0 { -1 - value } else { value })) ^ 0x55;
        let expected = if value < 0 { expected ^ 0x80 } else { expected };
        assert_eq!(linear_to_alaw(sample), expected, "A-law of {sample}");
    }
}

#[test]
fn every_code_survives_the_round_trip() {
    for byte in 0..=255_u8 {
        // Mu-law has two zeros; the negative one comes back as the positive.
        let expected = if byte == 0x7F { 0xFF } else { byte };
        assert_eq!(linear_to_ulaw(ulaw_to_linear(byte)), expected);
        assert_eq!(linear_to_alaw(alaw_to_linear(byte)), byte);
    }
}

#[test]
fn no_sample_moves_further_than_half_a_step() {
    for sample in i16::MIN..=i16::MAX {
        let value = i32::from(sample);
        // The widest steps are 256 of 14 bits and 128 of 13 bits: 1024 samples; narrower chords by their share.
        let half = |magnitude: i32, chord_0: i32| (magnitude / 32).max(chord_0);
        let ulaw = (i32::from(ulaw_to_linear(linear_to_ulaw(sample))) - value).abs();
        assert!(ulaw <= half(value.abs() + 132, 4).max(i32::max(0, value.abs() - 32124)), "mu-law of {sample}: {ulaw}");
        let alaw = (i32::from(alaw_to_linear(linear_to_alaw(sample))) - value).abs();
        assert!(alaw <= half(value.abs(), 8), "A-law of {sample}: {alaw}");
    }
}
