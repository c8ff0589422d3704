//! What waits between a media thread and a synthesiser's task: bounded, and every text taken in gets
//! exactly one end (`End`, `Failed`, or its cancellation).

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::runtime::lock;
use crate::engine::SegmentId;
use crate::provider::StageError;

/// Most texts that wait; more would be spoken much too late anyway.
pub(super) const MOST_WAITING: usize = 64;

/// A text to speak.
#[derive(Clone, Debug)]
pub(super) struct Job {
    /// Tells texts apart: a segment whose text was cancelled may be asked for again.
    pub(super) ticket: u64,
    pub(super) segment: SegmentId,
    pub(super) text: String,
    /// When it was asked for.
    pub(super) since: Instant,
    /// Providers before this one are not asked any more; `None` for a text that nobody was asked for yet.
    pub(super) from: Option<usize>,
    /// How often that provider was given it.
    pub(super) tries: u32,
    /// Why it has failed so far.
    pub(super) error: Option<StageError>,
}

#[derive(Default)]
struct Inner {
    waiting: VecDeque<Job>,
    /// Taken in, neither ended nor cancelled.
    live: BTreeMap<u64, SegmentId>,
    next_ticket: u64,
    closing: Option<Closing>,
}

/// How a connection is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Closing {
    /// At once; what is under way is not wanted any more.
    Now,
    /// When everything taken in was spoken.
    Idle,
}

/// The queue. The media thread holds the lock for a few operations only.
#[derive(Default)]
pub(super) struct TtsQueue {
    inner: Mutex<Inner>,
    /// Told about everything that is put in.
    pub(super) changed: Notify,
    /// Wakes all who speak a text when one was cancelled.
    cancelled: Notify,
}

/// What became of handing on a piece of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Handed {
    Done,
    /// There was no room for it.
    Full,
    /// The text is not wanted any more.
    Unwanted,
}

impl TtsQueue {
    /// Takes a text in; false if there are too many, or this segment is already being spoken.
    pub(super) fn push(&self, segment: SegmentId, text: String) -> bool {
        let mut inner = lock(&self.inner);
        let known = inner.live.values().any(|live| *live == segment);
        if inner.waiting.len() >= MOST_WAITING || inner.closing.is_some() || known {
            return false;
        }
        let ticket = inner.next_ticket;
        inner.next_ticket += 1;
        inner.live.insert(ticket, segment);
        let since = Instant::now();
        inner.waiting.push_back(Job { ticket, segment, text, since, from: None, tries: 0, error: None });
        drop(inner);
        self.changed.notify_one();
        true
    }

    /// Nothing more is to be said about this segment's text. True if it was known.
    pub(super) fn cancel(&self, segment: SegmentId) -> bool {
        let mut inner = lock(&self.inner);
        inner.waiting.retain(|job| job.segment != segment);
        let before = inner.live.len();
        inner.live.retain(|_, live| *live != segment);
        let known = inner.live.len() < before;
        drop(inner);
        self.changed.notify_one();
        self.cancelled.notify_waiters();
        known
    }

    /// Ends the connection.
    pub(super) fn close(&self, how: Closing) {
        lock(&self.inner).closing = Some(how);
        self.changed.notify_one();
    }

    /// Whether the connection is to end now.
    pub(super) fn is_over(&self) -> bool {
        let inner = lock(&self.inner);
        match inner.closing {
            Some(Closing::Now) => true,
            Some(Closing::Idle) => inner.live.is_empty(),
            None => false,
        }
    }

    /// The next text to speak.
    pub(super) fn next(&self) -> Option<Job> {
        lock(&self.inner).waiting.pop_front()
    }

    /// When the text that has waited longest was asked for.
    pub(super) fn oldest(&self) -> Option<Instant> {
        lock(&self.inner).waiting.iter().map(|job| job.since).min()
    }

    /// Puts a text back among those that wait, in the order in which they came; one cancelled meanwhile ends here.
    /// Tells nobody: who does it looks again by itself.
    pub(super) fn put_back(&self, job: Job) {
        let mut inner = lock(&self.inner);
        if inner.live.contains_key(&job.ticket) {
            let at = inner.waiting.iter().position(|other| other.ticket > job.ticket).unwrap_or(inner.waiting.len());
            inner.waiting.insert(at, job);
        }
    }

