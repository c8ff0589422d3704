//! One connection of `multi-stream-input`: a context for each text, at most four at a time, because the vendor
//! takes five; what was heard of each; and whether anybody is there at all.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tokio_tungstenite::tungstenite::Message as WsMessage;

use super::Odd;
use super::counters::count;
use super::transport::{Received, Ws, receive, send};
use super::tts::{Failure, NO_ANSWER, NO_AUDIO, SILENT, Tts, cut_short};
use super::tts_queue::Job;
use crate::provider::alignment::{Aligned, Tracker};
use crate::provider::elevenlabs::{self, INACTIVITY_S, MAX_CONTEXTS, Message, PcmJoiner};
use crate::provider::{ErrorClass, SpeechChunk, StageError};

/// While a text is being spoken: a ping when nothing was heard for so long …
const PING_BUSY: Duration = Duration::from_millis(600);
/// … and nobody is there when nothing was heard for so long.
const DEAD_BUSY: Duration = Duration::from_millis(1800);
/// The same for a connection that has nothing to do: so that nothing on the way forgets it.
const PING_IDLE: Duration = Duration::from_secs(20);
const DEAD_IDLE: Duration = Duration::from_secs(50);
/// A connection that had nothing to do for so long is replaced before the vendor closes it: a text must not meet
/// a connection that is just being closed.
pub(super) const UNUSED: Duration = Duration::from_secs(INACTIVITY_S as u64 - 30);
/// A context that was given up and still is not ended by the vendor is forgotten after so long.
const FORGET: Duration = Duration::from_secs(10);

/// So many contexts that were given up make a connection useless.
const MOST_SILENT: usize = 2;

/// How a connection ended.
pub(super) enum End {
    /// As asked; `used` if a text was spoken.
    Done { used: bool },
    /// A request of this session is to have its place among the account's; `used` if a text was spoken.
    Yielded { used: bool },
    /// It had nothing to do for so long that the vendor will close it.
    Unused,
    /// By the other side or the network, while nothing was to be said.
    Idle,
    /// By the other side or the network.
    Lost(StageError),
}

/// A text that is being spoken.
struct Context {
    job: Job,
    joiner: PcmJoiner,
    tracker: Tracker,
    /// Some of it was delivered, so it cannot be begun again.
    given: bool,
    /// It was given up; only kept because the vendor still counts it.
    over: bool,
    /// Orders contexts.
    number: u64,
    /// When audio came for it last, or for one that the vendor speaks before it.
    heard: Instant,
}

/// The state of one connection.
struct Talk {
    contexts: HashMap<String, Context>,
    begun: u64,
    /// Audio came.
    spoke: bool,
    /// When a text was sent last.
    said: Instant,
    /// When anything came last, or the first text after a pause was sent.
    heard: Instant,
    pinged: Instant,
}

impl Tts {
    /// Carries a connection. Gives how it ended, and whether it has spoken.
    pub(super) async fn serve(&self, ws: &mut Ws, index: usize) -> (End, bool) {
        let now = Instant::now();
        let mut talk = Talk { contexts: HashMap::new(), begun: 0, spoke: false, said: now, heard: now, pinged: now };
        let end = self.carry(ws, &mut talk, index).await;
        let spoke = talk.spoke;
        let error = match end {
            Ok(end) => return (end, spoke),
            Err(error) => error,
        };
        let texts: Vec<&str> = talk.contexts.values().map(|context| context.job.text.as_str()).collect();
        let error = self.safe(error, "").without(&texts);
        let idle = talk.contexts.is_empty() && self.lane.load() == 0;
        // First, so that no text is given to a connection that is gone.
        self.lane.lost();
        if !idle {
            self.dropped(index, &error).await;
        }
        let mut lost: Vec<Context> = talk.contexts.into_values().filter(|context| !context.over).collect();
        lost.sort_by_key(|context| context.number);
        for Context { job, given, .. } in lost {
            self.lane.done();
            self.ended(job, index, Err(Failure { error: error.clone(), given, dropped: true })).await;
        }
        while let Some(job) = self.lane.take() {
            self.lane.done();
            self.roster.release(index);
            self.queue.put_back(job);
        }
        self.queue.changed.notify_one();
        (if idle && error.is_passing() { End::Idle } else { End::Lost(error) }, spoke)
    }

