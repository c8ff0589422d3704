//! The recogniser's task: one for each session that speaks.
//!
//! ```text
//! live:    queue --> connection with the first provider that works --> events
//!            | lost: what it had not answered for becomes a gap; the queue goes on over another connection
//! replay:  gaps, one after the other --> a connection of their own --> recovered words
//! spare:   a second connection (`stt.standby`), or one with a preferred provider that is back
//! ```
//! What no recogniser has heard in the end is reported as lost, never dropped silently.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};

use super::accounts::{Account, Pick, Place, Roster};
use super::counters::count;
use super::runtime::lock;
use super::stt_queue::SttQueue;
use super::stt_stream::{BAD_MESSAGE, Connection, End};
use super::transport::Backoff;
use super::{Driver, FromNet};
use crate::config::{SessionConfig, SttProvider};
use crate::provider::{ErrorClass, LinkState, Stage, StageError, SttEvent};

/// For a last attempt to connect when the session ends.
const CLOSE_DEADLINE: Duration = Duration::from_secs(5);
/// Losses are reported together, at most this often.
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// A connection that lasted so long was good: the next attempt follows at once.
const GOOD_AFTER: Duration = Duration::from_secs(1);
/// A gap has the time that it takes to send it, and so much more.
const REPLAY_GRACE: Duration = Duration::from_secs(8);
/// Gaps that may wait; the oldest is given up first. A connection that is lost more often is of no use.
const MOST_GAPS: usize = 8;
/// How often a waiting connection is looked after, and whether a preferred provider is back.
const SPARE_EVERY: Duration = Duration::from_millis(500);
/// Without a vendor's own pause.
const BUDGET_PAUSE: Duration = Duration::from_secs(30);
/// The error code of a budget that is used up.
const BUDGET: &str = "budget";
/// Longest pause while some provider may be asked.
const MOST_PAUSE: Duration = Duration::from_secs(5);

/// What a connection's results are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Of what is said now.
    Live,
    /// Of a gap that begins at this session time.
    Replay(Duration),
}

/// What is recognised again.
struct Gap {
    queue: Arc<SttQueue>,
    start: Duration,
    end: Duration,
}

/// A session's recognition.
pub(super) struct Stt {
    pub(super) driver: Driver,
    pub(super) config: Arc<SessionConfig>,
    pub(super) queue: Arc<SttQueue>,
    roster: Roster<SttProvider>,
    /// All recognisers are the vendor's streams together.
    places: Arc<Account>,
    gaps: Mutex<VecDeque<Gap>>,
    /// Told about every gap.
    changed: Notify,
    /// Told when the live stream is over.
    ended: Notify,
    spare: Mutex<Option<Connection>>,
    /// The live connection's index in the roster, while there is one.
    serving: Mutex<Option<usize>>,
    over: AtomicBool,
}

impl Stt {
    pub(super) fn new(driver: Driver, config: Arc<SessionConfig>, queue: Arc<SttQueue>) -> Self {
        let account = |provider: SttProvider| {
            let (url, key) = provider.account(&config);
            driver.accounts.get(provider.as_str(), &url, key)
        };
        Self {
            roster: Roster::new(config.stt_providers.iter().map(|p| (*p, account(*p)))),
            places: account(SttProvider::Deepgram),
            driver,
            config,
            queue,
            gaps: Mutex::default(),
            changed: Notify::new(),
            ended: Notify::new(),
            spare: Mutex::default(),
            serving: Mutex::default(),
            over: AtomicBool::new(false),
        }
    }

    /// Runs until the queue is closed and the last results were delivered.
    pub(super) async fn run(self: Arc<Self>) {
        let live = async {
            self.live().await;
            self.over.store(true, Ordering::Release);
            self.queue.end_gap();
            self.ended.notify_waiters();
        };
        tokio::join!(live, self.replay(), self.keep_spare());
        self.queue.give_up_all();
        self.report_lost(&self.queue).await;
        if !self.queue.is_replaced() {
            self.event(SttEvent::Closed).await;
        }
    }

    /// After a panic: what was on its way is recognised again, once the task runs again.
    pub(super) async fn after_panic(self: Arc<Self>) {
        self.open_gap().await;
        *lock(&self.spare) = None;
        let error = super::internal_error();
        self.link(self.config.stt_providers[0], LinkState::Down { error, retry_in: Some(Duration::from_secs(1)) })
            .await;
    }

