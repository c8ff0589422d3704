//! Reads and checks the query of `/v2/listen`, and what `Configure` may change of it.

use crate::deepgram::query::Encoding;
use serde_json::{Value, json};

/// Most terms of a list.
const MOST_TERMS: usize = 100;

/// When a turn is over.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Thresholds {
    /// Confidence for EndOfTurn.
    pub eot: f64,
    /// Confidence for EagerEndOfTurn; `None` is off.
    pub eager: Option<f64>,
    /// Silence that ends a turn whatever the confidence.
    pub timeout_ms: u32,
}

impl Thresholds {
    fn check(self) -> Result<Thresholds, String> {
        if !(0.5..=0.9).contains(&self.eot) {
            return Err("eot_threshold must be between 0.5 and 0.9".to_owned());
        }
        if self.eager.is_some_and(|eager| !(0.3..=0.9).contains(&eager)) {
            return Err("eager_eot_threshold must be between 0.3 and 0.9".to_owned());
        }
        if self.eager.is_some_and(|eager| eager > self.eot) {
            return Err("eager_eot_threshold must not be above eot_threshold".to_owned());
        }
        if !(500..=10_000).contains(&self.timeout_ms) {
            return Err("eot_timeout_ms must be between 500 and 10000".to_owned());
        }
        Ok(self)
    }

    /// As the vendor's JSON; a threshold that is off is not there.
    pub fn json(self) -> Value {
        let mut json = json!({"eot_threshold": self.eot, "eot_timeout_ms": self.timeout_ms});
        if let Some(eager) = self.eager {
            json["eager_eot_threshold"] = json!(eager);
        }
        json
    }
}

/// A checked query.
#[derive(Clone, Debug)]
pub struct Query {
    /// Whether all languages are heard.
    pub multi: bool,
    /// Coding of the audio.
    pub encoding: Encoding,
    /// Hz.
    pub sample_rate: u32,
    /// When a turn is over.
    pub thresholds: Thresholds,
    /// `keyterm`
    pub keyterms: Vec<String>,
    /// `language_hint`
    pub hints: Vec<String>,
}

impl Query {
    /// Checks `name=value` pairs; the error is the text for `err_msg`.
    pub fn parse(raw: &str) -> Result<Query, String> {
        let (mut model, mut encoding, mut rate) = (None, None, None);
        let mut thresholds = Thresholds { eot: 0.7, eager: None, timeout_ms: 5000 };
        let (mut keyterms, mut hints, mut seen) = (Vec::new(), Vec::new(), Vec::new());
        for (name, value) in url::form_urlencoded::parse(raw.as_bytes()) {
            let bad = || format!("Failed to deserialize query parameters: {name}: `{value}` is not allowed");
            if seen.contains(&name) && !matches!(&*name, "keyterm" | "language_hint" | "tag") {
                return Err(format!("Failed to deserialize query parameters: duplicate field `{name}`"));
            }
            match &*name {
                "model" => model = Some(value.to_string()),
                "encoding" => {
                    encoding = Some(match &*value {
                        "linear16" => Encoding::Linear16,
                        "mulaw" => Encoding::Mulaw,
                        "alaw" => Encoding::Alaw,
                        "linear32" | "opus" | "ogg-opus" => {
                            return Err(format!("the emulator decodes linear16, mulaw and alaw only, not {value}"));
                        }
                        _ => return Err(bad()),
                    });
                }
                "sample_rate" => match value.parse() {
                    Ok(hz @ (8000 | 16000 | 24000 | 44100 | 48000)) => rate = Some(hz),
                    _ => return Err(bad()),
                },
                "eot_threshold" => thresholds.eot = value.parse().map_err(|_| bad())?,
                "eager_eot_threshold" => thresholds.eager = Some(value.parse().map_err(|_| bad())?),
                "eot_timeout_ms" => thresholds.timeout_ms = value.parse().map_err(|_| bad())?,
                "keyterm" if !value.is_empty() => keyterms.push(value.to_string()),
                "language_hint" if !value.is_empty() => hints.push(value.to_string()),
                "profanity_filter" | "numerals" | "mip_opt_out" if matches!(&*value, "true" | "false") => {}
                "redact" if matches!(&*value, "numbers" | "aggressive_numbers") => {}
                "tag" if !value.is_empty() && value.len() <= 128 => {}
                "keyterm" | "language_hint" | "profanity_filter" | "numerals" | "mip_opt_out" | "redact" | "tag" => {
                    return Err(bad());
                }
                _ => return Err(format!("Failed to deserialize query parameters: unknown field `{name}`")),
            }
            seen.push(name);
        }
        let missing = |name: &str| format!("Failed to deserialize query parameters: missing field `{name}`");
        let multi = match model.as_deref() {
            Some("flux-general-en") => false,
            Some("flux-general-multi") => true,
            Some(other) => return Err(format!("No such model/language/tier combination found: {other:.60}")),
            None => return Err(missing("model")),
        };
        let query = Query {
            multi,
            encoding: encoding.ok_or_else(|| missing("encoding"))?,
            sample_rate: rate.ok_or_else(|| missing("sample_rate"))?,
            thresholds: thresholds.check()?,
            keyterms,
            hints,
        };
        query.check_lists()?;
        Ok(query)
    }

