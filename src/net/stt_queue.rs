//! What waits between a media thread and a recogniser's task: bounded, and nothing gets lost silently.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::runtime::lock;
use crate::provider::stream_clock::samples_to_time;

/// Audio kept while a connection is down or slow; older audio is given up first, to stay near the live edge.
pub(super) const MOST_AUDIO: Duration = Duration::from_secs(5);
/// Most entries, for a host that pushes single samples.
const MOST_ITEMS: usize = 4096;
/// Spans nearer to each other than this are reported as one.
const SAME_SPAN: Duration = Duration::from_millis(50);
/// Most spans kept apart.
const MOST_SPANS: usize = 64;

/// Stretches of session time, in order.
#[derive(Debug, Default)]
pub(super) struct Spans(Vec<(Duration, Duration)>);

impl Spans {
    /// Adds a stretch; usually it continues the last one.
    pub(super) fn add(&mut self, start: Duration, end: Duration) {
        if end <= start {
            return;
        }
        self.0.push((start, end));
        self.0.sort_unstable();
        self.0.dedup_by(|next, last| {
            let same = next.0 <= last.1 + SAME_SPAN;
            if same {
                last.1 = last.1.max(next.1);
            }
            same
        });
        // Too many breaks to tell apart: the two newest become one.
        if self.0.len() > MOST_SPANS
            && let (Some((_, end)), Some(last)) = (self.0.pop(), self.0.last_mut())
        {
            last.1 = last.1.max(end);
        }
    }

    /// Forgets everything before `until`.
    pub(super) fn forget(&mut self, until: Duration) {
        self.0.retain_mut(|(start, end)| {
            *start = (*start).max(until);
            start < end
        });
    }

    /// Takes all of them out.
    pub(super) fn take(&mut self) -> Vec<(Duration, Duration)> {
        std::mem::take(&mut self.0)
    }
}

enum Item {
    Audio { at: Duration, samples: Vec<i16> },
    Finalize,
}

#[derive(Default)]
struct Inner {
    items: VecDeque<Item>,
    samples: u64,
    /// Audio that will not be sent any more.
    lost: Spans,
    /// Audio that was sent and that no final result has covered yet. The seam for replay: what is
    /// kept here as spans is what a replay store would keep as samples and send again.
    unanswered: Spans,
    closing: Option<Instant>,
}

/// Whether something is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// This many samples wait (before the next `Finalize`, if there is one).
    Audio(u64),
    /// The recogniser is to be asked for its results.
    Finalize,
    /// Everything was taken and the stream is to be closed.
    Close,
    /// Nothing.
    Nothing,
}

/// The queue. The media thread holds the lock for a few list operations only.
pub(super) struct SttQueue {
    rate: u32,
    replaced: AtomicBool,
    inner: Mutex<Inner>,
    /// Told about everything that is put in.
    pub(super) changed: Notify,
}

impl SttQueue {
    pub(super) fn new(rate: u32) -> Self {
        Self { rate: rate.max(1), replaced: AtomicBool::new(false), inner: Mutex::default(), changed: Notify::new() }
    }

    pub(super) fn rate(&self) -> u32 {
        self.rate
    }

    /// Puts audio in; the oldest is given up (and reported) when there is too much.
    pub(super) fn push(&self, at: Duration, samples: Vec<i16>) {
        if samples.is_empty() {
            return;
        }
        let most = MOST_AUDIO.as_secs() * u64::from(self.rate);
        let mut inner = lock(&self.inner);
        inner.samples += samples.len() as u64;
        inner.items.push_back(Item::Audio { at, samples });
        while inner.samples > most || inner.items.len() > MOST_ITEMS {
            let Some(item) = inner.items.pop_front() else {
                break;
            };
            if let Item::Audio { at, samples } = item {
                inner.samples -= samples.len() as u64;
                inner.lost.add(at, at + samples_to_time(samples.len() as u64, self.rate));
            }
        }
        drop(inner);
        self.changed.notify_one();
    }

    /// Asks for the results of what was put in so far.
    pub(super) fn finalize(&self) {
        let mut inner = lock(&self.inner);
        if !matches!(inner.items.back(), Some(Item::Finalize)) {
            inner.items.push_back(Item::Finalize);
        }
        drop(inner);
        self.changed.notify_one();
    }

    /// Nothing follows; what is in is still to be sent.
    pub(super) fn close(&self) {
        lock(&self.inner).closing.get_or_insert_with(Instant::now);
        self.changed.notify_one();
    }

    /// As [`close`](Self::close), for a stream that another one follows: its end is not told.
    pub(super) fn replace(&self) {
        self.replaced.store(true, Ordering::Relaxed);
        self.close();
    }

    /// Whether another stream has taken this one's place.
    pub(super) fn is_replaced(&self) -> bool {
        self.replaced.load(Ordering::Relaxed)
    }

    /// Since when the stream is closing.
    pub(super) fn closing(&self) -> Option<Instant> {
        lock(&self.inner).closing
    }

