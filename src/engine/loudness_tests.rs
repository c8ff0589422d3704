//! Tests of the meter and the leveller: loudness reached soon and held, nothing clipped, nothing pumped up.

use std::f64::consts::TAU;

use proptest::prelude::*;

use super::*;

fn sine(hz: u32, tone: f64, peak: f64, samples: usize) -> Vec<i16> {
    (0..samples).map(|i| (peak * (TAU * tone * i as f64 / f64::from(hz)).sin()).round() as i16).collect()
}

/// Words of different loudness with pauses between them: 300 ms of a voice at `db` dBFS on average, 150 ms of noise.
fn talk(hz: u32, db: f64, seconds: f64) -> Vec<i16> {
    let peak = 32_768.0 * 10.0_f64.powf(db / 20.0) * 2.0_f64.sqrt();
    let mut out = Vec::new();
    let mut word = 0;
    while out.len() < (seconds * f64::from(hz)) as usize {
        // 0, -4 and +2.6 dB: a mean power of 1.
        let share = [1.0, 0.63, 1.35][word % 3] / 1.04;
        out.extend(sine(hz, 180.0 + 20.0 * (word % 5) as f64, (peak * share).min(32_700.0), hz as usize * 3 / 10));
        out.extend((0..hz as usize * 15 / 100).map(|i| ((i * 7919) % 41) as i16 - 20));
        word += 1;
    }
    out
}

fn rms_db(samples: &[i16]) -> f32 {
    10.0 * (power(samples) / samples.len() as f32 / (32_768.0 * 32_768.0)).log10()
}

/// The level of the blocks that are speech, measured in another way than by the meter: all within 30 dB of the loudest.
fn active_db(samples: &[i16], hz: u32) -> f32 {
    let blocks: Vec<f32> = samples.chunks_exact(hz as usize / 50).map(|b| power(b) / b.len() as f32).collect();
    let loudest = blocks.iter().copied().fold(0.0, f32::max);
    let active: Vec<f32> = blocks.into_iter().filter(|b| *b > loudest * 1e-3).collect();
    10.0 * (active.iter().sum::<f32>() / active.len() as f32 / (32_768.0 * 32_768.0)).log10()
}

/// Everything through meter and leveller, the meter `ahead` samples in front.
fn levelled(hz: u32, input: &[i16], ahead: usize, own: f32) -> Vec<i16> {
    let (mut meter, mut leveller) = (Meter::default(), Leveller::new(own));
    let (mut out, mut heard) = (Vec::new(), 0);
    leveller.begin(hz, None);
    for (i, piece) in input.chunks(hz as usize / 100).enumerate() {
        let until = input.len().min((i + 1) * (hz as usize / 100) + ahead);
        meter.hear(&input[heard..until], hz);
        heard = until;
        leveller.aim(Some(&meter));
        leveller.process(piece, meter.is_known(), &mut out);
    }
    leveller.finish(true, &mut out);
    out
}

#[test]
fn every_voice_is_at_its_loudness_after_200_ms_and_stays_there() {
    for hz in [8000, 16_000, 24_000, 48_000] {
        for db in [-39.0, -33.0, -26.0, -20.0, -14.0, -9.0_f64] {
            let input = talk(hz, db, 12.0);
            // The synthesiser is 100 ms ahead of the ear.
            let out = levelled(hz, &input, hz as usize / 10, 1.0);
            assert_eq!(out.len(), input.len());
            let at = |ms: usize| hz as usize * ms / 1000;
            // The first word is as loud as the voice is on average.
            let first = rms_db(&out[at(200)..at(300)]);
            assert!((first - GOAL_DB).abs() < 3.0, "{hz} Hz, {db} dB: {first} dB after 200 ms");
            for second in 1..10 {
                let level = active_db(&out[at(second * 1000)..at(second * 1000 + 1800)], hz);
                assert!((level - GOAL_DB).abs() < 2.0, "{hz} Hz, {db} dB: {level} dB in second {second}");
            }
        }
    }
}

#[test]
fn noise_between_the_words_is_not_pumped_up() {
    let (hz, db) = (16_000, -35.0);
    let out = levelled(hz, &talk(hz, db, 10.0), 1600, 1.0);
    let input = talk(hz, db, 10.0);
    let pauses = |samples: &[i16]| -> Vec<f32> {
        let words = samples.chunks_exact(hz as usize * 45 / 100).skip(3);
        words.map(|word| rms_db(&word[hz as usize * 32 / 100..])).collect()
    };
    for (before, after) in pauses(&input).into_iter().zip(pauses(&out)) {
        assert!((after - before - 15.0).abs() < 3.0, "by as much as the words: {before} dB became {after}");
    }
    // A voice that says nothing but noise is left as it is.
    let noise: Vec<i16> = (0..32_000).map(|i| ((i * 7919) % 41) as i16 - 20).collect();
    assert_eq!(levelled(hz, &noise, 0, 1.0), noise);
}

