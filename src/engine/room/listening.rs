//! Playout: what is written to each ear, who is absent, what was heard.

use std::time::Duration;

use super::super::loop_guard::Played;
use super::super::measures::Piece;
use super::super::member::{EarMarks, Member};
use super::super::playout::Heard;
use super::super::segment::{Origin, Progress};
use super::super::time::{ms, span};
use super::super::{Output, PullTotals, Ring, SegmentId, SessionId};
use super::Room;
use crate::config::Language;
use crate::event::EventKind;

/// Marks that may wait in one ear; the oldest goes first.
const MOST_MARKS: usize = 64;

impl Room {
    pub(super) fn pulled(&mut self, session: SessionId, totals: PullTotals) {
        let now = self.now;
        let Some(member) = self.members.get_mut(&session).filter(|m| m.listens()) else { return };
        if totals.asked != member.asked {
            member.asked = totals.asked;
            member.last_pull = now;
        }
        member.original.pulled(totals.asked, totals.original);
        let heard = member.playout.pulled(now, totals.asked, totals.speech);
        let back = if member.last_pull == now { member.absent_since.take() } else { None };
        let missed = member.missed;
        if let Some(since) = back {
            let absent_ms = ms(now.saturating_sub(since));
            self.event(session, EventKind::ListenerBack { absent_ms, missed });
        }
        for heard in heard {
            self.heard(session, heard);
        }
        self.announce(session);
    }

    /// Says the announcement of one who has begun to listen. Not before: who does not pull hears nothing of it.
    fn announce(&mut self, session: SessionId) {
        let Some(member) = self.members.get_mut(&session).filter(|m| !m.announced && m.asked > 0) else { return };
        member.announced = true;
        if let Some((text, language)) = member.config.announcement.clone() {
            self.say(session, text, language);
        }
    }

    pub(super) fn check_absence(&mut self) {
        let now = self.now;
        let gone: Vec<SessionId> = self
            .members
            .iter()
            .filter(|(_, m)| {
                m.listens() && m.absent_since.is_none() && now.saturating_sub(m.last_pull) >= m.config.absent_after
            })
            .map(|(id, _)| *id)
            .collect();
        for session in gone {
            let Some(member) = self.members.get_mut(&session) else { continue };
            let idle = now.saturating_sub(member.last_pull);
            member.absent_since = Some(member.last_pull);
            member.missed = member.playout.segments().count() as u64;
            member.counters.missed += member.missed;
            self.event(session, EventKind::ListenerAbsent { idle_ms: ms(idle) });
            self.drop_queue(session, "the listener does not pull");
            // It comes back to the live edge of the original voices, too.
            if let Some(member) = self.members.get_mut(&session) {
                member.original.clear();
            }
            self.outputs.push_back(Output::Flush { session, ring: Ring::Original });
        }
    }

    /// Drops what waits for an ear, and says so.
    pub(super) fn drop_queue(&mut self, session: SessionId, why: &str) {
        let now = self.now;
        let Some(member) = self.members.get_mut(&session) else { return };
        let target = *member.playout.language();
        let cut = member.playout.clear(now);
        member.sounds_until = now;
        self.outputs.push_back(Output::Flush { session, ring: Ring::Speech });
        for heard in cut {
            self.lost(heard.segment, Some(session), Some(target), "playout", why);
            if heard.started.is_some() {
                self.heard(session, heard);
            }
        }
    }

    /// The host wants to know when what is queued now has been heard.
    pub(super) fn mark(&mut self, session: SessionId) {
        let Some(member) = self.members.get_mut(&session).filter(|m| m.listens()) else { return };
        let before = member.playout.segments().collect();
        member.marks.count += 1;
        let number = member.marks.count;
        if member.marks.waiting.len() == MOST_MARKS {
            member.marks.waiting.pop_front();
        }
        member.marks.waiting.push_back((number, before));
        self.tell_marks();
    }

    /// Tells of the marks before which nothing waits any more, and of queues that have run empty.
    pub(super) fn tell_marks(&mut self) {
        let mut events = Vec::new();
        for (&session, member) in &mut self.members {
            let EarMarks { waiting, busy, .. } = &mut member.marks;
            while let Some((mark, unheard)) =
                waiting.front().filter(|(_, s)| !s.iter().any(|id| member.playout.holds(*id)))
            {
                events.push((session, EventKind::MarkReached { mark: *mark, heard: unheard.is_empty() }));
                waiting.pop_front();
            }
            let was = std::mem::replace(busy, member.playout.segments().next().is_some());
            if was && !*busy {
                events.push((session, EventKind::Drained {}));
            }
        }
        for (session, kind) in events {
            self.event(session, kind);
        }
    }

