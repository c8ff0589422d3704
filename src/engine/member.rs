//! A session inside its room: the speaker's side (time line, recognition) and the listener's (rings, absence).

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::SegmentId;
use super::activity::Activity;
use super::cue::{self, Cue};
use super::ledger::Ledger;
use super::level::Gain;
use super::loop_guard::LoopGuard;
use super::measures::Account;
use super::original::Original;
use super::playout::{Lead, Playout};
use super::resample::Resampler;
use super::room::Ahead;
use super::talking::Talking;
use super::time::{SampleClock, TimeMap};
use crate::config::{Language, SessionConfig};
use crate::provider::{ErrorClass, LinkState};

/// A provider that was lost for less than this may come back before anybody notices.
const SHORT_OUTAGE: Duration = Duration::from_millis(400);

/// What is known of a provider connection.
#[derive(Clone, Debug, Default)]
pub struct Link {
    ready: bool,
    down_since: Option<Duration>,
    /// It will not come back by itself within a sentence.
    lasting: bool,
    /// It was never there yet.
    fresh: bool,
    why: String,
}

impl Link {
    /// A link that counts as down until it reports ready (after an engine was rebuilt).
    pub fn recovering(now: Duration) -> Self {
        Link { down_since: Some(now), lasting: true, why: "recovering from a fault".into(), ..Link::default() }
    }

    /// A link that is being made: it is missed when that takes longer than a short outage may.
    pub fn connecting(now: Duration) -> Self {
        Link { down_since: Some(now), fresh: true, why: "the provider is being connected".into(), ..Link::default() }
    }

    /// Takes note of a new state.
    pub fn update(&mut self, now: Duration, state: &LinkState) {
        match state {
            LinkState::Connecting | LinkState::Odd(_) => {}
            LinkState::Waiting => {
                self.down_since.get_or_insert(now);
                self.why = "all connections of the provider's account are in use".into();
            }
            LinkState::Ready => *self = Link { ready: true, ..Link::default() },
            LinkState::Down { error, retry_in } => {
                (self.ready, self.fresh) = (false, false);
                self.down_since.get_or_insert(now);
                let hopeless = matches!(error.class, ErrorClass::Configuration | ErrorClass::ProviderOut);
                // What lasts goes on lasting: a failed attempt to connect is no sign that it is over. Where the next
                // provider is asked at once, the stage is not out yet.
                self.lasting |= hopeless && *retry_in != Some(Duration::ZERO);
                self.why.clone_from(&error.message);
            }
        }
    }

    /// Notes that a request over this link failed or succeeded.
    pub fn served(&mut self, now: Duration, failure: Option<String>) {
        match failure {
            None => *self = Link { ready: true, ..Link::default() },
            Some(why) => {
                self.down_since.get_or_insert(now);
                self.lasting = true;
                self.why = why;
            }
        }
    }

    /// Why translation cannot be relied on now, if it cannot.
    pub fn outage(&self, now: Duration) -> Option<&str> {
        let since = self.down_since?;
        (self.lasting || now.saturating_sub(since) >= SHORT_OUTAGE).then_some(&self.why)
    }

    /// For statistics.
    pub fn name(&self) -> &'static str {
        match (self.ready, self.down_since) {
            (_, Some(_)) if !self.fresh => "down",
            (true, None) => "ready",
            _ => "connecting",
        }
    }
}

/// The recognition stream of a speaker.
pub struct SttStream {
    /// Hz.
    pub rate: u32,
    /// From the input rate to `rate`.
    pub resampler: Resampler,
    /// Input rate the resampler was made for.
    pub resampler_from: u32,
    /// Session time at the end of what was sent.
    pub sent: SampleClock,
    /// Session time at which the stream began (added to `sent`).
    pub base: Duration,
    /// The connection.
    pub link: Link,
}

impl SttStream {
    /// A stream that is being opened at `now` for audio of `hz` that begins at session time `base`.
    pub fn new(now: Duration, rate: u32, hz: u32, base: Duration) -> Self {
        SttStream {
            rate,
            resampler: Resampler::new(hz, rate, 10),
            resampler_from: hz,
            sent: SampleClock::new(rate),
            base,
            link: Link::connecting(now),
        }
    }
}

/// A synthesis connection of a speaker.
#[derive(Clone, Debug)]
pub struct TtsLine {
    /// Hz.
    pub rate: u32,
    /// Opened for an announcement; stays while the session does.
    pub announces: bool,
}

/// A session that has left and whose last words are still on their way.
#[derive(Clone, Copy, Debug)]
pub struct Leaving {
    /// Then it ends in any case.
    pub deadline: Duration,
    /// Nothing more will be recognised.
    pub recognised: bool,
}

