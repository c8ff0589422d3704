//! Translation: a request per segment over shared, kept connections, tried twice within its budget.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use super::counters::count;
use super::runtime::lock;
use super::{Driver, FromNet, http};
use crate::config::{DeeplConfig, SessionConfig};
use crate::engine::TranslateJob;
use crate::provider::{ErrorClass, LinkState, Stage, StageError, deepl};

/// Largest reply read; DeepL takes at most 128 KiB of text.
const MOST_REPLY: usize = 1 << 20;
/// Pause before the second try where the vendor is busy and named none.
const BUSY_PAUSE: Duration = Duration::from_millis(150);
/// The first try may take this part of the budget, so that a dead connection leaves time for another.
const FIRST_TRY: f64 = 0.6;
/// A refused key or a used-up quota is not tried again for so long.
const HOPELESS_PAUSE: Duration = Duration::from_secs(30);
/// A connection is not warmed again for so long.
const WARM_EVERY: Duration = Duration::from_secs(60);
const WARM_DEADLINE: Duration = Duration::from_secs(10);
/// Most warmed addresses remembered.
const MOST_WARMED: usize = 256;

/// What the translations of one session share.
pub(super) struct Mt {
    pub(super) driver: Driver,
    /// The last state told: usable, or down with this code.
    state: Mutex<Option<Result<(), String>>>,
    /// A failure that the next text would meet too, when it was met and with which settings.
    hopeless: Mutex<Option<(Instant, DeeplConfig, StageError)>>,
}

impl Mt {
    pub(super) fn new(driver: Driver) -> Self {
        Self { driver, state: Mutex::default(), hopeless: Mutex::default() }
    }

    /// Translates and delivers the answer, whatever it is.
    pub(super) async fn translate(self: Arc<Self>, job: TranslateJob) {
        let deadline = Instant::now() + job.budget;
        let result = self.attempts(&job, deadline).await.map_err(|error| {
            count(&self.driver.counters.mt_failures);
            error.without(&[job.config.deepl.api_key.expose(), &job.text])
        });
        // A text that DeepL does not like says nothing about the connection.
        match &result {
            Err(error) if error.class == ErrorClass::BadRequest => {}
            Err(error) => self.state(Err(error.clone())).await,
            Ok(_) => self.state(Ok(())).await,
        }
        self.answer(&job, result).await;
    }

    /// After a panic: the answer is an error.
    pub(super) async fn after_panic(self: Arc<Self>, job: TranslateJob) {
        self.answer(&job, Err(super::internal_error())).await;
    }

    async fn answer(&self, job: &TranslateJob, result: Result<String, StageError>) {
        let message = FromNet::Translated { segment: job.segment, target: job.target, result };
        self.driver.outbox.send(message).await;
    }

    async fn attempts(&self, job: &TranslateJob, deadline: Instant) -> Result<String, StageError> {
        let body = deepl::body(job)?;
        let known = lock(&self.hopeless).clone();
        if let Some((at, settings, error)) = known
            && at.elapsed() < HOPELESS_PAUSE
            && settings == job.config.deepl
        {
            return Err(error);
        }
        let result = self.two_attempts(job, body, deadline).await;
        *lock(&self.hopeless) = match &result {
            Err(error) if is_hopeless(error) => Some((Instant::now(), job.config.deepl.clone(), error.clone())),
            _ => None,
        };
        result
    }

    async fn two_attempts(&self, job: &TranslateJob, body: Vec<u8>, deadline: Instant) -> Result<String, StageError> {
        let dialer = self.driver.dialer().await?;
        let first_deadline = Instant::now() + (deadline - Instant::now()).mul_f64(FIRST_TRY);
        let error = match post(&dialer.pooled, &job.config, body.clone(), first_deadline).await {
            Err(error) if error.is_passing() => error,
            done => return done,
        };
        let pause = match error.class {
            ErrorClass::RetryLater(pause) => pause.unwrap_or(BUSY_PAUSE),
            _ => Duration::ZERO,
        };
        if Instant::now() + pause >= deadline {
            return Err(error);
        }
        tokio::time::sleep(pause).await;
        count(&self.driver.counters.mt_retries);
        // A kept connection may have been closed by the other side at the very moment of the first try.
        post(&dialer.fresh, &job.config, body, deadline).await
    }

    /// Opens a connection before it is needed and sees whether the key is good; asks for the usage,
    /// which is not billed.
    pub(super) async fn warm(self: Arc<Self>, config: Arc<SessionConfig>) {
        let asked = async {
            let dialer = self.driver.dialer().await?;
            let request = dialer.pooled.get(deepl::usage_url(&config.deepl.base_url)).headers(deepl::headers(&config)?);
            http::fetch(request, Instant::now() + WARM_DEADLINE, MOST_REPLY, deepl::http_error).await
        };
        let asked = asked.await;
        match asked {
            Ok(_) => self.state(Ok(())).await,
            // Only what a person must mend is told early; anything else is found out by the first text.
            Err(error) if error.class == ErrorClass::Configuration && error.code != "404" => {
                self.state(Err(error.without(&[config.deepl.api_key.expose()]))).await;
            }
            Err(_) => {}
        }
    }

    /// Tells the state if it changed. There is no connection of the session's own to open again: the
    /// next text (after `retry_in`) is the next attempt.
    async fn state(&self, new: Result<(), StageError>) {
        let brief = new.as_ref().copied().map_err(|error| error.code.clone());
        if lock(&self.state).replace(brief.clone()) == Some(brief) {
            return;
        }
        let state = match new {
            Ok(()) => LinkState::Ready,
            Err(error) => {
                let pause = if is_hopeless(&error) { HOPELESS_PAUSE } else { Duration::ZERO };
                LinkState::Down { error, retry_in: Some(pause) }
            }
        };
        self.driver.link(Stage::Mt, "deepl", state).await;
    }
}

/// Whether every text would fail like this until a person has done something.
fn is_hopeless(error: &StageError) -> bool {
    match error.class {
        ErrorClass::ProviderOut => true,
        // A language that DeepL does not know, or a glossary it has not, concerns this text only.
        ErrorClass::Configuration => !matches!(error.code.as_str(), "bad_settings" | "404"),
        _ => false,
    }
}

async fn post(
    client: &reqwest::Client,
    config: &SessionConfig,
    body: Vec<u8>,
    deadline: Instant,
) -> Result<String, StageError> {
    let request = client.post(deepl::translate_url(&config.deepl.base_url)).headers(deepl::headers(config)?).body(body);
    deepl::parse_reply(&http::fetch(request, deadline, MOST_REPLY, deepl::http_error).await?)
}

/// Which addresses were warmed, and when. One for each port.
#[derive(Debug, Default)]
pub(super) struct Warmed(HashMap<u64, std::time::Instant>);

impl Warmed {
    /// True if the address of `config` is to be warmed now.
    pub(super) fn due(&mut self, config: &SessionConfig) -> bool {
        let mut hasher = DefaultHasher::new();
        (config.deepl.base_url.to_string(), config.deepl.api_key.expose()).hash(&mut hasher);
        let now = std::time::Instant::now();
        if self.0.len() >= MOST_WARMED {
            self.0.clear();
        }
        let before = self.0.get(&hasher.finish()).copied();
        let due = before.is_none_or(|at| now - at >= WARM_EVERY);
        if due {
            self.0.insert(hasher.finish(), now);
        }
        due
    }
}
