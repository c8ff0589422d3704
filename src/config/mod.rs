//! Settings: a TOML file, JSON text and key/value meet in one [table of keys](KEYS), from which
//! `docs/configuration.md` and `mgw.toml.sample` are generated.
//!
//! A [`Config`] collects settings; [`Config::gateway`] and [`Config::session`] turn them into typed
//! structs. A session's settings come, strongest first, from its own options, its profile, the
//! settings for all, and the defaults; a vendor's key also from the environment. The only thing read
//! from outside is the file named to [`Config::load_file`].

mod build;
mod choices;
pub mod docs;
mod endpoint;
mod error;
mod json;
mod keys;
mod languages;
mod load;
mod recorded;
mod resolve;
mod session;
mod value;
mod vendors;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

pub use choices::{
    AloneCue, DeepgramRegion, DeeplFormality, DeeplModelType, DeeplRegion, ElevenlabsRegion, LedgerPolicy, MtProvider,
    Original, Overflow, Overlap, PendingCue, Speculation, SttProvider, TtsProvider,
};
pub use endpoint::BaseUrl;
pub use error::{ConfigError, ErrorKind};
pub use keys::{DEFAULT_VOICE, KEYS, Key, Kind, RATES, Scope, find};
pub use languages::Language;
pub use session::{Budget, GatewayConfig, LedgerConfig, PlayoutConfig, RecorderConfig, SessionConfig};
pub use value::Secret;
pub use vendors::{
    AuraConfig, DeepgramConfig, DeeplConfig, ElevenlabsConfig, FluxConfig, LibretranslateConfig, OpenaiConfig,
};

use error::{Origin, quoted_key, suggestion};
use load::Found;
use value::{Raw, Value, name_byte};

/// Largest file or text taken, in bytes.
const MAX_TEXT: u64 = 1 << 20;
/// Longest profile name, in bytes.
const MAX_PROFILE_NAME: usize = 64;
/// Most mistakes told about one text.
const MAX_ERRORS: usize = 20;
const PROFILE_PREFIX: &str = "profile.";

/// A checked value and where it was given.
#[derive(Debug, Clone)]
pub(crate) struct Setting {
    pub(crate) value: Value,
    pub(crate) origin: Origin,
}

/// Settings of one place, by name without a profile.
pub(crate) type Layer = BTreeMap<String, Setting>;

/// Settings as they are collected; every one of them has passed its key's check.
///
/// Later settings of a key replace earlier ones. A load that fails changes nothing.
#[derive(Debug, Clone, Default)]
pub struct Config {
    pub(crate) global: Layer,
    pub(crate) profiles: BTreeMap<String, Layer>,
}

impl Config {
    /// No settings: everything is at its default, and there are no profiles.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets one key (`deepl.api_key`, `profile.8888.language`) to a value given as text.
    ///
    /// # Errors
    /// [`ErrorKind::UnknownKey`], [`ErrorKind::WrongPlace`] or [`ErrorKind::BadValue`].
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), ConfigError> {
        self.put(key, &Raw::Text(value.to_owned()), &Origin::default())
    }

    /// Reads TOML text; `file_name` is what messages call it.
    ///
    /// # Errors
    /// The first mistake, with up to 19 others in [`ConfigError::others`].
    pub fn load_toml(&mut self, text: &str, file_name: Option<&str>) -> Result<(), ConfigError> {
        check_size(text.len() as u64, file_name)?;
        self.put_all(load::toml(text, file_name)?)
    }

    /// Reads JSON text: one object, with objects inside it for sections, dotted keys, or both.
    ///
    /// # Errors
    /// The first mistake, with up to 19 others in [`ConfigError::others`].
    pub fn load_json(&mut self, text: &str) -> Result<(), ConfigError> {
        check_size(text.len() as u64, None)?;
        self.put_all(json::json(text, None)?)
    }

    /// Reads a file of at most 1 MiB: JSON if its name ends in `.json`, otherwise TOML.
    ///
    /// # Errors
    /// [`ErrorKind::File`] if it cannot be read, otherwise as [`load_toml`](Self::load_toml).
    pub fn load_file(&mut self, path: impl AsRef<Path>) -> Result<(), ConfigError> {
        let path = path.as_ref();
        let name = path.display().to_string();
        let text = read(path).map_err(|why| {
            let origin = Origin { file: Some(name.as_str().into()), ..Origin::default() };
            ConfigError::new(ErrorKind::File, "", format!("cannot read it: {why}")).at(&origin)
        })?;
        check_size(text.len() as u64, Some(&name))?;
        if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json")) {
            self.put_all(json::json(&text, Some(&name))?)
        } else {
            self.load_toml(&text, Some(&name))
        }
    }

    /// Names of all profiles, sorted.
    pub fn profile_names(&self) -> impl Iterator<Item = &str> {
        self.profiles.keys().map(String::as_str)
    }

    fn put_all(&mut self, found: Vec<Found>) -> Result<(), ConfigError> {
        let mut next = self.clone();
        let mut errors = Vec::new();
        for Found { path, raw, origin } in found {
            let put = match raw {
                Some(raw) => next.put(&path, &raw, &origin),
                None => next.put_section(&path),
            };
            errors.extend(put.err().map(|error| error.at(&origin)));
            if errors.len() == MAX_ERRORS {
                break;
            }
        }
        let mut errors = errors.into_iter();
        if let Some(mut first) = errors.next() {
            first.others = errors.collect();
            return Err(first);
        }
        *self = next;
        Ok(())
    }

    fn put(&mut self, path: &str, raw: &Raw, origin: &Origin) -> Result<(), ConfigError> {
        let (profile, name) = split(path)?;
        let Some(key) = find(name) else {
            return Err(unknown_key(path, profile, name));
        };
        if profile.is_some() && key.scope == Scope::Gateway {
            let message = format!("{} is for the whole gateway; it cannot stand in a profile", key.name);
            return Err(ConfigError::new(ErrorKind::WrongPlace, path, message));
        }
        let value =
            key.kind.check(raw).map_err(|why| ConfigError::new(ErrorKind::BadValue, path, format!("{path}{why}")))?;
        let layer = match profile {
            Some(profile) => self.profiles.entry(profile.to_owned()).or_default(),
            None => &mut self.global,
        };
        layer.insert(name.to_owned(), Setting { value, origin: origin.clone() });
        Ok(())
    }

    /// A section with nothing in it: makes a profile, or must at least be the name of a section.
    fn put_section(&mut self, path: &str) -> Result<(), ConfigError> {
        let (profile, name) = match path.strip_prefix(PROFILE_PREFIX) {
            Some(profile) if !profile.contains('.') => {
                check_profile(path, profile)?;
                self.profiles.entry(profile.to_owned()).or_default();
                return Ok(());
            }
            None if path == "profile" => return Ok(()),
            _ => split(path)?,
        };
        let section = format!("{name}.");
        if KEYS.iter().any(|key| key.name.starts_with(&section)) {
            return Ok(());
        }
        Err(unknown_key(path, profile, name))
    }
}