/// Places in a listener's queue that the host wants to hear of.
#[derive(Clone, Debug, Default)]
pub struct EarMarks {
    /// Marks set so far.
    pub count: u64,
    /// Each with the segments before it that were not heard to their end yet, oldest mark first.
    pub waiting: VecDeque<(u64, Vec<SegmentId>)>,
    /// Something was queued when last looked at.
    pub busy: bool,
}

/// Counters for statistics and the closing event.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    /// Segments committed from its speech.
    pub committed: u64,
    /// Segments of its speech heard to their end (once per listener).
    pub heard: u64,
    /// Segments (or spans) of its speech reported lost.
    pub lost: u64,
    /// Segments it should have heard while it did not pull.
    pub missed: u64,
    /// Sum and largest of the lags of segments heard, in milliseconds.
    pub lag_sum_ms: f64,
    /// Largest lag in milliseconds.
    pub lag_max_ms: f64,
    /// Silence put on its time line because it did not push, in milliseconds.
    pub silence_ms: f64,
    /// Quiet input left out because audio came late after silence was put in, in milliseconds.
    pub trimmed_ms: f64,
    /// Input that did not fit, in milliseconds.
    pub dropped_ms: f64,
    /// Its original voice cut in others' ears because of drift, in milliseconds.
    pub original_cut_ms: f64,
}

/// A session in its room.
pub struct Member {
    /// Settings as they are now.
    pub config: Arc<SessionConfig>,
    /// Its time line.
    pub clock: SampleClock,
    /// Its time line against gateway time.
    pub map: TimeMap,
    /// Last time something was pushed.
    pub last_said: Duration,
    /// The last block was loud: it stopped in the middle of something.
    pub loud: bool,
    /// When it spoke, as far as its recogniser has not answered for it.
    pub activity: Activity,
    /// Session time up to which a final result has come, whether its words wait or not.
    pub answered_to: Duration,
    /// What it says is replaced by silence.
    pub muted: bool,
    /// Which of its words are committed.
    pub ledger: Ledger,
    /// What is done ahead with words that are not committed yet.
    pub ahead: Ahead,
    /// What it was played, so that it is not translated back.
    pub guard: LoopGuard,
    /// Languages it spoke before, each with the session time at which it ended.
    pub spoke: Vec<(Duration, Language)>,
    /// Session time of the end of its last segment.
    pub said_to: Duration,
    /// Its last segments' texts, oldest first.
    pub context: VecDeque<String>,
    /// Its recognition stream, while somebody needs it.
    pub stt: Option<SttStream>,
    /// Translation of its words.
    pub mt: Link,
    /// Synthesis of its words.
    pub tts: Link,
    /// The state last reported of each stage's connection.
    pub told: BTreeMap<crate::provider::Stage, String>,
    /// Synthesis connections for its words, by target language.
    pub tts_lines: BTreeMap<Language, TtsLine>,
    /// What it shall hear translated.
    pub playout: Playout,
    /// What it shall hear of the others' own voices.
    pub original: Original,
    /// Whose own voice it hears because translation is down.
    pub open_to: BTreeMap<super::SessionId, bool>,
    /// Its announcement was said.
    pub announced: bool,
    /// Places in its queue that the host wants to hear of.
    pub marks: EarMarks,
    /// Last time it pulled.
    pub last_pull: Duration,
    /// Samples it asked for so far at the current rate.
    pub asked: u64,
    /// Since when it does not pull.
    pub absent_since: Option<Duration>,
    /// Segments missed since `absent_since`.
    pub missed: u64,
    /// It has left.
    pub leaving: Option<Leaving>,
    /// What it hears while it is alone.
    pub alone_cue: Cue,
    /// What it hears while words are on their way, …
    pub pending_cue: Cue,
    /// … and since when some are.
    pub pending_since: Option<Duration>,
    /// Whether it talks itself.
    pub talking: Talking,
    /// Gateway time at which the translated speech that was written will have been heard.
    pub sounds_until: Duration,
    /// Counters.
    pub counters: Counters,
    /// How close behind it its translations are heard.
    pub measures: Account,
    /// Counter values that were reported by an event.
    pub reported_cut_ms: f64,
}

