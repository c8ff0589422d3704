//! Translation: what waits goes to the first provider that works, over shared and kept connections.
//!
//! A task for each session serves its [`MtQueue`]. Each text has its own deadline. What fails goes to the next
//! provider at once, and from the first on again after a pause; a connection that broke is made once anew before
//! that. When nobody can serve, texts fail at once (unless the pause is short enough to be waited for), so that the
//! original voice is heard; the next text or, without one, a request that costs nothing (see `mt_links`) finds out that
//! it is over.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, sleep_until};

use super::accounts::{Pick, dialled};
use super::counters::count;
use super::http::{TIMEOUT, is_broken, late};
use super::mt_http::{ask, limits};
use super::mt_links::Out;
use super::mt_queue::{Batch, MtQueue, Plan, Text, concerns_text};
use super::runtime::lock;
use super::{Driver, FromNet};
use crate::config::{Language, MtProvider, SessionConfig};
use crate::engine::{SegmentId, TranslateJob};
use crate::provider::{ErrorClass, Stage, StageError};

/// First and longest pause before a text begins again from the first provider.
const ROUND_PAUSE: Duration = Duration::from_millis(100);
const ROUND_PAUSE_MOST: Duration = Duration::from_secs(1);
/// When nobody can serve for no longer than this, texts wait for it if their time allows.
const WORTH_WAITING: Duration = Duration::from_secs(2);
/// A try is not begun with less time than this.
const LEAST_TRY: Duration = Duration::from_millis(200);
/// After a time-out kept connections are not used for so long: one may be dead, which the pings of HTTP/2 find out
/// within this time.
const DISTRUST: Duration = Duration::from_secs(13);
/// Where nothing is to be done; any event ends the wait.
const LONG: Duration = Duration::from_secs(3600);

/// What the translations of one session share.
pub(super) struct Mt {
    pub(super) driver: Driver,
    pub(super) queue: MtQueue,
    pub(super) shared: Mutex<Shared>,
}

#[derive(Default)]
pub(super) struct Shared {
    pub(super) plan: Option<Arc<Plan>>,
    /// The last state told: who serves, or who is down with which code, and whether another one is asked at once.
    pub(super) told: Option<(&'static str, Option<(String, bool)>)>,
    /// Nobody can serve.
    pub(super) out: Option<Out>,
    /// When to look whether a connection is to be kept warm.
    pub(super) warm_at: Option<Instant>,
    /// Whose kept connections are not used, and since when.
    distrust: HashMap<&'static str, Instant>,
    /// Requests under way.
    requests: usize,
}

/// What became of something that ran.
pub(super) enum Outcome {
    Asked { batch: Batch, pick: Pick<MtProvider>, result: Result<Vec<String>, StageError> },
    Greeted { plan: Arc<Plan>, pick: Pick<MtProvider>, probe: bool, result: Result<(), StageError> },
}

pub(super) type Work = FuturesUnordered<Pin<Box<dyn Future<Output = Outcome> + Send>>>;

impl Mt {
    pub(super) fn new(driver: Driver) -> Self {
        Self { driver, queue: MtQueue::default(), shared: Mutex::default() }
    }

    /// Settings that texts will come with: a connection is opened before it is needed, and the key is tried.
    pub(super) fn open(&self, config: &Arc<SessionConfig>) {
        self.plan(config);
        lock(&self.shared).warm_at = Some(Instant::now());
        self.queue.wake();
    }

    /// Takes a text; its answer comes through the outbox, unless it is refused here.
    pub(super) fn push(&self, job: TranslateJob) -> Result<(), StageError> {
        let plan = self.plan(&job.config);
        let full =
            || StageError::new(ErrorClass::RetryLater(None), "queue_full", "Too many texts wait for the translator.");
        self.queue.push(job, plan, Instant::now()).then_some(()).ok_or_else(full)
    }

    /// Forgets a text: it is not answered any more.
    pub(super) fn cancel(&self, segment: SegmentId, target: Language) {
        self.queue.cancel(segment, target);
    }

    fn plan(&self, config: &Arc<SessionConfig>) -> Arc<Plan> {
        let mut shared = lock(&self.shared);
        match &shared.plan {
            Some(plan) if plan.serves(config) => Arc::clone(plan),
            _ => {
                let plan = Arc::new(Plan::new(Arc::clone(config), &self.driver.accounts));
                shared.plan = Some(Arc::clone(&plan));
                plan
            }
        }
    }

