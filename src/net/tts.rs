//! The synthesiser's task: one for each (session, target language).
//!
//! | file | what |
//! |---|---|
//! | here | which provider speaks a text, and what becomes of it when that fails |
//! | `tts_standing` | what the room is told of providers |
//! | `tts_lane` | the websocket that is kept open: connecting, limits, coming back |
//! | `tts_ws` | one such connection: contexts, silence, black holes |
//! | `tts_http` | a request for each text or clause |
//!
//! At most four texts are spoken at a time, whoever speaks them. Every text that the queue takes gets one end.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, sleep, sleep_until};

use super::accounts::{Account, Nobody, Pick, Roster};
use super::counters::count;
use super::runtime::lock;
use super::tts_lane::{Lane, LaneState};
use super::tts_queue::{Handed, Job, TtsQueue};
use super::tts_ws::UNUSED;
use super::{Driver, FULL_PAUSE, FromNet};
use crate::config::{Language, SessionConfig, TtsProvider};
use crate::engine::SegmentId;
use crate::provider::elevenlabs::MAX_CONTEXTS;
use crate::provider::text::says_something;
use crate::provider::{ErrorClass, LinkState, SpeechChunk, Stage, StageError};

/// A text that nobody could be asked for by then is given up.
const MOST_WAIT: Duration = Duration::from_secs(10);
/// Without audio for so long a text is taken away from its provider, even if that lives.
pub(super) const NO_AUDIO: Duration = Duration::from_secs(3);
/// How often one provider is given the same text, if it was the connection that failed.
const MOST_TRIES: u32 = 2;
/// A text waits this long for a connection that is being made, before the next provider is asked.
pub(super) const LANE_PATIENCE: Duration = Duration::from_millis(400);
/// Where nobody can be asked, it is looked again after this at the latest.
pub(super) const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// Most segments remembered whose text failed in its middle.
const MOST_STUMBLES: usize = 64;

/// The synthesis of one session's words in one language.
pub(super) struct Tts {
    pub(super) driver: Driver,
    pub(super) config: Arc<SessionConfig>,
    pub(super) target: Language,
    pub(super) rate: u32,
    pub(super) queue: Arc<TtsQueue>,
    pub(super) roster: Roster<TtsProvider>,
    pub(super) lane: Lane,
    /// What ElevenLabs' limit of connections counts, websockets and requests together.
    pub(super) places: Arc<Account>,
    /// Which provider the room takes to be serving. Held while it is told, so that it is told in order.
    pub(super) told: tokio::sync::Mutex<Option<usize>>,
    /// A connection that had nothing to say for so long is replaced.
    pub(super) unused: Duration,
    /// Segments whose text failed in its middle, and which provider is to go on with it.
    stumbled: Mutex<HashMap<SegmentId, usize>>,
}

/// How a text failed.
pub(super) struct Failure {
    pub(super) error: StageError,
    /// Some of its audio was delivered.
    pub(super) given: bool,
    /// A connection that had worked was lost: says nothing about the provider, which may be given it once more.
    pub(super) dropped: bool,
}

/// Where a text goes.
enum Way {
    Lane,
    Request(Pick<TtsProvider>),
    /// Nowhere yet.
    Wait(Duration),
    Nowhere(StageError),
}

impl Tts {
    pub(super) fn new(
        driver: Driver,
        config: Arc<SessionConfig>,
        target: Language,
        rate: u32,
        queue: Arc<TtsQueue>,
    ) -> Self {
        let (elevenlabs, deepgram) = (&config.elevenlabs, &config.deepgram);
        let account = |provider: TtsProvider| {
            let (url, key) = match provider {
                TtsProvider::Elevenlabs | TtsProvider::ElevenlabsHttp => (&elevenlabs.base_url, &elevenlabs.api_key),
                TtsProvider::Aura => (&deepgram.base_url, &deepgram.api_key),
            };
            driver.accounts.get(provider.as_str(), &url.to_string(), key.expose())
        };
        let roster = Roster::new(config.tts_providers.iter().map(|provider| (*provider, account(*provider))));
        let lane = Lane::new(config.tts_providers.iter().position(|p| *p == TtsProvider::Elevenlabs));
        let places = account(TtsProvider::Elevenlabs);
        // Sessions that began together do not replace their connections together.
        let unused = UNUSED - Duration::from_secs(driver.session.0 % 20);
        let (told, stumbled) = (tokio::sync::Mutex::default(), Mutex::default());
        Self { driver, config, target, rate, queue, roster, lane, places, told, unused, stumbled }
    }

