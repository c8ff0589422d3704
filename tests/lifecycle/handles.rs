//! Stale handles from many threads at once, while sessions open and close and gateways end.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mgw::config::Config;
use mgw::engine::{LeaveMode, SessionId, Verb};
use mgw::media_port::{self, Direction, pull_frame, push_frame, push_gap};
use mgw::{Gateway, Status, session};

use crate::support::events;

/// Nobody listens there: connections are refused at once.
fn config() -> Config {
    let mut config = Config::new();
    for (key, value) in [
        ("deepgram.base_url", "http://127.0.0.1:1"),
        ("deepl.base_url", "http://127.0.0.1:1"),
        ("elevenlabs.base_url", "http://127.0.0.1:1"),
        ("deepgram.api_key", "dg"),
        ("deepl.api_key", "dl"),
        ("elevenlabs.api_key", "el"),
        ("profile.7777.language", "en"),
        ("profile.8888.language", "es"),
        ("events.capacity", "1000000"),
        ("max_sessions", "100"),
    ] {
        config.set(key, value).expect(key);
    }
    config
}

/// Numbers that look like chance, the same in every run (xorshift).
struct Chance(u64);

impl Chance {
    fn next(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }
}

/// One call with a handle that may be anything; fails on a status that its documentation does not name.
fn call(chance: &mut Chance, id: SessionId) -> Status {
    use Status::*;
    let gone = [ErrHandle, ErrShutdown];
    let control = [Ok, ErrAgain, ErrHandle, ErrShutdown];
    let mut frame = [0; 320];
    let of = |r: Result<(), mgw::Error>| r.map_or_else(|e| e.status, |()| Ok);
    let (name, got, allowed): (_, _, &[Status]) = match chance.next(12) {
        0..3 => ("push", push_frame(id, &frame), &[Ok, ErrBusy]),
        3..6 => ("pull", pull_frame(id, &mut frame), &[Ok, Silence, Original, ErrBusy]),
        6 => ("gap", push_gap(id, 100), &[Ok, ErrBusy, ErrAgain]),
        7 => ("rate", media_port::set_rate(id, Direction::Out, 16_000), &[Ok, ErrBusy, ErrAgain]),
        8 => ("set", of(session::set(id, "gain.translation_db", "-3")), &control),
        9 => ("say", of(session::say(id, "enbako", "en")), &control),
        10 => match chance.next(3) {
            0 => ("stats", session::stats(id).map_or_else(|e| e.status, |_| Ok), &[Ok, ErrAgain, ErrTimeout]),
            1 => ("dtmf", of(session::dtmf(id, '1')), &control),
            _ => ("command", of(session::command(id, Verb::Flush)), &control),
        },
        _ => {
            let mode = if chance.next(2) == 0 { LeaveMode::Drain } else { LeaveMode::Now };
            ("close", of(session::close(id, mode)), &[Ok])
        }
    };
    assert!(allowed.contains(&got) || gone.contains(&got), "{name}: {got:?}");
    got
}

#[test]
fn any_handle_from_eight_threads_while_sessions_and_gateways_come_and_go() {
    let stop = AtomicBool::new(false);
    let handles = Mutex::new(vec![SessionId(0), SessionId(u64::MAX), SessionId(1 << 16), SessionId(0xffff)]);
    let (good, stale) = (AtomicU64::new(0), AtomicU64::new(0));
    // Two short lives of a gateway, each ended while everybody is busy with it.
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (stop, handles, good, stale) = (&stop, &handles, &good, &stale);
            scope.spawn(move || {
                let mut chance = Chance(0x9E37_79B9 + thread);
                while !stop.load(Relaxed) {
                    let id = {
                        let all = handles.lock().expect("handles");
                        // The newest are likely to be open, all others are stale or never were.
                        let among = if chance.next(2) == 0 { all.len().min(8) } else { all.len() };
                        all[all.len() - 1 - chance.next(among as u64) as usize]
                    };
                    let counter = if (call(&mut chance, id) as i32) < 0 { stale } else { good };
                    if counter.fetch_add(1, Relaxed) % 16 == 0 {
                        // Other tests run beside this one.
                        std::thread::sleep(Duration::from_micros(500));
                    }
                }
            });
        }
        // Ends the threads also when the part below fails.
        let _end = End(&stop);
        for life in 0..2 {
            live_and_end(life, &handles);
        }
    });
    let (good, stale) = (good.into_inner(), stale.into_inner());
    assert!(good > 1000 && stale > 1000, "{good} calls with open handles, {stale} with stale ones");
    for id in handles.into_inner().expect("handles") {
        assert!(!media_port::is_open(id), "{id:?} is still open");
        assert!(matches!(push_frame(id, &[0; 160]), Status::ErrHandle | Status::ErrShutdown));
        assert!(matches!(pull_frame(id, &mut [0; 160]), Status::ErrHandle | Status::ErrShutdown));
        assert!(session::close(id, LeaveMode::Now).is_err());
    }
}

struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// A gateway in which two threads open sessions until it is shut down under them. Every session that was opened must
/// get its `closed`, and the shutdown must not wait for any that nobody knows of.
fn live_and_end(life: u64, handles: &Mutex<Vec<SessionId>>) {
    let gateway = Arc::new(Gateway::new(&config()).expect("gateway"));
    let openers: Vec<_> = (0..2u64)
        .map(|thread| {
            let gateway = gateway.clone();
            let mut chance = Chance(77 + life * 2 + thread);
            let (told, opened) = std::sync::mpsc::channel();
            let thread = std::thread::spawn(move || {
                let mut mine = Vec::new();
                loop {
                    let profile = if chance.next(2) == 0 { "7777" } else { "8888" };
                    let room = format!("room {}", chance.next(40));
                    match gateway.open_session(profile, &room, &Config::new()) {
                        Ok(id) => {
                            mine.push(id);
                            let _ = told.send(id);
                        }
                        Err(e) if e.status == Status::ErrShutdown => return mine,
                        Err(e) => assert!(matches!(e.status, Status::ErrAgain | Status::ErrLimit), "{e}"),
                    }
                    std::thread::sleep(Duration::from_micros(500));
                }
            });
            (thread, opened)
        })
        .collect();
    let begun = std::time::Instant::now();
    while begun.elapsed() < Duration::from_secs(3) {
        for (_, opened) in &openers {
            handles.lock().expect("handles").extend(opened.try_iter());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    // Nobody is left to wait for but those whose last words nobody recognises: they get a few seconds.
    let ended = gateway.shutdown(Duration::from_secs(25));
    let mut opened = Vec::new();
    for (thread, rest) in openers {
        opened.extend(thread.join().expect("an opener"));
        handles.lock().expect("handles").extend(rest.try_iter());
    }
    assert_eq!(ended, Ok(()), "everything could be ended in time");
    let mut closed: HashMap<u64, usize> = HashMap::new();
    for event in events(&gateway).iter().filter(|e| e["type"] == "closed") {
        *closed.entry(event["session"].as_u64().expect("session")).or_default() += 1;
    }
    assert!(opened.len() > 100, "{} sessions", opened.len());
    let wrong: Vec<_> = opened.iter().filter(|id| closed.get(&id.0) != Some(&1)).collect();
    assert!(wrong.is_empty(), "of {} sessions these were not closed exactly once: {wrong:?}", opened.len());
}