    pub(super) fn next(&self) -> Next {
        let inner = lock(&self.inner);
        match inner.items.front() {
            Some(Item::Finalize) => Next::Finalize,
            Some(Item::Audio { .. }) => Next::Audio(inner.samples),
            None if inner.closing.is_some() => Next::Close,
            None => Next::Nothing,
        }
    }

    /// Whether audio waits.
    pub(super) fn has_audio(&self) -> bool {
        lock(&self.inner).samples > 0
    }

    /// Takes a `Finalize` that is next.
    pub(super) fn take_finalize(&self) {
        let mut inner = lock(&self.inner);
        if matches!(inner.items.front(), Some(Item::Finalize)) {
            inner.items.pop_front();
        }
    }

    /// Takes at most `most` samples, in pieces with their session times, and counts them as sent.
    pub(super) fn take(&self, most: usize) -> Vec<(Duration, Vec<i16>)> {
        let mut left = most;
        let mut taken = Vec::new();
        let mut inner = lock(&self.inner);
        while left > 0 {
            let Some(Item::Audio { at, samples }) = inner.items.front_mut() else {
                break;
            };
            let begin = *at;
            let piece = if samples.len() > left {
                let rest = samples.split_off(left);
                *at += samples_to_time(left as u64, self.rate);
                std::mem::replace(samples, rest)
            } else {
                let piece = std::mem::take(samples);
                inner.items.pop_front();
                piece
            };
            left -= piece.len();
            inner.samples -= piece.len() as u64;
            inner.unanswered.add(begin, begin + samples_to_time(piece.len() as u64, self.rate));
            taken.push((begin, piece));
        }
        taken
    }

    /// The recogniser has answered for everything up to `until`.
    pub(super) fn answered(&self, until: Duration) {
        lock(&self.inner).unanswered.forget(until);
    }

    /// The connection is gone: what it had not answered for is lost.
    pub(super) fn give_up_unanswered(&self) {
        let mut inner = lock(&self.inner);
        for (start, end) in inner.unanswered.take() {
            inner.lost.add(start, end);
        }
    }

    /// The stream is over: what still waits is lost too.
    pub(super) fn give_up_all(&self) {
        self.give_up_unanswered();
        let mut inner = lock(&self.inner);
        for item in std::mem::take(&mut inner.items) {
            if let Item::Audio { at, samples } = item {
                inner.lost.add(at, at + samples_to_time(samples.len() as u64, self.rate));
            }
        }
        inner.samples = 0;
    }

    /// Spans that are lost and not reported yet.
    pub(super) fn take_lost(&self) -> Vec<(Duration, Duration)> {
        lock(&self.inner).lost.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn spans_merge_sort_and_stay_few() {
        let mut spans = Spans::default();
        spans.add(ms(1000), ms(1020));
        spans.add(ms(1020), ms(1040));
        spans.add(ms(0), ms(500));
        spans.add(ms(2000), ms(2000));
        assert_eq!(spans.0, [(ms(0), ms(500)), (ms(1000), ms(1040))]);
        spans.forget(ms(1010));
        assert_eq!(spans.take(), [(ms(1010), ms(1040))]);
        for i in 0..1000 {
            spans.add(ms(i * 1000), ms(i * 1000 + 1));
        }
        assert_eq!(spans.0.len(), MOST_SPANS);
        assert_eq!(spans.0.last().map(|last| last.1), Some(ms(999_001)));
    }

    #[test]
    fn the_oldest_audio_is_given_up_and_told() {
        let queue = SttQueue::new(8000);
        for i in 0..700 {
            queue.push(ms(i * 10), vec![0; 80]);
        }
        assert_eq!(queue.next(), Next::Audio(40_000));
        assert_eq!(queue.take_lost(), [(ms(0), ms(2000))]);
        queue.give_up_all();
        assert_eq!(queue.take_lost(), [(ms(2000), ms(7000))]);
        assert_eq!(queue.next(), Next::Nothing);
    }

    #[test]
    fn audio_is_taken_in_order_up_to_a_finalize() {
        let queue = SttQueue::new(8000);
        queue.push(ms(0), vec![1; 80]);
        queue.push(ms(10), vec![2; 80]);
        queue.finalize();
        queue.finalize();
        queue.push(ms(20), vec![3; 80]);
        queue.close();
        let first = queue.take(120);
        assert_eq!(first, [(ms(0), vec![1; 80]), (ms(10), vec![2; 40])]);
        assert_eq!(queue.take(120), [(ms(15), vec![2; 40])]);
        assert_eq!(queue.next(), Next::Finalize);
        assert!(queue.take(120).is_empty());
        queue.take_finalize();
        assert_eq!(queue.take(800), [(ms(20), vec![3; 80])]);
        assert_eq!(queue.next(), Next::Close);
        queue.answered(ms(25));
        queue.give_up_unanswered();
        assert_eq!(queue.take_lost(), [(ms(25), ms(30))]);
    }
}
