//! Texts for synthesisers, whoever they are: made safe to speak, and cut into clauses.

use std::ops::Range;

use super::error::is_bidi_control;

/// Longest text spoken at once, in characters: every vendor takes more, and nobody wants to hear more.
pub const MAX_TEXT: usize = 5_000;
/// A clause is cut off at punctuation once it has so many characters …
const LEAST_CLAUSE: usize = 16;
/// … or, where characters are whole syllables, so many.
const LEAST_IDEOGRAPHS: usize = 6;
/// Longest clause in characters.
const MOST_CLAUSE: usize = 100;

/// A text that is safe to synthesise: one line without control and bidi characters, without `<` and
/// `&` (which could begin markup), at most [`MAX_TEXT`] characters, cut at a space where there is one.
pub fn speakable(text: &str) -> String {
    let mut line = String::with_capacity(text.len().min(MAX_TEXT));
    for word in text
        .split(|c: char| c.is_whitespace() || c.is_control() || c == '<' || c == '&')
        .map(|word| word.chars().filter(|c| !is_bidi_control(*c) && *c != '\u{FEFF}').collect::<String>())
        .filter(|word| !word.is_empty())
    {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(&word);
        if line.len() > MAX_TEXT * 4 {
            break;
        }
    }
    if line.chars().count() > MAX_TEXT {
        let cut: String = line.chars().take(MAX_TEXT).collect();
        line = cut.rsplit_once(' ').map_or(cut.as_str(), |(head, _)| head).to_owned();
    }
    line
}

/// Whether a text has anything to say: nothing but punctuation gives no audio, or a noise.
pub fn says_something(text: &str) -> bool {
    text.contains(char::is_alphanumeric)
}

/// Scripts that are written without spaces and in which a word may be cut off before any character: Chinese
/// characters and kana. (Thai and its neighbours have no spaces either, but their words must not be cut anywhere.)
pub fn is_ideograph(c: char) -> bool {
    matches!(c, '\u{3041}'..='\u{30FF}' | '\u{3105}'..='\u{312F}' | '\u{3400}'..='\u{4DBF}' | '\u{4E00}'..='\u{9FFF}'
        | '\u{F900}'..='\u{FAFF}' | '\u{20000}'..='\u{323AF}')
}

/// Whether a word ends between two characters; `None` is the end of the text.
pub fn is_border(before: char, after: Option<char>) -> bool {
    let Some(after) = after else { return true };
    if after.is_whitespace() {
        return true;
    }
    // Small kana and the long vowel belong to the character before them, punctuation to the word.
    let hangs_on = matches!(
        after,
        'ぁ' | 'ぃ'
            | 'ぅ'
            | 'ぇ'
            | 'ぉ'
            | 'っ'
            | 'ゃ'
            | 'ゅ'
            | 'ょ'
            | 'ァ'
            | 'ィ'
            | 'ゥ'
            | 'ェ'
            | 'ォ'
            | 'ッ'
            | 'ャ'
            | 'ュ'
            | 'ョ'
            | 'ー'
    );
    let ideographic = is_ideograph(before) || is_ideograph(after) || is_stop(before) == Some(true);
    ideographic && !hangs_on && after.is_alphanumeric()
}

/// Whether a character ends a sentence or a clause: `Some(true)` if it does so without a space behind it.
fn is_stop(c: char) -> Option<bool> {
    match c {
        '.' | '!' | '?' | '…' | ';' | ':' | ',' | '،' | '؛' | '؟' | '।' => Some(false),
        '。' | '！' | '？' | '；' | '：' | '，' | '、' => Some(true),
        _ => None,
    }
}

