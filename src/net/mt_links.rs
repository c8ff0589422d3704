//! Who translates for a session, as far as it is told; connections that are ready before the first word; and the way
//! back when nobody could serve.
//!
//! A connection that nobody used for [`KEEP_WARM`] is used by one request that costs nothing, for the whole process, as
//! long as any session is in a call: vendors close idle ones after a minute or more, and a new one costs two round
//! trips. Only the account that would be asked next is kept warm so.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::accounts::{Nobody, Pick};
use super::mt::{Mt, Outcome, Work, keys, preferred};
use super::mt_http::greet;
use super::mt_queue::Plan;
use super::runtime::lock;
use crate::config::MtProvider;
use crate::provider::{ErrorClass, LinkState, Stage, StageError};

/// An idle connection is used after so long.
const KEEP_WARM: Duration = Duration::from_secs(50);
/// A request that costs nothing may take so long.
const WARM_DEADLINE: Duration = Duration::from_secs(10);

/// Nobody can serve a session.
#[derive(Clone, Copy)]
pub(super) struct Out {
    /// When one of them may be asked again.
    pub(super) until: Instant,
    /// It is the session's settings, so that others' success says nothing.
    pub(super) settings: bool,
}

impl Mt {
    /// Keeps a connection warm, and looks whether somebody can serve again.
    pub(super) async fn look_after_connections(self: &Arc<Self>, work: &mut Work) {
        let now = Instant::now();
        let (plan, out, warm) = {
            let mut shared = lock(&self.shared);
            let out = shared.out.filter(|out| out.until <= now);
            if out.is_some() {
                shared.out = None;
            }
            let warm = shared.warm_at.is_some_and(|at| at <= now);
            if warm {
                shared.warm_at = Some(now + KEEP_WARM);
            }
            (shared.plan.clone(), out, warm)
        };
        let Some(plan) = plan.filter(|_| out.is_some() || warm) else { return };
        if self.driver.meter.check(Stage::Mt).is_err() {
            return;
        }
        let pick = match plan.roster.pick(0) {
            Ok(pick) => pick,
            Err(nobody) => return self.nobody(&plan, &nobody).await,
        };
        // An open account has let us through as its probe, so it must be asked.
        let probe = pick.account.is_open() || out.is_some_and(|out| out.settings);
        if !probe && !pick.account.is_idle(KEEP_WARM) {
            if out.is_some() {
                // Another session has found that it serves again.
                self.tell(pick.provider.as_str(), None).await;
            }
            return;
        }
        let probe = probe || out.is_some();
        pick.account.asks();
        let quota = pick.account.is_out();
        let mt = Arc::clone(self);
        work.push(Box::pin(async move {
            let greeting = async {
                let dialer = mt.driver.dialer().await?;
                greet(&dialer.pooled, pick.provider, &plan.config, quota, Instant::now() + WARM_DEADLINE).await
            };
            let result = greeting.await.map_err(|error| error.without(&keys(&plan.config).collect::<Vec<_>>()));
            Outcome::Greeted { plan, pick, probe, result }
        }));
    }

    /// What became of a request that costs nothing.
    pub(super) async fn greeted(
        &self,
        plan: &Plan,
        pick: Pick<MtProvider>,
        probe: bool,
        result: Result<(), StageError>,
    ) {
        match result {
            Ok(()) => {
                plan.roster.report(pick.index, Ok(()));
                self.tell(pick.provider.as_str(), None).await;
            }
            // A passing failure is left to the first text to find out, unless it is what we wanted to know.
            Err(error) if error.is_passing() && !probe => {}
            Err(error) => {
                plan.roster.report(pick.index, Err(&error));
                if pick.index + 1 < plan.config.mt_providers.len() {
                    self.tell(pick.provider.as_str(), Some((error, Some(Duration::ZERO)))).await;
                }
                // Whether another one can serve, and until when none can, is looked at at once.
                lock(&self.shared).out = Some(Out { until: Instant::now(), settings: true });
            }
        }
    }

    /// Nobody can be asked now: says so, and when that will be looked at again.
    pub(super) async fn nobody(&self, plan: &Plan, nobody: &Nobody) {
        let until = Instant::now() + nobody.retry_in.max(Duration::from_millis(10));
        let settings = nobody.error.class == ErrorClass::Configuration;
        lock(&self.shared).out = Some(Out { until, settings });
        self.tell(preferred(plan), Some((nobody.error.clone(), Some(nobody.retry_in)))).await;
    }

    /// Tells a state if it is another one: `provider` serves, or is down for a reason and until when.
    pub(super) async fn tell(&self, provider: &'static str, down: Option<(StageError, Option<Duration>)>) {
        let at_once = |retry_in: &Option<Duration>| *retry_in == Some(Duration::ZERO);
        let brief = (provider, down.as_ref().map(|(error, retry_in)| (error.code.clone(), at_once(retry_in))));
        {
            let mut shared = lock(&self.shared);
            if down.is_none() {
                shared.out = None;
            }
            if shared.told.replace(brief.clone()) == Some(brief) {
                return;
            }
        }
        let state = down.map_or(LinkState::Ready, |(error, retry_in)| LinkState::Down { error, retry_in });
        self.driver.link(Stage::Mt, provider, state).await;
    }
}
