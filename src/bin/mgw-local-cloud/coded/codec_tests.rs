//! The codec against everything a telephone line does to audio, and the measured rate of false words.

use super::codec::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const RATES: [u32; 7] = [8000, 16000, 22050, 24000, 32000, 44100, 48000];

fn sentence(numbers: &[u16], lang: u8, rate: u32, db: f64) -> Vec<i16> {
    let mut pcm = Vec::new();
    silence(0.1, rate, &mut pcm);
    for n in numbers {
        encode(Token { lang, n: *n }, rate, db, &mut pcm);
        silence(GAP_S, rate, &mut pcm);
    }
    silence(0.1, rate, &mut pcm);
    pcm
}

fn decode(pcm: &[i16], rate: u32) -> Vec<Heard> {
    let mut decoder = Decoder::new(rate);
    let mut heard = decoder.feed(pcm);
    heard.extend(decoder.finish());
    heard
}

fn words(heard: &[Heard]) -> Vec<Token> {
    heard.iter().filter_map(|h| if let Heard::Word { token, .. } = h { Some(*token) } else { None }).collect()
}

fn tokens(numbers: &[u16], lang: u8) -> Vec<Token> {
    numbers.iter().map(|n| Token { lang, n: *n }).collect()
}

/// Windowed-sinc resampler, independent of anything the gateway uses.
fn resample(pcm: &[i16], from: u32, to: u32) -> Vec<i16> {
    let ratio = f64::from(from) / f64::from(to);
    let cutoff = (f64::from(to) / f64::from(from)).min(1.0) * 0.95;
    let reach = (24.0 / cutoff) as i64;
    (0..(pcm.len() as f64 / ratio) as usize)
        .map(|i| {
            let centre = i as f64 * ratio;
            let base = centre.floor() as i64;
            let mut sum = 0.0;
            for j in base - reach..=base + reach {
                let Some(x) = usize::try_from(j).ok().and_then(|j| pcm.get(j)) else {
                    continue;
                };
                let d = (j as f64 - centre) * std::f64::consts::PI;
                let sinc = if d.abs() < 1e-9 { cutoff } else { (d * cutoff).sin() / d };
                let hann = 0.5 + 0.5 * (d / (reach as f64 + 1.0)).cos();
                sum += f64::from(*x) * sinc * hann;
            }
            sum.round().clamp(-32768.0, 32767.0) as i16
        })
        .collect()
}

fn add(pcm: &mut [i16], rng: &mut ChaCha8Rng, noise_peak: f64, dc: f64) {
    for s in pcm {
        let noise = (rng.random::<f64>() * 2.0 - 1.0) * noise_peak;
        *s = (f64::from(*s) + noise + dc).round().clamp(-32768.0, 32767.0) as i16;
    }
}

#[test]
fn spelling_is_exact_and_forgiving() {
    for lang in 0..16 {
        for n in 0..WORDS {
            let token = Token { lang, n };
            assert_eq!(Token::parse(&token.text()), Some(token));
        }
    }
    assert_eq!(Token::parse("\"Enbako,\""), Token::parse("enbako"));
    assert!(Token::parse("ENBAKO.").is_some());
    for other in ["enbak", "hello", "enbaku", "zzbako", "enbakoo", "", "enbäko"] {
        assert_eq!(Token::parse(other), None, "{other}");
    }
}

#[test]
fn every_word_decodes_with_its_language_and_time() {
    let numbers: Vec<u16> = (0..WORDS).step_by(7).collect();
    let lang = 3;
    let pcm = sentence(&numbers, lang, 8000, -20.0);
    let heard = decode(&pcm, 8000);
    assert_eq!(words(&heard), tokens(&numbers, lang));
    assert_eq!(heard.len(), numbers.len(), "nothing damaged");
    for (i, h) in heard.iter().enumerate() {
        let Heard::Word { start, end, .. } = h else { panic!("damaged") };
        let truth = 0.1 + i as f64 * (TOKEN_S + GAP_S);
        assert!((start - truth).abs() < 0.004 && (end - truth - TOKEN_S).abs() < 0.004, "{start} {truth}");
    }
}

