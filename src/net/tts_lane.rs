//! The websocket to ElevenLabs that is kept open: made before there is anything to say, and again whenever it is lost.

use std::collections::VecDeque;
use std::future::{Future, pending};
use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep};
use tokio_tungstenite::tungstenite::Message as WsMessage;

use super::accounts::{Nobody, Place, dialled};
use super::counters::count;
use super::runtime::lock;
use super::transport::{Backoff, Ws, close, connect_ws, send};
use super::tts::{LANE_PATIENCE, NO_ANSWER, SILENT, Tts};
use super::tts_queue::Job;
use super::tts_ws::End;
use crate::provider::{ErrorClass, LinkState, StageError, elevenlabs};

/// A connection that lasted so long was good: the next attempt follows at once.
const GOOD_AFTER: Duration = Duration::from_secs(5);
/// While the account's circuit is open it is looked at again after this: another session's probe may have closed it.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// What the texts' side and the connection's side of the task know of each other.
pub(super) struct Lane {
    /// Its place among the session's providers, if it is one of them.
    pub(super) index: Option<usize>,
    inner: Mutex<Inner>,
    /// Told about texts, about claims, and about the end.
    pub(super) changed: Notify,
    /// Told about a place that is handed over.
    handed: Notify,
}

struct Inner {
    state: LaneState,
    inbox: VecDeque<Job>,
    /// Texts in the inbox and in contexts.
    load: usize,
    closing: bool,
    /// It has a place among the account's connections.
    holds: bool,
    /// Requests of this session that use its place or wait for it, and since when there are any.
    claims: usize,
    claimed: Instant,
    /// The place, on its way to a request.
    spare: Option<Place>,
}

/// A request's claim to the connection's place: it is given up as soon as no text is being spoken over it, and the
/// connection is made again when nobody claims it any more.
pub(super) struct Claim<'a>(&'a Lane);

impl Claim<'_> {
    /// Waits for the place.
    pub(super) async fn place(&self) -> Place {
        loop {
            let handed = self.0.handed.notified();
            tokio::pin!(handed);
            // Before looking, so that a place handed over in between wakes us.
            handed.as_mut().enable();
            let spare = lock(&self.0.inner).spare.take();
            if let Some(place) = spare {
                return place;
            }
            handed.await;
        }
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        let mut inner = lock(&self.0.inner);
        inner.claims -= 1;
        let unused = if inner.claims == 0 { inner.spare.take() } else { None };
        drop(inner);
        drop(unused);
        self.0.changed.notify_one();
    }
}

/// How the connection is.
#[derive(Clone, Debug)]
pub(super) enum LaneState {
    /// Being made, since then.
    Connecting(Instant),
    /// Waits for a place among the account's connections, since then.
    Waiting(Instant),
    /// Open.
    Ready,
    /// Not made, and why; tried again then.
    Down(StageError, Instant),
}

impl Lane {
    pub(super) fn new(index: Option<usize>) -> Self {
        let state = LaneState::Connecting(Instant::now());
        let inner = Inner {
            state,
            inbox: VecDeque::new(),
            load: 0,
            closing: false,
            holds: false,
            claims: 0,
            claimed: Instant::now(),
            spare: None,
        };
        Self { index, inner: Mutex::new(inner), changed: Notify::new(), handed: Notify::new() }
    }

    /// Nothing is under way (any more).
    pub(super) fn begin(&self) {
        let mut inner = lock(&self.inner);
        inner.inbox.clear();
        inner.load = 0;
        inner.state = LaneState::Connecting(Instant::now());
    }

    pub(super) fn state(&self) -> LaneState {
        let inner = lock(&self.inner);
        if inner.claims > 0 { LaneState::Waiting(inner.claimed) } else { inner.state.clone() }
    }

    /// Texts can be spoken over it.
    #[cfg(test)]
    pub(super) fn is_ready(&self) -> bool {
        matches!(self.state(), LaneState::Ready)
    }

