//! The life of segments: translation, deadlines and losses.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::ledger::{Commit, Why};
use super::super::member::{Member, TtsLine};
use super::super::playout::{Source, Timing};
use super::super::segment::{Origin, Progress, Segment, Target, reason, speech_lost};
use super::super::time::ms;
use super::super::{NetCommand, SegmentId, SessionId, TranslateJob};
use super::Room;
use super::membership::tts_rate;
use crate::config::{Language, Overflow};
use crate::event::EventKind;
use crate::provider::{DirectEvent, ErrorClass, Stage, StageError, Transcript};

/// Once speech has begun to come, it may stop for this long before the rest is asked for anew. The network's own
/// deadlines are shorter; this is for when it does not even report.
const STALL: Duration = Duration::from_secs(5);

impl Room {
    pub(super) fn new_segment(&mut self, segment: Segment) -> SegmentId {
        let id = SegmentId(self.next_segment);
        self.next_segment += 1;
        self.segments.insert(id, segment);
        id
    }

    /// A span of a session's speech will not change any more: it goes to everybody who hears another language.
    pub(super) fn commit(&mut self, speaker: SessionId, commit: Commit) {
        let now = self.now;
        let Some(source) = self.members.get(&speaker).map(|m| m.language_at(commit.start)) else { return };
        let targets = self.present_targets(speaker, source);
        let draft = self.take_draft(speaker, &commit, &targets);
        let Some(member) = self.members.get_mut(&speaker) else { return };
        let config = member.config.clone();
        let context: Vec<String> = member.context.iter().cloned().collect();
        member.context.push_back(commit.text.clone());
        while member.context.len() > config.deepl.context_segments {
            member.context.pop_front();
        }
        member.counters.committed += 1;
        member.ahead.committed(&commit.text, targets.len());
        member.measures.committed(&commit.text);
        let (start_at, end_at) = (member.map.to_gateway(commit.start), member.map.to_gateway(commit.end));
        let rates: BTreeMap<Language, u32> = targets.iter().map(|target| (*target, member.tts_rate(*target))).collect();
        let pause = commit.start.saturating_sub(member.said_to);
        member.said_to = commit.end;
        let timing = Timing { voice: speaker, start_at, end_at, pause, may_skip: true, queued: now };
        let Commit { text, start, end, why, .. } = commit;
        let drafted = draft.and_then(|id| self.segments.remove(&id)).map(|s| s.targets).unwrap_or_default();
        let segment = Segment {
            origin: Origin::Speech(speaker),
            text: text.clone(),
            source,
            start,
            end,
            start_at,
            end_at,
            committed: now,
            why: why.to_string(),
            draft: false,
            targets: drafted,
        };
        let id = match draft {
            Some(id) => {
                self.segments.insert(id, segment);
                id
            }
            None => self.new_segment(segment),
        };
        let mut missed_by = Vec::new();
        for (listener, m) in &mut self.members {
            if *listener == speaker || !m.listens() || source.same_language(&m.config.hears) {
                continue;
            }
            if m.absent_since.is_some() {
                m.missed += 1;
                m.counters.missed += 1;
                missed_by.push((*listener, m.config.hears));
                continue;
            }
            m.playout.push(id, timing);
        }
        for (listener, target) in missed_by {
            self.lost(id, Some(listener), Some(target), "playout", "the listener does not pull");
        }
        for (target, rate) in rates {
            if self.go_on_with_draft(id, target) {
                continue;
            }
            if let Some(segment) = self.segments.get_mut(&id) {
                segment.targets.insert(target, Target::new(now, rate));
            }
            self.net(NetCommand::Translate(TranslateJob {
                session: speaker,
                segment: id,
                source,
                target,
                text: text.clone(),
                context: context.clone(),
                config: config.clone(),
                budget: config.segment_timeout,
            }));
        }
    }

    /// A draft has been committed: what has come of it is used. False if nothing was asked for in this language.
    fn go_on_with_draft(&mut self, id: SegmentId, target: Language) -> bool {
        let now = self.now;
        let Some(t) = self.segments.get_mut(&id).and_then(|s| s.targets.get_mut(&target)) else { return false };
        // Deadlines are for those who wait, and nobody did before.
        t.last_sign = now;
        let (text, progress) = (t.text.clone(), t.progress.clone());
        if progress == Progress::Translating {
            return true;
        }
        self.tell_translation(id, target, &text);
        if progress == Progress::Translated {
            self.speak(id, target, text);
        } else {
            self.top_up_hearing(target);
        }
        true
    }

