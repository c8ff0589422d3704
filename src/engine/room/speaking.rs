//! Time lines, what goes to the recognisers, and what is committed.

use std::time::Duration;

use super::super::ledger::Commit;
use super::super::level::is_quiet;
use super::super::member::Member;
use super::super::resample::Resampler;
use super::super::segment::speech_lost;
use super::super::time::{ms, samples, span};
use super::super::{NetCommand, Output, SessionId};
use super::Room;
use crate::event::{Event, EventKind};
use crate::provider::{SttEvent, Transcript};

/// A speaker that has pushed nothing for this long is silent: silence goes onto its time line.
const SILENT_AFTER: Duration = Duration::from_millis(60);
/// One that stopped in the middle of something is more likely late than silent: silence there would cut a word.
const LATE_AFTER: Duration = Duration::from_millis(400);
/// The most silence put in at one tick, so that a suspended machine does not flood the recogniser.
const SILENCE_STEP: Duration = Duration::from_millis(200);
/// Of a longer gap only this much is sent as silence; the recogniser's clock is then moved on.
const GAP_SENT: Duration = Duration::from_secs(2);

impl Room {
    pub(super) fn said(&mut self, session: SessionId, block: &[i16]) {
        let now = self.now;
        let Some(member) = self.members.get_mut(&session) else { return };
        let hz = member.clock.hz();
        let length = span(block.len() as u64, hz);
        member.last_said = now;
        // After silence was put in for audio that came late after all, pauses are shortened by as much.
        let ahead = member.map.observe(member.clock.now() + length, now);
        let quiet = is_quiet(block);
        if ahead >= length && quiet {
            member.counters.trimmed_ms += ms(length);
            return;
        }
        let muted = member.muted;
        if !muted {
            member.talking.said(now, block, hz);
        }
        let zeros;
        let block = if muted {
            zeros = vec![0; block.len()];
            &zeros[..]
        } else {
            block
        };
        self.outputs.extend(member.advance(session, block));
        member.loud = !quiet && !muted;
        if member.loud {
            let end = member.clock.now();
            member.activity.loud(end.saturating_sub(length), end);
        }
        if muted {
            return;
        }
        let mut cut = 0;
        let hears = |m: &Member| m.listens() && m.absent_since.is_none();
        for (_, other) in self.members.iter_mut().filter(|(id, m)| **id != session && hears(m)) {
            cut += other.original.said(now, session, hz, block);
        }
        if cut > 0
            && let Some(member) = self.members.get_mut(&session)
        {
            member.counters.original_cut_ms += ms(span(cut, hz));
        }
    }

    pub(super) fn gap(&mut self, session: SessionId, count: u64, dropped: bool) {
        let now = self.now;
        let Some(member) = self.members.get_mut(&session) else { return };
        let hz = member.clock.hz();
        let at_ms = ms(member.clock.now());
        let length = span(count, hz);
        member.last_said = now;
        let silent = vec![0; count.min(samples(GAP_SENT, hz)) as usize];
        self.outputs.extend(member.advance(session, &silent));
        let rest = count - silent.len() as u64;
        member.clock.advance(rest);
        if let Some(stt) = &mut member.stt {
            stt.base += span(rest, hz);
        }
        member.map.observe(member.clock.now(), now);
        if dropped {
            member.counters.dropped_ms += ms(length);
            self.event(session, EventKind::AudioDropped { stage: "input", dropped_ms: ms(length), at_ms });
        }
    }

    pub(super) fn in_rate(&mut self, session: SessionId, hz: u32) {
        if let Some(member) = self.members.get_mut(&session) {
            member.clock.set_rate(hz);
        }
    }

    /// Puts silence on the time lines of those who do not push.
    pub(super) fn fill_time_lines(&mut self) {
        let now = self.now;
        for (id, member) in self.members.iter_mut().filter(|(_, m)| m.listens()) {
            let patience = if member.loud { LATE_AFTER } else { SILENT_AFTER };
            if now.saturating_sub(member.last_said) > patience
                && let Some(due) = member.map.to_session(now.saturating_sub(SILENT_AFTER))
            {
                let missing = due.saturating_sub(member.clock.now()).min(SILENCE_STEP);
                let silent = vec![0; samples(missing, member.clock.hz()) as usize];
                if !silent.is_empty() {
                    member.loud = false;
                    member.counters.silence_ms += ms(missing);
                    self.outputs.extend(member.advance(*id, &silent));
                }
            }
            let cut = member.counters.original_cut_ms - member.reported_cut_ms;
            if cut >= 100.0 {
                member.reported_cut_ms = member.counters.original_cut_ms;
                let at_ms = ms(member.clock.now());
                let kind = EventKind::AudioDropped { stage: "original", dropped_ms: cut, at_ms };
                self.outputs.push_back(Output::Event(Event { session: *id, kind }));
            }
        }
    }

