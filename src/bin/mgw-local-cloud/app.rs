//! What all protocol servers share: engine, scenario, stats, keys, chance.

use crate::engine::Engine;
use crate::scenario::{Fault, On, Scenario, Stage};
use crate::stats::Stats;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

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
}

impl App {
    /// `keys` maps a service (`deepgram`, `deepl`, `elevenlabs`) to the keys it accepts; a service without an entry accepts any.
    pub fn new(engine: Arc<dyn Engine>, scenario: Scenario, keys: HashMap<String, Vec<String>>) -> App {
        App {
            stats: Stats::new(engine.name()),
            engine,
            keys,
            rng: Mutex::new(ChaCha8Rng::seed_from_u64(scenario.seed)),
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
        *self.scenario.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(scenario);
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
        self.stats.with(|n| n.fired(&fault, hit));
        Some(fault)
    }
}
