//! The sync buffer of one listener: turns bursts of synthesised audio into an even stream close behind its speakers.
//!
//! Segments are heard in the order in which they were committed; the first audio is forwarded as it
//! arrives. The puller is the clock: the ring is topped up by what was pulled, never by wall time.
//!
//! | file | what it decides |
//! |---|---|
//! | `mod` | what is written to the ring and when, what was heard |
//! | `item` | what becomes of one segment's audio: silence trimmed, pauses cut, stretched, converted |
//! | `outlook` | how far the queue is behind, pauses between segments, what is to be left out |
//! | `pace` | how much of the pauses is kept and how fast speech is played |
//! | `lead` | how much lies ready |
//!
//! The way of a sample: trimmed, or cut out of a pause; or through [`Leveller`] (loudness, the listener's gain), `Stretch`
//! and the converter to the listener's rate into the ring. [`Treatment`] accounts for every one.
//!
//! A pause between segments is not written: the ring is left empty, and the next segment begins when enough silence
//! was pulled. So it is as long for a slow puller as for a fast one, and to within half a frame.

mod item;
mod lead;
mod outlook;
mod pace;
#[cfg(test)]
mod tests;
mod voice;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

pub use item::{Source, Timing, Treatment};
pub use lead::Lead;

use self::item::{Item, Shape};
use self::outlook::{Before, Gap};
use self::pace::Pace;
use self::voice::Voice;
use super::loudness::Leveller;
use super::resample::Resampler;
use super::time::{samples, span};
use super::{RING_SAMPLES, SegmentId, SessionId};
use crate::config::Language;

/// So much of a segment is ready to be written before it begins: what two pulls take, so that a first crumb from the
/// synthesiser is not followed by a hole.
const BEGIN: Duration = Duration::from_millis(40);
/// With less than this left to be pulled, and nothing new, a segment gives all that it has.
const NEARLY_DRY: Duration = Duration::from_millis(25);
/// After a segment ran dry in its middle, the next ones wait for this much more audio before they begin …
const HOLD_STEP: Duration = Duration::from_millis(60);
/// … up to this much; a segment that came evenly takes a quarter off again.
const HOLD_MAX: Duration = Duration::from_millis(300);
/// A pause may be shorter or longer by so much: half of what one pull usually takes.
const GAP_OFF: Duration = Duration::from_millis(10);

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
    /// What was done with its audio.
    pub treatment: Treatment,
}

