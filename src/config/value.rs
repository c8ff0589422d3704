//! Values: how a text, number or list becomes what a key holds, and the type that hides secrets.

use std::fmt;

use super::endpoint::BaseUrl;
use super::error::{shown_value, suggestion};
use super::keys::{Kind, RATES};
use super::languages::Language;

/// Longest secret accepted, in bytes; vendors' keys have 32 to 70.
const MAX_SECRET: usize = 512;

/// Text that is never printed: `Debug` and `Display` give `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes a vendor's key; white space around it (a line end from a file) is cut off.
    ///
    /// # Errors
    /// Why the key cannot be one, without the key: empty, too long, or with anything in it that may
    /// not stand in an HTTP header.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let text = text.trim();
        if text.is_empty() {
            Err("is empty")
        } else if text.len() > MAX_SECRET {
            Err("is too long for a key (more than 512 bytes)")
        } else if !text.bytes().all(|b| b.is_ascii_graphic()) {
            Err("has white space, control or non-ASCII characters in it")
        } else {
            Ok(Self(text.to_owned()))
        }
    }

    /// Of a vendor that is not asked: empty, and refused by every vendor.
    pub(crate) fn absent() -> Self {
        Self(String::new())
    }

    /// The secret itself, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A value as it was given, before its key has checked it.
#[derive(Clone, PartialEq)]
pub(crate) enum Raw {
    /// TOML or JSON string, or anything given by key and value.
    Text(String),
    Int(i64),
    Float(f64),
    Bool(bool),
    List(Vec<String>),
    /// Something no key takes, with its name: a date, null, a list of tables.
    Other(&'static str),
}

/// A value that has passed its key's check.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    /// Given as `""`, or a default of `""`: the key's "not set".
    Unset,
    Bool(bool),
    Int(i64),
    Float(f64),
    /// Text, or one word of a choice.
    Text(String),
    List(Vec<String>),
    Url(BaseUrl),
    Language(Language),
    Secret(Secret),
}

impl Kind {
    /// Checks a value.
    ///
    /// # Errors
    /// The rest of a sentence that begins with the key: ` = 16001 is not one of 8000, …`.
    pub(crate) fn check(&self, raw: &Raw) -> Result<Value, String> {
        if let Kind::Secret = self {
            // Apart from all others, so that no message can ever quote it.
            return match raw {
                Raw::Text(text) if text.is_empty() => Ok(Value::Unset),
                Raw::Text(text) => Secret::parse(text).map(Value::Secret).map_err(|why| format!(" {why}")),
                _ => Err(" must be text in quotes".to_owned()),
            };
        }
        match (self, raw) {
            (_, Raw::Other(what)) => Err(format!(" cannot be {what}")),
            (Kind::List { .. }, Raw::List(items)) => self.list(items.iter().map(String::as_str)),
            (Kind::Choices(words), Raw::List(items)) => self.choices(words, items.iter().map(String::as_str)),
            (_, Raw::List(_)) => Err(" cannot be a list".to_owned()),
            (_, Raw::Text(text)) => self.check_text(text),
            (Kind::Bool, Raw::Bool(on)) => Ok(Value::Bool(*on)),
            (_, Raw::Bool(on)) => self.mismatch(&on.to_string()),
            (Kind::Int { .. } | Kind::Float { .. } | Kind::Rate | Kind::Choice(_), Raw::Int(n)) => {
                self.check_text(&n.to_string())
            }
            (_, Raw::Int(n)) => self.mismatch(&n.to_string()),
            (Kind::Float { .. }, Raw::Float(x)) => self.float(*x, &x.to_string()),
            (_, Raw::Float(x)) => self.mismatch(&format!("{x:?}")),
        }
    }

    fn mismatch(&self, shown: &str) -> Result<Value, String> {
        Err(format!(" = {shown} is not {}", self.wanted()))
    }

