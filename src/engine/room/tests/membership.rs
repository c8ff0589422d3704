//! Who is in the room: joining, leaving, being alone, failing open.

use super::*;

#[test]
fn a_session_alone_asks_nothing_of_the_network_and_hears_silence() {
    let mut call = Call::new();
    call.voice = 5000;
    call.join(A, config("en", &[]));
    call.run(ms(30_000));
    assert!(call.net.is_empty(), "{:?}", call.net);
    assert!(call.ears[&A].speech.iter().chain(&call.ears[&A].original).all(|s| *s == 0));
}

#[test]
fn a_session_alone_hears_the_cue_if_configured() {
    let mut call = Call::new();
    call.join(A, config("en", &[("alone.cue", "tone")]));
    call.run(ms(8000));
    let heard = &call.ears[&A].original;
    let loud = heard.iter().filter(|s| s.abs() > 300).count();
    assert!(loud > 2000, "two tones of 200 ms: {loud}");
    call.join(B, config("en", &[]));
    call.run(ms(100));
    let before = call.ears[&A].original.len();
    call.run(ms(8000));
    assert!(call.ears[&A].original[before..].iter().all(|s| *s == 0), "no cue in company");
}

#[test]
fn connections_are_opened_when_the_second_member_joins_and_closed_when_it_leaves() {
    let mut call = Call::pair();
    let names: Vec<&str> = call
        .net
        .iter()
        .filter_map(|c| match c {
            NetCommand::OpenStt { .. } => Some("stt"),
            NetCommand::OpenTts { .. } => Some("tts"),
            _ => None,
        })
        .collect();
    assert_eq!(names.iter().filter(|n| **n == "stt").count(), 2);
    assert_eq!(names.iter().filter(|n| **n == "tts").count(), 2);
    call.net.clear();
    call.input(Input::Leave { session: B, mode: LeaveMode::Now });
    call.run(ms(100));
    assert_eq!(call.net.iter().filter(|c| matches!(c, NetCommand::CloseStt { .. })).count(), 3, "{:?}", call.net);
    assert_eq!(call.net.iter().filter(|c| matches!(c, NetCommand::CloseTts { .. })).count(), 2);
    assert!(!call.net.iter().any(|c| matches!(c, NetCommand::Audio { at, .. } if *at > ms(120))));
}

#[test]
fn a_leavers_last_words_are_heard_before_it_is_gone() {
    let mut call = Call::pair();
    call.pushers.remove(&A);
    call.ears.get_mut(&A).unwrap().awake = false;
    call.input(Input::Leave { session: A, mode: LeaveMode::Drain });
    call.run(ms(300));
    call.final_result(A, "good bye", 20, 80);
    call.input(Input::Stt { session: A, event: SttEvent::Closed });
    call.translate(1, spanish(), "adiós");
    call.audio(1, spanish(), 44, 1600);
    call.end(1, spanish());
    call.run(ms(1000));
    assert_eq!(call.speech(B), vec![44; 1600]);
    let gone = call.events.iter().position(|(id, k)| *id == A && *k == EventKind::Dtmf { digit: "gone".into() });
    let closed =
        call.events.iter().position(|(id, k)| *id == A && matches!(k, EventKind::Closed { segments: 1, lost: 0 }));
    assert!(closed.is_some() && gone > closed, "{:?}", call.events);
}

#[test]
fn a_leaver_whose_recogniser_never_answers_is_gone_all_the_same() {
    let mut call = Call::pair();
    call.pushers.remove(&A);
    call.input(Input::Leave { session: A, mode: LeaveMode::Drain });
    call.run(ms(21_000));
    assert_eq!(call.kinds(|k| matches!(k, EventKind::Closed { .. })), 1);
}

#[test]
fn while_a_provider_is_down_the_original_voice_passes_and_translation_returns() {
    let mut call = Call::pair();
    call.voice = 6000;
    let down = LinkState::Down { error: out_of_service(), retry_in: None };
    call.run(ms(200));
    assert!(call.ears[&B].original.iter().all(|s| *s == 0), "translated: no original by default");
    call.input(Input::Link { session: A, stage: Stage::Stt, provider: "deepgram", state: down });
    call.run(ms(400));
    assert_eq!(*call.ears[&B].original.last().unwrap(), 6000, "B hears A");
    assert_eq!(*call.ears[&A].original.last().unwrap(), 0, "B's own translation works: A hears no original");
    call.input(Input::Link { session: A, stage: Stage::Stt, provider: "deepgram", state: LinkState::Ready });
    call.run(ms(400));
    assert_eq!(*call.ears[&B].original.last().unwrap(), 0);
    let flips: Vec<bool> = call
        .events
        .iter()
        .filter_map(|(_, k)| match k {
            EventKind::FailOpen { active, .. } => Some(*active),
            _ => None,
        })
        .collect();
    assert_eq!(flips, [true, false]);
}

#[test]
fn a_speaker_that_leaves_at_once_holds_up_nobody_and_closed_is_its_last_event() {
    let mut call = Call::pair();
    call.final_result(A, "half a sentence", 0, 80);
    call.translate(1, spanish(), "media frase");
    call.audio(1, spanish(), 70, 800);
    call.pushers.remove(&A);
    call.ears.get_mut(&A).unwrap().awake = false;
    call.input(Input::Leave { session: A, mode: LeaveMode::Now });
    call.input(Input::Say { session: B, text: "Colgó.".into(), language: spanish() });
    call.audio(2, spanish(), 90, 800);
    call.end(2, spanish());
    call.run(ms(500));
    assert_eq!(call.speech(B), [vec![70; 800], vec![90; 800]].concat(), "what had come, then the announcement");
    let last = call.events.iter().rev().find(|(id, k)| *id == A && !matches!(k, EventKind::Dtmf { .. }));
    assert!(matches!(last, Some((_, EventKind::Closed { lost: 1, .. }))), "{last:?}");
}

#[test]
fn while_a_recogniser_is_not_there_yet_the_own_voice_passes() {
    let mut call = Call::pair();
    call.voice = 3000;
    call.input(Input::Link { session: A, stage: Stage::Stt, provider: "deepgram", state: LinkState::Waiting });
    call.run(ms(300));
    assert!(call.ears[&B].original.iter().all(|s| *s == 0), "a short wait is not heard");
    call.run(ms(400));
    assert!(call.ears[&B].original.iter().any(|s| *s != 0), "nobody is left in silence");
    call.input(Input::Link { session: A, stage: Stage::Stt, provider: "deepgram", state: LinkState::Ready });
    call.run(ms(100));
    let before = call.ears[&B].original.len();
    call.run(ms(400));
    assert!(call.ears[&B].original[before..].iter().all(|s| *s == 0), "translation takes over");
}
