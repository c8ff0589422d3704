//! A media thread's way to the network: takes commands without waiting, owns what runs for its sessions.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Sender;
use tokio_util::sync::CancellationToken;

use super::mt::Mt;
use super::runtime::{Restart, Runtime, Tasks};
use super::stt::Stt;
use super::stt_queue::SttQueue;
use super::tts::Tts;
use super::tts_queue::{Closing, TtsQueue};
use super::{Counters, Driver, FromNet, Meter, Outbox, Spent};
use crate::config::{Language, SessionConfig};
use crate::engine::{NetCommand, RoomId, SessionId, SpeakJob, TranslateJob};
use crate::provider::stream_clock::samples_to_time;
use crate::provider::{ErrorClass, SpeechChunk, StageError, SttEvent};

/// Rate assumed for audio of a session that never had a stream, to tell how much of it is lost.
const USUAL_RATE: u32 = 16_000;

/// One for each media thread.
///
/// No method waits for the network, and none but [`Drop`] (which may end the runtime) waits at all.
#[derive(Debug)]
pub struct Port {
    tasks: TaskBox,
    sender: Sender<(RoomId, FromNet)>,
    token: CancellationToken,
    sessions: HashMap<SessionId, Session>,
    ca_file: Option<PathBuf>,
    meter: Arc<Meter>,
    // Last, so that it is dropped when nothing of the port's is left.
    runtime: Arc<Runtime>,
}

/// What runs for a session.
struct Session {
    room: RoomId,
    token: CancellationToken,
    driver: Driver,
    stt: Option<(CancellationToken, Arc<SttQueue>)>,
    /// Of the last stream, in Hz.
    rate: Option<u32>,
    tts: HashMap<Language, Arc<TtsQueue>>,
    mt: Arc<Mt>,
}

impl Port {
    /// A port that sends what comes back to `sender`; `ca_file` names authorities trusted besides the
    /// system's (`tls.ca_file`).
    ///
    /// `meter` counts what is spent for all sessions. The channel must be bounded ([`CHANNEL_SIZE`](super::CHANNEL_SIZE)); while it is full, tasks wait.
    pub fn new(
        runtime: Arc<Runtime>,
        sender: Sender<(RoomId, FromNet)>,
        ca_file: Option<PathBuf>,
        meter: Arc<Meter>,
    ) -> Self {
        let tasks = TaskBox(runtime.task_starter());
        let token = tasks.0.token();
        Self { tasks, sender, token, sessions: HashMap::new(), ca_file, meter, runtime }
    }

    /// Carries out a command of `room`'s engine.
    ///
    /// What cannot be done is answered through the channel: audio without a stream as
    /// [`SttEvent::Lost`], texts as failed.
    pub fn apply(&mut self, room: RoomId, command: NetCommand) {
        match command {
            NetCommand::OpenStt { session, config, rate } => {
                self.session(room, session, &config).mt.open(&config);
                self.open_stt(room, session, config, rate);
            }
            NetCommand::Audio { session, at, samples } => self.audio(room, session, at, samples),
            NetCommand::FinalizeStt { session } => {
                if let Some((_, queue)) = self.sessions.get(&session).and_then(|session| session.stt.as_ref()) {
                    queue.finalize();
                }
            }
            NetCommand::CloseStt { session, drain } => self.close_stt(room, session, drain),
            NetCommand::OpenTts { session, target, config, rate } => {
                self.session(room, session, &config).mt.open(&config);
                self.open_tts(room, session, target, config, rate);
            }
            NetCommand::CloseTts { session, target } => {
                if let Some(queue) = self.sessions.get_mut(&session).and_then(|session| session.tts.remove(&target)) {
                    queue.close(Closing::Now);
                }
            }
            NetCommand::Translate(job) => self.translate(room, job),
            NetCommand::Speak(job) => self.speak(room, job),
            NetCommand::Cancel { session, segment, target } => {
                let Some(session) = self.sessions.get_mut(&session) else {
                    return;
                };
                session.mt.cancel(segment, target);
                if let Some(queue) = session.tts.get(&target) {
                    queue.cancel(segment);
                }
            }
        }
    }

    /// Ends everything that runs for a session, at once.
    pub fn close_session(&mut self, session: SessionId) {
        if let Some(session) = self.sessions.remove(&session) {
            session.token.cancel();
        }
    }

    /// Ends everything that runs for a room's sessions, at once.
    pub fn close_room(&mut self, room: RoomId) {
        self.sessions.retain(|_, session| {
            let stays = session.room != room;
            if !stays {
                session.token.cancel();
            }
            stays
        });
    }

