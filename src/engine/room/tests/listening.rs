//! What is heard and when: playout, absence, flushes, rates, drift.

use super::*;

#[test]
fn first_audio_is_forwarded_before_the_segment_is_complete() {
    let mut call = Call::pair();
    call.final_result(A, "hello", 0, 80);
    call.translate(1, spanish(), "hola");
    call.audio(1, spanish(), 900, 2000);
    // Not even a tick is needed.
    assert_eq!(call.ears[&B].speech_ring.len(), 960, "the lead of 120 ms");
}

#[test]
fn bursts_are_held_and_what_is_beyond_the_limit_is_reported() {
    let mut call = Call::new();
    call.join(A, config("en", &[("rate.in", "8000")]));
    call.join(B, config("es", &[("rate.out", "8000"), ("playout.max_s", "5")]));
    call.run(ms(100));
    for n in 1..=9 {
        call.final_result(A, "word", n * 100, n * 100 + 50);
        call.translate(n, spanish(), "palabra");
        // 1 s each, all at once.
        call.audio(n, spanish(), n as i16 * 100, 8000);
        call.end(n, spanish());
    }
    call.run(ms(12_000));
    let heard = call.speech(B);
    let lost = call.lost();
    assert!(!lost.is_empty() && lost.iter().all(|s| *s == "playout"), "{lost:?}");
    assert_eq!(heard.len(), (9 - lost.len()) * 8000, "heard whole or not at all");
    assert!(heard.is_sorted(), "in order");
    assert_eq!(heard[0], 100, "what sounds is never cut");
}

#[test]
fn an_absent_listener_costs_nothing_misses_what_is_said_and_comes_back_to_the_live_edge() {
    let mut call = Call::pair();
    call.segment(1, 100, 80_000);
    call.run(ms(1000));
    call.ears.get_mut(&B).unwrap().awake = false;
    call.run(ms(600));
    assert_eq!(call.kinds(|k| matches!(k, EventKind::ListenerAbsent { .. })), 1);
    assert_eq!(call.lost(), ["playout"], "the segment that sounded");
    let asked = call.translations();
    call.final_result(A, "missed words", 1500, 1600);
    assert_eq!(call.translations(), asked, "nothing is translated for nobody");
    assert_eq!(call.lost().len(), 2);
    call.run(ms(10_000));
    call.ears.get_mut(&B).unwrap().awake = true;
    call.run(ms(100));
    let back = call.events.iter().find_map(|(_, k)| match k {
        EventKind::ListenerBack { missed, .. } => Some(*missed),
        _ => None,
    });
    assert_eq!(back, Some(2));
    let before = call.ears[&B].speech.len();
    call.segment(3, 300, 800);
    call.run(ms(500));
    let heard: Vec<i16> = call.ears[&B].speech[before..].iter().copied().filter(|s| *s != 0).collect();
    assert_eq!(heard, vec![300; 800], "only what was said since");
}

#[test]
fn a_flush_silences_at_once_and_says_what_was_not_heard() {
    let mut call = Call::pair();
    call.segment(1, 100, 8000);
    call.run(ms(100));
    call.segment(2, 200, 8000);
    call.run(ms(100));
    call.input(Input::Command { session: B, verb: Verb::Flush });
    call.run(ms(1500));
    let heard = call.speech(B);
    assert!(heard.len() < 2000 && heard.iter().all(|s| *s == 100), "{}", heard.len());
    assert_eq!(call.lost(), ["playout", "playout"]);
    assert_eq!(call.kinds(|k| matches!(k, EventKind::SegmentDone { complete: false, .. })), 1);
}

#[test]
fn a_rate_change_inside_a_segment_loses_nothing() {
    for (from, to) in [("8000", 16_000u32), ("48000", 8000), ("16000", 44_100)] {
        let mut call = Call::new();
        call.join(A, config("en", &[]));
        call.join(B, config("es", &[("rate.out", from), ("tts.sample_rate", "0")]));
        call.run(ms(100));
        call.final_result(A, "hello", 0, 80);
        call.translate(1, spanish(), "hola");
        let rate = if from == "8000" {
            8000
        } else if from == "16000" {
            16_000
        } else {
            24_000
        };
        call.audio(1, spanish(), 1000, rate);
        call.end(1, spanish());
        call.run(ms(300));
        let heard_before = call.speech(B).len() as f64 / from.parse::<f64>().unwrap();
        let at = call.ears[&B].speech.len();
        call.input(Input::OutRate { session: B, hz: to });
        call.run(ms(2000));
        let after = call.ears[&B].speech[at..].iter().filter(|s| **s != 0).count();
        let heard = heard_before + after as f64 / f64::from(to);
        assert!((heard - 1.0).abs() < 0.012, "{from} -> {to}: {heard:.3} s of 1 s");
        assert_eq!(call.kinds(|k| matches!(k, EventKind::SegmentDone { complete: true, .. })), 1);
    }
}

