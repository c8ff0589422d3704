//! The synthesiser's task: one for each (session, target language).
//!
//! Its connection is opened before there is anything to say and opened again whenever it is lost. A
//! context is made for each text, at most four at a time, because the vendor takes five.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tokio_tungstenite::tungstenite::Message as WsMessage;

use super::counters::count;
use super::transport::{Backoff, Received, Ws, close, connect_ws, receive, send};
use super::tts_queue::{Job, TtsQueue};
use super::{Driver, FromNet};
use crate::config::{Language, SessionConfig};
use crate::engine::SegmentId;
use crate::provider::elevenlabs::{self, MAX_CONTEXTS, Message, PcmJoiner};
use crate::provider::{ErrorClass, LinkState, SpeechChunk, Stage, StageError};

/// Without any message for a text for so long, it is given up. Also for texts that wait.
const MOST_SILENCE: Duration = Duration::from_secs(10);
/// A sign of life on an idle connection, so that nothing on the way forgets it.
const PING_EVERY: Duration = Duration::from_secs(20);
/// Without an answer to pings for so long the connection is dead.
const DEAD_AFTER: Duration = Duration::from_secs(50);
/// How often a text is given to a synthesiser.
const MOST_ATTEMPTS: u32 = 2;
/// A connection that lasted so long was good: the next attempt follows at once.
const GOOD_AFTER: Duration = Duration::from_secs(5);

/// The synthesis of one session's words in one language.
pub(super) struct Tts {
    pub(super) driver: Driver,
    pub(super) config: Arc<SessionConfig>,
    pub(super) target: Language,
    pub(super) rate: u32,
    pub(super) queue: Arc<TtsQueue>,
}

/// A text that is being spoken.
struct Context {
    job: Job,
    joiner: PcmJoiner,
    /// Some of it was delivered, so it cannot be begun again.
    begun: bool,
    /// It was given up; only kept because the vendor still counts it.
    over: bool,
    heard: Instant,
}

/// How a connection ended.
enum End {
    /// As asked.
    Done,
    /// By the other side or the network, while nothing was to be said.
    Idle,
    /// By the other side or the network.
    Lost(StageError),
}

impl Tts {
    /// Runs until the queue is closed.
    pub(super) async fn run(self: Arc<Self>) {
        let mut backoff = Backoff::new(self.driver.session.0 ^ 0x7474_7300);
        while !self.queue.is_over() {
            self.link(LinkState::Connecting).await;
            count(&self.driver.counters.connects);
            let error = match self.connect().await {
                Ok(ws) => {
                    self.link(LinkState::Ready).await;
                    let since = Instant::now();
                    let end = self.serve(ws, &mut backoff).await;
                    if since.elapsed() > GOOD_AFTER {
                        backoff.reset();
                    }
                    match end {
                        End::Done => break,
                        // The vendor closes what is not used; that is no fault, and it is opened again.
                        End::Idle if since.elapsed() > GOOD_AFTER => continue,
                        End::Idle => {
                            StageError::new(ErrorClass::RetryNow, "closed", "The provider closed an idle connection.")
                        }
                        End::Lost(error) => {
                            count(&self.driver.counters.drops);
                            error
                        }
                    }
                }
                Err(error) => {
                    count(&self.driver.counters.connect_failures);
                    error
                }
            };
            let pause = backoff.after(&error);
            self.link(LinkState::Down { error: error.clone(), retry_in: Some(pause) }).await;
            self.wait(pause, &error).await;
        }
        self.queue.give_up_all();
    }

    /// After a panic: what was taken in cannot be spoken.
    pub(super) async fn after_panic(self: Arc<Self>) {
        for segment in self.queue.give_up_all() {
            self.chunk(segment, SpeechChunk::Failed(super::internal_error())).await;
        }
        self.link(LinkState::Down { error: super::internal_error(), retry_in: Some(Duration::from_secs(1)) }).await;
    }

    async fn connect(&self) -> Result<Ws, StageError> {
        let url = elevenlabs::stream_url(&self.config, self.target, self.rate)?;
        let headers = elevenlabs::headers(&self.config)?;
        let dialer = self.driver.dialer().await?;
        let connected = connect_ws(&dialer.tls, &url, headers, elevenlabs::http_error).await;
        connected.map(|(ws, _)| ws).map_err(|error| self.safe(error, None))
    }

