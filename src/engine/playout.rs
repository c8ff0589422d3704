//! The sync buffer of one listener: turns bursts of synthesised audio into an even stream.
//!
//! Segments are heard in the order in which they were committed; the first audio is forwarded as it
//! arrives. The puller is the clock: the ring is topped up by what was pulled, never by wall time.

use std::collections::VecDeque;
use std::time::Duration;

use super::level::Gain;
use super::resample::Resampler;
use super::time::{samples, span};
use super::{RING_SAMPLES, SegmentId};
use crate::config::Language;

/// How long the largest recent pull is remembered: two windows of this length.
const LEAD_WINDOW: Duration = Duration::from_secs(30);
/// So much of a segment is there before it begins: more than one pull takes, so that a first crumb from the synthesiser
/// is not followed by a hole.
const BEGIN: Duration = Duration::from_millis(25);
/// After a segment ran dry in its middle, the next ones wait for this much more audio before they begin …
const HOLD_STEP: Duration = Duration::from_millis(60);
/// … up to this much; a segment that came evenly takes a quarter off again.
const HOLD_MAX: Duration = Duration::from_millis(300);

/// The lead of a ring: how much must lie ready so that the puller does not run dry between two rounds of the engine.
///
/// It starts at the minimum and follows the most that was pulled between two rounds (unevenness of the puller,
/// or of the engine's own thread).
#[derive(Clone, Debug)]
pub struct Lead {
    min: Duration,
    max: Duration,
    asked: u64,
    window_from: Duration,
    largest: [u64; 2],
}

impl Lead {
    /// A lead between two bounds.
    pub fn new(min: Duration, max: Duration) -> Self {
        Lead { min, max, asked: 0, window_from: Duration::ZERO, largest: [0; 2] }
    }

    /// Notes the puller's total.
    pub fn pulled(&mut self, now: Duration, asked: u64) {
        if now.saturating_sub(self.window_from) > LEAD_WINDOW {
            self.window_from = now;
            self.largest = [self.largest[1], 0];
        }
        self.largest[1] = self.largest[1].max(asked.saturating_sub(self.asked));
        self.asked = asked;
    }

    /// The totals begin at zero again.
    pub fn restart(&mut self) {
        self.asked = 0;
        self.largest = [0; 2];
    }

    /// Samples at `hz` to keep ready.
    pub fn samples(&self, hz: u32) -> u64 {
        let largest = self.largest[0].max(self.largest[1]);
        // At the highest rates a ring holds less than the longest lead.
        largest.clamp(samples(self.min, hz), samples(self.max, hz)).min(RING_SAMPLES as u64 / 2)
    }
}

/// A segment in a listener's queue.
struct Item {
    segment: SegmentId,
    /// Source samples taken so far.
    taken: usize,
    resampler: Option<Resampler>,
    /// At the listener's rate, not yet written.
    ready: VecDeque<i16>,
    flushed: bool,
    /// Ring position of its first sample.
    start: Option<u64>,
    /// Ring position behind its last sample, when all is written.
    end: Option<u64>,
    started_at: Option<Duration>,
    written: u64,
    /// Waits until `hold` of audio is there.
    waits: bool,
    ran_dry: bool,
}

/// The audio of a segment as the queue needs it.
pub struct Source<'a> {
    /// Everything that has come so far.
    pub audio: &'a [i16],
    /// Hz.
    pub rate: u32,
    /// No more will come.
    pub over: bool,
}

/// What became of a segment in this ear.
#[derive(Clone, Debug, PartialEq)]
pub struct Heard {
    /// Which.
    pub segment: SegmentId,
    /// When its first sample was pulled.
    pub started: Option<Duration>,
    /// When its last sample was pulled, or it was cut.
    pub ended: Duration,
    /// How much of it was pulled.
    pub length: Duration,
    /// To its end.
    pub complete: bool,
}

