//! The life of gateways and sessions, and what faults cost: against the coded cloud, judged by what the ears heard.
//!
//! | file | what |
//! |---|---|
//! | `leaks` | what 200 sessions leave behind |
//! | `handles` | stale handles from many threads; shutdown in the middle of it |
//! | `ending` | last sentences, with and without the time to be heard |
//! | `faults` | panics, hangs, overflow |
//! | `providers` | refused keys, dropped connections, TLS |
//! | `voices` | alone, one language, rates, announcements |

#[path = "../support/mod.rs"]
mod support;

mod ending;
mod faults;
mod handles;
mod leaks;
mod providers;
mod voices;

use std::cell::RefCell;
use std::time::Duration;

use mgw::config::Config;
use mgw::engine::SessionId;
use mgw::{Gateway, session};
use serde_json::Value;
use support::codec::Token;
use support::live::LiveLeg;
use support::{events, schema, wait_for};

/// Generous: machines are busy.
const LIMIT: Duration = Duration::from_secs(60);

/// A gateway with its events so far, each checked against the schema as it is read.
struct Host {
    gateway: Gateway,
    seen: RefCell<Vec<Value>>,
}

impl Host {
    fn new(config: &Config) -> Host {
        Host { gateway: Gateway::new(config).expect("gateway"), seen: RefCell::default() }
    }

    /// A session of a profile in a room, with a leg at 16 kHz.
    fn leg(&self, profile: &str, room: &str) -> LiveLeg {
        let session = self.gateway.open_session(profile, room, &Config::new()).expect("session");
        LiveLeg::start(session, 16_000, 16_000)
    }

    /// Two sessions in a room, both with a recogniser that is ready.
    fn call(&self, room: &str) -> (LiveLeg, LiveLeg) {
        let (a, b) = (self.leg("7777", room), self.leg("8888", room));
        for leg in [&a, &b] {
            self.wait("a recogniser", |e| {
                is(e, "provider", leg.session) && e["stage"] == "stt" && e["state"] == "ready"
            });
        }
        (a, b)
    }

    /// All events so far.
    fn seen(&self) -> Vec<Value> {
        for event in events(&self.gateway) {
            schema::check(&event);
            self.seen.borrow_mut().push(event);
        }
        self.seen.borrow().clone()
    }

    fn count(&self, what: impl Fn(&Value) -> bool) -> usize {
        self.seen().iter().filter(|e| what(e)).count()
    }

    /// Waits for an event.
    fn wait(&self, name: &str, what: impl Fn(&Value) -> bool) {
        wait_for(name, LIMIT, || self.count(&what) > 0);
    }

    /// Numbers of the words of a language in all segments that were reported lost.
    fn lost_words(&self, language: &str) -> Vec<u16> {
        self.seen()
            .iter()
            .filter(|e| e["type"] == "segment_lost")
            .flat_map(|e| e["source_text"].as_str().unwrap_or_default().split_whitespace())
            .filter_map(Token::parse)
            .filter(|t| t.language() == language)
            .map(|t| t.n)
            .collect()
    }
}

/// The event is of this kind and told for this session.
fn is(event: &Value, kind: &str, session: SessionId) -> bool {
    event["type"] == kind && event["session"] == session.0
}

/// Waits until an ear has heard these words of a language, and nothing else of it.
fn hears(what: &str, leg: &LiveLeg, language: &str, words: impl IntoIterator<Item = u16>) {
    let want: Vec<u16> = words.into_iter().collect();
    let until = std::time::Instant::now() + LIMIT;
    loop {
        let heard = leg.words(language);
        if heard == want {
            return;
        }
        assert!(want.starts_with(&heard), "{what}: heard {heard:?} instead of {want:?}");
        assert!(std::time::Instant::now() < until, "{what}: heard only {heard:?} of {want:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Says sentences until one was heard whole in the speaker's own voice, with word numbers from `first` on. A leg that
/// the machine keeps waiting has holes in what it hears of an original voice, whose delay is bounded: so the first
/// sentence may have one, too.
fn hears_original(what: &str, speaker: &LiveLeg, listener: &LiveLeg, first: u16) {
    for attempt in 0..20 {
        let words = [0, 1, 2, 3].map(|n| first + 4 * attempt + n);
        speaker.say_words("en", words);
        has_spoken(speaker);
        let until = std::time::Instant::now() + Duration::from_secs(1);
        while std::time::Instant::now() < until {
            if listener.words("en").ends_with(&words) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    panic!("{what}: heard only {:?} in the original voice", listener.words("en"));
}

/// Waits until a leg has pushed all it has to say.
fn has_spoken(leg: &LiveLeg) {
    wait_for("a speaker", LIMIT, || leg.has_said_all());
}

fn close_now(legs: impl IntoIterator<Item = LiveLeg>) {
    for leg in legs {
        session::close(leg.session, mgw::engine::LeaveMode::Now).expect("close");
    }
}
