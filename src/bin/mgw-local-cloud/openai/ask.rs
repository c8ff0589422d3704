//! Reads and checks the body of a chat completion.

use super::Refusal;
use axum::http::{HeaderMap, header};
use serde_json::{Map, Value};

const FIELDS: &[&str] = &[
    "model",
    "messages",
    "stream",
    "stream_options",
    "temperature",
    "top_p",
    "max_completion_tokens",
    "max_tokens",
    "response_format",
    "stop",
    "seed",
    "n",
    "user",
    "reasoning_effort",
    "presence_penalty",
    "frequency_penalty",
    "service_tier",
    "store",
    "metadata",
];

/// A checked request.
#[derive(Debug)]
pub struct Ask {
    /// As given.
    pub model: String,
    /// What to translate: the last user message.
    pub text: String,
    /// Language code from the system message.
    pub source: String,
    /// Language code from the system message.
    pub target: String,
    /// Whether the reply is streamed.
    pub stream: bool,
    /// Whether the stream ends with the usage.
    pub usage: bool,
    /// `max_completion_tokens` or `max_tokens`.
    pub max_tokens: Option<usize>,
    /// Length of all messages.
    pub prompt_characters: usize,
}

impl Ask {
    /// Reads a body.
    pub fn parse(headers: &HeaderMap, body: &[u8]) -> Result<Ask, Refusal> {
        let kind = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
        if kind.split(';').next().unwrap_or_default().trim() != "application/json" {
            return Err(Refusal::bad("", "Content-Type must be application/json."));
        }
        let Ok(Value::Object(fields)) = serde_json::from_slice(body) else {
            return Err(Refusal::bad("", "We could not parse the JSON body of your request."));
        };
        if let Some(name) = fields.keys().find(|name| !FIELDS.contains(&name.as_str())) {
            return Err(Refusal::bad(name, format!("Unrecognized request argument supplied: {name:.40}")));
        }
        let model = match fields.get("model") {
            Some(Value::String(model)) if !model.is_empty() => model.clone(),
            _ => return Err(Refusal::bad("model", "you must provide a model parameter")),
        };
        let flag = |map: &Map<String, Value>, name: &str| match map.get(name) {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(b)) => Ok(*b),
            Some(_) => Err(Refusal::bad(name, format!("Invalid type for '{name}': expected a boolean."))),
        };
        let stream = flag(&fields, "stream")?;
        let usage = match fields.get("stream_options") {
            None | Some(Value::Null) => false,
            Some(Value::Object(options)) if stream => flag(options, "include_usage")?,
            _ => return Err(Refusal::bad("stream_options", "'stream_options' wants an object and 'stream'.")),
        };
        for (name, most) in [("temperature", 2.0), ("top_p", 1.0)] {
            match fields.get(name) {
                None | Some(Value::Null) => {}
                Some(value) if value.as_f64().is_some_and(|v| (0.0..=most).contains(&v)) => {}
                Some(_) => return Err(Refusal::bad(name, format!("Invalid '{name}': 0 to {most}."))),
            }
        }
        let limit = |name: &str| match fields.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => value
                .as_u64()
                .filter(|n| *n > 0)
                .and_then(|n| usize::try_from(n).ok())
                .map(Some)
                .ok_or_else(|| Refusal::bad(name, format!("Invalid '{name}': at least 1."))),
        };
        let max_tokens = limit("max_completion_tokens")?.or(limit("max_tokens")?);
        let messages = messages(&fields)?;
        let prompt_characters = messages.iter().map(|(_, text)| text.chars().count()).sum();
        let system = messages.iter().filter(|(role, _)| matches!(role.as_str(), "system" | "developer"));
        let Some((source, target)) = system.filter_map(|(_, text)| text.lines().find_map(languages)).next() else {
            return Err(Refusal::bad(
                "messages",
                "No line 'Translate from <name> (<code>) to <name> (<code>)' in the system message.",
            ));
        };
        let Some((_, text)) = messages.into_iter().rev().find(|(role, _)| role == "user") else {
            return Err(Refusal::bad("messages", "There is no user message."));
        };
        Ok(Ask { model, text, source, target, stream, usage, max_tokens, prompt_characters })
    }
}

/// Role and text of each message.
fn messages(fields: &Map<String, Value>) -> Result<Vec<(String, String)>, Refusal> {
    let list = match fields.get("messages") {
        Some(Value::Array(list)) if !list.is_empty() => list,
        _ => return Err(Refusal::bad("messages", "Missing required parameter: 'messages'.")),
    };
    let read = |(i, message): (usize, &Value)| {
        let bad =
            |what: &str| Refusal::bad(&format!("messages[{i}].{what}"), format!("Invalid 'messages[{i}].{what}'."));
        let role = message.get("role").and_then(Value::as_str);
        let role =
            role.filter(|r| ["system", "developer", "user", "assistant"].contains(r)).ok_or_else(|| bad("role"))?;
        let text = match message.get("content") {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Array(parts)) => parts
                .iter()
                .map(|part| part.get("text").and_then(Value::as_str).filter(|_| part["type"] == "text"))
                .collect::<Option<String>>()
                .ok_or_else(|| bad("content"))?,
            _ => return Err(bad("content")),
        };
        Ok((role.to_owned(), text))
    };
    list.iter().enumerate().map(read).collect()
}

/// The codes of `Translate from <name> (<code>) to <name> (<code>)`, anywhere in a line.
fn languages(line: &str) -> Option<(String, String)> {
    let rest = line.split_once("Translate from ")?.1;
    let (first, rest) = rest.split_once(") to ")?;
    let code = |text: &str| {
        let (name, code) = text.rsplit_once(" (")?;
        let good = !name.trim().is_empty() && !code.is_empty();
        let good = good && code.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        good.then(|| code.to_owned())
    };
    Some((code(first)?, code(rest.split_once(')')?.0)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn languages_are_found_in_a_line() {
        let found = |line| languages(line).map(|(a, b)| a + ">" + &b);
        assert_eq!(found("Translate from English (en) to Spanish (es-ES)."), Some("en>es-ES".to_owned()));
        assert_eq!(found("You are one. Translate from Old Greek (el) to A B (en-US) now"), Some("el>en-US".to_owned()));
        assert_eq!(found("Translate from English to Spanish"), None);
        assert_eq!(found("Translate from (en) to Spanish (es)"), None);
    }
}
