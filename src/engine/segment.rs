//! A segment: a span of source speech that is committed once, and what becomes of it in each language.

use std::collections::BTreeMap;
use std::time::Duration;

use super::level::is_quiet;
use super::time::{ms, samples, span};
use super::{SegmentId, SessionId};
use crate::config::Language;
use crate::event::{EventKind, Marks};
use crate::provider::StageError;

/// No word is spoken for longer; a mark that is further behind cannot be the last word's.
const LONGEST_WORD: Duration = Duration::from_secs(3);

/// Few words are longer: what is not marked for so long is given without a mark.
const USUAL_WORD: Duration = Duration::from_millis(700);
/// A word of which no more than this is missing at its end counts as whole in somebody's ear.
const KEPT_BACK: Duration = Duration::from_millis(12);

/// Where a segment's text comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Said by a session, for all others.
    Speech(SessionId),
    /// Asked for by the host (`mgw_session_say`), for this session's ear alone.
    Announcement(SessionId),
}

/// How far one language of a segment has come.
#[derive(Clone, Debug, PartialEq)]
pub enum Progress {
    /// Waits for its translation.
    Translating,
    /// A draft whose text is there and is not spoken before it is committed.
    Translated,
    /// Waits for audio, or receives it.
    Speaking,
    /// All audio is there.
    Spoken,
    /// It will not be heard (completely).
    Failed,
}

/// One target language of a segment.
#[derive(Clone, Debug)]
pub struct Target {
    /// How far it has come.
    pub progress: Progress,
    /// The translation (for announcements in the listener's own language the text itself).
    pub text: String,
    /// When the translation was there.
    pub translated: Option<Duration>,
    /// When the first audio was there.
    pub first_audio: Option<Duration>,
    /// When anything last came for it.
    pub last_sign: Duration,
    /// When the first audio of the attempt under way came.
    pub attempt_audio: Option<Duration>,
    /// The synthesised audio so far, at `rate`.
    pub audio: Vec<i16>,
    /// Hz.
    pub rate: u32,
    /// What the synthesiser is to say: the text, made safe to speak.
    pub say: String,
    /// How often it was given to the synthesiser since there was progress, and in all.
    pub attempts: u32,
    pub total_attempts: u32,
    /// Where the attempt under way began.
    pub begun: Mark,
    /// The last whole word of the attempt under way that was reached, if it tells.
    pub reached: Option<Mark>,
    /// It failed in its middle; the rest is asked for then.
    pub resume_at: Option<Duration>,
}

/// A place in a segment's speech.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// Samples of audio before it.
    pub samples: usize,
    /// Bytes of [`Target::say`] before it.
    pub byte: usize,
}

impl Target {
    /// A target that waits for its translation.
    pub fn new(now: Duration, rate: u32) -> Self {
        Target {
            progress: Progress::Translating,
            text: String::new(),
            translated: None,
            first_audio: None,
            last_sign: now,
            attempt_audio: None,
            audio: Vec::new(),
            rate,
            say: String::new(),
            attempts: 0,
            total_attempts: 0,
            begun: Mark::default(),
            reached: None,
            resume_at: None,
        }
    }

    /// The audio that may be given to listeners. Where the provider marks words, one whose end has not come yet is kept
    /// back: should synthesis stall or break off there, nobody has heard a part of it. Where it gives no marks, or none
    /// for long, all but the last bit is given.
    pub fn playable(&self) -> &[i16] {
        if self.is_over() {
            return &self.audio;
        }
        let safe = self.begun.samples.max(self.reached.map_or(0, |mark| mark.samples));
        let marked = self.reached.is_some() && self.audio.len() - safe < self.in_samples(USUAL_WORD);
        let most = if marked { safe } else { self.audio.len().saturating_sub(self.in_samples(KEPT_BACK)) };
        &self.audio[..most.max(safe)]
    }

    /// Some audio has come for the attempt under way.
    pub fn has_begun(&self) -> bool {
        self.audio.len() > self.begun.samples
    }

    /// Notes that the audio so far speaks the attempt's text up to its `byte`th byte.
    pub fn reach(&mut self, byte: usize) {
        let byte = self.begun.byte + byte;
        // A provider that lies about its text must not make us cut a character in two.
        if byte >= self.reached.map_or(0, |mark| mark.byte) && self.say.is_char_boundary(byte) {
            self.reached = Some(Mark { samples: self.audio.len(), byte });
        }
    }

    /// So much the audio of the attempt under way is behind somebody who hears it as it comes.
    pub fn behind(&self, now: Duration) -> Duration {
        let there = span(self.audio.len().saturating_sub(self.begun.samples) as u64, self.rate);
        self.attempt_audio.map_or(Duration::ZERO, |since| now.saturating_sub(since).saturating_sub(there))
    }