#[test]
fn a_peak_is_held_down_before_it_comes_and_without_a_step() {
    let hz = 16_000;
    // A faint voice, and in it suddenly full scale.
    let mut input = sine(hz, 200.0, 700.0, 2 * hz as usize);
    input.extend(sine(hz, 200.0, 32_767.0, hz as usize / 5));
    input.extend(sine(hz, 200.0, 700.0, 2 * hz as usize));
    let out = levelled(hz, &input, 0, 1.0);
    let full = |samples: &[i16]| samples.iter().filter(|s| s.unsigned_abs() >= 32_767).count();
    assert!(full(&out) <= full(&input), "nothing is clipped: {} of {}", full(&out), full(&input));
    // Gains between neighbouring periods change smoothly: no period has more than 2.2 times the peak ratio of the last.
    let gains: Vec<f32> = input
        .chunks_exact(80)
        .zip(out.chunks_exact(80))
        .map(|(a, b)| (power(b).max(1.0) / power(a).max(1.0)).sqrt())
        .collect();
    assert!(gains.windows(2).all(|g| g[1] <= g[0] * 1.6), "it comes back slowly");
    let late = *gains.last().expect("periods");
    assert!(late > 2.0, "and it does come back: {late}");
}

#[test]
fn without_normalising_and_gain_all_passes_at_once_bit_exact() {
    let input: Vec<i16> = (0..8000).map(|i| ((i * 7919) % 65_536 - 32_768) as i16).collect();
    let mut leveller = Leveller::new(1.0);
    leveller.begin(16_000, None);
    leveller.aim(None);
    let mut out = Vec::new();
    for piece in input.chunks(37) {
        leveller.process(piece, false, &mut out);
    }
    assert_eq!(out, input);
    // Switched on and off again in mid-sentence, it comes back to that.
    let mut meter = Meter::default();
    meter.hear(&sine(16_000, 200.0, 1000.0, 16_000), 16_000);
    for (on, seconds) in [(true, 8), (false, 8)] {
        leveller.aim(on.then_some(&meter));
        let before = out.len();
        let tone = sine(16_000, 200.0, 1000.0, 16_000 * seconds);
        leveller.process(&tone, true, &mut out);
        let last = &out[out.len() - 800..];
        assert!((rms_db(last) - if on { GOAL_DB } else { -33.3 }).abs() < 0.6, "{on}: {}", rms_db(last));
        assert!(on || (out.len() >= before + tone.len() && out[out.len() - 800..] == tone[tone.len() - 800..]));
    }
}

#[test]
fn the_listeners_own_gain_is_applied_after_it_and_moves_in_10_ms() {
    let hz = 16_000;
    for db in [-12.0_f32, -6.0, 6.0] {
        let own = 10.0_f32.powf(db / 20.0);
        let out = levelled(hz, &talk(hz, -30.0, 6.0), 1600, own);
        let level = active_db(&out[2 * hz as usize..5 * hz as usize], hz);
        assert!((level - GOAL_DB - db).abs() < 2.0, "{db}: {level}");
    }
    let mut leveller = Leveller::new(1.0);
    leveller.begin(hz, None);
    leveller.aim(None);
    let mut out = Vec::new();
    leveller.process(&[10_000; 1600], true, &mut out);
    leveller.set_own(0.0, std::time::Duration::ZERO);
    leveller.process(&[10_000; 1600], true, &mut out);
    assert!(out.windows(2).all(|w| (w[0] - w[1]).abs() < 200), "steps would click");
    assert_eq!(out[1600 + 161..].iter().map(|s| s.abs()).max(), Some(0));
}

#[test]
fn a_voice_that_is_known_begins_at_its_loudness() {
    let hz = 8000;
    let mut meter = Meter::default();
    let input = talk(hz, -36.0, 5.0);
    meter.hear(&input, hz);
    let mut leveller = Leveller::new(1.0);
    leveller.begin(hz, None);
    leveller.aim(Some(&meter));
    let voice = leveller.voice_db();
    let mut out = Vec::new();
    leveller.process(&input, true, &mut out);
    leveller.finish(true, &mut out);
    // Another voice spoke in between.
    leveller.begin(16_000, Some(3.0));
    leveller.process(&[1000; 500], true, &mut Vec::new());
    leveller.finish(true, &mut Vec::new());
    leveller.begin(hz, voice);
    let mut again = Vec::new();
    leveller.process(&input[..800], true, &mut again);
    leveller.finish(true, &mut again);
    assert!((rms_db(&again[..400]) - rms_db(&out[..400])).abs() < 1.0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever comes in whatever pieces: as many samples, none clipped, the same for any cutting.
    #[test]
    fn nothing_is_lost_or_clipped(
        levels in prop::collection::vec((0.0f64..32_700.0, 1usize..4000), 1..12),
        pieces in prop::collection::vec(1usize..900, 1..10),
        own in 0.1f32..4.0,
    ) {
        let hz = 16_000;
        let input: Vec<i16> = levels.iter().flat_map(|(peak, length)| sine(hz, 230.0, *peak, *length)).collect();
        let mut meter = Meter::default();
        meter.hear(&input, hz);
        let run = |pieces: &mut dyn Iterator<Item = usize>| {
            let mut leveller = Leveller::new(own);
            leveller.begin(hz, None);
            leveller.aim(Some(&meter));
            let (mut out, mut rest) = (Vec::new(), &input[..]);
            while !rest.is_empty() {
                let (now, later) = rest.split_at(rest.len().min(pieces.next().unwrap_or(1)));
                leveller.process(now, meter.is_known(), &mut out);
                rest = later;
            }
            leveller.finish(meter.is_known(), &mut out);
            out
        };
        let out = run(&mut pieces.iter().copied().cycle());
        prop_assert_eq!(out.len(), input.len());
        prop_assert!(out.iter().all(|s| s.unsigned_abs() <= 32_750), "{:?}", out.iter().max());
        prop_assert_eq!(out, run(&mut std::iter::repeat(160)));
    }
}