#[test]
fn rates_levels_noise_dc_and_resampling() {
    let numbers = [0, 1, 2, 63, 64, 777, 2048, 4095];
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    for rate in RATES {
        for db in [-40.0, -20.0, -6.0, 0.0] {
            for (noise, dc) in [(0.0, 0.0), (0.1, 0.0), (0.1, 1500.0), (0.0, -3000.0)] {
                let mut pcm = sentence(&numbers, 1, rate, db);
                let peak = 32767.0 * 10_f64.powf(db / 20.0);
                add(&mut pcm, &mut rng, noise * peak, dc);
                assert_eq!(words(&decode(&pcm, rate)), tokens(&numbers, 1), "{rate} Hz {db} dB noise {noise} dc {dc}");
            }
        }
    }
    for (from, to) in [(8000, 16000), (8000, 48000), (16000, 8000), (24000, 16000), (48000, 8000), (24000, 8000)] {
        let pcm = resample(&sentence(&numbers, 1, from, -20.0), from, to);
        assert_eq!(words(&decode(&pcm, to)), tokens(&numbers, 1), "{from} -> {to}");
        let back = resample(&pcm, to, from);
        assert_eq!(words(&decode(&back, from)), tokens(&numbers, 1), "{from} -> {to} -> {from}");
    }
}

#[test]
fn chunking_does_not_matter() {
    let numbers: Vec<u16> = (100..120).collect();
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    for rate in [8000, 22050, 48000] {
        let pcm = sentence(&numbers, 0, rate, -12.0);
        let whole = decode(&pcm, rate);
        for largest in [1, 7, 161, 5000] {
            let mut decoder = Decoder::new(rate);
            let mut heard = Vec::new();
            let mut rest = &pcm[..];
            while !rest.is_empty() {
                let (a, b) = rest.split_at(rng.random_range(1..=largest).min(rest.len()));
                heard.extend(decoder.feed(a));
                rest = b;
            }
            heard.extend(decoder.finish());
            assert_eq!(heard, whole);
        }
    }
}

#[test]
fn stays_inside_the_telephone_band() {
    let rate = 16000;
    let mut pcm = Vec::new();
    for n in 0..200 {
        encode(Token { lang: 0, n: n * 20 }, rate, 0.0, &mut pcm);
        silence(GAP_S, rate, &mut pcm);
    }
    // Power by a plain DFT over 32 ms Hann windows, in and out of 300-3400 Hz.
    let (mut inside, mut outside) = (0.0, 0.0);
    for block in pcm.chunks_exact(512).step_by(8) {
        for k in 0..256 {
            let w = std::f64::consts::TAU * f64::from(k) / 512.0;
            let (re, im) = block.iter().enumerate().fold((0.0, 0.0), |(re, im), (i, s)| {
                let x = f64::from(*s) * (0.5 - 0.5 * (std::f64::consts::TAU * i as f64 / 512.0).cos());
                (re + x * (w * i as f64).cos(), im + x * (w * i as f64).sin())
            });
            let power = re * re + im * im;
            let hz = f64::from(k) * 31.25;
            if (300.0..=3400.0).contains(&hz) { inside += power } else { outside += power }
        }
    }
    assert!(outside < inside * 0.001, "{:.1} dB outside", 10.0 * f64::log10(outside / inside));
}

/// What damage does: never a word that was not said; and whether it was noticed as damage.
#[test]
fn damage_never_makes_another_word() {
    let mut rng = ChaCha8Rng::seed_from_u64(99);
    let (mut tried, mut wrong, mut survived, mut reported) = (0, 0, 0, 0);
    for rate in [8000_u32, 16000] {
        for _ in 0..600 {
            let numbers: Vec<u16> = (0..3).map(|_| rng.random_range(0..WORDS)).collect();
            let pcm = sentence(&numbers, 1, rate, -20.0);
            let ten = rate as usize / 100;
            // Cut so that at least 5 ms of the loss lie inside the middle token.
            let token = ((0.1 + TOKEN_S + GAP_S) * f64::from(rate)) as usize;
            let at = token + rng.random_range(0..(TOKEN_S * f64::from(rate)) as usize - ten);
            let damaged: Vec<Vec<i16>> = vec![
                [&pcm[..at], &pcm[at + ten..]].concat(),
                [&pcm[..at + ten], &pcm[at..]].concat(),
                [&pcm[..at], &pcm[at + 2 * ten..]].concat(),
                [&pcm[..at + 2 * ten], &pcm[at..]].concat(),
            ];
            for pcm in damaged {
                tried += 1;
                let heard = decode(&pcm, rate);
                let got = words(&heard);
                wrong += got.iter().filter(|t| t.lang != 1 || !numbers.contains(&t.n)).count();
                if got.len() == 3 {
                    survived += 1;
                }
                if heard.iter().any(|h| matches!(h, Heard::Damaged { .. })) {
                    reported += 1;
                }
            }
        }
    }
    assert_eq!(wrong, 0, "wrong words in {tried} damaged tokens");
    // A START or END made longer, or cut by a millisecond or two, still leaves the right word: that is no error.
    assert!(survived * 10 < tried, "{survived} of {tried} damaged tokens still read");
    assert!((reported + survived) * 100 >= tried * 95, "{reported} of {tried} reported");
}

