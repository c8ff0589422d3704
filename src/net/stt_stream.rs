//! One connection with a recogniser: sends what a queue holds at no more than 1.2 times real time, keeps itself open
//! while nobody is heard, and notices when nobody answers any more.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::{Instant, sleep_until};
use tokio_tungstenite::tungstenite::Message as WsMessage;

use super::Odd;
use super::accounts::{Account, Place, dialled};
use super::counters::count;
use super::stt::{Role, Stt};
use super::stt_queue::{Next, SttQueue};
use super::transport::{Received, Ws, close, connect_ws, receive, send};
use crate::config::SttProvider;
use crate::engine::level::is_quiet;
use crate::provider::recogniser::{Heard, KeepAlive};
use crate::provider::stream_clock::{StreamClock, samples_to_time};
use crate::provider::{ErrorClass, Stage, StageError, SttEvent, deepgram};

/// Most audio in one message.
const MOST_MESSAGE: Duration = Duration::from_millis(100);
/// A new connection also wants some audio within 10 s; this much silence is sent if there is none.
const OPENING_SILENCE: Duration = Duration::from_millis(20);
/// The vendor refuses more than 1.25 times real time.
const PACE: f64 = 1.2;
/// Audio that may go at once after a pause.
const BURST: Duration = Duration::from_millis(500);
/// For the last results after the stream was closed.
const CLOSE_DEADLINE: Duration = Duration::from_secs(5);
/// A peer that owes us something is asked for a sign of life after this time without one,
const PING_AFTER: Duration = Duration::from_millis(600);
/// and is taken for dead when so much time has passed after that: a black hole is left within 2 s.
const DEAD_AFTER: Duration = Duration::from_millis(1200);
/// The error code of a message that cannot be read.
pub(super) const BAD_MESSAGE: &str = "bad_message";
/// Codes of a connection on which nothing comes: no results, or nothing at all.
pub(super) const NO_ANSWER: &str = "no_answer";
pub(super) const NO_SIGN_OF_LIFE: &str = "no_sign_of_life";
/// Texts remembered so that no error repeats them, and the shortest one, in characters.
const MOST_TEXTS: usize = 8;
const SHORTEST_TEXT: usize = 8;
/// So much audio without any message means that nobody listens, although the connection lives: `/v1/listen` has a
/// result about every second, Flux while somebody speaks.
const DEAF_AFTER: Duration = Duration::from_secs(5);
/// How often losses, the budget and better connections are looked after.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// An open connection.
pub(super) struct Connection {
    pub(super) provider: SttProvider,
    /// Its place in the session's roster.
    pub(super) index: usize,
    /// When it was opened.
    pub(super) since: Instant,
    /// It has answered audio: only then its provider is known to work.
    pub(super) proven: bool,
    ws: Ws,
    clock: StreamClock,
    request_id: Option<String>,
    /// The newest texts that it recognised: no error may repeat them.
    texts: VecDeque<String>,
    sent_at: Instant,
    heard: LastHeard,
    /// Samples sent since the server last said something; of a vendor that is silent in silence, only loud ones.
    unheard: u64,
    _place: Place,
}

/// When the server was last heard.
struct LastHeard {
    at: Instant,
    /// When it was asked for a sign of life, if none has come since.
    pinged: Option<Instant>,
}

/// How a connection ended.
pub(super) enum End {
    /// As asked.
    Done,
    /// A connection with a preferred provider is ready to take over.
    Switch,
    /// By the other side or the network, or because the budget is used up.
    Lost(StageError),
}

