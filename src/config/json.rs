//! Reads JSON text into the same flat list as TOML. `serde_json` proves the text valid; a small walk
//! over it then finds what its values do not keep: lines, and keys that are given twice.

use std::collections::BTreeSet;

use super::error::{ConfigError, ErrorKind, quoted_key};
use super::load::{Found, Lines, MAX_DEPTH, join, number, too_deep};
use super::value::Raw;

/// Parses a JSON object of settings; objects inside it are sections.
///
/// # Errors
/// Where the text is not JSON, is no object, or gives a key twice.
pub(crate) fn json(text: &str, file: Option<&str>) -> Result<Vec<Found>, ConfigError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines = Lines::new(text, file);
    let proof = serde_json::from_str::<serde_json::Value>(text);
    let value = proof.map_err(|error| {
        let mut origin = lines.origin(0);
        origin.line = Some(number(error.line().max(1)));
        origin.column = Some(number(error.column().max(1)));
        let told = error.to_string();
        let message = told.split(" at line ").next().unwrap_or_default();
        ConfigError::new(ErrorKind::Syntax, "", format!("not JSON: {message}")).at(&origin)
    })?;
    let mut walk = Walk { text, at: 0, lines: &lines, found: Vec::new() };
    walk.space();
    if !value.is_object() {
        let message = "the settings must be a JSON object, such as {\"language\": \"en\"}";
        return Err(ConfigError::new(ErrorKind::Syntax, "", message).at(&lines.origin(walk.at)));
    }
    walk.object("", 0)?;
    Ok(walk.found)
}

/// A position in text that is known to be valid JSON.
struct Walk<'t> {
    text: &'t str,
    at: usize,
    lines: &'t Lines<'t>,
    found: Vec<Found>,
}

impl Walk<'_> {
    fn peek(&self) -> u8 {
        self.text.as_bytes().get(self.at).copied().unwrap_or(0)
    }

    fn space(&mut self) {
        while matches!(self.peek(), b' ' | b'\t' | b'\r' | b'\n') {
            self.at += 1;
        }
    }

    /// The token at this position: a string with its quotes, or a number or word.
    fn token(&mut self) -> &str {
        let start = self.at;
        if self.peek() == b'"' {
            self.at += 1;
            while !matches!(self.peek(), b'"' | 0) {
                self.at += if self.peek() == b'\\' { 2 } else { 1 };
            }
            self.at += 1;
        } else {
            while !matches!(self.peek(), b',' | b']' | b'}' | b' ' | b'\t' | b'\r' | b'\n' | 0) {
                self.at += 1;
            }
        }
        self.text.get(start..self.at).unwrap_or_default()
    }

    fn string(&mut self) -> Result<String, ConfigError> {
        let origin = self.lines.origin(self.at);
        serde_json::from_str(self.token())
            .map_err(|_| ConfigError::new(ErrorKind::Syntax, "", "not JSON: bad string").at(&origin))
    }

    fn object(&mut self, prefix: &str, depth: usize) -> Result<(), ConfigError> {
        self.at += 1;
        let mut names = BTreeSet::new();
        loop {
            self.space();
            match self.peek() {
                b'"' => {}
                b',' => {
                    self.at += 1;
                    continue;
                }
                _ => break,
            }
            let origin = self.lines.origin(self.at);
            let name = self.string()?;
            let path = join(prefix, &name);
            if depth >= MAX_DEPTH {
                return Err(too_deep(&path).at(&origin));
            }
            if !names.insert(name) {
                let message = format!("{} is given twice", quoted_key(&path));
                return Err(ConfigError::new(ErrorKind::Syntax, &path, message).at(&origin));
            }
            self.space();
            self.at += 1; // the colon
            self.space();
            if self.peek() == b'{' {
                let before = self.found.len();
                self.object(&path, depth + 1)?;
                if self.found.len() == before {
                    self.found.push(Found { path, raw: None, origin });
                }
            } else {
                let raw = self.value()?;
                self.found.push(Found { path, raw: Some(raw), origin });
            }
        }
        self.at += 1; // the closing brace
        Ok(())
    }

    fn value(&mut self) -> Result<Raw, ConfigError> {
        match self.peek() {
            b'"' => self.string().map(Raw::Text),
            b'[' => self.list(),
            _ => {
                let token = self.token();
                Ok(match (token, token.parse::<i64>(), token.parse::<f64>()) {
                    ("true", ..) => Raw::Bool(true),
                    ("false", ..) => Raw::Bool(false),
                    (_, Ok(n), _) => Raw::Int(n),
                    (_, _, Ok(x)) => Raw::Float(x),
                    _ => Raw::Other("null"),
                })
            }
        }
    }

    fn list(&mut self) -> Result<Raw, ConfigError> {
        let mut items = Vec::new();
        let mut texts_only = true;
        let mut open = 0_usize;
        loop {
            self.space();
            match self.peek() {
                b'[' | b'{' => {
                    open += 1;
                    texts_only &= open == 1;
                    self.at += 1;
                }
                b']' | b'}' => {
                    open -= 1;
                    self.at += 1;
                    if open == 0 {
                        break;
                    }
                }
                b',' | b':' => self.at += 1,
                b'"' => items.push(self.string()?),
                0 => break,
                _ => {
                    texts_only = false;
                    self.token();
                }
            }
        }
        Ok(if texts_only { Raw::List(items) } else { Raw::Other("a list of anything but texts") })
    }
}