    /// Runs until the queue is closed.
    pub(super) async fn run(self: Arc<Self>) {
        self.lane.begin();
        match self.lane.index {
            Some(index) => {
                self.link(index, LinkState::Connecting).await;
                tokio::join!(self.keep_lane(index), self.dispatch());
            }
            None => {
                self.stand(None).await;
                self.dispatch().await;
            }
        }
        self.queue.give_up_all();
    }

    /// After a panic: what was taken in cannot be spoken.
    pub(super) async fn after_panic(self: Arc<Self>) {
        for segment in self.queue.give_up_all() {
            count(&self.driver.counters.tts_failures);
            self.chunk(segment, SpeechChunk::Failed(super::internal_error())).await;
        }
        *self.told.lock().await = None;
        let state = LinkState::Down { error: super::internal_error(), retry_in: Some(Duration::from_secs(1)) };
        self.link(0, state).await;
    }

    /// Gives texts to providers, in their order, until the queue is over.
    async fn dispatch(&self) {
        let mut requests = FuturesUnordered::new();
        while !self.queue.is_over() {
            let mut wake = Instant::now() + MOST_WAIT;
            while requests.len() + self.lane.load() < MAX_CONTEXTS
                && let Some(mut job) = self.queue.next()
            {
                let fresh = job.from.is_none();
                if fresh {
                    job.from = Some(lock(&self.stumbled).get(&job.segment).copied().unwrap_or(0));
                }
                if !says_something(&job.text) {
                    self.finish(&job, SpeechChunk::End).await;
                    continue;
                }
                let mut way = self.way(&job);
                // Who failed in the middle of this segment is asked again only if nobody else can be.
                if fresh && job.from != Some(0) && matches!(way, Way::Wait(_) | Way::Nowhere(_)) {
                    job.from = Some(0);
                    way = self.way(&job);
                }
                match way {
                    Way::Lane => self.lane.give(job),
                    Way::Request(pick) => requests.push(self.request(job, pick)),
                    Way::Wait(pause) => {
                        wake = Instant::now() + pause;
                        self.queue.put_back(job);
                        break;
                    }
                    Way::Nowhere(error) => {
                        self.stand(Some(&error)).await;
                        self.fail(&job, error).await;
                    }
                }
            }
            if let Some(limit) = Instant::now().checked_sub(MOST_WAIT) {
                for job in self.queue.take_late(limit) {
                    let error = job.error.clone().unwrap_or_else(|| {
                        StageError::new(
                            ErrorClass::RetryLater(None),
                            "too_late",
                            "The text waited too long to be spoken.",
                        )
                    });
                    self.fail(&job, error).await;
                }
            }
            if let Some(since) = self.queue.oldest() {
                wake = wake.min(since + MOST_WAIT);
            }
            tokio::select! {
                Some((job, index, result)) = requests.next() => self.ended(job, index, result).await,
                () = self.queue.changed.notified() => {}
                () = sleep_until(wake) => {}
            }
        }
        self.lane.close();
    }

    /// Who is to speak a text: the first provider, from the one it has come to, that can be asked now.
    fn way(&self, job: &Job) -> Way {
        if let Err(error) = self.driver.meter.check(Stage::Tts) {
            return Way::Nowhere(error);
        }
        let left = (job.since + MOST_WAIT).saturating_duration_since(Instant::now());
        let mut nobody: Option<Nobody> = None;
        let from = job.from.unwrap_or(0);
        for index in from..self.roster.providers().len() {
            let last = index + 1 == self.roster.providers().len();
            let refused = if self.lane.index == Some(index) {
                match self.lane.state() {
                    LaneState::Ready => match self.roster.ask(index) {
                        Ok(_) => return Way::Lane,
                        Err(refused) => refused,
                    },
                    LaneState::Connecting(since) | LaneState::Waiting(since) => {
                        let patience = if last { left } else { LANE_PATIENCE.saturating_sub(since.elapsed()) };
                        if !patience.is_zero() {
                            return Way::Wait(patience);
                        }
                        continue;
                    }
                    LaneState::Down(error, until) => {
                        Nobody { error, retry_in: until.saturating_duration_since(Instant::now()) }
                    }
                }
            } else {
                match self.roster.ask(index) {
                    Ok(pick) => return Way::Request(pick),
                    Err(refused) => refused,
                }
            };
            nobody = Some(match nobody {
                Some(first) => Nobody { retry_in: first.retry_in.min(refused.retry_in), ..first },
                None => refused,
            });
        }
        match (&job.error, nobody) {
            // It was tried, and nobody else is there to be asked.
            (Some(error), _) if from > 0 => Way::Nowhere(error.clone()),
            (_, Some(nobody)) if nobody.retry_in >= left => Way::Nowhere(nobody.error),
            (_, Some(nobody)) => Way::Wait(nobody.retry_in.clamp(Duration::from_millis(1), LOOK_AGAIN)),
            (_, None) => Way::Wait(LOOK_AGAIN),
        }
    }

