//! Tests of the time-scale modifier: exact at speed 1, every sample accounted for, tones and coded words kept.

use std::f64::consts::TAU;

use proptest::prelude::*;

use super::*;
use crate::codec;

const RATES: [u32; 7] = [8_000, 11_025, 16_000, 22_050, 24_000, 44_100, 48_000];
const SPEEDS: [f32; 4] = [1.05, 1.10, 1.15, 1.25];

fn xorshift(state: &mut u32) -> u32 {
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    *state
}

fn sine(hz: u32, tone: f64, amplitude: f64, samples: usize) -> Vec<i16> {
    (0..samples).map(|i| (amplitude * (TAU * tone * i as f64 / f64::from(hz)).sin()).round() as i16).collect()
}

/// Something like speech: buzzes of changing pitch, hisses and pauses, 50 to 250 ms each, some at full scale.
fn babble(hz: u32, samples: usize, seed: u32) -> Vec<i16> {
    let mut state = seed | 1;
    let mut out = Vec::with_capacity(samples);
    while out.len() < samples {
        let length = (hz / 1000 * (50 + xorshift(&mut state) % 200)) as usize;
        let period = (hz / (80 + xorshift(&mut state) % 250)) as usize;
        let level = [300.0, 6_000.0, 33_000.0][xorshift(&mut state) as usize % 3];
        match xorshift(&mut state) % 3 {
            0 => out.extend((0..length).map(|i| {
                let phase = (i % period) as f64 / period as f64;
                (level * (-6.0 * phase).exp() * (TAU * 4.0 * phase).cos()) as i16
            })),
            1 => out.extend(
                (0..length).map(|_| (level * (f64::from(xorshift(&mut state)) / f64::from(u32::MAX) - 0.5)) as i16),
            ),
            _ => out.resize(out.len() + length, 0),
        }
    }
    out.truncate(samples);
    out
}

/// All of `input` in chunks of `chunk` samples.
fn stretched(hz: u32, speed: f32, input: &[i16], chunk: usize) -> Vec<i16> {
    let mut stretch = Stretch::new(hz);
    stretch.set_speed(speed);
    let mut out = Vec::new();
    for part in input.chunks(chunk) {
        stretch.process(part, &mut out);
    }
    stretch.finish(&mut out);
    out
}

/// The steepest step from one sample to the next.
fn steepest(samples: &[i16]) -> i32 {
    samples.windows(2).map(|pair| (i32::from(pair[1]) - i32::from(pair[0])).abs()).max().unwrap_or(0)
}

#[test]
fn at_speed_one_everything_passes_at_once() {
    for hz in RATES {
        let input = babble(hz, 2 * hz as usize, hz);
        let mut stretch = Stretch::new(hz);
        let mut out = Vec::new();
        let mut state = 7;
        let mut taken = 0;
        while taken < input.len() {
            let until = input.len().min(taken + xorshift(&mut state) as usize % 3000);
            stretch.process(&input[taken..until], &mut out);
            taken = until;
            assert_eq!((out.len(), stretch.pending()), (taken, 0), "{hz} Hz");
        }
        stretch.finish(&mut out);
        assert!(out == input, "{hz} Hz");
    }
}

#[test]
fn it_glides_into_another_speed_and_back_without_a_click() {
    for hz in RATES {
        for speed in [0.8, 1.05, 1.25] {
            let input = sine(hz, 180.0, 12_000.0, 3 * hz as usize);
            let (first, second) = (hz as usize, 2 * hz as usize);
            let mut stretch = Stretch::new(hz);
            let mut out = Vec::new();
            stretch.process(&input[..first], &mut out);
            assert!(out == input[..first]);
            stretch.set_speed(speed);
            stretch.process(&input[first..second], &mut out);
            assert!(stretch.pending() > 0 && stretch.pending() < hz as usize * 40 / 1000);
            let expected = hz as usize + (hz as f32 / speed) as usize;
            let hop = (Stretch::HOP_MS * hz / 1000) as usize;
            assert!((out.len() + stretch.pending()).abs_diff(expected) < 2 * hop, "{hz} Hz, {speed}");
            stretch.set_speed(1.0);
            let before = out.len();
            stretch.process(&input[second..], &mut out);
            assert_eq!(stretch.pending(), 0, "{hz} Hz, {speed}");
            // From the change on nothing is touched: also what was waiting comes out as it went in.
            let tail = out.len() - before;
            assert!(tail > hz as usize && out[before..] == input[input.len() - tail..], "{hz} Hz, {speed}");
            assert!(steepest(&out) <= steepest(&input) * 5 / 4, "{hz} Hz, {speed}: {}", steepest(&out));
        }
    }
}

