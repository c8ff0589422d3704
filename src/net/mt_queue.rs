//! The texts of one session that wait for a translation or are under way, each with its own deadline. Whoever takes
//! one out answers it, and nobody can take it out twice: that is what makes every text be answered exactly once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::accounts::{Accounts, Roster};
use super::runtime::lock;
use crate::config::{Language, MtProvider, SessionConfig};
use crate::engine::{SegmentId, TranslateJob};
use crate::provider::{ErrorClass, StageError};

/// Most texts of one session that are open at a time.
const MOST_TEXTS: usize = 64;

/// Settings, and who is asked by them. Texts with the same plan may go together.
pub(super) struct Plan {
    pub(super) config: Arc<SessionConfig>,
    pub(super) roster: Roster<MtProvider>,
}

impl Plan {
    pub(super) fn new(config: Arc<SessionConfig>, accounts: &Accounts) -> Self {
        let account = |provider: &MtProvider| {
            let (url, key) = match provider {
                MtProvider::Deepl => (&config.deepl.base_url, Some(&config.deepl.api_key)),
                MtProvider::Openai => (&config.openai.base_url, config.openai.api_key.as_ref()),
                MtProvider::Libretranslate => (&config.libretranslate.base_url, config.libretranslate.api_key.as_ref()),
            };
            let key = key.map(|key| key.expose()).unwrap_or_default();
            (*provider, accounts.get(provider.as_str(), &url.to_string(), key))
        };
        let roster = Roster::new(config.mt_providers.iter().map(account).collect::<Vec<_>>());
        Self { config, roster }
    }

    /// Whether it serves texts with these settings, too.
    pub(super) fn serves(&self, config: &SessionConfig) -> bool {
        let mine = &*self.config;
        (&mine.mt_providers, mine.mt_timeout, &mine.deepl, &mine.openai, &mine.libretranslate)
            == (&config.mt_providers, config.mt_timeout, &config.deepl, &config.openai, &config.libretranslate)
    }
}

/// A text that is open, and how far it is.
#[derive(Clone)]
pub(super) struct Text {
    pub(super) job: Arc<TranslateJob>,
    pub(super) plan: Arc<Plan>,
    /// It is answered by then, whatever becomes of it.
    pub(super) deadline: Instant,
    /// The provider whose turn it is, as an index into the roster.
    pub(super) from: usize,
    /// Rounds through all providers that are over.
    round: u32,
    /// In this round something failed that may go well the next time.
    passing: bool,
    /// It may not go with others, one of which may be bad.
    alone: bool,
    not_before: Instant,
    under_way: bool,
    /// Who failed it last, and why.
    pub(super) failed: Option<(&'static str, StageError)>,
    /// That failure was not told of yet.
    pub(super) untold: bool,
}

/// Several texts that go together.
pub(super) struct Batch {
    pub(super) plan: Arc<Plan>,
    /// By their numbers, in the order they came in.
    pub(super) texts: Vec<(u64, Arc<TranslateJob>)>,
    /// The last of their deadlines.
    pub(super) deadline: Instant,
    /// One of them was asked for before.
    pub(super) again: bool,
}

#[derive(Default)]
struct State {
    /// Numbered as they came in, so that those that are asked for again come first.
    texts: BTreeMap<u64, Text>,
    last: u64,
}

/// The queue; a port fills it and the session's translator serves it.
#[derive(Default)]
pub(super) struct MtQueue {
    state: Mutex<State>,
    changed: Notify,
}

impl MtQueue {
    /// Takes a text in. False if too many are open.
    pub(super) fn push(&self, job: TranslateJob, plan: Arc<Plan>, now: Instant) -> bool {
        let mut state = lock(&self.state);
        if state.texts.len() >= MOST_TEXTS {
            return false;
        }
        state.last += 1;
        let number = state.last;
        let text = Text {
            deadline: now + job.budget,
            job: Arc::new(job),
            plan,
            from: 0,
            round: 0,
            passing: false,
            alone: false,
            not_before: now,
            under_way: false,
            failed: None,
            untold: false,
        };
        state.texts.insert(number, text);
        self.changed.notify_one();
        true
    }

    /// Forgets a text; one that is under way is ignored when it comes.
    pub(super) fn cancel(&self, segment: SegmentId, target: Language) {
        lock(&self.state).texts.retain(|_, text| (text.job.segment, text.job.target) != (segment, target));
    }

    /// Waits until something was pushed.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Wakes who waits for [`changed`](Self::changed).
    pub(super) fn wake(&self) {
        self.changed.notify_one();
    }

    /// Takes a text out, to answer it.
    pub(super) fn take(&self, number: u64) -> Option<Text> {
        lock(&self.state).texts.remove(&number)
    }

    /// Takes out all texts whose time is over.
    pub(super) fn expired(&self, now: Instant) -> Vec<Text> {
        self.remove(|text| text.deadline <= now)
    }

    /// Takes out all texts under way; for when nobody is left who could bring them.
    pub(super) fn orphans(&self) -> Vec<Text> {
        self.remove(|text| text.under_way)
    }

