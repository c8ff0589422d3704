//! Silence and pauses: what is left out, what is kept, and what is never written.

use super::*;

const HZ: u32 = 8000;

/// A sound without a pause.
fn tone(length: u64, rate: u32, peak: f64) -> Vec<i16> {
    let count = length * u64::from(rate) / 1000;
    (0..count).map(|i| (peak * (i as f64 * 1400.0 / f64::from(rate)).sin()).round() as i16).collect()
}

#[test]
fn silence_at_both_ends_is_trimmed_and_counted() {
    for rate in [8000, 16_000, 24_000] {
        let mut desk = Desk::new(HZ);
        let audio = [silence(300, rate), tone(500, rate, 5000.0), silence(400, rate)].concat();
        desk.push(1, A, (0, 500), 0, rate);
        desk.audio(1, &audio, true);
        desk.run(1500);
        let heard = &desk.ended[0];
        accounted(heard, audio.len(), HZ, false);
        // 20 ms stay at each end.
        assert!(heard.length.abs_diff(ms(540)) <= ms(10), "{rate} Hz: {:?}", heard.length);
        assert!(heard.treatment.trimmed().abs_diff(ms(660)) <= ms(10), "{:?}", heard.treatment);
        assert!(desk.heard.iter().filter(|s| s.unsigned_abs() > 2500).count() > 2000, "the sound is there");
    }
}

#[test]
fn leading_silence_costs_nothing_while_it_streams_in() {
    let mut desk = Desk::new(HZ);
    desk.push(1, A, (0, 1000), 0, HZ);
    // 400 ms of silence in crumbs at twice real time, then sound.
    for _ in 0..20 {
        desk.audio(1, &silence(20, HZ), false);
        desk.run(10);
    }
    assert_eq!((desk.spoken, desk.ring.len()), (0, 0), "nothing is given yet");
    desk.audio(1, &tone(60, HZ, 5000.0), false);
    assert!(desk.ring.len() >= 60 * 8, "the first sound goes out as it comes: {}", desk.ring.len());
    let edge = desk.ring.iter().take_while(|s| **s == 0).count();
    assert!((150..=170).contains(&edge), "after 20 ms of silence: {edge} samples");
}

#[test]
fn a_quiet_onset_is_not_cut() {
    // A hiss 25 dB below the voice, 80 ms before it: the f of a word.
    let mut desk = Desk::new(HZ);
    let hiss: Vec<i16> = (0..640).map(|i| ((i * 7919) % 481 - 240) as i16).collect();
    let loud = tone(500, HZ, 6000.0);
    for id in 1..=2 {
        desk.push(id, A, (0, 9000), 0, HZ);
        desk.audio(id, &[silence(200, HZ), hiss.clone(), loud.clone(), hiss.clone(), silence(200, HZ)].concat(), true);
    }
    desk.run(3000);
    for heard in &desk.ended {
        assert!(heard.treatment.trimmed() <= ms(360 + 10), "{:?}", heard.treatment);
    }
    let hissed = desk.heard.windows(hiss.len()).filter(|w| *w == &hiss[..]).count();
    assert_eq!(hissed, 4, "every onset and every ending, bit for bit");
}

#[test]
fn a_segment_of_nothing_but_silence_holds_nobody_up() {
    let mut desk = Desk::new(HZ);
    desk.push(1, A, (0, 500), 0, HZ);
    desk.push(2, A, (500, 1000), 0, HZ);
    desk.audio(1, &silence(900, HZ), true);
    desk.audio(2, &tone(300, HZ, 4000.0), true);
    desk.run(600);
    assert_eq!(desk.ended.iter().map(|h| (h.segment.0, h.complete)).collect::<Vec<_>>(), [(1, true), (2, true)]);
    accounted(&desk.ended[0], 7200, HZ, false);
    assert!(desk.heard[..HZ as usize / 10].iter().any(|s| *s != 0), "the second begins at once");
}

