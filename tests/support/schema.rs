//! The published schema of events, `docs/events.schema.json`.

use std::sync::LazyLock;

use jsonschema::Validator;
use serde_json::{Value, json};

/// The schema's file, parsed.
pub static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/events.schema.json");
    let text = std::fs::read_to_string(path).expect("docs/events.schema.json");
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{path}: {e}"))
});

static VALIDATOR: LazyLock<Validator> = LazyLock::new(|| validator(&SCHEMA));

fn validator(schema: &Value) -> Validator {
    jsonschema::draft202012::new(schema).unwrap_or_else(|e| panic!("docs/events.schema.json: {e}"))
}

/// Whether the whole schema takes this event.
pub fn takes(event: &Value) -> bool {
    VALIDATOR.is_valid(event)
}

/// Fails with what is wrong, by the definition of the event's own type: `oneOf` alone only says that none fits.
pub fn check(event: &Value) {
    if takes(event) {
        return;
    }
    let name = event["type"].as_str().unwrap_or_default();
    assert!(SCHEMA["$defs"][name].is_object(), "no definition for {event}");
    let one = json!({ "$ref": format!("#/$defs/{name}"), "$defs": SCHEMA["$defs"].clone() });
    let wrong: Vec<String> =
        validator(&one).iter_errors(event).map(|e| format!("{}: {e}", e.instance_path())).collect();
    panic!("{event}\nis not by the schema: {}", wrong.join("; "));
}