    /// Sessions that something runs for.
    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }

    /// What was spent for a session so far, since something first ran for it.
    pub fn spent(&self, session: SessionId) -> Spent {
        self.sessions.get(&session).map_or_else(Spent::default, |session| session.driver.meter.spent())
    }

    /// What the drivers of the whole runtime count.
    pub fn counters(&self) -> Arc<Counters> {
        self.runtime.counters()
    }

    fn session(&mut self, room: RoomId, id: SessionId, config: &SessionConfig) -> &mut Session {
        let (budget, tasks) = (config.budget, &self.tasks.0);
        self.sessions.entry(id).or_insert_with(|| {
            let driver = Driver {
                session: id,
                outbox: Outbox { sender: self.sender.clone(), room },
                dialers: self.runtime.dialers(),
                accounts: self.runtime.accounts(),
                meter: Arc::new(Meter::within(budget, Arc::clone(&self.meter))),
                ca_file: self.ca_file.clone(),
                counters: self.runtime.counters(),
            };
            let (token, mt) = (self.token.child_token(), Arc::new(Mt::new(driver.clone())));
            let (first, again) = (Arc::clone(&mt), Arc::clone(&mt));
            tasks.spawn(
                token.child_token(),
                move || Arc::clone(&first).run(),
                move |_| {
                    let mt = Arc::clone(&again);
                    async {
                        mt.after_panic().await;
                        Restart::Yes
                    }
                },
            );
            Session { room, token, mt, driver, stt: None, rate: None, tts: HashMap::new() }
        })
    }

    fn open_stt(&mut self, room: RoomId, id: SessionId, config: Arc<SessionConfig>, rate: u32) {
        let tasks = self.tasks.0.clone();
        let session = self.session(room, id, &config);
        // A stream that is replaced still gives its last results.
        if let Some((_, old)) = session.stt.take() {
            old.replace();
        }
        let token = session.token.child_token();
        let queue = Arc::new(SttQueue::new(rate));
        let stt = Arc::new(Stt::new(session.driver.clone(), config, Arc::clone(&queue)));
        session.stt = Some((token.clone(), queue));
        session.rate = Some(rate);
        let again = Arc::clone(&stt);
        tasks.spawn(
            token,
            move || Arc::clone(&stt).run(),
            move |_| {
                let stt = Arc::clone(&again);
                async {
                    stt.after_panic().await;
                    Restart::Yes
                }
            },
        );
    }

    fn audio(&mut self, room: RoomId, id: SessionId, at: Duration, samples: Vec<i16>) {
        match self.sessions.get(&id).and_then(|session| session.stt.as_ref()) {
            Some((_, queue)) => queue.push(at, samples),
            None => {
                let rate = self.sessions.get(&id).and_then(|session| session.rate).unwrap_or(USUAL_RATE);
                let end = at + samples_to_time(samples.len() as u64, rate);
                let event = SttEvent::Lost { start: at, end };
                self.answer(room, FromNet::Stt { session: id, event });
            }
        }
    }

    fn close_stt(&mut self, room: RoomId, id: SessionId, drain: bool) {
        match self.sessions.get_mut(&id).and_then(|session| session.stt.take()) {
            Some((_, queue)) if drain => queue.close(),
            Some((token, _)) => token.cancel(),
            None if drain => self.answer(room, FromNet::Stt { session: id, event: SttEvent::Closed }),
            None => {}
        }
    }

    fn open_tts(&mut self, room: RoomId, id: SessionId, target: Language, config: Arc<SessionConfig>, rate: u32) {
        let tasks = self.tasks.0.clone();
        let session = self.session(room, id, &config);
        let queue = Arc::new(TtsQueue::default());
        // A connection that is replaced still speaks what it has taken in.
        if let Some(old) = session.tts.insert(target, Arc::clone(&queue)) {
            old.close(Closing::Idle);
        }
        let tts = Arc::new(Tts::new(session.driver.clone(), config, target, rate, queue));
        let again = Arc::clone(&tts);
        tasks.spawn(
            session.token.child_token(),
            move || Arc::clone(&tts).run(),
            move |_| {
                let tts = Arc::clone(&again);
                async {
                    tts.after_panic().await;
                    Restart::Yes
                }
            },
        );
    }

    fn translate(&mut self, room: RoomId, job: TranslateJob) {
        let (segment, target) = (job.segment, job.target);
        let session = self.session(room, job.session, &job.config);
        if let Err(error) = session.mt.push(job) {
            self.answer(room, FromNet::Translated { segment, target, result: Err(error) });
        }
    }

    fn speak(&mut self, room: RoomId, job: SpeakJob) {
        let SpeakJob { session, segment, target, text } = job;
        let error = match self.sessions.get(&session).and_then(|session| session.tts.get(&target)) {
            Some(queue) if queue.push(segment, text) => return,
            Some(_) => {
                StageError::new(ErrorClass::RetryLater(None), "queue_full", "Too many texts wait for the synthesiser.")
            }
            None => StageError::new(
                ErrorClass::BadRequest,
                "not_open",
                "There is no synthesis connection for this language.",
            ),
        };
        self.answer(room, FromNet::Speech { segment, target, chunk: SpeechChunk::Failed(error) });
    }

    /// Answers in the driver's place. The media thread reads the channel itself, so it must not wait
    /// for room in it: a task does.
    fn answer(&mut self, room: RoomId, message: FromNet) {
        let outbox = Outbox { sender: self.sender.clone(), room };
        let mut message = Some(message);
        self.tasks.0.spawn(
            self.token.child_token(),
            move || {
                let (outbox, message) = (outbox.clone(), message.take());
                async move {
                    if let Some(message) = message {
                        outbox.send(message).await;
                    }
                }
            },
            |_| async { Restart::No },
        );
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.token.cancel();
    }
}

/// Keeps `Debug` derivable.
struct TaskBox(Tasks);

impl std::fmt::Debug for TaskBox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tasks")
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("room", &self.room).finish_non_exhaustive()
    }
}