/// The speech queue of one listener.
pub struct Playout {
    language: Language,
    hz: u32,
    lead: Lead,
    held: bool,
    pace: Pace,
    leveller: Leveller,
    /// Voices are brought to one loudness.
    normalise: bool,
    voices: BTreeMap<SessionId, Voice>,
    queue: VecDeque<Item>,
    /// Fully written, not fully pulled.
    sounding: VecDeque<Item>,
    written: u64,
    pulled: u64,
    flushed_to: u64,
    /// Samples of silence that were pulled since the last of what was written.
    silence: u64,
    before: Option<Before>,
    /// Written, not yet pulled: wanted again when the rate changes.
    unheard: VecDeque<i16>,
    /// Written at another rate before and not heard: goes first.
    rewrite: VecDeque<i16>,
    /// Audio to wait for before a segment begins (or goes on after it ran dry).
    hold: Duration,
    /// Times a segment ran dry in its middle.
    dry: u64,
    starved: u64,
    /// What was cut out of pauses, in all.
    pauses_cut: Duration,
    /// Silence left out at the ends of segments, in all.
    trimmed: Duration,
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
            held: false,
            pace: Pace::new(1.0),
            leveller: Leveller::new(gain),
            normalise: false,
            voices: BTreeMap::new(),
            queue: VecDeque::new(),
            sounding: VecDeque::new(),
            written: 0,
            pulled: 0,
            flushed_to: 0,
            silence: 0,
            before: None,
            unheard: VecDeque::new(),
            rewrite: VecDeque::new(),
            hold: Duration::ZERO,
            dry: 0,
            starved: 0,
            pauses_cut: Duration::ZERO,
            trimmed: Duration::ZERO,
            stale: 0,
        }
    }

    /// The settings from here on: how fast speech may be played (1.0 to 1.25), and whether voices are brought to one
    /// loudness.
    pub fn configure(&mut self, stretch_max: f32, normalise: bool) {
        self.pace.set_max(stretch_max);
        self.normalise = normalise;
    }

    /// Times a segment ran dry in its middle because its audio came too slowly.
    pub fn ran_dry(&self) -> u64 {
        self.dry
    }

    /// Times more was pulled at once than the lead held, inside a segment: a hole was heard.
    pub fn starved(&self) -> u64 {
        self.starved
    }

    /// How fast speech is played now.
    pub fn speed(&self) -> f32 {
        if self.segments().next().is_none() { 1.0 } else { self.pace.speed() }
    }

    /// Seconds that it is further behind its speakers than it need be; below zero, it has time.
    pub fn behind(&self) -> f32 {
        if self.queue.is_empty() { 0.0 } else { self.pace.behind() }
    }

    /// By how much pauses were shortened, in all.
    pub fn pauses_cut(&self) -> Duration {
        self.pauses_cut
    }

    /// Silence left out at the ends of segments, in all.
    pub fn trimmed(&self) -> Duration {
        self.trimmed
    }

    /// The language of the audio that the queue takes.
    pub fn language(&self) -> &Language {
        &self.language
    }

    /// Takes audio in another language from here on; the queue must be empty.
    pub fn set_language(&mut self, language: Language) {
        self.language = language;
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
        self.leveller.set_own(gain, fade);
    }

    /// Whether segments that have not begun wait; one that has begun is always heard to its end.
    pub fn hold(&mut self, now: Duration, held: bool) {
        if self.held && !held {
            // What it waited for this is not its lateness.
            for item in self.queue.iter_mut().filter(|item| !item.has_begun()) {
                item.timing.queued = now;
            }
        }
        self.held = held;
    }

    /// Puts a segment at the end of the queue.
    pub fn push(&mut self, segment: SegmentId, timing: Timing) {
        self.queue.push_back(Item::new(segment, timing));
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
        let asked_now = self.lead.pulled(now, asked);
        if asked > 0 {
            self.stale = 0;
        }
        // What was skipped for a flush is not in `unheard` any more.
        let news = speech.saturating_sub(self.pulled.max(self.flushed_to));
        self.unheard.drain(..(news as usize).min(self.unheard.len()));
        self.pulled = speech.max(self.pulled);
        let pulled = self.pulled;
        if self.fill() == 0 {
            self.silence = self.silence.saturating_add(asked_now.saturating_sub(news));
        }
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
                    treatment: item.treatment,
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
    pub fn top_up<'a>(&mut self, now: Duration, source: impl Fn(SegmentId) -> Option<Source<'a>>) -> Vec<i16> {
        self.look(now, &source);
        let fill = self.fill();
        // Flushed samples lie in the ring until the next pull skips them.
        let free = (RING_SAMPLES as u64).saturating_sub(self.written.saturating_sub(self.pulled) + self.stale);
        let mut want = self.lead.samples(self.hz).saturating_sub(fill).min(free) as usize;
        let again = self.rewrite.len().min(want);
        let mut out: Vec<i16> = self.rewrite.drain(..again).collect();
        want -= again;
        while let Some(item) = self.queue.front_mut().filter(|_| self.rewrite.is_empty()) {
            if self.held && !item.has_begun() {
                break;
            }
            if let Some(s) = source(item.segment) {
                let voice = Voice::of(&mut self.voices, item.timing.voice);
                voice.hear(now, item, &s);
                let there = span(item.rest(&s) as u64, s.rate) + span(item.ready.len() as u64, self.hz);
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
                if !item.has_begun() && !there.is_zero() {
                    let silence =
                        if fill == 0 && out.is_empty() { span(self.silence, self.hz) } else { Duration::ZERO };
                    let gap = Gap::before(item, self.before, &self.pace);
                    if silence + GAP_OFF < gap.least {
                        break;
                    }
                    item.treatment.gap_cut = gap.wanted.saturating_sub(silence.max(gap.least));
                    self.leveller.begin(s.rate, voice.gain_db.filter(|_| self.normalise));
                }
                item.waits &= there.is_zero();
                self.leveller.aim(self.normalise.then_some(&voice.meter));
                let shape = Shape {
                    speed: self.pace.speed(),
                    pauses: self.pace.pauses(),
                    quiet: voice.quiet(),
                    known: voice.meter.is_known(),
                };
                // Levelling, stretching and converting hold a little back each, so that what is ready is asked.
                let begin = if item.start.is_none() { samples(BEGIN, self.hz) as usize } else { 0 };
                item.convert(&s, &shape, &mut self.leveller, self.hz, want.max(begin));
                let left = fill + (out.len() + item.ready.len()) as u64;
                if item.start.is_some() && !s.over && left < samples(NEARLY_DRY, self.hz) {
                    item.drain(&s, &shape, &mut self.leveller, self.hz);
                }
                voice.gain_db = self.leveller.voice_db().filter(|_| self.normalise).or(voice.gain_db);
                if item.ready.len() < begin && !item.is_flushed() {
                    break;
                }
            }
            let n = item.ready.len().min(want);
            if n > 0 {
                item.start.get_or_insert(self.written + out.len() as u64);
                item.written += n as u64;
                out.extend(item.ready.drain(..n));
                want -= n;
            }
            let gone = source(item.segment).is_none();
            if !(item.ready.is_empty() && (gone || item.is_done())) {
                break;
            }
            let end = self.written + out.len() as u64;
            item.start.get_or_insert(end);
            item.end = Some(end);
            if item.written > 0 {
                self.before = Some(Before { voice: item.timing.voice, tail: item.tail() });
            }
            if !item.ran_dry {
                self.hold = self.hold.mul_f32(0.75);
            }
            self.pauses_cut += item.treatment.pause_cut();
            self.trimmed += item.treatment.trimmed();
            if let Some(item) = self.queue.pop_front() {
                Voice::of(&mut self.voices, item.timing.voice).spoke(&item);
                self.sounding.push_back(item);
            }
        }
        if !out.is_empty() {
            self.silence = 0;
        }
        self.written += out.len() as u64;
        self.unheard.extend(&out);
        out
    }

    /// Forgets everything; returns what was cut. The caller flushes the ring.
    pub fn clear(&mut self, now: Duration) -> Vec<Heard> {
        self.flushed_to = self.written;
        self.unheard.clear();
        self.rewrite.clear();
        self.before = None;
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
                    treatment: item.treatment,
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
            item.set_rate(self.hz, hz, moved);
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
        self.silence = self.silence * new / old;
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