/// The speech queue of one listener.
pub struct Playout {
    language: Language,
    hz: u32,
    lead: Lead,
    gain: Gain,
    held: bool,
    queue: VecDeque<Item>,
    /// Fully written, not fully pulled.
    sounding: VecDeque<Item>,
    written: u64,
    pulled: u64,
    flushed_to: u64,
    /// Written, not yet pulled: wanted again when the rate changes.
    unheard: VecDeque<i16>,
    /// Written at another rate before and not heard: goes first.
    rewrite: VecDeque<i16>,
    /// Audio to wait for before a segment begins (or goes on after it ran dry).
    hold: Duration,
    /// Times a segment ran dry in its middle.
    dry: u64,
    starved: u64,
    /// Samples of an older rate that the ring still holds.
    stale: u64,
}

impl Playout {
    /// An empty queue for a listener that hears `language` at `hz`.
    pub fn new(language: Language, hz: u32, lead: Lead, gain: f32) -> Self {
        Playout {
            language,
            hz,
            lead,
            gain: Gain::new(gain),
            held: false,
            queue: VecDeque::new(),
            sounding: VecDeque::new(),
            written: 0,
            pulled: 0,
            flushed_to: 0,
            unheard: VecDeque::new(),
            rewrite: VecDeque::new(),
            hold: Duration::ZERO,
            dry: 0,
            starved: 0,
            stale: 0,
        }
    }

    /// Times a segment ran dry in its middle because its audio came too slowly.
    pub fn ran_dry(&self) -> u64 {
        self.dry
    }

    /// Times more was pulled at once than the lead held, inside a segment: a hole was heard.
    pub fn starved(&self) -> u64 {
        self.starved
    }

    /// The language of the audio that the queue takes.
    pub fn language(&self) -> &Language {
        &self.language
    }

    /// The lead, shared with the original ring.
    pub fn lead(&self) -> u64 {
        self.lead.samples(self.hz)
    }

    /// Output rate in Hz.
    pub fn hz(&self) -> u32 {
        self.hz
    }

    /// Sets the gain of the translation; it moves there within `fade`, or at once where nothing sounds.
    pub fn set_gain(&mut self, gain: f32, fade: Duration) {
        match self.fill() {
            0 => self.gain.jump(gain),
            _ => self.gain.set_over(gain, fade),
        }
    }

    /// Whether segments that have not begun wait; one that has begun is always heard to its end.
    pub fn hold(&mut self, held: bool) {
        self.held = held;
    }

    /// Puts a segment at the end of the queue.
    pub fn push(&mut self, segment: SegmentId) {
        self.queue.push_back(Item {
            segment,
            taken: 0,
            resampler: None,
            ready: VecDeque::new(),
            flushed: false,
            start: None,
            end: None,
            started_at: None,
            written: 0,
            waits: true,
            ran_dry: false,
        });
    }

