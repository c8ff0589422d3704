//! Texts of one session that wait for each other: batches, cancelling, budgets, faults of our own.

use std::sync::Arc;

use super::super::test_server::Notes;
use super::mt_vendor::{Act, answer, ask, once, settings, told, vendor};
use super::{Media, ROOM, SESSION, until};
use crate::config::SessionConfig;
use crate::engine::{NetCommand, SegmentId};
use crate::net::FromNet;
use crate::provider::test_config::language;
use crate::provider::{ErrorClass, LinkState, Stage};

/// A first text is under way and holds the only place until the note `go`; then `texts` follow as segments 2, 3, ...
fn waiting(media: &mut Media, config: &Arc<SessionConfig>, notes: &Notes, texts: &[&str]) {
    ask(media, config, 1, "One", 15_000);
    until("first request", || notes.all("asked").len() == 1);
    for (segment, text) in (2..).zip(texts) {
        ask(media, config, segment, text, 15_000);
    }
}

#[test]
fn what_waits_goes_together_and_in_order() {
    for (provider, want) in [
        ("deepl", &["One", "Two|Three|Four"][..]),
        ("libretranslate", &["One", "Two|Three|Four"]),
        ("openai", &["One", "Two", "Three", "Four"]),
    ] {
        let notes = Notes::default();
        let server = vendor(&notes, |number, _| if number == 0 { Act::Wait } else { Act::Translate });
        let config = settings(&[(provider, &server)], &[("deepl.max_requests", "1"), ("mt.timeout_ms", "15000")]);
        let mut media = Media::new();
        waiting(&mut media, &config, &notes, &["Two", "Three", "Four"]);
        notes.add("go", "");
        for (segment, text) in [(1, "One"), (2, "Two"), (3, "Three"), (4, "Four")] {
            assert_eq!(answer(&mut media, segment), Ok(format!("{provider}:{text}")));
        }
        once(&media, 1..=4);
        assert_eq!(notes.all("asked"), want);
    }
}

