//! Synthesis of segments: what is asked for, what has come of it, and going on where it failed.

use std::time::Duration;

use super::super::segment::{Progress, Target, reason};
use super::super::{NetCommand, SegmentId, SpeakJob};
use super::Room;
use super::segments::owner;
use crate::config::Language;
use crate::provider::text::{says_something, speakable};
use crate::provider::{ErrorClass, SpeechChunk};

/// A text, or the same rest of it, is given to the synthesiser this often …
const ATTEMPTS: u32 = 4;
/// … and a segment this often, however much progress each attempt makes.
const TOTAL_ATTEMPTS: u32 = 8;
/// After a text was cancelled its rest is asked for so much later: what was on its way from the network is there by then.
const SETTLE: Duration = Duration::from_millis(20);

/// What became of going back.
enum Rewound {
    /// The rest can be asked for.
    Again,
    /// Nothing was missing any more.
    Whole,
    /// There is no place to go on from, or there were attempts enough.
    Lost,
}

impl Room {
    pub(super) fn speak(&mut self, id: SegmentId, target: Language, text: String) {
        let now = self.now;
        let Some(t) = self.segments.get_mut(&id).and_then(|s| s.targets.get_mut(&target)) else { return };
        t.translated.get_or_insert(now);
        t.progress = Progress::Speaking;
        t.say = speakable(&text);
        t.text = text;
        self.ask_to_speak(id, target);
    }

    /// Gives what is left of a target's text to the synthesiser.
    pub(super) fn ask_to_speak(&mut self, id: SegmentId, target: Language) {
        let now = self.now;
        let Some(segment) = self.segments.get_mut(&id) else { return };
        let session = owner(segment.origin);
        let Some(t) = segment.targets.get_mut(&target) else { return };
        (t.last_sign, t.resume_at, t.attempt_audio) = (now, None, None);
        t.attempts += 1;
        t.total_attempts += 1;
        let text = t.say[t.begun.byte..].to_owned();
        self.net(NetCommand::Speak(SpeakJob { session, segment: id, target, text }));
    }

    pub(super) fn speech(&mut self, id: SegmentId, target: Language, chunk: SpeechChunk) {
        let now = self.now;
        let Some(segment) = self.segments.get_mut(&id) else { return };
        let session = owner(segment.origin);
        let awaited = |t: &&mut Target| t.progress == Progress::Speaking && t.resume_at.is_none();
        let Some(t) = segment.targets.get_mut(&target).filter(awaited) else { return };
        t.last_sign = now;
        match chunk {
            SpeechChunk::Audio(samples) => {
                if samples.is_empty() {
                    return;
                }
                let first = !t.has_begun();
                t.first_audio.get_or_insert(now);
                t.attempt_audio.get_or_insert(now);
                t.audio.extend_from_slice(&samples);
                if first && let Some(member) = self.members.get_mut(&session) {
                    member.tts.served(now, None);
                }
                self.bound_backlogs(id, target);
                self.top_up_hearing(target);
            }
            SpeechChunk::Reached(byte) => t.reach(byte),
            SpeechChunk::End if !t.has_begun() => self.fail(id, target, "tts", "the synthesiser gave no sound"),
            SpeechChunk::End => t.progress = Progress::Spoken,
            SpeechChunk::Failed(error) => {
                // Where nothing came, the network has asked everybody who may be asked; a passing fault may be over.
                let again = t.has_begun() || error.class == ErrorClass::RetryNow;
                let rewound = if again { self.rewind(id, target) } else { Rewound::Lost };
                match rewound {
                    Rewound::Again => return self.ask_to_speak(id, target),
                    Rewound::Whole => return,
                    Rewound::Lost => {}
                }
                if error.class != ErrorClass::BadRequest
                    && let Some(member) = self.members.get_mut(&session)
                {
                    member.tts.served(now, Some(error.message.clone()));
                }
                self.fail(id, target, "tts", &reason(&error));
            }
        }
    }

    /// Prepares a target whose synthesis failed for the next attempt, which goes on behind the last word that was
    /// reached, if it may have one.
    fn rewind(&mut self, id: SegmentId, target: Language) -> Rewound {
        let members = self.members.values().filter(|m| *m.playout.language() == target);
        let written = members.map(|m| m.playout.taken(id)).max().unwrap_or(0);
        let Some(t) = self.segments.get_mut(&id).and_then(|s| s.targets.get_mut(&target)) else { return Rewound::Lost };
        // What a speech-to-speech provider says was never given to a synthesiser, and nobody else could say it again.
        let (may, total) = (t.attempts < ATTEMPTS || t.has_progressed(), t.total_attempts);
        if !may || total == 0 || total >= TOTAL_ATTEMPTS || !t.rewind(written) {
            return Rewound::Lost;
        }
        if !t.audio.is_empty() && !says_something(&t.say[t.begun.byte..]) {
            t.progress = Progress::Spoken;
            return Rewound::Whole;
        }
        Rewound::Again
    }

    /// No sign has come for a target for too long: what it still lacks is asked for anew, or lost.
    pub(super) fn stalled(&mut self, id: SegmentId, target: Language) {
        match self.rewind(id, target) {
            Rewound::Again => self.cancel_and_resume(id, target),
            Rewound::Whole => {}
            Rewound::Lost => self.fail(id, target, "tts", "the synthesiser stopped in the middle; the rest is lost"),
        }
    }

    /// The text under way is not wanted any more; its rest is asked for in a moment.
    fn cancel_and_resume(&mut self, id: SegmentId, target: Language) {
        let now = self.now;
        let Some(segment) = self.segments.get_mut(&id) else { return };
        let session = owner(segment.origin);
        if let Some(t) = segment.targets.get_mut(&target) {
            (t.resume_at, t.last_sign) = (Some(now + SETTLE), now);
        }
        self.net(NetCommand::Cancel { session, segment: id, target });
    }
}
