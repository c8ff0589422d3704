//! Memory of a session: 200 of them in rooms of two languages, idle beside the local cloud and while all talk.

use std::time::{Duration, Instant};

use mgw::config::Config;
use mgw::engine::SessionId;
use mgw::media_port::{pull_frame, push_frame};
use mgw::{Gateway, session};

use crate::alloc::{live_bytes, resident_bytes};
use crate::report::{Figure, Report};
use crate::stat::{RATE, SAMPLES, every_frame, spread};
use crate::support::leg::Talk;
use crate::support::{Cloud, events};

const SESSIONS: usize = 200;
const MIB: f64 = 1024.0 * 1024.0;

struct Sample {
    resident: u64,
    heap: u64,
}

impl Sample {
    fn now() -> Sample {
        Sample { resident: resident_bytes(), heap: live_bytes() }
    }

    /// Bytes per session since `base`: (resident, heap).
    fn since(&self, base: &Sample) -> (f64, f64) {
        let each = |now: u64, then: u64| now.saturating_sub(then) as f64 / SESSIONS as f64;
        (each(self.resident, base.resident), each(self.heap, base.heap))
    }
}

pub fn run(quick: bool, report: &mut Report) {
    let cloud = Cloud::start("[stt]\nmax_streams = 100000\n");
    let gateway = Gateway::new(&cloud.config(&[])).expect("gateway");
    let talk = |language, first_word| {
        let gap = Duration::from_millis(900);
        Talk { language, first_word, sentences: 4, words_per_sentence: 5, gap, lead: Duration::from_millis(200) }
            .samples(RATE)
    };
    let voices = [talk("en", 0), talk("es", 2000)];
    // One call runs and ends first: threads, runtime and tables exist before anything is counted.
    let pair = open(&gateway, 1);
    run_frames(&gateway, &pair, None, 100);
    for session in pair {
        session::close(session, mgw::engine::LeaveMode::Now).expect("close");
    }
    std::thread::sleep(Duration::from_millis(300));
    let base = Sample::now();

    let sessions = open(&gateway, SESSIONS / 2);
    let until = Instant::now() + Duration::from_secs(20);
    let mut frames_idle = 0;
    while connected(&sessions) < SESSIONS && Instant::now() < until {
        frames_idle += 50;
        run_frames(&gateway, &sessions, None, 50);
    }
    let connected = connected(&sessions);
    run_frames(&gateway, &sessions, None, 50);
    let idle = Sample::now().since(&base);

    let seconds = if quick { 5 } else { 12 };
    let (mut resident, mut heap) = (0f64, 0f64);
    for second in 0..seconds {
        run_frames(&gateway, &sessions, Some((&voices, second * 50)), 50);
        let (r, h) = Sample::now().since(&base);
        (resident, heap) = (resident.max(r), heap.max(h));
    }
    report.add(Figure::new("session_idle_resident_bytes", idle.0, "bytes").at_most(MIB));
    report.add(Figure::new("session_idle_heap_bytes", idle.1, "bytes"));
    report.add(Figure::new("session_talking_resident_bytes", resident, "bytes").at_most(MIB));
    report.add(Figure::new("session_talking_heap_bytes", heap, "bytes"));
    report.note(&format!(
        "memory: growth of this process per session, {SESSIONS} sessions in rooms of two languages against the local \
         cloud in another process, {connected} of them with all connections ready, plain TCP (TLS adds some 12 KiB a \
         connection); idle after {frames_idle} silent frames; talking: the largest of {seconds} looks a second apart while \
         all talk at once; resident from /proc/self/status, heap by a counting allocator; socket buffers of the kernel \
         are not in it"
    ));
}

/// Sessions two by two in rooms, English and Spanish.
fn open(gateway: &Gateway, rooms: usize) -> Vec<SessionId> {
    let one = |i: usize, profile| gateway.open_session(profile, &format!("room {i}"), &Config::new()).expect("session");
    (0..rooms).flat_map(|i| [one(i, "7777"), one(i, "8888")]).collect()
}

/// How many sessions have their recogniser and synthesiser ready.
fn connected(sessions: &[SessionId]) -> usize {
    let ready = |session: &SessionId| {
        let stats: serde_json::Value = serde_json::from_str(&session::stats(*session).ok()?).ok()?;
        (stats["links"]["stt"] == "ready" && stats["links"]["tts"] == "ready").then_some(())
    };
    sessions.iter().filter_map(ready).count()
}

/// Pushes (silence, or the language's voice from a frame on) and pulls for so many frames; then fetches the events.
fn run_frames(gateway: &Gateway, sessions: &[SessionId], voices: Option<(&[Vec<i16>; 2], usize)>, frames: usize) {
    let silence = [0i16; SAMPLES];
    let mut out = [0i16; SAMPLES];
    every_frame(&spread(sessions.len()), frames, |slot, frame| {
        let said = voices.and_then(|(voices, from)| {
            let voice = voices[slot % 2].as_chunks::<SAMPLES>().0;
            voice.get((from + frame) % voice.len())
        });
        push_frame(sessions[slot], said.unwrap_or(&silence));
        pull_frame(sessions[slot], &mut out);
    });
    drop(events(gateway));
}