/// Speeds that change for so short that nothing can be done at them are made up for, and then all is exact again.
#[test]
fn what_short_changes_owe_is_paid() {
    let hz = 16_000;
    let input = babble(hz, 20 * hz as usize, 3);
    let mut stretch = Stretch::new(hz);
    let mut out = Vec::new();
    let mut wanted = 0.0;
    for (i, frame) in input.chunks(320).enumerate() {
        let speed = if i % 2 == 0 { 1.25 } else { 1.0 };
        stretch.set_speed(speed);
        stretch.process(frame, &mut out);
        wanted += frame.len() as f64 / f64::from(speed);
        let off = (out.len() + stretch.pending()) as f64 - wanted;
        assert!(off.abs() <= f64::from(Stretch::HOP_MS * hz / 1000), "frame {i}: {off} samples");
    }
    stretch.set_speed(1.0);
    let rest = sine(hz, 200.0, 8_000.0, hz as usize);
    let before = out.len();
    stretch.process(&rest, &mut out);
    assert_eq!(stretch.pending(), 0);
    assert!(out[out.len() - 8_000..] == rest[rest.len() - 8_000..]);
    assert!(out.len() - before >= rest.len() - 640);
}

#[test]
fn silence_stays_silence_and_full_scale_does_not_wrap() {
    for hz in RATES {
        for speed in [0.8, 1.05, 1.25] {
            let samples = hz as usize;
            assert!(stretched(hz, speed, &vec![0; samples], 160).iter().all(|s| *s == 0), "{hz} Hz");
            for level in [i16::MAX, i16::MIN] {
                let out = stretched(hz, speed, &vec![level; samples], 160);
                assert!(out.iter().all(|s| (i32::from(*s) - i32::from(level)).abs() <= 1), "{hz} Hz, {level}");
            }
            // A wrap would be a step of 65,535 where the input has none.
            let loud = sine(hz, 150.0, 32_767.0, samples);
            assert!(steepest(&stretched(hz, speed, &loud, 160)) < 20_000, "{hz} Hz, {speed}");
        }
    }
}

#[test]
fn tones_keep_pitch_and_level() {
    for hz in [8_000, 16_000, 24_000, 48_000] {
        for speed in SPEEDS {
            for tone in [100.0, 143.0, 220.0, 317.0, 440.0, 700.0, 1000.0, 1333.0, 1800.0, 2210.0, 2600.0, 3000.0] {
                let input = sine(hz, tone, 10_000.0, 2 * hz as usize);
                let out = stretched(hz, speed, &input, 320);
                let found = frequency(&out, hz);
                assert!((found / tone - 1.0).abs() < 0.005, "{hz} Hz, {speed}: {tone} became {found}");
                // Every 40 ms for themselves: a dip at each splice would be heard as a flutter.
                for (i, block) in out.chunks_exact(hz as usize / 25).enumerate() {
                    let mean = block.iter().map(|s| f64::from(*s).powi(2)).sum::<f64>() / block.len() as f64;
                    let db = 10.0 * (mean / (10_000.0_f64.powi(2) / 2.0)).log10();
                    assert!(db.abs() < 0.5, "{hz} Hz, {speed}, {tone} Hz, block {i}: {db} dB");
                }
            }
        }
    }
}

/// By rising zero crossings, the first and last to a fraction of a sample.
fn frequency(samples: &[i16], hz: u32) -> f64 {
    let crossings: Vec<f64> = samples
        .windows(2)
        .enumerate()
        .filter(|(_, pair)| pair[0] < 0 && pair[1] >= 0)
        .map(|(i, pair)| i as f64 + f64::from(pair[0]) / (f64::from(pair[0]) - f64::from(pair[1])))
        .collect();
    let (first, last) = (crossings[0], crossings[crossings.len() - 1]);
    (crossings.len() - 1) as f64 * f64::from(hz) / (last - first)
}

/// Words without a pause but their own 40 ms: all of them whole and in order at every speed.
#[test]
fn coded_words_are_understood_at_every_speed() {
    for hz in [8_000, 16_000, 24_000, 48_000] {
        let mut input = Vec::new();
        let mut said = Vec::new();
        codec::silence(0.1, hz, &mut input);
        for i in 0..150 {
            let word = codec::Token::new(["en", "es", "de"][i % 3], (i * 2371 % 4096) as u16).expect("a word");
            said.push(word);
            codec::encode(word, hz, -12.0, &mut input);
            codec::silence(codec::GAP_S, hz, &mut input);
        }
        for speed in [0.8, 0.9, 1.05, 1.10, 1.15, 1.20, 1.25] {
            let out = stretched(hz, speed, &input, hz as usize / 50);
            let mut decoder = codec::Decoder::new(hz);
            let mut heard = decoder.feed(&out);
            heard.extend(decoder.finish());
            let words: Vec<_> = heard
                .iter()
                .filter_map(|heard| match heard {
                    codec::Heard::Word { token, .. } => Some(*token),
                    codec::Heard::Damaged { .. } => None,
                })
                .collect();
            let (whole, damaged) = (words.len(), heard.len() - words.len());
            assert!(words == said, "{hz} Hz, {speed}: {whole} words, {damaged} damaged");
        }
    }
}

