//! The real-time edge without threads: what goes in comes out, in order.

use super::*;
use crate::engine::{RING_SAMPLES, Ring};

#[test]
fn the_original_is_added_under_speech_and_copied_behind_it_wherever_the_ring_wraps() {
    let (session, mut engine) = open(16_000, 16_000).expect("a slot");
    let original: Vec<i16> = (0..400).collect();
    let mut out = [7i16; 500];
    // Enough rounds that both rings wrap inside a frame.
    for round in 0..2 * RING_SAMPLES / 400 {
        engine.beat();
        let speech = [1000i16; 100];
        assert_eq!(engine.play(Ring::Speech, &speech) + engine.play(Ring::Original, &original), 500);
        assert_eq!(pull_frame(session, &mut out), Status::Ok, "round {round}");
        let expected: Vec<i16> =
            (0..500).map(|i| if i < 400 { i + if i < 100 { 1000 } else { 0 } } else { 0 }).collect();
        assert_eq!(out[..], expected[..], "round {round}");
    }
    assert_eq!(engine.pulled().original, (2 * RING_SAMPLES / 400 * 400) as u64);
    let mut loud = [0i16; 2];
    engine.play(Ring::Speech, &[i16::MAX, i16::MIN]);
    engine.play(Ring::Original, &[1, -1]);
    pull_frame(session, &mut loud);
    assert_eq!(loud, [i16::MAX, i16::MIN], "sums are limited");
    assert!(retire(session, false).expect("open").try_free().is_ok());
}

#[test]
fn a_frame_that_does_not_fit_is_dropped_whole_and_told_as_a_gap() {
    let (session, mut engine) = open(48_000, 48_000).expect("a slot");
    let frame = [5i16; 5000];
    for _ in 0..RING_SAMPLES / 5000 + 2 {
        assert_eq!(push_frame(session, &frame), Status::Ok);
    }
    assert_eq!(engine.dropped(), 10_000);
    let (mut samples, mut missing) = (0, 0);
    let mut note = |pushed: Pushed<'_>| match pushed {
        Pushed::Samples(s) => samples += s.len(),
        Pushed::Gap { count, dropped: true } => missing += count,
        other => panic!("{other:?}"),
    };
    engine.drain(&mut note);
    push_frame(session, &frame);
    engine.drain(&mut note);
    assert_eq!((samples, missing), (RING_SAMPLES / 5000 * 5000 + 5000, 10_000));
    assert!(retire(session, false).expect("open").try_free().is_ok());
}

fn drained(engine: &mut EnginePort) -> Vec<(usize, Option<Pushed<'static>>)> {
    let mut seen = Vec::new();
    engine.drain(|pushed| match pushed {
        Pushed::Samples(s) => seen.push((s.len(), None)),
        Pushed::Gap { count, dropped } => seen.push((0, Some(Pushed::Gap { count, dropped }))),
        Pushed::Rate(hz) => seen.push((0, Some(Pushed::Rate(hz)))),
    });
    seen
}

#[test]
fn rates_and_gaps_keep_their_place_between_the_frames() {
    let (session, mut engine) = open(8000, 8000).expect("a slot");
    assert_eq!(push_frame(session, &[1; 160]), Status::Ok);
    assert_eq!(push_gap(session, 80), Status::Ok);
    assert_eq!(push_frame(session, &[2; 160]), Status::Ok);
    assert_eq!(set_rate(session, Direction::In, 16_000), Status::Ok);
    assert_eq!(push_frame(session, &[3; 320]), Status::Ok);
    let gap = Pushed::Gap { count: 80, dropped: false };
    let want = vec![(160, None), (0, Some(gap)), (160, None), (0, Some(Pushed::Rate(16_000))), (320, None)];
    assert_eq!(drained(&mut engine), want);
    assert!(retire(session, false).expect("open").try_free().is_ok());
}

#[test]
fn after_a_flush_or_a_rate_change_nothing_old_is_heard() {
    let (session, mut engine) = open(8000, 8000).expect("a slot");
    let mut out = [0; 160];
    engine.beat();
    engine.play(Ring::Speech, &[5; 400]);
    assert_eq!(pull_frame(session, &mut out), Status::Ok);
    engine.flush(Ring::Speech);
    engine.play(Ring::Speech, &[6; 160]);
    assert_eq!(pull_frame(session, &mut out), Status::Ok);
    assert_eq!(out, [6; 160]);
    engine.play(Ring::Speech, &[7; 160]);
    assert_eq!(set_rate(session, Direction::Out, 16_000), Status::Ok);
    let mut wide = [0; 320];
    assert_eq!(pull_frame(session, &mut wide), Status::Silence, "the ring still holds the old rate");
    assert_eq!(engine.wanted_out_rate(), Some(16_000));
    engine.out_rate_done();
    assert_eq!(engine.wanted_out_rate(), None);
    engine.play(Ring::Speech, &[8; 320]);
    assert_eq!(engine.pulled().speech, 0, "totals begin anew");
    assert_eq!(pull_frame(session, &mut wide), Status::Ok);
    assert_eq!(wide, [8; 320]);
    assert_eq!((engine.pulled().speech, engine.pulled().asked), (320, 320));
    assert!(retire(session, false).expect("open").try_free().is_ok());
}

#[test]
fn an_engine_that_stands_still_is_told_after_25_pulls_and_forgiven_at_its_next_sign() {
    let (session, engine) = open(8000, 8000).expect("a slot");
    let mut out = [0; 160];
    engine.beat();
    let statuses: Vec<Status> = (0..30).map(|_| pull_frame(session, &mut out)).collect();
    assert_eq!(statuses.iter().position(|s| *s == Status::Original), Some(DEAD_AFTER_PULLS as usize));
    engine.beat();
    assert_eq!(pull_frame(session, &mut out), Status::Silence);
    assert!(retire(session, false).expect("open").try_free().is_ok());
}

#[test]
fn a_handle_is_good_once() {
    let (session, _engine) = open(8000, 8000).expect("a slot");
    let retired = retire(session, false).expect("open");
    assert!(retire(session, false).is_none(), "closing twice");
    assert_eq!(push_frame(session, &[0; 160]), Status::ErrHandle);
    assert!(retired.try_free().is_ok());
    assert_eq!(push_frame(session, &[0; 160]), Status::ErrHandle);
    for wild in [0, 1, u64::MAX, session.0 + (1 << 17)] {
        assert_eq!(push_frame(SessionId(wild), &[0; 160]), Status::ErrHandle, "{wild:#x}");
    }
    let (shut, _engine) = open(8000, 8000).expect("a slot");
    let retired = retire(shut, true).expect("open");
    assert_eq!(push_frame(shut, &[0; 160]), Status::ErrShutdown);
    assert!(retired.try_free().is_ok());
}
