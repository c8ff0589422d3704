//! How many sessions run in real time with the local cloud on the same machine.
//!
//! Steps of more and more sessions, two to a room, English and Spanish, who all speak coded words half of the
//! time. A step is good when every ear heard every word of its room-mate once, in order and whole; when no
//! silence lies inside a segment; and when at most 1 % of the media threads' rounds began late. All of it is
//! taken from the sound, but the rounds.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mgw::config::Config;
use mgw::engine::SessionId;
use mgw::media_port::{pull_frame, push_frame};
use mgw::{Gateway, session};
use serde_json::{Value, json};

use crate::alloc::{cpu_of_process, cpu_of_threads};
use crate::report::{Figure, Report};
use crate::stat::{Chance, FRAME, RATE, SAMPLES, every_frame, quantile};
use crate::support::codec::{Decoder, Heard};
use crate::support::leg::Talk;
use crate::support::{Cloud, events};

const WORDS: usize = 5;
/// Between two words of a segment the synthesiser puts 40 ms; more than this is a pull that found nothing.
const STARVED_S: f64 = 0.060;
/// Sessions visited at the same time: a host does not wake up for each frame either.
const WAKE_UPS: usize = 40;

/// What a step gave.
#[derive(Default)]
struct Step {
    sessions: usize,
    connected: usize,
    words: usize,
    /// Missing, doubled, out of order, of another language or damaged.
    wrong: usize,
    starved: usize,
    late_rounds: f64,
    lag_p50_ms: f64,
    lag_p95_ms: f64,
    driver_late_p99_ms: f64,
    library_ms: f64,
    emulator_ms: f64,
    driver_ms: f64,
}

impl Step {
    fn good(&self) -> bool {
        self.connected == self.sessions && self.wrong == 0 && self.starved == 0 && self.late_rounds <= 1.0
    }

    fn json(&self) -> Value {
        let round = |x: f64| (x * 100.0).round() / 100.0;
        json!({
            "sessions": self.sessions,
            "connected": self.connected,
            "words": self.words,
            "words wrong": self.wrong,
            "starved": self.starved,
            "late rounds %": round(self.late_rounds),
            "lag p50 ms": round(self.lag_p50_ms),
            "lag p95 ms": round(self.lag_p95_ms),
            "driver late p99 ms": round(self.driver_late_p99_ms),
            "library ms/session-s": round(self.library_ms),
            "emulator ms/session-s": round(self.emulator_ms),
            "driver ms/session-s": round(self.driver_ms),
            "good": self.good(),
        })
    }
}

pub fn run(quick: bool, report: &mut Report) {
    let (steps, sentences): (&[usize], _) =
        if quick { (&[10], 2) } else { (&[20, 50, 100, 150, 200, 250, 300, 400], 6) };
    let mut best = Step::default();
    let mut rows = Vec::new();
    for &sessions in steps {
        let mut step = measure(sessions, sentences);
        rows.push(step.json());
        if !step.good() && !quick {
            // Another program may have had the machine: one more try.
            step = measure(sessions, sentences);
            rows.push(step.json());
        }
        if !step.good() {
            break;
        }
        best = step;
    }
    report.add(Figure::new("sessions_real_time", best.sessions as f64, "sessions").at_least(100.0));
    report.add(Figure::new("library_cpu_ms_per_session_s", best.library_ms, "ms"));
    report.add(Figure::new("emulator_cpu_ms_per_session_s", best.emulator_ms, "ms"));
    report.add(Figure::new("driver_cpu_ms_per_session_s", best.driver_ms, "ms"));
    report.details.insert("capacity_steps".into(), rows.into());
    report.note(
        "sessions in real time: two to a room, both speaking five words and pausing as long, against the local cloud \
         (coded engine, default latencies) as another process on the same cores; pushed and pulled by one more thread; \
         a step that fails is tried once more; processor time from schedstat while they talk, per second of one \
         session: the library's own threads, the emulator, and the thread that pushes and pulls with the one that \
         fetches events",
    );
}

