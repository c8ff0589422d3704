//! What waits between a media thread and a recogniser's task: bounded, and nothing gets lost silently.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::runtime::lock;
use crate::provider::replay::{self, Piece, Tail, Unanswered};
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

struct Inner {
    items: VecDeque<Item>,
    samples: u64,
    /// Most samples that may wait.
    most: u64,
    /// Audio that will not be sent any more.
    lost: Spans,
    /// Audio that was sent and that no final result has covered yet.
    unanswered: Unanswered,
    /// The same, but of it only the span is still known.
    let_go: Spans,
    closing: Option<Instant>,
    /// A gap of the same stream that takes in what is sent here, until there is a pause.
    follower: Option<(Arc<SttQueue>, Tail)>,
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

/// What a lost connection leaves to be recognised again.
pub(super) enum Broken {
    /// A gap of its own: its audio, and the span known of it so far.
    New(Arc<SttQueue>, Duration, Duration),
    /// This gap, which was still open, takes it in.
    Longer(Arc<SttQueue>),
}

/// The queue. The media thread holds the lock for a few list operations only.
pub(super) struct SttQueue {
    rate: u32,
    replaced: AtomicBool,
    given_up: AtomicBool,
    inner: Mutex<Inner>,
    /// Told about everything that is put in.
    pub(super) changed: Notify,
}

impl SttQueue {
    pub(super) fn new(rate: u32) -> Self {
        Self::with_room(rate, MOST_AUDIO)
    }

    fn with_room(rate: u32, most: Duration) -> Self {
        let rate = rate.max(1);
        let inner = Inner {
            items: VecDeque::new(),
            samples: 0,
            most: most.as_secs() * u64::from(rate),
            lost: Spans::default(),
            unanswered: Unanswered::new(rate),
            let_go: Spans::default(),
            closing: None,
            follower: None,
        };
        Self {
            rate,
            replaced: AtomicBool::new(false),
            given_up: AtomicBool::new(false),
            inner: Mutex::new(inner),
            changed: Notify::new(),
        }
    }

    pub(super) fn rate(&self) -> u32 {
        self.rate
    }

