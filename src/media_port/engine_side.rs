//! The media thread's half of a port.

use std::sync::Arc;
use std::sync::atomic::Ordering::*;

use rtrb::{Consumer, Producer, RingBuffer};

use super::caller::{CallerSide, Exclusive, Mark, MarkKind, PullSide, PushSide, Shared};
use crate::engine::{PullTotals, RING_SAMPLES, Ring};

/// Rate changes and gaps that may wait for the media thread.
const MARKS: usize = 32;

/// What [`EnginePort::drain`] hands out, in the order in which it was pushed.
#[derive(Debug, PartialEq, Eq)]
pub enum Pushed<'a> {
    /// Samples at the input rate.
    Samples(&'a [i16]),
    /// A gap the caller told of, or (`dropped`) frames that did not fit.
    Gap {
        /// Samples at the input rate.
        count: u64,
        /// The up ring was full.
        dropped: bool,
    },
    /// The input rate from here on, in Hz.
    Rate(u32),
}

/// The media thread's half of a port.
pub struct EnginePort {
    up: Consumer<i16>,
    marks: Consumer<Mark>,
    drained: u64,
    speech: Producer<i16>,
    original: Producer<i16>,
    speech_written: u64,
    original_written: u64,
    /// Reader's totals at the last completed rate change, so that the engine counts from zero.
    speech_base: u64,
    original_base: u64,
    asked_base: u64,
    change: u32,
    /// The change that is being answered.
    answering: u32,
    /// Dropped samples that `drain` has told of.
    told: u64,
    shared: Arc<Shared>,
}

impl EnginePort {
    /// Hands out everything pushed so far, in order.
    pub fn drain(&mut self, mut each: impl FnMut(Pushed<'_>)) {
        // The samples first: a mark is pushed before the samples behind it, so it cannot be missed.
        let mut left = self.up.slots();
        loop {
            let mark = self.marks.peek().ok().copied().filter(|m| m.at <= self.drained + left as u64);
            let until = mark.map_or(left, |m| (m.at - self.drained) as usize);
            if until > 0
                && let Ok(chunk) = self.up.read_chunk(until)
            {
                let (a, b) = chunk.as_slices();
                for part in [a, b] {
                    if !part.is_empty() {
                        each(Pushed::Samples(part));
                    }
                }
                chunk.commit_all();
                self.drained += until as u64;
                left -= until;
            }
            let Some(mark) = mark else { break };
            let _ = self.marks.pop();
            each(match mark.kind {
                MarkKind::Rate(hz) => Pushed::Rate(hz),
                MarkKind::Gap { count, dropped } => {
                    self.told += if dropped { count } else { 0 };
                    Pushed::Gap { count, dropped }
                }
            });
        }
    }

    /// What the puller has taken since the last completed rate change.
    pub fn pulled(&self) -> PullTotals {
        PullTotals {
            asked: self.shared.puller.asked.load(Relaxed).saturating_sub(self.asked_base),
            // Behind the base until the next pull has skipped what was flushed.
            speech: self.shared.puller.speech_read.load(Acquire).saturating_sub(self.speech_base),
            original: self.shared.puller.original_read.load(Acquire).saturating_sub(self.original_base),
        }
    }

    /// An output rate that the puller wants and the rings do not carry yet, in Hz.
    pub fn wanted_out_rate(&mut self) -> Option<u32> {
        let wanted = self.shared.puller.out_rate_wanted.load(Acquire);
        self.answering = (wanted >> 32) as u32;
        (self.answering != self.change).then_some(wanted as u32)
    }

    /// Answers what [`wanted_out_rate`](Self::wanted_out_rate) said last (a newer wish stays open): all written so far is skipped, totals begin at zero again.
    pub fn out_rate_done(&mut self) {
        self.change = self.answering;
        self.restart();
        self.shared.engine.out_rate_done.store(self.change, Release);
    }

    /// All written so far is skipped and the totals begin at zero again.
    pub fn restart(&mut self) {
        self.flush(Ring::Speech);
        self.flush(Ring::Original);
        self.speech_base = self.speech_written;
        self.original_base = self.original_written;
        self.asked_base = self.shared.puller.asked.load(Relaxed);
    }

    /// Writes to a ring; returns how many samples fitted.
    pub fn play(&mut self, ring: Ring, samples: &[i16]) -> usize {
        let (producer, written) = match ring {
            Ring::Speech => (&mut self.speech, &mut self.speech_written),
            Ring::Original => (&mut self.original, &mut self.original_written),
        };
        let n = producer.push_partial_slice(samples).0.len();
        *written += n as u64;
        n
    }

    /// Nothing that was written to this ring so far is to be heard any more.
    pub fn flush(&mut self, ring: Ring) {
        match ring {
            Ring::Speech => self.shared.engine.speech_skip_to.store(self.speech_written, Release),
            Ring::Original => self.shared.engine.original_skip_to.store(self.original_written, Release),
        }
    }

    /// Shows the puller that the engine lives.
    pub fn beat(&self) {
        self.shared.engine.heartbeat.fetch_add(1, Relaxed);
    }

    /// Samples at the end that were dropped and that no frame behind them has told of, once the pusher is gone.
    pub fn untold(&self) -> u64 {
        self.dropped().saturating_sub(self.told)
    }

    /// Samples dropped so far because the up ring was full.
    pub fn dropped(&self) -> u64 {
        self.shared.pusher.dropped.load(Relaxed)
    }

    /// Frames (pushed, pulled) so far.
    pub fn frames(&self) -> (u64, u64) {
        (self.shared.pusher.frames_in.load(Relaxed), self.shared.puller.frames_out.load(Relaxed))
    }
}

/// The two halves of a new port.
pub(super) fn pair(in_hz: u32, out_hz: u32) -> (CallerSide, EnginePort) {
    let (up_tx, up_rx) = RingBuffer::new(RING_SAMPLES);
    let (marks_tx, marks_rx) = RingBuffer::new(MARKS);
    let (speech_tx, speech_rx) = RingBuffer::new(RING_SAMPLES);
    let (original_tx, original_rx) = RingBuffer::new(RING_SAMPLES);
    let shared = Arc::new(Shared::default());
    let caller = CallerSide {
        push: Exclusive::new(PushSide { ring: up_tx, marks: marks_tx, pushed: 0, hz: in_hz, owed_gap: 0 }),
        pull: Exclusive::new(PullSide {
            speech: speech_rx,
            original: original_rx,
            hz: out_hz,
            change: 0,
            last_beat: 0,
            silent_pulls: 0,
            silent_samples: 0,
        }),
        shared: shared.clone(),
    };
    let engine = EnginePort {
        up: up_rx,
        marks: marks_rx,
        drained: 0,
        speech: speech_tx,
        original: original_tx,
        speech_written: 0,
        original_written: 0,
        speech_base: 0,
        original_base: 0,
        asked_base: 0,
        change: 0,
        answering: 0,
        told: 0,
        shared,
    };
    (caller, engine)
}
