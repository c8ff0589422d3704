//! Settings as a flight record holds them: what is typed by hand here comes back as it was, a secret does not.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::endpoint::BaseUrl;
use super::languages::Language;
use super::value::Secret;
use super::{Config, RATES, SessionConfig};

impl Serialize for Language {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.code())
    }
}

impl<'de> Deserialize<'de> for Language {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(from)?).map_err(|_| D::Error::custom("a language that is not known here"))
    }
}

impl Serialize for BaseUrl {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for BaseUrl {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(from)?).map_err(D::Error::custom)
    }
}

/// Never written: it is empty in a record.
impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str("")
    }
}

/// Whatever a record says, it is one that every vendor refuses.
impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        serde::de::IgnoredAny::deserialize(from).map(|_| Self::absent())
    }
}

impl SessionConfig {
    /// Settings out of a record. What they lack, because the record is older than a key, is at its default.
    ///
    /// # Errors
    /// What is wrong with them, without quoting them.
    pub(crate) fn from_record(recorded: Value) -> Result<Self, String> {
        let mut all = serde_json::to_value(usual()?).map_err(|_| "the defaults cannot be written")?;
        put_over(&mut all, recorded);
        let config: Self = serde_json::from_value(all).map_err(|e| crate::engine::record::shape(&e))?;
        let rates = [Some(config.rate_in), Some(config.rate_out), config.tts_sample_rate];
        if rates.into_iter().flatten().any(|hz| !RATES.contains(&hz)) {
            return Err("a sample rate that mgw does not carry".into());
        }
        if config.stt_providers.is_empty() || config.mt_providers.is_empty() || config.tts_providers.is_empty() {
            return Err("a stage without a provider".into());
        }
        Ok(config)
    }
}

/// A session of which nothing but its language is set.
fn usual() -> Result<SessionConfig, String> {
    let mut config = Config::new();
    config.set("profile.record.language", "en").map_err(|e| e.to_string())?;
    config.session("record", &Config::new(), &|_| Some("none".into())).map_err(|e| e.to_string())
}

/// Puts what is given over what is there, key by key.
fn put_over(there: &mut Value, given: Value) {
    match (there, given) {
        (Value::Object(there), Value::Object(given)) => {
            for (key, value) in given {
                put_over(there.entry(key).or_insert(Value::Null), value);
            }
        }
        (there, given) => *there = given,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_come_back_as_they_were_without_their_secrets() {
        let mut config = Config::new();
        for (key, value) in [
            ("profile.p.language", "pt_br"),
            ("profile.p.hears", "zh-TW"),
            ("profile.p.label.queue", "sales \"east\""),
            ("playout.stretch_max", "1.13"),
            ("gain.translation_db", "-3.7"),
            ("stt.provider", "flux,deepgram"),
            ("flux.eager_eot_threshold", "0.41"),
            ("deepgram.api_key", "hunter2"),
            ("deepgram.keyterm", "a,b"),
            ("openai.api_key", "hunter2"),
            ("deepl.base_url", "http://127.0.0.1:7/x"),
        ] {
            config.set(key, value).unwrap_or_else(|e| panic!("{e}"));
        }
        let before = config.session("p", &Config::new(), &|_| Some("hunter2".into())).unwrap();
        let text = serde_json::to_string(&before).unwrap();
        assert!(!text.contains("hunter2"), "{text}");
        let mut after = SessionConfig::from_record(serde_json::from_str(&text).unwrap()).unwrap();
        assert_eq!(format!("{after:?}"), format!("{before:?}"), "all that can be seen of them");
        assert_eq!(after.deepgram.api_key.expose(), "");
        for (there, was) in [
            (&mut after.deepgram.api_key, &before.deepgram.api_key),
            (&mut after.deepl.api_key, &before.deepl.api_key),
            (&mut after.elevenlabs.api_key, &before.elevenlabs.api_key),
        ] {
            *there = was.clone();
        }
        (after.openai.api_key, after.libretranslate.api_key) =
            (before.openai.api_key.clone(), before.libretranslate.api_key.clone());
        assert_eq!(after, before);
    }

    #[test]
    fn a_record_that_is_older_than_a_key_gets_its_default_and_nonsense_is_refused() {
        let from = |text: &str| SessionConfig::from_record(serde_json::from_str(text).unwrap());
        let config = from(r#"{"language": "es", "playout": {"stretch_max": 1.5}, "no_longer": 1}"#).unwrap();
        assert_eq!(config.language.code(), "es");
        assert_eq!(config.playout, super::super::PlayoutConfig { stretch_max: 1.5, ..usual().unwrap().playout });
        for (text, why) in [
            (r#"{"language": "hunter2"}"#, "not known"),
            (r#"{"rate_in": 4000000000}"#, "rate"),
            (r#"{"mt_providers": []}"#, "provider"),
            (r#"{"role": {"hunter2": 1}}"#, "not what"),
        ] {
            let error = from(text).unwrap_err();
            assert!(error.contains(why) && !error.contains("hunter2"), "{text}: {error}");
        }
    }
}
