//! How long sound takes through the library: from the synthesiser's first byte, and from the other's mouth.

use std::time::{Duration, Instant};

use mgw::config::Config;
use mgw::engine::SessionId;
use mgw::media_port::{pull_frame, push_frame};
use mgw::{Gateway, session};

use crate::report::{Figure, Report};
use crate::stat::{Chance, FRAME, SAMPLES, every_frame, quantile};
use crate::vendor::Vendor;

/// Expected wait of what is ready for the next pull of one that pulls every 20 ms.
const HALF_FRAME_MS: f64 = 10.0;

fn config(elevenlabs: &str) -> Config {
    let mut config = Config::new();
    for (key, value) in [
        ("profile.7777.language", "en"),
        ("deepgram.api_key", "unused"),
        ("deepl.api_key", "unused"),
        ("elevenlabs.api_key", "unused"),
        ("elevenlabs.base_url", elevenlabs),
    ] {
        config.set(key, value).unwrap_or_else(|e| panic!("{e}"));
    }
    config
}

/// A text that was asked for and not yet heard.
struct Waiting {
    text: String,
}

pub fn first_byte(quick: bool, report: &mut Report) {
    const SESSIONS: usize = 40;
    /// Frames between two texts of one session: more than a text takes.
    const EVERY: usize = 53;
    let rounds = if quick { 5 } else { 16 };
    let vendor = Vendor::start();
    let gateway = Gateway::new(&config(&format!("http://{}", vendor.address))).expect("gateway");
    let sessions: Vec<SessionId> = (0..SESSIONS)
        .map(|i| gateway.open_session("7777", &format!("room {i}"), &Config::new()).expect("session"))
        .collect();
    let mut chance = Chance::new(7);
    let phases: Vec<Duration> = (0..SESSIONS).map(|_| chance.below(FRAME)).collect();
    let mut waiting: Vec<Option<Waiting>> = (0..SESSIONS).map(|_| None).collect();
    let mut times = Vec::new();
    let mut out = [0i16; SAMPLES];
    every_frame(&phases, EVERY * (rounds + 1), |slot, frame| {
        let at = Instant::now();
        pull_frame(sessions[slot], &mut out);
        let loud = out.iter().any(|s| *s != 0);
        if let Some(sent) = waiting[slot].as_ref().filter(|_| loud).and_then(|w| vendor.sent(&w.text)) {
            times.push((at.saturating_duration_since(sent)).as_secs_f64() * 1e3);
            waiting[slot] = None;
        }
        // The first text also opens the connection; all are spread over the time between two.
        if frame % EVERY == slot % EVERY && frame / EVERY < rounds {
            let text = format!("text {slot} {frame}");
            session::say(sessions[slot], &text, "en").expect("say");
            waiting[slot] = Some(Waiting { text });
        }
    });
    let missing = waiting.iter().flatten().count() + SESSIONS * rounds - times.len();
    let (p50, p99) = (quantile(&mut times, 0.5), quantile(&mut times, 0.99));
    report.add(Figure::new("tts_to_frame_p50_ms", p50, "ms").below(25.0));
    report.add(Figure::new("tts_to_frame_p99_ms", p99, "ms"));
    report.add(Figure::new("tts_to_frame_p50_less_half_frame_ms", p50 - HALF_FRAME_MS, "ms"));
    report.note(&format!(
        "first TTS byte: {} texts of {SESSIONS} sessions ({missing} not heard), from the write of the first audio message in a \
         synthesiser inside this process to the pull call whose frame carries it; pulls every 20 ms at phases by chance, \
         so 10 ms of the median are the wait for the next pull",
        times.len(),
    ));
}

/// The sample that stands for frame number `n`: loud, and different in each.
fn mark(n: usize) -> i16 {
    2000 + 4 * (n % 4096) as i16
}

pub fn original(quick: bool, report: &mut Report) {
    const ROOMS: usize = 50;
    /// Frames of one phrase and its pause, and of the phrase alone: clocks are brought together in pauses only.
    const PHRASE: usize = 100;
    const LOUD: usize = 70;
    let frames = if quick { 200 } else { 800 };
    let gateway = Gateway::new(&config("http://127.0.0.1:9")).expect("gateway");
    let sessions: Vec<SessionId> = (0..2 * ROOMS)
        .map(|i| gateway.open_session("7777", &format!("room {}", i / 2), &Config::new()).expect("session"))
        .collect();
    let mut chance = Chance::new(11);
    // Even slots push, odd ones pull; each at a phase of its own.
    let phases: Vec<Duration> = (0..2 * sessions.len()).map(|_| chance.below(FRAME)).collect();
    let mut pushed = vec![vec![None::<Instant>; frames]; sessions.len()];
    let mut newest = vec![0usize; sessions.len()];
    let (mut called, mut sounded) = (Vec::new(), Vec::new());
    let mut out = [0i16; SAMPLES];
    every_frame(&phases, frames, |slot, frame| {
        let me = slot / 2;
        if slot % 2 == 0 {
            let mut voice = [if frame % PHRASE < LOUD { mark(frame) } else { 0 }; SAMPLES];
            voice.iter_mut().step_by(2).for_each(|s| *s = -*s);
            pushed[me][frame] = Some(Instant::now());
            push_frame(sessions[me], &voice);
            return;
        }
        let at = Instant::now();
        pull_frame(sessions[me], &mut out);
        for (place, sample) in out.iter().enumerate().filter(|(_, s)| **s != 0) {
            let number = (sample.unsigned_abs() as usize).saturating_sub(2000) / 4;
            if number <= newest[me] {
                continue;
            }
            newest[me] = number;
            if let Some(from) = pushed[me ^ 1].get(number).copied().flatten() {
                let ms = at.saturating_duration_since(from).as_secs_f64() * 1e3;
                called.push(ms);
                sounded.push(ms + place as f64 * FRAME.as_secs_f64() * 1e3 / SAMPLES as f64);
            }
        }
    });
    report.add(Figure::new("original_p50_ms", quantile(&mut called, 0.5), "ms").below(30.0));
    report.add(Figure::new("original_p99_ms", quantile(&mut called, 0.99), "ms"));
    report.add(Figure::new("original_to_its_place_p50_ms", quantile(&mut sounded, 0.5), "ms"));
    report.note(&format!(
        "original voice: {} frames heard of {} spoken in {ROOMS} rooms of one language, both directions, phrases of 1.4 s \
         and pauses of 0.6 s, pushers and \
         pullers each at a phase by chance; from the push call of a frame to the pull call that returns its first \
         sample; to its place adds where in the pulled frame that sample stands",
        called.len(),
        sessions.len() * (0..frames).filter(|f| f % PHRASE < LOUD).count(),
    ));
}
