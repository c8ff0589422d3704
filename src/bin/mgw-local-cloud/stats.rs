//! The log of truth: what really reached the services, for tests to compare with what clients claim.

use crate::scenario::{Fault, Stage};
use serde::Serialize;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Longest list kept; totals go on counting.
const KEPT: usize = 500;
/// Connections kept.
const KEPT_ACCEPTED: usize = 2000;

/// `GET /__stats`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Numbers {
    /// Name of the engine.
    pub engine: &'static str,
    /// The emulator's clock when this was read: milliseconds since it began.
    pub now_ms: u64,
    /// Bytes carried per stage since the scenario was set, both directions; what byte faults count.
    pub bytes: BTreeMap<Stage, u64>,
    /// TCP connections accepted.
    pub tcp_connections: u64,
    /// HTTP requests and websocket handshakes per stage, refused ones included.
    pub requests: BTreeMap<Stage, u64>,
    /// Websocket connections accepted per stage.
    pub connections: BTreeMap<Stage, u64>,
    /// Websocket connections open now.
    pub open: BTreeMap<Stage, i64>,
    /// Requests being carried out now, per service that limits them.
    pub busy: BTreeMap<&'static str, u64>,
    /// Websocket messages from clients per stage.
    pub messages: BTreeMap<Stage, u64>,
    /// Seconds of audio: received for stt, sent for tts.
    pub audio_s: BTreeMap<Stage, f64>,
    /// Characters to translate and to speak.
    pub characters: BTreeMap<Stage, u64>,
    /// Contexts of the multi-context socket opened and open now.
    pub contexts: u64,
    /// See `contexts`.
    pub contexts_open: i64,
    /// What clients did wrong: the first 500.
    pub violations: Vec<String>,
    /// How often they did.
    pub violations_total: u64,
    /// Faults of the scenario that were fired, the first 500.
    pub faults: Vec<Fired>,
    /// How many were.
    pub faults_total: u64,
    /// The last 2000 connections that served a stage: websockets opened, and HTTP connections at their first request.
    pub accepted: VecDeque<Accepted>,
    /// The last 500 final transcripts.
    pub finals: Vec<String>,
    /// The last 500 texts translated.
    pub translations: Vec<Translation>,
    /// The last 500 texts spoken.
    pub spoken: Vec<String>,
}

/// One connection.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Accepted {
    /// What it serves.
    pub stage: Stage,
    /// When its handshake was accepted or its first request came, by the emulator's clock.
    pub at_ms: u64,
    /// When TCP was accepted.
    pub tcp_ms: u64,
}

/// One fault fired.
#[derive(Clone, Debug, Serialize)]
pub struct Fired {
    /// The fault as written.
    #[serde(flatten)]
    pub fault: Fault,
    /// Which request, message, generation or byte it hit.
    pub hit: u64,
    /// When, by the emulator's clock; a fault with `after_ms` breaks so much later.
    pub at_ms: u64,
}

/// One text translated.
#[derive(Clone, Debug, Serialize)]
pub struct Translation {
    /// As asked, or detected.
    pub source: String,
    /// As asked.
    pub target: String,
    /// What came.
    pub text: String,
    /// What went.
    pub translated: String,
    /// The context that came with it.
    pub context: Option<String>,
}

/// Shared counters.
pub struct Stats(Mutex<Numbers>);

impl Stats {
    /// All zero.
    pub fn new(engine: &'static str) -> Stats {
        Stats(Mutex::new(Numbers { engine, ..Numbers::default() }))
    }

    /// Access; short use only.
    pub fn with<T>(&self, f: impl FnOnce(&mut Numbers) -> T) -> T {
        let mut numbers: MutexGuard<'_, Numbers> = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        f(&mut numbers)
    }

    /// Notes that a client broke a vendor's rule.
    pub fn violation(&self, text: impl Into<String>) {
        self.with(|n| {
            n.violations_total += 1;
            if n.violations.len() < KEPT {
                n.violations.push(text.into());
            }
        });
    }

    /// Starts again from zero; what is open stays open.
    pub fn reset(&self) {
        self.with(|n| {
            *n = Numbers {
                engine: n.engine,
                open: n.open.clone(),
                busy: n.busy.clone(),
                contexts_open: n.contexts_open,
                ..Numbers::default()
            };
        });
    }
}

/// Appends to a list that keeps the newest 500.
pub fn keep_last<T>(list: &mut Vec<T>, item: T) {
    if list.len() >= KEPT {
        list.remove(0);
    }
    list.push(item);
}

impl Numbers {
    /// Notes a connection.
    pub fn accepted(&mut self, connection: Accepted) {
        if self.accepted.len() >= KEPT_ACCEPTED {
            self.accepted.pop_front();
        }
        self.accepted.push_back(connection);
    }

    /// Notes a fired fault.
    pub fn fired(&mut self, fault: &Fault, hit: u64, at_ms: u64) {
        self.faults_total += 1;
        if self.faults.len() < KEPT {
            self.faults.push(Fired { fault: fault.clone(), hit, at_ms });
        }
    }
}
