//! Settings for tests: an English speaker whose words others hear in Spanish.

use crate::config::{Config, Language, SessionConfig};

/// Keys that must never turn up in an error, an event or a URL.
pub(crate) const KEYS: [&str; 3] =
    ["canary-deepgram-key-000001", "canary-deepl-key-00000002:fx", "canary-elevenlabs-key-03"];

/// Settings with `more` on top.
pub(crate) fn config(more: &[(&str, &str)]) -> SessionConfig {
    let mut config = Config::new();
    let basic = [
        ("profile.t.language", "en"),
        ("deepgram.api_key", KEYS[0]),
        ("deepl.api_key", KEYS[1]),
        ("elevenlabs.api_key", KEYS[2]),
        ("tts.voice", "voice1"),
    ];
    for (key, value) in basic.iter().chain(more) {
        if let Err(error) = config.set(key, value) {
            panic!("{key}: {error}");
        }
    }
    match config.session("t", &Config::new(), &|_| None) {
        Ok(config) => config,
        Err(error) => panic!("{error}"),
    }
}

/// A language of the table.
pub(crate) fn language(code: &str) -> Language {
    match Language::parse(code) {
        Ok(language) => language,
        Err(error) => panic!("{error}"),
    }
}
