//! What is to be expected of a queue: how far it is behind its speakers, the pauses in it, what is to be left out.

use std::time::Duration;

use super::super::time::span;
use super::super::{SegmentId, SessionId};
use super::Playout;
use super::item::{Item, Source};
use super::pace::{Pace, strain};
use super::voice::Voice;

/// Between the sounds of two segments there is at least so much silence, …
const LEAST_GAP: Duration = Duration::from_millis(80);
/// … or so much when speech is stretched as far as it goes.
const STRAINED_GAP: Duration = Duration::from_millis(20);
/// The most that is kept of a speaker's own pause.
const LONGEST_GAP: Duration = Duration::from_millis(400);
/// Between two voices.
const OTHER_VOICE: Duration = Duration::from_millis(120);
/// A segment that waits for others for less than this is not too late, however long it is itself.
const WAITED_S: f32 = 1.0;

/// The segment that was written last.
#[derive(Clone, Copy, Debug)]
pub struct Before {
    /// Whose voice.
    pub voice: SessionId,
    /// Silence of its own at its end.
    pub tail: Duration,
}

/// The silence to be pulled before a segment begins, beside what the segments have at their ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gap {
    /// As the speaker paused, within bounds.
    pub wanted: Duration,
    /// What there is time for.
    pub least: Duration,
}

impl Gap {
    /// The gap between what was written last and `item`.
    pub fn before(item: &Item, before: Option<Before>, pace: &Pace) -> Gap {
        let Some(before) = before else { return Gap { wanted: Duration::ZERO, least: Duration::ZERO } };
        let wanted = if before.voice == item.timing.voice { item.timing.pause } else { OTHER_VOICE };
        let wanted = wanted.clamp(LEAST_GAP, LONGEST_GAP);
        let shortest = LEAST_GAP - (LEAST_GAP - STRAINED_GAP).mul_f32(strain(pace.speed()));
        let least = shortest + wanted.saturating_sub(shortest).mul_f32(pace.pauses());
        let own = before.tail + item.head();
        Gap { wanted: wanted.saturating_sub(own), least: least.saturating_sub(own) }
    }
}

/// What the queue looks like at a given speed.
pub struct Outlook<'q> {
    /// The last segment of which audio has come.
    last: &'q Item,
    /// Seconds until its end is heard.
    until: f32,
    /// Seconds by which that is later than if it had begun with its first audio and taken as long as it was spoken.
    pub behind: f32,
}

impl Playout {
    /// Audio that waits to be pulled, as far as it has come.
    pub fn backlog<'a>(&self, source: impl Fn(SegmentId) -> Option<Source<'a>>) -> Duration {
        let rest = |item: &Item| source(item.segment).map_or(Duration::ZERO, |s| span(item.rest(&s) as u64, s.rate));
        let waiting: Duration = self.queue.iter().map(|item| rest(item) + span(item.ready.len() as u64, self.hz)).sum();
        waiting + span(self.fill() + self.rewrite.len() as u64, self.hz)
    }

    /// Looks at what has come: measures voices, trims, and sets the pace.
    pub(super) fn look<'a>(&mut self, now: Duration, source: &impl Fn(SegmentId) -> Option<Source<'a>>) {
        if !self.pace.is_due(now) {
            return;
        }
        for item in &mut self.queue {
            if let Some(s) = source(item.segment) {
                Voice::of(&mut self.voices, item.timing.voice).hear(now, item, &s);
            }
        }
        let behind = self.outlook(now, self.pace.speed(), source).map_or(0.0, |outlook| outlook.behind);
        self.pace.step(now, behind);
    }

    /// What is to be expected when speech is played at `speed`; `None` while nothing has come.
    fn outlook<'a>(
        &self,
        now: Duration,
        speed: f32,
        source: &impl Fn(SegmentId) -> Option<Source<'a>>,
    ) -> Option<Outlook<'_>> {
        let seconds = |count: u64, hz: u32| span(count, hz).as_secs_f32();
        let mut until = seconds(self.fill() + self.rewrite.len() as u64, self.hz);
        let mut last = None;
        for item in &self.queue {
            let Some((s, since)) = source(item.segment).zip(item.found_at()) else { continue };
            let voice = self.voices.get(&item.timing.voice);
            let rest = voice.map_or_else(|| item.rest(&s), |voice| voice.expected(item, &s));
            let gap = if item.has_begun() || self.before.is_none() { Duration::ZERO } else { STRAINED_GAP };
            until +=
                seconds(rest as u64, s.rate) / speed + seconds(item.ready.len() as u64, self.hz) + gap.as_secs_f32();
            // What was said for nobody's sake, an announcement, takes what it takes.
            let given = item.treatment.taken.saturating_sub(item.treatment.trimmed) + rest as u64;
            let speech = if item.speech_s() > 0.0 { item.speech_s() } else { seconds(given, s.rate) };
            let waited = now.saturating_sub(since).as_secs_f32();
            last = Some(Outlook { last: item, until, behind: waited + until - speech });
        }
        last
    }

    /// The segment to leave out because what has come would be heard to its end later than `after` when it was said,
    /// although it is played as fast as may be, and not because it is long itself: the oldest whole one of which nothing
    /// was given to be played.
    pub fn overdue<'a>(
        &self,
        now: Duration,
        after: Duration,
        source: impl Fn(SegmentId) -> Option<Source<'a>>,
    ) -> Option<SegmentId> {
        // Nothing is thrown away because the listener talks.
        if self.held {
            return None;
        }
        let outlook = self.outlook(now, self.pace.max(), &source)?;
        let late = now + Duration::from_secs_f32(outlook.until)
            > outlook.last.timing.end_at.max(outlook.last.timing.queued.saturating_sub(after / 2)) + after;
        if !late || outlook.behind < WAITED_S {
            return None;
        }
        let there = |item: &&Item| source(item.segment).is_some_and(|s| !s.audio.is_empty());
        let whole = |item: &&Item| !item.has_begun() && item.start.is_none() && item.timing.may_skip;
        self.queue.iter().filter(whole).find(there).map(|item| item.segment)
    }
}
