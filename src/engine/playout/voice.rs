//! What a listener's queue knows of each voice that it plays.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::SessionId;
use super::super::loudness::Meter;
use super::super::time::{samples, span};
use super::item::{Item, Source};

/// Voices remembered; a conference has fewer.
const VOICES: usize = 32;
/// A block that is softer than the voice by so much, in dB, is a pause …
const QUIET_DB: f32 = -35.0;
/// … but not above -50 dBFS, what [`is_quiet`](super::super::level::is_quiet) says, and always below -60 dBFS.
const QUIET: (f32, f32) = (33.0 * 33.0, 104.0 * 104.0);
/// How much the newest segment tells of how long the next ones take.
const NEWS: f32 = 0.2;

/// A voice in one ear.
#[derive(Clone, Debug)]
pub struct Voice {
    /// How loud it is synthesised.
    pub meter: Meter,
    /// The gain that it had last, in dB.
    pub gain_db: Option<f32>,
    /// How long what it says takes, against what was said in its language.
    pub longer: f32,
}

impl Voice {
    /// The voice of a session.
    pub fn of(voices: &mut BTreeMap<SessionId, Voice>, id: SessionId) -> &mut Voice {
        if voices.len() >= VOICES && !voices.contains_key(&id) {
            voices.clear();
        }
        voices.entry(id).or_insert_with(|| Voice { meter: Meter::default(), gain_db: None, longer: 1.0 })
    }

    /// Listens to what has come of a segment, and leaves out the silence at its ends.
    pub fn hear(&mut self, now: Duration, item: &mut Item, source: &Source<'_>) {
        self.meter.hear(item.unheard(source), source.rate);
        item.trim(now, source, self.quiet());
    }

    /// Mean square up to which a block of this voice is a pause. Never so high that a failed synthesis could not begin
    /// again behind it.
    pub fn quiet(&self) -> f32 {
        let relative = |level: f32| 32_768.0 * 32_768.0 * 10.0_f32.powf((level + QUIET_DB) / 10.0);
        self.meter.level().map_or(QUIET.0, |level| relative(level).clamp(QUIET.0, QUIET.1))
    }

    /// A segment was given to its end.
    pub fn spoke(&mut self, item: &Item) {
        let (speech, given) = (item.speech_s(), item.treatment.taken - item.treatment.trimmed);
        let given = span(given, item.treatment.rate.max(1)).as_secs_f32();
        if speech > 0.3 && given > 0.0 {
            self.longer += NEWS * ((given / speech).clamp(0.5, 2.0) - self.longer);
        }
    }

    /// Source samples of a segment that are still to come or wait, as far as that can be known.
    pub fn expected(&self, item: &Item, source: &Source<'_>) -> usize {
        let there = item.rest(source);
        if source.over {
            return there;
        }
        let whole = samples(Duration::from_secs_f32(item.speech_s() * self.longer), source.rate);
        let given = item.treatment.taken.saturating_sub(item.treatment.trimmed);
        there.max(whole.saturating_sub(given) as usize)
    }
}
