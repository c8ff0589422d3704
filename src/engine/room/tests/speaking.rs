//! Time lines, recognition and what is committed.

use super::*;

#[test]
fn one_language_is_one_voice_bit_exact() {
    let mut call = Call::new();
    for id in [A, B] {
        call.join(id, config("en", &[("rate.in", "8000"), ("rate.out", "8000")]));
    }
    call.run(ms(40));
    call.pushers.clear();
    let said: Vec<i16> = (0..8000).map(|i| ((i * 7919) % 60_000 - 30_000) as i16).collect();
    for block in said.chunks(160) {
        call.input(Input::Said { session: A, samples: block });
        call.run(ms(20));
    }
    call.run(ms(100));
    assert!(call.net.is_empty(), "nothing to translate");
    let heard = &call.ears[&B].original;
    let at = heard.windows(160).position(|w| w == &said[..160]).expect("the first frame, bit for bit");
    assert_eq!(&heard[at..at + said.len()], &said[..]);
    assert!(call.ears[&A].original.iter().all(|s| *s == 0), "nobody hears themselves");
}

#[test]
fn a_repeated_result_is_not_spoken_again() {
    let mut call = Call::pair();
    call.final_result(A, "hello there", 0, 80);
    call.final_result(A, "hello there", 0, 80);
    assert_eq!(call.translations(), 1);
}

#[test]
fn silence_is_put_on_the_time_line_of_one_who_does_not_push() {
    let mut call = Call::pair();
    call.pushers.clear();
    call.net.clear();
    call.run(ms(30_000));
    let sent = call.sent_by(A).len();
    assert!((236_000..=240_800).contains(&sent), "30 s at 8 kHz: {sent}");
    let at = call.net.iter().rev().find_map(|c| match c {
        NetCommand::Audio { session: A, at, .. } => Some(*at),
        _ => None,
    });
    let behind = call.now - at.unwrap();
    assert!(behind < ms(150), "the time line is {behind:?} behind");
}

#[test]
fn a_late_burst_is_kept_and_pauses_give_the_time_back() {
    let mut call = Call::pair();
    call.pushers.remove(&A);
    call.run(ms(300));
    // 300 ms come at once: 240 ms of silence were put in for them.
    for _ in 0..15 {
        call.input(Input::Said { session: A, samples: &[7000; 160] });
    }
    call.voice = 0;
    call.pushers.insert(A, 160);
    call.run(ms(2000));
    let sent = call.sent_by(A);
    assert_eq!(sent.iter().filter(|s| **s == 7000).count(), 15 * 160, "nothing of the burst is lost");
    let length = ms(sent.len() as u64 / 8);
    assert!(length.abs_diff(call.now) < ms(70), "time line {length:?}, real {:?}", call.now);
}

#[test]
fn a_muted_speaker_sends_silence_and_keeps_its_time() {
    let mut call = Call::pair();
    call.voice = 3000;
    call.input(Input::Command { session: A, verb: Verb::Mute });
    call.net.clear();
    call.run(ms(1000));
    let sent = call.sent_by(A);
    assert_eq!(sent.len(), 8000);
    assert!(sent.iter().all(|s| *s == 0));
}

#[test]
fn a_one_hop_provider_makes_ordinary_segments() {
    let mut call = Call::pair();
    let say = |event| Input::Direct { session: A, target: spanish(), event };
    let transcript = Transcript { text: "hello".into(), words: vec![], start: ms(0), end: ms(80), language: None };
    call.input(say(DirectEvent::Begin(transcript)));
    call.input(say(DirectEvent::Text("hola".into())));
    call.input(say(DirectEvent::Speech(SpeechChunk::Audio(vec![70; 900]))));
    call.input(say(DirectEvent::Speech(SpeechChunk::End)));
    call.run(ms(500));
    assert_eq!(call.translations(), 0);
    assert_eq!(call.speech(B), vec![70; 900]);
    assert_eq!(call.kinds(|k| matches!(k, EventKind::SegmentDone { text, complete: true, .. } if text == "hola")), 1);
}

#[test]
fn words_of_a_replay_are_spoken_before_what_was_said_after_them_and_losses_in_it_are_told() {
    let mut call = Call::pair();
    call.voice = 3000;
    call.run(ms(4000));
    let stt = |call: &mut Call, event: SttEvent| call.input(Input::Stt { session: A, event });
    let recovered = |text: &str, start: u64, end: u64| {
        let word = Word { text: text.into(), start: ms(start), end: ms(end), confidence: 1.0 };
        let (start, end) = (ms(start), ms(end));
        SttEvent::Recovered(Transcript { text: text.into(), words: vec![word], start, end, language: None })
    };
    let texts = |call: &Call| -> Vec<String> {
        let jobs = call.net.iter().filter_map(|c| match c {
            NetCommand::Translate(job) => Some(job.text.clone()),
            _ => None,
        });
        jobs.collect()
    };
    call.final_result(A, "one", 100, 500);
    stt(&mut call, SttEvent::Replaying { start: ms(500), end: ms(1500) });
    call.final_result(A, "four", 2000, 2400);
    assert_eq!(texts(&call), ["one"], "what was said later waits");
    stt(&mut call, recovered("two", 600, 1000));
    assert_eq!(texts(&call), ["one", "two"]);
    // The rest of the gap is known to nobody, although the live stream has answered for what lies behind it.
    stt(&mut call, SttEvent::Lost { start: ms(1000), end: ms(1500) });
    stt(&mut call, SttEvent::Replayed { start: ms(500), end: ms(1500) });
    assert_eq!(texts(&call), ["one", "two", "four"]);
    let lost: Vec<(f64, f64)> = call
        .events
        .iter()
        .filter_map(|(_, kind)| match kind {
            EventKind::SegmentLost { stage: "stt", start_ms, end_ms, .. } => Some((*start_ms, *end_ms)),
            _ => None,
        })
        .collect();
    assert_eq!(lost, [(1000.0, 1500.0)]);
    // What follows is not held back by anything any more.
    call.final_result(A, "five", 2600, 2900);
    assert_eq!(texts(&call).len(), 4);
}

