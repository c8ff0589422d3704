//! Tests of G.722: against the standard's own test sequences, against another implementation, and by measurement.

use std::f64::consts::TAU;

use proptest::prelude::*;

use super::*;

/// Delay of encoder and decoder together, in samples.
const DELAY: usize = 22;

fn encode(samples: &[i16]) -> Vec<u8> {
    let mut out = Vec::new();
    Encoder::new().encode(samples, &mut out);
    out
}

fn decode(payload: &[u8]) -> Vec<i16> {
    let mut out = Vec::new();
    Decoder::new().decode(payload, &mut out);
    out
}

/// What comes out for `samples`, without the delay.
fn through(samples: &[i16]) -> Vec<i16> {
    let mut padded = samples.to_vec();
    padded.extend([0; DELAY]);
    decode(&encode(&padded)).split_off(DELAY)
}

fn xorshift(state: &mut u32) -> u32 {
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    *state
}

/// White noise over the whole range.
fn noise(count: usize) -> Vec<i16> {
    let mut state = 0x2545_F491;
    (0..count).map(|_| (xorshift(&mut state) >> 16) as i16).collect()
}

/// Full-scale square wave of `half` samples up and as many down.
fn square(half: usize, count: usize) -> Vec<i16> {
    (0..count).map(|i| if (i / half).is_multiple_of(2) { i16::MAX } else { i16::MIN }).collect()
}

fn tone(hz: f64, amplitude: f64, count: usize) -> Vec<i16> {
    (0..count).map(|i| (amplitude * (TAU * hz * i as f64 / 16_000.0).sin()).round() as i16).collect()
}

/// Gain of a tone, and what is not the tone below it, both in dB, by a least-squares fit after 0.25 s.
fn gain_and_snr(hz: f64, amplitude: f64) -> (f64, f64) {
    // A whole number of periods of any whole frequency.
    let out = through(&tone(hz, amplitude, 20_000)).split_off(4_000);
    let of = |phase: f64| {
        let sum: f64 =
            (0..).zip(&out).map(|(i, &x)| f64::from(x) * (TAU * hz * f64::from(i) / 16_000.0 + phase).sin()).sum();
        sum * 2.0 / out.len() as f64
    };
    let fitted = of(0.0).hypot(of(TAU / 4.0));
    let power = out.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / out.len() as f64;
    let rest = power - fitted.powi(2) / 2.0;
    (20.0 * (fitted / amplitude).log10(), 10.0 * (fitted.powi(2) / 2.0 / rest).log10())
}

fn fnv1a(bytes: impl IntoIterator<Item = u8>) -> u64 {
    bytes.into_iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

/// CRC-32 of words as little-endian bytes, with which table II.6 of the standard names its test sequences.
fn crc32(words: &[u16]) -> u32 {
    let mut crc = u32::MAX;
    for byte in words.iter().flat_map(|word| word.to_le_bytes()) {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xEDB8_8320 & 0_u32.wrapping_sub(crc & 1));
        }
    }
    !crc
}

/// A sequence in the form of appendix II: 16 words that mean reset before it, and 16 after it.
fn framed(words: impl IntoIterator<Item = u16>) -> Vec<u16> {
    let mut out = vec![1; 16];
    out.extend(words);
    out.extend([1; 16]);
    out
}

/// Configuration 1 of appendix II: sub-band samples (both bands get the same) to codes, without the filter.
fn sub_bands_to_codes(words: &[u16]) -> Vec<u16> {
    let (mut low, mut high) = (Band::low(), Band::high());
    let code = |&word: &u16| {
        if word & 1 == 1 {
            (low, high) = (Band::low(), Band::high());
            return 1;
        }
        let sample = i32::from(word as i16 >> 1);
        let (code_low, code_high) = (low.code_low(sample), high.code_high(sample));
        low.take_low(code_low);
        high.take_high(code_high);
        u16::from((code_high << 6) | code_low) << 8
    };
    words.iter().map(code).collect()
}

