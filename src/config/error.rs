//! What a refused setting says: where it stands, which key, what is wrong and what would be right.

use std::fmt;
use std::sync::Arc;

/// Longest key or value shown in a message; an API key pasted into the wrong place is longer.
const MAX_SHOWN: usize = 24;
/// Longest text that is compared with the right ones, in bytes.
const MAX_COMPARED: usize = 128;

/// What kind of mistake a [`ConfigError`] reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// There is no such key.
    UnknownKey,
    /// The value does not fit the key, or contradicts another value.
    BadValue,
    /// The key exists but may not be given here (a gateway key in a profile, for example).
    WrongPlace,
    /// There is no profile of that name.
    UnknownProfile,
    /// A value that a session needs is given nowhere.
    Missing,
    /// A stage cannot do what is asked, such as a language its vendor does not know.
    Unsupported,
    /// The key cannot be changed in mid-call.
    NotLive,
    /// The text is not TOML or JSON.
    Syntax,
    /// The file cannot be read.
    File,
}

/// A refused setting. Never contains the value of a secret.
///
/// Displays as `mgw.toml:14: unknown key "playout.max_sec"; did you mean "playout.max_s"?`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// Kind of mistake.
    pub kind: ErrorKind,
    /// File the setting stands in, if it came from one.
    pub file: Option<Arc<str>>,
    /// Line, from 1, if the setting came from TOML or JSON text.
    pub line: Option<u32>,
    /// Column in characters, from 1, if the setting came from TOML or JSON text.
    pub column: Option<u32>,
    /// The key concerned, possibly empty (syntax and file errors).
    pub key: String,
    /// The whole explanation, key included, place excluded.
    pub message: String,
    /// Further mistakes of the same load, in the order of the text.
    pub others: Vec<ConfigError>,
}

impl ConfigError {
    /// An error without a place.
    pub(crate) fn new(kind: ErrorKind, key: &str, message: impl Into<String>) -> Self {
        Self {
            kind,
            file: None,
            line: None,
            column: None,
            key: shorten(key, 128),
            message: message.into(),
            others: Vec::new(),
        }
    }

    /// Adds where the setting stands.
    pub(crate) fn at(mut self, origin: &Origin) -> Self {
        self.file = origin.file.clone();
        self.line = origin.line;
        self.column = origin.column;
        self
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.file, self.line) {
            (Some(file), Some(line)) => write!(f, "{file}:{line}: ")?,
            (Some(file), None) => write!(f, "{file}: ")?,
            (None, Some(line)) => write!(f, "line {line}: ")?,
            (None, None) => {}
        }
        f.write_str(&self.message)?;
        match self.others.len() {
            0 => Ok(()),
            n => write!(f, " (and {n} more)"),
        }
    }
}

impl std::error::Error for ConfigError {}

/// Where a setting was given; all `None` for one given by key and value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) file: Option<Arc<str>>,
    pub(crate) line: Option<u32>,
    pub(crate) column: Option<u32>,
}

/// A key as a message shows it: quoted, on one line, of bounded length.
pub(crate) fn quoted_key(key: &str) -> String {
    format!("\"{}\"", shorten(key, 64))
}

/// A value as a message shows it: numbers bare, text quoted, anything long only by its length
/// because it may be a secret in the wrong place.
pub(crate) fn shown_value(text: &str) -> String {
    let count = text.chars().count();
    if count > MAX_SHOWN {
        return format!("({count} characters)");
    }
    let bare = text.starts_with(|c: char| c.is_ascii_digit() || c == '-' || c == '.')
        && text.chars().all(|c| c.is_ascii_digit() || "+-._eE".contains(c));
    if bare { text.to_owned() } else { format!("\"{}\"", text.escape_debug()) }
}

fn shorten(text: &str, max: usize) -> String {
    let mut short: String = text.chars().take(max).flat_map(char::escape_debug).collect();
    if text.chars().nth(max).is_some() {
        short.push('…');
    }
    short
}

/// `; did you mean "x"?` for the candidate most like `wrong`, or its weaker form when nothing is close.
pub(crate) fn suggestion<'a>(wrong: &str, candidates: impl Iterator<Item = &'a str>) -> String {
    // The comparison takes time and memory with the length, and nothing is like a very long text.
    if wrong.len() > MAX_COMPARED {
        return String::new();
    }
    let wrong = wrong.to_ascii_lowercase();
    let best = candidates
        .map(|c| (strsim::normalized_damerau_levenshtein(&wrong, &c.to_ascii_lowercase()), c))
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match best {
        Some((score, right)) if score >= 0.6 => format!("; did you mean \"{right}\"?"),
        Some((_, right)) => format!("; the nearest is \"{right}\""),
        None => String::new(),
    }
}