    fn tell_translation(&mut self, id: SegmentId, target: Language, text: &str) {
        let now = self.now;
        let Some(segment) = self.segments.get(&id).filter(|s| matches!(s.origin, Origin::Speech(_))) else { return };
        let kind = EventKind::Translation {
            segment: id.0,
            source: segment.source.code().to_owned(),
            target: target.code().to_owned(),
            source_text: segment.text.clone(),
            text: text.to_owned(),
            commit: segment.why.clone(),
            mt_ms: ms(now.saturating_sub(segment.committed)),
        };
        self.event(owner(segment.origin), kind);
    }

    /// The host has something to say into one ear.
    pub(super) fn say(&mut self, listener: SessionId, text: String, source: Language) {
        let now = self.now;
        let Some(member) = self.members.get_mut(&listener) else { return };
        if !member.listens() {
            return;
        }
        let (config, target) = (member.config.clone(), member.config.hears);
        let mut open = None;
        let rate = member.tts_lines.get(&target).map(|l| l.rate).unwrap_or_else(|| {
            let rate = config.tts_sample_rate.unwrap_or_else(|| tts_rate(member.playout.hz()));
            open = Some(NetCommand::OpenTts { session: listener, target, config: config.clone(), rate });
            rate
        });
        member.tts_lines.entry(target).or_insert(TtsLine { rate, announces: true }).announces = true;
        if let Some(open) = open {
            self.net(open);
        }
        let id = self.new_segment(Segment {
            origin: Origin::Announcement(listener),
            text: text.clone(),
            source,
            start: Duration::ZERO,
            end: Duration::ZERO,
            start_at: now,
            end_at: now,
            committed: now,
            why: String::new(),
            draft: false,
            targets: [(target, Target::new(now, rate))].into(),
        });
        if let Some(member) = self.members.get_mut(&listener) {
            // Announcements are owed: they are never left out for being late.
            let (start_at, end_at, pause) = (now, now, Duration::ZERO);
            member.playout.push(id, Timing { voice: listener, start_at, end_at, pause, may_skip: false, queued: now });
        }
        if source.same_language(&target) {
            self.speak(id, target, text);
            return;
        }
        self.net(NetCommand::Translate(TranslateJob {
            session: listener,
            segment: id,
            source,
            target,
            text,
            context: Vec::new(),
            budget: config.segment_timeout,
            config,
        }));
    }

    pub(super) fn translated(&mut self, id: SegmentId, target: Language, result: Result<String, StageError>) {
        let now = self.now;
        let Some(segment) = self.segments.get_mut(&id) else { return };
        let Some(progress) = segment.targets.get_mut(&target).filter(|t| t.progress == Progress::Translating) else {
            return;
        };
        progress.last_sign = now;
        let session = owner(segment.origin);
        let text = match result {
            Ok(text) => text.trim().to_owned(),
            Err(error) => {
                if error.class != ErrorClass::BadRequest
                    && let Some(member) = self.members.get_mut(&session)
                {
                    member.mt.served(now, Some(error.message.clone()));
                }
                self.fail(id, target, "mt", &reason(&error));
                return;
            }
        };
        progress.translated = Some(now);
        let draft = segment.draft;
        if !draft {
            self.tell_translation(id, target, &text);
        }
        if let Some(member) = self.members.get_mut(&session) {
            member.mt.served(now, None);
        }
        if draft {
            self.draft_translated(id, target, text);
        } else if text.is_empty() {
            self.fail(id, target, "mt", "the translation is empty");
        } else {
            self.speak(id, target, text);
        }
    }

    /// A speech-to-speech provider reports: an ordinary segment of one language is made of it.
    pub(super) fn direct(&mut self, session: SessionId, target: Language, event: DirectEvent) {
        let newest = |room: &Self| {
            let mine = |s: &Segment| !s.draft && s.origin == Origin::Speech(session) && s.targets.contains_key(&target);
            room.segments.iter().rev().find(|(_, s)| mine(s)).map(|(id, _)| *id)
        };
        match event {
            DirectEvent::Begin(transcript) => {
                let Transcript { text, start, end, words, .. } = transcript;
                self.commit(session, Commit { why: Why::Final, words, text, start, end });
                // The text comes from the same provider: what `commit` asked of the translator is not wanted.
                self.outputs.retain(|o| !matches!(o, super::Output::Net(NetCommand::Translate(j)) if j.session == session && j.target == target));
                let now = self.now;
                if let Some(t) =
                    newest(self).and_then(|id| self.segments.get_mut(&id)).and_then(|s| s.targets.get_mut(&target))
                {
                    t.progress = Progress::Speaking;
                    t.translated = Some(now);
                }
            }
            DirectEvent::Text(text) => {
                if let Some(t) =
                    newest(self).and_then(|id| self.segments.get_mut(&id)).and_then(|s| s.targets.get_mut(&target))
                {
                    t.text = text;
                }
            }
            DirectEvent::Speech(chunk) => {
                if let Some(id) = newest(self) {
                    self.speech(id, target, chunk);
                }
            }
        }
    }

