//! Reads and checks what is asked of LibreTranslate, as JSON or as a form.

use super::{Refusal, media_type};
use axum::http::{HeaderMap, StatusCode};
use serde_json::{Map, Value};

/// Languages by code: those of coded speech.
pub const NAMES: &[(&str, &str)] = &[
    ("ar", "Arabic"),
    ("de", "German"),
    ("en", "English"),
    ("es", "Spanish"),
    ("fr", "French"),
    ("hi", "Hindi"),
    ("it", "Italian"),
    ("ja", "Japanese"),
    ("nl", "Dutch"),
    ("pl", "Polish"),
    ("pt", "Portuguese"),
    ("ru", "Russian"),
    ("tr", "Turkish"),
    ("uk", "Ukrainian"),
    ("zh-Hans", "Chinese"),
];
/// Most alternatives one may ask for.
const MOST_ALTERNATIVES: u64 = 3;

fn bad(text: impl Into<String>) -> Refusal {
    (StatusCode::BAD_REQUEST, text.into())
}

/// What the vendor says of a missing parameter.
pub fn missing(name: &str) -> Refusal {
    bad(format!("Invalid request: missing {name} parameter"))
}

/// The parameters of a request.
pub struct Fields(Map<String, Value>);

impl Fields {
    /// Reads a body.
    pub fn read(headers: &HeaderMap, body: &[u8]) -> Result<Fields, Refusal> {
        match media_type(headers) {
            "application/json" => match serde_json::from_slice(body) {
                Ok(Value::Object(fields)) => Ok(Fields(fields)),
                _ => Err(bad("Invalid JSON format")),
            },
            // Without any of the known types the vendor finds no parameters.
            "application/x-www-form-urlencoded" => {
                let pairs = url::form_urlencoded::parse(body);
                Ok(Fields(pairs.map(|(k, v)| (k.into_owned(), Value::String(v.into_owned()))).collect()))
            }
            _ => Ok(Fields(Map::new())),
        }
    }

    /// A text, if it is there.
    pub fn text(&self, name: &str) -> Result<Option<String>, Refusal> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(bad(format!("Invalid request: {name} parameter is not a string"))),
        }
    }
}

/// What to translate.
pub enum Texts {
    /// `q` was a string.
    One(String),
    /// `q` was an array.
    Many(Vec<String>),
}

impl Texts {
    /// All of them.
    pub fn list(&self) -> &[String] {
        match self {
            Texts::One(text) => std::slice::from_ref(text),
            Texts::Many(list) => list,
        }
    }
}

/// A checked request.
pub struct Ask {
    /// `q`
    pub texts: Texts,
    /// `None` for `auto`.
    pub source: Option<String>,
    /// As given.
    pub target: String,
    /// How many more translations are wanted.
    pub alternatives: u64,
}

impl Ask {
    /// Checks; `limit` is in characters, 0 for none.
    pub fn check(fields: &Fields, limit: u64) -> Result<Ask, Refusal> {
        let texts = match fields.0.get("q") {
            Some(Value::Array(list)) => {
                let all = list.iter().map(|v| v.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>();
                Texts::Many(all.ok_or_else(|| bad("Invalid request: q parameter holds more than strings"))?)
            }
            _ => Texts::One(fields.text("q")?.filter(|q| !q.is_empty()).ok_or_else(|| missing("q"))?),
        };
        let source = fields.text("source")?.ok_or_else(|| missing("source"))?;
        let target = fields.text("target")?.ok_or_else(|| missing("target"))?;
        let alternatives = match fields.0.get("alternatives") {
            None | Some(Value::Null) => Some(0),
            Some(Value::String(text)) => text.parse().ok(),
            Some(value) => value.as_u64(),
        };
        let alternatives =
            alternatives.ok_or_else(|| bad("Invalid request: alternatives parameter is not a number"))?;
        if alternatives > MOST_ALTERNATIVES {
            return Err(bad(format!("Invalid request: alternatives parameter must be <= {MOST_ALTERNATIVES}")));
        }
        let count = texts.list().iter().map(|t| t.chars().count() as u64).sum::<u64>();
        if limit > 0 && count > limit {
            return Err(bad(format!("Invalid request: request ({count}) exceeds text limit ({limit})")));
        }
        let known = |code: &str| {
            // The old code of Chinese is still taken.
            let code = if code == "zh" { "zh-Hans" } else { code };
            NAMES
                .iter()
                .any(|(known, _)| *known == code)
                .then_some(())
                .ok_or_else(|| bad(format!("{code:.20} is not supported")))
        };
        if source != "auto" {
            known(&source)?;
        }
        known(&target)?;
        match fields.text("format")?.as_deref() {
            None | Some("text" | "html") => {}
            Some(other) => return Err(bad(format!("{other:.20} format is not supported"))),
        }
        let source = (source != "auto").then_some(source);
        Ok(Ask { texts, source, target, alternatives })
    }
}