#[test]
fn uneven_pulls_get_a_longer_lead_instead_of_gaps() {
    let mut call = Call::pair();
    // B pulls 100 ms at once every 100 ms.
    let awake = |call: &mut Call, on| call.ears.get_mut(&B).unwrap().awake = on;
    awake(&mut call, false);
    let burst = |call: &mut Call| {
        call.run(ms(100));
        for _ in 0..5 {
            call.ears.get_mut(&B).unwrap().pull();
        }
    };
    for _ in 0..3 {
        burst(&mut call);
    }
    call.segment(1, 100, 8000);
    for _ in 0..20 {
        burst(&mut call);
    }
    let speech = &call.ears[&B].speech;
    let first = speech.iter().position(|s| *s != 0).unwrap();
    let last = speech.iter().rposition(|s| *s != 0).unwrap();
    assert_eq!(last - first + 1, 8000, "no gap inside the segment");
}

#[test]
fn after_speech_ran_dry_the_next_segments_wait_for_a_little_more() {
    let mut call = Call::pair();
    call.final_result(A, "slow words", 0, 80);
    call.translate(1, spanish(), "x");
    // 40 ms of sound every 100 ms: it runs dry again and again.
    for _ in 0..10 {
        call.audio(1, spanish(), 100, 320);
        call.run(ms(100));
    }
    call.end(1, spanish());
    call.run(ms(1000));
    let speech = &call.ears[&B].speech;
    let starts = speech.windows(2).filter(|w| w[0] == 0 && w[1] != 0).count();
    assert!((2..=5).contains(&starts), "waiting for more makes fewer gaps than the ten of the synthesiser: {starts}");
    assert_eq!(call.speech(B).len(), 3200, "nothing is lost by it");
    call.run(ms(100));
    let now = call.now.as_millis() as u64;
    call.final_result(A, "more words", now - 80, now);
    call.translate(2, spanish(), "y");
    call.audio(2, spanish(), 200, 320);
    call.run(ms(60));
    assert!(!call.speech(B).contains(&200), "it does not begin with 40 ms in hand");
    call.audio(2, spanish(), 200, 3200);
    call.run(ms(60));
    assert!(call.speech(B).contains(&200));
}

#[test]
fn flushes_without_a_pull_leave_no_phantom_in_the_ring() {
    let mut call = Call::new();
    call.join(A, config("en", &[]));
    call.join(B, config("es", &[("rate.out", "48000"), ("absent_after_ms", "10000")]));
    call.run(ms(100));
    call.ears.get_mut(&B).unwrap().awake = false;
    for n in 1..=8 {
        call.input(Input::Say { session: B, text: "Espere.".into(), language: spanish() });
        call.audio(n, spanish(), 50, 24_000);
        call.end(n, spanish());
        call.run(ms(20));
        call.input(Input::Command { session: B, verb: Verb::Flush });
    }
    call.input(Input::Say { session: B, text: "Hola.".into(), language: spanish() });
    call.audio(9, spanish(), 900, 24_000);
    call.end(9, spanish());
    call.ears.get_mut(&B).unwrap().awake = true;
    call.run(ms(2000));
    let heard = call.speech(B);
    assert!((47_900..=48_100).contains(&heard.len()), "the last one whole and nothing of the others: {}", heard.len());
    assert_eq!(call.kinds(|k| matches!(k, EventKind::SaidDone { complete: true, .. })), 1);
}

#[test]
fn an_absent_listener_does_not_fill_the_events_of_those_who_speak() {
    let mut call = Call::new();
    for id in [A, B] {
        call.join(id, config("en", &[("rate.in", "8000"), ("rate.out", "8000")]));
    }
    call.voice = 5000;
    call.ears.get_mut(&B).unwrap().awake = false;
    call.run(ms(5000));
    call.ears.get_mut(&B).unwrap().awake = true;
    call.voice = 200;
    call.run(ms(400));
    assert!(call.ears[&B].original.iter().skip(1600).all(|s| s.abs() <= 200), "B comes back to the live edge");
    assert!(call.kinds(|k| matches!(k, EventKind::AudioDropped { .. })) <= 4);
}