fn measure(count: usize, sentences: usize) -> Step {
    eprintln!("  {count} sessions");
    let cloud = Cloud::start("[stt]\nmax_streams = 100000\n");
    let gateway = Gateway::new(&cloud.config(&[])).expect("gateway");
    let sessions: Vec<SessionId> = (0..count)
        .map(|i| {
            let profile = if i % 2 == 0 { "7777" } else { "8888" };
            gateway.open_session(profile, &format!("room {}", i / 2), &Config::new()).expect("session")
        })
        .collect();
    let pause = Duration::from_millis(900);
    let talk = |language, first_word| Talk {
        language,
        first_word,
        sentences,
        words_per_sentence: WORDS,
        gap: pause,
        lead: Duration::ZERO,
    };
    let talks = [talk("en", 0), talk("es", 2000)];
    let voices = [talks[0].samples(RATE), talks[1].samples(RATE)];
    let mut chance = Chance::new(count as u64);
    // Nobody begins together with all the others.
    let starts: Vec<usize> =
        (0..count).map(|_| (chance.below(2 * pause).as_millis() / FRAME.as_millis()) as usize).collect();
    let wake_ups = WAKE_UPS.min(count);
    let phases: Vec<Duration> = (0..count).map(|i| FRAME * (i * wake_ups / count) as u32 / wake_ups as u32).collect();

    let silence = [0i16; SAMPLES];
    let mut out = [0i16; SAMPLES];
    let until = Instant::now() + Duration::from_secs(8);
    while Instant::now() < until && connected(&sessions) < count {
        every_frame(&phases, 25, |slot, _| {
            push_frame(sessions[slot], &silence);
            pull_frame(sessions[slot], &mut out);
        });
    }
    let connected = connected(&sessions);

    let tail = Duration::from_secs(4);
    let frames = voices[0].len() / SAMPLES + 90 + (tail.as_millis() / FRAME.as_millis()) as usize;
    let mut heard = vec![Vec::with_capacity(frames * SAMPLES); count];
    let (library, driver) = cpu_of_threads();
    let emulator = cpu_of_process(cloud.pid());
    let rounds = late_rounds(&gateway);
    let began = Instant::now();
    let over = AtomicBool::new(false);
    let (mut lates, seen, cpu) = std::thread::scope(|scope| {
        let fetching = scope.spawn(|| {
            let mut seen = Vec::new();
            while !over.load(Ordering::Relaxed) {
                seen.extend(events(&gateway));
                std::thread::sleep(Duration::from_millis(50));
            }
            seen
        });
        let lates = every_frame(&phases, frames, |slot, frame| {
            let at = frame.checked_sub(starts[slot]).map(|f| f * SAMPLES);
            let said = at.and_then(|at| voices[slot % 2].get(at..at + SAMPLES));
            push_frame(sessions[slot], said.unwrap_or(&silence));
            pull_frame(sessions[slot], &mut out);
            heard[slot].extend_from_slice(&out);
        });
        // Before the thread that fetches events ends, and its time with it.
        let cpu = (cpu_of_threads(), cpu_of_process(cloud.pid()), began.elapsed());
        over.store(true, Ordering::Relaxed);
        (lates, fetching.join().expect("events"), cpu)
    });
    let ((library_now, driver_now), emulator_now, elapsed) = cpu;
    let session_seconds = count as f64 * elapsed.as_secs_f64();
    let rounds_now = late_rounds(&gateway);
    let each = |now: f64, then: f64| (now - then).max(0.0) * 1e3 / session_seconds;
    let mut lags: Vec<f64> =
        seen.iter().filter(|e| e["type"] == "segment_done").filter_map(|e| e["lag_ms"].as_f64()).collect();
    let mut step = Step {
        sessions: count,
        connected,
        late_rounds: (rounds_now.1 - rounds.1) * 100.0 / (rounds_now.0 - rounds.0).max(1.0),
        lag_p50_ms: quantile(&mut lags, 0.5),
        lag_p95_ms: quantile(&mut lags, 0.95),
        driver_late_p99_ms: quantile(&mut lates, 0.99),
        library_ms: each(library_now, library),
        emulator_ms: each(emulator_now, emulator),
        driver_ms: each(driver_now, driver),
        ..Step::default()
    };
    drop(gateway);
    drop(cloud);
    for (slot, sound) in heard.iter().enumerate() {
        // Each hears the other in its own language: the same numbers, as the room-mate said them.
        judge(sound, talks[slot % 2].language, &talks[1 - slot % 2].numbers(), &mut step);
    }
    step
}

/// Sessions whose recogniser and synthesiser are ready.
fn connected(sessions: &[SessionId]) -> usize {
    let ready = |session: &&SessionId| {
        let stats: Option<Value> = session::stats(**session).ok().and_then(|s| serde_json::from_str(&s).ok());
        stats.is_some_and(|s| s["links"]["stt"] == "ready" && s["links"]["tts"] == "ready")
    };
    sessions.iter().filter(ready).count()
}

/// Rounds of the media threads so far: (all, late).
fn late_rounds(gateway: &Gateway) -> (f64, f64) {
    let text = gateway.metrics();
    let value = |name: &str| {
        let line = text.lines().find(|l| l.split_whitespace().next() == Some(name));
        line.and_then(|l| l.split_whitespace().nth(1)).and_then(|n| n.parse().ok()).expect("a metric")
    };
    (value("mgw_media_rounds"), value("mgw_media_rounds_late"))
}

/// Compares what an ear heard with what was said.
fn judge(sound: &[i16], language: &str, said: &[u16], step: &mut Step) {
    let mut decoder = Decoder::new(RATE);
    let mut heard = decoder.feed(sound);
    heard.extend(decoder.finish());
    step.words += said.len();
    let mut right = 0;
    let mut before: Option<(u16, f64)> = None;
    for event in heard {
        let Heard::Word { token, start, end } = event else {
            step.wrong += 1;
            continue;
        };
        // In order and once: the next word is the one that comes next in what was said.
        if token.language() == language && said.get(right) == Some(&token.n) {
            right += 1;
        } else if let Some(place) = said.iter().skip(right).position(|n| *n == token.n) {
            step.wrong += place;
            right += place + 1;
        } else {
            step.wrong += 1;
        }
        if let Some((n, ended)) = before
            && n + 1 == token.n
            && usize::from(n) / WORDS == usize::from(token.n) / WORDS
            && start - ended > STARVED_S
        {
            step.starved += 1;
        }
        before = Some((token.n, end));
    }
    step.wrong += said.len() - right;
}