    /// Serves the queue for ever.
    pub(super) async fn run(self: Arc<Self>) {
        let mut work = Work::new();
        loop {
            self.expire().await;
            self.start(&mut work).await;
            self.look_after_connections(&mut work).await;
            let wake = self.wake();
            tokio::select! {
                biased;
                Some(outcome) = work.next(), if !work.is_empty() => match outcome {
                    Outcome::Asked { batch, pick, result } => self.asked(batch, pick, result).await,
                    Outcome::Greeted { plan, pick, probe, result } => self.greeted(&plan, pick, probe, result).await,
                },
                () = self.queue.changed() => {}
                () = sleep_until(wake.unwrap_or_else(|| Instant::now() + LONG)) => {}
            }
        }
    }

    /// After a panic: nobody brings what was under way any more.
    pub(super) async fn after_panic(self: Arc<Self>) {
        lock(&self.shared).requests = 0;
        for text in self.queue.orphans() {
            self.answer(&text, Err(super::internal_error())).await;
        }
    }

    /// When there is something to do by the clock.
    fn wake(&self) -> Option<Instant> {
        // With all requests under way nothing can be started, and their end wakes us.
        let texts = self.queue.due(self.is_busy());
        let shared = lock(&self.shared);
        [texts, shared.out.map(|out| out.until), shared.warm_at].into_iter().flatten().min()
    }

    fn is_busy(&self) -> bool {
        let shared = lock(&self.shared);
        shared.plan.as_ref().is_some_and(|plan| shared.requests >= plan.config.deepl.max_requests)
    }

    async fn expire(&self) {
        for text in self.queue.expired(Instant::now()) {
            let error = text.failed.clone().map_or_else(late, |(_, error)| error);
            if let Some((provider, error)) = &text.failed
                && text.untold
            {
                self.tell(provider, Some((error.clone(), Some(Duration::ZERO)))).await;
            }
            self.answer(&text, Err(error)).await;
        }
    }

    /// Starts as many requests as may be under way.
    async fn start(self: &Arc<Self>, work: &mut Work) {
        while !self.is_busy() {
            let now = Instant::now();
            let Some((number, text)) = self.queue.ready(now) else { return };
            if let Err(error) = self.driver.meter.check(Stage::Mt) {
                self.tell(preferred(&text.plan), Some((error.clone(), None))).await;
                self.give_up(number, error).await;
                continue;
            }
            match text.plan.roster.pick(text.from) {
                Ok(pick) => self.start_one(number, &text, pick, work).await,
                Err(_) if text.from > 0 => {
                    let pause = |round: u32| ROUND_PAUSE.saturating_mul(1 << round.min(4)).min(ROUND_PAUSE_MOST);
                    let jitter = |pause| text.plan.roster.first().map_or(pause, |account| account.jitter(pause));
                    if let Some(text) = self.queue.next_round(number, now, |round| jitter(pause(round))) {
                        let error = text.failed.clone().map_or_else(late, |(_, error)| error);
                        self.answer(&text, Err(error)).await;
                    }
                }
                Err(nobody) => {
                    self.nobody(&text.plan, &nobody).await;
                    let passing = nobody.error.is_passing() && nobody.retry_in <= WORTH_WAITING;
                    if passing && now + nobody.retry_in + LEAST_TRY < text.deadline {
                        self.queue.postpone(number, now + nobody.retry_in);
                    } else {
                        self.give_up(number, nobody.error).await;
                    }
                }
            }
        }
    }

    async fn start_one(self: &Arc<Self>, number: u64, text: &Text, pick: Pick<MtProvider>, work: &mut Work) {
        if let Some((failed, error)) = text.failed.as_ref().filter(|_| text.untold)
            && *failed != pick.provider.as_str()
        {
            self.tell(failed, Some((error.clone(), Some(Duration::ZERO)))).await;
            self.queue.told(number);
        }
        let (texts, bytes) = limits(pick.provider);
        // What waits goes together only if it had to wait otherwise.
        let last_place = lock(&self.shared).requests + 1 >= text.plan.config.deepl.max_requests;
        let Some(batch) = self.queue.start(number, if last_place { texts } else { 1 }, bytes, Instant::now()) else {
            // Cancelled in between; a probe that was let through for it is replaced in time.
            return;
        };
        if batch.again {
            count(&self.driver.counters.mt_retries);
        }
        lock(&self.shared).requests += 1;
        let mt = Arc::clone(self);
        work.push(Box::pin(async move {
            let result = mt.request(&batch, &pick).await;
            Outcome::Asked { batch, pick, result }
        }));
    }