    /// Speaks and listens until the lane is closed, the connection is not used, or it is lost.
    async fn carry(&self, ws: &mut Ws, talk: &mut Talk, index: usize) -> Result<End, StageError> {
        let mut complaint: Option<StageError> = None;
        loop {
            if self.lane.is_closing() {
                return Ok(End::Done { used: talk.begun > 0 });
            }
            if self.lane.is_asked() && self.lane.load() == 0 {
                return Ok(End::Yielded { used: talk.begun > 0 });
            }
            while talk.contexts.len() < MAX_CONTEXTS
                && let Some(job) = self.lane.take()
            {
                self.begin(ws, talk, index, job).await?;
            }
            let silence = self.give_up_silent(talk, index).await;
            // One text may be at fault; where several stay without audio the connection is.
            if talk.contexts.values().filter(|context| context.over).count() >= MOST_SILENT {
                return Err(StageError::new(ErrorClass::RetryNow, SILENT, "The synthesiser gives no audio."));
            }
            let now = Instant::now();
            let busy = talk.contexts.values().any(|context| !context.over);
            if !busy && talk.contexts.is_empty() && now >= talk.said + self.unused {
                return Ok(End::Unused);
            }
            let (ping, dead) = if busy { (PING_BUSY, DEAD_BUSY) } else { (PING_IDLE, DEAD_IDLE) };
            if now >= talk.heard + dead {
                return Err(StageError::new(ErrorClass::RetryNow, NO_ANSWER, "The synthesiser does not answer."));
            }
            let quiet = talk.heard.max(talk.pinged) + ping;
            if now >= quiet {
                send(ws, WsMessage::Ping(Vec::new().into())).await?;
                talk.pinged = now;
                continue;
            }
            let mut wake = quiet.min(talk.heard + dead).min(silence.unwrap_or(quiet));
            if !busy {
                wake = wake.min(talk.said + self.unused);
            }
            let received = tokio::select! {
                biased;
                received = receive(ws) => received,
                () = self.lane.changed.notified() => continue,
                () = sleep_until(wake) => continue,
            };
            match received {
                Received::Text(text) => self.told(talk, index, elevenlabs::parse(&text), &mut complaint).await?,
                Received::Binary => self.odd(index, Odd::Binary).await,
                Received::Other => {}
                Received::Closed(code, reason) => {
                    return Err(complaint.unwrap_or_else(|| elevenlabs::close_error(code, &reason)));
                }
                Received::Failed(error) => return Err(complaint.unwrap_or(error)),
            }
            // Afterwards: delivering may have waited, and nothing was heard meanwhile.
            talk.heard = Instant::now();
        }
    }

    /// Gives a text to the synthesiser.
    async fn begin(&self, ws: &mut Ws, talk: &mut Talk, index: usize, job: Job) -> Result<(), StageError> {
        if !self.queue.is_wanted(job.ticket) {
            self.lane.done();
            self.roster.release(index);
            self.queue.changed.notify_one();
            return Ok(());
        }
        let mut name = format!("s{}", job.segment.0);
        while talk.contexts.contains_key(&name) {
            name.push('b');
        }
        let messages = [
            elevenlabs::open_context(&name, &self.config),
            elevenlabs::say(&name, &job.text),
            elevenlabs::close_context(&name),
        ];
        self.driver.meter.tts(&job.text);
        let now = Instant::now();
        if !talk.contexts.values().any(|context| !context.over) {
            talk.heard = now;
        }
        (talk.said, talk.begun) = (now, talk.begun + 1);
        let (joiner, tracker) = (PcmJoiner::default(), Tracker::new(&job.text, self.rate));
        let context = Context { job, joiner, tracker, given: false, over: false, number: talk.begun, heard: now };
        talk.contexts.insert(name, context);
        for message in messages {
            send(ws, WsMessage::text(message)).await?;
        }
        Ok(())
    }