/// Configuration 2 of appendix II: codes to samples of the lower and of the higher sub-band, without the filter.
fn codes_to_sub_bands(words: &[u16]) -> (Vec<u16>, Vec<u16>) {
    let (mut low, mut high) = (Band::low(), Band::high());
    let samples = |&word: &u16| {
        if word & 1 == 1 {
            (low, high) = (Band::low(), Band::high());
            return (1, 1);
        }
        let code = (word >> 8) as u8;
        let pair = (low.decode_low(code), high.decode_high(code >> 6));
        low.take_low(code);
        high.take_high(code >> 6);
        ((pair.0 << 1) as u16, (pair.1 << 1) as u16)
    };
    words.iter().map(samples).unzip()
}

/// T1C2, the encoder's overflow sequence (table II.3).
fn overflow_sequence() -> Vec<u16> {
    let first = [-16384, 16383].into_iter().cycle().take(639);
    let last = [-16384, 16383, -16384].into_iter().cycle().take(126);
    framed(first.chain([0, -10000, -8192]).chain(last).map(|sample: i16| (sample << 1) as u16))
}

/// T1D3, the decoder's artificial sequence (II.3.2 and table II.4): every code, the four that no encoder sends too.
fn artificial_sequence() -> Vec<u16> {
    const SIGNS: [&[u16]; 8] = [
        &[0, 0, 1],
        &[1, 1, 1, 1, 0, 0, 0, 0],
        &[1],
        &[1, 1, 0, 0],
        &[1, 0],
        &[0, 0, 0, 0, 0, 1, 0, 0],
        &[0, 0, 1, 0, 1],
        &[1, 1, 0, 0, 0],
    ];
    let word = |i: usize| {
        let (part, at) = (i / 2048, i % 2048);
        let sign = SIGNS[part][at % SIGNS[part].len()];
        let high = match part {
            0 | 6 => 1,
            2 | 4 => 0,
            1 => u16::from(at % 32 < 16),
            3 => u16::from(at % 16 < 8),
            5 => u16::from(at % 8 < 4),
            _ => u16::from(at % 4 < 2),
        };
        let (part, at) = (i / 256, i % 256);
        let value = 31 - (part / 2) as u16;
        let low = match (part, at % 32 < 16) {
            (63, false) => 3,
            (odd, false) if odd % 2 == 1 => value - 1,
            _ => value,
        };
        (sign << 15) | (high << 14) | (sign << 13) | (low << 8)
    };
    framed((0..16_384).map(word))
}

#[test]
fn standard_overflow_sequence_gives_the_standard_codes_and_samples() {
    let input = overflow_sequence();
    assert_eq!(crc32(&input), 0x2D60_4685, "bt1c2.xmt");
    let codes = sub_bands_to_codes(&input);
    assert_eq!(crc32(&codes), 0x344E_A5D0, "bt2r2.cod");
    let (low, high) = codes_to_sub_bands(&codes);
    assert_eq!(crc32(&low), 0xAF00_F31F, "bt3l2.rc1");
    assert_eq!(crc32(&high), 0x5330_AE2E, "bt3h2.rc0");
}

#[test]
fn standard_artificial_sequence_gives_the_standard_samples() {
    let codes = artificial_sequence();
    assert_eq!(crc32(&codes), 0x7398_964F, "bt1d3.cod");
    let (low, high) = codes_to_sub_bands(&codes);
    assert_eq!(crc32(&low), 0xA537_4659, "bt3l3.rc1");
    assert_eq!(crc32(&high), 0x3731_AD7F, "bt3h3.rc0");
}

/// The standard's filter written out (clause 5.2.1), with its limits, against full-scale input that overshoots them.
#[test]
fn sub_bands_are_limited_to_fifteen_bits() {
    const H: [i32; 12] = [3, -11, -11, 53, 12, -156, 32, 362, -210, -805, 951, 3876];
    let input = square(8, 4_000);
    let (mut low, mut high, mut limited) = (Band::low(), Band::high(), 0);
    let mut code = |newest: usize| {
        let (mut even, mut odd) = (0, 0);
        for i in 0..24 {
            let sample = newest.checked_sub(i).map_or(0, |at| i32::from(input[at]));
            *(if i % 2 == 0 { &mut even } else { &mut odd }) += H[i.min(23 - i)] * sample;
        }
        let [sum, difference] = [even + odd, even - odd].map(|sum| {
            limited += i32::from(!(-16_384..16_384).contains(&(sum >> 14)));
            (sum >> 14).clamp(-16_384, 16_383)
        });
        let (code_low, code_high) = (low.code_low(sum), high.code_high(difference));
        low.take_low(code_low);
        high.take_high(code_high);
        (code_high << 6) | code_low
    };
    let expected: Vec<u8> = (1..input.len()).step_by(2).map(&mut code).collect();
    assert!(limited > 100, "{limited} samples over the limits");
    assert_eq!(encode(&input), expected);
}