    async fn live(&self) {
        let mut backoff = Backoff::new(self.driver.session.0);
        let mut next: Option<Pick<SttProvider>> = None;
        loop {
            let spare = lock(&self.spare).take();
            let connected = match spare {
                Some(connection) => Some(Ok(connection)),
                None => self.unless_pointless(self.connect_next(next.take())).await,
            };
            let Some(connected) = connected else { break };
            let (provider, error, pause) = match connected {
                Ok(mut connection) => {
                    self.link(connection.provider, LinkState::Ready).await;
                    *lock(&self.serving) = Some(connection.index);
                    let end = connection.carry(self, &self.queue, Role::Live).await;
                    *lock(&self.serving) = None;
                    match end {
                        End::Done => break,
                        End::Switch => continue,
                        End::Lost(error) => {
                            count(&self.driver.counters.drops);
                            self.lived(&connection, &error, &mut backoff);
                            self.open_gap().await;
                            let pause = match error.code == BUDGET {
                                true => BUDGET_PAUSE,
                                false => self.after_loss(&error, &mut backoff, &mut next),
                            };
                            (connection.provider, error, pause)
                        }
                    }
                }
                Err(Refused::By(index, provider, error)) => {
                    (provider, error.clone(), self.after_refusal(index, &error, &mut backoff, &mut next))
                }
                Err(Refused::ByAll(error, pause)) => (self.config.stt_providers[0], error, pause),
            };
            self.report_lost(&self.queue).await;
            self.link(provider, LinkState::Down { error, retry_in: Some(pause) }).await;
            if !pause.is_zero() && self.unless_pointless(sleep(pause)).await.is_none() {
                break;
            }
        }
        *lock(&self.spare) = None;
    }

    /// A connection is lost: a good one says nothing against its provider, unless it said what cannot be read.
    fn lived(&self, connection: &Connection, error: &StageError, backoff: &mut Backoff) {
        if connection.since.elapsed() >= GOOD_AFTER {
            backoff.reset();
        }
        let blameless = error.class == ErrorClass::RetryNow
            && error.code != BAD_MESSAGE
            && connection.since.elapsed() >= GOOD_AFTER;
        if !blameless && error.code != BUDGET {
            self.roster.report(connection.index, Err(error));
        }
    }

    /// Whom to ask after a connection was lost, and after which pause.
    fn after_loss(&self, error: &StageError, backoff: &mut Backoff, next: &mut Option<Pick<SttProvider>>) -> Duration {
        match self.roster.pick(0) {
            // Another one than the one that failed has not deserved a pause.
            Ok(pick) if pick.index > 0 => {
                *next = Some(pick);
                Duration::ZERO
            }
            Ok(pick) => {
                *next = Some(pick);
                backoff.after(error)
            }
            Err(nobody) => nobody.retry_in,
        }
    }

    /// Whom to ask after the `index`th has refused, and after which pause.
    fn after_refusal(
        &self,
        index: usize,
        error: &StageError,
        backoff: &mut Backoff,
        next: &mut Option<Pick<SttProvider>>,
    ) -> Duration {
        if let Ok(pick) = self.roster.pick(index + 1) {
            *next = Some(pick);
            return Duration::ZERO;
        }
        match self.roster.pick(0) {
            Ok(pick) => {
                *next = Some(pick);
                backoff.after(error).min(MOST_PAUSE)
            }
            Err(nobody) => nobody.retry_in,
        }
    }

    /// Makes the gap of a connection that was lost, if anything was said in it.
    async fn open_gap(&self) {
        let Some((queue, start, end)) = self.queue.gap() else { return };
        count(&self.driver.counters.replays);
        self.event(SttEvent::Replaying { start, end }).await;
        let given_up = {
            let mut gaps = lock(&self.gaps);
            gaps.push_back(Gap { queue, start, end });
            if gaps.len() > MOST_GAPS { gaps.remove(1) } else { None }
        };
        if let Some(gap) = given_up {
            self.close_gap(gap).await;
        }
        self.changed.notify_one();
    }

    /// Recognises the gaps again, one after the other, until the live stream is over and none is left.
    async fn replay(&self) {
        loop {
            let over = self.over.load(Ordering::Acquire);
            let gap = lock(&self.gaps).front().map(|gap| Gap { queue: Arc::clone(&gap.queue), ..*gap });
            match gap {
                Some(gap) => {
                    self.replay_gap(&gap).await;
                    // Only now, so that a panic finds it again.
                    let gap = lock(&self.gaps).pop_front();
                    if let Some(gap) = gap {
                        self.close_gap(gap).await;
                    }
                }
                None if over => return,
                None => tokio::select! {
                    () = self.changed.notified() => {}
                    () = self.ended.notified() => {}
                },
            }
        }
    }

    async fn replay_gap(&self, gap: &Gap) {
        let mut backoff = Backoff::new(self.driver.session.0 ^ 0x7265_706c);
        let deadline = Instant::now() + (gap.end - gap.start) + REPLAY_GRACE;
        let mut next = None;
        let work = async {
            loop {
                let pause = match self.connect_next(next.take()).await {
                    Ok(mut connection) => match connection.carry(self, &gap.queue, Role::Replay(gap.start)).await {
                        End::Done | End::Switch => return,
                        End::Lost(error) => {
                            count(&self.driver.counters.drops);
                            gap.queue.rewind();
                            self.lived(&connection, &error, &mut backoff);
                            self.after_loss(&error, &mut backoff, &mut next)
                        }
                    },
                    Err(Refused::By(index, _, error)) => self.after_refusal(index, &error, &mut backoff, &mut next),
                    Err(Refused::ByAll(_, pause)) => pause,
                };
                sleep(pause).await;
            }
        };
        let _ = tokio::time::timeout_at(deadline, work).await;
    }

