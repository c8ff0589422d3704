//! The life of segments: order, failures, announcements, several listeners.

use super::*;

#[test]
fn segments_are_heard_once_in_order_whole_whatever_the_order_of_arrival() {
    let mut call = Call::pair();
    call.final_result(A, "one", 0, 20);
    call.final_result(A, "two", 30, 50);
    call.final_result(A, "three", 60, 80);
    for n in [3, 1, 2] {
        call.translate(n, spanish(), "x");
    }
    call.audio(2, spanish(), 222, 1000);
    call.end(2, spanish());
    call.audio(3, spanish(), 333, 500);
    call.run(ms(200));
    assert!(call.speech(B).is_empty(), "the first segment has no sound yet");
    call.audio(1, spanish(), 111, 700);
    call.end(1, spanish());
    call.end(3, spanish());
    call.run(ms(1000));
    let want: Vec<i16> = [vec![111; 700], vec![222; 1000], vec![333; 500]].concat();
    assert_eq!(call.speech(B), want);
    let done: Vec<u64> = call
        .events
        .iter()
        .filter_map(|(id, k)| match k {
            EventKind::SegmentDone { segment, complete: true, listener: 2, .. } if *id == A => Some(*segment),
            _ => None,
        })
        .collect();
    assert_eq!(done, [1, 2, 3]);
    assert!(call.lost().is_empty());
}

/// (what goes wrong, the stage that the loss is reported for)
#[test]
fn every_failure_is_reported_and_the_next_segment_is_heard() {
    type Fault = fn(&mut Call);
    let rows: &[(&str, Fault, &str)] = &[
        (
            "translation refused",
            |c| c.input(Input::Translated { segment: SegmentId(1), target: spanish(), result: Err(out_of_service()) }),
            "mt",
        ),
        ("translation empty", |c| c.translate(1, spanish(), "  "), "mt"),
        ("translation never comes", |c| c.run(ms(9000)), "mt"),
        (
            "no sound at all",
            |c| {
                c.translate(1, spanish(), "x");
                c.end(1, spanish());
            },
            "tts",
        ),
        (
            "synthesis refused",
            |c| {
                c.translate(1, spanish(), "x");
                let chunk = SpeechChunk::Failed(out_of_service());
                c.input(Input::Speech { segment: SegmentId(1), target: spanish(), chunk });
            },
            "tts",
        ),
        (
            "synthesis never comes",
            |c| {
                c.translate(1, spanish(), "x");
                c.run(ms(9000));
            },
            "tts",
        ),
        (
            "synthesis stops in the middle",
            |c| {
                c.translate(1, spanish(), "x");
                c.audio(1, spanish(), 400, 800);
                c.run(ms(6000));
            },
            "tts",
        ),
    ];
    for (name, fault, stage) in rows {
        let mut call = Call::pair();
        call.final_result(A, "first words", 0, 80);
        fault(&mut call);
        call.run(ms(300));
        assert_eq!(call.lost(), [*stage], "{name}");
        let before = call.speech(B).len();
        call.segment(2, 500, 800);
        call.run(ms(500));
        assert_eq!(call.speech(B)[before..], vec![500; 800], "{name}: the next is heard");
    }
}

#[test]
fn synthesis_that_failed_before_any_sound_is_asked_for_again() {
    let mut call = Call::pair();
    call.final_result(A, "hello", 0, 80);
    call.translate(1, spanish(), "hola");
    let error = StageError { class: ErrorClass::RetryNow, ..out_of_service() };
    let failed =
        || Input::Speech { segment: SegmentId(1), target: spanish(), chunk: SpeechChunk::Failed(error.clone()) };
    for attempt in 2..=4 {
        call.input(failed());
        let asked = call.net.iter().filter(|c| matches!(c, NetCommand::Speak(_))).count();
        assert_eq!((asked, call.lost().len()), (attempt, 0));
    }
    call.input(failed());
    assert_eq!(call.lost(), ["tts"]);
}

#[test]
fn an_announcement_is_heard_by_one_ear_in_order_with_the_rest() {
    let mut call = Call::pair();
    call.segment(1, 100, 800);
    call.input(Input::Say { session: B, text: "Grabamos.".into(), language: spanish() });
    call.audio(2, spanish(), 200, 800);
    call.end(2, spanish());
    call.run(ms(500));
    assert_eq!(call.speech(B), [vec![100; 800], vec![200; 800]].concat());
    assert!(call.speech(A).is_empty());
    assert_eq!(call.kinds(|k| matches!(k, EventKind::SaidDone { complete: true, .. })), 1);
    // In another language it is translated first.
    call.input(Input::Say { session: B, text: "We record.".into(), language: english() });
    assert!(matches!(call.net.last(), Some(NetCommand::Translate(j)) if j.text == "We record."));
}

#[test]
fn one_translation_and_one_synthesis_serve_all_who_hear_a_language() {
    let mut call = Call::pair();
    call.join(C, config("es-419", &[("rate.out", "16000")]));
    call.final_result(A, "hello all", 0, 80);
    assert_eq!(call.translations(), 2, "es and es-419 are two");
    let mut call = Call::pair();
    call.join(C, config("es", &[("rate.out", "16000")]));
    call.run(ms(40));
    call.final_result(A, "hello all", 0, 80);
    assert_eq!(call.translations(), 1);
    call.translate(1, spanish(), "hola");
    call.audio(1, spanish(), 50, 8000);
    call.end(1, spanish());
    call.run(ms(2000));
    assert_eq!(call.speech(B).len(), 8000);
    let c = call.speech(C).len();
    assert!((15_900..=16_100).contains(&c), "the same second at 16 kHz: {c}");
    assert_eq!(call.kinds(|k| matches!(k, EventKind::SegmentDone { complete: true, .. })), 2);
}

#[test]
fn a_synthesiser_that_gives_sound_in_drops_holds_nobody_back_for_ever() {
    let mut call = Call::pair();
    call.final_result(A, "first words", 0, 80);
    call.translate(1, spanish(), "uno");
    call.final_result(A, "second words", 90, 170);
    call.translate(2, spanish(), "dos");
    call.audio(2, spanish(), 700, 800);
    call.end(2, spanish());
    // A little sound every two seconds, and never an end.
    for _ in 0..20 {
        call.audio(1, spanish(), 400, 80);
        call.run(ms(2000));
    }
    assert_eq!(call.lost(), ["tts"]);
    assert_eq!(call.speech(B).iter().filter(|s| **s == 700).count(), 800, "the next one is heard");
}
