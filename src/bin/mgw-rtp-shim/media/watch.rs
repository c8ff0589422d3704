//! Reads the library's events: tells when a session's last words were heard, and logs what an operator must know.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use mgw::{Gateway, NextEvent};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::Deserialize;
use tokio::sync::oneshot;

/// Longest wait for an event in milliseconds, after which the thread looks whether it shall stop.
const POLL_MS: u8 = 200;

/// Sessions whose end somebody waits for.
#[derive(Clone, Default)]
pub struct Watch(Arc<Mutex<HashMap<u64, oneshot::Sender<()>>>>);

/// The thread that reads events; dropping it ends it.
pub struct Watching {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

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

    /// Reads events on a thread of its own until the result is dropped.
    ///
    /// # Errors
    /// The system refuses a thread.
    pub fn start(&self, gateway: Arc<Gateway>) -> io::Result<Watching> {
        let stop = Arc::new(AtomicBool::new(false));
        let (watch, stopped) = (self.clone(), stop.clone());
        let thread = mgw::sys::spawn_thread("mgw-events", move || {
            let mut buf = vec![0; 4096];
            while !stopped.load(Ordering::Relaxed) {
                // Also ends when nothing comes, so that the thread sees that it shall stop.
                let _ = poll(&mut [PollFd::new(gateway.event_fd(), PollFlags::POLLIN)], PollTimeout::from(POLL_MS));
                watch.drain(&gateway, &mut buf);
            }
        })?;
        Ok(Watching { stop, thread: Some(thread) })
    }

    fn drain(&self, gateway: &Gateway, buf: &mut Vec<u8>) {
        loop {
            match gateway.next_event(buf) {
                Ok(length) => self.take(&buf[..length]),
                Err(NextEvent::TooShort(needed)) => buf.resize(needed, 0),
                Err(NextEvent::Empty) => return,
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
