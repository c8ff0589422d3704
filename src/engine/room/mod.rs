//! A room: sessions that hear each other, one engine value on one media thread.
//!
//! | file | what it decides |
//! |---|---|
//! | `mod` | which input goes where; statistics |
//! | `membership` | who is in the room, which connections that needs, whose own voice is heard |
//! | `changes` | settings that change in mid-call |
//! | `speaking` | time lines, recognition, what is committed |
//! | `speculation` | what is worked on before it is certain |
//! | `segments` | translation, deadlines, losses |
//! | `synthesis` | what is spoken, and going on where that failed |
//! | `mixing` | own voices under a translation, both talking at once, cues |
//! | `listening` | playout, absence, what was heard |

mod changes;
mod listening;
mod membership;
mod mixing;
mod segments;
mod speaking;
mod speculation;
mod synthesis;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde_json::{Value, json};

pub(super) use speculation::Ahead;

use super::member::Member;
use super::segment::Segment;
use super::time::ms;
use super::{Input, NetCommand, Output, SegmentId, SessionId, Verb};
use crate::event::{Event, EventKind};

/// The engine of one room.
#[derive(Default)]
pub struct Room {
    members: BTreeMap<SessionId, Member>,
    segments: BTreeMap<SegmentId, Segment>,
    next_segment: u64,
    outputs: VecDeque<Output>,
    now: Duration,
    #[cfg(any(test, feature = "fault-injection"))]
    panic_at_next_tick: bool,
}

impl Room {
    /// A room without members, whose segments are numbered from `first_segment`.
    pub fn new(first_segment: u64) -> Self {
        Room { next_segment: first_segment, ..Room::default() }
    }

    /// Takes one input at gateway time `now`; the outputs are then to be drained.
    pub fn handle(&mut self, now: Duration, input: Input<'_>) {
        self.now = now.max(self.now);
        match input {
            Input::Join { session, config } => self.join(session, config),
            Input::Leave { session, mode } => self.leave(session, mode),
            Input::Said { session, samples } => self.said(session, samples),
            Input::Gap { session, count, dropped } => self.gap(session, count, dropped),
            Input::InRate { session, hz } => self.in_rate(session, hz),
            Input::OutRate { session, hz } => self.out_rate(session, hz),
            Input::Pulled { session, totals } => self.pulled(session, totals),
            Input::Stt { session, event } => self.recognised(session, event),
            Input::Translated { segment, target, result } => self.translated(segment, target, result),
            Input::Speech { segment, target, chunk } => self.speech(segment, target, chunk),
            Input::Direct { session, target, event } => self.direct(session, target, event),
            Input::Link { session, stage, provider, state } => self.link(session, stage, provider, state),
            Input::Set { session, config } => self.set(session, config),
            Input::Say { session, text, language } => self.say(session, text, language),
            Input::Command { session, verb } => self.command(session, verb),
            Input::Dtmf { session, digit } => {
                if self.members.contains_key(&session) {
                    self.event(session, EventKind::Dtmf { digit: digit.to_string() });
                }
            }
            Input::Tick => self.tick(),
        }
    }

    /// The next thing that the room wants done.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// The events that wait to be told, of an engine that is given up.
    pub fn take_events(&mut self) -> Vec<Event> {
        let event = |output| match output {
            Output::Event(event) => Some(event),
            _ => None,
        };
        self.outputs.drain(..).filter_map(event).collect()
    }

    /// Nobody is in the room and nothing is on its way.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Something that was said is on its way: not recognised yet, or not heard to its end.
    pub fn is_busy(&self) -> bool {
        let unanswered = |m: &Member| m.stt.is_some() && m.activity.unanswered().is_some();
        self.segments.values().any(|s| !s.draft) || self.members.values().any(unanswered)
    }

    /// The number the next segment will have.
    pub fn next_segment(&self) -> u64 {
        self.next_segment
    }

