//! A call of two over a local cloud of its own, in which one speaks coded words and the other hears them, for tables
//! with a fault in each row.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use mgw::Gateway;
use mgw::config::Config;
use mgw::engine::{LeaveMode, SessionId};
use mgw::session;
use serde_json::Value;

use crate::support::live::LiveLeg;
use crate::support::{Cloud, events, wait_for};

const S: Duration = Duration::from_secs(1);
const RATE: u32 = 16_000;
const WORDS: u16 = 3;

/// Events as they come, by room.
#[derive(Default)]
pub struct Told(Mutex<HashMap<String, Vec<Value>>>);

impl Told {
    /// Fetches what the gateway has to tell.
    pub fn fetch(&self, gateway: &Gateway) {
        for event in events(gateway) {
            let room = event["room"].as_str().unwrap_or_default().to_owned();
            self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(room).or_default().push(event);
        }
    }

    /// All of a room so far.
    pub fn of(&self, room: &str) -> Vec<Value> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(room).cloned().unwrap_or_default()
    }

    /// All, by room.
    pub fn all(&self) -> HashMap<String, Vec<Value>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Runs `jobs` side by side, at most `most` at a time, while events are fetched; gives what failed, by name.
pub fn side_by_side<J: Sync>(
    gateway: &Gateway,
    told: &Told,
    most: usize,
    jobs: &[(String, J)],
    run: impl Fn(&str, &J) + Sync,
) -> Vec<String> {
    let next = std::sync::atomic::AtomicUsize::new(0);
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..most.min(jobs.len()))
            .map(|_| {
                scope.spawn(|| {
                    while let Some((name, job)) = jobs.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
                        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(name, job)));
                        if let Err(panic) = done {
                            let text = panic.downcast_ref::<String>().cloned();
                            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
                            let text = format!("{name}: {}", text.unwrap_or_default());
                            failed.lock().unwrap_or_else(PoisonError::into_inner).push(text);
                        }
                    }
                })
            })
            .collect();
        while !workers.iter().all(|worker| worker.is_finished()) {
            told.fetch(gateway);
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    told.fetch(gateway);
    failed.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// One call.
pub struct Talk<'a> {
    pub cloud: Cloud,
    pub room: String,
    pub told: &'a Told,
    mouth: LiveLeg,
    ear: LiveLeg,
    /// The next word.
    pub next: u16,
}

/// Session options that point every vendor at a cloud; `more` may point some elsewhere.
pub fn options(base: &str, more: &[(&str, &str)]) -> Config {
    let mut options = Config::new();
    let mut set = |key: &str, value: &str| options.set(key, value).unwrap_or_else(|e| panic!("{e}"));
    for vendor in ["deepgram", "deepl", "elevenlabs", "libretranslate"] {
        set(&format!("{vendor}.base_url"), base);
    }
    set("openai.base_url", &format!("{base}/v1"));
    for (key, value) in more {
        set(key, value);
    }
    options
}

impl<'a> Talk<'a> {
    /// Two sessions in a room; `providers` are options of both.
    pub fn begin(
        gateway: &Gateway,
        told: &'a Told,
        room: &str,
        cloud: Cloud,
        base: &str,
        providers: &[(&str, &str)],
    ) -> Self {
        let options = options(base, providers);
        let open = |profile: &str| gateway.open_session(profile, room, &options).unwrap_or_else(|e| panic!("{e}"));
        let (a, b) = (open("7777"), open("8888"));
        let (mouth, ear) = (LiveLeg::start(a, RATE, RATE), LiveLeg::start(b, RATE, RATE));
        Talk { cloud, room: room.to_owned(), told, mouth, ear, next: 0 }
    }

    /// The speaker's session and the listener's.
    pub fn sessions(&self) -> [SessionId; 2] {
        [self.mouth.session, self.ear.session]
    }

    /// Says a sentence of the next three words; gives their numbers.
    pub fn say(&mut self) -> Vec<u16> {
        let words: Vec<u16> = (self.next..self.next + WORDS).collect();
        self.next += WORDS;
        self.mouth.say_words("en", words.clone());
        words
    }

    pub fn has_said_all(&self) -> bool {
        self.mouth.has_said_all()
    }

    /// Words heard so far in a language.
    pub fn heard(&self, language: &str) -> Vec<u16> {
        self.ear.words(language)
    }

    /// Waits until all of `words` were heard in a language.
    pub fn hears(&self, language: &str, words: &[u16], limit: Duration) {
        let what = format!("{words:?} in {language}");
        self.wait(&what, limit, || {
            let heard = self.heard(language);
            words.iter().all(|word| heard.contains(word))
        });
    }

    /// Says sentence after sentence until one is heard as a whole in a language.
    pub fn until_heard(&mut self, language: &str, limit: Duration) {
        let until = Instant::now() + limit;
        let mut said: Vec<Vec<u16>> = Vec::new();
        loop {
            if self.mouth.has_said_all() {
                said.push(self.say());
            }
            std::thread::sleep(Duration::from_millis(500));
            let heard = self.heard(language);
            if said.iter().any(|words| words.iter().all(|word| heard.contains(word))) {
                return;
            }
            assert!(Instant::now() < until, "nothing in {language} after {limit:?}: {}", self.story());
        }
    }

    /// Waits for a condition; a panic tells what happened in the room.
    pub fn wait(&self, what: &str, limit: Duration, mut condition: impl FnMut() -> bool) {
        let until = Instant::now() + limit;
        while !condition() {
            assert!(Instant::now() < until, "waited {limit:?} for {what}: {}", self.story());
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Waits for an event of the room.
    pub fn event(&self, what: &str, limit: Duration, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut found = None;
        self.wait(what, limit, || {
            found = self.told.of(&self.room).into_iter().find(|event| wanted(event));
            found.is_some()
        });
        found.expect("it was waited for")
    }

    /// What the room was told and what was heard, for a failing test.
    pub fn story(&self) -> String {
        let told: Vec<String> = self
            .told
            .of(&self.room)
            .iter()
            .filter(|e| matches!(e["type"].as_str(), Some("provider" | "fail_open" | "segment_lost" | "error")))
            .map(|e| format!("{} {e}", e["time_ms"]))
            .collect();
        let all = self.ear.heard();
        format!("heard {:?}\n{}", crate::support::leg::hear(&all, RATE), told.join("\n"))
    }

    /// Ends the call: nothing hangs, no translated word was heard twice.
    pub fn end(self) {
        let mut heard = self.heard("es");
        let count = heard.len();
        heard.sort_unstable();
        heard.dedup();
        assert_eq!(heard.len(), count, "words were heard twice: {}", self.story());
        let (room, told) = (self.room.clone(), self.told);
        let ids = [self.mouth.session, self.ear.session];
        drop((self.mouth, self.ear));
        for id in ids {
            session::close(id, LeaveMode::Now).expect("close");
        }
        wait_for("both are closed", 20 * S, || told.of(&room).iter().filter(|e| e["type"] == "closed").count() == 2);
    }
}