    fn check_lists(&self) -> Result<(), String> {
        if !self.hints.is_empty() && !self.multi {
            return Err("language_hint is supported by flux-general-multi only".to_owned());
        }
        if self.keyterms.len() > MOST_TERMS {
            return Err(format!("at most {MOST_TERMS} keyterms"));
        }
        Ok(())
    }

    /// Carries out a `Configure`; the error is code and description, and nothing is changed then.
    pub fn configure(&mut self, message: &Value) -> Result<(), (&'static str, String)> {
        let invalid = |text: String| ("INVALID_CONFIGURE", text);
        let mut new = self.clone();
        if let Some(name) = message.as_object().and_then(|fields| {
            fields
                .keys()
                .find(|n| !["type", "thresholds", "keyterms", "language_hints", "numerals"].contains(&n.as_str()))
        }) {
            return Err(invalid(format!("unknown field `{name:.40}`")));
        }
        if let Some(given) = message.get("thresholds") {
            let Value::Object(given) = given else {
                return Err(invalid("thresholds must be an object".to_owned()));
            };
            for (name, value) in given {
                let number = value.as_f64();
                match (name.as_str(), number) {
                    ("eot_threshold", Some(v)) => new.thresholds.eot = v,
                    ("eager_eot_threshold", Some(v)) => new.thresholds.eager = Some(v),
                    ("eager_eot_threshold", None) if value.is_null() => new.thresholds.eager = None,
                    ("eot_timeout_ms", Some(v)) if (0.0..=1e9).contains(&v) => new.thresholds.timeout_ms = v as u32,
                    _ => return Err(invalid(format!("thresholds.{name:.40} is not allowed"))),
                }
            }
            new.thresholds = new.thresholds.check().map_err(invalid)?;
        }
        for (name, list) in [("keyterms", &mut new.keyterms), ("language_hints", &mut new.hints)] {
            if let Some(given) = message.get(name) {
                let all = given
                    .as_array()
                    .and_then(|l| l.iter().map(|v| v.as_str().filter(|s| !s.is_empty()).map(str::to_owned)).collect());
                *list = all.ok_or_else(|| invalid(format!("{name} must be an array of strings")))?;
            }
        }
        new.check_lists().map_err(|text| {
            if new.keyterms.len() > MOST_TERMS { ("CONFIGURE_KEYTERM_LIMIT_EXCEEDED", text) } else { invalid(text) }
        })?;
        *self = new;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "model=flux-general-en&encoding=linear16&sample_rate=16000";

    #[test]
    fn queries() {
        let q = Query::parse(&format!("{GOOD}&eot_threshold=0.8&eager_eot_threshold=0.4&keyterm=a&keyterm=b")).unwrap();
        assert_eq!((q.thresholds.eager, q.thresholds.timeout_ms, q.keyterms.len()), (Some(0.4), 5000, 2));
        for (more, hint) in [
            ("&eot_threshold=0.4", "eot_threshold"),
            ("&eager_eot_threshold=0.8", "above"),
            ("&eot_timeout_ms=100", "eot_timeout_ms"),
            ("&language_hint=es", "multi"),
            ("&language_hint=", "language_hint"),
            ("&interim_results=true", "unknown field"),
            ("&model=flux-general-multi", "duplicate"),
        ] {
            let error = Query::parse(&format!("{GOOD}{more}")).unwrap_err();
            assert!(error.contains(hint), "{more}: {error}");
        }
        let rate = Query::parse("model=flux-general-en&encoding=linear16&sample_rate=11025").unwrap_err();
        assert!(rate.contains("sample_rate"));
    }

    #[test]
    fn configure_changes_all_or_nothing() {
        let mut q = Query::parse(GOOD).unwrap();
        q.configure(&json!({"type": "Configure", "thresholds": {"eager_eot_threshold": 0.5}, "keyterms": ["x"]}))
            .unwrap();
        assert_eq!((q.thresholds.eager, q.keyterms.as_slice()), (Some(0.5), &["x".to_owned()][..]));
        let wrong = json!({"type": "Configure", "thresholds": {"eot_threshold": 0.6}, "language_hints": ["es"]});
        assert!(q.configure(&wrong).is_err() && q.thresholds.eot == 0.7);
        let many = json!({"type": "Configure", "keyterms": vec!["x"; 101]});
        assert_eq!(q.configure(&many).unwrap_err().0, "CONFIGURE_KEYTERM_LIMIT_EXCEEDED");
        q.configure(&json!({"type": "Configure", "thresholds": {"eager_eot_threshold": null}})).unwrap();
        assert_eq!(q.thresholds.eager, None);
    }
}
