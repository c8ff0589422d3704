//! The drivers against scripted vendors on loopback.

mod mt;
mod mt_batches;
mod mt_failover;
mod mt_vendor;
mod replay;
mod stt;
#[cfg(all(feature = "local-cloud", feature = "tls-rustls"))]
mod tls;
mod tts;
mod tts_faults;
mod tts_limits;

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded};

use super::test_server::PATIENCE;
use super::{CHANNEL_SIZE, FromNet, Port, Runtime};
use crate::config::SessionConfig;
use crate::engine::{NetCommand, RoomId, SessionId};
use crate::provider::test_config::{KEYS, config};
use crate::provider::{LinkState, Stage, StageError, SttEvent};

const ROOM: RoomId = RoomId(7);
const SESSION: SessionId = SessionId(41);
/// A port that nobody listens on: refused at once.
const NOWHERE: &str = "http://127.0.0.1:1";

/// A media thread's side.
struct Media {
    port: Port,
    receiver: Receiver<(RoomId, FromNet)>,
    /// Everything received so far.
    seen: Vec<FromNet>,
}

impl Media {
    fn new() -> Self {
        let (sender, receiver) = bounded(CHANNEL_SIZE);
        let runtime = Runtime::acquire(2).expect("a runtime");
        Self { port: Port::new(runtime, sender, None, Arc::default()), receiver, seen: Vec::new() }
    }

    fn apply(&mut self, command: NetCommand) {
        self.port.apply(ROOM, command);
    }

    /// Waits for a message for which `pick` gives something.
    fn wait<T>(&mut self, what: &str, pick: impl Fn(&FromNet) -> Option<T>) -> T {
        let until = Instant::now() + PATIENCE;
        loop {
            match self.receiver.recv_deadline(until) {
                Ok((room, message)) => {
                    assert_eq!(room, ROOM);
                    let found = pick(&message);
                    assert!(KEYS.iter().all(|key| !format!("{message:?}").contains(key)), "a key in {message:?}");
                    self.seen.push(message);
                    if let Some(found) = found {
                        return found;
                    }
                }
                Err(_) => panic!("no {what}; seen: {:#?}", self.seen),
            }
        }
    }

    fn ready(&mut self, wanted: Stage) {
        self.wait("ready link", |message| match message {
            FromNet::Link { stage, state: LinkState::Ready, .. } if *stage == wanted => Some(()),
            _ => None,
        });
    }

    fn down(&mut self, wanted: Stage) -> (StageError, Option<Duration>) {
        self.wait("link that is down", |message| match message {
            FromNet::Link { stage, state: LinkState::Down { error, retry_in }, .. } if *stage == wanted => {
                Some((error.clone(), *retry_in))
            }
            _ => None,
        })
    }

    fn stt<T>(&mut self, what: &str, pick: impl Fn(&SttEvent) -> Option<T>) -> T {
        self.wait(what, |message| match message {
            FromNet::Stt { session, event } => {
                assert_eq!(*session, SESSION);
                pick(event)
            }
            _ => None,
        })
    }
}

/// Waits until `done`; for what a server does, which no message tells.
fn until(what: &str, done: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "{what} did not happen");
        std::thread::yield_now();
    }
}

/// Settings with these base URLs.
fn reach(deepgram: &str, deepl: &str, elevenlabs: &str) -> Arc<SessionConfig> {
    Arc::new(config(&[("deepgram.base_url", deepgram), ("deepl.base_url", deepl), ("elevenlabs.base_url", elevenlabs)]))
}