#[test]
fn one_bad_text_does_not_take_others_with_it() {
    // (name, what is answered to several texts, to the bad one)
    for (name, several, one) in [
        ("refused", Act::Reply as fn(u16, String) -> Act, 400),
        ("too large", |_, _| Act::Reply(413, String::new()), 413),
        ("too few", |_, _| Act::Reply(200, r#"{"translations":[{"text":"deepl:Two"}]}"#.to_owned()), 400),
    ] {
        let notes = Notes::default();
        let server = vendor(&notes, move |number, texts| match texts {
            _ if number == 0 => Act::Wait,
            [_, _, ..] => several(400, r#"{"message":"Bad text"}"#.to_owned()),
            [text] if text == "Bad" => Act::Reply(one, String::new()),
            _ => Act::Translate,
        });
        let config = settings(&[("deepl", &server)], &[("deepl.max_requests", "1"), ("mt.timeout_ms", "15000")]);
        let mut media = Media::new();
        waiting(&mut media, &config, &notes, &["Two", "Bad", "Four"]);
        notes.add("go", "");
        assert_eq!(answer(&mut media, 2), Ok("deepl:Two".to_owned()), "{name}");
        assert_eq!(answer(&mut media, 4), Ok("deepl:Four".to_owned()), "{name}");
        assert_eq!(answer(&mut media, 3).expect_err("bad").class, ErrorClass::BadRequest, "{name}");
        once(&media, 1..=4);
        assert_eq!(notes.all("asked"), ["One", "Two|Bad|Four", "Two", "Bad", "Four"], "{name}");
        assert_eq!(told(&media), ["deepl ready"], "{name}: a text says nothing about the provider");
    }
}

#[test]
fn a_bad_text_may_do_elsewhere_and_a_batch_is_taken_over() {
    let (notes, chat) = (Notes::default(), Notes::default());
    let first = vendor(&notes, |number, texts| match texts {
        _ if number == 0 => Act::Wait,
        [text] if text == "Bad" => Act::Reply(400, String::new()),
        [_, _, ..] => Act::Reply(500, String::new()),
        _ => Act::Translate,
    });
    let second = vendor(&chat, |_, _| Act::Translate);
    let more = [("deepl.max_requests", "1"), ("mt.timeout_ms", "15000")];
    let config = settings(&[("deepl", &first), ("openai", &second)], &more);
    let mut media = Media::new();
    waiting(&mut media, &config, &notes, &["Two", "Three"]);
    notes.add("go", "");
    for (segment, want) in [(1, "deepl:One"), (2, "openai:Two"), (3, "openai:Three")] {
        assert_eq!(answer(&mut media, segment), Ok(want.to_owned()));
    }
    assert_eq!(chat.all("asked"), ["Two", "Three"], "a model gets one text at a time");
    ask(&mut media, &config, 4, "Bad", 5000);
    assert_eq!(answer(&mut media, 4), Ok("openai:Bad".to_owned()));
    once(&media, 1..=4);
}

#[test]
fn what_is_cancelled_is_not_sent_and_not_answered() {
    let notes = Notes::default();
    let server = vendor(&notes, |number, _| if number == 0 { Act::Wait } else { Act::Translate });
    let config = settings(&[("deepl", &server)], &[("deepl.max_requests", "1"), ("mt.timeout_ms", "15000")]);
    let mut media = Media::new();
    waiting(&mut media, &config, &notes, &["Two", "Three"]);
    for segment in [1, 2] {
        media.apply(NetCommand::Cancel { session: SESSION, segment: SegmentId(segment), target: language("es") });
    }
    notes.add("go", "");
    assert_eq!(answer(&mut media, 3), Ok("deepl:Three".to_owned()));
    assert_eq!(notes.all("asked"), ["One", "Three"]);
    let answered = |m: &&FromNet| matches!(m, FromNet::Translated { .. });
    assert_eq!(media.seen.iter().filter(answered).count(), 1, "{:#?}", media.seen);
}

#[test]
fn each_text_has_its_own_deadline() {
    let notes = Notes::default();
    let server = vendor(&notes, |number, _| if number == 0 { Act::Wait } else { Act::Translate });
    let config = settings(&[("deepl", &server)], &[("deepl.max_requests", "1"), ("mt.timeout_ms", "15000")]);
    let mut media = Media::new();
    waiting(&mut media, &config, &notes, &[]);
    ask(&mut media, &config, 2, "Two", 150);
    ask(&mut media, &config, 3, "Three", 15_000);
    let error = answer(&mut media, 2).expect_err("its time is over");
    assert_eq!((error.class, error.code.as_str()), (ErrorClass::RetryNow, "timeout"));
    notes.add("go", "");
    assert_eq!(answer(&mut media, 3), Ok("deepl:Three".to_owned()));
    assert_eq!(answer(&mut media, 1), Ok("deepl:One".to_owned()));
    once(&media, 1..=3);
    assert_eq!(notes.all("asked"), ["One", "Three"]);
}

#[test]
fn a_budget_that_is_used_up_ends_translation() {
    let notes = Notes::default();
    let server = vendor(&notes, |_, _| Act::Translate);
    let config = settings(&[("deepl", &server)], &[("budget.mt_chars", "3")]);
    let mut media = Media::new();
    ask(&mut media, &config, 1, "One", 5000);
    assert_eq!(answer(&mut media, 1), Ok("deepl:One".to_owned()));
    for segment in [2, 3] {
        ask(&mut media, &config, segment, "More", 60_000);
        let error = answer(&mut media, segment).expect_err("no more");
        assert_eq!((error.class, error.code.as_str()), (ErrorClass::ProviderOut, "budget"));
    }
    assert_eq!((notes.all("asked").len(), notes.all("greet").len()), (1, 0));
    assert_eq!(told(&media), ["deepl ready", "deepl down budget"]);
    let pause = media.seen.iter().find_map(|m| match m {
        FromNet::Link { stage: Stage::Mt, state: LinkState::Down { retry_in, .. }, .. } => Some(*retry_in),
        _ => None,
    });
    assert_eq!(pause, Some(None), "nothing comes back by itself");
}

#[test]
fn a_closed_session_is_asked_for_nothing_more() {
    let notes = Notes::default();
    let server = vendor(&notes, |number, _| if number == 0 { Act::Wait } else { Act::Translate });
    let config = settings(&[("deepl", &server)], &[("deepl.max_requests", "1"), ("mt.timeout_ms", "15000")]);
    let mut media = Media::new();
    waiting(&mut media, &config, &notes, &["Two"]);
    media.port.close_room(ROOM);
    notes.add("go", "");
    // Another session's text shows that what was to come would have come.
    ask(&mut media, &config, 9, "Nine", 5000);
    assert_eq!(answer(&mut media, 9), Ok("deepl:Nine".to_owned()));
    assert_eq!(notes.all("asked"), ["One", "Nine"]);
    once(&media, [9]);
}
