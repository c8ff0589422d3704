use proptest::prelude::*;
use serde_json::json;

use super::*;

/// `chars` of 10 ms each from `from` ms on.
fn even(chars: &str, from: u64) -> Value {
    let starts: Vec<u64> = (0..chars.chars().count() as u64).map(|i| from + i * 10).collect();
    let lengths = vec![10; starts.len()];
    let chars: Vec<String> = chars.chars().map(String::from).collect();
    json!({"chars": chars, "charStartTimesMs": starts, "charDurationsMs": lengths})
}

/// What a text gives at 1000 Hz: `Audio` as its length, `Reached` as the text up to there.
fn told(text: &str, chunks: &[(usize, Value)]) -> (Vec<String>, bool) {
    let mut tracker = Tracker::new(text, 1000);
    let mut told = Vec::new();
    for (length, alignment) in chunks {
        for chunk in tracker.push(vec![1; *length], Aligned::from_ms(Some(alignment))) {
            told.push(match chunk {
                SpeechChunk::Audio(samples) => samples.len().to_string(),
                SpeechChunk::Reached(byte) => format!("<{}>", &text[..byte]),
                other => format!("{other:?}"),
            });
        }
    }
    (told, tracker.is_contradicted())
}

#[test]
fn words_are_reached_when_their_audio_was_given() {
    for (name, text, chunks, want) in [
        ("one chunk", "ab cd", vec![(50, even("ab cd", 0))], "<> 20 <ab> 30 <ab cd>"),
        ("a space before and after", "ab cd", vec![(70, even(" ab cd ", 0))], "<> 30 <ab> 30 <ab cd> 10"),
        (
            "a word over two chunks",
            "ab cd",
            vec![(40, even("ab c", 0)), (10, even("d", 0))],
            "<> 20 <ab> 20 10 <ab cd>",
        ),
        (
            "the audio comes later than its times",
            "ab cd",
            vec![(10, even("ab cd", 0)), (40, json!(null))],
            "<> 10 10 <ab> 30 <ab cd>",
        ),
        (
            "times from the first chunk on",
            "ab cd",
            vec![(100, even("ab", 0)), (40, even(" cd", 100))],
            "<> 20 <ab> 80 30 <ab cd> 10",
        ),
        ("rounding", "ab", vec![(22, even("ab", 0))], "<> 22 <ab>"),
        ("a word that lacks next to nothing", "ab", vec![(15, even("ab", 0)), (20, json!(null))], "<> 15 <ab> 20"),
        ("none", "ab cd", vec![(50, json!(null))], "50"),
        ("none, then some", "ab cd", vec![(5, json!(null)), (50, even("ab cd", 0))], "5 <> 20 <ab> 30 <ab cd>"),
        ("punctuation", "a, ¿b?", vec![(60, even("a, ¿b?", 0))], "<> 20 <a,> 40 <a, ¿b?>"),
        ("no spaces", "今天。好", vec![(40, even("今天。好", 0))], "<> 10 <今> 20 <今天。> 10 <今天。好>"),
        (
            "several characters in an entry",
            "ab cd",
            vec![(
                50,
                json!({"chars": ["ab", " ", "cd"],
            "charStartTimesMs": [0, 20, 30], "charsDurationsMs": [20, 10, 20]}),
            )],
            "<> 20 <ab> 30 <ab cd>",
        ),
    ] {
        let (told, contradicted) = told(text, &chunks);
        assert_eq!(told.join(" "), want, "{name}");
        assert!(!contradicted, "{name}");
    }
}

#[test]
fn a_contradiction_ends_the_marks_and_not_the_audio() {
    let times = |chars: &[&str], starts: Value, lengths: Value| json!({"chars": chars, "charStartTimesMs": starts, "charDurationsMs": lengths});
    for (name, alignment) in [
        ("another text", even("xy", 0)),
        ("more than the text", even("ab cd ef", 0)),
        ("another number of times", times(&["a", "b"], json!([0]), json!([5, 5]))),
        ("backwards", times(&["a", "b"], json!([20, 10]), json!([5, 5]))),
        ("negative", times(&["a", "b"], json!([-1, 10]), json!([5, 5]))),
        ("a negative length", times(&["a", "b"], json!([0, 10]), json!([5, -5]))),
        ("texts for numbers", times(&["a", "b"], json!(["0", "10"]), json!([5, 5]))),
        ("a list", json!([])),
        ("a word", json!("alignment")),
        ("nothing in it", json!({})),
        ("huge", times(&["a", "b"], json!([0, 1e300]), json!([5, 5]))),
    ] {
        let (told, contradicted) = told("ab cd", &[(30, alignment), (30, even("ab cd", 0))]);
        assert_eq!(told, ["30", "30"], "{name}");
        assert!(contradicted, "{name}");
    }
    let (told, contradicted) = told("ab cd", &[(30, even("ab ", 0)), (30, even("x", 0)), (30, even("cd", 0))]);
    assert_eq!((told.join(" ").as_str(), contradicted), ("<> 20 <ab> 10 30 30", true));
}

#[test]
fn seconds_are_read_as_well() {
    let value = json!({"characters": ["a", "b"], "character_start_times_seconds": [0, 0.01], "character_end_times_seconds": [0.01, 0.02]});
    assert_eq!(
        Aligned::from_seconds(Some(&value)),
        Aligned::Chars(vec![("a".into(), 0.0, 10.0), ("b".into(), 10.0, 20.0)])
    );
    assert_eq!(Aligned::from_seconds(None), Aligned::None);
    assert_eq!(Aligned::from_seconds(Some(&even("ab", 0))), Aligned::Bad);
}

proptest! {
    #[test]
    fn all_audio_is_given_and_marks_only_grow(
        text in "[ab今 ]{0,30}",
        cuts in prop::collection::vec((0usize..80, 0usize..40, any::<bool>()), 0..8),
    ) {
        let mut tracker = Tracker::new(&text, 1000);
        let (mut chars, mut audio, mut given, mut reached) = (text.chars(), 0, 0, 0);
        for (length, count, aligned) in cuts {
            let spoken: String = if aligned { chars.by_ref().take(count).collect() } else { String::new() };
            given += length;
            for chunk in tracker.push(vec![0; length], Aligned::from_ms(Some(&even(&spoken, 0)))) {
                match chunk {
                    SpeechChunk::Audio(samples) => audio += samples.len(),
                    SpeechChunk::Reached(byte) => {
                        prop_assert!(byte >= reached && text.is_char_boundary(byte));
                        reached = byte;
                    }
                    other => prop_assert!(false, "{:?}", other),
                }
            }
            prop_assert_eq!(audio, given);
        }
        prop_assert!(!tracker.is_contradicted());
    }
}
