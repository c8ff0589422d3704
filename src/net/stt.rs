//! The recogniser's task: one for each session that speaks.
//!
//! It connects, sends what the queue holds at no more than 1.2 times real time, keeps the connection
//! open while nobody is heard, and connects again when it is lost. What was sent and not answered is
//! then reported as lost; what was not sent yet (at most 5 s) follows on the new connection.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tokio_tungstenite::tungstenite::Message as WsMessage;

use super::counters::count;
use super::stt_queue::{Next, SttQueue};
use super::transport::{Backoff, Received, Ws, close, connect_ws, receive, send};
use super::{Driver, FromNet};
use crate::config::SessionConfig;
use crate::provider::deepgram::{self, Message};
use crate::provider::stream_clock::StreamClock;
use crate::provider::{ErrorClass, LinkState, Stage, StageError, SttEvent};

/// Most audio in one message.
const MOST_MESSAGE: Duration = Duration::from_millis(100);
/// The vendor gives a connection up after 10 s without audio or a word from us.
const KEEP_ALIVE_AFTER: Duration = Duration::from_secs(4);
/// A new connection also wants some audio within 10 s; this much silence is sent if there is none.
const OPENING_SILENCE: Duration = Duration::from_millis(20);
/// The vendor refuses more than 1.25 times real time.
const PACE: f64 = 1.2;
/// Audio that may go at once after a pause.
const BURST: Duration = Duration::from_millis(500);
/// For the last results after `CloseStream`, and for a last attempt to connect when the session ends.
const CLOSE_DEADLINE: Duration = Duration::from_secs(5);
/// So much audio without any answer means that the connection is dead: results come about once a second.
const DEAF_AFTER: Duration = Duration::from_secs(15);
/// Losses are reported together, at most this often.
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// A connection that lasted so long was good: the next attempt follows soon.
const GOOD_AFTER: Duration = Duration::from_secs(10);

/// A session's recognition stream.
pub(super) struct Stt {
    pub(super) driver: Driver,
    pub(super) config: Arc<SessionConfig>,
    pub(super) queue: Arc<SttQueue>,
}

/// How a connection ended.
enum End {
    /// As asked.
    Done,
    /// By the other side or the network.
    Lost(StageError),
}

impl Stt {
    /// Runs until the queue is closed and the last results were delivered.
    pub(super) async fn run(self: Arc<Self>) {
        let mut backoff = Backoff::new(self.driver.session.0);
        loop {
            self.link(LinkState::Connecting).await;
            count(&self.driver.counters.connects);
            let Some(connected) = self.unless_pointless(self.connect()).await else {
                break;
            };
            let error = match connected {
                Ok(ws) => {
                    self.link(LinkState::Ready).await;
                    let since = Instant::now();
                    match self.serve(ws, &mut backoff).await {
                        End::Done => break,
                        End::Lost(error) => {
                            count(&self.driver.counters.drops);
                            if since.elapsed() > GOOD_AFTER {
                                backoff.reset();
                            }
                            error
                        }
                    }
                }
                Err(error) => {
                    count(&self.driver.counters.connect_failures);
                    error
                }
            };
            self.queue.give_up_unanswered();
            self.report_lost().await;
            let pause = backoff.after(&error);
            self.link(LinkState::Down { error, retry_in: Some(pause) }).await;
            if self.unless_pointless(tokio::time::sleep(pause)).await.is_none() {
                break;
            }
        }
        self.queue.give_up_all();
        self.report_lost().await;
        if !self.queue.is_replaced() {
            self.event(SttEvent::Closed).await;
        }
    }

    /// After a panic: what was on its way is lost.
    pub(super) async fn after_panic(self: Arc<Self>) {
        self.queue.give_up_unanswered();
        self.report_lost().await;
        self.link(LinkState::Down { error: super::internal_error(), retry_in: Some(Duration::from_secs(1)) }).await;
    }