/// The hashes are of what FFmpeg 5.1 gives for the same samples (codec g722, `-f g722` and back with `-f s16le`).
#[test]
fn bytes_and_samples_are_those_of_ffmpeg() {
    let mut low = 0_i32;
    let samples: Vec<i16> = (0..)
        .zip(noise(16_000))
        .map(|(i, white): (usize, i16)| {
            let white = i32::from(white);
            low += (white - low) >> 3;
            [low >> 1, white >> 3, low >> 6, low, white >> 9][i / 800 % 5] as i16
        })
        .collect();
    let bytes = encode(&samples);
    assert_eq!(fnv1a(bytes.iter().copied()), 0x3c2f_4afe_7d35_a014);
    let decoded = decode(&bytes);
    assert_eq!(fnv1a(decoded.iter().flat_map(|sample| sample.to_le_bytes())), 0xa3da_9f32_0341_1b7f);
}

#[test]
fn tones_keep_their_level_and_stand_above_the_noise() {
    // Two below what was measured; six bits code the lower sub-band, two the higher one.
    let floors = [
        (300.0, 55.0),
        (1_000.0, 44.0),
        (2_000.0, 47.0),
        (3_000.0, 39.0),
        (3_700.0, 36.0),
        (4_000.0, 37.0),
        (4_300.0, 32.0),
        (5_000.0, 18.0),
        (6_000.0, 24.0),
        (6_500.0, 22.0),
    ];
    for (hz, floor) in floors {
        let (gain, snr) = gain_and_snr(hz, 3276.7);
        assert!(gain.abs() < 0.2, "gain of {hz} Hz: {gain:.3} dB");
        assert!(snr > floor, "signal to noise at {hz} Hz: {snr:.1} dB");
    }
}

#[test]
fn delay_is_22_samples() {
    let input = noise(8_000);
    let output = decode(&encode(&input));
    let match_at =
        |delay: usize| -> i64 { input.iter().zip(&output[delay..]).map(|(&x, &y)| i64::from(x) * i64::from(y)).sum() };
    assert_eq!((0..100).max_by_key(|&delay| match_at(delay)), Some(DELAY));
}

/// At the smallest scale the levels nearest to zero are one apart, so the coder hunts around zero by a few units.
#[test]
fn silence_stays_silent() {
    let before = [vec![], tone(440.0, 30_000.0, 8_000), tone(5_500.0, 30_000.0, 8_000), noise(8_000)];
    for (at, mut samples) in before.into_iter().enumerate() {
        let loud = samples.len();
        samples.resize(loud + 16_000, 0);
        let quiet = through(&samples).split_off(if loud > 0 { loud + 1_600 } else { 0 });
        let peak = quiet.iter().map(|x| x.unsigned_abs()).max();
        assert!(peak <= Some(4), "after signal {at}: {peak:?}");
        let power = quiet.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / quiet.len() as f64;
        let level = 10.0 * (power / 32_768_f64.powi(2)).log10();
        assert!(level < -80.0, "after signal {at}: {level:.1} dBFS");
    }
}

#[test]
fn full_scale_is_limited_and_never_wraps() {
    // The second: how far the slopes of a coded edge may lie from the edge, in samples.
    let signals: [(Vec<i16>, usize); 6] = [
        (square(1, 16_000), 0),
        (square(2, 16_000), 0),
        (square(8, 16_000), 0),
        (square(80, 16_000), 2),
        (noise(16_000), 0),
        (vec![i16::MIN; 16_000], 0),
    ];
    for (at, (input, slope)) in signals.into_iter().enumerate() {
        let output = through(&input);
        // A sample that wraps lands 65536 away; the error of coding stays at half of that.
        for i in 160..input.len() - slope {
            let error = |x: &i16| (i32::from(*x) - i32::from(output[i])).abs();
            let least = input[i - slope..=i + slope].iter().map(error).min();
            assert!(least < Some(36_000), "signal {at}, sample {i}: {} for {}", output[i], input[i]);
        }
    }
    for amplitude in [16_000.0, 32_767.0] {
        let (gain, snr) = gain_and_snr(1_000.0, amplitude);
        assert!(gain.abs() < 0.2 && snr > 45.0, "a tone of {amplitude}: {gain:.3} dB, {snr:.1} dB");
    }
}

