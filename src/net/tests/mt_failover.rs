//! Translation when providers fail in every way: who is asked next, what is told, and that it comes back.

use std::time::{Duration, Instant};

use super::super::dialer::DialerStore;
use super::super::mt_http::greet;
use super::super::test_server::{Notes, PATIENCE, Server};
use super::Media;
use super::mt_vendor::{Act, answer, ask, ask_into, events, once, settings, told, vendor, vendor_that_greets, whole};
use crate::config::MtProvider;
use crate::engine::NetCommand;
use crate::net::FromNet;
use crate::net::tests::SESSION;
use crate::provider::test_config::language;
use crate::provider::{ErrorClass, LinkState, Stage};

fn kind() -> (Notes, Server) {
    let notes = Notes::default();
    let server = vendor(&notes, |_, _| Act::Translate);
    (notes, server)
}

/// The first provider does `act` with the first `bad` requests and is sound afterwards; the second one is sound.
/// What the first one was asked, and what was told, when one text and then another one was translated.
fn first_fails(
    first: &'static str,
    bad: usize,
    act: impl Fn() -> Act + Send + Sync + 'static,
) -> (Vec<String>, Vec<String>) {
    let notes = Notes::default();
    let failing = vendor(&notes, move |number, _| if number < bad { act() } else { Act::Translate });
    let (_, second) = kind();
    let other = if first == "openai" { "libretranslate" } else { "openai" };
    let config = settings(&[(first, &failing), (other, &second)], &[("mt.timeout_ms", "400")]);
    let mut media = Media::new();
    for (segment, text) in [(1, "One"), (2, "Two")] {
        ask(&mut media, &config, segment, text, 15_000);
        let got = answer(&mut media, segment).expect("a translation");
        assert!(got.ends_with(text), "{got}");
    }
    // The states are told before the answers.
    once(&media, 1..=2);
    (notes.all("asked"), told(&media))
}