    /// Puts audio in; the oldest is given up (and reported) when there is too much.
    pub(super) fn push(&self, at: Duration, samples: Vec<i16>) {
        if samples.is_empty() {
            return;
        }
        let mut inner = lock(&self.inner);
        inner.samples += samples.len() as u64;
        inner.items.push_back(Item::Audio { at, samples });
        while inner.samples > inner.most || inner.items.len() > MOST_ITEMS {
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

    /// Takes at most `most` samples as s16le bytes into `bytes`, and keeps them until they are answered for.
    /// Gives the session time and number of samples of each piece.
    pub(super) fn take(&self, most: usize, bytes: &mut Vec<u8>) -> Vec<(Duration, usize)> {
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
            bytes.extend(piece.iter().flat_map(|sample| sample.to_le_bytes()));
            taken.push((begin, piece.len()));
            if let Some((gap, tail)) = &mut inner.follower {
                gap.push(begin, piece.clone());
                if tail.feed(&piece, self.rate) {
                    gap.close();
                    inner.follower = None;
                }
            }
            if let Some((start, end)) = inner.unanswered.sent(begin, piece) {
                inner.let_go.add(start, end);
            }
        }
        taken
    }

    /// The recogniser has answered for everything up to `until`.
    pub(super) fn answered(&self, until: Duration) {
        let mut inner = lock(&self.inner);
        inner.unanswered.answered(until);
        inner.let_go.forget(until);
    }

    /// Somebody speaks in what was sent and not answered for.
    pub(super) fn owes_speech(&self) -> bool {
        lock(&self.inner).unanswered.has_speech()
    }

    /// The connection is gone. Gives what must be recognised again, as a queue of its own that also takes in what is
    /// sent here next, up to a pause; and the span known of it so far.
    ///
    /// Where the last gap still waits for its pause, it holds all that this connection was sent, and grows instead: a
    /// gap that ended here would cut the word that is being said.
    pub(super) fn gap(&self) -> Option<Broken> {
        let mut inner = lock(&self.inner);
        for (start, end) in inner.let_go.take() {
            inner.lost.add(start, end);
        }
        let ends = inner.closing.is_some() && inner.items.is_empty();
        if let Some((former, tail)) = inner.follower.as_mut().filter(|(former, _)| !former.is_given_up()) {
            let former = Arc::clone(former);
            *tail = Tail::default();
            inner.unanswered.take();
            if ends {
                former.close();
                inner.follower = None;
            }
            return Some(Broken::Longer(former));
        }
        let pieces: Vec<Piece> = replay::worth_replaying(inner.unanswered.take(), self.rate);
        let (start, last) = (pieces.first()?.0, pieces.last()?);
        let end = last.0 + samples_to_time(last.1.len() as u64, self.rate);
        // Room for what is kept and for the longest tail.
        let gap = Arc::new(SttQueue::with_room(self.rate, replay::KEPT * 2));
        for (at, samples) in pieces {
            gap.push(at, samples);
        }
        match ends {
            true => gap.close(),
            false => inner.follower = Some((Arc::clone(&gap), Tail::default())),
        }
        Some(Broken::New(gap, start, end))
    }

    /// Nothing more is sent here: a gap that waits for a pause is complete.
    pub(super) fn end_gap(&self) {
        if let Some((gap, _)) = lock(&self.inner).follower.take() {
            gap.close();
        }
    }

    /// The connection is gone, and what it has not answered for is sent again over the next one.
    pub(super) fn rewind(&self) {
        let mut inner = lock(&self.inner);
        for (start, end) in inner.let_go.take() {
            inner.lost.add(start, end);
        }
        for (at, samples) in inner.unanswered.take().into_iter().rev() {
            inner.samples += samples.len() as u64;
            inner.items.push_front(Item::Audio { at, samples });
        }
    }

    /// Session time at which what was put in ends.
    pub(super) fn end(&self) -> Option<Duration> {
        let inner = lock(&self.inner);
        let waiting = inner.items.iter().rev().find_map(|item| match item {
            Item::Audio { at, samples } => Some(*at + samples_to_time(samples.len() as u64, self.rate)),
            Item::Finalize => None,
        });
        waiting.or_else(|| inner.unanswered.end())
    }

    /// The connection is gone: what it had not answered for is lost.
    pub(super) fn give_up_unanswered(&self) {
        let mut inner = lock(&self.inner);
        for (start, end) in inner.let_go.take() {
            inner.lost.add(start, end);
        }
        for (at, samples) in inner.unanswered.take() {
            inner.lost.add(at, at + samples_to_time(samples.len() as u64, self.rate));
        }
    }

    /// Nobody takes anything out any more.
    fn is_given_up(&self) -> bool {
        self.given_up.load(Ordering::Relaxed)
    }

    /// The stream is over: what still waits is lost too.
    pub(super) fn give_up_all(&self) {
        self.given_up.store(true, Ordering::Relaxed);
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
        let mut bytes = Vec::new();
        assert_eq!(queue.take(120, &mut bytes), [(ms(0), 80), (ms(10), 40)]);
        assert_eq!(queue.take(120, &mut bytes), [(ms(15), 40)]);
        assert_eq!(queue.next(), Next::Finalize);
        assert!(queue.take(120, &mut bytes).is_empty());
        queue.take_finalize();
        assert_eq!(queue.take(800, &mut bytes), [(ms(20), 80)]);
        assert_eq!(bytes, [[1, 0].repeat(80), [2, 0].repeat(80), [3, 0].repeat(80)].concat());
        assert_eq!(queue.next(), Next::Close);
        queue.answered(ms(25));
        queue.give_up_unanswered();
        assert_eq!(queue.take_lost(), [(ms(25), ms(30))]);
    }

    fn drain(queue: &SttQueue) -> Vec<(Duration, usize)> {
        queue.take(usize::MAX, &mut Vec::new())
    }

    fn new_gap(queue: &SttQueue) -> (Arc<SttQueue>, Duration, Duration) {
        match queue.gap() {
            Some(Broken::New(gap, start, end)) => (gap, start, end),
            Some(Broken::Longer(_)) => panic!("the last gap is still open"),
            None => panic!("nobody spoke"),
        }
    }

    #[test]
    fn a_gap_that_is_still_open_grows_so_that_no_word_is_cut() {
        let queue = SttQueue::new(8000);
        let push = |at: u64, length: u64, value: i16| {
            queue.push(ms(at), vec![value; (length * 8) as usize]);
            drain(&queue);
        };
        push(0, 1000, 9000);
        let (gap, ..) = new_gap(&queue);
        // The next connection is lost in the middle of a word, and the one behind it 100 ms before a pause.
        for (at, length) in [(1000, 15), (1015, 100)] {
            push(at, length, 9000);
            match queue.gap() {
                Some(Broken::Longer(same)) => assert!(Arc::ptr_eq(&same, &gap)),
                _ => panic!("the gap is still open"),
            }
        }
        push(1115, 100, 9000);
        push(1215, 120, 0);
        assert!(gap.closing().is_some());
        assert_eq!(gap.next(), Next::Audio(1335 * 8));
        // One that nobody recognises any more takes nothing in.
        push(1335, 100, 9000);
        let (late, ..) = new_gap(&queue);
        late.give_up_all();
        push(1435, 100, 9000);
        assert_eq!(new_gap(&queue).1, ms(1435));
    }

    #[test]
    fn a_gap_holds_what_nobody_answered_for_up_to_the_next_pause() {
        let queue = SttQueue::new(8000);
        let loud = |n: usize| vec![9000; n * 8];
        queue.push(ms(0), loud(1000));
        drain(&queue);
        queue.answered(ms(400));
        let (gap, start, end) = new_gap(&queue);
        assert_eq!((start, end), (ms(400), ms(1000)));
        // What follows goes to both, until there is a pause.
        queue.push(ms(1000), loud(200));
        queue.push(ms(1200), vec![0; 120 * 8]);
        queue.push(ms(1320), loud(100));
        assert_eq!(drain(&queue).len(), 3);
        assert_eq!(gap.end(), Some(ms(1320)));
        assert!(gap.closing().is_some());
        assert_eq!(drain(&gap).iter().map(|(_, n)| n).sum::<usize>(), 920 * 8);
        // The replay is lost too: all of it again, but for what was answered.
        gap.answered(ms(1000));
        gap.rewind();
        assert_eq!(drain(&gap).first(), Some(&(ms(1000), 200 * 8)));
        // A second loss: its gap begins where the first one's live stream began.
        let (second, start, _) = new_gap(&queue);
        assert_eq!(start, ms(1000));
        queue.end_gap();
        assert!(second.closing().is_some());
        assert!(queue.gap().is_none(), "nothing is owed any more");
        assert_eq!(queue.take_lost(), []);
    }

    #[test]
    fn a_host_that_pushes_a_millisecond_at_a_time_loses_nothing_of_a_gap() {
        let queue = SttQueue::new(8000);
        for n in 0..10_000 {
            queue.push(ms(n), vec![9000; 8]);
            drain(&queue);
        }
        let (gap, start, end) = new_gap(&queue);
        assert_eq!((start, end), (ms(0), ms(10_000)));
        // And its longest tail.
        for n in 10_000..13_000 {
            queue.push(ms(n), vec![9000; 8]);
            drain(&queue);
        }
        assert!(gap.closing().is_some());
        assert_eq!(gap.next(), Next::Audio(13_000 * 8));
        assert_eq!((queue.take_lost(), gap.take_lost()), (vec![], vec![]));
    }

    #[test]
    fn silence_is_not_replayed_and_what_is_too_old_is_told() {
        let queue = SttQueue::new(8000);
        queue.push(ms(0), vec![2; 8000]);
        drain(&queue);
        assert!(!queue.owes_speech());
        assert!(queue.gap().is_none());
        for second in 1..=12 {
            queue.push(ms(second * 1000), vec![9000; 8000]);
            drain(&queue);
        }
        let (_, start, end) = new_gap(&queue);
        assert_eq!((start, end), (ms(3000), ms(13_000)));
        assert_eq!(queue.take_lost(), [(ms(1000), ms(3000))]);
    }
}
