//! What all sessions share about an account with a vendor: its circuit, how many connections it has open, and
//! how many are being made. And a session's own list of providers for a stage, of which it asks the first that works.

use std::collections::HashMap;
use std::future::Future;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, SemaphorePermit};
use tokio::time::Instant;

use super::runtime::lock;
use crate::provider::circuit::{Admission, Circuit};
use crate::provider::{ErrorClass, StageError};

/// Connections of one account that may be made at the same moment: when hundreds are lost at once, they come back
/// in a queue and not as a storm.
const MOST_DIALS: usize = 32;
/// A provider whose settings are wrong for a session is not asked by it for so long.
const WRONG_SETTINGS_PAUSE: Duration = Duration::from_secs(30);
/// Most accounts remembered.
const MOST_ACCOUNTS: usize = 256;

/// All accounts of the process.
pub(super) struct Accounts {
    made: Mutex<HashMap<u64, Arc<Account>>>,
    begun: Instant,
}

impl Default for Accounts {
    fn default() -> Self {
        Self { made: Mutex::default(), begun: Instant::now() }
    }
}

impl Accounts {
    /// The account of a provider (by its name in the configuration) at an address with a key.
    pub(super) fn get(&self, provider: &'static str, base_url: &str, key: &str) -> Arc<Account> {
        let mut hasher = DefaultHasher::new();
        (provider, base_url, key).hash(&mut hasher);
        let mut made = lock(&self.made);
        if made.len() >= MOST_ACCOUNTS {
            made.retain(|_, account| Arc::strong_count(account) > 1);
        }
        let new = || {
            Arc::new(Account {
                provider,
                begun: self.begun,
                circuit: Mutex::default(),
                dials: Semaphore::new(MOST_DIALS),
                open: AtomicUsize::new(0),
                freed: Notify::new(),
                random: Mutex::new(hasher.finish()),
                asked: Mutex::default(),
            })
        };
        Arc::clone(made.entry(hasher.finish()).or_insert_with(new))
    }
}

/// One account.
pub(super) struct Account {
    /// The provider's name in the configuration.
    pub(super) provider: &'static str,
    begun: Instant,
    circuit: Mutex<Circuit>,
    dials: Semaphore,
    open: AtomicUsize,
    freed: Notify,
    random: Mutex<u64>,
    /// When it was asked last, over HTTP.
    asked: Mutex<Option<Instant>>,
}

impl Account {
    fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    /// May it be asked now? A [`Admission::Probe`] obliges to report.
    pub(super) fn ask(&self) -> Admission {
        lock(&self.circuit).ask(self.now())
    }

    /// It failed for some session and has not served since.
    pub(super) fn is_open(&self) -> bool {
        lock(&self.circuit).is_open()
    }

    /// It failed with what only a person or the next billing period can end, and has not served since.
    pub(super) fn is_out(&self) -> bool {
        lock(&self.circuit).error().is_some_and(|error| error.class == ErrorClass::ProviderOut)
    }

    /// It has served.
    pub(super) fn succeeded(&self) {
        lock(&self.circuit).succeeded();
    }

    /// It has failed.
    pub(super) fn failed(&self, error: &StageError) {
        let random = random(&mut lock(&self.random));
        if lock(&self.circuit).failed(self.now(), error, random) {
            tracing::warn!(provider = self.provider, code = %error.code, class = error.class.name(), "provider is not asked for a while");
        }
    }

    /// Notes that it is asked now, over HTTP.
    pub(super) fn asks(&self) {
        *lock(&self.asked) = Some(Instant::now());
    }

    /// Whether nobody has asked it for `least`. Says so to one asker only, who is taken to ask it now: so all
    /// sessions together keep a connection warm with one request.
    pub(super) fn is_idle(&self, least: Duration) -> bool {
        let mut asked = lock(&self.asked);
        let idle = asked.is_none_or(|at| at.elapsed() >= least);
        if idle {
            *asked = Some(Instant::now());
        }
        idle
    }

    /// A pause of about `least`, spread so that those who wait do not come back together.
    pub(super) fn jitter(&self, least: Duration) -> Duration {
        least.mul_f64(0.75 + 0.5 * random(&mut lock(&self.random)))
    }

    /// Waits for leave to make a connection; to be held until it is made or refused.
    pub(super) async fn dial(&self) -> Option<SemaphorePermit<'_>> {
        // The semaphore is never closed.
        self.dials.acquire().await.ok()
    }

    /// A place among the `most` connections that the account may have open, if one is free; given back by dropping it.
    pub(super) fn try_place(self: &Arc<Self>, most: Option<usize>) -> Option<Place> {
        let most = most.unwrap_or(usize::MAX);
        let taken =
            self.open.fetch_update(Ordering::AcqRel, Ordering::Acquire, |open| (open < most).then_some(open + 1));
        taken.is_ok().then(|| Place(Arc::clone(self)))
    }

    /// Waits for a place.
    pub(super) async fn place(self: &Arc<Self>, most: Option<usize>) -> Place {
        loop {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            // Before looking, so that a place given back in between wakes us.
            freed.as_mut().enable();
            if let Some(place) = self.try_place(most) {
                return place;
            }
            freed.await;
        }
    }
}

