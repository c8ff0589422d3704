//! Who is in the room, which provider connections that needs, and whose own voice is heard.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::super::member::{Leaving, Link, Member, SttStream, TtsLine};
use super::super::segment::Origin;
use super::super::{LeaveMode, NetCommand, Output, SessionId};
use super::Room;
use crate::config::{Language, SessionConfig};
use crate::event::EventKind;
use crate::provider::{ErrorClass, LinkState, Stage, StageError};

/// A leaver's last words have this long to reach the others.
const DRAIN: Duration = Duration::from_secs(20);

impl Room {
    pub(super) fn join(&mut self, session: SessionId, config: Arc<SessionConfig>) {
        let (language, hears) = (config.language.code().to_owned(), config.hears.code().to_owned());
        let (role, labels) = (config.role.clone(), config.labels.clone());
        self.members.insert(session, Member::new(config, self.now));
        let members = self.listeners();
        self.event(session, EventKind::Joined { members, language, hears, role, labels });
        self.sync_links();
        self.refresh_originals();
    }

    /// Puts a session back after the room's engine was rebuilt: no event, and original voices until its recogniser is there.
    pub fn rejoin(&mut self, now: Duration, session: SessionId, config: Arc<SessionConfig>, in_hz: u32, out_hz: u32) {
        self.now = now.max(self.now);
        let mut config = (*config).clone();
        (config.rate_in, config.rate_out) = (in_hz, out_hz);
        let mut member = Member::new(Arc::new(config), now);
        // It was said before the fault.
        member.announced = true;
        self.members.insert(session, member);
        self.sync_links();
        for member in self.members.values_mut() {
            if let Some(stt) = &mut member.stt {
                stt.link = Link::recovering(now);
            }
        }
        self.refresh_originals();
    }

    pub(super) fn leave(&mut self, session: SessionId, mode: LeaveMode) {
        let deadline = self.now + DRAIN;
        match self.members.get_mut(&session) {
            Some(member) if member.leaving.is_none() => {
                member.leaving = Some(Leaving { deadline, recognised: member.stt.is_none() });
            }
            _ => return,
        }
        self.drop_queue(session, "the listener left");
        let members = self.listeners();
        self.event(session, EventKind::Left { members });
        if self.members.get(&session).is_some_and(|m| m.stt.is_some()) {
            self.net(NetCommand::CloseStt { session, drain: mode == LeaveMode::Drain });
        }
        if mode == LeaveMode::Now {
            self.give_up_recognition(session, "the speaker left at once");
            if let Some(leaving) = self.members.get_mut(&session).and_then(|m| m.leaving.as_mut()) {
                leaving.recognised = true;
            }
            self.drop_unspoken(session, "the speaker left at once");
        }
        self.sync_links();
        self.refresh_originals();
    }

    /// Lets those go whose last words have been heard.
    pub(super) fn finish_leavers(&mut self) {
        let now = self.now;
        let leavers: Vec<(SessionId, Leaving)> =
            self.members.iter().filter_map(|(id, m)| m.leaving.map(|l| (*id, l))).collect();
        for (session, leaving) in leavers {
            if now >= leaving.deadline {
                // Nothing more is waited for; what has sound already is still heard, so that `closed` is the last event.
                if !leaving.recognised {
                    self.give_up_recognition(session, "the speaker left and its last words came too late");
                }
                self.drop_unspoken(session, "the speaker left and its last words came too late");
                if let Some(leaving) = self.members.get_mut(&session).and_then(|m| m.leaving.as_mut()) {
                    leaving.recognised = true;
                }
            } else if !leaving.recognised {
                continue;
            }
            if self.is_heard_by_others(session) {
                continue;
            }
            self.drop_draft(session);
            let Some(member) = self.members.remove(&session) else { continue };
            if member.stt.is_some() {
                self.net(NetCommand::CloseStt { session, drain: false });
            }
            for target in member.tts_lines.keys() {
                self.net(NetCommand::CloseTts { session, target: *target });
            }
            for other in self.members.values_mut() {
                other.original.remove(session);
                other.open_to.remove(&session);
            }
            let (segments, lost) = (member.counters.heard, member.counters.lost);
            self.event(session, EventKind::Closed { segments, lost });
            self.outputs.push_back(Output::Gone { session });
        }
    }

    /// Everybody has to go now: what is on its way is reported lost, and all are gone.
    pub fn end(&mut self, now: Duration) {
        self.now = now.max(self.now);
        for member in self.members.values_mut() {
            if let Some(leaving) = &mut member.leaving {
                leaving.deadline = now;
            }
        }
        for session in self.members.keys().copied().collect::<Vec<_>>() {
            self.drop_queue(session, "the gateway ended");
        }
        self.finish_leavers();
    }

    /// Something that the session said waits or sounds in somebody's ear.
    fn is_heard_by_others(&self, speaker: SessionId) -> bool {
        self.members.values().any(|m| {
            m.playout.segments().any(|id| self.segments.get(&id).is_some_and(|s| s.origin == Origin::Speech(speaker)))
        })
    }

    pub(super) fn listeners(&self) -> usize {
        self.members.values().filter(|m| m.listens()).count()
    }