    /// A segment has ended in an ear: tells its speaker what was heard, and when.
    fn heard(&mut self, listener: SessionId, heard: Heard) {
        let Some(member) = self.members.get(&listener) else { return };
        let target = *member.playout.language();
        let listener_id = member.config.id.clone().unwrap_or_default();
        let Some(segment) = self.segments.get(&heard.segment) else { return };
        let Some(t) = segment.targets.get(&target) else { return };
        let played = heard.started.and_then(|started| self.played(heard.segment, target, started));
        let complete = heard.complete && t.progress != Progress::Failed;
        let heard_ms = ms(heard.length);
        if let Some(member) = self.members.get_mut(&listener).filter(|_| complete) {
            member.marks.waiting.iter_mut().for_each(|(_, unheard)| unheard.retain(|id| *id != heard.segment));
        }
        if let (Some(played), Some(member)) = (played, self.members.get_mut(&listener)) {
            member.guard.heard(heard.ended, Played { length: heard.length, ..played });
        }
        let Some(segment) = self.segments.get(&heard.segment) else { return };
        let Some(t) = segment.targets.get(&target) else { return };
        let speaker = match segment.origin {
            Origin::Speech(speaker) => speaker,
            Origin::Announcement(_) => {
                let text = t.text.clone();
                self.event(listener, EventKind::SaidDone { segment: heard.segment.0, text, heard_ms, complete });
                return;
            }
        };
        let mut marks = segment.marks(t);
        marks.playout_start_ms = heard.started.map(ms);
        marks.playout_end_ms = Some(ms(heard.ended));
        let lag_ms = ms(heard.ended.saturating_sub(segment.end_at));
        let piece = Piece::of(&marks, &segment.text, &t.text).filter(|_| complete);
        let playout = Box::new(heard.treatment.told());
        let stretch = playout.stretch;
        let kind = EventKind::SegmentDone {
            segment: heard.segment.0,
            listener: listener.0,
            listener_id,
            target: target.code().to_owned(),
            source_text: segment.text.clone(),
            text: t.text.clone(),
            commit: segment.why.clone(),
            start_ms: ms(segment.start),
            end_ms: ms(segment.end),
            lag_ms,
            heard_ms,
            complete,
            stages_ms: segment.stages(t),
            measures: piece.map(|piece| Box::new(piece.measures())),
            playout,
            marks,
        };
        if let Some(speaker) = self.members.get_mut(&speaker)
            && complete
        {
            speaker.counters.heard += 1;
            piece.into_iter().for_each(|piece| speaker.measures.heard(listener, piece, stretch));
            speaker.counters.lag_sum_ms += lag_ms;
            speaker.counters.lag_max_ms = speaker.counters.lag_max_ms.max(lag_ms);
        }
        self.event(speaker, kind);
    }

    /// What an ear hears just now, or has begun to.
    pub(super) fn sounding(&self, listener: SessionId) -> Vec<Played> {
        let Some(member) = self.members.get(&listener) else { return Vec::new() };
        member
            .playout
            .begun()
            .filter_map(|(id, started)| self.played(id, *member.playout.language(), started))
            .collect()
    }

    /// A segment sounded in this ear, perhaps not to its end: what its microphone repeats of it is an echo.
    pub(super) fn remember_played(
        &mut self,
        listener: SessionId,
        id: SegmentId,
        target: Language,
        started: Duration,
        length: Duration,
    ) {
        let played = self.played(id, target, started);
        if let (Some(played), Some(member)) = (played, self.members.get_mut(&listener)) {
            member.guard.heard(self.now, Played { length: length.max(played.length.min(length * 2)), ..played });
        }
    }

    fn played(&self, id: SegmentId, target: Language, started: Duration) -> Option<Played> {
        let t = self.segments.get(&id)?.targets.get(&target)?;
        // As much as has come; where more follows it is heard later, and asked for again.
        let length = span(t.audio.len() as u64, t.rate);
        Some(Played { text: t.text.clone(), started, length })
    }

    pub(super) fn top_up_all(&mut self) {
        // A member is taken out and put back for its speech; most have none most of the time.
        let busy = |m: &Member| m.listens() && !m.playout.is_idle();
        let sessions: Vec<SessionId> = self.members.iter().filter(|(_, m)| busy(m)).map(|(id, _)| *id).collect();
        for session in sessions {
            self.top_up_speech(session);
        }
        for (&session, member) in self.members.iter_mut().filter(|(_, m)| m.listens()) {
            let samples = member.original.top_up(member.playout.lead());
            if !samples.is_empty() {
                // A far voice comes back into the microphone as the translation does.
                member.talking.played(self.now, &samples);
                self.outputs.push_back(Output::Play { session, ring: Ring::Original, samples });
            }
        }
    }

    /// New audio in this language has come: it is forwarded at once, not at the next tick.
    pub(super) fn top_up_hearing(&mut self, target: Language) {
        let sessions: Vec<SessionId> = self
            .members
            .iter()
            .filter(|(_, m)| m.listens() && *m.playout.language() == target)
            .map(|(id, _)| *id)
            .collect();
        for session in sessions {
            self.top_up_speech(session);
        }
    }

    fn top_up_speech(&mut self, session: SessionId) {
        let Some(mut member) = self.members.remove(&session) else { return };
        let target = *member.playout.language();
        member.playout.configure(member.config.playout.stretch_max, member.config.normalise);
        let samples = member.playout.top_up(self.now, |id| self.source(id, target));
        if !samples.is_empty() {
            member.sounds_until = member.sounds_until.max(self.now) + span(samples.len() as u64, member.playout.hz());
            member.talking.played(self.now, &samples);
        }
        self.members.insert(session, member);
        if !samples.is_empty() {
            self.outputs.push_back(Output::Play { session, ring: Ring::Speech, samples });
        }
    }

    pub(super) fn out_rate(&mut self, session: SessionId, hz: u32) {
        let Some(member) = self.members.get_mut(&session) else { return };
        member.playout.set_rate(hz);
        member.original.set_rate(hz);
        member.asked = 0;
        self.outputs.push_back(Output::OutRateDone { session, hz });
        self.top_up_speech(session);
    }
}
