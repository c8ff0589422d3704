//! Decoders are dear to make (0.3 s, 90 MB): some are made before they are needed, and there is a limit.
//!
//! Each stream gets a fresh one: a decoder adapts to what it has heard (its estimate of the channel), and what a stream
//! understands must not depend on who spoke before it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::places::error;
use super::recognizer::Ear;
use crate::engine::{EngineError, EngineErrorKind};

/// Which ear a stream needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Free English speech.
    English,
    /// The Spanish phrase book.
    Phrases,
}

/// Decoders made in advance and the count of those in use.
pub struct Pool {
    limit: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    busy: usize,
    idle: Vec<(Kind, Ear)>,
}

impl Pool {
    /// A pool for at most `limit` streams at once.
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, state: Mutex::default() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a fresh ear for the next stream that needs one.
    pub fn keep(&self, kind: Kind, ear: Ear) {
        self.state().idle.push((kind, ear));
    }

    /// An ear made in advance, or one that `make` makes.
    pub fn take(
        self: &Arc<Self>,
        kind: Kind,
        make: impl FnOnce() -> Result<Ear, EngineError>,
    ) -> Result<Lease, EngineError> {
        let idle = {
            let mut state = self.state();
            if state.busy >= self.limit {
                return Err(error(
                    EngineErrorKind::TooManyStreams,
                    format!("{} streams run already, which is what this machine carries", self.limit),
                ));
            }
            state.busy += 1;
            let at = state.idle.iter().position(|(k, _)| *k == kind);
            at.map(|at| state.idle.swap_remove(at).1)
        };
        let place = Place { pool: Arc::clone(self) };
        // The place is given back by its drop if making fails.
        let ear = match idle {
            Some(ear) => ear,
            None => make()?,
        };
        Ok(Lease { _place: place, ear })
    }
}

/// One of the limited places.
struct Place {
    pool: Arc<Pool>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.pool.state().busy -= 1;
    }
}

/// An ear in use, and its place.
pub struct Lease {
    ear: Ear,
    _place: Place,
}

impl Lease {
    /// The ear.
    pub fn ear(&mut self) -> &mut Ear {
        &mut self.ear
    }
}