    /// Target languages of a speaker with the highest output rate of those who hear them.
    pub(super) fn targets(&self, speaker: SessionId) -> BTreeMap<Language, u32> {
        let mut targets = BTreeMap::new();
        let Some(source) = self.members.get(&speaker).map(|m| m.config.language) else { return targets };
        for (id, m) in &self.members {
            if *id != speaker && m.listens() && !source.same_language(&m.config.hears) {
                let rate = targets.entry(m.config.hears).or_insert(0);
                *rate = m.playout.hz().max(*rate);
            }
        }
        targets
    }

    /// Opens and closes provider connections so that they fit who is in the room.
    pub(super) fn sync_links(&mut self) {
        let company = self.listeners() > 1;
        let mut unheard = Vec::new();
        let now = self.now;
        let ids: Vec<SessionId> = self.members.keys().copied().collect();
        for session in ids {
            let targets = self.targets(session);
            let busy: Vec<Language> = self
                .segments
                .values()
                .filter(|s| s.origin == Origin::Speech(session))
                .flat_map(|s| s.targets.iter().filter(|(_, t)| !t.is_over()).map(|(l, _)| *l))
                .collect();
            let Some(member) = self.members.get_mut(&session) else { continue };
            let config = member.config.clone();
            let mut commands = Vec::new();
            let stays = member.listens();
            if stays && !targets.is_empty() && member.stt.is_none() {
                let rate = member.stt_rate();
                let base = member.clock.now();
                // What was said before nobody was there to understand is owed to nobody.
                member.activity.answered(base);
                member.answered_to = base;
                member.ledger.forget_replays();
                member.stt = Some(SttStream::new(now, rate, member.clock.hz(), base));
                commands.push(NetCommand::OpenStt { session, config: config.clone(), rate });
            } else if stays && targets.is_empty() && member.stt.is_some() {
                // In company somebody would have heard it, had its language not changed.
                unheard.extend(member.unrecognised().filter(|_| company).map(|(start, end)| (session, start, end)));
                member.stt = None;
                member.ledger.forget_replays();
                commands.push(NetCommand::CloseStt { session, drain: false });
            }
            for (&target, &rate) in targets.iter().filter(|_| stays) {
                if let std::collections::btree_map::Entry::Vacant(line) = member.tts_lines.entry(target) {
                    let rate = config.tts_sample_rate.unwrap_or_else(|| tts_rate(rate));
                    line.insert(TtsLine { rate, announces: false });
                    commands.push(NetCommand::OpenTts { session, target, config: config.clone(), rate });
                }
            }
            let unused: Vec<Language> = member
                .tts_lines
                .iter()
                .filter(|(l, line)| stays && !line.announces && !targets.contains_key(l) && !busy.contains(l))
                .map(|(l, _)| *l)
                .collect();
            for target in unused {
                member.tts_lines.remove(&target);
                commands.push(NetCommand::CloseTts { session, target });
            }
            for command in commands {
                self.net(command);
            }
        }
        for (session, start, end) in unheard {
            self.unrecognised(session, start, end, "nobody hears this language translated any more");
        }
    }

    pub(super) fn link(&mut self, session: SessionId, stage: Stage, provider: &'static str, state: LinkState) {
        let now = self.now;
        let Some(member) = self.members.get_mut(&session) else { return };
        match stage {
            Stage::Stt => {
                if let Some(stt) = &mut member.stt {
                    stt.link.update(now, &state);
                }
            }
            Stage::Mt => member.mt.update(now, &state),
            Stage::Tts => member.tts.update(now, &state),
        }
        // A provider that stays away is told of once, not at every attempt.
        let news = match &state {
            LinkState::Connecting => None,
            LinkState::Ready => Some(format!("{provider} ready")),
            LinkState::Waiting => Some(format!("{provider} waiting")),
            LinkState::Odd(error) => Some(format!("{provider} odd {}", error.code)),
            LinkState::Down { error, .. } => Some(format!("{provider} down {}", error.code)),
        };
        if news.is_none_or(|news| member.told.insert(stage, news.clone()) == Some(news)) {
            self.refresh_originals();
            return;
        }
        self.event(session, provider_event(stage, provider, state));
        self.refresh_originals();
    }
}

/// The synthesis rate for listeners of at most `hz`: more than 24 kHz no telephone voice needs.
pub(super) fn tts_rate(hz: u32) -> u32 {
    match hz {
        ..=8000 => 8000,
        8001..=16_000 => 16_000,
        _ => 24_000,
    }
}

fn provider_event(stage: Stage, provider: &str, state: LinkState) -> EventKind {
    let blank =
        StageError { class: ErrorClass::RetryNow, code: String::new(), message: String::new(), request_id: None };
    let (name, error, retry_in) = match state {
        LinkState::Connecting => ("connecting", blank, None),
        LinkState::Ready => ("ready", blank, None),
        LinkState::Waiting => ("waiting", blank, None),
        // Its state is what it was; the code says what was odd.
        LinkState::Odd(error) => ("ready", error, None),
        LinkState::Down { error, retry_in } => ("down", error, retry_in),
    };
    let some = |text: String| (!text.is_empty()).then_some(text);
    EventKind::Provider {
        stage: stage.name(),
        provider: provider.to_owned(),
        state: name,
        code: some(error.code),
        message: some(error.message),
        request_id: error.request_id,
        retry_in_ms: retry_in.map(super::super::time::ms),
    }
}
