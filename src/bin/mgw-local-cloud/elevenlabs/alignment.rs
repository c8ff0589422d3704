//! The vendor's two ways to say where characters are.

use crate::speech::{Char, Chunk};
use serde_json::{Value, json};

/// Of a websocket message: whole milliseconds since its audio began; null if no character begins in it.
pub fn of_message(chunk: &Chunk) -> Value {
    if chunk.chars.is_empty() {
        return Value::Null;
    }
    let ms = |s: f64| ((s - chunk.from_s) * 1000.0).round().max(0.0) as u64;
    let starts: Vec<u64> = chunk.chars.iter().map(|c| ms(c.start)).collect();
    let lengths: Vec<u64> = chunk.chars.iter().map(|c| ms(c.end).saturating_sub(ms(c.start))).collect();
    json!({"chars": letters(&chunk.chars), "charStartTimesMs": starts, "charDurationsMs": lengths})
}

/// Of a line of `/stream/with-timestamps`: seconds since the audio of the request began; null as above.
pub fn of_line(chunk: &Chunk) -> Value {
    if chunk.chars.is_empty() {
        return Value::Null;
    }
    let round = |s: f64| (s * 1000.0).round() / 1000.0;
    let starts: Vec<f64> = chunk.chars.iter().map(|c| round(c.start)).collect();
    let ends: Vec<f64> = chunk.chars.iter().map(|c| round(c.end)).collect();
    json!({
        "characters": letters(&chunk.chars),
        "character_start_times_seconds": starts, "character_end_times_seconds": ends,
    })
}

fn letters(chars: &[Char]) -> Vec<String> {
    chars.iter().map(|c| c.c.to_string()).collect()
}