    async fn connect(&self) -> Result<Ws, StageError> {
        let url = deepgram::listen_url(&self.config, self.queue.rate())?;
        let headers = deepgram::headers(&self.config)?;
        let dialer = self.driver.dialer().await?;
        match connect_ws(&dialer.tls, &url, headers, deepgram::http_error).await {
            Ok((ws, reply)) => {
                let id = crate::provider::error::header(&reply, deepgram::REQUEST_ID_HEADER).unwrap_or("");
                tracing::info!(session = self.driver.session.0, request_id = id, "recogniser connected");
                Ok(ws)
            }
            Err(error) => Err(error.without(&[self.config.deepgram.api_key.expose()])),
        }
    }

    /// Carries one connection.
    async fn serve(&self, mut ws: Ws, backoff: &mut Backoff) -> End {
        let rate = self.queue.rate();
        let mut clock = StreamClock::new(rate);
        let mut pacer = Pacer::new(rate);
        let mut complaint: Option<StageError> = None;
        let mut heard = Heard { at: Instant::now(), samples: 0 };
        let mut sent_at = Instant::now();
        let mut until: Option<Instant> = None;
        let mut reported = Instant::now();
        loop {
            if reported.elapsed() >= REPORT_EVERY {
                self.report_lost().await;
                reported = Instant::now();
            }
            let mut wake = sent_at + KEEP_ALIVE_AFTER;
            let outgoing = match (until, self.queue.next()) {
                (Some(deadline), _) => {
                    if Instant::now() >= deadline {
                        close(ws).await;
                        return End::Done;
                    }
                    wake = deadline;
                    None
                }
                (None, Next::Audio(waiting)) => {
                    let chunk = waiting.min(samples_in(MOST_MESSAGE, rate));
                    let ready = pacer.ready_at(chunk);
                    if ready <= Instant::now() {
                        self.take_audio(chunk, &mut clock, &mut pacer)
                    } else {
                        wake = wake.min(ready);
                        None
                    }
                }
                (None, Next::Finalize) => {
                    self.queue.take_finalize();
                    Some(WsMessage::text(deepgram::FINALIZE))
                }
                (None, Next::Close) => {
                    until = Some(Instant::now() + CLOSE_DEADLINE);
                    Some(WsMessage::text(deepgram::CLOSE_STREAM))
                }
                (None, Next::Nothing) if Instant::now() >= wake => Some(if clock.samples() == 0 {
                    let silence = samples_in(OPENING_SILENCE, rate);
                    clock.filler(silence);
                    WsMessage::binary(vec![0u8; silence as usize * 2])
                } else {
                    WsMessage::text(deepgram::KEEP_ALIVE)
                }),
                (None, Next::Nothing) => None,
            };
            if let Some(message) = outgoing {
                if let Err(error) = send(&mut ws, message).await {
                    return End::Lost(complaint.unwrap_or(error));
                }
                sent_at = Instant::now();
                if heard.deaf(clock.samples(), rate) {
                    let error = StageError::new(ErrorClass::RetryNow, "no_answer", "The recogniser does not answer.");
                    return End::Lost(complaint.unwrap_or(error));
                }
                continue;
            }
            let received = tokio::select! {
                biased;
                received = receive(&mut ws) => received,
                () = self.queue.changed.notified() => continue,
                () = sleep_until(wake) => continue,
            };
            heard = Heard { at: Instant::now(), samples: clock.samples() };
            match received {
                Received::Text(text) => match deepgram::parse(&text) {
                    Message::Metadata { .. } if until.is_some() => {
                        self.queue.answered(Duration::MAX);
                        close(ws).await;
                        return End::Done;
                    }
                    Message::Error(error) => complaint = Some(error.without(&[self.config.deepgram.api_key.expose()])),
                    message => {
                        if self.hear(message, &clock).await {
                            backoff.reset();
                        }
                    }
                },
                Received::Other => {}
                Received::Closed(Some(1000), _) if until.is_some() => return End::Done,
                Received::Closed(code, reason) => {
                    return End::Lost(complaint.unwrap_or_else(|| deepgram::close_error(code, &reason)));
                }
                Received::Failed(error) => return End::Lost(complaint.unwrap_or(error)),
            }
        }
    }