    pub(super) fn recognised(&mut self, session: SessionId, event: SttEvent) {
        let Some(member) = self.members.get_mut(&session) else { return };
        // Of a stream that was closed at once: a replay that it tells of would never end.
        if member.stt.is_none() && event != SttEvent::Closed {
            return;
        }
        let commits = member.ledger.hear(member.clock.now(), &event);
        match &event {
            SttEvent::Final { transcript, .. } => member.answered_to = member.answered_to.max(transcript.end),
            SttEvent::Recovered(transcript) => member.activity.settled(Duration::ZERO, transcript.end),
            SttEvent::Replayed { start, end } => member.activity.settled(*start, *end),
            _ => {}
        }
        // What waits for a replay is still owed.
        let settled = member.ledger.waits_from().map_or(member.answered_to, |from| from.min(member.answered_to));
        member.activity.answered(settled);
        match event {
            SttEvent::SpeechStarted { at } => self.event(session, EventKind::SpeechStarted { at_ms: ms(at) }),
            SttEvent::Interim(t) | SttEvent::EagerEnd(t) | SttEvent::Resumed(t) => self.transcript(session, t, false),
            SttEvent::Final { transcript: t, .. } | SttEvent::Recovered(t) => self.transcript(session, t, true),
            SttEvent::UtteranceEnd { .. } | SttEvent::Replaying { .. } | SttEvent::Replayed { .. } => {}
            SttEvent::Closed => {
                if let Some(leaving) = &mut member.leaving {
                    leaving.recognised = true;
                }
            }
            SttEvent::Lost { start, end } => {
                // What was committed from results that were not final reaches the others all the same.
                if let Some((start, end)) = member.ledger.ahead() {
                    member.activity.settled(start, end);
                }
                let spoken = member.activity.within(start, end);
                member.activity.settled(start, end);
                if let Some((start, end)) = spoken {
                    self.unrecognised(session, start, end, "this audio did not reach the recogniser");
                }
            }
        }
        for commit in commits {
            self.commit_heard(session, commit);
        }
        self.work_ahead(session);
    }

    /// Words of a session are certain: they are translated, but for what its microphone repeats of its ear.
    fn commit_heard(&mut self, session: SessionId, commit: Commit) {
        let sounding = self.sounding(session);
        let Some(member) = self.members.get_mut(&session).filter(|m| m.config.loop_guard) else {
            return self.commit(session, commit);
        };
        let (start, end) = (ms(commit.start), ms(commit.end));
        let (map, talking) = (&member.map, &member.talking);
        let (left, words) =
            member.guard.filter(commit, &sounding, |at| map.to_gateway(at), |from, to| talking.talked(from, to));
        if words > 0 {
            self.event(session, EventKind::EchoDropped { words, start_ms: start, end_ms: end });
        }
        match left {
            Some(commit) => self.commit(session, commit),
            None => self.drop_draft(session),
        }
    }

    /// Commits words that have waited for too long.
    pub(super) fn commit_overdue(&mut self) {
        let overdue = |(id, m): (&SessionId, &mut Member)| {
            let now = m.clock.now();
            m.stt.is_some().then(|| (*id, m.ledger.tick(now)))
        };
        let overdue: Vec<_> = self.members.iter_mut().filter_map(overdue).filter(|(_, c)| !c.is_empty()).collect();
        for (session, commits) in overdue {
            for commit in commits {
                self.commit_heard(session, commit);
            }
            self.work_ahead(session);
        }
    }

    /// Tells of a text. Vendors' spans begin with the silence before it, the words do not.
    fn transcript(&mut self, session: SessionId, t: Transcript, r#final: bool) {
        if t.text.trim().is_empty() {
            return;
        }
        let start_ms = ms(t.words.first().map_or(t.start, |word| word.start));
        let end_ms = ms(t.words.last().map_or(t.end, |word| word.end));
        self.event(session, EventKind::Transcript { r#final, text: t.text, start_ms, end_ms, language: t.language });
    }

    /// Reports speech that no recogniser will tell about any more.
    pub(super) fn unrecognised(&mut self, session: SessionId, start: Duration, end: Duration, reason: &str) {
        if let Some(member) = self.members.get_mut(&session) {
            member.counters.lost += 1;
        }
        self.event(session, speech_lost(start, end, "stt", reason));
    }

    /// Reports what a session said that its recogniser has not answered for, as far as it was not a pause.
    pub(super) fn give_up_recognition(&mut self, session: SessionId, reason: &str) {
        let Some(member) = self.members.get(&session) else { return };
        if let Some((start, end)) = member.unrecognised().filter(|_| member.stt.is_some()) {
            self.unrecognised(session, start, end, reason);
        }
    }
}

impl Member {
    /// Moves the time line on by `block` and sends it to the recogniser, if there is one.
    fn advance(&mut self, session: SessionId, block: &[i16]) -> Option<Output> {
        let hz = self.clock.hz();
        self.clock.advance(block.len() as u64);
        let stt = self.stt.as_mut()?;
        let mut audio = Vec::with_capacity(block.len());
        if stt.resampler_from != hz {
            stt.resampler.finish(&mut audio);
            stt.resampler = Resampler::new(hz, stt.rate, 10);
            stt.resampler_from = hz;
        }
        stt.resampler.process(block, &mut audio);
        if audio.is_empty() {
            return None;
        }
        let at = stt.base + stt.sent.now();
        stt.sent.advance(audio.len() as u64);
        Some(Output::Net(NetCommand::Audio { session, at, samples: audio }))
    }
}
