//! Working ahead, the loop guard, and what changes in mid-call.

use super::*;

impl Call {
    fn interim(&mut self, text: &str, start: u64, end: u64) {
        let transcript =
            Transcript { text: text.into(), words: Vec::new(), start: ms(start), end: ms(end), language: None };
        self.input(Input::Stt { session: A, event: SttEvent::Interim(transcript) });
    }

    fn jobs(&self) -> Vec<(u64, String)> {
        let job = |c: &NetCommand| match c {
            NetCommand::Translate(job) => Some((job.segment.0, job.text.clone())),
            _ => None,
        };
        self.net.iter().filter_map(job).collect()
    }

    fn cancelled(&self) -> Vec<u64> {
        let id = |c: &NetCommand| match c {
            NetCommand::Cancel { segment, .. } => Some(segment.0),
            _ => None,
        };
        self.net.iter().filter_map(id).collect()
    }

    fn stat(&self, session: SessionId, pointer: &str) -> serde_json::Value {
        self.room.stats(session).pointer(pointer).cloned().unwrap_or_default()
    }
}

fn pair(more: &[(&str, &str)]) -> Call {
    Call::pair_with(&[&[("ledger.policy", "final")], more].concat())
}

#[test]
fn what_two_interims_agree_on_is_translated_ahead_and_used_at_once() {
    for (mode, asked_ahead) in [("off", 0), ("translate", 1), ("speak", 1)] {
        let mut call = pair(&[("speculation.mode", mode)]);
        call.interim("good morning", 0, 80);
        assert_eq!(call.jobs().len(), 0, "it may still change");
        call.interim("good morning", 0, 90);
        call.interim("good morning", 0, 95);
        assert_eq!(call.jobs().len(), asked_ahead, "{mode}");
        if asked_ahead == 1 {
            call.translate(1, spanish(), "buenos días");
        }
        let spoken = call.net.iter().any(|c| matches!(c, NetCommand::Speak(_)));
        assert_eq!(spoken, mode == "speak");
        if spoken {
            call.audio(1, spanish(), 3000, 4000);
            call.end(1, spanish());
        }
        call.run(ms(200));
        assert!(call.speech(B).is_empty() && call.kinds(|k| matches!(k, EventKind::Translation { .. })) == 0);
        call.final_result(A, "Good morning.", 0, 90);
        assert_eq!(call.jobs().len(), 1, "{mode}: translated once");
        match mode {
            "off" => call.translate(1, spanish(), "buenos días"),
            _ => assert_eq!(call.kinds(|k| matches!(k, EventKind::Translation { .. })), 1, "{mode}"),
        }
        if mode != "speak" {
            call.audio(1, spanish(), 3000, 4000);
            call.end(1, spanish());
        }
        call.run(ms(1000));
        assert_eq!(call.speech(B).len(), 4000, "{mode}");
        let told = |k: &EventKind| matches!(k, EventKind::SegmentDone { source_text, complete: true, .. } if source_text == "Good morning.");
        assert_eq!(call.kinds(told), 1, "{mode}");
        assert_eq!(call.stat(A, "/speculation/used"), asked_ahead, "{mode}");
    }
}

#[test]
fn a_draft_of_other_words_is_dropped_and_never_heard() {
    for (last, used) in [("good evening", 0), ("good morning everybody", 0), ("good morning?", 0), ("Good morning,", 1)]
    {
        let mut call = pair(&[("speculation.mode", "speak")]);
        call.interim("good morning", 0, 80);
        call.interim("good morning", 0, 80);
        call.translate(1, spanish(), "buenos días");
        call.audio(1, spanish(), 2000, 800);
        call.final_result(A, last, 0, 90);
        let number = if used == 1 { 1 } else { 2 };
        if used == 0 {
            assert_eq!(call.cancelled(), [1], "{last}");
            assert_eq!(call.jobs().last(), Some(&(2, last.to_owned())));
            // What comes late for the draft is nobody's.
            call.audio(1, spanish(), 2000, 800);
            call.translate(2, spanish(), "otra cosa");
            call.audio(2, spanish(), 3000, 800);
        }
        call.end(number, spanish());
        call.run(ms(1000));
        let value = if used == 1 { 2000 } else { 3000 };
        assert_eq!(call.speech(B), vec![value; 800], "{last}");
        assert!(call.lost().is_empty(), "{last}");
        assert_eq!(
            (call.stat(A, "/speculation/used"), call.stat(A, "/speculation/dropped")),
            (used.into(), (1 - used).into())
        );
    }
}

#[test]
fn spending_ahead_is_bounded_and_old_drafts_go() {
    let mut call = pair(&[("speculation.max_percent", "0")]);
    let text = "x".repeat(300);
    for n in 0..20 {
        for _ in 0..2 {
            call.interim(&format!("{text} {n}"), n * 1000, n * 1000 + 900);
        }
    }
    assert_eq!(call.jobs().len(), 3, "a thousand characters before anything was of use");
    call.run(ms(11_000));
    assert_eq!(call.cancelled(), [1, 2, 3]);
    assert!(!call.room.is_busy() || call.stat(A, "/speculation/dropped") == 3);
    // A failure of a draft is no loss.
    let mut call = pair(&[]);
    call.interim("good morning", 0, 80);
    call.interim("good morning", 0, 80);
    let error = StageError { class: ErrorClass::BadRequest, ..out_of_service() };
    call.input(Input::Translated { segment: SegmentId(1), target: spanish(), result: Err(error) });
    assert!(call.lost().is_empty());
    call.final_result(A, "good morning", 0, 90);
    assert_eq!(call.jobs().len(), 2);
}