    /// Audio came from the `index`th provider: if it was thought to fail it does not any more. Otherwise only a text
    /// that was spoken to its end counts ([`ended`](Self::ended)), or one that always stops in the middle would never
    /// be taken for out.
    pub(super) fn heard(&self, index: usize) {
        if !self.roster.works(index) {
            self.roster.report(index, Ok(()));
        }
    }

    /// What became of giving a text to the `index`th provider; `Ok` also for one that was cancelled, with whether some
    /// of its audio was delivered.
    pub(super) async fn ended(&self, mut job: Job, index: usize, result: Result<bool, Failure>) {
        let Failure { error, given, dropped } = match result {
            Ok(given) => {
                match given {
                    true => self.roster.report(index, Ok(())),
                    false => self.roster.release(index),
                }
                lock(&self.stumbled).remove(&job.segment);
                self.finish(&job, SpeechChunk::End).await;
                return self.stand(None).await;
            }
            Err(failure) => failure,
        };
        let error = self.safe(error, &job.text);
        // A lost connection is seen by all sessions of an account at once: it must not keep them all from coming back.
        match (dropped && error.class == ErrorClass::RetryNow) || error.code == NO_PLACE {
            true => self.roster.release(index),
            false => self.roster.report(index, Err(&error)),
        }
        self.stand(Some(&error)).await;
        if !dropped && *self.told.lock().await == Some(index) {
            // It goes on serving, so nothing else says what became of this text.
            self.link(index, LinkState::Odd(error.clone())).await;
        }
        let next = if dropped && job.tries + 1 < MOST_TRIES { index } else { index + 1 };
        if given {
            if !dropped {
                let mut stumbled = lock(&self.stumbled);
                if stumbled.len() >= MOST_STUMBLES {
                    stumbled.clear();
                }
                stumbled.insert(job.segment, (index + 1) % self.roster.providers().len().max(1));
            }
            return self.fail(&job, error).await;
        }
        lock(&self.stumbled).remove(&job.segment);
        if next >= self.roster.providers().len() || job.since.elapsed() >= MOST_WAIT {
            return self.fail(&job, error).await;
        }
        count(&self.driver.counters.tts_retries);
        job.tries = if next == index { job.tries + 1 } else { 0 };
        job.from = Some(next);
        job.error = Some(error);
        self.queue.put_back(job);
        self.queue.changed.notify_one();
    }

    /// Delivers a piece of a text; false if it is not wanted any more.
    pub(super) async fn deliver(&self, job: &Job, chunk: SpeechChunk) -> bool {
        self.hand_on(job, chunk, false).await
    }

    /// Waits for room on the way to the room, but delivers nothing of a text that was cancelled meanwhile: the engine
    /// could not tell it from what the next attempt gives.
    async fn hand_on(&self, job: &Job, chunk: SpeechChunk, last: bool) -> bool {
        let mut message = Some(FromNet::Speech { segment: job.segment, target: self.target, chunk });
        loop {
            let handed = self.queue.hand_on(job.ticket, last, || {
                message = message.take().and_then(|message| self.driver.outbox.offer(message));
                message.is_none()
            });
            match handed {
                Handed::Done => return true,
                Handed::Unwanted => return false,
                Handed::Full => sleep(FULL_PAUSE).await,
            }
        }
    }

    async fn fail(&self, job: &Job, error: StageError) {
        count(&self.driver.counters.tts_failures);
        self.finish(job, SpeechChunk::Failed(error)).await;
    }

    /// Ends a text, unless it was cancelled.
    async fn finish(&self, job: &Job, chunk: SpeechChunk) {
        self.hand_on(job, chunk, true).await;
    }

    async fn chunk(&self, segment: SegmentId, chunk: SpeechChunk) {
        self.driver.outbox.send(FromNet::Speech { segment, target: self.target, chunk }).await;
    }

    /// An error without the keys and without what is being said.
    pub(super) fn safe(&self, error: StageError, text: &str) -> StageError {
        error.without(&[self.config.elevenlabs.api_key.expose(), self.config.deepgram.api_key.expose(), text])
    }
}

/// Code of the error for a request that found no place among those that the account allows.
pub(super) const NO_PLACE: &str = "no_place";
/// Code of the error for a provider that takes texts and gives no audio.
pub(super) const SILENT: &str = "no_audio";
/// Code of the error for a connection over which nothing comes any more.
pub(super) const NO_ANSWER: &str = "no_answer";

/// For a text that ended before its last word.
pub(super) fn cut_short() -> StageError {
    StageError::new(ErrorClass::RetryNow, "cut_short", "The synthesiser left words of the text out at its end.")
}