    /// A language of a segment will not be heard (completely): says so and lets the queues go on.
    pub(super) fn fail(&mut self, id: SegmentId, target: Language, stage: &'static str, why: &str) {
        let Some(segment) = self.segments.get_mut(&id) else { return };
        let session = owner(segment.origin);
        if segment.draft {
            return self.drop_from_draft(session, id, target);
        }
        let Some(t) = segment.targets.get_mut(&target).filter(|t| !t.is_over()) else { return };
        t.progress = Progress::Failed;
        let silent = t.audio.is_empty();
        // Those who waited and do not any more were told when they stopped.
        let waited_for = self.members.values().any(|m| *m.playout.language() == target && m.playout.holds(id));
        self.net(NetCommand::Cancel { session, segment: id, target });
        if silent {
            for member in self.members.values_mut().filter(|m| *m.playout.language() == target) {
                member.playout.remove(id);
            }
        }
        if waited_for {
            self.lost(id, None, Some(target), stage, why);
        }
    }

    /// Reports a loss for a segment's speaker (or, for an announcement, its listener).
    pub(super) fn lost(
        &mut self,
        id: SegmentId,
        listener: Option<SessionId>,
        target: Option<Language>,
        stage: &'static str,
        why: &str,
    ) {
        let Some(segment) = self.segments.get(&id) else { return };
        let session = owner(segment.origin);
        let kind = segment.lost(id, listener, target, stage, why);
        if let Some(member) = self.members.get_mut(&session) {
            member.counters.lost += 1;
        }
        self.event(session, kind);
    }

    /// Segments that take too long must not hold those behind them for ever.
    pub(super) fn check_deadlines(&mut self) {
        let now = self.now;
        let (mut late, mut stalled, mut resumed) = (Vec::new(), Vec::new(), Vec::new());
        for (id, segment) in self.segments.iter().filter(|(_, s)| !s.draft) {
            let timeout = self.members.get(&owner(segment.origin)).map(|m| m.config.segment_timeout);
            for (target, t) in segment.targets.iter().filter(|(_, t)| !t.is_over()) {
                let waited = now.saturating_sub(segment.committed);
                let stage = if t.translated.is_none() { Stage::Mt } else { Stage::Tts };
                match t.first_audio {
                    _ if t.resume_at.is_some_and(|at| now >= at) => resumed.push((*id, *target)),
                    None if timeout.is_none_or(|limit| waited >= limit) => late.push((*id, *target, stage)),
                    // Nothing comes any more, or in drops: those behind it must not wait for ever.
                    Some(_) if now.saturating_sub(t.last_sign) >= STALL || t.behind(now) >= STALL => {
                        stalled.push((*id, *target));
                    }
                    _ => {}
                }
            }
        }
        for (id, target, stage) in late {
            self.fail(id, target, stage.name(), "no sound came in time (segment.timeout_ms)");
        }
        for (id, target) in resumed {
            self.ask_to_speak(id, target);
        }
        for (id, target) in stalled {
            self.stalled(id, target);
        }
    }

    /// No more sound comes for a speaker's words; what has come is still heard.
    pub(super) fn drop_unspoken(&mut self, speaker: SessionId, why: &str) {
        self.drop_draft(speaker);
        let unspoken: Vec<(SegmentId, Language, Stage)> =
            self.segments
                .iter()
                .filter(|(_, s)| s.origin == Origin::Speech(speaker))
                .flat_map(|(id, s)| {
                    s.targets.iter().filter(|(_, t)| !t.is_over()).map(|(l, t)| {
                        (*id, *l, if t.progress == Progress::Translating { Stage::Mt } else { Stage::Tts })
                    })
                })
                .collect();
        for (id, target, stage) in unspoken {
            self.fail(id, target, stage.name(), why);
        }
    }