#[test]
fn an_echo_is_not_translated_back_and_what_is_said_over_it_is() {
    let mut call = pair(&[("speculation.mode", "off")]);
    call.run(ms(1000));
    call.final_result(A, "we leave tomorrow at three", 100, 1000);
    call.translate(1, spanish(), "salimos mañana a las tres");
    // 2 s of speech, five words of 400 ms.
    call.audio(1, spanish(), 3000, 16_000);
    call.end(1, spanish());
    let begin = call.now.as_millis() as u64;
    call.run(ms(2500));
    call.final_result(B, "salimos mañana a las tres", begin + 100, begin + 2100);
    assert_eq!(call.jobs().len(), 1, "it does not come around");
    assert_eq!(call.kinds(|k| matches!(k, EventKind::EchoDropped { words: 5, .. })), 1);
    call.final_result(B, "no puedo tan temprano", begin + 2300, begin + 2700);
    assert_eq!(call.jobs().last(), Some(&(2, "no puedo tan temprano".to_owned())));
    assert_eq!(call.stat(B, "/echoed_words"), 5);
}

#[test]
fn a_language_and_a_voice_change_in_mid_call() {
    let mut call = pair(&[]);
    call.run(ms(1000));
    let now = call.now.as_millis() as u64;
    let settings =
        config("de", &[("rate.in", "8000"), ("rate.out", "8000"), ("hears", "en"), ("ledger.policy", "final")]);
    call.net.clear();
    call.input(Input::Set { session: A, config: settings });
    let opened = call.net.iter().filter(|c| matches!(c, NetCommand::OpenStt { session, .. } if *session == A)).count();
    assert_eq!(opened, 1);
    // What was said before is still English, whenever its result comes.
    call.run(ms(500));
    call.final_result(A, "good morning", now - 400, now - 100);
    call.final_result(A, "guten Morgen", now + 100, now + 400);
    let sources: Vec<&str> = call
        .net
        .iter()
        .filter_map(|c| match c {
            NetCommand::Translate(job) => Some(job.source.code()),
            _ => None,
        })
        .collect();
    assert_eq!(sources, ["en", "de"]);
    let mut voice = (*config("de", &[("rate.in", "8000"), ("rate.out", "8000"), ("hears", "en")])).clone();
    voice.tts_voice = "another".into();
    call.net.clear();
    call.input(Input::Set { session: A, config: Arc::new(voice) });
    let names: Vec<bool> =
        call.net.iter().map(|c| matches!(c, NetCommand::OpenTts { target, .. } if *target == spanish())).collect();
    assert_eq!(names, [true]);
}

#[test]
fn an_announcement_is_the_first_thing_heard() {
    let mut call = Call::new();
    call.join(A, config("en", &[("rate.in", "8000"), ("rate.out", "8000")]));
    let text = [("announcement.text", "Esta llamada se traduce."), ("rate.in", "8000"), ("rate.out", "8000")];
    call.join(B, config("es", &text));
    assert!(!call.net.iter().any(|c| matches!(c, NetCommand::Speak(_))), "it does not listen yet");
    call.run(ms(20));
    let said = call.net.iter().find_map(|c| match c {
        NetCommand::Speak(job) => Some((job.session, job.text.as_str())),
        _ => None,
    });
    assert_eq!(said, Some((B, "Esta llamada se traduce.")));
    call.audio(1, spanish(), 3000, 800);
    call.end(1, spanish());
    call.run(ms(500));
    assert_eq!(call.speech(B).len(), 800);
    assert_eq!(call.kinds(|k| matches!(k, EventKind::SaidDone { complete: true, .. })), 1);
}

#[test]
fn a_listener_that_changes_its_language_hears_in_it_what_still_waits() {
    let mut call = pair(&[("speculation.mode", "off")]);
    let german = Language::parse("de").expect("a language");
    call.segment(1, 3000, 8000);
    call.run(ms(300));
    call.segment(2, 3000, 8000);
    call.run(ms(200));
    let settings = config("es", &[("rate.in", "8000"), ("rate.out", "8000"), ("hears", "de")]);
    call.net.clear();
    call.input(Input::Set { session: B, config: settings });
    let asked: Vec<(u64, &str)> = call
        .net
        .iter()
        .filter_map(|c| match c {
            NetCommand::Translate(job) => Some((job.segment.0, job.target.code())),
            _ => None,
        })
        .collect();
    assert_eq!(asked, [(1, "de"), (2, "de")], "the one that sounded, too: it was not understood");
    assert!(call.net.iter().any(|c| matches!(c, NetCommand::OpenTts { session: A, target, .. } if *target == german)));
    call.run(ms(40));
    let before = call.speech(B).len();
    for number in [1, 2] {
        call.translate(number, german, "ein paar Worte");
        call.audio(number, german, 4000, 4000);
        call.end(number, german);
    }
    call.run(ms(3000));
    assert!(call.speech(B)[before..] == vec![4000; 8000], "{} samples", call.speech(B).len() - before);
    assert!(call.lost().is_empty(), "{:?}", call.lost());
    // Its own speech is not concerned, and the speaker's language needs no translation.
    call.segment(3, 3000, 8000);
    let settings = config("es", &[("rate.in", "8000"), ("rate.out", "8000"), ("hears", "en")]);
    call.input(Input::Set { session: B, config: settings });
    assert_eq!(call.lost(), ["playout"]);
}