/// A connection's place in its account's limit.
pub(super) struct Place(Arc<Account>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::AcqRel);
        // All who wait, as each has a limit of its own: the one that is woken alone may still not fit.
        self.0.freed.notify_waiters();
    }
}

/// 0.0 to 1.0 (SplitMix64, Steele et al. 2014).
pub(super) fn random(state: &mut u64) -> f64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}

/// A session's providers for one stage, the preferred one first.
pub(super) struct Roster<P> {
    choices: Vec<Choice<P>>,
}

struct Choice<P> {
    provider: P,
    account: Arc<Account>,
    /// Until when this session does not ask it, because its settings are wrong there.
    wrong: Mutex<Option<(Instant, StageError)>>,
}

/// A provider to ask.
pub(super) struct Pick<P> {
    pub(super) index: usize,
    pub(super) provider: P,
    pub(super) account: Arc<Account>,
}

/// No provider can be asked now.
pub(super) struct Nobody {
    /// Why the preferred one cannot.
    pub(super) error: StageError,
    /// When one of them may be tried again.
    pub(super) retry_in: Duration,
}

impl<P: Copy> Roster<P> {
    pub(super) fn new(choices: impl IntoIterator<Item = (P, Arc<Account>)>) -> Self {
        let choices = choices.into_iter();
        Self {
            choices: choices.map(|(provider, account)| Choice { provider, account, wrong: Mutex::default() }).collect(),
        }
    }

    /// The first provider that may be asked, from the `from`th on.
    ///
    /// Who gets one must [`report`](Self::report) what became of it, since it may be a circuit's probe,
    /// or [`release`](Self::release) it.
    pub(super) fn pick(&self, from: usize) -> Result<Pick<P>, Nobody> {
        let mut nobody: Option<Nobody> = None;
        for index in from..self.choices.len() {
            let refused = match self.ask(index) {
                Ok(pick) => return Ok(pick),
                Err(refused) => refused,
            };
            nobody = Some(match nobody {
                None => refused,
                Some(first) => Nobody { retry_in: first.retry_in.min(refused.retry_in), ..first },
            });
        }
        Err(nobody.unwrap_or_else(no_provider))
    }

    /// The `index`th provider, if it may be asked; as for [`pick`](Self::pick) it must be reported on.
    pub(super) fn ask(&self, index: usize) -> Result<Pick<P>, Nobody> {
        let Some(choice) = self.choices.get(index) else { return Err(no_provider()) };
        if let Some(refused) = choice.wrong() {
            return Err(refused);
        }
        match choice.account.ask() {
            Admission::Closed | Admission::Probe => {
                Ok(Pick { index, provider: choice.provider, account: Arc::clone(&choice.account) })
            }
            Admission::Open(retry_in) => {
                let known = lock(&choice.account.circuit).error().cloned();
                let error = known.unwrap_or_else(|| {
                    StageError::new(ErrorClass::RetryLater(None), "circuit_open", "The provider is being tried.")
                });
                Err(Nobody { error, retry_in })
            }
        }
    }

    /// Whether the `index`th provider works as far as is known. Asks for nothing.
    pub(super) fn works(&self, index: usize) -> bool {
        self.choices.get(index).is_some_and(|c| c.wrong().is_none() && !c.account.is_open())
    }

    /// Why the `index`th provider is not asked and for how long, if so. Asks for nothing.
    pub(super) fn refusal(&self, index: usize) -> Option<Nobody> {
        let choice = self.choices.get(index)?;
        choice.wrong().or_else(|| {
            let circuit = lock(&choice.account.circuit);
            let error = circuit.error()?.clone();
            Some(Nobody { error, retry_in: circuit.opens_in(choice.account.now()) })
        })
    }

    /// The providers in their order.
    pub(super) fn providers(&self) -> impl ExactSizeIterator<Item = P> + '_ {
        self.choices.iter().map(|choice| choice.provider)
    }

    /// The preferred provider's account.
    pub(super) fn first(&self) -> Option<&Account> {
        self.choices.first().map(|choice| &*choice.account)
    }

    /// Nothing became of asking the `index`th that would say how it is. A probe is free for another asker.
    pub(super) fn release(&self, index: usize) {
        if let Some(choice) = self.choices.get(index) {
            lock(&choice.account.circuit).released();
        }
    }

    /// What became of asking the `index`th.
    pub(super) fn report(&self, index: usize, outcome: Result<(), &StageError>) {
        let Some(choice) = self.choices.get(index) else { return };
        match outcome {
            Ok(()) => choice.account.succeeded(),
            // A voice, a language or a model concerns this session's settings; others may be served.
            Err(error) if error.class == ErrorClass::Configuration => {
                *lock(&choice.wrong) = Some((Instant::now() + WRONG_SETTINGS_PAUSE, error.clone()));
                // It has answered, so a probe has found it there.
                if choice.account.is_open() {
                    choice.account.succeeded();
                }
            }
            Err(error) => choice.account.failed(error),
        }
    }
}

