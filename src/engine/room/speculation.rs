//! Working ahead: what has been recognised and is not certain yet is translated, and perhaps spoken, before it is
//! committed. A draft is a segment that nobody waits for; the commit of the same words makes it an ordinary one.

use std::time::Duration;

use serde_json::{Value, json};

use super::super::ledger::{Commit, Tail};
use super::super::segment::{Origin, Progress, Segment, Target};
use super::super::{NetCommand, SegmentId, SessionId, TranslateJob};
use super::Room;
use crate::config::{Language, SessionConfig, Speculation};

/// A draft that was not committed by then never will be.
const OLDEST: Duration = Duration::from_secs(10);
/// Characters that may be spent in vain before anything was of use.
const FIRST_CHARS: f32 = 1000.0;

/// What is done ahead for one speaker.
#[derive(Clone, Debug, Default)]
pub struct Ahead {
    draft: Option<SegmentId>,
    /// Drafts that were begun, and of those committed so far the ones that had the same words.
    begun: u64,
    used: u64,
    dropped: u64,
    /// Characters given to translators and synthesisers for drafts that were of use, and for those in vain.
    used_chars: u64,
    dropped_chars: u64,
    /// Characters that were translated in any case; what is spent in vain is bounded against them.
    committed_chars: u64,
}

impl Ahead {
    /// Drafts that were of use, against all that were begun and have ended; `None` before the first.
    pub fn hit_rate(&self) -> Option<f64> {
        let ended = self.used + self.dropped;
        (ended > 0).then(|| self.used as f64 / ended as f64)
    }

    /// For statistics.
    pub fn stats(&self) -> Value {
        json!({
            "begun": self.begun, "used": self.used, "dropped": self.dropped,
            "used_chars": self.used_chars, "dropped_chars": self.dropped_chars,
            "hit_rate": self.hit_rate(),
        })
    }

    fn may_spend(&self, chars: u64, config: &SessionConfig) -> bool {
        (self.dropped_chars + chars) as f32 <= FIRST_CHARS + config.speculation_share * self.committed_chars as f32
    }

    /// A text was committed that is translated into so many languages.
    pub fn committed(&mut self, text: &str, targets: usize) {
        self.committed_chars += chars(text, targets);
    }
}

impl Room {
    /// The recogniser has reported: a stable rest that is not committed yet is worked on.
    pub(super) fn work_ahead(&mut self, speaker: SessionId) {
        let now = self.now;
        let Some(member) = self.members.get(&speaker) else { return };
        if member.config.speculation == Speculation::Off || !member.listens() || member.outage(now).is_some() {
            return;
        }
        let Some(tail) = member.ledger.tail().filter(|tail| tail.stable) else { return };
        if let Some(draft) = member.ahead.draft.and_then(|id| self.segments.get(&id)) {
            if alike(&draft.text, &tail.text) {
                return;
            }
            self.drop_draft(speaker);
        }
        self.begin_draft(speaker, tail);
    }

    fn begin_draft(&mut self, speaker: SessionId, tail: Tail) {
        let now = self.now;
        let Some(source) = self.members.get(&speaker).map(|m| m.language_at(tail.start)) else { return };
        let targets = self.present_targets(speaker, source);
        let Some(member) = self.members.get_mut(&speaker) else { return };
        let config = member.config.clone();
        let chars = chars(&tail.text, targets.len());
        if targets.is_empty() || !member.ahead.may_spend(chars, &config) {
            return;
        }
        let (start_at, end_at) = (member.map.to_gateway(tail.start), member.map.to_gateway(tail.end));
        let context: Vec<String> = member.context.iter().cloned().collect();
        let rates: Vec<u32> = targets.iter().map(|target| member.tts_rate(*target)).collect();
        let id = self.new_segment(Segment {
            origin: Origin::Speech(speaker),
            text: tail.text.clone(),
            source,
            start: tail.start,
            end: tail.end,
            start_at,
            end_at,
            committed: now,
            why: String::new(),
            draft: true,
            targets: targets.iter().zip(rates).map(|(target, rate)| (*target, Target::new(now, rate))).collect(),
        });
        if let Some(member) = self.members.get_mut(&speaker) {
            member.ahead.draft = Some(id);
            member.ahead.begun += 1;
        }
        for target in targets {
            self.net(NetCommand::Translate(TranslateJob {
                session: speaker,
                segment: id,
                source,
                target,
                text: tail.text.clone(),
                context: context.clone(),
                config: config.clone(),
                budget: config.segment_timeout,
            }));
        }
    }

