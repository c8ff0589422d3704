//! The interpreter's mix: whose own voice each ear hears and how loud, what a listener's own talking does to the
//! translation, and the cues.

use std::time::Duration;

use super::super::cue::Cue;
use super::super::level::Gain;
use super::super::member::Member;
use super::super::segment::Origin;
use super::super::{SessionId, segment::Progress};
use super::Room;
use crate::config::{AloneCue, Language, Original, Overlap, PendingCue};
use crate::event::EventKind;

/// A pause in a translation that is shorter than this lets the voice under it not come up.
const GAP: Duration = Duration::from_millis(400);
/// A listener that has been quiet for so long has stopped talking.
const STOPPED: Duration = Duration::from_millis(300);
/// What is held back for a listener that talks goes on after such a pause.
const PAUSED: Duration = Duration::from_millis(600);
/// Words that are heard sooner than this need no cue.
const PATIENCE: Duration = Duration::from_millis(800);
/// The most of a cue put in at one tick, so that a suspended machine does not flood the ear.
const CUE_STEP: Duration = Duration::from_millis(200);
/// The cues' place among the voices of the original ring; no session has this handle.
const CUE: SessionId = SessionId(0);

impl Room {
    /// Decides whose own voice each listener hears, and reports when that changes because translation is down.
    pub(super) fn refresh_originals(&mut self) {
        let now = self.now;
        let speakers: Vec<(SessionId, Language, Option<String>)> =
            self.members.iter().map(|(id, m)| (*id, m.config.language, m.outage(now))).collect();
        let mut events = Vec::new();
        for (id, listener) in self.members.iter_mut().filter(|(_, m)| m.listens()) {
            let config = &listener.config;
            let own = Gain::from_db(f64::from(config.gain_original_db));
            let covered = now < listener.sounds_until + GAP;
            let under = if covered { Gain::from_db(f64::from(config.original_under_db)) } else { 1.0 };
            for (speaker, language, outage) in speakers.iter().filter(|(s, ..)| s != id) {
                let same = language.same_language(&config.hears);
                let open = !same && config.fail_open && outage.is_some();
                // Switched in 10 ms where it is the only voice, or none.
                let (gain, fade) = match config.original {
                    _ if same || open => (own, Duration::ZERO),
                    Original::Full => (own, Duration::ZERO),
                    Original::Under => (own * under, config.original_fade),
                    Original::Off => (0.0, Duration::ZERO),
                };
                listener.original.set_gain(*speaker, gain, fade);
                if listener.open_to.insert(*speaker, open).unwrap_or(false) != open {
                    let reason = outage.clone().unwrap_or_else(|| "translation is back".into());
                    events.push((*id, EventKind::FailOpen { active: open, speaker: speaker.0, reason }));
                }
            }
        }
        for (session, kind) in events {
            self.event(session, kind);
        }
    }

    /// Lets a listener's own talking count: the translation goes back, or waits.
    pub(super) fn refresh_overlaps(&mut self) {
        let now = self.now;
        let held: Vec<(SessionId, bool)> = self
            .members
            .iter()
            .filter(|(_, m)| m.listens() && m.config.overlap != Overlap::Mix)
            .map(|(id, m)| {
                // What waits too long is played all the same: nothing is thrown away for this.
                let waits = m.config.overlap == Overlap::Wait && m.talking.talks(now, PAUSED);
                (*id, waits && self.backlog(*id) < m.config.playout.max / 2)
            })
            .collect();
        for (id, held) in held {
            let Some(member) = self.members.get_mut(&id) else { continue };
            let config = &member.config;
            let ducked = config.overlap == Overlap::Duck && member.talking.talks(now, STOPPED);
            let db = config.gain_translation_db + if ducked { config.overlap_duck_db } else { 0.0 };
            member.playout.set_gain(Gain::from_db(f64::from(db)), config.original_fade);
            member.playout.hold(now, held);
        }
    }

    /// Plays the cues into the ears that shall hear one.
    pub(super) fn play_cues(&mut self) {
        let now = self.now;
        let alone = self.listeners() == 1;
        let cued = |m: &Member| {
            let wanted = m.config.pending_cue == PendingCue::Tick || m.config.alone_cue == AloneCue::Tone;
            m.listens() && (wanted || m.pending_since.is_some())
        };
        let pending: Vec<(SessionId, bool)> = self
            .members
            .iter()
            .filter(|(_, m)| cued(m))
            .map(|(id, m)| (*id, m.config.pending_cue == PendingCue::Tick && self.is_pending(*id, m)))
            .collect();
        for (id, pending) in pending {
            let Some(member) = self.members.get_mut(&id) else { continue };
            let since = if pending { *member.pending_since.get_or_insert(now) } else { now };
            if !pending {
                member.pending_since = None;
            }
            let lonely = alone && member.config.alone_cue == AloneCue::Tone;
            let waiting = now.saturating_sub(since) >= PATIENCE;
            play(&mut member.alone_cue, lonely, &mut member.original, now, member.playout.hz());
            play(&mut member.pending_cue, waiting, &mut member.original, now, member.playout.hz());
            if !lonely && !waiting {
                member.original.remove(CUE);
            }
        }
    }

    /// Somebody's words are on their way to this ear, and nothing sounds there.
    fn is_pending(&self, listener: SessionId, member: &Member) -> bool {
        let now = self.now;
        if now < member.sounds_until {
            return false;
        }
        let hears = member.config.hears;
        let waits = |id| {
            let spoken = self.segments.get(&id).filter(|s| matches!(s.origin, Origin::Speech(_)));
            let target = spoken.and_then(|s| s.targets.get(&hears));
            target.is_some_and(|t| matches!(t.progress, Progress::Translating | Progress::Speaking))
        };
        member.playout.segments().any(waits)
            || self.members.iter().any(|(id, m)| {
                let foreign = *id != listener && !m.config.language.same_language(&hears);
                foreign && m.stt.is_some() && m.outage(now).is_none() && m.activity.unanswered().is_some()
            })
    }
}

fn play(cue: &mut Cue, wanted: bool, original: &mut super::super::original::Original, now: Duration, hz: u32) {
    if !wanted {
        cue.stop();
        return;
    }
    original.set_gain(CUE, 1.0, Duration::ZERO);
    let block = cue.until(now, CUE_STEP, hz);
    if !block.is_empty() {
        original.said(now, CUE, hz, &block);
    }
}
