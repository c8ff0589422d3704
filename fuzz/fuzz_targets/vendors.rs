//! What vendors send, through every pure parser: messages, replies whole and in pieces, error bodies, close reasons.
//!
//! The first byte of an input chooses a status and the size of pieces, the second one a cut; the rest is what came.
#![no_main]

use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;
use mgw_fuzz::provider::alignment::{Aligned, Tracker};
use mgw_fuzz::provider::elevenlabs::PcmJoiner;
use mgw_fuzz::provider::elevenlabs_http::{Line, Lines};
use mgw_fuzz::provider::openai_stream::Reader;
use mgw_fuzz::provider::stream_clock::StreamClock;
use mgw_fuzz::provider::{
    SpeechChunk, StageError, aura, deepgram, deepl, elevenlabs, elevenlabs_http, flux, libretranslate, openai, text,
};

const STATUSES: [u16; 12] = [200, 302, 400, 401, 402, 403, 413, 422, 429, 456, 500, 529];
const SPOKEN: &str = "Hello there, how are you?";

/// What an operator sees is short and one line.
fn check(error: &StageError) {
    let shown = [Some(&error.message), Some(&error.code), error.request_id.as_ref()];
    for (text, most) in shown.into_iter().zip([240, 64, 64]) {
        let Some(text) = text else { continue };
        assert!(text.chars().count() <= most, "{text:?}");
        assert!(!text.chars().any(char::is_control), "{text:?}");
    }
    let hidden = error.clone().without(&[SPOKEN, &error.message]);
    assert!(error.message.trim().chars().count() < 8 || hidden.message != error.message, "{hidden:?}");
}

/// Chunks of a text are within it, in order, on characters' borders; all samples are given.
fn speak(tracker: &mut Tracker, samples: Vec<i16>, aligned: Aligned, reached: &mut usize) {
    let (count, mut given) = (samples.len(), 0);
    for chunk in tracker.push(samples, aligned) {
        match chunk {
            SpeechChunk::Audio(samples) => given += samples.len(),
            SpeechChunk::Reached(at) => {
                assert!(at >= *reached && SPOKEN.is_char_boundary(at), "{at} after {reached}");
                *reached = at;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(given, count);
}

fn messages(said: &str, clock: &StreamClock) {
    match deepgram::parse(said) {
        deepgram::Message::Results(results) => drop(results.into_event(clock)),
        deepgram::Message::Error(error) => check(&error),
        deepgram::Message::SpeechStarted { timestamp } => drop(clock.start(timestamp)),
        deepgram::Message::UtteranceEnd { last_word_end } => drop(clock.end(last_word_end)),
        _ => {}
    }
    match flux::parse(said) {
        flux::Message::Turn(turn) => drop(turn.into_event(clock)),
        flux::Message::Error(error) => check(&error),
        _ => {}
    }
    match elevenlabs::parse(said) {
        elevenlabs::Message::Speech { audio, aligned, .. } => {
            let samples = PcmJoiner::default().push(&audio);
            assert_eq!(samples.len(), audio.len() / 2);
            speak(&mut Tracker::new(SPOKEN, 16_000), samples, aligned, &mut 0);
        }
        elevenlabs::Message::Error { error, .. } => check(&error),
        _ => {}
    }
    for range in text::clauses(said) {
        assert!(said.is_char_boundary(range.start) && said.is_char_boundary(range.end));
    }
    let clean = text::speakable(said);
    assert!(!clean.chars().any(|c| c.is_control() || c == '<'), "{clean:?}");
}

fn pieces(came: &[u8], size: usize) {
    let mut reader = Reader::default();
    let read = came.chunks(size).try_for_each(|piece| reader.push(piece)).and_then(|()| reader.finish());
    // The cut makes no difference.
    let mut whole = Reader::default();
    assert_eq!(read, whole.push(came).and_then(|()| whole.finish()));
    if let Err(error) = read {
        check(&error);
    }
    let (mut lines, mut tracker, mut joiner, mut reached) =
        (Lines::default(), Tracker::new(SPOKEN, 16_000), PcmJoiner::default(), 0);
    let mut complete = Vec::new();
    for piece in came.chunks(size) {
        match lines.push(piece) {
            Ok(some) => complete.extend(some),
            Err(error) => check(&error),
        }
    }
    complete.extend(lines.finish());
    for line in complete {
        match elevenlabs_http::parse_line(&line) {
            Line::Speech { audio, aligned } => speak(&mut tracker, joiner.push(&audio), aligned, &mut reached),
            Line::Error(error) => check(&error),
            Line::Unknown | Line::Malformed => {}
        }
    }
    assert!(aura::samples(came).len() <= came.len() / 2);
}

fn replies(came: &[u8], status: u16, headers: &HeaderMap) {
    for texts in [1, 2] {
        for reply in [deepl::parse_reply(came, texts), libretranslate::parse_reply(came, texts)] {
            match reply {
                Ok(all) => assert_eq!(all.len(), texts),
                Err(error) => check(&error),
            }
        }
    }
    let _ = deepl::check_usage(came).map_err(|error| check(&error));
    let _ = aura::check_reply(headers).map_err(|error| check(&error));
    for read in [
        deepgram::http_error,
        deepl::http_error,
        openai::http_error,
        libretranslate::http_error,
        elevenlabs::http_error,
        elevenlabs_http::http_error,
        aura::http_error,
    ] {
        check(&read(status, headers, came));
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((&[choice, cut], came)) = input.split_first_chunk() else { return };
    let status = STATUSES[usize::from(choice) % STATUSES.len()];
    let mut clock = StreamClock::new(16_000);
    clock.sent(Duration::from_secs(1), 16_000);
    clock.filler(320);
    let said = String::from_utf8_lossy(came);
    messages(&said, &clock);
    pieces(came, usize::from(cut).max(1));
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_bytes(&came[..came.len().min(usize::from(cut))]) {
        for name in
            ["content-type", "dg-request-id", "dg-error", "x-trace-id", "x-request-id", "request-id", "retry-after"]
        {
            headers.insert(name, value.clone());
        }
    }
    replies(came, status, &headers);
    let code = (choice > 1).then(|| 1000 + u16::from(cut));
    check(&deepgram::close_error(code, &said));
    check(&elevenlabs::close_error(code, &said));
});