    /// Waits for the next attempt; texts that wait longer than they may fail meanwhile.
    async fn wait(&self, pause: Duration, error: &StageError) {
        let until = Instant::now() + pause;
        loop {
            // Where only a person can help, the next attempt is too far away for any text.
            let limit = if error.is_passing() { Instant::now().checked_sub(MOST_SILENCE) } else { None };
            if limit.is_some() || !error.is_passing() {
                for segment in self.queue.take_waiting(limit) {
                    self.fail_taken(segment, error.clone()).await;
                }
            }
            if Instant::now() >= until || self.queue.is_over() {
                return;
            }
            let wake = self.queue.oldest().map_or(until, |since| until.min(since + MOST_SILENCE));
            tokio::select! {
                () = sleep_until(wake) => {}
                () = self.queue.changed.notified() => {}
            }
        }
    }

    /// Carries one connection.
    async fn serve(&self, mut ws: Ws, backoff: &mut Backoff) -> End {
        let mut contexts: HashMap<String, Context> = HashMap::new();
        let error = match self.carry(&mut ws, &mut contexts, backoff).await {
            Ok(used) => {
                // As the first message of a connection the vendor refuses it.
                if used {
                    let _ = send(&mut ws, WsMessage::text(elevenlabs::CLOSE_SOCKET)).await;
                }
                close(&mut ws).await;
                return End::Done;
            }
            Err(error) => error,
        };
        let idle = contexts.is_empty() && self.queue.is_idle();
        let mut again = Vec::new();
        for Context { job, begun, over, .. } in contexts.into_values() {
            if over {
                continue;
            }
            if begun || job.attempts >= MOST_ATTEMPTS {
                let class = if begun { ErrorClass::RetryNow } else { error.class };
                self.fail(job.segment, StageError { class, ..error.clone() }).await;
            } else {
                count(&self.driver.counters.tts_retries);
                again.push(job);
            }
        }
        self.queue.put_back(again);
        if idle && error.is_passing() { End::Idle } else { End::Lost(error) }
    }

    /// Speaks and listens until the queue is over (`Ok`: whether anything was spoken) or the connection is lost.
    async fn carry(
        &self,
        ws: &mut Ws,
        contexts: &mut HashMap<String, Context>,
        backoff: &mut Backoff,
    ) -> Result<bool, StageError> {
        let mut used = false;
        let mut complaint: Option<StageError> = None;
        let mut heard = Instant::now();
        let mut pinged = Instant::now();
        loop {
            if self.queue.is_over() {
                return Ok(used);
            }
            while contexts.len() < MAX_CONTEXTS
                && let Some(job) = self.queue.next()
            {
                used = true;
                self.begin(ws, contexts, job).await?;
                pinged = Instant::now();
            }
            self.give_up_silent(contexts, heard).await?;
            let now = Instant::now();
            if now >= heard + DEAD_AFTER {
                return Err(StageError::new(ErrorClass::RetryNow, "no_answer", "The synthesiser does not answer."));
            }
            if now >= pinged + PING_EVERY {
                send(ws, WsMessage::Ping(Vec::new().into())).await?;
                pinged = now;
            }
            let silence = contexts.values().map(|context| context.heard + MOST_SILENCE).min();
            let wake = (pinged + PING_EVERY).min(silence.unwrap_or(heard + DEAD_AFTER));
            let received = tokio::select! {
                biased;
                received = receive(ws) => received,
                () = self.queue.changed.notified() => continue,
                () = sleep_until(wake) => continue,
            };
            heard = Instant::now();
            match received {
                Received::Text(text) => match elevenlabs::parse(&text) {
                    Message::Speech { context, audio, last } => {
                        backoff.reset();
                        self.hear(contexts, context, &audio, last).await;
                    }
                    Message::Error { context, error } => {
                        let private = contexts.values().next().map(|context| context.job.text.clone());
                        let error = self.safe(error, private.as_deref());
                        match context.and_then(|name| contexts.remove(&name)) {
                            Some(context) if !context.over => self.fail(context.job.segment, error).await,
                            Some(_) => {}
                            None => complaint = Some(error),
                        }
                    }
                    Message::Unknown => count(&self.driver.counters.unknown_messages),
                    Message::Malformed => count(&self.driver.counters.malformed_messages),
                },
                Received::Other => {}
                Received::Closed(code, reason) => {
                    let error = complaint.unwrap_or_else(|| elevenlabs::close_error(code, &reason));
                    let private = contexts.values().next().map(|context| context.job.text.clone());
                    return Err(self.safe(error, private.as_deref()));
                }
                Received::Failed(error) => return Err(complaint.unwrap_or(error)),
            }
        }
    }