    /// Claims its place, if it has one that it can give up: at once, or (`patient`) when its texts are spoken.
    pub(super) fn claim(&self, patient: bool) -> Option<Claim<'_>> {
        let mut inner = lock(&self.inner);
        if !inner.holds || !(patient || inner.load == 0) {
            return None;
        }
        if inner.claims == 0 {
            inner.claimed = Instant::now();
        }
        inner.claims += 1;
        drop(inner);
        self.changed.notify_one();
        Some(Claim(self))
    }

    /// Its place is claimed.
    pub(super) fn is_asked(&self) -> bool {
        lock(&self.inner).claims > 0
    }

    /// Gives up its place: to who claims it, or to the account.
    fn give_up(&self, place: Place) {
        let mut inner = lock(&self.inner);
        inner.holds = false;
        let free = if inner.claims > 0 { inner.spare.replace(place) } else { Some(place) };
        drop(inner);
        drop(free);
        self.handed.notify_waiters();
    }

    fn set(&self, state: LaneState) {
        lock(&self.inner).state = state;
    }

    /// The connection is gone and will perhaps be made again at once.
    pub(super) fn lost(&self) {
        self.set(LaneState::Connecting(Instant::now()));
    }

    /// It is being made for so short a time that it may be waited for.
    pub(super) fn is_promising(&self) -> bool {
        matches!(self.state(), LaneState::Connecting(since) if since.elapsed() < LANE_PATIENCE)
    }

    /// It is tried again after a pause, at the earliest.
    fn retry_in(&self, pause: Duration) {
        if let LaneState::Down(_, until) = &mut lock(&self.inner).state {
            *until = (*until).max(Instant::now() + pause);
        }
    }

    /// Texts that it has.
    pub(super) fn load(&self) -> usize {
        lock(&self.inner).load
    }

    /// Gives it a text.
    pub(super) fn give(&self, job: Job) {
        let mut inner = lock(&self.inner);
        inner.inbox.push_back(job);
        inner.load += 1;
        drop(inner);
        self.changed.notify_one();
    }

    /// The next text to speak; it counts until [`done`](Self::done).
    pub(super) fn take(&self) -> Option<Job> {
        lock(&self.inner).inbox.pop_front()
    }

    /// It has one text less.
    pub(super) fn done(&self) {
        let mut inner = lock(&self.inner);
        inner.load = inner.load.saturating_sub(1);
    }

    /// Nothing more is to be spoken.
    pub(super) fn close(&self) {
        lock(&self.inner).closing = true;
        self.changed.notify_one();
    }

    pub(super) fn is_closing(&self) -> bool {
        lock(&self.inner).closing
    }
}

impl Tts {
    /// Keeps the connection until the lane is closed.
    pub(super) async fn keep_lane(&self, index: usize) {
        let mut backoff = Backoff::new(self.driver.session.0 ^ 0x7474_7300);
        while !self.lane.is_closing() {
            let Some(place) = self.lane_place(index).await else { return };
            lock(&self.lane.inner).holds = true;
            let pause = match self.connect_lane(index).await {
                None => return,
                Some(Ok(ws)) => self.use_lane(index, ws, &mut backoff).await,
                Some(Err(Nobody { error, retry_in })) => {
                    self.lane.set(LaneState::Down(error.clone(), Instant::now() + retry_in));
                    self.stand(Some(&error)).await;
                    Some(if retry_in.is_zero() { backoff.after(&error) } else { retry_in.min(LOOK_AGAIN) })
                }
            };
            self.lane.give_up(place);
            let Some(pause) = pause else { return };
            self.unless(|lane| lane.is_closing() || !lane.is_asked(), pending::<()>()).await;
            if !pause.is_zero() {
                self.lane.retry_in(pause);
                self.queue.changed.notify_one();
                self.unless_closing(sleep(pause)).await;
            }
        }
    }

    /// A place among the account's connections; `None` if the lane is closed meanwhile.
    async fn lane_place(&self, index: usize) -> Option<Place> {
        let most = self.config.elevenlabs.max_streams;
        if let Some(place) = self.places.try_place(most) {
            return Some(place);
        }
        self.lane.set(LaneState::Waiting(Instant::now()));
        self.queue.changed.notify_one();
        self.stand(None).await;
        self.link(index, LinkState::Waiting).await;
        self.unless_closing(self.places.place(most)).await
    }

    /// One attempt; `None` if the lane is closed meanwhile. A failure says how long not to try again, if it knows.
    async fn connect_lane(&self, index: usize) -> Option<Result<Ws, Nobody>> {
        let pick = match self.roster.ask(index) {
            Ok(pick) => pick,
            Err(nobody) => return Some(Err(nobody)),
        };
        if !matches!(self.lane.state(), LaneState::Connecting(_)) {
            self.lane.set(LaneState::Connecting(Instant::now()));
        }
        count(&self.driver.counters.connects);
        let stop = |lane: &Lane| lane.is_closing() || lane.is_asked();
        let Some(connected) = self.unless(stop, dialled(&pick.account, self.connect())).await else {
            self.roster.release(index);
            let yielded = || StageError::new(ErrorClass::RetryNow, "yielded", "A request has the connection's place.");
            let yielded = || Nobody { error: yielded(), retry_in: Duration::ZERO };
            return (!self.lane.is_closing()).then(|| Err(yielded()));
        };
        Some(match connected {
            Ok(ws) => {
                // That a connection can be made is no news, and says nothing of what comes over it: only audio does.
                match self.roster.refusal(index) {
                    Some(Nobody { error, .. }) if error.code != SILENT && error.code != NO_ANSWER => {
                        self.roster.report(index, Ok(()));
                    }
                    _ => self.roster.release(index),
                }
                Ok(ws)
            }
            Err(error) => {
                count(&self.driver.counters.connect_failures);
                self.roster.report(index, Err(&error));
                Err(Nobody { error, retry_in: Duration::ZERO })
            }
        })
    }

