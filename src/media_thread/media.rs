//! What the thread does: its rounds, commands and messages, and a room's engine rebuilt after a panic.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, select};
use serde_json::Value;

use super::{Command, PERIOD, Shared};
use crate::config::SessionConfig;
use crate::engine::{Input, LeaveMode, Output, RoomId, SessionId, Verb};
use crate::event::EventKind;
use crate::event_queue::Names;
use crate::media_port::{EnginePort, Pushed, Retired};
use crate::net;
use crate::recorder::TapedRoom;

/// Network messages handled between two looks at the clock.
const BATCH: usize = 128;

struct Seat {
    room: RoomId,
    names: Names,
    config: Arc<SessionConfig>,
    /// None once it has left.
    port: Option<Box<EnginePort>>,
    in_hz: u32,
    out_hz: u32,
    /// Outlives the room's engine.
    muted: bool,
}

struct Hall {
    room: TapedRoom,
    name: String,
    sessions: Vec<SessionId>,
}

/// Hashes numbers that were given out here: nobody can choose them so that they collide, and a round asks for each often.
#[derive(Default)]
struct NumberHasher(u64);

impl Hasher for NumberHasher {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0 ^ number).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }

    fn finish(&self) -> u64 {
        // A product's low bits know nothing of the factor's high ones; the table uses both ends.
        self.0 ^ self.0 >> 32
    }
}

/// A table by a number of ours.
type ByNumber<K, V> = HashMap<K, V, BuildHasherDefault<NumberHasher>>;

pub(super) struct Media {
    shared: Arc<Shared>,
    net: net::Port,
    rooms: ByNumber<RoomId, Hall>,
    names: HashMap<String, RoomId>,
    sessions: ByNumber<SessionId, Seat>,
    graves: Vec<Retired>,
    /// Who waits for the last words to be heard.
    quiet: Option<Sender<()>>,
    next_room: u64,
}

impl Media {
    /// Of thread number `index`.
    pub(super) fn new(index: usize, shared: Arc<Shared>, net: net::Port) -> Media {
        Media {
            shared,
            net,
            rooms: HashMap::default(),
            names: HashMap::new(),
            sessions: HashMap::default(),
            graves: Vec::new(),
            quiet: None,
            next_room: index as u64,
        }
    }

    /// Until it is told to end.
    pub(super) fn run(&mut self, commands: &Receiver<Command>, net: &Receiver<(RoomId, net::FromNet)>) {
        let mut next = Instant::now() + PERIOD;
        loop {
            let wait = next.saturating_duration_since(Instant::now());
            if wait.is_zero() {
                self.round();
                let now = Instant::now();
                next += PERIOD;
                if now > next {
                    // Rounds that were missed are not made up for: the rings hold what there is.
                    self.shared.late_rounds.fetch_add(1, Ordering::Relaxed);
                    next = now + PERIOD;
                }
                continue;
            }
            select! {
                recv(commands) -> command => match command {
                    Ok(Command::Stop) | Err(_) => break,
                    Ok(command) => self.obey(command),
                },
                recv(net) -> message => if let Ok((room, message)) = message {
                    self.deliver(room, message);
                    for (room, message) in net.try_iter().take(BATCH) {
                        self.deliver(room, message);
                    }
                },
                default(wait) => {}
            }
        }
        self.end(commands);
    }

    fn now(&self) -> Duration {
        self.shared.started.elapsed()
    }

    /// Runs one input through a room; a panic there is caught and the room rebuilt.
    fn with_room(&mut self, id: RoomId, f: impl FnOnce(&mut TapedRoom, Duration)) {
        let now = self.now();
        let Some(hall) = self.rooms.get_mut(&id) else { return };
        let done = catch_unwind(AssertUnwindSafe(|| f(&mut hall.room, now)));
        let id = if done.is_err() { self.rebuild(id) } else { id };
        self.carry_out(id);
    }

