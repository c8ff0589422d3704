//! A room whose inputs and outputs go onto a record, if records are wanted.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use super::{Recorder, Tape};
use crate::config::SessionConfig;
use crate::engine::record::Over;
use crate::engine::room::Room;
use crate::engine::{Input, Output, SessionId};
use crate::event::Event;

/// A room and its record. Reading goes to the room itself; whatever changes it goes through here.
pub struct TapedRoom {
    room: Room,
    tape: Option<Box<Tape>>,
    part: u32,
}

impl TapedRoom {
    /// A new room, whose segments are numbered from `first_segment`.
    pub fn new(recorder: Option<&Recorder>, name: &str, first_segment: u64) -> Self {
        Self::part(recorder, name, first_segment, 1)
    }

    /// One that follows this one, whose engine panicked.
    pub fn rebuilt(&mut self, recorder: Option<&Recorder>, name: &str, first_segment: u64) -> Self {
        if let Some(tape) = &mut self.tape {
            tape.finish(Over::Panicked);
        }
        Self::part(recorder, name, first_segment, self.part + 1)
    }

    fn part(recorder: Option<&Recorder>, name: &str, first_segment: u64, part: u32) -> Self {
        let tape = recorder.map(|recorder| Box::new(recorder.tape(name, first_segment, part)));
        TapedRoom { room: Room::new(first_segment), tape, part }
    }

    /// As [`Room::handle`].
    pub fn handle(&mut self, now: Duration, input: Input<'_>) {
        self.note(|tape| tape.writer.input(now, &input));
        self.room.handle(now, input);
    }

    /// As [`Room::rejoin`].
    pub fn rejoin(&mut self, now: Duration, session: SessionId, config: Arc<SessionConfig>, in_hz: u32, out_hz: u32) {
        self.note(|tape| tape.writer.rejoin(now, session, &config, in_hz, out_hz));
        self.room.rejoin(now, session, config, in_hz, out_hz);
    }

    /// As [`Room::end`].
    pub fn end(&mut self, now: Duration) {
        self.note(|tape| tape.writer.end(now));
        self.room.end(now);
    }

    /// As [`Room::inject_panic`].
    #[cfg(feature = "fault-injection")]
    pub fn inject_panic(&mut self, now: Duration) {
        self.note(|tape| tape.writer.panic(now));
        self.room.inject_panic();
    }

    /// As [`Room::poll`]; to be called until it is empty.
    pub fn poll(&mut self) -> Option<Output> {
        let output = self.room.poll();
        if let Some(tape) = self.tape.as_deref_mut().filter(|tape| tape.runs()) {
            tape.writer.polled(output.as_ref());
        }
        output
    }

    /// As [`Room::take_events`].
    pub fn take_events(&mut self) -> Vec<Event> {
        self.room.take_events()
    }

    /// Why its record has ended before the room did; said once.
    pub fn record_trouble(&mut self) -> Option<Over> {
        self.tape.as_deref_mut()?.trouble()
    }

    fn note(&mut self, write: impl FnOnce(&mut Tape)) {
        if let Some(tape) = self.tape.as_deref_mut().filter(|tape| tape.runs()) {
            write(tape);
            tape.noted();
        }
    }
}

impl Deref for TapedRoom {
    type Target = Room;

    fn deref(&self) -> &Room {
        &self.room
    }
}