    /// A message of the next samples, noted in the clock; `None` if there are none any more.
    fn take_audio(&self, most: u64, clock: &mut StreamClock, pacer: &mut Pacer) -> Option<WsMessage> {
        let mut bytes = Vec::with_capacity(most as usize * 2);
        for (at, samples) in self.queue.take(most as usize) {
            clock.sent(at, samples.len() as u64);
            bytes.extend(samples.iter().flat_map(|sample| sample.to_le_bytes()));
        }
        pacer.took(bytes.len() as u64 / 2);
        self.driver.counters.stt_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        // The queue may have dropped what waited; an empty message would end the stream.
        (!bytes.is_empty()).then(|| WsMessage::binary(bytes))
    }

    /// Passes a message on; false if it made no sense.
    async fn hear(&self, message: Message, clock: &StreamClock) -> bool {
        let event = match message {
            Message::Results(results) => results.into_event(clock),
            Message::SpeechStarted { timestamp } => Some(SttEvent::SpeechStarted { at: clock.start(timestamp) }),
            Message::UtteranceEnd { last_word_end } => {
                // The vendor says -1 where it has heard no word.
                (last_word_end >= 0.0).then(|| SttEvent::UtteranceEnd { last_word_end: clock.end(last_word_end) })
            }
            Message::Metadata { .. } | Message::Error(_) => None,
            Message::Unknown => {
                count(&self.driver.counters.unknown_messages);
                return false;
            }
            Message::Malformed => {
                count(&self.driver.counters.malformed_messages);
                return false;
            }
        };
        if let Some(SttEvent::Final { transcript, .. }) = &event {
            // First what is lost: a final result would count the speech before it as answered for.
            self.report_lost().await;
            self.queue.answered(transcript.end);
        }
        if let Some(event) = event {
            self.event(event).await;
        }
        true
    }

    /// Runs `work` while the connection is down; `None` as soon as it makes no sense any more, because
    /// the stream is closing and nothing waits, or it has been closing for too long.
    async fn unless_pointless<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::pin!(work);
        // Not from turn to turn: audio that is pushed wakes us far more often than once a second.
        let mut report = Instant::now() + REPORT_EVERY;
        loop {
            let closing = self.queue.closing();
            if closing.is_some() && !self.queue.has_audio() {
                return None;
            }
            let deadline = closing.map(|since| since + CLOSE_DEADLINE);
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return None;
            }
            let wake = deadline.map_or(report, |deadline| deadline.min(report));
            tokio::select! {
                biased;
                done = &mut work => return Some(done),
                () = self.queue.changed.notified(), if closing.is_none() => {}
                () = sleep_until(wake) => {
                    self.report_lost().await;
                    report = Instant::now() + REPORT_EVERY;
                }
            }
        }
    }

    async fn report_lost(&self) {
        for (start, end) in self.queue.take_lost() {
            self.event(SttEvent::Lost { start, end }).await;
        }
    }

    async fn event(&self, event: SttEvent) {
        self.driver.outbox.send(FromNet::Stt { session: self.driver.session, event }).await;
    }

    async fn link(&self, state: LinkState) {
        self.driver.link(Stage::Stt, "deepgram", state).await;
    }
}

/// When the server was last heard, and how much it had been sent by then.
struct Heard {
    at: Instant,
    samples: u64,
}

impl Heard {
    fn deaf(&self, sent: u64, rate: u32) -> bool {
        sent - self.samples > samples_in(DEAF_AFTER, rate) && self.at.elapsed() > DEAF_AFTER
    }
}

fn samples_in(time: Duration, rate: u32) -> u64 {
    (time.as_millis() as u64 * u64::from(rate) / 1000).max(1)
}

/// A token bucket: so many samples may go now.
struct Pacer {
    rate: f64,
    most: f64,
    tokens: f64,
    at: Instant,
}

impl Pacer {
    fn new(rate: u32) -> Self {
        let most = BURST.as_secs_f64() * f64::from(rate);
        Self { rate: PACE * f64::from(rate), most, tokens: most, at: Instant::now() }
    }

    fn ready_at(&mut self, samples: u64) -> Instant {
        let now = Instant::now();
        self.tokens = (self.tokens + self.rate * (now - self.at).as_secs_f64()).min(self.most);
        self.at = now;
        let missing = samples as f64 - self.tokens;
        if missing <= 0.0 { now } else { now + Duration::from_secs_f64(missing / self.rate) }
    }

    fn took(&mut self, samples: u64) {
        self.tokens -= samples as f64;
    }
}