#[test]
fn what_fails_is_served_by_the_next_provider_and_the_first_one_is_asked_again() {
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\n{\"transl";
    // (name, requests that fail, what is told of the first provider)
    type Fault = Box<dyn Fn() -> Act + Send + Sync>;
    let table: Vec<(&str, usize, &str, Fault)> = vec![
        ("reset", 2, "connection", Box::new(|| Act::Reset(Vec::new()))),
        ("closed", 2, "connection", Box::new(|| Act::Raw(Vec::new()))),
        ("reset in the body", 2, "connection", Box::new(|| Act::Reset(head.into()))),
        ("closed in the body", 2, "connection", Box::new(|| Act::Raw(vec![head.into()]))),
        ("not HTTP", 2, "connection", Box::new(|| Act::Raw(vec![b"\0\xff\xff no\r\n\r\n".to_vec()]))),
        ("black hole", 1, "timeout", Box::new(|| Act::Silence)),
        ("500", 1, "500", Box::new(|| Act::Reply(500, String::new()))),
        ("529", 1, "529", Box::new(|| Act::Reply(529, "<html>".into()))),
        ("giant", 1, "reply_too_long", Box::new(|| whole(&vec![b' '; 2 << 20], ""))),
        ("truncated", 1, "bad_reply", Box::new(|| Act::Reply(200, "{\"translations\":[{".into()))),
        ("not UTF-8", 1, "bad_reply", Box::new(|| whole(b"{\"translations\":[{\"text\":\"\xff\"}]}", ""))),
        ("wrong type", 1, "bad_reply", Box::new(|| Act::Reply(200, r#"{"translations":[{"text":7}]}"#.into()))),
        ("missing", 1, "bad_reply", Box::new(|| Act::Reply(200, r#"{"translations":[{}]}"#.into()))),
        (
            "too many",
            1,
            "bad_reply",
            Box::new(|| Act::Reply(200, r#"{"translations":[{"text":"a"},{"text":"b"}]}"#.into())),
        ),
        ("empty", 1, "bad_reply", Box::new(|| Act::Reply(200, String::new()))),
    ];
    for (name, bad, code, act) in table {
        let (asked, told) = first_fails("deepl", bad, act);
        let want: Vec<String> = std::iter::repeat_n("One", bad).chain(["Two"]).map(str::to_owned).collect();
        assert_eq!(asked, want, "{name}");
        let want = [format!("deepl down {code} at once"), "openai ready".to_owned(), "deepl ready".to_owned()];
        assert_eq!(told, want, "{name}");
    }
}

#[test]
fn who_refuses_us_is_not_asked_again() {
    let redirect = "location: /v2/translate\r\n";
    for (name, code, status, headers) in [
        ("key", "403", "403 Forbidden", ""),
        ("unknown", "404", "404 Not Found", ""),
        ("quota", "456", "456 Quota", ""),
        ("later", "429", "429 Slow", "retry-after: 60\r\n"),
        (
            "date",
            "503",
            "503 Busy",
            "date: Wed, 21 Oct 2026 07:28:00 GMT\r\nretry-after: Wed, 21 Oct 2026 07:29:00 GMT\r\n",
        ),
        ("redirect loop", "307", "307 Elsewhere", redirect),
    ] {
        let raw = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n{headers}\r\n");
        let (asked, told) = first_fails("deepl", 1, move || Act::Raw(vec![raw.clone().into_bytes()]));
        assert_eq!(asked, ["One"], "{name}");
        assert_eq!(told, [format!("deepl down {code} at once"), "openai ready".to_owned()], "{name}");
    }
}

#[test]
fn broken_event_streams_are_served_by_the_next_provider() {
    const HALF: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Ho\"}}]}\n\n";
    let end = |reason: &str| {
        format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{}},\"finish_reason\":\"{reason}\"}}]}}\n\n")
    };
    type Pieces = Vec<Vec<u8>>;
    // (name, code, none if it is the text and not the provider; what comes)
    let table: Vec<(&str, Option<&str>, Pieces)> = vec![
        ("ends in the middle", Some("bad_reply"), vec![HALF.into()]),
        ("no JSON", Some("bad_reply"), vec![HALF.into(), b"data: {{{\n\n".to_vec()]),
        (
            "not UTF-8",
            Some("bad_reply"),
            vec![b"data: {\"choices\":[{\"delta\":{\"content\":\"\xc3\x28\"}}]}\n\n".to_vec()],
        ),
        (
            "error",
            Some("server_error"),
            vec![HALF.into(), b"data: {\"error\":{\"type\":\"server_error\"}}\n\n".to_vec()],
        ),
        ("named error", Some("stream_error"), vec![HALF.into(), b"event: error\ndata: {}\n\n".to_vec()]),
        ("endless", Some("reply_too_long"), vec![": x\n".repeat(300_000).into_bytes()]),
        ("too long", None, vec![HALF.into(), end("length").into_bytes()]),
        ("filtered", None, vec![HALF.into(), end("content_filter").into_bytes()]),
    ];
    for (name, code, pieces) in table {
        let (asked, told) = first_fails("openai", 1, move || events(pieces.clone()));
        assert_eq!(asked, ["One", "Two"], "{name}");
        let down = code.map(|code| format!("openai down {code} at once"));
        let want: Vec<String> =
            down.into_iter().chain(["libretranslate ready".to_owned(), "openai ready".to_owned()]).collect();
        assert_eq!(told, want, "{name}");
    }
}

#[test]
fn a_stream_in_small_pieces_is_put_together() {
    let stream = "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\"}}]}\r\n\r\n: ping\r\n\r\n\
        data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"¡Hola\"}}]}\r\n\r\n\
        data:{\"choices\":[{\"index\":0,\"delta\":{\"content\":\" señor!\"},\"finish_reason\":\"stop\"}]}\r\n\r\n\
        data: {\"choices\":[],\"usage\":{}}\r\n\r\ndata: [DONE]\r\n\r\n";
    let notes = Notes::default();
    let server = vendor(&notes, move |_, _| events(stream.as_bytes().chunks(3).map(<[u8]>::to_vec)));
    let config = settings(&[("openai", &server)], &[]);
    let mut media = Media::new();
    ask(&mut media, &config, 1, "Hello", 10_000);
    assert_eq!(answer(&mut media, 1), Ok("¡Hola señor!".to_owned()));
}

#[test]
fn one_provider_alone_is_asked_again_while_there_is_time() {
    for (name, bad) in [("black hole", 2), ("busy", 2)] {
        let notes = Notes::default();
        let server = vendor(&notes, move |number, _| match name {
            _ if number >= bad => Act::Translate,
            "busy" => Act::Reply(503, String::new()),
            _ => Act::Silence,
        });
        let config = settings(&[("deepl", &server)], &[("mt.timeout_ms", "200")]);
        let mut media = Media::new();
        ask(&mut media, &config, 1, "Hello", 10_000);
        assert_eq!(answer(&mut media, 1), Ok("deepl:Hello".to_owned()), "{name}");
        assert_eq!(notes.all("asked").len(), bad + 1, "{name}");
        assert_eq!(told(&media), ["deepl ready"], "{name}");
    }
}

#[test]
fn all_out_is_told_at_once_and_translation_comes_back_by_itself() {
    let notes = Notes::default();
    let busy = "HTTP/1.1 429 X\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n";
    let server =
        vendor(&notes, move |number, _| if number == 0 { Act::Raw(vec![busy.into()]) } else { Act::Translate });
    let config = settings(&[("deepl", &server)], &[]);
    let mut media = Media::new();
    ask(&mut media, &config, 1, "One", 700);
    let begun = Instant::now();
    let error = answer(&mut media, 1).expect_err("nobody serves");
    assert_eq!(error.class, ErrorClass::RetryLater(Some(Duration::from_secs(1))));
    assert!(begun.elapsed() < Duration::from_millis(650), "it did not wait for what could not come");
    let down = media.seen.iter().find_map(|message| match message {
        FromNet::Link { state: LinkState::Down { error, retry_in }, .. } => Some((error.code.clone(), *retry_in)),
        _ => None,
    });
    let (code, pause) = down.expect("it is told");
    assert_eq!(code, "429");
    let pause = pause.expect("it comes back");
    assert!(pause > Duration::from_millis(500) && pause <= Duration::from_millis(1250), "{pause:?}");
    // Nobody says anything; a request that costs nothing finds that it is over.
    media.ready(Stage::Mt);
    assert_eq!((notes.all("asked").len(), notes.all("greet").len()), (1, 1));
    ask(&mut media, &config, 2, "Two", 5000);
    assert_eq!(answer(&mut media, 2), Ok("deepl:Two".to_owned()));
}

#[test]
fn a_text_waits_for_a_short_pause_if_its_time_allows() {
    let notes = Notes::default();
    let busy = "HTTP/1.1 503 X\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n";
    let server =
        vendor(&notes, move |number, _| if number == 0 { Act::Raw(vec![busy.into()]) } else { Act::Translate });
    let config = settings(&[("deepl", &server)], &[]);
    let mut media = Media::new();
    ask(&mut media, &config, 1, "One", 15_000);
    assert_eq!(answer(&mut media, 1), Ok("deepl:One".to_owned()));
    assert_eq!(told(&media), ["deepl down 503", "deepl ready"], "the original is heard meanwhile");
}

#[test]
fn a_connection_is_warmed_and_a_refused_key_is_told_before_the_first_word() {
    let (good, bad) = (Notes::default(), Notes::default());
    let refusing = vendor_that_greets(&bad, |_| (403, ""), |_, _| Act::Translate);
    let second = vendor(&good, |_, _| Act::Translate);
    let config = settings(&[("deepl", &refusing), ("libretranslate", &second)], &[]);
    let mut media = Media::new();
    media.apply(NetCommand::OpenTts { session: SESSION, target: language("es"), config: config.clone(), rate: 16_000 });
    media.ready(Stage::Mt);
    assert_eq!(told(&media), ["deepl down 403 at once", "libretranslate ready"]);
    ask(&mut media, &config, 1, "One", 5000);
    assert_eq!(answer(&mut media, 1), Ok("libretranslate:One".to_owned()));
    assert_eq!((bad.all("greet").len(), bad.all("asked").len()), (1, 0));
    assert_eq!(good.all("greet"), ["GET /languages HTTP/1.1"]);
}

#[test]
fn a_used_up_quota_is_seen_before_the_first_word() {
    let usage = r#"{"character_count":5,"character_limit":5}"#;
    let notes = Notes::default();
    let server = vendor_that_greets(&notes, move |_| (200, usage), |_, _| Act::Translate);
    let config = settings(&[("deepl", &server)], &[]);
    let mut media = Media::new();
    media.apply(NetCommand::OpenTts { session: SESSION, target: language("es"), config: config.clone(), rate: 16_000 });
    let (error, retry_in) = media.down(Stage::Mt);
    assert_eq!((error.class, error.code.as_str()), (ErrorClass::ProviderOut, "456"));
    assert!(retry_in.is_some_and(|pause| pause >= Duration::from_secs(20)), "{retry_in:?}");
    ask(&mut media, &config, 1, "One", 60_000);
    assert_eq!(answer(&mut media, 1).expect_err("at once").code, "456");
    assert_eq!(notes.all("asked").len(), 0);
}

#[test]
fn a_server_without_a_greeting_is_there_all_the_same() {
    for status in [404, 405, 501] {
        for provider in ["openai", "libretranslate", "deepl"] {
            let notes = Notes::default();
            let server = vendor_that_greets(
                &notes,
                move |_| (status, r#"{"error":{"code":"unknown_url"}}"#),
                |_, _| Act::Translate,
            );
            let config = settings(&[(provider, &server)], &[]);
            let mut media = Media::new();
            media.apply(NetCommand::OpenTts {
                session: SESSION,
                target: language("es"),
                config: config.clone(),
                rate: 16_000,
            });
            super::until("greeting", || notes.all("greet").len() == 1);
            ask(&mut media, &config, 1, "One", 5000);
            assert_eq!(answer(&mut media, 1), Ok(format!("{provider}:One")), "{status}");
            assert_eq!(told(&media), [format!("{provider} ready")], "{status}");
        }
    }
}

#[test]
fn a_language_that_one_provider_lacks_concerns_nothing_else() {
    let (libre, chat) = (Notes::default(), Notes::default());
    let lacks = r#"{"error":"Dutch (nl) is not available as a target language from English (en)"}"#;
    let first = vendor(&libre, move |_, texts| match texts[0].as_str() {
        "Dutch" => Act::Reply(400, lacks.to_owned()),
        _ => Act::Translate,
    });
    let second = vendor(&chat, |_, _| Act::Translate);
    let config = settings(&[("libretranslate", &first), ("openai", &second)], &[]);
    let mut media = Media::new();
    for (segment, text, target, want) in
        [(1, "Dutch", "nl", "openai:Dutch"), (2, "Spanish", "es", "libretranslate:Spanish")]
    {
        ask_into(&mut media, &config, segment, text, 5000, target);
        assert_eq!(answer(&mut media, segment), Ok(want.to_owned()));
    }
    assert_eq!(told(&media), ["openai ready", "libretranslate ready"]);
    // Alone, it is that text's failure.
    let config = settings(&[("libretranslate", &first)], &[]);
    ask_into(&mut media, &config, 3, "Dutch", 5000, "nl");
    let error = answer(&mut media, 3).expect_err("no Dutch");
    assert_eq!((error.class, error.code.as_str()), (ErrorClass::Configuration, "language"));
    assert_eq!(told(&media).len(), 2, "{:?}", told(&media));
}

#[test]
fn a_quota_that_is_used_up_is_asked_about_where_nothing_else_tells() {
    let quota = r#"{"error":{"message":"No credit","code":"insufficient_quota"}}"#;
    let notes = Notes::default();
    let server = vendor(&notes, move |number, texts| {
        assert_eq!(texts, ["1"], "nothing that anybody said");
        if number == 0 { Act::Reply(429, quota.to_owned()) } else { Act::Translate }
    });
    let config = settings(&[("openai", &server)], &[]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let results = [true, false, true].map(|quota| {
        let asked = async {
            let dialer = DialerStore::default().get(None).await?;
            let deadline = tokio::time::Instant::now() + PATIENCE;
            greet(&dialer.fresh, MtProvider::Openai, &config, quota, deadline).await
        };
        runtime.block_on(asked).map_err(|error| error.class)
    });
    assert_eq!(results, [Err(ErrorClass::ProviderOut), Ok(()), Ok(())], "a list of models says nothing about it");
    assert_eq!((notes.all("asked").len(), notes.all("greet").len()), (2, 1));
}