    fn remove(&self, which: impl Fn(&Text) -> bool) -> Vec<Text> {
        let mut state = lock(&self.state);
        let numbers: Vec<u64> = state.texts.iter().filter(|(_, text)| which(text)).map(|(number, _)| *number).collect();
        numbers.iter().filter_map(|number| state.texts.remove(number)).collect()
    }

    /// The first text that may be asked for now.
    pub(super) fn ready(&self, now: Instant) -> Option<(u64, Text)> {
        let state = lock(&self.state);
        let found = state.texts.iter().find(|(_, text)| !text.under_way && text.not_before <= now);
        found.map(|(number, text)| (*number, text.clone()))
    }

    /// When the next text runs out of time or, unless all requests are under way (`busy`), may be asked for.
    pub(super) fn due(&self, busy: bool) -> Option<Instant> {
        let due = |text: &Text| match busy || text.under_way {
            true => text.deadline,
            false => text.deadline.min(text.not_before),
        };
        lock(&self.state).texts.values().map(due).min()
    }

    /// Sends the text `head` on its way, and with it at most `texts - 1` others of its kind that wait, in all at
    /// most `bytes` of text.
    pub(super) fn start(&self, head: u64, texts: usize, bytes: usize, now: Instant) -> Option<Batch> {
        let mut state = lock(&self.state);
        let first = state.texts.get(&head)?.clone();
        let mut batch = Batch { plan: first.plan.clone(), texts: Vec::new(), deadline: first.deadline, again: false };
        let mut left = bytes;
        for (number, text) in &mut state.texts {
            let (a, b) = (&first.job, &text.job);
            let fits = !first.alone
                && !text.alone
                && !text.under_way
                && text.not_before <= now
                && Arc::ptr_eq(&first.plan, &text.plan)
                && (a.source, a.target, first.from) == (b.source, b.target, text.from)
                && text.job.text.len() <= left
                && batch.texts.len() < texts;
            if *number != head && (!fits || *number < head) {
                continue;
            }
            text.under_way = true;
            left = left.saturating_sub(text.job.text.len());
            batch.deadline = batch.deadline.max(text.deadline);
            batch.again |= text.failed.is_some() || text.alone;
            batch.texts.push((*number, Arc::clone(&text.job)));
        }
        Some(batch)
    }

    /// A text has failed at the `index`th provider: the next one's turn comes. False if it is not open any more.
    pub(super) fn failed(&self, number: u64, index: usize, provider: &'static str, error: &StageError) -> bool {
        let mut state = lock(&self.state);
        let Some(text) = state.texts.get_mut(&number) else { return false };
        text.under_way = false;
        text.from = index + 1;
        text.passing |= error.is_passing();
        text.untold = !concerns_text(error);
        text.failed = Some((provider, error.clone()));
        true
    }

    /// Texts that went together are to be asked for one by one.
    pub(super) fn separate(&self, numbers: impl Iterator<Item = u64>) {
        let mut state = lock(&self.state);
        for number in numbers {
            if let Some(text) = state.texts.get_mut(&number) {
                (text.alone, text.under_way) = (true, false);
            }
        }
    }

    /// The failure of a text has been told of.
    pub(super) fn told(&self, number: u64) {
        if let Some(text) = lock(&self.state).texts.get_mut(&number) {
            text.untold = false;
        }
    }

    /// A text waits.
    pub(super) fn postpone(&self, number: u64, until: Instant) {
        if let Some(text) = lock(&self.state).texts.get_mut(&number) {
            text.not_before = until;
        }
    }

