//! Events of ARI's websocket: any text is read or refused, and what is read says what the text says.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mgw_fuzz::ari_event::{Event, parse};

fuzz_target!(|input: &[u8]| {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Ok(event) = parse(text) else { return };
    let value: serde_json::Value = serde_json::from_str(text).expect("what is taken is JSON");
    match event {
        Event::Start { channel, args, .. } => {
            assert_eq!(value["type"], "StasisStart");
            assert!(args.len() <= value["args"].as_array().map_or(0, Vec::len));
            // What tells our own channels from callers must never be made up.
            assert!(channel.id.is_empty() || value["channel"]["id"] == channel.id.as_str());
            let _ = channel.in_app("mgw");
        }
        Event::Dtmf { digit, .. } => assert!(value["digit"].as_str().is_some_and(|d| d.starts_with(digit))),
        Event::Other(kind) => assert!(kind.len() <= text.len()),
        _ => {}
    }
});
