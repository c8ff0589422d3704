//! Finds the value that counts for a key among options, profile, environment, global settings and defaults.

use std::collections::BTreeMap;
use std::time::Duration;

use super::choices::Choice;
use super::endpoint::BaseUrl;
use super::error::{ConfigError, ErrorKind, Origin};
use super::keys::{Key, LABEL_PREFIX, find};
use super::languages::Language;
use super::value::{Raw, Secret, Value};
use super::{Layer, Setting};

/// Most labels of one session.
const MAX_LABELS: usize = 16;

/// Where a session (or, with one layer and no profile, the gateway) finds its settings.
pub(crate) struct Resolver<'a> {
    /// Strongest first.
    pub(crate) layers: &'a [&'a Layer],
    /// For the names of environment variables.
    pub(crate) profile: &'a str,
    /// How many layers are stronger than the environment's variable for this profile.
    pub(crate) before_env: usize,
    pub(crate) env: &'a dyn Fn(&str) -> Option<String>,
}

/// `DEEPL_API_KEY` for `deepl.api_key`.
pub(crate) fn env_name(key: &str) -> String {
    key.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect()
}

impl<'a> Resolver<'a> {
    fn given(&self, name: &str) -> Option<&'a Setting> {
        self.layers.iter().find_map(|layer| layer.get(name))
    }

    /// Where the value that counts stands.
    pub(crate) fn origin(&self, name: &str) -> Origin {
        self.given(name).map(|setting| setting.origin.clone()).unwrap_or_default()
    }

    fn value(&self, name: &str) -> Result<Value, ConfigError> {
        if let Some(setting) = self.given(name) {
            return Ok(setting.value.clone());
        }
        let key = known(name)?;
        let default = key.kind.check(&Raw::Text(key.default.to_owned()));
        default.map_err(|why| ConfigError::new(ErrorKind::BadValue, name, format!("{name}{why}")))
    }

    pub(crate) fn bool(&self, name: &str) -> Result<bool, ConfigError> {
        match self.value(name)? {
            Value::Bool(on) => Ok(on),
            _ => Err(mistyped(name)),
        }
    }

    pub(crate) fn int(&self, name: &str) -> Result<u32, ConfigError> {
        match self.value(name)? {
            Value::Int(n) => u32::try_from(n).map_err(|_| mistyped(name)),
            _ => Err(mistyped(name)),
        }
    }

    pub(crate) fn millis(&self, name: &str) -> Result<Duration, ConfigError> {
        Ok(Duration::from_millis(u64::from(self.int(name)?)))
    }

    pub(crate) fn float(&self, name: &str) -> Result<Option<f32>, ConfigError> {
        match self.value(name)? {
            Value::Float(x) => Ok(Some(x as f32)),
            Value::Unset => Ok(None),
            _ => Err(mistyped(name)),
        }
    }

    pub(crate) fn text(&self, name: &str) -> Result<Option<String>, ConfigError> {
        match self.value(name)? {
            Value::Text(text) => Ok(Some(text)),
            Value::Unset => Ok(None),
            _ => Err(mistyped(name)),
        }
    }

    /// Text that falls back to the default when it is given as `""`.
    pub(crate) fn name(&self, name: &str) -> Result<String, ConfigError> {
        match self.text(name)? {
            Some(text) => Ok(text),
            None => known(name).map(|key| key.default.to_owned()),
        }
    }

    pub(crate) fn list(&self, name: &str) -> Result<Vec<String>, ConfigError> {
        match self.value(name)? {
            Value::List(items) => Ok(items),
            _ => Err(mistyped(name)),
        }
    }

    pub(crate) fn url(&self, name: &str) -> Result<Option<BaseUrl>, ConfigError> {
        match self.value(name)? {
            Value::Url(url) => Ok(Some(url)),
            Value::Unset => Ok(None),
            _ => Err(mistyped(name)),
        }
    }

    pub(crate) fn language(&self, name: &str) -> Result<Option<Language>, ConfigError> {
        match self.value(name)? {
            Value::Language(language) => Ok(Some(language)),
            Value::Unset => Ok(None),
            _ => Err(mistyped(name)),
        }
    }

    pub(crate) fn choice<C: Choice>(&self, name: &str) -> Result<C, ConfigError> {
        match self.value(name)? {
            Value::Text(word) => C::from_word(&word).ok_or_else(|| mistyped(name)),
            _ => Err(mistyped(name)),
        }
    }

    /// The words of a [`Kind::Choices`](super::keys::Kind::Choices), at least one, in the order given.
    pub(crate) fn choices<C: Choice>(&self, name: &str) -> Result<Vec<C>, ConfigError> {
        self.list(name)?.iter().map(|word| C::from_word(word).ok_or_else(|| mistyped(name))).collect()
    }

    /// A vendor's key that may be missing.
    pub(crate) fn secret_if_any(&self, name: &str) -> Result<Option<Secret>, ConfigError> {
        match self.secret(name) {
            Ok(secret) => Ok(Some(secret)),
            Err(error) if error.kind == ErrorKind::Missing => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A vendor's key: option, profile, `NAME_PROFILE`, settings for all, `NAME`; `""` is as if not given.
    pub(crate) fn secret(&self, name: &str) -> Result<Secret, ConfigError> {
        let general = env_name(name);
        let special = format!("{general}_{}", env_name(self.profile));
        let (before, after) = self.layers.split_at(self.before_env.min(self.layers.len()));
        let in_layers = |layers: &[&Layer]| {
            layers.iter().filter_map(|layer| layer.get(name)).find_map(|setting| match &setting.value {
                Value::Secret(secret) => Some(secret.clone()),
                _ => None,
            })
        };
        let in_env = |variable: &str| match (self.env)(variable) {
            Some(text) if !text.trim().is_empty() => Secret::parse(&text).map(Some).map_err(|why| {
                ConfigError::new(ErrorKind::BadValue, name, format!("environment variable {variable} {why}"))
            }),
            _ => Ok(None),
        };
        if let Some(secret) = in_layers(before) {
            return Ok(secret);
        }
        if let Some(secret) = in_env(&special)? {
            return Ok(secret);
        }
        if let Some(secret) = in_layers(after) {
            return Ok(secret);
        }
        in_env(&general)?.ok_or_else(|| {
            let message =
                format!("{name} is not given; set it in the file, or in the environment as {special} or {general}");
            ConfigError::new(ErrorKind::Missing, name, message)
        })
    }

    /// All labels, of every layer; `""` takes a label away.
    pub(crate) fn labels(&self) -> Result<BTreeMap<String, String>, ConfigError> {
        let mut labels = BTreeMap::new();
        for layer in self.layers.iter().rev() {
            for (name, setting) in layer.iter() {
                let Some(label) = name.strip_prefix(LABEL_PREFIX) else {
                    continue;
                };
                match &setting.value {
                    Value::Text(text) => labels.insert(label.to_owned(), text.clone()),
                    _ => labels.remove(label),
                };
            }
        }
        if labels.len() > MAX_LABELS {
            let message = format!("a session has at most {MAX_LABELS} labels, not {}", labels.len());
            return Err(ConfigError::new(ErrorKind::BadValue, "label.*", message));
        }
        Ok(labels)
    }
}

fn known(name: &str) -> Result<&'static Key, ConfigError> {
    find(name).ok_or_else(|| mistyped(name))
}

/// The table and the code that reads it disagree; tests read every key, so this is never seen.
fn mistyped(name: &str) -> ConfigError {
    ConfigError::new(ErrorKind::BadValue, name, format!("{name} cannot be read as its kind"))
}