impl Member {
    /// A session that joins at `now`.
    pub fn new(config: Arc<SessionConfig>, now: Duration) -> Self {
        let lead = Lead::new(config.playout.lead_min, config.playout.lead_max);
        let mut map = TimeMap::default();
        map.observe(Duration::ZERO, now);
        let mut ledger = Ledger::new(config.ledger.clone());
        ledger.speaks(config.language);
        Member {
            clock: SampleClock::new(config.rate_in),
            map,
            last_said: now,
            loud: false,
            activity: Activity::default(),
            answered_to: Duration::ZERO,
            muted: false,
            ledger,
            ahead: Ahead::default(),
            guard: LoopGuard::default(),
            spoke: Vec::new(),
            said_to: Duration::ZERO,
            context: VecDeque::new(),
            stt: None,
            mt: Link::default(),
            tts: Link::default(),
            told: BTreeMap::new(),
            tts_lines: BTreeMap::new(),
            playout: Playout::new(
                config.hears,
                config.rate_out,
                lead,
                Gain::from_db(f64::from(config.gain_translation_db)),
            ),
            original: Original::new(config.rate_out),
            open_to: BTreeMap::new(),
            announced: false,
            marks: EarMarks::default(),
            last_pull: now,
            asked: 0,
            absent_since: None,
            missed: 0,
            leaving: None,
            alone_cue: Cue::new(cue::ALONE),
            pending_cue: Cue::new(cue::PENDING),
            pending_since: None,
            talking: Talking::default(),
            sounds_until: now,
            counters: Counters::default(),
            measures: Account::default(),
            reported_cut_ms: 0.0,
            config,
        }
    }

    /// The language it spoke at this session time.
    pub fn language_at(&self, at: Duration) -> Language {
        self.spoke.iter().find(|(until, _)| at < *until).map_or(self.config.language, |(_, language)| *language)
    }

    /// Rate of the synthesised speech of its words in a language, in Hz.
    pub fn tts_rate(&self, target: Language) -> u32 {
        self.tts_lines.get(&target).map_or(16_000, |line| line.rate)
    }

    /// What it said that nobody has recognised yet. What was committed before its final result is no loss any more.
    pub fn unrecognised(&self) -> Option<(Duration, Duration)> {
        let mut activity = self.activity.clone();
        if let Some((start, end)) = self.ledger.ahead() {
            activity.settled(start, end);
        }
        activity.unanswered()
    }

    /// It is in the room and may hear.
    pub fn listens(&self) -> bool {
        self.leaving.is_none()
    }

    /// Why its words cannot reach others translated now, if they cannot.
    pub fn outage(&self, now: Duration) -> Option<String> {
        let stt = self.stt.as_ref().and_then(|s| s.link.outage(now));
        stt.or_else(|| self.mt.outage(now)).or_else(|| self.tts.outage(now)).map(str::to_owned)
    }

    /// Rate for its recognition stream: its own up to 16 kHz, which is all that recognisers use; 16 kHz if one of its
    /// recognisers does not take that.
    pub fn stt_rate(&self) -> u32 {
        let own = self.clock.hz().min(16_000);
        if self.config.stt_providers.iter().all(|p| p.takes(own)) { own } else { 16_000 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::StageError;
    use crate::provider::test_config::config;

    #[test]
    fn a_stream_has_a_rate_that_all_its_recognisers_take() {
        for (providers, rate, want) in [
            ("deepgram", "8000", 8000),
            ("deepgram", "12000", 12_000),
            ("deepgram", "44100", 16_000),
            ("flux", "8000", 8000),
            ("flux", "12000", 16_000),
            ("deepgram,flux", "12000", 16_000),
            ("flux", "32000", 16_000),
        ] {
            let config = config(&[("stt.provider", providers), ("rate.in", rate)]);
            assert!(config.stt_providers.iter().all(|p| p.takes(want)), "{providers} {want}");
            assert_eq!(Member::new(Arc::new(config), Duration::ZERO).stt_rate(), want, "{providers} {rate}");
        }
    }

    #[test]
    fn an_outage_ends_with_ready_only() {
        let at = Duration::from_millis;
        let down = |class| LinkState::Down { error: StageError::new(class, "c", "m"), retry_in: None };
        // (begins as, what comes, at 100 ms, is out at 101 ms)
        let recovering = Link::recovering(at(0));
        for (mut link, state, out) in [
            (Link::default(), down(ErrorClass::RetryNow), false),
            (Link::default(), down(ErrorClass::Configuration), true),
            (recovering.clone(), LinkState::Connecting, true),
            (recovering.clone(), down(ErrorClass::RetryLater(None)), true),
            (recovering, LinkState::Ready, false),
        ] {
            link.update(at(100), &state);
            assert_eq!(link.outage(at(101)).is_some(), out, "{state:?}");
        }
        let mut short = Link::default();
        short.update(at(100), &down(ErrorClass::RetryNow));
        short.update(at(300), &down(ErrorClass::RetryNow));
        assert_eq!(short.outage(at(500)), Some("m"));
    }
}
