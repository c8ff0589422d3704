//! Language codes, and which of the two languages a text is in.

/// The primary subtag in lower case: `EN-US`, `en_US` and `en` are all `en`.
pub fn primary(code: &str) -> String {
    code.split(['-', '_']).next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Frequent words that only one of the two languages has.
const ENGLISH: &[&str] = &[
    "the", "is", "are", "you", "and", "of", "to", "i", "it", "my", "your", "have", "do", "what", "how", "where",
    "please", "thank", "thanks", "good", "hello", "for", "with", "this", "can", "at", "not", "yes", "we", "need",
];
const SPANISH: &[&str] = &[
    "el", "la", "los", "las", "un", "una", "es", "son", "y", "de", "que", "qué", "en", "mi", "su", "tengo", "para",
    "por", "con", "gracias", "hola", "dónde", "cómo", "cuánto", "sí", "muy", "necesito", "quiero", "está", "usted",
    "buenos", "buenas", "adiós", "hasta", "favor",
];

/// Guesses `en` or `es` from frequent words and letters; `None` if nothing speaks for either.
pub fn guess(text: &str) -> Option<&'static str> {
    let lower = text.to_lowercase();
    let mut balance = 0_i32;
    for word in lower.split(|c: char| !c.is_alphabetic() && c != '\'') {
        balance += i32::from(ENGLISH.contains(&word)) - i32::from(SPANISH.contains(&word));
    }
    balance -= lower.chars().filter(|c| "áéíóúñ¿¡".contains(*c)).count().min(3) as i32;
    match balance {
        0 => None,
        1.. => Some("en"),
        _ => Some("es"),
    }
}

const PROPER: &[&str] = &[
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
    "sunday",
    "january",
    "february",
    "april",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
    "english",
    "spanish",
    "american",
];

/// Writes an English word of the recogniser's dictionary (all lower case) as a text has it: `I`, `I'm`, `Monday`.
pub fn english_case(word: &str) -> String {
    let lower = word.to_ascii_lowercase();
    if lower == "i" || lower.starts_with("i'") || PROPER.contains(&lower.as_str()) {
        capitalise(word)
    } else {
        word.to_owned()
    }
}

/// The text with its first letter in upper case.
pub fn capitalise(text: &str) -> String {
    change_first(text, |c| c.to_uppercase().collect())
}

/// The text with its first letter in lower case.
pub fn uncapitalise(text: &str) -> String {
    change_first(text, |c| c.to_lowercase().collect())
}

fn change_first(text: &str, change: impl Fn(char) -> String) -> String {
    match text.char_indices().find(|(_, c)| c.is_alphabetic()) {
        Some((at, letter)) => {
            let rest = &text[at + letter.len_utf8()..];
            format!("{}{}{rest}", &text[..at], change(letter))
        }
        None => text.to_owned(),
    }
}