impl Connection {
    /// Opens a connection for audio of `rate` Hz.
    pub(super) async fn open(
        stt: &Stt,
        provider: SttProvider,
        index: usize,
        account: &Account,
        place: Place,
    ) -> Result<Self, StageError> {
        let (config, rate) = (&stt.config, stt.queue.rate());
        let url = provider.listen_url(config, rate)?;
        let headers = provider.listen_headers(config)?;
        let dialer = stt.driver.dialer().await?;
        count(&stt.driver.counters.connects);
        let (ws, reply) = dialled(account, connect_ws(&dialer.tls, &url, headers, deepgram::http_error))
            .await
            .map_err(|error| stt.safe(error))?;
        let request_id = crate::provider::error::header(&reply, deepgram::REQUEST_ID_HEADER).map(str::to_owned);
        tracing::info!(
            session = stt.driver.session.0,
            provider = provider.as_str(),
            request_id = request_id.as_deref().unwrap_or(""),
            "recogniser connected"
        );
        let now = Instant::now();
        let heard = LastHeard { at: now, pinged: None };
        let clock = StreamClock::new(rate);
        let texts = VecDeque::new();
        Ok(Self {
            provider,
            index,
            since: now,
            ws,
            clock,
            request_id,
            texts,
            sent_at: now,
            heard,
            unheard: 0,
            proven: false,
            _place: place,
        })
    }

    /// Carries what `queue` holds until it is closed and answered for, or the connection is of no use any more.
    pub(super) async fn carry(&mut self, stt: &Stt, queue: &Arc<SttQueue>, role: Role) -> End {
        let rate = queue.rate();
        let mut pacer = Pacer::new(rate);
        let mut complaint: Option<StageError> = None;
        let mut until: Option<Instant> = None;
        let mut look = Instant::now();
        loop {
            let now = Instant::now();
            if now >= look {
                look = now + LOOK_EVERY;
                stt.report_lost(queue).await;
                if let Err(error) = stt.driver.meter.check(Stage::Stt) {
                    return End::Lost(error);
                }
                if role == Role::Live && until.is_none() && stt.spare_is_better_than(self.index) && !queue.owes_speech()
                {
                    self.leave().await;
                    return End::Switch;
                }
            }
            let mut wake = look;
            let outgoing = match (until, queue.next()) {
                (Some(deadline), _) if now >= deadline => {
                    // A recogniser that is this late is not waited for: another one may answer.
                    return match queue.owes_speech() {
                        true => End::Lost(no_answer()),
                        false => End::Done,
                    };
                }
                (Some(deadline), _) => {
                    wake = wake.min(deadline);
                    None
                }
                (None, Next::Audio(waiting)) => {
                    let chunk = waiting.min(samples_in(MOST_MESSAGE, rate));
                    let ready = pacer.ready_at(now, chunk);
                    wake = wake.min(ready);
                    if ready <= now { self.take_audio(stt, queue, chunk, &mut pacer) } else { None }
                }
                (None, Next::Finalize) => {
                    queue.take_finalize();
                    Some(WsMessage::text(self.provider.finalize()))
                }
                (None, Next::Close) => {
                    until = Some(now + CLOSE_DEADLINE);
                    // Nothing follows here that a gap could wait for.
                    queue.end_gap();
                    if let (Role::Replay(start), Some(end)) = (role, queue.end()) {
                        stt.event(SttEvent::Replaying { start, end }).await;
                    }
                    Some(WsMessage::text(self.provider.close_stream()))
                }
                (None, Next::Nothing) => {
                    let (after, message) = self.keep_alive();
                    wake = wake.min(self.sent_at + after);
                    if now >= self.sent_at + after { Some(message(self, stt)) } else { None }
                }
            };
            if let Some(message) = outgoing {
                if let Err(error) = send(&mut self.ws, message).await {
                    return self.lost(stt, complaint, error);
                }
                self.sent_at = Instant::now();
                if samples_to_time(self.unheard, rate) > DEAF_AFTER {
                    return self.lost(stt, complaint, no_answer());
                }
                continue;
            }
            let owing = self.sent_at > self.heard.at || until.is_some();
            if owing {
                wake = wake.min(self.heard.pinged.map_or(self.heard.at + PING_AFTER, |at| at + DEAD_AFTER));
            }
            let received = tokio::select! {
                biased;
                received = receive(&mut self.ws) => received,
                () = queue.changed.notified() => continue,
                () = sleep_until(wake) => {
                    // Only here, when it is sure that nothing has come: after a stall of our own the socket is read first.
                    if let Err(error) = self.sign_of_life(owing).await {
                        return self.lost(stt, complaint, error);
                    }
                    continue;
                }
            };
            self.heard.at = Instant::now();
            self.heard.pinged = None;
            match received {
                Received::Text(text) => {
                    self.unheard = 0;
                    let heard = self.provider.hear(&text, &self.clock);
                    let answers = match &heard {
                        Heard::Event(_) => true,
                        Heard::Nothing => self.clock.samples() > samples_in(BURST, rate),
                        _ => false,
                    };
                    if answers && !std::mem::replace(&mut self.proven, true) {
                        stt.works(self.index);
                    }
                    match heard {
                        Heard::Done if until.is_some() => {
                            queue.answered(Duration::MAX);
                            self.say_goodbye().await;
                            return End::Done;
                        }
                        Heard::Event(event) => {
                            self.remember(&event);
                            stt.hear(event, queue, role).await;
                        }
                        Heard::Complaint(error) => complaint = Some(stt.safe(error)),
                        Heard::Unknown => self.odd(stt, Odd::Unknown).await,
                        // It may have been words: another connection is asked for them again.
                        Heard::Malformed => {
                            count(&stt.driver.counters.malformed_messages);
                            return self.lost(stt, complaint, bad_message());
                        }
                        Heard::Nothing | Heard::Done => {}
                    }
                }
                Received::Binary => self.odd(stt, Odd::Binary).await,
                Received::Other => {}
                Received::Closed(Some(1000), _) if until.is_some() => {
                    queue.answered(Duration::MAX);
                    return End::Done;
                }
                Received::Closed(code, reason) => {
                    return self.lost(stt, complaint, deepgram::close_error(code, &reason));
                }
                Received::Failed(error) => return self.lost(stt, complaint, error),
            }
        }
    }