/// Every word that there is: in some, two tones repeat themselves within a piece that might be left out.
#[test]
fn no_coded_word_is_torn() {
    let hz = 8_000;
    let word = |n| codec::Token::new("es", n).expect("a word");
    for speed in [1.15, 1.25] {
        let mut stretch = Stretch::new(hz);
        stretch.set_speed(speed);
        stretch.follow_pause();
        let (mut input, mut out) = (Vec::new(), Vec::new());
        for n in 0..codec::WORDS {
            codec::encode(word(n), hz, -12.0, &mut input);
            codec::silence(codec::GAP_S, hz, &mut input);
        }
        stretch.process(&input, &mut out);
        stretch.finish(&mut out);
        let heard = codec::Decoder::new(hz).feed(&out);
        let whole =
            |n: u16| matches!(heard.get(usize::from(n)), Some(codec::Heard::Word { token, .. }) if *token == word(n));
        assert_eq!((0..codec::WORDS).find(|n| !whole(*n)), None, "{speed}");
    }
}

#[test]
fn no_memory_is_taken_in_a_running_stream() {
    let mut stretch = Stretch::new(48_000);
    let room = |s: &Stretch| (s.input.capacity(), s.coarse.capacity(), s.places.capacity());
    let before = room(&stretch);
    let input = babble(48_000, 30 * 48_000, 5);
    let mut out = Vec::with_capacity(2 * input.len());
    for (i, part) in input.chunks(1_733).enumerate() {
        stretch.set_speed([1.0, 1.25, 0.8, 1.05][i / 40 % 4]);
        stretch.process(part, &mut out);
        assert_eq!(room(&stretch), before);
    }
    stretch.finish(&mut out);
    assert_eq!(room(&stretch), before);
}

#[test]
fn odd_speeds_are_made_into_allowed_ones() {
    let mut stretch = Stretch::new(16_000);
    for (asked, set) in
        [(f32::NAN, 1.0), (f32::INFINITY, 1.25), (f32::NEG_INFINITY, 0.8), (0.0, 0.8), (3.0, 1.25), (1.1, 1.1)]
    {
        stretch.set_speed(asked);
        assert_eq!(stretch.speed(), set);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn chunks_do_not_change_a_bit(
        rate in 0..RATES.len(),
        speed in 0.8_f32..1.25,
        seed: u32,
        chunks in prop::collection::vec(1_usize..4_000, 1..20),
    ) {
        let hz = RATES[rate];
        let input = babble(hz, 2 * hz as usize, seed);
        let mut stretch = Stretch::new(hz);
        stretch.set_speed(speed);
        let mut out = Vec::new();
        let mut rest = &input[..];
        for chunk in chunks.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (now, later) = rest.split_at(rest.len().min(*chunk));
            stretch.process(now, &mut out);
            rest = later;
        }
        stretch.finish(&mut out);
        prop_assert!(out == stretched(hz, speed, &input, 160));
        // And it is as new.
        let mut again = Vec::new();
        stretch.process(&input, &mut again);
        stretch.finish(&mut again);
        prop_assert!(again == out);
    }

    /// Lengths are as the speeds say, and `pending` tells where in the input the output is: the last sample is the one there.
    #[test]
    fn every_sample_is_accounted_for(
        rate in 0..RATES.len(),
        seed: u32,
        parts in prop::collection::vec((0.8_f32..1.25, any::<bool>(), 1_usize..9_000), 1..60),
    ) {
        let hz = RATES[rate];
        let input = babble(hz, parts.iter().map(|part| part.2).sum(), seed);
        let hop = f64::from(Stretch::HOP_MS * hz) / 1000.0;
        let mut stretch = Stretch::new(hz);
        let mut out = Vec::new();
        let (mut taken, mut wanted) = (0, 0.0);
        for (speed, plain, length) in parts {
            let speed = if plain { 1.0 } else { speed };
            stretch.set_speed(speed);
            stretch.process(&input[taken..taken + length], &mut out);
            taken += length;
            wanted += length as f64 / f64::from(speed);
            let off = (out.len() + stretch.pending()) as f64 - wanted;
            prop_assert!(off.abs() <= hop, "{off} of {hop} samples off at {hz} Hz");
            if let Some(last) = out.last() {
                let there = i32::from(input[taken - stretch.pending() - 1]);
                // The end of a fade is within a few hundredths of what it fades to.
                prop_assert!((i32::from(*last) - there).abs() <= 2_000, "{last} is not {there}");
            }
        }
        stretch.finish(&mut out);
        prop_assert!((out.len() as f64 - wanted).abs() <= hop);
        prop_assert_eq!(stretch.pending(), 0);
    }
}