    fn check_text(&self, text: &str) -> Result<Value, String> {
        let wrong = || Err(format!(" = {} is not {}", shown_value(text), self.wanted()));
        match self {
            Kind::Bool => match text {
                "true" | "yes" | "on" | "1" => Ok(Value::Bool(true)),
                "false" | "no" | "off" | "0" => Ok(Value::Bool(false)),
                _ => wrong(),
            },
            Kind::Int { min, max } => match text.trim().parse::<i64>() {
                Ok(n) if (*min..=*max).contains(&n) => Ok(Value::Int(n)),
                _ => wrong(),
            },
            Kind::Float { optional: true, .. } if text.is_empty() => Ok(Value::Unset),
            Kind::Float { .. } => match text.trim().parse::<f64>() {
                Ok(x) => self.float(x, &shown_value(text)),
                Err(_) => wrong(),
            },
            Kind::Rate => match text.trim().parse::<u32>() {
                Ok(hz) if RATES.contains(&hz) => Ok(Value::Int(i64::from(hz))),
                _ => wrong(),
            },
            Kind::Choice(words) => match words.iter().find(|word| **word == text) {
                Some(word) => Ok(Value::Text((*word).to_owned())),
                None => {
                    let near = suggestion(text, words.iter().copied());
                    let near = if near.contains("did you mean") { near } else { String::new() };
                    Err(format!(" = {} is not {}{near}", shown_value(text), self.wanted()))
                }
            },
            Kind::Language | Kind::Url | Kind::Text { .. } | Kind::Name { .. } if text.is_empty() => Ok(Value::Unset),
            Kind::Language => Language::parse(text).map(Value::Language).map_err(|why| format!(" = {why}")),
            Kind::Url => BaseUrl::parse(text).map(Value::Url).map_err(|why| format!(" {why}")),
            Kind::Text { max } if fits(text, *max) => Ok(Value::Text(text.to_owned())),
            Kind::Name { max } if fits(text, *max) && text.bytes().all(name_byte) => Ok(Value::Text(text.to_owned())),
            Kind::Text { .. } | Kind::Name { .. } => wrong(),
            Kind::List { .. } => self.list(text.split(',')),
            Kind::Choices(words) => self.choices(words, text.split(',')),
            Kind::Secret => Err(" must be text in quotes".to_owned()),
        }
    }

    fn float(&self, x: f64, shown: &str) -> Result<Value, String> {
        match self {
            Kind::Float { min, max, .. } if (*min..=*max).contains(&x) => Ok(Value::Float(x)),
            _ => self.mismatch(shown),
        }
    }

    fn list<'a>(&self, items: impl Iterator<Item = &'a str>) -> Result<Value, String> {
        let Kind::List { max_items, max_chars } = self else {
            return Err(" cannot be a list".to_owned());
        };
        let items: Vec<String> = items.map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect();
        if items.len() > *max_items {
            return Err(format!(" has {} items, more than {max_items}", items.len()));
        }
        match items.iter().find(|item| !fits(item, *max_chars)) {
            Some(bad) => Err(format!(": {} is not {}", shown_value(bad), self.wanted())),
            None => Ok(Value::List(items)),
        }
    }

    fn choices<'a>(&self, words: &[&'static str], items: impl Iterator<Item = &'a str>) -> Result<Value, String> {
        let mut chosen: Vec<String> = Vec::new();
        for item in items.map(str::trim).filter(|item| !item.is_empty()) {
            if !words.contains(&item) {
                let near = suggestion(item, words.iter().copied());
                let near = if near.contains("did you mean") { near } else { String::new() };
                return Err(format!(" = {} is not {}{near}", shown_value(item), self.wanted()));
            }
            if chosen.iter().any(|known| known == item) {
                return Err(format!(" has {item} twice"));
            }
            chosen.push(item.to_owned());
        }
        if chosen.is_empty() { Err(format!(" is empty, not {}", self.wanted())) } else { Ok(Value::List(chosen)) }
    }

    /// What the kind takes, as the end of "is not …" and as the documentation's column.
    pub(crate) fn wanted(&self) -> String {
        match self {
            Kind::Bool => "true or false".to_owned(),
            Kind::Int { min, max } => format!("a whole number from {min} to {max}"),
            Kind::Float { min, max, .. } => format!("a number from {min} to {max}"),
            Kind::Rate => format!("one of {}", RATES.map(|hz| hz.to_string()).join(", ")),
            Kind::Choice([only]) => format!("\"{only}\", the only choice"),
            Kind::Choice(words) => format!("one of {}", words.join(", ")),
            Kind::Choices(words) => format!("one or more of {}, the preferred one first", words.join(", ")),
            Kind::Text { max } => {
                format!("text of at most {max} characters, without control characters")
            }
            Kind::Name { max } => {
                format!("a name of at most {max} letters, digits, '.', '_' or '-'")
            }
            Kind::List { max_items, max_chars } => {
                format!("a list (or text with commas) of at most {max_items} texts of at most {max_chars} characters")
            }
            Kind::Url => "a base URL".to_owned(),
            Kind::Language => "a language code".to_owned(),
            Kind::Secret => "a vendor's key".to_owned(),
        }
    }
}