    /// All providers had their turn with a text: it begins again from the first after what `pause` makes of the
    /// number of its rounds, or is given back if that makes no sense.
    pub(super) fn next_round(&self, number: u64, now: Instant, pause: impl Fn(u32) -> Duration) -> Option<Text> {
        let mut state = lock(&self.state);
        let text = state.texts.get_mut(&number)?;
        let hopeless = !text.passing && text.failed.as_ref().is_some_and(|(_, error)| concerns_text(error));
        if hopeless {
            return state.texts.remove(&number);
        }
        // Where nothing may pass, the first one is not admitted: who asks for it is told why.
        text.not_before = if text.passing { now + pause(text.round) } else { now };
        (text.from, text.passing) = (0, false);
        text.round += 1;
        None
    }
}

/// Whether a failure says something about a text or its languages, and nothing about the provider.
pub(super) fn concerns_text(error: &StageError) -> bool {
    error.class == ErrorClass::BadRequest || (error.class == ErrorClass::Configuration && error.code == "language")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::SessionId;
    use crate::provider::test_config::{config, language};

    fn plan() -> Arc<Plan> {
        Arc::new(Plan::new(Arc::new(config(&[])), &Accounts::default()))
    }

    fn push(queue: &MtQueue, plan: &Arc<Plan>, segment: u64, text: &str, target: &str, now: Instant) -> bool {
        let job = TranslateJob {
            session: SessionId(1),
            segment: SegmentId(segment),
            source: language("en"),
            target: language(target),
            text: text.to_owned(),
            context: Vec::new(),
            config: Arc::clone(&plan.config),
            budget: Duration::from_secs(segment),
        };
        queue.push(job, Arc::clone(plan), now)
    }

    fn numbers(batch: Option<Batch>) -> Vec<u64> {
        batch.into_iter().flat_map(|batch| batch.texts).map(|(number, _)| number).collect()
    }

    #[test]
    fn only_what_belongs_together_goes_together() {
        let (queue, one, other, now) = (MtQueue::default(), plan(), plan(), Instant::now());
        for (segment, plan, target) in
            [(1, &one, "es"), (2, &one, "nl"), (3, &other, "es"), (4, &one, "es"), (5, &one, "es"), (6, &one, "es")]
        {
            assert!(push(&queue, plan, segment, "four", target, now));
        }
        let ready = |queue: &MtQueue| queue.ready(now).map(|(number, _)| number);
        assert_eq!(ready(&queue), Some(1));
        assert_eq!(numbers(queue.start(1, 3, 100, now)), [1, 4, 5], "at most three");
        assert_eq!(numbers(queue.start(2, 9, 100, now)), [2]);
        assert_eq!(numbers(queue.start(3, 9, 100, now)), [3]);
        assert_eq!(numbers(queue.start(6, 9, 1, now)), [6], "the first one goes whatever its length");
        assert_eq!(ready(&queue), None);
        queue.separate([1, 4, 5].into_iter());
        assert_eq!(ready(&queue), Some(1), "first come, first served again");
        assert_eq!(numbers(queue.start(1, 9, 100, now)), [1]);
        assert_eq!(numbers(queue.start(4, 9, 100, now)), [4]);
        queue.postpone(5, now + Duration::from_secs(1));
        assert_eq!((ready(&queue), queue.due(false)), (None, Some(now + Duration::from_secs(1))));
    }

    #[test]
    fn what_is_taken_out_cannot_be_answered_twice() {
        let (queue, plan, now) = (MtQueue::default(), plan(), Instant::now());
        for segment in 1..=4 {
            push(&queue, &plan, segment, "x", "es", now);
        }
        assert_eq!(numbers(queue.start(1, 3, 100, now)), [1, 2, 3]);
        assert_eq!(queue.expired(now + Duration::from_secs(1)).len(), 1);
        assert!(queue.take(1).is_none(), "its time was over");
        assert!(queue.take(2).is_some() && queue.take(2).is_none());
        let segments = |texts: Vec<Text>| texts.iter().map(|text| text.job.segment.0).collect::<Vec<_>>();
        assert_eq!(segments(queue.orphans()), [3], "after a panic those under way are answered");
        assert!(queue.take(3).is_none());
        let error = StageError::new(ErrorClass::RetryNow, "x", "x");
        assert!(!queue.failed(3, 0, "deepl", &error));
        queue.cancel(SegmentId(4), language("nl"));
        assert!(queue.ready(now).is_some(), "another language");
        queue.cancel(SegmentId(4), language("es"));
        assert!(queue.ready(now).is_none());
    }

    #[test]
    fn another_round_follows_where_it_may_help() {
        let bad = |class, code| StageError::new(class, code, "x");
        for (errors, given_back) in [
            (vec![bad(ErrorClass::RetryNow, "timeout")], false),
            (vec![bad(ErrorClass::BadRequest, "400")], true),
            (vec![bad(ErrorClass::Configuration, "language")], true),
            // The circuit then says why, and until when.
            (vec![bad(ErrorClass::Configuration, "403")], false),
            (vec![bad(ErrorClass::RetryNow, "timeout"), bad(ErrorClass::BadRequest, "400")], false),
            (vec![bad(ErrorClass::ProviderOut, "456"), bad(ErrorClass::BadRequest, "400")], true),
        ] {
            let (queue, plan, now) = (MtQueue::default(), plan(), Instant::now());
            push(&queue, &plan, 1, "x", "es", now);
            for (index, error) in errors.iter().enumerate() {
                queue.start(1, 1, 100, now);
                assert!(queue.failed(1, index, "deepl", error));
            }
            let text = queue.next_round(1, now, |_| Duration::from_secs(1));
            assert_eq!(text.is_some(), given_back, "{errors:?}");
            let passing = errors.iter().any(StageError::is_passing);
            assert_eq!(queue.ready(now).is_some(), !given_back && !passing, "{errors:?}: waits if it may pass");
        }
    }

    #[test]
    fn it_is_bounded() {
        let (queue, plan, now) = (MtQueue::default(), plan(), Instant::now());
        let taken = (1..=MOST_TEXTS as u64 + 1).filter(|segment| push(&queue, &plan, *segment, "x", "es", now));
        assert_eq!(taken.count(), MOST_TEXTS);
    }

    #[test]
    fn settings_of_other_stages_do_not_separate_texts() {
        let plan = plan();
        assert!(plan.serves(&config(&[("tts.voice", "another")])));
        for other in [("deepl.formality", "prefer_more"), ("mt.timeout_ms", "300"), ("openai.model", "another")] {
            assert!(!plan.serves(&config(&[other])), "{other:?}");
        }
    }
}
