//! What all protocol servers share: engine, scenario, stats, keys, chance.

use crate::conn::{ConnCtl, Meter};
use crate::engine::Engine;
use crate::scenario::{Fault, On, Scenario, Stage};
use crate::stats::{Accepted, Stats};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::time::Instant;

/// Shared state of one running emulator.
pub struct App {
    /// What hears, translates and speaks.
    pub engine: Arc<dyn Engine>,
    /// The log of truth.
    pub stats: Stats,
    keys: HashMap<String, Vec<String>>,
    scenario: RwLock<Arc<Scenario>>,
    rng: Mutex<ChaCha8Rng>,
    counted: Mutex<BTreeMap<(Stage, On), u64>>,
    meters: [Mutex<Meter>; 3],
    started: Instant,
    connections: Mutex<Vec<Weak<ConnCtl>>>,
}

const STAGES: [Stage; 3] = [Stage::Stt, Stage::Mt, Stage::Tts];

impl App {
    /// `keys` maps a service (see [`crate::SERVICES`]) to the keys it accepts; a service without an entry accepts any.
    pub fn new(engine: Arc<dyn Engine>, scenario: Scenario, keys: HashMap<String, Vec<String>>) -> App {
        App {
            stats: Stats::new(engine.name()),
            engine,
            keys,
            rng: Mutex::new(ChaCha8Rng::seed_from_u64(scenario.seed)),
            meters: STAGES.map(|stage| Mutex::new(Meter::new(stage, &scenario.fault))),
            started: Instant::now(),
            connections: Mutex::default(),
            scenario: RwLock::new(Arc::new(scenario)),
            counted: Mutex::default(),
        }
    }

    /// The scenario in force.
    pub fn scenario(&self) -> Arc<Scenario> {
        self.scenario.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts another scenario in force; faults count from 1 again.
    pub fn set_scenario(&self, scenario: Scenario) {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner).clear();
        for stage in STAGES {
            *self.meter(stage) = Meter::new(stage, &scenario.fault);
        }
        *self.scenario.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(scenario);
    }

    /// Takes note of a connection just accepted.
    pub fn connected(&self, connection: &Arc<ConnCtl>) {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        // Only when it has doubled, so that a thousand connections do not look at each other.
        if connections.len() == connections.capacity() {
            connections.retain(|known| known.strong_count() > 0);
        }
        connections.push(Arc::downgrade(connection));
    }

    /// Resets every connection but one.
    pub fn reset_all(&self, but: &Arc<ConnCtl>) {
        let connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        for connection in connections.iter().filter_map(Weak::upgrade).filter(|c| !Arc::ptr_eq(c, but)) {
            connection.impose(&Fault::reset());
        }
    }

    /// Milliseconds since the emulator began, by a clock that only goes forward.
    pub fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// The count of a stage's bytes; short use only.
    pub fn meter(&self, stage: Stage) -> MutexGuard<'_, Meter> {
        let i = match stage {
            Stage::Stt => 0,
            Stage::Mt => 1,
            Stage::Tts => 2,
        };
        self.meters[i].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The log of truth as of now.
    pub fn numbers(&self) -> crate::stats::Numbers {
        let mut numbers = self.stats.with(|n| n.clone());
        numbers.now_ms = self.now_ms();
        numbers.bytes = STAGES.into_iter().map(|stage| (stage, self.meter(stage).total())).collect();
        numbers
    }

    /// Notes that a connection serves a stage from now on.
    pub fn accepted(&self, stage: Stage, ctl: &ConnCtl) {
        let accepted = Accepted { stage, at_ms: self.now_ms(), tcp_ms: ctl.accepted_ms() };
        self.stats.with(|n| n.accepted(accepted));
    }

    /// Notes that a fault was fired.
    pub fn fired(&self, fault: &Fault, hit: u64) {
        let at_ms = self.now_ms();
        self.stats.with(|n| n.fired(fault, hit, at_ms));
    }

    /// Whether a service wants a key of its own.
    pub fn wants_key(&self, service: &str) -> bool {
        self.keys.contains_key(service)
    }

    /// Whether a service accepts a key.
    pub fn key_is_good(&self, service: &str, key: &str) -> bool {
        !key.is_empty() && self.keys.get(service).is_none_or(|keys| keys.iter().any(|k| k == key))
    }

    /// Runs `f` with the seeded generator.
    pub fn chance<T>(&self, f: impl FnOnce(&mut ChaCha8Rng) -> T) -> T {
        f(&mut self.rng.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A random UUID (version 4).
    pub fn uuid(&self) -> String {
        let (a, b): (u64, u64) = self.chance(|rng| (rng.random(), rng.random()));
        let (a, b) = (a & !0xF000 | 0x4000, b & !(3 << 62) | 1 << 63);
        format!(
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            a >> 32,
            a >> 16 & 0xFFFF,
            a & 0xFFFF,
            b >> 48,
            b & 0xFFFF_FFFF_FFFF
        )
    }

    /// Counts one event of a stage and returns the fault the scenario has for it; a returned fault is noted as fired.
    pub fn fault(&self, stage: Stage, on: On) -> Option<Fault> {
        let hit = {
            let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
            let n = counted.entry((stage, on)).or_default();
            *n += 1;
            *n
        };
        let fits = |f: &&Fault| f.stage == stage && f.on == on && hit >= f.at && (f.count == 0 || hit - f.at < f.count);
        let fault = self.scenario().fault.iter().find(fits).cloned()?;
        self.fired(&fault, hit);
        Some(fault)
    }
}