    /// Looks after a connection that waits for its use; an error if it is gone.
    pub(super) async fn idle(&mut self, stt: &Stt) -> Result<(), StageError> {
        while let Some(received) = receive(&mut self.ws).now_or_never() {
            match received {
                Received::Closed(code, reason) => return Err(deepgram::close_error(code, &reason)),
                Received::Failed(error) => return Err(error),
                Received::Text(_) | Received::Binary | Received::Other => {
                    (self.heard.at, self.heard.pinged) = (Instant::now(), None)
                }
            }
        }
        let (after, message) = self.keep_alive();
        if self.sent_at.elapsed() >= after {
            let message = message(self, stt);
            send(&mut self.ws, message).await?;
            self.sent_at = Instant::now();
        }
        self.sign_of_life(true).await
    }

    /// Ends the stream without waiting for anything.
    async fn leave(&mut self) {
        let _ = send(&mut self.ws, WsMessage::text(self.provider.close_stream())).await;
        let _ = send(&mut self.ws, WsMessage::Close(None)).await;
    }

    async fn say_goodbye(&mut self) {
        close(&mut self.ws).await;
    }

    /// After how much time without a message which one is to be sent.
    fn keep_alive(&self) -> (Duration, fn(&mut Self, &Stt) -> WsMessage) {
        match self.provider.keep_alive() {
            KeepAlive::Text(_, after) if self.clock.samples() == 0 => (after, |c, stt| c.silence(stt, OPENING_SILENCE)),
            KeepAlive::Text(_, after) => (after, |c, stt| match c.provider.keep_alive() {
                KeepAlive::Text(text, _) => WsMessage::text(text),
                KeepAlive::Silence { length, .. } => c.silence(stt, length),
            }),
            KeepAlive::Silence { after, .. } => (after, |c, stt| match c.provider.keep_alive() {
                KeepAlive::Silence { length, .. } => c.silence(stt, length),
                KeepAlive::Text(text, _) => WsMessage::text(text),
            }),
        }
    }