/// (the speaker's pause, what is heard of it when there is time)
#[test]
fn the_speakers_pauses_are_kept_and_never_written() {
    for (said, want) in [(0, 80), (50, 80), (200, 200), (390, 390), (3000, 400)] {
        let mut desk = Desk::new(HZ);
        // Said long, spoken short: there is time.
        for id in 1..=4 {
            desk.push(id, A, (id * 9000, id * 9000 + 9000), said, HZ);
            desk.audio(id, &tone(300, HZ, 5000.0), true);
        }
        desk.run(4000);
        assert_eq!(desk.spoken, 4 * 300 * 8, "only sound is written");
        let silences = desk.silences(HZ);
        assert_eq!(silences.len(), 3);
        for heard in silences {
            assert!(heard.abs_diff(want) <= 21, "{said} ms said, {want} wanted, {heard} heard");
        }
    }
}

#[test]
fn a_pause_is_as_long_for_whoever_pulls() {
    // 60 ms at a time: in frames of 20 ms the pause is a multiple of what is pulled, and never less than is due.
    for frame in [80, 160, 240, 480] {
        let mut desk = Desk::new(HZ);
        desk.frame = frame;
        for id in 1..=2 {
            desk.push(id, A, (id * 9000, id * 9000 + 9000), 240, HZ);
            desk.audio(id, &tone(301, HZ, 5000.0), true);
        }
        desk.run(8000);
        let silences = desk.silences(HZ);
        let off = (frame / 8).max(12);
        assert!(silences.len() == 1 && silences[0].abs_diff(240) <= off, "{frame}: {silences:?}");
    }
}

#[test]
fn another_voice_begins_after_a_breath_and_a_flush_leaves_no_pause_behind() {
    let mut desk = Desk::new(HZ);
    for (id, voice) in [(1, A), (2, B), (3, A)] {
        desk.push(id, voice, (0, 9000), 2000, HZ);
        desk.audio(id, &tone(300, HZ, 5000.0), true);
    }
    desk.run(3000);
    assert!(desk.silences(HZ).iter().all(|s| s.abs_diff(120) <= 21), "{:?}", desk.silences(HZ));
    desk.push(4, A, (0, 9000), 0, HZ);
    desk.audio(4, &tone(300, HZ, 5000.0), true);
    desk.run(100);
    desk.flush();
    desk.push(5, A, (0, 9000), 400, HZ);
    desk.audio(5, &tone(300, HZ, 5000.0), true);
    assert!(desk.ring.len() > desk.skip, "at once");
}

#[test]
fn pauses_inside_are_cut_before_anything_is_stretched() {
    // 300 ms of pause after every 600 ms; what was said took (all of it, a little less, much less).
    for (speech, cut, stretched) in [(6000, false, false), (5040, true, false), (3000, true, true)] {
        let mut desk = Desk::new(HZ);
        desk.push(1, A, (0, speech), 0, HZ);
        let audio: Vec<i16> = (0..6).flat_map(|_| [tone(600, HZ, 5000.0), silence(300, HZ)].concat()).collect();
        desk.audio(1, &audio, true);
        desk.run(7000);
        let heard = &desk.ended[0];
        accounted(heard, audio.len(), HZ, false);
        let t = &heard.treatment;
        assert_eq!((t.cut > 0, t.speed() > 1.01), (cut, stretched), "{speech}: {t:?}");
        // 120 ms of it stay, and the stretcher takes of that what it takes of all.
        let least = if stretched { 75 } else { 118 };
        assert!(desk.silences(HZ).iter().all(|s| *s >= least), "none goes altogether: {:?}", desk.silences(HZ));
        assert_eq!(t.pause_cut(), span(t.cut, HZ));
        if !stretched {
            // Sound is untouched: each of the six, bit for bit.
            let whole = tone(600, HZ, 5000.0);
            assert_eq!(desk.heard.windows(whole.len()).filter(|w| *w == &whole[..]).count(), 6);
        }
    }
}