    /// Lets go of segments that nobody waits for.
    pub(super) fn forget_segments(&mut self) {
        let members = &self.members;
        let mut cancelled = Vec::new();
        self.segments.retain(|id, segment| {
            let wanted = segment.draft || members.values().any(|m| m.playout.holds(*id));
            if !wanted {
                let unfinished = segment.targets.iter().filter(|(_, t)| !t.is_over());
                cancelled.extend(unfinished.map(|(l, _)| (owner(segment.origin), *id, *l)));
            }
            wanted
        });
        let idle_lines = !cancelled.is_empty();
        for (session, segment, target) in cancelled {
            self.net(NetCommand::Cancel { session, segment, target });
        }
        if idle_lines {
            self.sync_links();
        }
    }

    /// What is on its way and would be lost with this engine: (session, event) for each.
    pub fn in_flight(&self) -> Vec<(SessionId, EventKind)> {
        let why = "the room's engine was rebuilt after a fault";
        let spoken = self.segments.iter().filter(|(_, s)| !s.draft).flat_map(|(id, s)| {
            let unfinished = s.targets.iter().filter(|(_, t)| t.progress != Progress::Failed);
            unfinished.map(|(target, _)| (owner(s.origin), s.lost(*id, None, Some(*target), "engine", why)))
        });
        let listened = self.members.iter().filter(|(_, m)| m.stt.is_some());
        let unheard = listened.filter_map(|(session, m)| {
            let (start, end) = m.unrecognised()?;
            Some((*session, speech_lost(start, end, "engine", why)))
        });
        spoken.chain(unheard).collect()
    }

    /// Keeps what waits in each ear below `playout.max_s`: the oldest segment of which nothing was heard is left out.
    pub(super) fn bound_backlogs(&mut self, id: SegmentId, target: Language) {
        let over: Vec<SessionId> = self
            .members
            .iter()
            .filter(|(_, m)| *m.playout.language() == target && m.playout.holds(id))
            .map(|(session, _)| *session)
            .filter(|session| self.members.get(session).is_some_and(|m| self.backlog(*session) > m.config.playout.max))
            .collect();
        for listener in over {
            let Some(member) = self.members.get(&listener) else { continue };
            let has_audio = |id| self.source(id, target).is_some_and(|s| !s.audio.is_empty());
            match member.playout.oldest_waiting(has_audio) {
                Some(oldest) => {
                    if let Some(member) = self.members.get_mut(&listener) {
                        member.playout.remove(oldest);
                    }
                    self.lost(oldest, Some(listener), Some(target), "playout", "more speech than playout.max_s waits");
                }
                // The one that sounds is longer than the limit: its end is cut.
                None => self.fail(id, target, "playout", "the segment is longer than playout.max_s; the rest is lost"),
            }
        }
    }

    /// Where stretching is not enough and `playout.overflow` says so, the oldest whole segments are left out.
    pub(super) fn skip_overdue(&mut self) {
        let now = self.now;
        let skips = |m: &Member| m.listens() && !m.playout.is_idle() && m.config.playout.overflow == Overflow::Skip;
        let listeners: Vec<SessionId> = self.members.iter().filter(|(_, m)| skips(m)).map(|(id, _)| *id).collect();
        for listener in listeners {
            while let Some(member) = self.members.get(&listener) {
                let (target, after) = (*member.playout.language(), member.config.playout.overflow_after);
                let Some(oldest) = member.playout.overdue(now, after, |id| self.source(id, target)) else { break };
                let removed = self.members.get_mut(&listener).is_some_and(|m| m.playout.remove(oldest));
                if !removed {
                    break;
                }
                let why = "speech is further behind than playout.overflow_ms (playout.overflow = skip)";
                self.lost(oldest, Some(listener), Some(target), "playout", why);
            }
        }
    }

    /// Speech that waits for a listener.
    pub(super) fn backlog(&self, listener: SessionId) -> Duration {
        let Some(member) = self.members.get(&listener) else { return Duration::ZERO };
        member.playout.backlog(|id| self.source(id, *member.playout.language()))
    }

    /// A segment's audio as playout needs it.
    pub(super) fn source(&self, id: SegmentId, target: Language) -> Option<Source<'_>> {
        let t = self.segments.get(&id)?.targets.get(&target)?;
        Some(Source { audio: t.playable(), rate: t.rate, over: t.is_over(), since: t.first_audio })
    }
}

/// The session that a segment's events are reported for.
pub(super) fn owner(origin: Origin) -> SessionId {
    match origin {
        Origin::Speech(session) | Origin::Announcement(session) => session,
    }
}