/// Cuts a [speakable] text into clauses to be spoken one after the other: at the punctuation of sentences and
/// clauses, at most `MOST_CLAUSE` characters each, none much shorter than `LEAST_CLAUSE` where that can be had.
/// Every byte of the text is in exactly one of them.
pub fn clauses(text: &str) -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = Vec::new();
    let (mut start, mut length) = (0, 0);
    // The last place between two words: where it is, and how long the clause is up to there.
    let mut space: Option<(usize, usize)> = None;
    let mut chars = text.char_indices().peekable();
    let mut after_stop = false;
    while let Some((at, c)) = chars.next() {
        length += 1;
        let end = at + c.len_utf8();
        let next = chars.peek().map(|(_, next)| *next);
        // Quotes and brackets behind a full stop belong to its sentence.
        let stop = is_stop(c);
        after_stop = stop.is_some() || (after_stop && !c.is_alphanumeric() && !c.is_whitespace());
        let ends = after_stop && (stop == Some(true) || next.is_none_or(char::is_whitespace));
        let enough =
            if is_ideograph(text[start..].chars().next().unwrap_or(' ')) { LEAST_IDEOGRAPHS } else { LEAST_CLAUSE };
        if is_border(c, next) {
            space = Some((end, length));
        }
        if ends && length >= enough && next.is_some() {
            found.push(start..end);
            (start, length, space) = (end, 0, None);
        } else if length >= MOST_CLAUSE && next.is_some() {
            let (cut, used) = space.unwrap_or((end, length));
            found.push(start..cut);
            (start, length, space) = (cut, length - used, None);
        }
    }
    if start < text.len() {
        // A short end sounds better with what is before it.
        match found.last_mut() {
            Some(last) if length < LEAST_CLAUSE && text[last.clone()].chars().count() + length <= MOST_CLAUSE => {
                last.end = text.len();
            }
            _ => found.push(start..text.len()),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn texts_are_made_safe() {
        for (text, want) in [
            ("Hola, ¿qué tal?", "Hola, ¿qué tal?"),
            ("a\r\nb\tc\0d\u{85}e\u{9b}f", "a b c d e f"),
            ("<break time=\"10s\"/>now", "break time=\"10s\"/>now"),
            ("R&D &lt;b>", "R D lt;b>"),
            ("ab\u{202E}cd\u{2066}\u{200F}ef\u{FEFF}", "abcdef"),
            ("  \n ", ""),
            ("", ""),
        ] {
            assert_eq!(speakable(text), want, "{text:?}");
        }
        let long = speakable(&"wörd ".repeat(5000));
        assert!(long.chars().count() <= MAX_TEXT && long.ends_with("wörd"), "cut at a space");
        assert_eq!(speakable(&"é".repeat(MAX_TEXT * 9)).chars().count(), MAX_TEXT);
    }

    #[test]
    fn clauses_end_at_punctuation() {
        let long = "una palabra ".repeat(20);
        let solid = "x".repeat(250);
        for (text, want) in [
            ("", vec![]),
            ("Hola.", vec!["Hola."]),
            ("Sí. No. Tal vez.", vec!["Sí. No. Tal vez."]),
            ("Buenos días, señora. ¿Cómo está usted hoy?", vec!["Buenos días, señora.", " ¿Cómo está usted hoy?"]),
            (
                "It costs 3.14 dollars, which is not much. Ok?",
                vec!["It costs 3.14 dollars,", " which is not much. Ok?"],
            ),
            (
                "He said \"I will not come.\" Then he left us.",
                vec!["He said \"I will not come.\"", " Then he left us."],
            ),
            ("今天天气很好。我们去公园散步吧，好不好？", vec!["今天天气很好。", "我们去公园散步吧，", "好不好？"]),
            (long.trim(), vec![&long[..99], &long[99..195], &long[195..239]]),
            (&solid, vec![&solid[..100], &solid[100..200], &solid[200..]]),
        ] {
            let cut: Vec<&str> = clauses(text).into_iter().map(|range| &text[range]).collect();
            if want.last() == Some(&"好不好？") {
                // Whether the short end stands alone is a matter of taste; nothing may be missing.
                assert_eq!(cut.concat(), text);
                assert_eq!(cut[0], want[0]);
            } else {
                assert_eq!(cut, want, "{text}");
            }
        }
    }

    proptest! {
        #[test]
        fn safe_texts_stay_safe(text in any::<String>()) {
            let safe = speakable(&text);
            prop_assert!(!safe.contains(|c: char| c.is_control() || is_bidi_control(c) || c == '<' || c == '&'));
            prop_assert_eq!(speakable(&safe), safe);
        }

        #[test]
        fn every_byte_is_in_one_clause(text in "[a-zé .,!?。、今天 ]{0,400}") {
            let cut = clauses(&text);
            let mut at = 0;
            for clause in &cut {
                prop_assert_eq!(clause.start, at);
                prop_assert!(!clause.is_empty());
                prop_assert!(text[clause.clone()].chars().count() <= MOST_CLAUSE);
                at = clause.end;
            }
            prop_assert_eq!(at, text.len());
        }
    }
}