    fn silence(&mut self, stt: &Stt, length: Duration) -> WsMessage {
        stt.driver.meter.stt(length);
        let samples = samples_in(length, self.clock.rate());
        self.clock.filler(samples);
        WsMessage::binary(vec![0u8; samples as usize * 2])
    }

    /// Asks a peer that owes something whether it lives, and takes it for dead in the end.
    async fn sign_of_life(&mut self, owing: bool) -> Result<(), StageError> {
        match self.heard.pinged {
            _ if !owing => Ok(()),
            Some(asked) if asked.elapsed() >= DEAD_AFTER => {
                Err(StageError::new(ErrorClass::RetryNow, NO_SIGN_OF_LIFE, "The connection is dead."))
            }
            None if self.heard.at.elapsed() >= PING_AFTER => {
                self.heard.pinged = Some(Instant::now());
                send(&mut self.ws, WsMessage::Ping(Vec::new().into())).await
            }
            _ => Ok(()),
        }
    }

    /// A message of the next samples, noted in the clock; `None` if there are none any more.
    fn take_audio(&mut self, stt: &Stt, queue: &SttQueue, most: u64, pacer: &mut Pacer) -> Option<WsMessage> {
        let mut bytes = Vec::with_capacity(most as usize * 2);
        for (at, samples) in queue.take(most as usize, &mut bytes) {
            self.clock.sent(at, samples as u64);
        }
        let samples = bytes.len() as u64 / 2;
        if !self.provider.is_silent_in_silence() || !is_quiet_s16le(&bytes) {
            self.unheard += samples;
        }
        pacer.took(samples);
        stt.driver.meter.stt(samples_to_time(samples, queue.rate()));
        stt.driver.counters.stt_bytes.fetch_add(bytes.len() as u64, std::sync::atomic::Ordering::Relaxed);
        // The queue may have dropped what waited; an empty message would end the stream.
        (!bytes.is_empty()).then(|| WsMessage::binary(bytes))
    }

    fn lost(&self, stt: &Stt, complaint: Option<StageError>, error: StageError) -> End {
        let error = complaint.unwrap_or(error);
        let error = match error.request_id {
            Some(_) => error,
            None => error.with_request_id(self.request_id.as_deref()),
        };
        let texts: Vec<&str> = self.texts.iter().map(String::as_str).collect();
        End::Lost(stt.safe(error).without(&texts))
    }

    async fn odd(&self, stt: &Stt, odd: Odd) {
        stt.driver.odd(Stage::Stt, self.provider.as_str(), odd, self.request_id.as_deref()).await;
    }

    fn remember(&mut self, event: &SttEvent) {
        let (SttEvent::Interim(transcript) | SttEvent::EagerEnd(transcript) | SttEvent::Final { transcript, .. }) =
            event
        else {
            return;
        };
        // A short word may stand in any sentence.
        if transcript.text.chars().count() < SHORTEST_TEXT {
            return;
        }
        if self.texts.len() >= MOST_TEXTS {
            self.texts.pop_front();
        }
        self.texts.push_back(transcript.text.clone());
    }
}

fn is_quiet_s16le(bytes: &[u8]) -> bool {
    let samples: Vec<i16> = bytes.as_chunks::<2>().0.iter().map(|pair| i16::from_le_bytes(*pair)).collect();
    is_quiet(&samples)
}

fn no_answer() -> StageError {
    StageError::new(ErrorClass::RetryNow, NO_ANSWER, "The recogniser does not answer.")
}

fn bad_message() -> StageError {
    StageError::new(ErrorClass::RetryNow, BAD_MESSAGE, "A message of the recogniser cannot be read.")
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

    fn ready_at(&mut self, now: Instant, samples: u64) -> Instant {
        self.tokens = (self.tokens + self.rate * (now - self.at).as_secs_f64()).min(self.most);
        self.at = now;
        let missing = samples as f64 - self.tokens;
        if missing <= 0.0 { now } else { now + Duration::from_secs_f64(missing / self.rate) }
    }

    fn took(&mut self, samples: u64) {
        self.tokens -= samples as f64;
    }
}