    /// Whether a text is still wanted.
    pub(super) fn is_wanted(&self, ticket: u64) -> bool {
        lock(&self.inner).live.contains_key(&ticket)
    }

    /// Ends when a text is not wanted any more.
    pub(super) async fn unwanted(&self, ticket: u64) {
        loop {
            let told = self.cancelled.notified();
            tokio::pin!(told);
            // Before looking, so that a cancellation in between wakes us.
            told.as_mut().enable();
            if !self.is_wanted(ticket) {
                return;
            }
            told.await;
        }
    }

    /// Hands on a piece of a text, or its end (`last`), with `offer`, which says whether there was room for it and
    /// must not wait: it runs under the lock, so that nothing of a text is handed on once [`cancel`](Self::cancel)
    /// has returned.
    pub(super) fn hand_on(&self, ticket: u64, last: bool, offer: impl FnOnce() -> bool) -> Handed {
        let mut inner = lock(&self.inner);
        let handed = match inner.live.contains_key(&ticket) {
            false => Handed::Unwanted,
            true if offer() => Handed::Done,
            true => Handed::Full,
        };
        if last && handed != Handed::Full {
            inner.live.remove(&ticket);
            drop(inner);
            self.changed.notify_one();
        }
        handed
    }

    /// Empties everything; gives the segments whose end is to be told.
    pub(super) fn give_up_all(&self) -> Vec<SegmentId> {
        let mut inner = lock(&self.inner);
        inner.waiting.clear();
        std::mem::take(&mut inner.live).into_values().collect()
    }

    /// Takes out what was asked for at `limit` or before. Its end is still to be told.
    pub(super) fn take_late(&self, limit: Instant) -> Vec<Job> {
        let mut inner = lock(&self.inner);
        let (late, waiting) =
            std::mem::take(&mut inner.waiting).into_iter().partition::<VecDeque<Job>, _>(|job| job.since <= limit);
        inner.waiting = waiting;
        late.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_ends_once() {
        let queue = TtsQueue::default();
        for id in 0..4 {
            assert!(queue.push(SegmentId(id), String::new()));
        }
        assert!(!queue.push(SegmentId(0), String::new()), "already in");
        let first = queue.next().expect("a text");
        assert_eq!(first.segment, SegmentId(0));
        assert!(queue.cancel(SegmentId(0)), "being spoken");
        assert!(queue.cancel(SegmentId(2)), "waiting");
        assert!(!queue.cancel(SegmentId(9)));
        assert!(!queue.is_wanted(first.ticket));
        let offered = || -> bool { panic!("its end is not told") };
        assert_eq!(queue.hand_on(first.ticket, true, offered), Handed::Unwanted);
        assert!(queue.push(SegmentId(0), String::new()), "asked for again");
        queue.put_back(first);
        let second = queue.next().expect("a text");
        queue.put_back(second.clone());
        assert_eq!(queue.next().map(|job| job.segment), Some(SegmentId(1)));
        assert_eq!(queue.hand_on(second.ticket, false, || true), Handed::Done);
        assert_eq!(queue.hand_on(second.ticket, true, || false), Handed::Full);
        assert_eq!(queue.hand_on(second.ticket, true, || true), Handed::Done, "it was kept");
        assert_eq!(queue.hand_on(second.ticket, true, || true), Handed::Unwanted, "once");
        assert_eq!(queue.give_up_all(), [SegmentId(3), SegmentId(0)]);
        queue.close(Closing::Idle);
        assert!(queue.is_over());
    }

    #[test]
    fn a_full_or_closing_queue_takes_nothing() {
        let queue = TtsQueue::default();
        for id in 0..MOST_WAITING as u64 {
            assert!(queue.push(SegmentId(id), String::new()));
        }
        assert!(!queue.push(SegmentId(1000), String::new()));
        let late = queue.take_late(Instant::now());
        assert_eq!(late.len(), MOST_WAITING);
        for job in late {
            assert_eq!(queue.hand_on(job.ticket, true, || true), Handed::Done);
        }
        queue.close(Closing::Idle);
        assert!(!queue.push(SegmentId(1001), String::new()));
        assert!(queue.is_over());
    }
}
