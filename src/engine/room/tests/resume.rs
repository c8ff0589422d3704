//! Synthesis that fails in its middle: what was heard stays, what was not is asked for anew.

use proptest::prelude::*;

use super::*;

const TEXT: &str = "uno dos tres";

impl Call {
    fn speech_chunk(&mut self, chunk: SpeechChunk) {
        self.input(Input::Speech { segment: SegmentId(1), target: spanish(), chunk });
    }

    fn fail(&mut self) {
        let error = StageError { class: ErrorClass::RetryNow, ..out_of_service() };
        self.speech_chunk(SpeechChunk::Failed(error));
    }

    /// The texts given to the synthesiser so far.
    fn asked(&self) -> Vec<String> {
        let text = |c: &NetCommand| match c {
            NetCommand::Speak(job) => Some(job.text.clone()),
            _ => None,
        };
        self.net.iter().filter_map(text).collect()
    }

    /// Two words and the beginning of a third, with marks or without.
    fn begin(marks: bool) -> Self {
        let mut call = Call::pair();
        call.final_result(A, "one two three", 0, 80);
        call.translate(1, spanish(), TEXT);
        for (value, length, byte) in [(100, 800, 3), (200, 800, 7), (300, 400, 0)] {
            if marks && value == 100 {
                call.speech_chunk(SpeechChunk::Reached(0));
            }
            call.audio(1, spanish(), value, length);
            if marks && byte > 0 {
                call.speech_chunk(SpeechChunk::Reached(byte));
            }
        }
        call
    }

    fn heard(&self) -> Vec<(i16, usize)> {
        runs(&self.speech(B))
    }
}

/// Equal samples in a row: value and number.
fn runs(samples: &[i16]) -> Vec<(i16, usize)> {
    samples.chunk_by(|a, b| a == b).map(|run| (run[0], run.len())).collect()
}

#[test]
fn speech_goes_on_from_the_word_that_was_not_heard() {
    // (played before it failed in ms, what the ear hears)
    for (played, want) in
        [(0, vec![(100, 800), (200, 800), (300, 800)]), (400, vec![(100, 800), (200, 800), (300, 800)])]
    {
        let mut call = Call::begin(true);
        call.run(ms(played));
        call.fail();
        assert_eq!(call.asked(), [TEXT, "tres"], "{played}");
        call.audio(1, spanish(), 300, 800);
        call.end(1, spanish());
        call.run(ms(1000));
        assert_eq!(call.heard(), want, "{played}");
        assert!(call.lost().is_empty(), "{played}");
        let whole = |k: &EventKind| matches!(k, EventKind::SegmentDone { text, complete: true, .. } if text == TEXT);
        assert_eq!(call.kinds(whole), 1, "{played}");
    }
}

#[test]
fn a_stall_is_cancelled_and_resumed() {
    let mut call = Call::begin(true);
    call.run(ms(4900));
    assert_eq!(call.asked(), [TEXT]);
    call.run(ms(120));
    assert_eq!(call.asked(), [TEXT, "tres"]);
    let cancel = call.net.iter().position(|c| matches!(c, NetCommand::Cancel { .. })).expect("a cancellation");
    assert!(call.net[cancel..].iter().any(|c| matches!(c, NetCommand::Speak(_))), "first the one, then the other");
    call.audio(1, spanish(), 300, 800);
    call.end(1, spanish());
    call.run(ms(1000));
    assert_eq!(call.heard(), [(100, 800), (200, 800), (300, 800)]);
    assert!(call.lost().is_empty());
}

#[test]
fn what_was_on_its_way_when_a_stall_was_cancelled_is_not_heard() {
    let mut call = Call::begin(true);
    while !call.net.iter().any(|c| matches!(c, NetCommand::Cancel { .. })) {
        assert!(call.now < ms(9000));
        call.run(TICK);
    }
    call.audio(1, spanish(), 999, 800);
    call.run(ms(50));
    call.audio(1, spanish(), 300, 800);
    call.end(1, spanish());
    call.run(ms(1000));
    assert_eq!(call.heard(), [(100, 800), (200, 800), (300, 800)]);
}

#[test]
fn without_marks_the_whole_is_repeated_or_the_rest_is_lost() {
    let mut call = Call::begin(false);
    call.run(ms(40));
    call.fail();
    assert_eq!((call.asked().len(), call.lost()), (1, vec!["tts"]), "some of it was heard");
    // Behind a segment that sounds, nothing was heard of it yet.
    let mut call = Call::pair();
    call.final_result(A, "zero", 0, 40);
    call.final_result(A, "one two three", 50, 80);
    call.translate(1, spanish(), "cero");
    call.audio(1, spanish(), 50, 8000);
    call.translate(2, spanish(), TEXT);
    call.audio(2, spanish(), 100, 800);
    call.run(ms(100));
    let error = StageError { class: ErrorClass::ProviderOut, ..out_of_service() };
    let chunk = SpeechChunk::Failed(error);
    call.input(Input::Speech { segment: SegmentId(2), target: spanish(), chunk });
    assert_eq!(call.asked(), ["cero", TEXT, TEXT]);
    call.audio(2, spanish(), 200, 800);
    call.end(2, spanish());
    call.end(1, spanish());
    call.run(ms(2000));
    assert_eq!(call.heard(), [(50, 8000), (200, 800)]);
    assert!(call.lost().is_empty());
}