#[test]
fn last_of_an_odd_number_is_left_out() {
    let samples = noise(321);
    assert_eq!(encode(&samples), encode(&samples[..320]));
    assert!(encode(&samples[..1]).is_empty());
}

#[test]
fn output_is_appended_into_the_room_that_is_there() {
    let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new());
    let (mut bytes, mut samples) = (Vec::with_capacity(321), Vec::with_capacity(642));
    bytes.push(7);
    samples.extend([8, 9]);
    let room = (bytes.capacity(), bytes.as_ptr(), samples.capacity(), samples.as_ptr());
    encoder.encode(&noise(640), &mut bytes);
    decoder.decode(&bytes[1..], &mut samples);
    assert_eq!(room, (bytes.capacity(), bytes.as_ptr(), samples.capacity(), samples.as_ptr()));
    assert_eq!((bytes.len(), bytes[0], samples.len(), samples[0], samples[1]), (321, 7, 642, 8, 9));
}

/// Cuts `items` into pieces of about the lengths given, multiples of `unit`, the rest in one.
fn pieces<'a, T>(items: &'a [T], lengths: &[usize], unit: usize) -> Vec<&'a [T]> {
    let mut rest = items;
    let mut out = Vec::new();
    for &length in lengths {
        let (piece, after) = rest.split_at((length * unit).min(rest.len()));
        out.push(piece);
        rest = after;
    }
    out.push(rest);
    out
}

/// Samples of every level, as whole-range noise hardly ever is quiet.
fn any_samples() -> impl Strategy<Value = Vec<i16>> {
    (0_u32..16, prop::collection::vec(any::<i16>(), 0..1_000))
        .prop_map(|(down, samples)| samples.into_iter().map(|sample| sample >> down).collect())
}

proptest! {
    #[test]
    fn any_samples_in_any_pieces_give_the_same_bytes(
        samples in any_samples(),
        lengths in prop::collection::vec(0_usize..400, 0..8),
    ) {
        let whole = encode(&samples);
        prop_assert_eq!(whole.len(), samples.len() / 2);
        let (mut encoder, mut bytes) = (Encoder::new(), Vec::new());
        for piece in pieces(&samples, &lengths, 2) {
            encoder.encode(piece, &mut bytes);
        }
        prop_assert_eq!(whole, bytes);
    }

    #[test]
    fn any_bytes_in_any_pieces_give_the_same_samples(
        payload in prop::collection::vec(any::<u8>(), 0..600),
        lengths in prop::collection::vec(0_usize..400, 0..8),
    ) {
        let whole = decode(&payload);
        prop_assert_eq!(whole.len(), 2 * payload.len());
        let (mut decoder, mut samples) = (Decoder::new(), Vec::new());
        for piece in pieces(&payload, &lengths, 1) {
            decoder.decode(piece, &mut samples);
        }
        prop_assert_eq!(whole, samples);
    }

    /// Extremes in runs drive the predictors to their limits; sums would overflow here, which debug builds check.
    #[test]
    fn runs_of_extremes_are_coded(
        runs in prop::collection::vec((prop::sample::select(vec![i16::MIN, -1, 0, 1, i16::MAX]), 1_usize..200), 0..20),
        codes in prop::collection::vec((any::<u8>(), 1_usize..400), 0..20),
    ) {
        let samples: Vec<i16> = runs.iter().flat_map(|&(sample, count)| std::iter::repeat_n(sample, count)).collect();
        prop_assert_eq!(through(&samples).len(), samples.len() & !1);
        let payload: Vec<u8> = codes.iter().flat_map(|&(code, count)| std::iter::repeat_n(code, count)).collect();
        prop_assert_eq!(decode(&payload).len(), 2 * payload.len());
    }
}