    /// Languages into which a speaker's words in `source` are translated just now: somebody hears them who pulls.
    pub(super) fn present_targets(&self, speaker: SessionId, source: Language) -> Vec<Language> {
        let present = self.members.iter().filter(|(id, m)| **id != speaker && m.listens() && m.absent_since.is_none());
        let mut targets: Vec<Language> =
            present.map(|(_, m)| m.config.hears).filter(|hears| !source.same_language(hears)).collect();
        targets.sort();
        targets.dedup();
        targets
    }

    /// The translation of a draft has come.
    pub(super) fn draft_translated(&mut self, id: SegmentId, target: Language, text: String) {
        let now = self.now;
        let Some(segment) = self.segments.get_mut(&id) else { return };
        let Origin::Speech(speaker) = segment.origin else { return };
        if text.is_empty() {
            return self.drop_from_draft(speaker, id, target);
        }
        let speaks = self.members.get(&speaker).is_some_and(|m| m.config.speculation == Speculation::Speak);
        if speaks {
            self.speak(id, target, text);
        } else if let Some(t) = segment.targets.get_mut(&target) {
            (t.progress, t.text, t.translated) = (Progress::Translated, text, Some(now));
        }
    }

    /// These words of a speaker are committed: the draft of the same words, if there is one, without what nobody
    /// wants. Any other draft was in vain.
    pub(super) fn take_draft(
        &mut self,
        speaker: SessionId,
        commit: &Commit,
        targets: &[Language],
    ) -> Option<SegmentId> {
        let id = self.members.get(&speaker)?.ahead.draft?;
        let source = self.members.get(&speaker)?.language_at(commit.start);
        let fits = self.segments.get(&id).is_some_and(|s| alike(&s.text, &commit.text) && s.source == source);
        if !fits {
            self.drop_draft(speaker);
            return None;
        }
        let segment = self.segments.get_mut(&id)?;
        segment.draft = false;
        let chars = chars(&segment.text, segment.targets.len());
        let unwanted: Vec<Language> = segment.targets.keys().filter(|t| !targets.contains(t)).copied().collect();
        for target in &unwanted {
            segment.targets.remove(target);
        }
        for target in unwanted {
            self.net(NetCommand::Cancel { session: speaker, segment: id, target });
        }
        if let Some(member) = self.members.get_mut(&speaker) {
            member.ahead.draft = None;
            member.ahead.used += 1;
            member.ahead.used_chars += chars;
        }
        Some(id)
    }

    /// What was done ahead for a speaker is not wanted.
    pub(super) fn drop_draft(&mut self, speaker: SessionId) {
        let Some(id) = self.members.get_mut(&speaker).and_then(|m| m.ahead.draft.take()) else { return };
        let Some(segment) = self.segments.remove(&id) else { return };
        let chars = chars(&segment.text, segment.targets.len());
        if let Some(member) = self.members.get_mut(&speaker) {
            member.ahead.dropped += 1;
            member.ahead.dropped_chars += chars;
        }
        for (target, _) in segment.targets.into_iter().filter(|(_, t)| !t.is_over()) {
            self.net(NetCommand::Cancel { session: speaker, segment: id, target });
        }
    }

    /// Nothing comes of one language of a draft; it is asked for again when the words are committed.
    pub(super) fn drop_from_draft(&mut self, speaker: SessionId, id: SegmentId, target: Language) {
        let Some(segment) = self.segments.get_mut(&id) else { return };
        segment.targets.remove(&target);
        let nothing = segment.targets.is_empty();
        self.net(NetCommand::Cancel { session: speaker, segment: id, target });
        if nothing {
            self.drop_draft(speaker);
        }
    }

    /// Drops drafts that are too old to be committed.
    pub(super) fn expire_drafts(&mut self) {
        let now = self.now;
        let old = |id: &SegmentId| self.segments.get(id).is_none_or(|s| now.saturating_sub(s.committed) >= OLDEST);
        let speakers: Vec<SessionId> =
            self.members.iter().filter(|(_, m)| m.ahead.draft.as_ref().is_some_and(old)).map(|(id, _)| *id).collect();
        for speaker in speakers {
            self.drop_draft(speaker);
        }
    }
}

/// Characters of a text that goes into so many languages.
fn chars(text: &str, targets: usize) -> u64 {
    text.chars().count() as u64 * targets as u64
}

/// The same words to a translator: a full stop or comma behind them, and capitals, are often added at the end only.
fn alike(a: &str, b: &str) -> bool {
    let bare =
        |text: &str| text.trim_end_matches(|c: char| c.is_whitespace() || ".,;:…。、،".contains(c)).to_lowercase();
    bare(a) == bare(b)
}
