//! Reads TOML text into a flat list of dotted keys with their values and places.

use std::sync::Arc;

use toml_edit::{Array, Item, TableLike, Value as TomlValue};

use super::error::{ConfigError, ErrorKind, Origin};
use super::value::Raw;

/// Top-level tables that belong to programs around the library, so that one file can serve both; not read here.
pub(crate) const HOST_TABLES: [&str; 1] = ["shim"];

/// Deepest nesting that can be meant; keys have at most four parts.
pub(crate) const MAX_DEPTH: usize = 8;

/// Longest start of a line whose characters are counted, in bytes.
const MAX_COUNTED: usize = 4096;

/// One thing found in a text.
pub(crate) struct Found {
    /// Dotted path from the top.
    pub(crate) path: String,
    /// The value, or `None` for a section without any.
    pub(crate) raw: Option<Raw>,
    /// Where it stands.
    pub(crate) origin: Origin,
}

/// Turns byte offsets of a text into lines and columns.
pub(crate) struct Lines<'t> {
    text: &'t str,
    starts: Vec<usize>,
    file: Option<Arc<str>>,
}

impl<'t> Lines<'t> {
    pub(crate) fn new(text: &'t str, file: Option<&str>) -> Self {
        let after = text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(i, _)| i + 1);
        Self { text, starts: std::iter::once(0).chain(after).collect(), file: file.map(Arc::from) }
    }

    pub(crate) fn origin(&self, offset: usize) -> Origin {
        let line = self.starts.partition_point(|start| *start <= offset).max(1);
        let start = self.starts.get(line - 1).copied().unwrap_or(0);
        let column = match self.text.get(start..offset) {
            Some(before) if before.len() <= MAX_COUNTED => before.chars().count(),
            // Counting characters for each key of a very long line would take for ever.
            _ => offset.saturating_sub(start),
        };
        Origin { file: self.file.clone(), line: Some(number(line)), column: Some(number(column + 1)) }
    }
}

/// A line or column as errors keep it.
pub(crate) fn number(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// Parses TOML.
///
/// # Errors
/// Where the text is not TOML, or holds something no key takes.
pub(crate) fn toml(text: &str, file: Option<&str>) -> Result<Vec<Found>, ConfigError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines = Lines::new(text, file);
    let document = toml_edit::Document::parse(text).map_err(|error| {
        // Not its Display, which quotes the line, and the line may hold a secret.
        let message = error.message().lines().collect::<Vec<_>>().join(" ");
        let offset = error.span().map_or(0, |span| span.start);
        ConfigError::new(ErrorKind::Syntax, "", format!("not TOML: {message}")).at(&lines.origin(offset))
    })?;
    let mut found = Vec::new();
    walk(document.as_table(), "", 0, &lines, &mut found)?;
    found.sort_by_key(|found| (found.origin.line, found.origin.column));
    Ok(found)
}

fn walk(
    table: &dyn TableLike,
    prefix: &str,
    depth: usize,
    lines: &Lines<'_>,
    found: &mut Vec<Found>,
) -> Result<(), ConfigError> {
    for (name, item) in table.iter() {
        let span = table.key(name).and_then(|key| key.span()).or_else(|| item.span());
        let origin = lines.origin(span.map_or(0, |span| span.start));
        let path = join(prefix, name);
        if depth == 0 && HOST_TABLES.contains(&name) && item.is_table_like() {
            continue;
        }
        if depth >= MAX_DEPTH {
            return Err(too_deep(&path).at(&origin));
        }
        match item {
            Item::None => {}
            Item::Table(inner) if !inner.is_empty() => walk(inner, &path, depth + 1, lines, found)?,
            Item::Value(TomlValue::InlineTable(inner)) if !inner.is_empty() => {
                walk(inner, &path, depth + 1, lines, found)?;
            }
            Item::Table(_) | Item::Value(TomlValue::InlineTable(_)) => {
                found.push(Found { path, raw: None, origin });
            }
            Item::ArrayOfTables(_) => {
                found.push(Found { path, raw: Some(Raw::Other("a list of tables")), origin });
            }
            Item::Value(value) => found.push(Found { path, raw: Some(raw(value)), origin }),
        }
    }
    Ok(())
}

/// `prefix.name`, or `name` at the top.
pub(crate) fn join(prefix: &str, name: &str) -> String {
    if prefix.is_empty() { name.to_owned() } else { format!("{prefix}.{name}") }
}

pub(crate) fn too_deep(path: &str) -> ConfigError {
    let message = format!("sections are nested too deep at {}", super::error::quoted_key(path));
    ConfigError::new(ErrorKind::UnknownKey, path, message)
}

fn raw(value: &TomlValue) -> Raw {
    match value {
        TomlValue::String(text) => Raw::Text(text.value().clone()),
        TomlValue::Integer(n) => Raw::Int(*n.value()),
        TomlValue::Float(x) => Raw::Float(*x.value()),
        TomlValue::Boolean(on) => Raw::Bool(*on.value()),
        TomlValue::Datetime(_) => Raw::Other("a date"),
        TomlValue::Array(items) => list(items),
        TomlValue::InlineTable(_) => Raw::Other("a table"),
    }
}

fn list(items: &Array) -> Raw {
    let texts: Option<Vec<String>> = items.iter().map(|item| item.as_str().map(str::to_owned)).collect();
    texts.map_or(Raw::Other("a list of anything but texts"), Raw::List)
}