    /// Asks once, and once more over a new connection where a kept one broke.
    async fn request(&self, batch: &Batch, pick: &Pick<MtProvider>) -> Result<Vec<String>, StageError> {
        let (config, name) = (&batch.plan.config, pick.provider.as_str());
        let jobs: Vec<&TranslateJob> = batch.texts.iter().map(|(_, job)| &**job).collect();
        let deadline = || batch.deadline.min(Instant::now() + config.mt_timeout);
        let spend = || {
            pick.account.asks();
            jobs.iter().for_each(|job| self.driver.meter.mt(&job.text));
        };
        let work = async {
            let dialer = self.driver.dialer().await?;
            let trusted = lock(&self.shared).distrust.get(name).is_none_or(|at| at.elapsed() >= DISTRUST);
            if trusted {
                spend();
                let first = ask(&dialer.pooled, pick.provider, config, &jobs, deadline()).await;
                match first {
                    Err(error) if is_broken(&error) && self.driver.meter.check(Stage::Mt).is_ok() => {}
                    Err(error) if error.code == TIMEOUT => {
                        lock(&self.shared).distrust.insert(name, Instant::now());
                        return Err(error);
                    }
                    done => return done,
                }
                count(&self.driver.counters.mt_retries);
            }
            spend();
            let due = deadline();
            dialled(&pick.account, ask(&dialer.fresh, pick.provider, config, &jobs, due)).await
        };
        work.await.map_err(|error| {
            let mut private: Vec<&str> = keys(config).collect();
            for job in &jobs {
                private.push(&job.text);
                private.extend(job.context.iter().map(String::as_str));
            }
            error.without(&private)
        })
    }

    async fn asked(&self, batch: Batch, pick: Pick<MtProvider>, result: Result<Vec<String>, StageError>) {
        let (roster, provider) = (&batch.plan.roster, pick.provider.as_str());
        {
            let mut shared = lock(&self.shared);
            shared.requests = shared.requests.saturating_sub(1);
        }
        let error = match result {
            Ok(translations) => {
                roster.report(pick.index, Ok(()));
                self.tell(provider, None).await;
                for ((number, _), translation) in batch.texts.iter().zip(translations) {
                    if let Some(text) = self.queue.take(*number) {
                        self.answer(&text, Ok(translation)).await;
                    }
                }
                return;
            }
            Err(error) => error,
        };
        match concerns_text(&error) {
            // It has answered, which is all that a probe wants to know; the account is not to blame.
            true => roster.report(pick.index, Err(&StageError { class: ErrorClass::BadRequest, ..error.clone() })),
            false => roster.report(pick.index, Err(&error)),
        }
        // One bad text must not take others with it, and a reply that does not fit several may fit one.
        let about_one = error.class == ErrorClass::BadRequest || error.code == "bad_reply";
        if about_one && batch.texts.len() > 1 {
            self.queue.separate(batch.texts.iter().map(|(number, _)| *number));
            return;
        }
        let open = batch.texts.iter().filter(|(number, _)| self.queue.failed(*number, pick.index, provider, &error));
        if open.count() == 0 && !concerns_text(&error) {
            // Their time is over, so nobody else tells.
            self.tell(provider, Some((error, Some(Duration::ZERO)))).await;
        }
    }

    async fn give_up(&self, number: u64, error: StageError) {
        if let Some(text) = self.queue.take(number) {
            self.answer(&text, Err(error)).await;
        }
    }

    /// Answers a text that was taken out of the queue.
    async fn answer(&self, text: &Text, result: Result<String, StageError>) {
        if result.is_err() {
            count(&self.driver.counters.mt_failures);
        }
        let (segment, target) = (text.job.segment, text.job.target);
        self.driver.outbox.send(FromNet::Translated { segment, target, result }).await;
    }
}

pub(super) fn preferred(plan: &Plan) -> &'static str {
    plan.config.mt_providers.first().map_or("", |provider| provider.as_str())
}

/// All keys that a translator could echo.
pub(super) fn keys(config: &SessionConfig) -> impl Iterator<Item = &str> {
    let more = [&config.openai.api_key, &config.libretranslate.api_key];
    std::iter::once(&config.deepl.api_key).chain(more.into_iter().flatten()).map(|key| key.expose())
}