    /// The attempt under way has reached a word.
    pub fn has_progressed(&self) -> bool {
        self.reached.is_some_and(|mark| mark.byte > self.begun.byte)
    }

    /// Goes back to the last place from which the speech can be taken up without losing or doubling a whole word,
    /// where `written` samples have been given to a listener already; false if there is none.
    ///
    /// A word of which a part was given is begun again: a cut word and then the whole one is better than a lost one.
    pub fn rewind(&mut self, written: usize) -> bool {
        let unaligned = self.audio.get(self.begun.samples..written.min(self.audio.len())).unwrap_or_default();
        let mark = match self.reached {
            Some(mark) if written.saturating_sub(mark.samples) <= self.longest_word() => mark,
            // Nothing was heard of it yet, or only the silence before it.
            None if is_quiet(unaligned) => self.begun,
            _ => return false,
        };
        self.audio.truncate(mark.samples.max(written));
        if self.has_progressed() {
            self.attempts = 0;
        }
        let rest = &self.say[mark.byte..];
        let byte = mark.byte + rest.len() - rest.trim_start().len();
        self.begun = Mark { samples: self.audio.len(), byte };
        (self.reached, self.attempt_audio) = (None, None);
        true
    }

    /// Samples; more than this behind the last word reached is more than a word.
    fn longest_word(&self) -> usize {
        self.in_samples(LONGEST_WORD)
    }

    fn in_samples(&self, length: Duration) -> usize {
        samples(length, self.rate) as usize
    }

    /// No more audio will come.
    pub fn is_over(&self) -> bool {
        matches!(self.progress, Progress::Spoken | Progress::Failed)
    }
}

/// A committed span and its life.
#[derive(Clone, Debug)]
pub struct Segment {
    /// Where it comes from.
    pub origin: Origin,
    /// What was said.
    pub text: String,
    /// In which language.
    pub source: Language,
    /// Session time of its first word.
    pub start: Duration,
    /// Session time of the end of its last word.
    pub end: Duration,
    /// The same in gateway time.
    pub start_at: Duration,
    /// The same in gateway time.
    pub end_at: Duration,
    /// When the ledger let it go (of a draft: when it was begun).
    pub committed: Duration,
    /// Why it did, for a person; empty for announcements and drafts.
    pub why: String,
    /// It is worked on ahead and not committed yet; nobody waits for it.
    pub draft: bool,
    /// What becomes of it, by language.
    pub targets: BTreeMap<Language, Target>,
}

impl Segment {
    /// The marks of one target; playout's are the listener's and added by the caller.
    pub fn marks(&self, target: &Target) -> Marks {
        let spoken = matches!(self.origin, Origin::Speech(_));
        Marks {
            speech_start_ms: spoken.then(|| ms(self.start_at)),
            speech_end_ms: spoken.then(|| ms(self.end_at)),
            committed_ms: Some(ms(self.committed)),
            translated_ms: target.translated.map(ms),
            first_audio_ms: target.first_audio.map(ms),
            playout_start_ms: None,
            playout_end_ms: None,
        }
    }

    /// The event that it is lost, for one listener or (`None`) for all.
    pub fn lost(
        &self,
        id: SegmentId,
        listener: Option<SessionId>,
        target: Option<Language>,
        stage: &'static str,
        why: &str,
    ) -> EventKind {
        EventKind::SegmentLost {
            segment: Some(id.0),
            listener: listener.map(|l| l.0),
            target: target.map(|t| t.code().to_owned()),
            stage,
            reason: why.to_owned(),
            source_text: Some(self.text.clone()),
            start_ms: ms(self.start),
            end_ms: ms(self.end),
        }
    }

    /// Durations of the stages in milliseconds, as far as they were reached.
    pub fn stages(&self, target: &Target) -> BTreeMap<&'static str, f64> {
        let mut stages = BTreeMap::new();
        if matches!(self.origin, Origin::Speech(_)) {
            stages.insert("stt", ms(self.committed.saturating_sub(self.end_at)));
        }
        if let Some(translated) = target.translated {
            stages.insert("mt", ms(translated.saturating_sub(self.committed)));
            if let Some(first) = target.first_audio {
                stages.insert("tts", ms(first.saturating_sub(translated)));
            }
        }
        stages
    }
}

/// The event that speech was lost before it became a segment; session times.
pub fn speech_lost(start: Duration, end: Duration, stage: &'static str, why: &str) -> EventKind {
    EventKind::SegmentLost {
        segment: None,
        listener: None,
        target: None,
        stage,
        reason: why.to_owned(),
        source_text: None,
        start_ms: ms(start),
        end_ms: ms(end),
    }
}

/// Why a segment was lost, as the event tells it.
pub fn reason(error: &StageError) -> String {
    match &error.request_id {
        Some(id) => format!("{} ({}; request {id})", error.message, error.code),
        None => format!("{} ({})", error.message, error.code),
    }
}
