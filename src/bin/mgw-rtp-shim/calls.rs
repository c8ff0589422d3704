//! The table of running legs: for `/calls`, for DTMF between the legs of a room, for hanging up by name.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::media::{LegControl, Who};

/// How a leg came to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// A channel in our Stasis application, by ExternalMedia.
    Ari,
    AudioSocket,
    /// Asked for over the control interface.
    Rtp,
}

impl Transport {
    fn name(self) -> &'static str {
        match self {
            Transport::Ari => "ari",
            Transport::AudioSocket => "audiosocket",
            Transport::Rtp => "rtp",
        }
    }
}

#[derive(Clone)]
struct Entry {
    who: Who,
    transport: Transport,
    since: Instant,
    control: LegControl,
    hang_up: CancellationToken,
    number: u64,
}

/// Running legs by id.
#[derive(Clone, Default)]
pub struct Calls {
    entries: Arc<Mutex<BTreeMap<String, Entry>>>,
    next: Arc<AtomicU64>,
}

/// A leg's row in the table; dropping it takes the row out.
pub struct Row {
    calls: Calls,
    id: String,
    number: u64,
    hang_up: CancellationToken,
}

impl Calls {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        // Rows are put in and taken out whole.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a leg.
    pub fn add(&self, who: Who, transport: Transport, control: LegControl) -> Row {
        let (id, hang_up) = (who.id.clone(), CancellationToken::new());
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let entry = Entry { who, transport, since: Instant::now(), control, hang_up: hang_up.clone(), number };
        self.lock().insert(id.clone(), entry);
        Row { calls: self.clone(), id, number, hang_up }
    }

    /// How many legs run.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// The other legs of a leg's room.
    pub fn others(&self, id: &str) -> Vec<(String, Transport, LegControl)> {
        let all = self.lock();
        let Some(room) = all.get(id).map(|e| e.who.room.clone()) else { return Vec::new() };
        all.iter()
            .filter(|(other, e)| *other != id && e.who.room == room)
            .map(|(other, e)| (other.clone(), e.transport, e.control.clone()))
            .collect()
    }

    /// Asks whoever looks after a leg to hang up; false if there is no such leg.
    pub fn hang_up(&self, id: &str) -> bool {
        self.lock().get(id).map(|e| e.hang_up.cancel()).is_some()
    }

    /// All legs as `/calls` shows them.
    pub fn list(&self) -> Vec<Value> {
        let all: Vec<Entry> = self.lock().values().cloned().collect();
        all.iter()
            .map(|e| {
                json!({
                    "id": e.who.id,
                    "extension": e.who.extension.name,
                    "profile": e.who.extension.profile,
                    "room": e.who.room,
                    "transport": e.transport.name(),
                    "seconds": e.since.elapsed().as_secs(),
                    "media": e.control.snapshot(),
                })
            })
            .collect()
    }
}

impl Row {
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Cancelled when somebody asked to hang up.
    pub fn hang_up(&self) -> &CancellationToken {
        &self.hang_up
    }
}

impl Drop for Row {
    fn drop(&mut self) {
        // A caller that came back under the same id, while its last words were still heard, has a row of its own.
        let mut all = self.calls.lock();
        if all.get(&self.id).is_some_and(|e| e.number == self.number) {
            all.remove(&self.id);
        }
    }
}
