//! The sync buffer inside a room: what its events tell, what is left out, loudness, settings in mid-call.

use super::*;
use crate::event::Played;

impl Call {
    /// English A, and Spanish B with settings of its own.
    fn hearing(more: &[(&str, &str)]) -> Self {
        let mut call = Call::new();
        call.join(A, config("en", &[("rate.in", "8000"), ("rate.out", "8000")]));
        call.join(B, config("es", &[&[("rate.in", "8000"), ("rate.out", "8000")], more].concat()));
        call.run(ms(100));
        call
    }

    /// Segment `number`, said in `said` ms up to now, with `length` samples of sound and silence before and behind it.
    fn spoken(&mut self, number: u64, said: u64, length: usize) {
        let now = self.now.as_millis() as u64;
        self.final_result(A, "some words", now - said, now);
        self.translate(number, spanish(), "unas palabras");
        for (value, length) in [(0, 1600), (2000, length), (0, 2400)] {
            self.audio(number, spanish(), value, length);
        }
        self.end(number, spanish());
    }

    fn played(&self) -> Vec<Played> {
        let played = |k: &EventKind| match k {
            EventKind::SegmentDone { playout, complete: true, .. } => Some((**playout).clone()),
            _ => None,
        };
        self.events.iter().filter_map(|(_, k)| played(k)).collect()
    }
}

#[test]
fn events_and_statistics_tell_what_was_done() {
    let mut call = Call::hearing(&[("playout.stretch_max", "1.25")]);
    call.run(ms(2000));
    // As long as it was said; then three that are much longer.
    call.spoken(1, 1200, 8000);
    call.run(ms(2000));
    for number in 2..=4 {
        call.spoken(number, 300, 16_000);
        call.run(ms(300));
    }
    call.run(ms(3000));
    let stats = call.room.stats(B);
    assert!(stats["playout"]["speed"].as_f64().is_some_and(|speed| speed > 1.2), "{stats}");
    assert!(stats["playout"]["behind_ms"].as_f64().is_some_and(|behind| behind > 500.0), "{stats}");
    call.run(ms(6000));
    let played = call.played();
    assert_eq!(played.len(), 4);
    assert_eq!((played[0].stretch, played[0].pause_cut_ms), (1.0, 0.0));
    // 200 ms before and 300 ms behind, without 20 ms at each end.
    assert!(played.iter().all(|p| (455.0..=490.0).contains(&p.trimmed_ms)), "{played:?}");
    assert!(played[3].stretch > 1.15 && played[3].stretch <= 1.27, "{played:?}");
    assert!(call.lost().is_empty());
    let stats = call.room.stats(B);
    assert!(stats["playout"]["trimmed_ms"].as_f64().is_some_and(|t| (1820.0..=1960.0).contains(&t)), "{stats}");
}

#[test]
fn a_policy_leaves_out_the_oldest_that_waits_and_says_so() {
    for (overflow, left_out) in [("grow", false), ("skip", true)] {
        let more = [("playout.stretch_max", "1.1"), ("playout.overflow", overflow), ("playout.overflow_ms", "3000")];
        let mut call = Call::hearing(&more);
        call.run(ms(2000));
        for number in 1..=6 {
            call.spoken(number, 500, 16_000);
            call.run(ms(500));
        }
        call.run(ms(15_000));
        let reasons: Vec<(u64, &str)> = call
            .events
            .iter()
            .filter_map(|(_, k)| match k {
                EventKind::SegmentLost { segment, stage: "playout", reason, .. } => {
                    Some((segment.unwrap_or(0), &**reason))
                }
                _ => None,
            })
            .collect();
        assert_eq!(!reasons.is_empty(), left_out, "{overflow}: {reasons:?}");
        assert!(reasons.iter().all(|(_, why)| why.contains("playout.overflow")), "{reasons:?}");
        assert!(reasons.iter().all(|(number, _)| *number != 1), "what sounds is never cut");
        assert_eq!(call.played().len() + reasons.len(), 6);
        // Lag stays near the limit where something is left out.
        let lag = |k: &EventKind| match k {
            EventKind::SegmentDone { lag_ms, .. } => Some(*lag_ms),
            _ => None,
        };
        let most = call.events.iter().filter_map(|(_, k)| lag(k)).fold(0.0, f64::max);
        assert_eq!(most < 4200.0, left_out, "{overflow}: {most}");
    }
}

#[test]
fn an_announcement_is_never_left_out() {
    let more = [("playout.overflow", "skip"), ("playout.overflow_ms", "1000")];
    let mut call = Call::hearing(&more);
    for number in 1..=5 {
        call.input(Input::Say { session: B, text: "Grabamos.".into(), language: spanish() });
        call.audio(number, spanish(), 900, 16_000);
        call.end(number, spanish());
    }
    call.run(ms(14_000));
    assert_eq!(call.kinds(|k| matches!(k, EventKind::SaidDone { complete: true, .. })), 5);
    assert!(call.lost().is_empty());
}

#[test]
fn voices_are_brought_to_one_loudness_and_the_listeners_gain_comes_after() {
    for (gain, want) in [("0", 3277.0), ("-6", 1642.0)] {
        let mut call = Call::hearing(&[("loudness.normalise", "true"), ("gain.translation_db", gain)]);
        call.join(C, config("en", &[("rate.in", "8000"), ("rate.out", "8000")]));
        call.run(ms(2000));
        // A speaks with a loud voice, C with a faint one.
        for (number, speaker, value) in [(1, A, 12_000), (2, C, 500), (3, A, 12_000), (4, C, 500)] {
            let now = call.now.as_millis() as u64;
            call.final_result(speaker, "some words", now - 1900, now);
            call.translate(number, spanish(), "unas palabras");
            call.audio(number, spanish(), value, 12_000);
            call.end(number, spanish());
            let before = call.ears[&B].speech.len();
            call.run(ms(2000));
            let heard: Vec<i16> = call.ears[&B].speech[before..].iter().copied().filter(|s| *s != 0).collect();
            assert_eq!(heard.len(), 12_000);
            for sample in heard[1600..].iter().step_by(100) {
                let db = 20.0 * (f64::from(*sample) / want).log10();
                assert!(db.abs() < 3.0, "segment {number}, gain {gain}: {sample} is {db:.1} dB off");
            }
        }
        let gains: Vec<f64> = call.played().iter().map(|p| p.gain_db).collect();
        assert!((gains[2] + 11.3).abs() < 1.5 && (gains[3] - 16.3).abs() < 1.5, "{gains:?}");
    }
}

#[test]
fn how_fast_may_be_set_in_mid_call() {
    let mut call = Call::hearing(&[("playout.stretch_max", "1.25")]);
    call.run(ms(1000));
    for number in 1..=3 {
        call.spoken(number, 300, 16_000);
        call.run(ms(320));
    }
    call.run(ms(1500));
    assert!(call.room.stats(B)["playout"]["speed"].as_f64() > Some(1.1));
    let slow = config("es", &[("rate.in", "8000"), ("rate.out", "8000"), ("playout.stretch_max", "1")]);
    call.input(Input::Set { session: B, config: slow });
    call.run(ms(20));
    assert_eq!(call.room.stats(B)["playout"]["speed"].as_f64(), Some(1.0));
    call.run(ms(6000));
    assert_eq!(call.played()[2].stretch, 1.0);
}