fn no_provider() -> Nobody {
    Nobody {
        error: StageError::new(ErrorClass::Configuration, "no_provider", "There is no other provider to ask."),
        retry_in: WRONG_SETTINGS_PAUSE,
    }
}

impl<P> Choice<P> {
    fn wrong(&self) -> Option<Nobody> {
        let (until, error) = lock(&self.wrong).clone()?;
        let retry_in = until.saturating_duration_since(Instant::now());
        (!retry_in.is_zero()).then_some(Nobody { error, retry_in })
    }
}

/// Runs `work` with leave to make a connection of `account`.
pub(super) async fn dialled<T>(account: &Account, work: impl Future<Output = T>) -> T {
    let _leave = account.dial().await;
    work.await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(class: ErrorClass) -> StageError {
        StageError::new(class, "x", "x")
    }

    #[test]
    fn the_first_that_works_is_asked_and_settings_concern_one_session() {
        let accounts = Accounts::default();
        let make = || Roster::new([(1, accounts.get("a", "u", "k")), (2, accounts.get("b", "u", "k"))]);
        let (mine, others) = (make(), make());
        let asked = |roster: &Roster<i32>| roster.pick(0).map(|p| p.provider).map_err(|n| n.error.class);
        assert_eq!(asked(&mine), Ok(1));
        mine.report(0, Err(&error(ErrorClass::Configuration)));
        assert_eq!((asked(&mine), asked(&others)), (Ok(2), Ok(1)));
        others.report(0, Err(&error(ErrorClass::ProviderOut)));
        assert_eq!(asked(&others), Ok(2));
        mine.report(1, Err(&error(ErrorClass::ProviderOut)));
        assert_eq!(asked(&others), Err(ErrorClass::ProviderOut));
        assert_eq!(asked(&mine), Err(ErrorClass::Configuration), "why the preferred one cannot");
        others.report(0, Ok(()));
        assert_eq!(asked(&others), Ok(1));
    }

    #[test]
    fn one_of_those_who_ask_keeps_it_warm() {
        let account = Accounts::default().get("a", "u", "k");
        let long = Duration::from_secs(3600);
        assert_eq!([account.is_idle(long), account.is_idle(long)], [true, false]);
        assert!(account.is_idle(Duration::ZERO));
        let other = Accounts::default().get("a", "u", "k");
        other.asks();
        assert!(!other.is_idle(long));
        for _ in 0..100 {
            let pause = account.jitter(Duration::from_millis(100));
            assert!(pause >= Duration::from_millis(75) && pause <= Duration::from_millis(125), "{pause:?}");
        }
    }

    #[tokio::test]
    async fn places_are_limited_and_given_back() {
        let accounts = Accounts::default();
        let account = accounts.get("a", "u", "k");
        assert!(Arc::ptr_eq(&account, &accounts.get("a", "u", "k")), "one account");
        assert!(!Arc::ptr_eq(&account, &accounts.get("a", "u", "k2")), "another key is another account");
        let first = account.place(Some(2)).await;
        let _second = account.place(Some(2)).await;
        assert!(account.try_place(Some(2)).is_none());
        assert!(account.try_place(None).is_some(), "no limit");
        let waiting = tokio::spawn({
            let account = Arc::clone(&account);
            async move { drop(account.place(Some(2)).await) }
        });
        tokio::task::yield_now().await;
        drop(first);
        waiting.await.expect("it gets the place");
    }

    #[tokio::test]
    async fn who_has_the_smaller_limit_does_not_keep_a_place_from_others() {
        let account = Accounts::default().get("a", "u", "k");
        let first = account.place(Some(2)).await;
        let second = account.place(Some(2)).await;
        let wait = |most| {
            let account = Arc::clone(&account);
            tokio::spawn(async move { account.place(Some(most)).await })
        };
        // It waits first, so it would be told first.
        let small = wait(1);
        tokio::task::yield_now().await;
        let large = wait(2);
        tokio::task::yield_now().await;
        drop(first);
        let long = Duration::from_secs(20);
        let place = tokio::time::timeout(long, large).await.expect("it is told").expect("it gets the place");
        assert!(!small.is_finished(), "one place is taken");
        drop((second, place));
        tokio::time::timeout(long, small).await.expect("it is told").expect("it gets the place");
    }
}
