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
use super::stt_gaps::Gap;
use super::stt_queue::SttQueue;
use super::stt_stream::{BAD_MESSAGE, Connection, End, NO_ANSWER, NO_SIGN_OF_LIFE};
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
/// Without a vendor's own pause.
const BUDGET_PAUSE: Duration = Duration::from_secs(30);
/// The error code of a budget that is used up.
const BUDGET: &str = "budget";
/// Shortest pause where nobody may be asked now.
const LEAST_PAUSE: Duration = Duration::from_millis(50);
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

/// A session's recognition.
pub(super) struct Stt {
    pub(super) driver: Driver,
    pub(super) config: Arc<SessionConfig>,
    pub(super) queue: Arc<SttQueue>,
    pub(super) roster: Roster<SttProvider>,
    /// All recognisers are the vendor's streams together.
    pub(super) places: Arc<Account>,
    pub(super) gaps: Mutex<VecDeque<Gap>>,
    /// Told about every gap.
    pub(super) changed: Notify,
    /// Told when the live stream is over.
    pub(super) ended: Notify,
    pub(super) spare: Mutex<Option<Connection>>,
    /// The live connection's index in the roster, while there is one.
    pub(super) serving: Mutex<Option<usize>>,
    pub(super) over: AtomicBool,
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
                None => self.unless_pointless(self.connect_live(next.take())).await,
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
                            let from = self.lived(&connection, &error, &mut backoff);
                            self.open_gap().await;
                            let pause = match error.code == BUDGET {
                                true => BUDGET_PAUSE,
                                false => {
                                    let (pick, pause) = self.after(from, &error, &mut backoff);
                                    next = pick;
                                    pause
                                }
                            };
                            (connection.provider, error, pause)
                        }
                    }
                }
                Err(Refused::By(index, provider, error)) => {
                    let (pick, pause) = self.after(index + 1, &error, &mut backoff);
                    next = pick;
                    (provider, error, pause)
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

    /// The `index`th provider has answered.
    pub(super) fn works(&self, index: usize) {
        self.roster.report(index, Ok(()));
    }

    /// Takes note of a lost connection. Gives where to look for the next one: a provider that worked until its
    /// connection broke is asked first again, one that did not answer is not.
    pub(super) fn lived(&self, connection: &Connection, error: &StageError, backoff: &mut Backoff) -> usize {
        let good = connection.proven && connection.since.elapsed() >= GOOD_AFTER;
        if good {
            backoff.reset();
        }
        let silent = matches!(error.code.as_str(), NO_ANSWER | NO_SIGN_OF_LIFE | BAD_MESSAGE);
        if error.code == BUDGET || (good && !silent && error.class == ErrorClass::RetryNow) {
            return 0;
        }
        // There is no request that could be bad: whatever it says, it did not serve.
        let class = if error.class == ErrorClass::BadRequest { ErrorClass::RetryNow } else { error.class };
        self.roster.report(connection.index, Err(&StageError { class, ..error.clone() }));
        connection.index + 1
    }

    /// Whom to ask next, from the `from`th on, and after which pause.
    pub(super) fn after(
        &self,
        from: usize,
        error: &StageError,
        backoff: &mut Backoff,
    ) -> (Option<Pick<SttProvider>>, Duration) {
        // Another one than the one that failed has not deserved a pause.
        if let Some(pick) = (from > 0).then(|| self.roster.pick(from).ok()).flatten() {
            return (Some(pick), Duration::ZERO);
        }
        match self.roster.pick(0) {
            Ok(pick) if pick.index > 0 && from == 0 => (Some(pick), Duration::ZERO),
            Ok(pick) => (Some(pick), backoff.after(error).min(MOST_PAUSE)),
            Err(nobody) => (None, nobody.retry_in.max(LEAST_PAUSE)),
        }
    }

    /// A connection with `pick`, or with the first provider that may be asked; waits for a place.
    async fn connect_live(&self, pick: Option<Pick<SttProvider>>) -> Result<Connection, Refused> {
        let pick = self.choose(pick)?;
        let most = self.config.deepgram.max_streams;
        let place = match self.places.try_place(most) {
            Some(place) => place,
            None => {
                self.link(pick.provider, LinkState::Waiting).await;
                self.places.place(most).await
            }
        };
        self.connect(&pick, place).await.map_err(|error| Refused::By(pick.index, pick.provider, error))
    }

    /// `pick`, or the first provider that may be asked.
    pub(super) fn choose(&self, pick: Option<Pick<SttProvider>>) -> Result<Pick<SttProvider>, Refused> {
        self.driver.meter.check(Stage::Stt).map_err(|error| Refused::ByAll(error, BUDGET_PAUSE))?;
        match pick {
            Some(pick) => Ok(pick),
            None => self.roster.pick(0).map_err(|n| Refused::ByAll(n.error, n.retry_in.max(LEAST_PAUSE))),
        }
    }

    pub(super) async fn connect(&self, pick: &Pick<SttProvider>, place: Place) -> Result<Connection, StageError> {
        let connected = Connection::open(self, pick.provider, pick.index, &pick.account, place).await;
        // A provider that takes connections may still not answer: that it works is told by its first answer.
        if let Err(error) = &connected {
            count(&self.driver.counters.connect_failures);
            self.roster.report(pick.index, Err(error));
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
pub(super) enum Refused {
    /// By this one, or on the way there.
    By(usize, SttProvider, StageError),
    /// Nobody may be asked before so much time has passed.
    ByAll(StageError, Duration),
}