    fn tick(&mut self) {
        #[cfg(any(test, feature = "fault-injection"))]
        if std::mem::take(&mut self.panic_at_next_tick) {
            panic!("panic by injection");
        }
        self.fill_time_lines();
        self.commit_overdue();
        self.check_absence();
        self.check_deadlines();
        self.expire_drafts();
        self.refresh_originals();
        self.refresh_overlaps();
        self.play_cues();
        self.skip_overdue();
        self.top_up_all();
        self.tell_marks();
        self.finish_leavers();
        self.forget_segments();
    }

    fn command(&mut self, session: SessionId, verb: Verb) {
        match verb {
            Verb::Flush => self.drop_queue(session, "flushed by the host"),
            Verb::Finalize => {
                if self.members.get(&session).is_some_and(|m| m.stt.is_some()) {
                    self.net(NetCommand::FinalizeStt { session });
                }
            }
            Verb::Mark => self.mark(session),
            Verb::Mute | Verb::Unmute => {
                if let Some(member) = self.members.get_mut(&session) {
                    member.muted = verb == Verb::Mute;
                }
            }
        }
    }

    fn event(&mut self, session: SessionId, kind: EventKind) {
        self.outputs.push_back(Output::Event(Event { session, kind }));
    }

    fn net(&mut self, command: NetCommand) {
        self.outputs.push_back(Output::Net(command));
    }

    /// A session's statistics; `null` if it is not here.
    pub fn stats(&self, session: SessionId) -> Value {
        let Some(m) = self.members.get(&session) else { return Value::Null };
        let c = &m.counters;
        let mean = if c.heard > 0 { c.lag_sum_ms / c.heard as f64 } else { 0.0 };
        json!({
            "profile": m.config.profile,
            "language": m.config.language.code(),
            "hears": m.config.hears.code(),
            "members": self.members.values().filter(|m| m.listens()).count(),
            "session_time_ms": ms(m.clock.now()),
            "rate_in": m.clock.hz(),
            "rate_out": m.playout.hz(),
            "absent": m.absent_since.is_some(),
            "muted": m.muted,
            "links": {
                "stt": m.stt.as_ref().map_or("closed", |s| s.link.name()),
                "mt": m.mt.name(),
                "tts": if m.tts_lines.is_empty() { "closed" } else { m.tts.name() },
            },
            "segments": {
                "committed": c.committed, "heard": c.heard, "lost": c.lost, "missed": c.missed,
                "repeated_words": m.ledger.repeated(),
                "revised_words": m.ledger.revised(),
                "interims": m.ledger.interims(),
                "queued": m.playout.segments().count(),
            },
            "measures": m.measures.json(m.ledger.revised(), m.ahead.hit_rate()),
            "speculation": m.ahead.stats(),
            "echoed_words": m.guard.words(),
            "lag_ms": { "mean": mean, "max": c.lag_max_ms },
            "playout": {
                "backlog_ms": ms(self.backlog(session)),
                "ran_dry": m.playout.ran_dry(),
                "starved": m.playout.starved(),
                "speed": (f64::from(m.playout.speed()) * 100.0).round() / 100.0,
                "behind_ms": (f64::from(m.playout.behind()) * 1000.0).round(),
                "pauses_cut_ms": ms(m.playout.pauses_cut()),
                "trimmed_ms": ms(m.playout.trimmed()),
                "lead_ms": ms(super::time::span(m.playout.lead(), m.playout.hz())),
            },
            "input": {
                "silence_ms": c.silence_ms, "trimmed_ms": c.trimmed_ms, "dropped_ms": c.dropped_ms,
            },
            "original_cut_ms": c.original_cut_ms,
        })
    }

    /// Makes the next tick panic, to prove that one room's panic costs nothing else.
    #[cfg(any(test, feature = "fault-injection"))]
    pub fn inject_panic(&mut self) {
        self.panic_at_next_tick = true;
    }
}
