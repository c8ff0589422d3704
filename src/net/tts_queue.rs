//! What waits between a media thread and a synthesiser's task: bounded, and every text taken in gets
//! exactly one end (`End`, `Failed`, or its cancellation).

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::runtime::lock;
use crate::engine::SegmentId;

/// Most texts that wait; more would be spoken much too late anyway.
pub(super) const MOST_WAITING: usize = 64;

/// A text to speak.
#[derive(Clone, Debug)]
pub(super) struct Job {
    pub(super) segment: SegmentId,
    pub(super) text: String,
    /// When it was asked for.
    pub(super) since: Instant,
    /// How often it was given to a synthesiser.
    pub(super) attempts: u32,
}

#[derive(Default)]
struct Inner {
    waiting: VecDeque<Job>,
    /// Taken in and not ended; the value says whether it was cancelled while being spoken.
    live: BTreeMap<SegmentId, bool>,
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
}

impl TtsQueue {
    /// Takes a text in; false if there are too many, or this segment is already being spoken.
    pub(super) fn push(&self, segment: SegmentId, text: String) -> bool {
        let mut inner = lock(&self.inner);
        if inner.waiting.len() >= MOST_WAITING || inner.closing.is_some() || inner.live.contains_key(&segment) {
            return false;
        }
        inner.live.insert(segment, false);
        inner.waiting.push_back(Job { segment, text, since: Instant::now(), attempts: 0 });
        drop(inner);
        self.changed.notify_one();
        true
    }

    /// Nothing more is to be said about this segment. True if it was known.
    pub(super) fn cancel(&self, segment: SegmentId) -> bool {
        let mut inner = lock(&self.inner);
        let before = inner.waiting.len();
        inner.waiting.retain(|job| job.segment != segment);
        let known = if inner.waiting.len() < before {
            inner.live.remove(&segment).is_some()
        } else {
            inner.live.get_mut(&segment).map(|cancelled| *cancelled = true).is_some()
        };
        drop(inner);
        self.changed.notify_one();
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

    /// Whether nothing waits and nothing is being spoken.
    pub(super) fn is_idle(&self) -> bool {
        lock(&self.inner).live.is_empty()
    }

    /// When the text that has waited longest was asked for.
    pub(super) fn oldest(&self) -> Option<Instant> {
        lock(&self.inner).waiting.front().map(|job| job.since)
    }

    /// Puts texts back to the front, in their order; those cancelled meanwhile end here.
    pub(super) fn put_back(&self, mut jobs: Vec<Job>) {
        jobs.sort_by_key(|job| job.segment);
        let mut inner = lock(&self.inner);
        for job in jobs.into_iter().rev() {
            match inner.live.get(&job.segment) {
                Some(false) => inner.waiting.push_front(job),
                _ => drop(inner.live.remove(&job.segment)),
            }
        }
    }

    /// Whether the segment being spoken is still wanted.
    pub(super) fn is_wanted(&self, segment: SegmentId) -> bool {
        lock(&self.inner).live.get(&segment) == Some(&false)
    }

    /// The segment has ended; true if its end is to be told.
    pub(super) fn finish(&self, segment: SegmentId) -> bool {
        let mut inner = lock(&self.inner);
        let wanted = inner.live.remove(&segment) == Some(false);
        drop(inner);
        self.changed.notify_one();
        wanted
    }

    /// Empties everything; gives the segments whose end is to be told.
    pub(super) fn give_up_all(&self) -> Vec<SegmentId> {
        let mut inner = lock(&self.inner);
        inner.waiting.clear();
        std::mem::take(&mut inner.live)
            .into_iter()
            .filter(|(_, cancelled)| !cancelled)
            .map(|(segment, _)| segment)
            .collect()
    }

    /// Takes out what has waited since before `limit`, or everything.
    pub(super) fn take_waiting(&self, limit: Option<Instant>) -> Vec<SegmentId> {
        let mut inner = lock(&self.inner);
        let late = |job: &Job| limit.is_none_or(|limit| job.since <= limit);
        let taken: Vec<SegmentId> = inner.waiting.iter().filter(|job| late(job)).map(|job| job.segment).collect();
        inner.waiting.retain(|job| !late(job));
        for segment in &taken {
            inner.live.remove(segment);
        }
        taken
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
        let first = queue.next().map(|job| job.segment);
        assert_eq!(first, Some(SegmentId(0)));
        assert!(queue.cancel(SegmentId(0)), "being spoken");
        assert!(queue.cancel(SegmentId(2)), "waiting");
        assert!(!queue.cancel(SegmentId(9)));
        assert!(!queue.is_wanted(SegmentId(0)));
        assert!(!queue.finish(SegmentId(0)), "its end is not told");
        let second = queue.next().into_iter().collect::<Vec<_>>();
        queue.put_back(second);
        assert_eq!(queue.next().map(|job| job.segment), Some(SegmentId(1)));
        assert!(queue.finish(SegmentId(1)));
        assert!(!queue.finish(SegmentId(1)), "once");
        assert_eq!(queue.give_up_all(), [SegmentId(3)]);
        assert!(queue.is_idle());
    }

    #[test]
    fn a_full_or_closing_queue_takes_nothing() {
        let queue = TtsQueue::default();
        for id in 0..MOST_WAITING as u64 {
            assert!(queue.push(SegmentId(id), String::new()));
        }
        assert!(!queue.push(SegmentId(1000), String::new()));
        assert_eq!(queue.take_waiting(None).len(), MOST_WAITING);
        queue.close(Closing::Idle);
        assert!(!queue.push(SegmentId(1001), String::new()));
        assert!(queue.is_over());
    }
}
