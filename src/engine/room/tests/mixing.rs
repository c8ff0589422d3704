//! The interpreter's mix: the voice under the translation, both talking at once, the cue.

use super::*;

/// English A and Spanish B, who has these settings.
fn pair(more: &[(&str, &str)]) -> Call {
    let mut call = Call::new();
    call.join(A, config("en", &[("rate.in", "8000"), ("rate.out", "8000")]));
    let mut all = vec![("rate.in", "8000"), ("rate.out", "8000")];
    all.extend(more);
    call.join(B, config("es", &all));
    call.run(ms(100));
    call
}

/// B hears A's words for as long: 3000 is the translation.
fn talk(call: &mut Call, number: u64, length: usize) {
    call.segment(number, 3000, length);
}

#[test]
fn the_voice_goes_under_a_translation_and_comes_back() {
    for (mode, alone, covered) in [("off", 0, 0), ("under", 8000, 800), ("full", 8000, 8000)] {
        let mut call = pair(&[("original", mode), ("gain.under_db", "-20")]);
        call.voice = 8000;
        call.run(ms(1000));
        talk(&mut call, 1, 16_000);
        call.run(ms(4000));
        let ear = &call.ears[&B];
        let begin = ear.speech.iter().position(|s| *s != 0).expect("a translation");
        let end = ear.speech.iter().rposition(|s| *s != 0).expect("a translation");
        let at = |position: usize| ear.original[position];
        // 100 ms to fade, 300 ms that lie in the ring by then at most; it comes back after the gap between words.
        assert_eq!((at(begin - 800), at(begin + 3200), at(end)), (alone, covered, covered), "{mode}");
        assert_eq!((at(end + 2400), at(end + 8000)), (covered, alone), "{mode}");
        let steepest = ear.original[begin - 800..].windows(2).map(|w| (w[1] - w[0]).abs()).max().expect("samples");
        assert!(steepest < 20, "{mode}: a step of {steepest} would click");
    }
}

#[test]
fn the_mix_is_live() {
    let mut call = pair(&[]);
    call.voice = 8000;
    call.run(ms(500));
    assert!(call.ears[&B].original.iter().all(|s| *s == 0));
    let settings = config("es", &[("rate.in", "8000"), ("rate.out", "8000"), ("original", "under")]);
    call.input(Input::Set { session: B, config: settings });
    call.run(ms(500));
    assert_eq!(call.ears[&B].original.last(), Some(&8000));
}

#[test]
fn both_at_once_are_mixed_ducked_or_one_waits() {
    for (mode, heard) in [("mix", Some(3000)), ("duck", Some(754)), ("wait", None)] {
        let mut call = pair(&[("overlap", mode)]);
        call.voice = 5000;
        call.run(ms(1000));
        talk(&mut call, 1, 8000);
        call.run(ms(2000));
        let loudest = call.speech(B).iter().copied().max();
        match heard {
            // Ducked from the first sample on: it was talking before.
            Some(level) => assert!(loudest.is_some_and(|l: i16| (l - level).abs() < 40), "{mode}: {loudest:?}"),
            None => assert_eq!(loudest, None, "{mode}"),
        }
        call.voice = 0;
        call.run(ms(2500));
        talk(&mut call, 2, 8000);
        call.run(ms(2000));
        assert_eq!(call.speech(B).len(), 16_000, "{mode}: nothing is thrown away");
        assert_eq!(call.speech(B).last(), Some(&3000), "{mode}: as loud as ever once it is silent");
        assert!(call.lost().is_empty(), "{mode}");
    }
}

#[test]
fn what_waits_for_somebody_who_never_pauses_is_heard_before_any_is_lost() {
    let mut call = pair(&[("overlap", "wait"), ("playout.max_s", "6")]);
    call.voice = 5000;
    for number in 1..=12 {
        call.run(ms(1000));
        talk(&mut call, number, 8000);
    }
    call.run(ms(8000));
    assert!(call.lost().is_empty(), "{:?}", call.lost());
    assert!(call.speech(B).len() >= 9 * 8000, "{}", call.speech(B).len());
}

#[test]
fn an_echo_of_the_translation_holds_nothing_back() {
    let mut call = pair(&[("overlap", "wait")]);
    for number in 1..=3 {
        talk(&mut call, number, 8000);
        call.run(ms(600));
        // -20 dB of what is played.
        call.voice = 300;
    }
    call.run(ms(3000));
    let gaps = call.ears[&B].speech.split(|s| *s != 0).map(<[i16]>::len).skip(1).max();
    assert_eq!(call.speech(B).len(), 24_000);
    assert!(gaps.is_some_and(|gap| gap < 20_000), "{gaps:?}");
}

#[test]
fn a_soft_tick_tells_that_words_are_on_their_way() {
    for (setting, wanted) in [("silence", false), ("tick", true)] {
        let mut call = pair(&[("pending.cue", setting)]);
        call.run(ms(1000));
        assert!(call.ears[&B].original.iter().all(|s| *s == 0), "nobody has said anything");
        let now = call.now.as_millis() as u64;
        call.final_result(A, "some words", now - 80, now);
        call.run(ms(3000));
        let loudest = call.ears[&B].original.iter().map(|s| s.abs()).max().expect("samples");
        assert_eq!((100..400).contains(&loudest), wanted, "{setting}: {loudest}");
        call.translate(1, spanish(), "unas palabras");
        call.audio(1, spanish(), 3000, 8000);
        call.end(1, spanish());
        let before = call.ears[&B].original.len();
        call.run(ms(3000));
        let after = &call.ears[&B].original[before + 2400..];
        assert!(after.iter().all(|s| *s == 0), "{setting}: it has come");
    }
}