    /// Tells of what stays unknown of a gap, and that nothing more comes of it.
    async fn close_gap(&self, gap: Gap) {
        let end = gap.queue.end().unwrap_or(gap.end).max(gap.end);
        gap.queue.give_up_all();
        self.report_lost(&gap.queue).await;
        self.event(SttEvent::Replayed { start: gap.start, end }).await;
    }

    /// Keeps a second connection ready where that is wanted, and makes one with a preferred provider that is back.
    async fn keep_spare(&self) {
        loop {
            tokio::select! {
                () = self.ended.notified() => {}
                () = sleep(SPARE_EVERY) => {}
            }
            if self.over.load(Ordering::Acquire) {
                *lock(&self.spare) = None;
                return;
            }
            let Some(serving) = *lock(&self.serving) else { continue };
            let kept = lock(&self.spare).take();
            if let Some(mut connection) = kept {
                if connection.idle().await.is_ok() {
                    lock(&self.spare).get_or_insert(connection);
                }
                continue;
            }
            if !self.config.stt_standby && serving == 0 {
                continue;
            }
            if let Ok(pick) = self.roster.pick(0) {
                let wanted = pick.index < serving || (self.config.stt_standby && pick.index == serving);
                match self.places.try_place(self.config.deepgram.max_streams) {
                    Some(place) if wanted => {
                        if let Ok(connection) = self.connect(&pick, place).await {
                            lock(&self.spare).get_or_insert(connection);
                        }
                    }
                    // Nothing was asked of it, so nothing is known: a probe goes to somebody else.
                    _ => {}
                }
            }
        }
    }

    /// Whether a connection with a preferred provider waits.
    pub(super) fn spare_is_better_than(&self, index: usize) -> bool {
        lock(&self.spare).as_ref().is_some_and(|spare| spare.index < index)
    }

    /// A connection with `pick`, or with the first provider that may be asked.
    async fn connect_next(&self, pick: Option<Pick<SttProvider>>) -> Result<Connection, Refused> {
        self.driver.meter.check(Stage::Stt).map_err(|error| Refused::ByAll(error, BUDGET_PAUSE))?;
        let pick = match pick {
            Some(pick) => pick,
            None => self.roster.pick(0).map_err(|n| Refused::ByAll(n.error, n.retry_in.max(REPORT_EVERY / 20)))?,
        };
        let most = self.config.deepgram.max_streams;
        let place = match self.places.try_place(most) {
            Some(place) => place,
            None => {
                self.link(pick.provider, LinkState::Waiting).await;
                self.places.place(most).await
            }
        };
        let connected = self.connect(&pick, place).await;
        connected.map_err(|error| Refused::By(pick.index, pick.provider, error))
    }

    async fn connect(&self, pick: &Pick<SttProvider>, place: Place) -> Result<Connection, StageError> {
        let connected = Connection::open(self, pick.provider, pick.index, &pick.account, place).await;
        match &connected {
            Ok(_) => self.roster.report(pick.index, Ok(())),
            Err(error) => {
                count(&self.driver.counters.connect_failures);
                self.roster.report(pick.index, Err(error));
            }
        }
        connected
    }

    /// Passes a recogniser's event on.
    pub(super) async fn hear(&self, event: SttEvent, queue: &SttQueue, role: Role) {
        if let SttEvent::Final { transcript, .. } = &event {
            // First what is lost: a final result would count the speech before it as answered for.
            self.report_lost(queue).await;
            queue.answered(transcript.end);
        }
        match (role, event) {
            (Role::Live, event) => self.event(event).await,
            (Role::Replay(_), SttEvent::Final { transcript, .. }) => self.event(SttEvent::Recovered(transcript)).await,
            // What is only interim, or about turns, was told when it was said.
            (Role::Replay(_), _) => {}
        }
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
                    self.report_lost(&self.queue).await;
                    report = Instant::now() + REPORT_EVERY;
                }
            }
        }
    }

    pub(super) async fn report_lost(&self, queue: &SttQueue) {
        for (start, end) in queue.take_lost() {
            self.event(SttEvent::Lost { start, end }).await;
        }
    }

    pub(super) async fn event(&self, event: SttEvent) {
        self.driver.outbox.send(FromNet::Stt { session: self.driver.session, event }).await;
    }

    async fn link(&self, provider: SttProvider, state: LinkState) {
        self.driver.link(Stage::Stt, provider.as_str(), state).await;
    }

    /// An error without the key.
    pub(super) fn safe(&self, error: StageError) -> StageError {
        error.without(&[self.config.deepgram.api_key.expose()])
    }
}

/// No connection.
enum Refused {
    /// By this one, or on the way there.
    By(usize, SttProvider, StageError),
    /// Nobody may be asked before so much time has passed.
    ByAll(StageError, Duration),
}