#[test]
fn an_ear_for_stretched_speech_misses_a_period_and_no_more() {
    let rate = 8000;
    // (samples left out of the second word at each of two places, whether it is whole to both ears)
    for (out, strict, patient) in
        [(0, true, true), (20, false, true), (28, false, true), (64, false, false), (80, false, false)]
    {
        let pcm = sentence(&[1, 226, 3], 0, rate, -20.0);
        let token = ((0.1 + TOKEN_S + GAP_S) * f64::from(rate)) as usize;
        let mut cut = pcm[..token + 440].to_vec();
        cut.extend_from_slice(&pcm[token + 440 + out..token + 760]);
        cut.extend_from_slice(&pcm[token + 760 + out..]);
        for (mut decoder, whole) in [(Decoder::new(rate), strict), (Decoder::of_stretched(rate), patient)] {
            let mut heard = decoder.feed(&cut);
            heard.extend(decoder.finish());
            let wanted: &[u16] = if whole { &[1, 226, 3] } else { &[1, 3] };
            assert_eq!(words(&heard), tokens(wanted, 0), "{out} samples twice: {heard:?}");
            let damaged = heard.iter().any(|h| matches!(h, Heard::Damaged { .. }));
            assert_eq!(damaged, !whole, "{out} samples twice");
        }
    }
}

#[test]
fn byte_swapped_halved_and_overlapped_audio_gives_no_word() {
    let numbers: Vec<u16> = (0..200).map(|i| i * 20).collect();
    for rate in [8000, 16000] {
        let pcm = sentence(&numbers, 0, rate, -20.0);
        let swapped: Vec<i16> = pcm.iter().map(|s| s.swap_bytes()).collect();
        assert_eq!(words(&decode(&swapped, rate)), []);
        assert_eq!(words(&decode(&pcm, rate * 2)), [], "the wrong rate");
        let reversed: Vec<i16> = pcm.iter().rev().copied().collect();
        assert_eq!(words(&decode(&reversed, rate)), []);
        let other = sentence(&numbers.iter().map(|n| n + 7).collect::<Vec<_>>(), 1, rate, -20.0);
        let shift = (0.03 * f64::from(rate)) as usize;
        let mixed: Vec<i16> = pcm[shift..].iter().zip(&other).map(|(a, b)| a / 2 + b / 2).collect();
        assert_eq!(words(&decode(&mixed, rate)), [], "two voices at one level");
    }
}

/// Symbols at random places on the right grid: the worst case for the checksum.
#[test]
fn false_accept_rate() {
    let rate = 8000;
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let mut random_symbols = 0;
    for _ in 0..200_000_u32 {
        // START and END are right and the five symbols are random: only the CRC is left.
        let symbols: [u8; 5] = std::array::from_fn(|_| rng.random_range(0..64));
        random_symbols += u32::from(Token::accepts(&symbols));
    }
    // Expected 200000 / 2^14 = 12.2; six sigma above is 33.
    assert!(random_symbols <= 33, "{random_symbols} of 200000 random symbol strings accepted");

    let noise: Vec<i16> = (0..rate as usize * 60).map(|_| rng.random_range(-8000..8000)).collect();
    assert_eq!(decode(&noise, rate), [], "a minute of noise");
    let mut wrong = 0;
    for _ in 0..400 {
        let (n, m) = (rng.random_range(0..WORDS), rng.random_range(0..WORDS));
        // The cut lies between two data symbols, on the grid: only the CRC can tell.
        let cut = 800 + rng.random_range(2..6) * 160;
        let spliced = [&sentence(&[n], 0, rate, -20.0)[..cut], &sentence(&[m], 1, rate, -20.0)[cut..]].concat();
        let said = [Token { lang: 0, n }, Token { lang: 1, n: m }];
        wrong += words(&decode(&spliced, rate)).iter().filter(|t| !said.contains(t)).count();
    }
    assert!(wrong <= 1, "{wrong} wrong words out of 400 spliced tokens, expected 0.02");
}