#[test]
fn attempts_are_bounded_with_progress_and_without() {
    let mut call = Call::begin(true);
    for attempt in 1..=4 {
        call.fail();
        assert_eq!((call.asked().len(), call.lost().len()), (1 + attempt, 0), "the same rest, attempt {attempt}");
        assert_eq!(call.asked()[attempt], "tres");
    }
    call.fail();
    assert_eq!((call.asked().len(), call.lost()), (5, vec!["tts"]));
    let text: String = (0..20).map(|i| format!("w{i:02} ")).collect();
    let mut call = Call::pair();
    call.final_result(A, "many words", 0, 80);
    call.translate(1, spanish(), &text);
    for i in 0..8 {
        assert!(call.lost().is_empty(), "attempt {i}");
        call.audio(1, spanish(), 100 + i, 400);
        call.speech_chunk(SpeechChunk::Reached(3));
        call.fail();
    }
    assert_eq!((call.asked().len(), call.lost()), (8, vec!["tts"]));
    call.run(ms(1000));
    assert_eq!(call.heard().len(), 8, "what has sound is heard");
}

#[test]
fn a_rest_without_words_ends_the_segment_and_lies_are_survived() {
    let mut call = Call::pair();
    call.final_result(A, "hello", 0, 80);
    call.translate(1, spanish(), "hola <...>");
    call.audio(1, spanish(), 100, 800);
    call.speech_chunk(SpeechChunk::Reached(4));
    for byte in [2, 1000, usize::MAX / 2] {
        call.speech_chunk(SpeechChunk::Reached(byte));
    }
    call.fail();
    call.run(ms(500));
    assert_eq!((call.asked().len(), call.heard(), call.lost().len()), (1, vec![(100, 800)], 0));
    assert_eq!(call.kinds(|k| matches!(k, EventKind::SegmentDone { complete: true, .. })), 1);
}

#[test]
fn a_retry_outlives_the_segments_timeout_while_something_is_heard() {
    let mut call = Call::pair();
    call.final_result(A, "one two", 0, 80);
    call.translate(1, spanish(), "uno dos");
    call.audio(1, spanish(), 100, 8 * 8000);
    call.speech_chunk(SpeechChunk::Reached(3));
    call.run(ms(4000));
    call.fail();
    call.run(ms(4500));
    assert_eq!((call.asked(), call.lost().len()), (vec!["uno dos".to_owned(), "dos".to_owned()], 0));
    call.audio(1, spanish(), 200, 800);
    call.end(1, spanish());
    call.run(ms(2000));
    assert_eq!(call.heard(), [(100, 8 * 8000), (200, 800)]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Whatever the cutting, wherever it fails and however far the ear is: every word whole and in order, and more
    /// than once only as far as a part of it had been heard.
    #[test]
    fn every_word_is_heard_whole_and_once(
        lengths in prop::collection::vec(60usize..1500, 1..8),
        faults in prop::collection::vec((0usize..6000, 0u64..400), 0..5),
        chunk in 160usize..900,
        pause in 0u64..60,
    ) {
        let words: Vec<String> = (0..lengths.len()).map(|i| format!("w{i}")).collect();
        let text = words.join(" ");
        let mut call = Call::pair();
        call.final_result(A, "some words", 0, 80);
        call.translate(1, spanish(), &text);
        // Samples of a word given by attempts that failed in it.
        let mut partly = vec![0; lengths.len()];
        let (mut faults, mut stuck) = (faults.into_iter(), false);
        loop {
            let asked = call.asked();
            let rest = asked.last().expect("a text");
            let first = text.len() - rest.len();
            prop_assert!(text.ends_with(rest.as_str()) && first.is_multiple_of(3), "{}", rest);
            let first = first / 3;
            // A rest that was tried twice in vain is given up; that is another test's.
            let (mut left, wait) = match faults.next().filter(|_| !stuck) {
                Some((at, wait)) => (at, Some(wait)),
                None => (usize::MAX, None),
            };
            call.speech_chunk(SpeechChunk::Reached(0));
            let mut failed_in = None;
            'attempt: for (word, length) in lengths.iter().copied().enumerate().skip(first) {
                let mut given = 0;
                while given < length {
                    let n = chunk.min(length - given).min(left);
                    if n == 0 {
                        failed_in = Some((word, given));
                        break 'attempt;
                    }
                    call.audio(1, spanish(), 100 * (word as i16 + 1), n);
                    call.run(ms(pause / 10 * 10));
                    (given, left) = (given + n, left.saturating_sub(n));
                }
                call.speech_chunk(SpeechChunk::Reached((word - first) * 3 + 2));
            }
            match failed_in {
                Some((word, given)) => {
                    call.run(ms(wait.unwrap_or(0) / 10 * 10));
                    partly[word] += given;
                    stuck = word == first;
                    call.fail();
                }
                None => break,
            }
        }
        call.end(1, spanish());
        call.run(ms(3000));
        prop_assert!(call.lost().is_empty());
        let heard = call.heard();
        prop_assert_eq!(heard.iter().map(|run| run.0).collect::<Vec<_>>(), (1..=words.len() as i16).map(|w| w * 100).collect::<Vec<_>>());
        for (word, (_, length)) in heard.into_iter().enumerate() {
            prop_assert!(length >= lengths[word] && length <= lengths[word] + partly[word], "word {}: {}", word, length);
        }
    }
}