    /// Acts on a message. An error ends the connection: where it cannot be told whose audio is missing, every text
    /// is taken up again.
    async fn told(
        &self,
        talk: &mut Talk,
        index: usize,
        message: Message,
        complaint: &mut Option<StageError>,
    ) -> Result<(), StageError> {
        match message {
            Message::Speech { context, audio, aligned, last } => {
                self.hear(talk, index, context, (&audio, aligned), last).await
            }
            Message::Error { context, error } => {
                match context {
                    Some(name) => self.give_up(talk, index, &name, error, true).await,
                    None => {
                        let texts: Vec<&str> = talk.contexts.values().map(|c| c.job.text.as_str()).collect();
                        *complaint = Some(error.without(&texts));
                    }
                }
                Ok(())
            }
            Message::Unknown => {
                self.odd(index, Odd::Unknown).await;
                Ok(())
            }
            Message::Malformed if talk.contexts.values().all(|context| context.over) => {
                self.odd(index, Odd::Malformed).await;
                Ok(())
            }
            Message::Malformed => {
                count(&self.driver.counters.malformed_messages);
                let error = || StageError::new(ErrorClass::RetryNow, "bad_message", "A message cannot be read.");
                let mut open = talk.contexts.iter().filter(|(_, context)| !context.over).map(|(name, _)| name.clone());
                match (open.next(), open.next()) {
                    (None, _) => Ok(()),
                    (Some(only), None) => {
                        self.give_up(talk, index, &only, error(), false).await;
                        Ok(())
                    }
                    _ => Err(error()),
                }
            }
        }
    }

    async fn hear(
        &self,
        talk: &mut Talk,
        index: usize,
        name: Option<String>,
        (audio, aligned): (&[u8], Aligned),
        last: bool,
    ) -> Result<(), StageError> {
        // A server that does not name the context can only mean the one there is.
        let name = match name {
            Some(name) => name,
            None if talk.contexts.len() == 1 => talk.contexts.keys().next().cloned().unwrap_or_default(),
            None if talk.contexts.is_empty() || (audio.is_empty() && !last) => return Ok(()),
            None => {
                count(&self.driver.counters.unknown_messages);
                return Err(StageError::new(ErrorClass::RetryNow, "bad_message", "Audio without a context's name."));
            }
        };
        // Contexts given up long ago may still speak.
        let Some(context) = talk.contexts.get_mut(&name) else { return Ok(()) };
        let now = Instant::now();
        let samples = context.joiner.push(audio);
        if !samples.is_empty() && !context.over {
            talk.spoke = true;
            context.heard = now;
            let clean = !context.tracker.is_contradicted();
            let chunks = context.tracker.push(samples, aligned);
            if clean && context.tracker.is_contradicted() {
                count(&self.driver.counters.tts_bad_alignments);
            }
            for chunk in chunks {
                let audio = matches!(chunk, SpeechChunk::Audio(_));
                if audio && !context.given {
                    self.heard(index);
                }
                context.given |= audio;
                self.deliver(&context.job, chunk).await;
            }
            // Those behind it wait for it.
            let number = context.number;
            for other in talk.contexts.values_mut().filter(|other| other.number > number && !other.over) {
                other.heard = now;
            }
        }
        if last && let Some(Context { job, given, over: false, tracker, .. }) = talk.contexts.remove(&name) {
            self.lane.done();
            let silent = || StageError::new(ErrorClass::RetryNow, SILENT, "The synthesiser gave no sound.");
            let result = match self.queue.is_wanted(job.ticket) {
                true if !given => Err(Failure { error: silent(), given, dropped: false }),
                true if tracker.falls_short() => Err(Failure { error: cut_short(), given, dropped: false }),
                _ => Ok(given),
            };
            self.ended(job, index, result).await;
        }
        Ok(())
    }

    /// A text is taken away from the connection; `closed` if the vendor does not count its context any more.
    async fn give_up(&self, talk: &mut Talk, index: usize, name: &str, error: StageError, closed: bool) {
        let Some(context) = talk.contexts.get_mut(name) else { return };
        let news = !std::mem::replace(&mut context.over, true);
        context.heard = Instant::now();
        let (job, given) = (context.job.clone(), context.given);
        if closed {
            talk.contexts.remove(name);
        }
        if news {
            self.lane.done();
            self.ended(job, index, Err(Failure { error, given, dropped: false })).await;
        }
    }

    /// Gives up texts for which no audio came for too long. When the next one may have to be.
    async fn give_up_silent(&self, talk: &mut Talk, index: usize) -> Option<Instant> {
        let now = Instant::now();
        talk.contexts.retain(|_, context| !context.over || now < context.heard + FORGET);
        let silent = |context: &Context| !context.over && now >= context.heard + NO_AUDIO;
        let names: Vec<String> =
            talk.contexts.iter().filter(|(_, context)| silent(context)).map(|(name, _)| name.clone()).collect();
        for name in names {
            let error = StageError::new(ErrorClass::RetryNow, SILENT, "No audio comes for this text.");
            self.give_up(talk, index, &name, error, false).await;
        }
        let due = |context: &Context| context.heard + if context.over { FORGET } else { NO_AUDIO };
        talk.contexts.values().map(due).min()
    }
}