    fn deliver(&mut self, room: RoomId, message: net::FromNet) {
        self.with_room(room, |room, now| room.handle(now, message.into()));
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Join { session, names, config, port } => self.join(session, names, config, port),
            Command::Leave { session, mode, retired } => {
                self.exchange(session);
                let untold = self.sessions.get(&session).and_then(|s| s.port.as_ref()).map_or(0, |p| p.untold());
                if untold > 0 {
                    self.input(session, Input::Gap { session, count: untold, dropped: true });
                }
                if let Some(seat) = self.sessions.get_mut(&session) {
                    seat.port = None;
                }
                self.graves.push(retired);
                self.input(session, Input::Leave { session, mode });
            }
            Command::Set(session, config) => {
                if let Some(seat) = self.sessions.get_mut(&session) {
                    seat.config = config.clone();
                }
                self.input(session, Input::Set { session, config });
            }
            Command::Say(session, text, language) => self.input(session, Input::Say { session, text, language }),
            Command::Do(session, verb) => self.command(session, verb),
            Command::Dtmf(session, digit) => self.input(session, Input::Dtmf { session, digit }),
            Command::Stats(session, reply) => {
                let _ = reply.try_send(self.stats(session));
            }
            Command::Quiet(done) => {
                for session in self.sessions.keys().copied().collect::<Vec<_>>() {
                    self.exchange(session);
                    self.command(session, Verb::Mute);
                    self.command(session, Verb::Finalize);
                }
                self.quiet = Some(done);
            }
            #[cfg(feature = "fault-injection")]
            Command::Panic(session) => {
                if let Some(room) = self.sessions.get(&session).map(|s| s.room) {
                    self.with_room(room, TapedRoom::inject_panic);
                }
            }
            #[cfg(feature = "fault-injection")]
            Command::Hang(time) => std::thread::sleep(time),
            Command::Stop => {}
        }
    }

    fn command(&mut self, session: SessionId, verb: Verb) {
        if let (Some(seat), Verb::Mute | Verb::Unmute) = (self.sessions.get_mut(&session), verb) {
            seat.muted = verb == Verb::Mute;
        }
        self.input(session, Input::Command { session, verb });
    }

    fn input(&mut self, session: SessionId, input: Input<'_>) {
        if let Some(room) = self.sessions.get(&session).map(|s| s.room) {
            self.with_room(room, |room, now| room.handle(now, input));
        }
    }

    fn join(&mut self, session: SessionId, names: Names, config: Arc<SessionConfig>, port: Box<EnginePort>) {
        let room = match self.names.get(&names.room) {
            Some(room) => *room,
            None => {
                let room = self.new_room();
                let engine = TapedRoom::new(self.shared.recorder.as_ref(), &names.room, 1);
                let hall = Hall { room: engine, name: names.room.clone(), sessions: Vec::new() };
                self.rooms.insert(room, hall);
                self.names.insert(names.room.clone(), room);
                self.shared.rooms.fetch_add(1, Ordering::Relaxed);
                room
            }
        };
        if let Some(hall) = self.rooms.get_mut(&room) {
            hall.sessions.push(session);
        }
        let (in_hz, out_hz) = (config.rate_in, config.rate_out);
        self.sessions.insert(
            session,
            Seat { room, names, config: config.clone(), port: Some(port), in_hz, out_hz, muted: false },
        );
        self.input(session, Input::Join { session, config });
    }

    fn new_room(&mut self) -> RoomId {
        // Numbers of different threads never meet: each counts in its own residue class.
        self.next_room += 256;
        RoomId(self.next_room)
    }

    /// One round: what was pushed goes in, time passes, what is to be heard comes out.
    fn round(&mut self) {
        self.shared.rounds.fetch_add(1, Ordering::Relaxed);
        let rooms: Vec<RoomId> = self.rooms.keys().copied().collect();
        for room in rooms {
            let sessions = self.rooms.get(&room).map(|h| h.sessions.clone()).unwrap_or_default();
            for session in &sessions {
                self.exchange(*session);
            }
            self.with_room(room, |room, now| room.handle(now, Input::Tick));
            if let Some(why) = self.rooms.get_mut(&room).and_then(|h| h.room.record_trouble()) {
                let message = format!("the flight record of this room ends early: {}; the call goes on", why.text());
                for session in &sessions {
                    self.tell(
                        self.now(),
                        *session,
                        &EventKind::Error { code: "flight_record", message: message.clone() },
                    );
                }
            }
            for session in &sessions {
                if let Some(port) = self.sessions.get(session).and_then(|s| s.port.as_ref()) {
                    port.beat();
                }
            }
        }
        if self.quiet.is_some()
            && !self.rooms.values().any(|hall| hall.room.is_busy())
            && let Some(done) = self.quiet.take()
        {
            let _ = done.try_send(());
        }
        self.bury();
    }

    /// Hands a room what one of its sessions has pushed and pulled.
    fn exchange(&mut self, session: SessionId) {
        let now = self.now();
        let Some(Seat { room: id, port: Some(port), in_hz, out_hz, .. }) = self.sessions.get_mut(&session) else {
            return;
        };
        let id = *id;
        let Some(Hall { room, .. }) = self.rooms.get_mut(&id) else { return };
        let done = catch_unwind(AssertUnwindSafe(|| {
            port.drain(|pushed| {
                let input = match pushed {
                    // In frames of 20 ms: pauses are found inside a burst, too.
                    Pushed::Samples(samples) => {
                        for samples in samples.chunks((*in_hz / 50).max(1) as usize) {
                            room.handle(now, Input::Said { session, samples });
                        }
                        return;
                    }
                    Pushed::Gap { count, dropped } => Input::Gap { session, count, dropped },
                    Pushed::Rate(hz) => {
                        *in_hz = hz;
                        Input::InRate { session, hz }
                    }
                };
                room.handle(now, input);
            });
            // Before the totals: once a change is asked for, the puller takes nothing, so they are final.
            let wanted = port.wanted_out_rate();
            room.handle(now, Input::Pulled { session, totals: port.pulled() });
            if let Some(hz) = wanted {
                *out_hz = hz;
                room.handle(now, Input::OutRate { session, hz });
            }
        }));
        let id = if done.is_err() { self.rebuild(id) } else { id };
        self.carry_out(id);
    }

    /// Does what a room wants done.
    fn carry_out(&mut self, id: RoomId) {
        while let Some(output) = self.rooms.get_mut(&id).and_then(|h| h.room.poll()) {
            match output {
                Output::Net(command) => self.net.apply(id, command),
                Output::Event(event) => self.tell(self.now(), event.session, &event.kind),
                Output::Gone { session } => self.gone(session),
                Output::Play { session, ring, samples } => {
                    if let Some(port) = self.port(session) {
                        let fitted = port.play(ring, &samples);
                        debug_assert_eq!(fitted, samples.len(), "the lead is larger than the ring");
                    }
                }
                Output::Flush { session, ring } => {
                    if let Some(port) = self.port(session) {
                        port.flush(ring);
                    }
                }
                Output::OutRateDone { session, .. } => {
                    if let Some(port) = self.port(session) {
                        port.out_rate_done();
                    }
                }
            }
        }
        if self.rooms.get(&id).is_some_and(|h| h.room.is_empty() && h.sessions.is_empty()) {
            if let Some(hall) = self.rooms.remove(&id) {
                self.names.remove(&hall.name);
            }
            self.net.close_room(id);
            self.shared.rooms.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn port(&mut self, session: SessionId) -> Option<&mut EnginePort> {
        self.sessions.get_mut(&session)?.port.as_deref_mut()
    }

    fn tell(&self, now: Duration, session: SessionId, kind: &EventKind) {
        static NOBODY: Names = Names { id: String::new(), room: String::new(), profile: String::new() };
        let names = self.sessions.get(&session).map_or(&NOBODY, |s| &s.names);
        self.shared.metrics.observe(&names.profile, kind);
        if let Some(text) = kind.trouble() {
            tracing::warn!(session = session.0, room = names.room, "{text}");
            (self.shared.on_trouble)(session, &text);
        }
        self.shared.events.push(now, session, names, kind);
    }

    fn gone(&mut self, session: SessionId) {
        self.net.close_session(session);
        if let Some(seat) = self.sessions.remove(&session)
            && let Some(hall) = self.rooms.get_mut(&seat.room)
        {
            hall.sessions.retain(|s| *s != session);
        }
        (self.shared.on_gone)(session);
    }

    /// A room's engine panicked: what was in flight is reported lost, and a new engine takes the sessions over.
    ///
    /// It has a number of its own, which is returned: what the old connections still send must not reach it, because
    /// their word times are on the old engine's time line.
    fn rebuild(&mut self, old: RoomId) -> RoomId {
        let now = self.now();
        tracing::error!(room = old.0, "a room's engine panicked and is rebuilt; the original voices pass meanwhile");
        let id = self.new_room();
        let Some(mut hall) = self.rooms.remove(&old) else { return old };
        // The broken engine is only read, and even that may panic.
        let queued = catch_unwind(AssertUnwindSafe(|| hall.room.take_events())).unwrap_or_default();
        let lost = catch_unwind(AssertUnwindSafe(|| (hall.room.in_flight(), hall.room.next_segment())));
        let (lost, next_segment) = lost.unwrap_or_default();
        let sessions = hall.sessions.clone();
        hall.room = hall.room.rebuilt(self.shared.recorder.as_ref(), &hall.name, next_segment + 1);
        self.names.insert(hall.name.clone(), id);
        self.rooms.insert(id, hall);
        self.net.close_room(old);
        let message = "the room's engine failed and was rebuilt: what was on its way is lost, calls go on; \
                       please report it with the log";
        for event in queued {
            self.tell(now, event.session, &event.kind);
        }
        for session in &sessions {
            self.tell(now, *session, &EventKind::Error { code: "engine_panic", message: message.into() });
        }
        for (session, kind) in lost {
            self.tell(now, session, &kind);
        }
        for session in sessions {
            let Some(seat) = self.sessions.get_mut(&session) else { continue };
            seat.room = id;
            let (config, in_hz, out_hz, muted) = (seat.config.clone(), seat.in_hz, seat.out_hz, seat.muted);
            match &mut seat.port {
                Some(port) => {
                    port.restart();
                    if let Some(hall) = self.rooms.get_mut(&id) {
                        hall.room.rejoin(now, session, config, in_hz, out_hz);
                        if muted {
                            hall.room.handle(now, Input::Command { session, verb: Verb::Mute });
                        }
                    }
                }
                None => {
                    self.tell(now, session, &EventKind::Closed { segments: 0, lost: 0 });
                    self.gone(session);
                }
            }
        }
        id
    }

    fn stats(&self, session: SessionId) -> Value {
        let Some(seat) = self.sessions.get(&session) else { return Value::Null };
        let mut stats = self.rooms.get(&seat.room).map_or(Value::Null, |h| h.room.stats(session));
        if let (Some(port), Some(map)) = (&seat.port, stats.as_object_mut()) {
            let (pushed, pulled) = port.frames();
            map.insert("frames_in".into(), pushed.into());
            map.insert("frames_out".into(), pulled.into());
            map.insert("samples_dropped".into(), port.dropped().into());
        }
        if let Some(map) = stats.as_object_mut() {
            let spent = self.net.spent(session);
            let spent = serde_json::json!({
                "stt_s": spent.stt.as_secs_f64(), "mt_chars": spent.mt_chars, "tts_chars": spent.tts_chars,
            });
            map.insert("spent".into(), spent);
            map.insert("id".into(), seat.names.id.clone().into());
            map.insert("room".into(), seat.names.room.clone().into());
        }
        stats
    }

    /// Frees the caller's halves of closed sessions in which no call is any more.
    fn bury(&mut self) {
        let graves = std::mem::take(&mut self.graves);
        self.graves = graves.into_iter().filter_map(|g| g.try_free().err()).collect();
    }

    /// Ends what is left, and says what was lost by it.
    fn end(&mut self, commands: &Receiver<Command>) {
        // Those who came in beside the order to stop.
        for command in commands.try_iter().collect::<Vec<_>>() {
            self.obey(command);
        }
        for session in self.sessions.keys().copied().collect::<Vec<_>>() {
            self.input(session, Input::Leave { session, mode: LeaveMode::Now });
        }
        for room in self.rooms.keys().copied().collect::<Vec<_>>() {
            self.with_room(room, TapedRoom::end);
        }
        let until = Instant::now() + Duration::from_secs(1);
        while !self.graves.is_empty() && Instant::now() < until {
            self.bury();
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}
