//! The one queue of events of a gateway, and the descriptor that tells when it has some.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;

use crate::engine::SessionId;
use crate::engine::time::ms;
use crate::event::EventKind;
use crate::sys::EventFd;

/// Why there is no event in the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextEvent {
    /// None waits.
    Empty,
    /// The next one needs this many bytes; it still waits.
    TooShort(usize),
}

/// What every event of a session carries beside its kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// The host's own name for the session (`id` option), or an empty text.
    pub id: String,
    /// The room's name.
    pub room: String,
    /// The profile's name.
    pub profile: String,
}

/// An event as it leaves the library.
#[derive(Serialize)]
struct Record<'a> {
    seq: u64,
    time_ms: f64,
    session: u64,
    id: &'a str,
    room: &'a str,
    profile: &'a str,
    #[serde(flatten)]
    kind: &'a EventKind,
}

#[derive(Default)]
struct Inner {
    queue: VecDeque<(String, bool)>,
    seq: u64,
    /// Interim transcripts in the queue.
    interims: usize,
    lost_interims: u64,
    lost_others: u64,
}

/// A bounded queue of events as JSON text.
pub struct EventQueue {
    inner: Mutex<Inner>,
    fd: EventFd,
    capacity: usize,
}

impl EventQueue {
    /// A queue of at most `capacity` events.
    ///
    /// # Errors
    /// No descriptor could be had.
    pub fn new(capacity: usize) -> std::io::Result<Self> {
        Ok(EventQueue { inner: Mutex::default(), fd: EventFd::new()?, capacity: capacity.max(16) })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Every change below is complete at once, so a panic elsewhere leaves nothing half-done here.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an event. When the queue is full, interim transcripts make room; an event of another kind is dropped only
    /// when the whole queue is of other kinds. Both are counted and told.
    pub fn push(&self, now: Duration, session: SessionId, names: &Names, kind: &EventKind) {
        let mut inner = self.lock();
        if inner.queue.len() >= self.capacity {
            // Looked for only where there is one: a full queue is long.
            let interim = if inner.interims > 0 { inner.queue.iter().position(|(_, interim)| *interim) } else { None };
            match interim {
                _ if kind.is_interim() => {
                    inner.lost_interims += 1;
                    return;
                }
                Some(at) => {
                    inner.queue.remove(at);
                    inner.interims -= 1;
                    inner.lost_interims += 1;
                }
                None => {
                    inner.lost_others += 1;
                    return;
                }
            }
        } else if inner.lost_interims + inner.lost_others > 0 && inner.queue.len() + 2 <= self.capacity {
            let told = EventKind::EventsLost { interims: inner.lost_interims, others: inner.lost_others };
            (inner.lost_interims, inner.lost_others) = (0, 0);
            inner.append(now, SessionId(0), &Names::default(), &told);
        }
        inner.append(now, session, names, kind);
        drop(inner);
        self.fd.signal();
    }

    /// Writes the next event into `buf` and takes it off the queue; returns its length.
    ///
    /// # Errors
    /// No event waits, or it is longer than `buf` (and still waits).
    pub fn next(&self, buf: &mut [u8]) -> Result<usize, NextEvent> {
        let mut inner = self.lock();
        let Some((text, _)) = inner.queue.front() else {
            self.fd.drain();
            return Err(NextEvent::Empty);
        };
        let n = text.len();
        let Some(place) = buf.get_mut(..n) else { return Err(NextEvent::TooShort(n)) };
        place.copy_from_slice(text.as_bytes());
        if let Some((_, true)) = inner.queue.pop_front() {
            inner.interims -= 1;
        }
        if inner.queue.is_empty() {
            self.fd.drain();
        }
        Ok(n)
    }

    /// Readable while events wait. Only to be polled; the queue reads it.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Events that wait.
    pub fn waiting(&self) -> usize {
        self.lock().queue.len()
    }
}

impl Inner {
    fn append(&mut self, now: Duration, session: SessionId, names: &Names, kind: &EventKind) {
        self.seq += 1;
        let record = Record {
            seq: self.seq,
            time_ms: ms(now),
            session: session.0,
            id: &names.id,
            room: &names.room,
            profile: &names.profile,
            kind,
        };
        // Every kind is plain data with text keys, which serde_json always can write.
        if let Ok(text) = serde_json::to_string(&record) {
            self.interims += usize::from(kind.is_interim());
            self.queue.push_back((text, kind.is_interim()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transcript(is_final: bool) -> EventKind {
        EventKind::Transcript { r#final: is_final, text: "x".into(), start_ms: 0.0, end_ms: 1.0, language: None }
    }

    fn take(queue: &EventQueue) -> Option<serde_json::Value> {
        let mut buf = [0; 1024];
        let n = queue.next(&mut buf).ok()?;
        serde_json::from_slice(&buf[..n]).ok()
    }

    #[test]
    fn only_interims_make_room_and_losses_are_told() {
        let queue = EventQueue::new(16).unwrap();
        let (now, id, names) = (Duration::from_millis(5), SessionId(7), Names::default());
        for i in 0..40 {
            queue.push(now, id, &names, &transcript(i % 2 == 0));
        }
        // 20 finals do not fit into 16 places: the first 16 stay, and nothing of them is lost to interims.
        assert_eq!(queue.waiting(), 16);
        let mut seen = Vec::new();
        while let Some(event) = take(&queue) {
            assert_eq!(event["final"], true, "{event}");
            seen.push(event["seq"].as_u64().unwrap());
        }
        assert!(seen.is_sorted());
        queue.push(now, id, &names, &transcript(true));
        let told = take(&queue).unwrap();
        assert_eq!(told["type"], "events_lost");
        assert_eq!(told["others"], 4);
        assert_eq!(take(&queue).unwrap()["type"], "transcript");
        assert!(take(&queue).is_none());
    }

    #[test]
    fn a_short_buffer_keeps_the_event() {
        let queue = EventQueue::new(16).unwrap();
        queue.push(Duration::ZERO, SessionId(7), &Names::default(), &transcript(true));
        let Err(NextEvent::TooShort(n)) = queue.next(&mut [0; 4]) else { panic!("must not fit") };
        assert_eq!(queue.next(&mut vec![0; n]), Ok(n));
        assert_eq!(queue.next(&mut [0; 4]), Err(NextEvent::Empty));
    }
}