fn fits(text: &str, max: usize) -> bool {
    text.chars().count() <= max && !text.chars().any(char::is_control)
}

/// The bytes of names; such a name can stand in a URL as it is.
pub(crate) fn name_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown_and_bad_ones_are_refused() {
        let secret = Secret::parse(" abc123\n").expect("trimmed");
        assert_eq!(secret.expose(), "abc123");
        assert_eq!(format!("{secret} {secret:?} {secret:#?}"), "*** *** ***");
        for bad in ["", "  ", "ab c", "ab\0c", "ab\nc", "schlüssel", &"x".repeat(513)] {
            let why = Secret::parse(bad).expect_err("bad secret");
            assert!(bad.trim().is_empty() || !why.contains(bad.trim()), "{why}");
        }
    }

    #[test]
    fn kinds_check_what_they_are_given() {
        let text = |s: &str| Raw::Text(s.to_owned());
        let int = Kind::Int { min: 1, max: 9 };
        let float = Kind::Float { min: 0.0, max: 1.0, optional: true };
        for (kind, raw, wanted) in [
            (&Kind::Bool, text("on"), Ok(Value::Bool(true))),
            (&Kind::Bool, text("maybe"), Err(" = \"maybe\" is not true or false")),
            (&Kind::Bool, Raw::Int(1), Err(" = 1 is not true or false")),
            (&int, Raw::Int(9), Ok(Value::Int(9))),
            (&int, text("10"), Err(" = 10 is not a whole number from 1 to 9")),
            (&int, Raw::Float(3.0), Err(" = 3.0 is not a whole number from 1 to 9")),
            (&int, text(""), Err(" = \"\" is not a whole number from 1 to 9")),
            (&float, Raw::Int(1), Ok(Value::Float(1.0))),
            (&float, text(""), Ok(Value::Unset)),
            (&float, text("NaN"), Err(" = \"NaN\" is not a number from 0 to 1")),
            (&float, text("inf"), Err(" = \"inf\" is not a number from 0 to 1")),
            (
                &Kind::Choice(&["off", "full"]),
                text("fulll"),
                Err(" = \"fulll\" is not one of off, full; did you mean \"full\"?"),
            ),
            (
                &Kind::Name { max: 5 },
                text("a/b"),
                Err(" = \"a/b\" is not a name of at most 5 letters, digits, '.', '_' or '-'"),
            ),
            (
                &Kind::Text { max: 5 },
                Raw::Int(5),
                Err(" = 5 is not text of at most 5 characters, without control characters"),
            ),
            (&Kind::Text { max: 99 }, Raw::Other("a date"), Err(" cannot be a date")),
            (
                &Kind::List { max_items: 2, max_chars: 3 },
                text("a, b ,"),
                Ok(Value::List(vec!["a".to_owned(), "b".to_owned()])),
            ),
            (&Kind::List { max_items: 1, max_chars: 3 }, text("a,b"), Err(" has 2 items, more than 1")),
            (&Kind::Choices(&["a", "b"]), text("b, a"), Ok(Value::List(vec!["b".to_owned(), "a".to_owned()]))),
            (&Kind::Choices(&["a", "b"]), text("a,a"), Err(" has a twice")),
            (
                &Kind::Choices(&["a", "b"]),
                text(" ,"),
                Err(" is empty, not one or more of a, b, the preferred one first"),
            ),
            (&Kind::Choices(&["a"]), text("xyz"), Err(" = \"xyz\" is not one or more of a, the preferred one first")),
            (&Kind::Secret, Raw::Int(424_242), Err(" must be text in quotes")),
        ] {
            assert_eq!(kind.check(&raw), wanted.map_err(str::to_owned));
        }
        let rate = Kind::Rate.check(&Raw::Int(16001)).expect_err("no such rate");
        assert!(rate.starts_with(" = 16001 is not one of 8000, 12000, 16000"), "{rate}");
    }
}