    /// Segments that wait or sound, oldest first.
    pub fn segments(&self) -> impl Iterator<Item = SegmentId> + '_ {
        self.sounding.iter().chain(&self.queue).map(|i| i.segment)
    }

    /// Segments that have begun to be heard and are not over, each with when it began.
    pub fn begun(&self) -> impl Iterator<Item = (SegmentId, Duration)> + '_ {
        self.sounding.iter().chain(&self.queue).filter_map(|i| Some((i.segment, i.started_at?)))
    }

    /// True if the segment still waits or sounds here.
    pub fn holds(&self, segment: SegmentId) -> bool {
        self.segments().any(|s| s == segment)
    }

    /// Audio that waits to be pulled, as far as it has come.
    pub fn backlog<'a>(&self, source: impl Fn(SegmentId) -> Option<Source<'a>>) -> Duration {
        let waiting: Duration = self
            .queue
            .iter()
            .map(|item| {
                let rest = source(item.segment)
                    .map_or(Duration::ZERO, |s| span(s.audio.len().saturating_sub(item.taken) as u64, s.rate));
                rest + span(item.ready.len() as u64, self.hz)
            })
            .sum();
        waiting + span(self.fill(), self.hz)
    }

    /// The oldest segment of which nothing was written yet and `has_audio` says that leaving it out would help.
    pub fn oldest_waiting(&self, has_audio: impl Fn(SegmentId) -> bool) -> Option<SegmentId> {
        self.queue.iter().find(|i| i.start.is_none() && has_audio(i.segment)).map(|i| i.segment)
    }

    fn fill(&self) -> u64 {
        self.written.saturating_sub(self.pulled.max(self.flushed_to))
    }

    /// How many of a segment's samples were taken to be written; they cannot be taken back.
    pub fn taken(&self, segment: SegmentId) -> usize {
        self.queue.iter().chain(&self.sounding).filter(|i| i.segment == segment).map(|i| i.taken).max().unwrap_or(0)
    }

    /// Takes a waiting segment out of the queue; true if nothing of it was written yet.
    pub fn remove(&mut self, segment: SegmentId) -> bool {
        let before = self.queue.len();
        self.queue.retain(|i| i.segment != segment || i.start.is_some());
        before != self.queue.len()
    }

    /// Takes note of what was pulled (`asked` in all, `speech` of it from this ring); returns what ended.
    pub fn pulled(&mut self, now: Duration, asked: u64, speech: u64) -> Vec<Heard> {
        self.lead.pulled(now, asked);
        if asked > 0 {
            self.stale = 0;
        }
        // What was skipped for a flush is not in `unheard` any more.
        let news = speech.saturating_sub(self.pulled.max(self.flushed_to));
        self.unheard.drain(..(news as usize).min(self.unheard.len()));
        self.pulled = speech.max(self.pulled);
        let pulled = self.pulled;
        for item in self.sounding.iter_mut().chain(&mut self.queue) {
            if item.started_at.is_none() && item.start.is_some_and(|s| pulled > s) {
                item.started_at = Some(now);
            }
        }
        let mut ended = Vec::new();
        while self.sounding.front().is_some_and(|i| i.end.is_some_and(|e| e <= pulled)) {
            if let Some(item) = self.sounding.pop_front() {
                ended.push(Heard {
                    segment: item.segment,
                    started: item.started_at,
                    ended: now,
                    length: span(item.written, self.hz),
                    complete: true,
                });
            }
        }
        ended
    }

    /// Nothing waits to be written: [`top_up`](Self::top_up) would give nothing.
    pub fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.rewrite.is_empty()
    }

    /// Samples to write now so that the lead is kept.
    pub fn top_up<'a>(&mut self, source: impl Fn(SegmentId) -> Option<Source<'a>>) -> Vec<i16> {
        let fill = self.fill();
        // Flushed samples lie in the ring until the next pull skips them.
        let free = (RING_SAMPLES as u64).saturating_sub(self.written.saturating_sub(self.pulled) + self.stale);
        let mut want = self.lead.samples(self.hz).saturating_sub(fill).min(free) as usize;
        let again = self.rewrite.len().min(want);
        let mut out: Vec<i16> = self.rewrite.drain(..again).collect();
        want -= again;
        while let Some(item) = self.queue.front_mut().filter(|_| self.rewrite.is_empty()) {
            if self.held && item.start.is_none() {
                break;
            }
            let over = match source(item.segment) {
                Some(s) => {
                    let there =
                        span((s.audio.len() - item.taken) as u64, s.rate) + span(item.ready.len() as u64, self.hz);
                    // All that was written of it was heard before this round came.
                    let bare = fill == 0 && out.is_empty() && item.start.is_some() && !item.waits;
                    if bare && !there.is_zero() {
                        self.starved += 1;
                    } else if bare && !s.over {
                        (item.waits, item.ran_dry) = (true, true);
                        self.dry += 1;
                        self.hold = (self.hold + HOLD_STEP).min(HOLD_MAX);
                    }
                    let hold = if item.start.is_none() { self.hold.max(BEGIN) } else { self.hold };
                    if item.waits && there < hold && !s.over {
                        break;
                    }
                    item.waits &= there.is_zero();
                    item.convert(&s, self.hz, want);
                    s.over && item.taken == s.audio.len() && item.flushed
                }
                None => true,
            };
            let n = item.ready.len().min(want);
            if n > 0 {
                item.start.get_or_insert(self.written + out.len() as u64);
                item.written += n as u64;
                out.extend(item.ready.drain(..n));
                want -= n;
            }
            if !(over && item.ready.is_empty()) {
                break;
            }
            let end = self.written + out.len() as u64;
            item.start.get_or_insert(end);
            item.end = Some(end);
            if !item.ran_dry {
                self.hold = self.hold.mul_f32(0.75);
            }
            self.sounding.extend(self.queue.pop_front());
        }
        self.gain.apply(&mut out[again..], self.hz);
        self.written += out.len() as u64;
        self.unheard.extend(&out);
        out
    }

    /// Forgets everything; returns what was cut. The caller flushes the ring.
    pub fn clear(&mut self, now: Duration) -> Vec<Heard> {
        self.flushed_to = self.written;
        self.unheard.clear();
        self.rewrite.clear();
        let (hz, pulled) = (self.hz, self.pulled);
        self.sounding
            .drain(..)
            .chain(self.queue.drain(..))
            .map(|item| {
                let heard = item.start.map_or(0, |s| pulled.saturating_sub(s)).min(item.written);
                Heard {
                    segment: item.segment,
                    started: item.started_at,
                    ended: now,
                    length: span(heard, hz),
                    complete: false,
                }
            })
            .collect()
    }

    /// Goes on at another rate: positions begin at zero, and what was written and not heard is written again.
    pub fn set_rate(&mut self, hz: u32) {
        let (old, new) = (u64::from(self.hz), u64::from(hz));
        let pulled = self.pulled.max(self.flushed_to);
        let moved = |position: u64| position.saturating_sub(pulled) * new / old;
        for item in self.sounding.iter_mut().chain(&mut self.queue) {
            item.start = item.start.map(moved);
            item.end = item.end.map(moved);
            item.written = item.written * new / old;
            // The old converter gives what it still holds, so that nothing inside a word is lost.
            if let Some(mut old) = item.resampler.take() {
                let mut rest = Vec::new();
                old.finish(&mut rest);
                item.ready.extend(rest);
            }
            let mut converted = Vec::new();
            let mut resampler = Resampler::new(self.hz, hz, 20);
            resampler.process(item.ready.make_contiguous(), &mut converted);
            resampler.finish(&mut converted);
            item.ready = converted.into();
        }
        let mut again = Vec::new();
        let mut resampler = Resampler::new(self.hz, hz, 20);
        self.unheard.append(&mut self.rewrite);
        resampler.process(self.unheard.make_contiguous(), &mut again);
        resampler.finish(&mut again);
        self.unheard.clear();
        self.hz = hz;
        self.lead.restart();
        self.stale += self.written.saturating_sub(self.pulled);
        self.written = 0;
        self.pulled = 0;
        self.flushed_to = 0;
        // Rounding must not leave an end behind what will be written, or it would never be reached.
        for item in &mut self.sounding {
            item.end = item.end.map(|e| e.min(again.len() as u64));
        }
        self.rewrite = again.into();
    }
}

impl Item {
    /// Converts as much of the source as is needed for `want` samples at `hz`.
    fn convert(&mut self, source: &Source<'_>, hz: u32, want: usize) {
        let resampler = self.resampler.get_or_insert_with(|| Resampler::new(source.rate, hz, 20));
        let mut out = Vec::new();
        while self.ready.len() + out.len() < want && self.taken < source.audio.len() {
            let step = (source.rate as usize / 50).min(source.audio.len() - self.taken);
            resampler.process(&source.audio[self.taken..self.taken + step], &mut out);
            self.taken += step;
        }
        if source.over && self.taken == source.audio.len() && !self.flushed {
            resampler.finish(&mut out);
            self.flushed = true;
        }
        self.ready.extend(out);
    }
}
