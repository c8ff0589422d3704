//! What changes in mid-call: languages, voices, the mix.

use std::sync::Arc;
use std::time::Duration;

use super::super::level::Gain;
use super::super::member::SttStream;
use super::super::playout::Timing;
use super::super::segment::{Origin, Target};
use super::super::{NetCommand, Output, Ring, SegmentId, SessionId, TranslateJob};
use super::Room;
use super::membership::tts_rate;
use super::segments::owner;
use crate::config::{Language, SessionConfig};

/// Languages a session spoke before, as far as words in them may still come.
const LANGUAGES_KEPT: usize = 8;

impl Room {
    pub(super) fn set(&mut self, session: SessionId, config: Arc<SessionConfig>) {
        let now = self.now;
        let Some(member) = self.members.get_mut(&session) else { return };
        let before = std::mem::replace(&mut member.config, Arc::clone(&config));
        if before.hears != config.hears {
            self.change_hearing(session, config.hears);
        }
        let Some(member) = self.members.get_mut(&session) else { return };
        // Where it ducks or waits, it is decided with every tick.
        member.playout.set_gain(Gain::from_db(f64::from(config.gain_translation_db)), config.original_fade);
        member.playout.hold(now, false);
        let mut commands = Vec::new();
        if before.language != config.language {
            let until = member.clock.now();
            member.spoke.push((until, before.language));
            if member.spoke.len() > LANGUAGES_KEPT {
                member.spoke.remove(0);
            }
            member.context.clear();
            member.ledger.speaks(config.language);
            // What was said so far is recognised to its end by the stream that is replaced.
            if member.stt.is_some() {
                let rate = member.stt_rate();
                member.stt = Some(SttStream::new(now, rate, member.clock.hz(), until));
                commands.push(NetCommand::OpenStt { session, config: Arc::clone(&config), rate });
            }
        }
        if before.tts_voice != config.tts_voice {
            // The line that is replaced still speaks what it was given.
            let lines = member.tts_lines.iter().map(|(target, line)| (*target, line.rate));
            let open = |(target, rate)| NetCommand::OpenTts { session, target, config: Arc::clone(&config), rate };
            commands.extend(lines.map(open));
        }
        if before.language != config.language {
            self.drop_draft(session);
        }
        for command in commands {
            self.net(command);
        }
        self.sync_links();
        self.refresh_originals();
        self.refresh_overlaps();
    }

    /// A listener hears another language from here on: what waits for it, and what sounds just now, is translated anew.
    fn change_hearing(&mut self, listener: SessionId, hears: Language) {
        let now = self.now;
        let Some(member) = self.members.get_mut(&listener) else { return };
        let before = *member.playout.language();
        let held: Vec<SegmentId> = member.playout.segments().collect();
        let mut begun = Vec::new();
        for heard in member.playout.clear(now) {
            begun.extend(heard.started.map(|started| (heard.segment, started, heard.length)));
        }
        member.playout.set_language(hears);
        member.sounds_until = now;
        self.outputs.push_back(Output::Flush { session: listener, ring: Ring::Speech });
        for (id, started, length) in begun {
            self.remember_played(listener, id, before, started, length);
        }
        // The lines for this language are there before anything is to be spoken over them.
        self.sync_links();
        for id in held {
            let still_heard = self.members.values().any(|m| *m.playout.language() == before && m.playout.holds(id));
            let Some(segment) = self.segments.get_mut(&id) else { continue };
            let session = owner(segment.origin);
            if !still_heard && segment.targets.remove(&before).is_some_and(|t| !t.is_over()) {
                self.net(NetCommand::Cancel { session, segment: id, target: before });
            }
            self.hear_anew(id, listener, hears);
        }
    }

    /// Puts a segment at the end of a listener's queue, in a language in which perhaps nobody wanted it before.
    fn hear_anew(&mut self, id: SegmentId, listener: SessionId, target: Language) {
        let now = self.now;
        let Some(segment) = self.segments.get_mut(&id) else { return };
        let session = owner(segment.origin);
        let (source, text) = (segment.source, segment.text.clone());
        if matches!(segment.origin, Origin::Announcement(_)) {
            return self.say(listener, text, source);
        }
        if source.same_language(&target) {
            return self.lost(id, Some(listener), None, "playout", "the listener hears the speaker's own language now");
        }
        let rate = self.members.get(&session).and_then(|m| m.tts_lines.get(&target)).map(|line| line.rate);
        let timing = Timing {
            voice: session,
            start_at: segment.start_at,
            end_at: segment.end_at,
            pause: Duration::ZERO,
            may_skip: true,
            queued: now,
        };
        let wanted = !segment.targets.contains_key(&target);
        if wanted {
            segment.targets.insert(target, Target::new(now, rate.unwrap_or_else(|| tts_rate(16_000))));
            // Its time begins anew.
            segment.committed = now;
        }
        if let Some(member) = self.members.get_mut(&listener) {
            member.playout.push(id, timing);
        }
        let Some(config) = self.members.get(&session).map(|m| m.config.clone()).filter(|_| wanted) else { return };
        let budget = config.segment_timeout;
        let context = Vec::new();
        self.net(NetCommand::Translate(TranslateJob {
            session,
            segment: id,
            source,
            target,
            text,
            context,
            config,
            budget,
        }));
    }
}
