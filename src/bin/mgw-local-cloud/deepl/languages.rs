//! The languages that DeepL knows.

use serde_json::{Value, json};

const SOURCES: &[(&str, &str)] = &[
    ("AR", "Arabic"),
    ("BG", "Bulgarian"),
    ("CS", "Czech"),
    ("DA", "Danish"),
    ("DE", "German"),
    ("EL", "Greek"),
    ("EN", "English"),
    ("ES", "Spanish"),
    ("ET", "Estonian"),
    ("FI", "Finnish"),
    ("FR", "French"),
    ("HE", "Hebrew"),
    ("HI", "Hindi"),
    ("HU", "Hungarian"),
    ("ID", "Indonesian"),
    ("IT", "Italian"),
    ("JA", "Japanese"),
    ("KO", "Korean"),
    ("LT", "Lithuanian"),
    ("LV", "Latvian"),
    ("NB", "Norwegian (bokmål)"),
    ("NL", "Dutch"),
    ("PL", "Polish"),
    ("PT", "Portuguese"),
    ("RO", "Romanian"),
    ("RU", "Russian"),
    ("SK", "Slovak"),
    ("SL", "Slovenian"),
    ("SV", "Swedish"),
    ("TH", "Thai"),
    ("TR", "Turkish"),
    ("UK", "Ukrainian"),
    ("VI", "Vietnamese"),
    ("ZH", "Chinese"),
];
const TARGET_VARIANTS: &[(&str, &str)] = &[
    ("EN-US", "English (American)"),
    ("EN-GB", "English (British)"),
    ("PT-BR", "Portuguese (Brazilian)"),
    ("PT-PT", "Portuguese (European)"),
    ("ES-419", "Spanish (Latin American)"),
    ("ZH-HANS", "Chinese (simplified)"),
    ("ZH-HANT", "Chinese (traditional)"),
];
/// Targets that can be formal.
pub const FORMAL: &[&str] = &["DE", "FR", "IT", "ES", "ES-419", "NL", "PL", "PT-BR", "PT-PT", "JA", "RU"];

fn holds(list: &[(&str, &str)], code: &str) -> bool {
    list.iter().any(|(known, _)| *known == code)
}

/// Whether a text may be in a language; upper case.
pub fn is_source(code: &str) -> bool {
    holds(SOURCES, code)
}

/// Whether texts are translated into a language; upper case.
pub fn is_target(code: &str) -> bool {
    holds(SOURCES, code) || holds(TARGET_VARIANTS, code)
}

/// `[{language, name}]`
pub fn sources() -> Value {
    SOURCES.iter().map(|(code, name)| json!({"language": code, "name": name})).collect()
}

/// `[{language, name, supports_formality}]`; English and Portuguese are named by their variants.
pub fn targets() -> Value {
    let plain = SOURCES.iter().filter(|(code, _)| !matches!(*code, "EN" | "PT"));
    plain
        .chain(TARGET_VARIANTS)
        .map(|(code, name)| json!({"language": code, "name": name, "supports_formality": FORMAL.contains(code)}))
        .collect()
}