    /// Gives a text to the synthesiser.
    async fn begin(&self, ws: &mut Ws, contexts: &mut HashMap<String, Context>, job: Job) -> Result<(), StageError> {
        if job.since.elapsed() >= MOST_SILENCE {
            let error =
                StageError::new(ErrorClass::RetryLater(None), "too_late", "The text waited too long to be spoken.");
            self.fail(job.segment, error).await;
            return Ok(());
        }
        let text = elevenlabs::sanitise(&job.text);
        // Nothing but punctuation gives no audio, or a noise.
        if !text.contains(char::is_alphanumeric) {
            self.finish(job.segment, SpeechChunk::End).await;
            return Ok(());
        }
        let mut name = format!("s{}", job.segment.0);
        while contexts.contains_key(&name) {
            name.push('b');
        }
        let messages = [
            elevenlabs::open_context(&name, &self.config),
            elevenlabs::say(&name, &text),
            elevenlabs::close_context(&name),
        ];
        let job = Job { attempts: job.attempts + 1, ..job };
        contexts.insert(
            name,
            Context { job, joiner: PcmJoiner::default(), begun: false, over: false, heard: Instant::now() },
        );
        for message in messages {
            send(ws, WsMessage::text(message)).await?;
        }
        Ok(())
    }

    async fn hear(&self, contexts: &mut HashMap<String, Context>, name: Option<String>, audio: &[u8], last: bool) {
        // A server that does not name the context can only mean the one there is.
        let name = match name {
            Some(name) => name,
            None if contexts.len() == 1 => contexts.keys().next().cloned().unwrap_or_default(),
            None => return count(&self.driver.counters.unknown_messages),
        };
        // Contexts given up long ago may still speak.
        let Some(context) = contexts.get_mut(&name) else {
            return;
        };
        context.heard = Instant::now();
        let segment = context.job.segment;
        let samples = context.joiner.push(audio);
        if !samples.is_empty() && !context.over && self.queue.is_wanted(segment) {
            context.begun = true;
            self.chunk(segment, SpeechChunk::Audio(samples)).await;
        }
        if last
            && let Some(context) = contexts.remove(&name)
            && !context.over
        {
            self.finish(segment, SpeechChunk::End).await;
        }
    }

    /// Fails texts that nothing was heard of for too long.
    async fn give_up_silent(&self, contexts: &mut HashMap<String, Context>, heard: Instant) -> Result<(), StageError> {
        let now = Instant::now();
        let error =
            || StageError::new(ErrorClass::RetryNow, "no_audio", "The synthesiser does not answer for this text.");
        let mut dead = false;
        for context in contexts.values_mut().filter(|context| now >= context.heard + MOST_SILENCE) {
            // Nothing at all has come since it was begun: not this text but the connection is at fault.
            dead |= heard <= context.heard;
            if !context.over {
                self.fail(context.job.segment, error()).await;
            }
            (context.over, context.heard) = (true, if context.over { now - MOST_SILENCE * 2 } else { now });
        }
        contexts.retain(|_, context| now < context.heard + MOST_SILENCE);
        if dead { Err(error()) } else { Ok(()) }
    }

    /// Ends a segment that is not in the queue any more.
    async fn fail_taken(&self, segment: SegmentId, error: StageError) {
        count(&self.driver.counters.tts_failures);
        self.chunk(segment, SpeechChunk::Failed(error)).await;
    }

    async fn fail(&self, segment: SegmentId, error: StageError) {
        count(&self.driver.counters.tts_failures);
        self.finish(segment, SpeechChunk::Failed(error)).await;
    }

    /// Ends a segment, unless it was cancelled.
    async fn finish(&self, segment: SegmentId, chunk: SpeechChunk) {
        if self.queue.finish(segment) {
            self.chunk(segment, chunk).await;
        }
    }

    async fn chunk(&self, segment: SegmentId, chunk: SpeechChunk) {
        self.driver.outbox.send(FromNet::Speech { segment, target: self.target, chunk }).await;
    }

    async fn link(&self, state: LinkState) {
        self.driver.link(Stage::Tts, "elevenlabs", state).await;
    }

    /// An error without the key and without what is being said.
    fn safe(&self, error: StageError, text: Option<&str>) -> StageError {
        error.without(&[self.config.elevenlabs.api_key.expose(), text.unwrap_or("")])
    }
}
