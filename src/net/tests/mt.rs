use std::sync::Arc;
use std::time::Duration;

use super::super::test_server::{Notes, Server, read_request, reply};
use super::{Media, NOWHERE, SESSION, reach};
use crate::config::SessionConfig;
use crate::engine::{NetCommand, SegmentId, TranslateJob};
use crate::net::FromNet;
use crate::provider::test_config::language;
use crate::provider::{ErrorClass, Stage, StageError};

const HELLO: &str = r#"{"translations":[{"detected_source_language":"EN","text":"Hola"}]}"#;

fn job(config: &Arc<SessionConfig>, segment: u64, budget_ms: u64) -> NetCommand {
    NetCommand::Translate(TranslateJob {
        session: SESSION,
        segment: SegmentId(segment),
        source: language("en"),
        target: language("es"),
        text: "Hello canary text that was said".to_owned(),
        context: Vec::new(),
        config: Arc::clone(config),
        budget: Duration::from_millis(budget_ms),
    })
}

fn answer(media: &mut Media, wanted: u64) -> Result<String, StageError> {
    media.wait("translation", |message| match message {
        FromNet::Translated { segment, target, result } if *segment == SegmentId(wanted) => {
            assert_eq!(target.code(), "es");
            Some(result.clone())
        }
        _ => None,
    })
}

#[test]
fn a_warm_connection_translates() {
    let notes = Notes::default();
    let seen = notes.clone();
    let server = Server::start(move |number, mut tcp| {
        let notes = notes.clone();
        async move {
            while let Some((line, body)) = read_request(&mut tcp).await {
                notes.add("request", format!("{number} {line}"));
                notes.add("body", body);
                let usage = line.contains("/v2/usage");
                reply(&mut tcp, 200, if usage { r#"{"character_count":1,"character_limit":2}"# } else { HELLO }).await;
            }
        }
    });
    let config = reach(NOWHERE, &server.url(), NOWHERE);
    let mut media = Media::new();
    media.apply(NetCommand::OpenTts {
        session: SESSION,
        target: language("es"),
        config: Arc::clone(&config),
        rate: 16_000,
    });
    media.ready(Stage::Mt);
    media.apply(job(&config, 1, 5000));
    assert_eq!(answer(&mut media, 1), Ok("Hola".to_owned()));
    assert_eq!(seen.all("request"), ["0 GET /v2/usage HTTP/1.1", "0 POST /v2/translate HTTP/1.1"], "one connection");
    assert!(seen.all("body")[1].contains(r#""target_lang":"ES""#));
}

#[test]
fn a_connection_closed_at_the_wrong_moment_costs_nothing() {
    let server = Server::start(|number, mut tcp| async move {
        // The first connection answers once and closes when it is used again.
        let mut answered = 0;
        while read_request(&mut tcp).await.is_some() {
            if number == 0 && answered == 1 {
                return;
            }
            answered += 1;
            reply(&mut tcp, 200, HELLO).await;
        }
    });
    let config = reach(NOWHERE, &server.url(), NOWHERE);
    let mut media = Media::new();
    for segment in 1..=2 {
        media.apply(job(&config, segment, 5000));
        assert_eq!(answer(&mut media, segment), Ok("Hola".to_owned()), "segment {segment}");
    }
}

#[test]
fn errors_are_tried_again_only_where_that_helps() {
    for (status, again, class, body) in [
        (503, true, None, ""),
        (429, true, None, ""),
        (456, false, Some(ErrorClass::ProviderOut), r#"{"message":"Quota exceeded: canary text that was said"}"#),
        (403, false, Some(ErrorClass::Configuration), ""),
        (400, false, Some(ErrorClass::BadRequest), r#"{"message":"Hello canary text that was said is bad"}"#),
    ] {
        let notes = Notes::default();
        let seen = notes.clone();
        let server = Server::start(move |_, mut tcp| {
            let notes = notes.clone();
            async move {
                while read_request(&mut tcp).await.is_some() {
                    notes.add("request", "");
                    let first = notes.all("request").len() == 1;
                    reply(&mut tcp, if first { status } else { 200 }, if first { body } else { HELLO }).await;
                }
            }
        });
        let config = reach(NOWHERE, &server.url(), NOWHERE);
        let mut media = Media::new();
        media.apply(job(&config, 1, 5000));
        let got = answer(&mut media, 1);
        assert_eq!(got.as_ref().err().map(|error| error.class), class, "{status}: {got:?}");
        assert_eq!(seen.all("request").len(), if again { 2 } else { 1 }, "{status}");
        if matches!(status, 403 | 456) {
            // The next text does not knock again at once.
            media.apply(job(&config, 2, 5000));
            assert_eq!(answer(&mut media, 2).err().map(|error| error.class), class);
            assert_eq!(seen.all("request").len(), 1, "{status}");
        }
        if status == 400 {
            assert!(!format!("{got:?}").contains("canary"), "{got:?}");
        }
    }
}

#[test]
fn the_budget_is_kept() {
    let server = Server::start(|_, mut tcp| async move {
        // Reads everything and never answers.
        while read_request(&mut tcp).await.is_some() {}
    });
    let config = reach(NOWHERE, &server.url(), NOWHERE);
    let mut media = Media::new();
    let begun = std::time::Instant::now();
    media.apply(job(&config, 1, 400));
    let error = answer(&mut media, 1).expect_err("no answer");
    assert_eq!((error.class, error.code.as_str()), (ErrorClass::RetryNow, "timeout"));
    assert!(begun.elapsed() >= Duration::from_millis(400) && begun.elapsed() < Duration::from_secs(4));
    // A job that is cancelled is not answered; the one after it is.
    media.apply(job(&config, 2, 5000));
    media.apply(NetCommand::Cancel { session: SESSION, segment: SegmentId(2), target: language("es") });
    media.apply(job(&config, 3, 200));
    assert!(answer(&mut media, 3).is_err());
    let second = |message: &FromNet| matches!(message, FromNet::Translated { segment: SegmentId(2), .. });
    assert!(!media.seen.iter().any(second));
}

#[test]
fn too_many_texts_are_refused() {
    let server = Server::start(|_, mut tcp| async move { while read_request(&mut tcp).await.is_some() {} });
    let config = reach(NOWHERE, &server.url(), NOWHERE);
    let mut media = Media::new();
    for segment in 0..65 {
        media.apply(job(&config, segment, 60_000));
    }
    let error = answer(&mut media, 64).expect_err("one too many");
    assert_eq!(error.code, "queue_full");
}