    async fn connect(&self) -> Result<Ws, StageError> {
        let url = elevenlabs::stream_url(&self.config, self.target, self.rate)?;
        let headers = elevenlabs::headers(&self.config)?;
        let dialer = self.driver.dialer().await?;
        let connected = connect_ws(&dialer.tls, &url, headers, elevenlabs::http_error).await;
        connected.map(|(ws, _)| ws).map_err(|error| self.safe(error, ""))
    }

    /// Serves over a connection (and those that replace it while it is idle) until it is lost. Gives the pause
    /// before the next attempt; `None` if the lane is closed.
    async fn use_lane(&self, index: usize, mut ws: Ws, backoff: &mut Backoff) -> Option<Duration> {
        loop {
            self.lane.set(LaneState::Ready);
            self.stand(None).await;
            self.queue.changed.notify_one();
            let since = Instant::now();
            let (end, spoke) = self.serve(&mut ws, index).await;
            let good = spoke || since.elapsed() > GOOD_AFTER;
            if good {
                backoff.reset();
            }
            let error = match end {
                End::Done { used } => {
                    // As the first message of a connection the vendor refuses it.
                    if used {
                        let _ = send(&mut ws, WsMessage::text(elevenlabs::CLOSE_SOCKET)).await;
                    }
                    close(&mut ws).await;
                    return None;
                }
                End::Yielded { used } => {
                    // First, so that no text is given to a connection that is gone.
                    self.lane.lost();
                    if used {
                        let _ = send(&mut ws, WsMessage::text(elevenlabs::CLOSE_SOCKET)).await;
                    }
                    close(&mut ws).await;
                    return Some(Duration::ZERO);
                }
                End::Unused => {
                    ws = match self.replaced(index, ws).await? {
                        Ok(new) => new,
                        Err(error) => {
                            self.lane.set(LaneState::Down(error.clone(), Instant::now()));
                            self.stand(Some(&error)).await;
                            return Some(backoff.after(&error));
                        }
                    };
                    continue;
                }
                // The vendor closes what is not used; that is no fault, and it is opened again.
                End::Idle if good => return Some(self.at_once()),
                End::Idle => StageError::new(ErrorClass::RetryNow, "closed", "The provider closed an idle connection."),
                End::Lost(error) => {
                    count(&self.driver.counters.drops);
                    error
                }
            };
            // Over one that has spoken before, it is the network that fails; but if none ever speaks …
            if !spoke && error.code == NO_ANSWER {
                self.roster.report(index, Err(&error));
            }
            if good && error.class == ErrorClass::RetryNow {
                return Some(self.at_once());
            }
            self.lane.set(LaneState::Down(error.clone(), Instant::now()));
            if error.class != ErrorClass::RetryNow {
                self.roster.report(index, Err(&error));
            }
            self.stand(Some(&error)).await;
            return Some(backoff.after(&error));
        }
    }

    /// The next attempt follows without a pause.
    fn at_once(&self) -> Duration {
        self.lane.lost();
        self.queue.changed.notify_one();
        Duration::ZERO
    }

    /// A new connection for one that the vendor would close soon. Where the account may have a few only, the old
    /// one is closed first.
    async fn replaced(&self, index: usize, mut old: Ws) -> Option<Result<Ws, StageError>> {
        if self.config.elevenlabs.max_streams.is_some() {
            close(&mut old).await;
            self.at_once();
            return Some(self.connect_lane(index).await?.map_err(|nobody| nobody.error));
        }
        let new = self.connect_lane(index).await?;
        let _ = send(&mut old, WsMessage::Close(None)).await;
        Some(new.map_err(|nobody| nobody.error))
    }

    /// What `work` gives, unless the lane is closed before.
    async fn unless_closing<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        self.unless(Lane::is_closing, work).await
    }

    /// What `work` gives, unless the lane is to `stop` before.
    async fn unless<T>(&self, stop: impl Fn(&Lane) -> bool, work: impl Future<Output = T>) -> Option<T> {
        tokio::pin!(work);
        loop {
            if stop(&self.lane) {
                return None;
            }
            tokio::select! {
                done = &mut work => return Some(done),
                () = self.lane.changed.notified() => {}
            }
        }
    }
}