#[test]
fn words_that_wait_for_a_replay_are_told_when_their_speaker_leaves_at_once() {
    let mut call = Call::pair();
    call.voice = 3000;
    call.run(ms(3000));
    call.final_result(A, "one", 100, 500);
    call.input(Input::Stt { session: A, event: SttEvent::Replaying { start: ms(500), end: ms(1500) } });
    call.final_result(A, "three", 2000, 2900);
    call.voice = 0;
    call.run(ms(200));
    call.input(Input::Leave { session: A, mode: LeaveMode::Now });
    let lost: Vec<(f64, f64)> = call
        .events
        .iter()
        .filter_map(|(_, kind)| match kind {
            EventKind::SegmentLost { stage: "stt", start_ms, end_ms, .. } => Some((*start_ms, *end_ms)),
            _ => None,
        })
        .collect();
    assert_eq!(lost.len(), 1, "{lost:?}");
    assert!(lost[0].0 <= 500.0 && lost[0].1 >= 2900.0, "what waited behind the gap is lost with it: {lost:?}");
}

#[test]
fn a_replay_that_is_told_of_too_late_holds_nothing_back() {
    let mut call = Call::pair();
    // B goes: nobody hears A's translation, so A's stream is closed at once.
    call.input(Input::Leave { session: B, mode: LeaveMode::Now });
    call.run(ms(100));
    call.input(Input::Stt { session: A, event: SttEvent::Replaying { start: ms(10), end: ms(90) } });
    call.join(B, config("es", &[("rate.in", "8000"), ("rate.out", "8000")]));
    call.run(ms(1000));
    call.final_result(A, "words", 500, 900);
    assert_eq!(call.translations(), 1);
}

/// Tells of "one two three, four" up to now: words of 300 ms from 100 ms on, in a span that began at 0.
fn interim(call: &mut Call, text: &str, to: u64) {
    let word = |(i, text): (u64, &str)| Word {
        text: text.into(),
        start: ms(100 + 300 * i),
        end: ms(350 + 300 * i),
        confidence: 1.0,
    };
    let words = (0..).zip(text.split(' ')).map(word).collect();
    let transcript = Transcript { text: text.into(), words, start: ms(0), end: ms(to), language: None };
    call.input(Input::Stt { session: A, event: SttEvent::Interim(transcript) });
}

fn jobs(call: &Call) -> Vec<String> {
    let job = |c: &NetCommand| match c {
        NetCommand::Translate(job) => Some(job.text.clone()),
        _ => None,
    };
    call.net.iter().filter_map(job).collect()
}

fn unrecognised(call: &Call) -> Vec<(f64, f64)> {
    let span = |(_, kind): &(SessionId, EventKind)| match kind {
        EventKind::SegmentLost { stage: "stt", start_ms, end_ms, .. } => Some((*start_ms, *end_ms)),
        _ => None,
    };
    call.events.iter().filter_map(span).collect()
}

#[test]
fn a_clause_is_translated_before_its_final_result_and_not_again_with_it() {
    let mut call = Call::pair_with(&[("speculation.mode", "off")]);
    call.voice = 3000;
    call.run(ms(1200));
    interim(&mut call, "come in, please and", 1200);
    assert!(jobs(&call).is_empty());
    interim(&mut call, "Come in, please and", 1300);
    assert_eq!(jobs(&call), ["Come in,"]);
    // The rest is too short to be due 2 s after it began, and is 3 s after, by the speaker's own time line; "and" may be
    // half a word.
    call.run(ms(2390));
    assert_eq!(jobs(&call).len(), 1);
    call.run(ms(40));
    assert_eq!(jobs(&call), ["Come in,", "please"]);
    call.final_result(A, "come in please and sit", 100, 1600);
    assert_eq!(jobs(&call), ["Come in,", "please", "and sit"]);
    call.translate(1, spanish(), "Adelante,");
    call.audio(1, spanish(), 70, 800);
    call.end(1, spanish());
    call.run(ms(500));
    let why = |k: &EventKind| match k {
        EventKind::Translation { commit, .. } | EventKind::SegmentDone { commit, .. } => {
            commit == "clause, 2 stable interims"
        }
        _ => false,
    };
    assert_eq!(call.kinds(why), 2, "{:?}", call.events);
    let stats = call.room.stats(A);
    assert_eq!((&stats["segments"]["interims"], &stats["segments"]["revised_words"]), (&2.into(), &0.into()));
}

#[test]
fn what_was_committed_before_a_connection_is_lost_is_not_reported_lost() {
    // (how it goes on, what is translated then, what is reported lost); "in," ends at 650 ms.
    let lost = Input::Stt { session: A, event: SttEvent::Lost { start: ms(0), end: ms(2000) } };
    let leave = Input::Leave { session: A, mode: LeaveMode::Now };
    for (input, translated, from) in [(lost, &["come in,", "please"][..], 950.0), (leave, &["come in,"][..], 650.0)] {
        let mut call = Call::pair_with(&[("speculation.mode", "off")]);
        call.voice = 3000;
        call.run(ms(1900));
        for to in [1200, 1300] {
            interim(&mut call, "come in, please and", to);
        }
        call.input(input);
        assert_eq!(jobs(&call), translated);
        let lost = unrecognised(&call);
        assert_eq!(lost.len(), 1, "{lost:?}");
        assert!(lost[0].0 == from && lost[0].1 >= 1990.0, "{lost:?}");
    }
}
