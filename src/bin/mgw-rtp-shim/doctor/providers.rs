//! The providers and their keys: an announcement is translated and spoken in a room of the doctor's own.

use std::time::{Duration, Instant};

use mgw::config::Config;
use mgw::engine::{LeaveMode, SessionId};
use mgw::{Gateway, NextEvent, media_port, session};
use serde_json::Value;

use super::Report;
use crate::settings::Settings;

/// Time for three connections, one translation and one synthesis.
const PATIENCE: Duration = Duration::from_secs(20);
/// Short, since it is billed.
const TEXT: &str = "One, two, three.";
const TEXT_LANGUAGE: &str = "en";

pub fn examine(settings: &Settings, report: &mut Report) {
    let gateway = match Gateway::new(&settings.library) {
        Ok(gateway) => gateway,
        Err(e) => return report.bad(format!("the library does not start: {e}"), "see the message"),
    };
    for pair in &settings.pairs {
        let names = format!("{} and {}", pair[0], pair[1]);
        match try_pair(&gateway, pair) {
            Ok(()) => report.good(format!("providers of {names}: recognition, translation and voices answer")),
            Err((what, fix)) => report.bad(format!("providers of {names}: {what}"), fix),
        }
    }
    if gateway.shutdown(Duration::from_secs(2)).is_err() {
        report.doubtful("connections to providers did not end in time", "a proxy or firewall may hold them");
    }
}

fn try_pair(gateway: &Gateway, pair: &[String; 2]) -> Result<(), (String, String)> {
    let room = format!("~doctor-{}", std::process::id());
    let open = |profile: &String| {
        gateway.open_session(profile, &room, &Config::new()).map_err(|e| {
            (format!("profile {profile}: {e}"), "set what the message names, in the file or the environment".to_owned())
        })
    };
    let sessions = [open(&pair[0])?, open(&pair[1])?];
    let outcome = watch(gateway, pair, sessions);
    for id in sessions {
        let _ = session::close(id, LeaveMode::Now);
    }
    outcome
}

/// What has been seen to work, for each of the two.
#[derive(Default)]
struct Seen {
    recogniser: bool,
    spoken: bool,
    trouble: Option<String>,
}

fn watch(gateway: &Gateway, pair: &[String; 2], sessions: [SessionId; 2]) -> Result<(), (String, String)> {
    for id in sessions {
        let said = session::say(id, TEXT, TEXT_LANGUAGE);
        said.map_err(|e| (format!("an announcement is refused: {e}"), "see the message".to_owned()))?;
    }
    let mut seen = [Seen::default(), Seen::default()];
    let until = Instant::now() + PATIENCE;
    let (mut buf, mut frame) = (vec![0; 64 * 1024], [0i16; 320]);
    while !seen.iter().all(|s| s.recogniser && s.spoken) {
        if let Some(at) = seen.iter().position(|s| s.trouble.is_some()) {
            let trouble = seen[at].trouble.take().unwrap_or_default();
            return Err((format!("profile {}: {trouble}", pair[at]), fix_of(&trouble)));
        }
        if Instant::now() > until {
            let missing: Vec<String> = seen
                .iter()
                .zip(pair)
                .flat_map(|(s, profile)| {
                    [(s.recogniser, "recognition"), (s.spoken, "translation or voice")]
                        .into_iter()
                        .filter(|(there, _)| !there)
                        .map(move |(_, what)| format!("{what} of {profile}"))
                })
                .collect();
            let what = format!("no answer within {} s: {}", PATIENCE.as_secs(), missing.join(", "));
            return Err((what, "check that this machine reaches the providers (curl, proxy, firewall)".to_owned()));
        }
        for id in sessions {
            let _ = media_port::push_frame(id, &[0; 320]);
            let _ = media_port::pull_frame(id, &mut frame);
        }
        std::thread::sleep(Duration::from_millis(20));
        loop {
            match gateway.next_event(&mut buf) {
                Ok(length) => {
                    if let Ok(event) = serde_json::from_slice::<Value>(&buf[..length])
                        && let Some(at) = sessions.iter().position(|id| event["session"] == id.0)
                    {
                        note(&event, &mut seen[at]);
                    }
                }
                Err(NextEvent::TooShort(needed)) => buf.resize(needed, 0),
                Err(NextEvent::Empty) => break,
            }
        }
    }
    Ok(())
}

fn note(event: &Value, seen: &mut Seen) {
    let text = |key: &str| event[key].as_str().unwrap_or_default().to_owned();
    match event["type"].as_str().unwrap_or_default() {
        "provider" if event["state"] == "ready" && event["stage"] == "stt" => seen.recogniser = true,
        "provider" if event["state"] == "down" => {
            let (stage, provider) = (text("stage"), text("provider"));
            seen.trouble = Some(format!("{stage} by {provider}: {} ({})", text("message"), text("code")));
        }
        "said_done" => seen.spoken = event["complete"] == true,
        "segment_lost" | "error" => {
            seen.trouble = Some(format!("{} {}{}", text("stage"), text("reason"), text("message")));
        }
        _ => {}
    }
}

fn fix_of(trouble: &str) -> String {
    let lower = trouble.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|w| lower.contains(w));
    if has(&["401", "403", "auth", "key"]) {
        "the key is wrong or may not do this: correct it in the file or the environment (DEEPGRAM_API_KEY and so on)"
    } else if has(&["quota", "credit", "402", "456", "payment"]) {
        "the account has no credit left: top it up at the provider"
    } else if has(&["voice"]) {
        "tts.voice must be a voice of the account: choose one there"
    } else {
        "check that this machine reaches the provider (curl, proxy, firewall)"
    }
    .to_owned()
}
