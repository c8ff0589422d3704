//! Decoders are dear to make (0.3 s, 90 MB): ended streams leave theirs for the next one, and there is a limit.

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

/// Idle decoders and the count of those in use.
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

    /// An idle ear, or one that `make` makes.
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
        Ok(Lease { place, kind, ear: Some(ear) })
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

/// An ear in use; goes back to the pool when it is dropped.
pub struct Lease {
    place: Place,
    kind: Kind,
    /// Empty only inside `drop`.
    ear: Option<Ear>,
}

impl Lease {
    /// The ear.
    pub fn ear(&mut self) -> Option<&mut Ear> {
        self.ear.as_mut()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let pool = &self.place.pool;
        let mut state = pool.state();
        // At most half the limit of idle ones per kind is kept, so that memory stays bounded.
        let same = state.idle.iter().filter(|(kind, _)| *kind == self.kind).count();
        if let Some(ear) = self.ear.take()
            && same < pool.limit.div_ceil(2)
        {
            state.idle.push((self.kind, ear));
        }
    }
}
