//! Table tests of the settings, one row per case; and what they share.

use super::*;

mod loading;
mod sessions;

pub(super) fn no_env(_: &str) -> Option<String> {
    None
}

pub(super) fn keys(_: &str) -> Option<String> {
    Some("key".to_owned())
}

pub(super) fn toml(text: &str) -> Config {
    let mut config = Config::new();
    config.load_toml(text, Some("mgw.toml")).expect("valid settings");
    config
}

pub(super) fn options(settings: &[(&str, &str)]) -> Config {
    let mut config = Config::new();
    for (key, value) in settings {
        config.set(key, value).expect("valid option");
    }
    config
}