#[test]
fn an_ear_that_has_too_much_waiting_costs_no_other_ear_anything() {
    let mut call = Call::new();
    call.join(A, config("en", &[]));
    call.join(B, config("es", &[("rate.out", "8000"), ("playout.max_s", "5")]));
    call.join(C, config("es", &[("rate.out", "8000"), ("playout.max_s", "5")]));
    call.run(ms(100));
    call.input(Input::Say { session: B, text: "Largo.".into(), language: spanish() });
    call.audio(1, spanish(), 50, 4 * 8000);
    call.end(1, spanish());
    call.run(ms(100));
    call.segment(2, 700, 3 * 8000);
    call.run(ms(5000));
    assert_eq!(call.speech(C), vec![700; 3 * 8000]);
    assert_eq!(call.speech(B), vec![50; 4 * 8000], "what sounds is not cut either");
    assert_eq!(call.lost(), ["playout"]);
}

#[test]
fn an_hour_of_drift_keeps_the_original_voice_close_and_whole() {
    // The pusher runs 100 ppm fast, the puller 100 ppm slow: 0.72 s an hour must vanish in pauses.
    let mut call = Call::new();
    for id in [A, B] {
        call.join(id, config("en", &[("rate.in", "8000"), ("rate.out", "8000")]));
    }
    call.pushers.clear();
    call.ears.get_mut(&A).unwrap().awake = false;
    call.ears.get_mut(&B).unwrap().awake = false;
    let (mut pushed, mut pulled) = (0.0, 0.0);
    let mut said = 0u64;
    while call.now < Duration::from_secs(3600) {
        call.now += TICK;
        let t = call.now.as_secs_f64();
        while pushed + 0.02 <= t * 1.0001 {
            pushed += 0.02;
            // 2 s of speech, 1 s of pause.
            let voice = if pushed % 3.0 < 2.0 { 4000 } else { 0 };
            said += if voice != 0 { 160 } else { 0 };
            call.input(Input::Said { session: A, samples: &[voice; 160] });
        }
        while pulled + 0.02 <= t * 0.9999 {
            pulled += 0.02;
            call.ears.get_mut(&B).unwrap().pull();
        }
        let totals = call.ears[&B].totals;
        call.input(Input::Pulled { session: B, totals });
        call.input(Input::Tick);
    }
    let heard = call.ears[&B].original.iter().filter(|s| **s != 0).count() as u64;
    assert!(said - heard < 1600, "said {said}, heard {heard}: speech must not be cut");
    let waiting = call.ears[&B].original_ring.len();
    assert!(waiting <= 1600, "{waiting} samples of delay");
    assert_eq!(call.kinds(|k| matches!(k, EventKind::AudioDropped { .. })), 0);
}

#[test]
fn marks_and_the_end_of_the_queue_are_told_when_they_are_heard() {
    let mut call = Call::pair();
    let marks = |call: &Call| -> Vec<(u64, bool)> {
        let mark = |k: &EventKind| match k {
            EventKind::MarkReached { mark, heard } => Some((*mark, *heard)),
            _ => None,
        };
        call.events.iter().filter_map(|(_, k)| mark(k)).collect()
    };
    let drained = |call: &Call| call.kinds(|k| matches!(k, EventKind::Drained {}));
    let mark = |call: &mut Call| call.input(Input::Command { session: B, verb: Verb::Mark });
    mark(&mut call);
    assert_eq!(marks(&call), [(1, true)], "nothing was queued");
    call.segment(1, 3000, 8000);
    mark(&mut call);
    call.run(ms(200));
    call.segment(2, 3000, 8000);
    mark(&mut call);
    call.run(ms(700));
    assert_eq!((marks(&call).len(), drained(&call)), (1, 0));
    call.run(ms(600));
    assert_eq!((marks(&call), drained(&call)), (vec![(1, true), (2, true)], 0));
    call.run(ms(200));
    call.input(Input::Command { session: B, verb: Verb::Flush });
    call.run(ms(100));
    assert_eq!((marks(&call), drained(&call)), (vec![(1, true), (2, true), (3, false)], 1));
}