/// Splits `profile.<name>.<key>`; any other path is a key without a profile.
fn split(path: &str) -> Result<(Option<&str>, &str), ConfigError> {
    let Some(rest) = path.strip_prefix(PROFILE_PREFIX) else {
        return Ok((None, path));
    };
    let Some((profile, name)) = rest.split_once('.') else {
        let message = format!(
            "{} is a profile; set one of its keys, such as \"{PROFILE_PREFIX}8888.language\"",
            quoted_key(path)
        );
        return Err(ConfigError::new(ErrorKind::UnknownKey, path, message));
    };
    check_profile(path, profile)?;
    Ok((Some(profile), name))
}

fn check_profile(path: &str, profile: &str) -> Result<(), ConfigError> {
    let plain = profile.bytes().all(|b| name_byte(b) && b != b'.');
    if plain && !profile.is_empty() && profile.len() <= MAX_PROFILE_NAME {
        return Ok(());
    }
    let message =
        format!("{}: a profile's name has 1 to {MAX_PROFILE_NAME} letters, digits, '_' or '-'", quoted_key(path));
    Err(ConfigError::new(ErrorKind::BadValue, path, message))
}

fn unknown_key(path: &str, profile: Option<&str>, name: &str) -> ConfigError {
    let section = format!("{name}.");
    let inside: Vec<&str> = KEYS.iter().map(|key| key.name).filter(|key| key.starts_with(&section)).collect();
    let message = if !inside.is_empty() {
        format!("{} is a section; its keys are {}", quoted_key(path), inside.join(", "))
    } else {
        let prefix = profile.map(|profile| format!("{PROFILE_PREFIX}{profile}.")).unwrap_or_default();
        let mut candidates: Vec<String> = KEYS
            .iter()
            .filter(|key| profile.is_none() || key.scope == Scope::Session)
            .map(|key| format!("{prefix}{}", key.name))
            .collect();
        // `profiles.8888.language` is like no key, but very like one of a profile.
        if let (None, Some((first, rest))) = (profile, path.split_once('.'))
            && strsim::damerau_levenshtein(first, "profile") <= 2
        {
            candidates.push(format!("{PROFILE_PREFIX}{rest}"));
        }
        let near = suggestion(path, candidates.iter().map(String::as_str));
        format!("unknown key {}{near}", quoted_key(path))
    };
    ConfigError::new(ErrorKind::UnknownKey, path, message)
}

fn check_size(bytes: u64, file: Option<&str>) -> Result<(), ConfigError> {
    if bytes <= MAX_TEXT {
        return Ok(());
    }
    let origin = Origin { file: file.map(Into::into), ..Origin::default() };
    let message = format!("has more than {MAX_TEXT} bytes, too many for settings");
    Err(ConfigError::new(ErrorKind::File, "", message).at(&origin))
}

fn read(path: &Path) -> std::io::Result<String> {
    // A FIFO or a device could block the caller for ever.
    if !std::fs::metadata(path)?.is_file() {
        return Err(std::io::Error::other("not a regular file"));
    }
    let mut text = String::new();
    std::fs::File::open(path)?.take(MAX_TEXT + 1).read_to_string(&mut text)?;
    Ok(text)
}
