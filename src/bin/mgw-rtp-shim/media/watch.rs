//! Reads the library's events: tells when a session's last words were heard, and logs what an operator must know.

use std::collections::HashMap;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mgw::{Gateway, NextEvent};
use serde::Deserialize;
use tokio::io::unix::AsyncFd;
use tokio::sync::oneshot;

/// Sessions whose end somebody waits for.
#[derive(Clone, Default)]
pub struct Watch(Arc<Mutex<HashMap<u64, oneshot::Sender<()>>>>);

/// The part of an event that is needed here. Texts of what was said are not even read.
#[derive(Deserialize)]
struct Told {
    r#type: String,
    #[serde(default)]
    session: u64,
    #[serde(default)]
    interims: u64,
    #[serde(default)]
    others: u64,
}

/// A borrowed descriptor of the gateway, which outlives it.
struct EventFd(RawFd);

impl AsRawFd for EventFd {
    fn as_raw_fd(&self) -> RawFd {
        self.0
    }
}

impl Watch {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, oneshot::Sender<()>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Resolves when the session is gone. To be asked for before it is closed.
    pub fn closed(&self, session: u64) -> oneshot::Receiver<()> {
        let (tell, told) = oneshot::channel();
        self.lock().insert(session, tell);
        told
    }

    /// Nobody waits any more.
    pub fn forget(&self, session: u64) {
        self.lock().remove(&session);
    }

    /// Reads events until dropped.
    ///
    /// # Errors
    /// The runtime cannot watch the descriptor.
    pub async fn run(self, gateway: Arc<Gateway>) -> std::io::Result<()> {
        let fd = AsyncFd::new(EventFd(gateway.event_fd()))?;
        let mut buf = vec![0; 4096];
        loop {
            let mut ready = fd.readable().await?;
            ready.clear_ready();
            loop {
                match gateway.next_event(&mut buf) {
                    Ok(length) => self.take(&buf[..length]),
                    Err(NextEvent::TooShort(needed)) => buf.resize(needed, 0),
                    Err(NextEvent::Empty) => break,
                }
            }
        }
    }

    fn take(&self, json: &[u8]) {
        let Ok(told) = serde_json::from_slice::<Told>(json) else {
            tracing::error!("an event of the library is no JSON");
            return;
        };
        match told.r#type.as_str() {
            "closed" => {
                if let Some(tell) = self.lock().remove(&told.session) {
                    let _ = tell.send(());
                }
            }
            "events_lost" => {
                tracing::warn!(interims = told.interims, others = told.others, "events of the library were lost");
            }
            _ => {}
        }
    }
}
