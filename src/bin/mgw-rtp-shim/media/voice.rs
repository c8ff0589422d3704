//! The library's side of a leg: frames to and from its session, on the clock thread.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crossbeam_channel::Receiver;
use mgw::Status;
use mgw::engine::SessionId;
use mgw::media_port::{self, Direction};
use tokio::sync::mpsc;

use super::LegEvent;
use super::clock::PTIME;
use super::figures::{Figures, Level};

/// Turns between two publications of the figures.
const PUBLISH_EVERY: u32 = 50;

/// What every leg has, whatever its transport.
pub struct Voice {
    session: SessionId,
    hz_in: u32,
    hz_out: u32,
    heard: Vec<i16>,
    level_in: Level,
    level_out: Level,
    pub figures: Figures,
    published: Arc<Mutex<Figures>>,
    turns: u32,
    last_heard_of: Option<Duration>,
    events: mpsc::Sender<LegEvent>,
    /// DTMF digits that others want sent to this phone.
    pub digits: Receiver<char>,
}

/// The ends of a leg that are not on the clock thread.
pub struct Ends {
    pub published: Arc<Mutex<Figures>>,
    pub events: mpsc::Sender<LegEvent>,
    pub digits: Receiver<char>,
}

impl Voice {
    /// A session that pushes and pulls at these rates.
    pub fn new(session: SessionId, rates: [u32; 2], figures: Figures, ends: Ends) -> Voice {
        Voice {
            session,
            hz_in: rates[0],
            hz_out: rates[1],
            heard: Vec::with_capacity(samples(192_000)),
            level_in: Level::default(),
            level_out: Level::default(),
            figures,
            published: ends.published,
            turns: 0,
            last_heard_of: None,
            events: ends.events,
            digits: ends.digits,
        }
    }

    /// Samples of one frame of what the leg says.
    pub fn frame_in(&self) -> usize {
        samples(self.hz_in)
    }

    /// The leg said this.
    pub fn say(&mut self, samples: &[i16]) {
        self.level_in.add(samples);
        // A message may be longer than the library takes at once.
        for part in samples.chunks(self.frame_in() * 6) {
            // A full ring is counted by the library; a stale handle means that the leg is about to be removed.
            let _ = media_port::push_frame(self.session, part);
        }
    }

    /// The leg speaks at another rate from here on; false when the library cannot take that in just now.
    pub fn set_rate_in(&mut self, hz: u32) -> bool {
        if hz != self.hz_in && media_port::set_rate(self.session, Direction::In, hz) == Status::Ok {
            self.hz_in = hz;
        }
        hz == self.hz_in
    }

    /// The leg hears at another rate from here on; false as above.
    pub fn set_rate_out(&mut self, hz: u32) -> bool {
        if hz != self.hz_out && media_port::set_rate(self.session, Direction::Out, hz) == Status::Ok {
            self.hz_out = hz;
        }
        hz == self.hz_out
    }

    pub fn hz_out(&self) -> u32 {
        self.hz_out
    }

    /// The next frame that the leg shall hear; silence where there is nothing.
    pub fn hear(&mut self) -> &[i16] {
        self.heard.resize(samples(self.hz_out), 0);
        match media_port::pull_frame(self.session, &mut self.heard) {
            Status::Ok | Status::Silence => {}
            // A phone cannot be given its own voice, so without an engine it hears silence.
            _ => self.heard.fill(0),
        }
        self.level_out.add(&self.heard);
        &self.heard
    }

    /// Something came from the peer.
    pub fn came(&mut self, now: Duration) {
        self.last_heard_of = Some(now);
        self.figures.frames_in += 1;
    }

    /// The phone sent a digit.
    pub fn digit(&mut self, digit: char) {
        self.figures.dtmf_digits += 1;
        // Whoever looks after the leg takes them at once; 64 may wait.
        let _ = self.events.try_send(LegEvent::Dtmf(digit));
    }

    /// The transport is at its end.
    pub fn ended(&mut self) {
        let _ = self.events.try_send(LegEvent::Ended);
    }

    /// True once a second, when figures are due: then fill in [`Voice::figures`] and call [`Voice::publish`].
    pub fn second(&mut self) -> bool {
        self.turns = (self.turns + 1) % PUBLISH_EVERY;
        self.turns == 1
    }

    pub fn publish(&mut self, now: Duration) {
        self.figures.silent_s = self.last_heard_of.map(|then| now.saturating_sub(then).as_secs_f64());
        self.figures.level_in_dbfs = self.level_in.take();
        self.figures.level_out_dbfs = self.level_out.take();
        // A reader that holds the lock just now gets the next ones.
        if let Ok(mut published) = self.published.try_lock() {
            published.clone_from(&self.figures);
        }
    }
}

/// Samples of one frame.
pub fn samples(hz: u32) -> usize {
    (u64::from(hz) * PTIME.as_millis() as u64 / 1000) as usize
}
