//! Events: what the host is told, as JSON. The schema is `docs/events.schema.json`.
//!
//! The engine fills in [`Event`]; the queue adds `seq`, `time_ms` and the session's own names.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::engine::SessionId;

/// One thing that happened to a session.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// To which session.
    pub session: SessionId,
    /// What.
    pub kind: EventKind,
}

/// Times of a segment's life in milliseconds of gateway time (`time_ms` of events); absent where it was not reached.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Marks {
    /// The first word began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub speech_start_ms: Option<f64>,
    /// The last word ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub speech_end_ms: Option<f64>,
    /// The ledger let it go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub committed_ms: Option<f64>,
    /// The translation was there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub translated_ms: Option<f64>,
    /// The first synthesised sample was there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_audio_ms: Option<f64>,
    /// The listener pulled its first sample.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub playout_start_ms: Option<f64>,
    /// The listener pulled its last sample.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub playout_end_ms: Option<f64>,
}

/// How close behind the speaker a segment was, in milliseconds (`engine::measures` says what each is).
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Measures {
    /// Words that were said.
    pub words: usize,
    /// Mean lag of those words.
    pub word_lag_mean_ms: f64,
    /// Largest lag of them.
    pub word_lag_max_ms: f64,
    /// From the beginning of what was said to the beginning of what was heard.
    pub start_offset_ms: f64,
    /// From the end of what was said to the end of what was heard.
    pub end_offset_ms: f64,
    /// Length-adaptive average lagging.
    pub laal_ms: f64,
    /// Average token delay.
    pub atd_ms: f64,
}

/// What playout did with a segment in one ear.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Played {
    /// How much faster than it was synthesised it was played, on average: 1.08 plays 10 s in 9.26 s.
    pub stretch: f64,
    /// By how much pauses in it and before it were shortened, in milliseconds.
    pub pause_cut_ms: f64,
    /// Silence of the synthesiser that was left out at its ends, in milliseconds.
    pub trimmed_ms: f64,
    /// Mean gain that brought the voice to its loudness, in dB.
    pub gain_db: f64,
}

/// What happened. `type` in JSON is the variant's name in snake case.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum EventKind {
    /// The session is in its room.
    Joined {
        /// Members now, this one included.
        members: usize,
        /// What it speaks.
        language: String,
        /// What it hears.
        hears: String,
        /// What it is in the call, if the host said so (option `role`).
        #[serde(skip_serializing_if = "Option::is_none")]
        role: Option<String>,
        /// The host's own labels (options `label.*`).
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        labels: BTreeMap<String, String>,
    },
    /// The session left its room; what it said before may still be on its way to the others.
    Left {
        /// Members now.
        members: usize,
    },
    /// The session is gone; its last event.
    Closed {
        /// Segments of its speech that were heard.
        segments: u64,
        /// Segments of its speech that were reported lost.
        lost: u64,
    },
    /// The recogniser heard the beginning of speech.
    SpeechStarted {
        /// Session time in milliseconds.
        at_ms: f64,
    },
    /// Recognised text.
    Transcript {
        /// Will not change any more.
        r#final: bool,
        /// The text.
        text: String,
        /// Session time of its beginning in milliseconds.
        start_ms: f64,
        /// Session time of its end in milliseconds.
        end_ms: f64,
        /// Detected language, where the provider tells.
        #[serde(skip_serializing_if = "Option::is_none")]
        language: Option<String>,
    },
    /// A segment was translated. Reported for the speaker's session.
    Translation {
        /// The segment.
        segment: u64,
        /// Source language.
        source: String,
        /// Target language.
        target: String,
        /// What was said.
        source_text: String,
        /// Its translation.
        text: String,
        /// Why it was committed, for a person, such as `clause, 2 stable interims`.
        commit: String,
        /// From the ledger's commit to the translation, in milliseconds.
        mt_ms: f64,
    },
    /// A listener has heard a segment to its end. Reported for the speaker's session, once per listener.
    SegmentDone {
        /// The segment.
        segment: u64,
        /// Who heard it: session handle.
        listener: u64,
        /// Who heard it: session id.
        listener_id: String,
        /// Target language.
        target: String,
        /// What was said.
        source_text: String,
        /// What was heard.
        text: String,
        /// Why it was committed, for a person, such as `clause, 2 stable interims`.
        commit: String,
        /// Session time at which the speech begins, in milliseconds.
        start_ms: f64,
        /// Session time at which the speech ends, in milliseconds.
        end_ms: f64,
        /// Lag of the last word: from its end in the speaker's mouth to its end in the listener's ear, in milliseconds.
        lag_ms: f64,
        /// Length of the speech that was heard, in milliseconds.
        heard_ms: f64,
        /// All of it was heard (false: flushed or cut).
        complete: bool,
        /// Times of its life.
        marks: Marks,
        /// Durations of the stages: end of speech to commit, commit to translation, translation to first audio.
        stages_ms: BTreeMap<&'static str, f64>,
        /// How close behind the speaker it was, if all of it was heard.
        #[serde(skip_serializing_if = "Option::is_none")]
        measures: Option<Box<Measures>>,
        /// What playout did with it.
        playout: Box<Played>,
    },
    /// Speech that was not (or will not be) heard in the other language. Never silently.
    SegmentLost {
        /// The segment, if there was one already.
        #[serde(skip_serializing_if = "Option::is_none")]
        segment: Option<u64>,
        /// For which listener: session handle; absent: for all.
        #[serde(skip_serializing_if = "Option::is_none")]
        listener: Option<u64>,
        /// Target language, if known.
        #[serde(skip_serializing_if = "Option::is_none")]
        target: Option<String>,
        /// Which stage lost it: `stt`, `mt`, `tts`, `playout`, `input` or `engine`.
        stage: &'static str,
        /// Why, for a person.
        reason: String,
        /// What was said, if it was recognised.
        #[serde(skip_serializing_if = "Option::is_none")]
        source_text: Option<String>,
        /// Session time at which the lost speech begins, in milliseconds.
        start_ms: f64,
        /// Session time at which the lost speech ends, in milliseconds.
        end_ms: f64,
    },
    /// The session has not pulled for a while: nothing is synthesised for it.
    ListenerAbsent {
        /// Milliseconds since its last pull.
        idle_ms: f64,
    },
    /// The session pulls again.
    ListenerBack {
        /// How long it was away, in milliseconds.
        absent_ms: f64,
        /// Segments that it missed.
        missed: u64,
    },
    /// A provider connection of the session changed its state.
    Provider {
        /// `stt`, `mt` or `tts`.
        stage: &'static str,
        /// Provider name.
        provider: String,
        /// `connecting`, `ready`, `waiting` (for a free connection of the account) or `down`.
        state: &'static str,
        /// Vendor's code where it is down; with `ready`, what was not understood or failed once, although it still serves.
        #[serde(skip_serializing_if = "Option::is_none")]
        code: Option<String>,
        /// One sentence for a person.
        #[serde(skip_serializing_if = "Option::is_none")]
        message: Option<String>,
        /// Vendor's request id, for its support.
        #[serde(skip_serializing_if = "Option::is_none")]
        request_id: Option<String>,
        /// Next attempt in milliseconds.
        #[serde(skip_serializing_if = "Option::is_none")]
        retry_in_ms: Option<f64>,
    },
    /// The listener hears original voices because translation is down, or translations again.
    FailOpen {
        /// Original voices are heard.
        active: bool,
        /// Whose original voice: session handle.
        speaker: u64,
        /// Why, for a person.
        reason: String,
    },
    /// Frames did not fit or were dropped to keep the delay bounded.
    AudioDropped {
        /// `input` (the up ring was full) or `original` (clock drift, no pause to absorb it).
        stage: &'static str,
        /// Milliseconds of audio.
        dropped_ms: f64,
        /// Session time at which it happened, in milliseconds.
        at_ms: f64,
    },
    /// The session's microphone repeated what its ear was played; these words are not translated back.
    EchoDropped {
        /// How many.
        words: usize,
        /// Session time at which the text begins that they were found in, in milliseconds.
        start_ms: f64,
        /// Session time at which it ends, in milliseconds.
        end_ms: f64,
    },
    /// What was queued for the session's ear when `MGW_MARK` was given has been heard, flushed or lost.
    MarkReached {
        /// Counts the session's marks from 1.
        mark: u64,
        /// All of it was heard to its end.
        heard: bool,
    },
    /// Nothing more waits to be heard by the session.
    Drained {},
    /// The session's leg reported a DTMF digit.
    Dtmf {
        /// The digit.
        digit: String,
    },
    /// An announcement asked for by `mgw_session_say` was heard to its end.
    SaidDone {
        /// The segment.
        segment: u64,
        /// What was heard.
        text: String,
        /// Length of what was heard, in milliseconds.
        heard_ms: f64,
        /// All of it was heard.
        complete: bool,
    },
    /// Something went wrong inside mgw.
    Error {
        /// Stable code, such as `engine_panic`.
        code: &'static str,
        /// One sentence for a person, with what to do.
        message: String,
    },
    /// The host did not read events fast enough; counts of what was dropped since the last such event.
    EventsLost {
        /// Interim transcripts dropped.
        interims: u64,
        /// Other events dropped (only when the queue was full of those).
        others: u64,
    },
}

impl EventKind {
    /// Interim transcripts are the only events that may be dropped when the queue is full.
    pub fn is_interim(&self) -> bool {
        matches!(self, EventKind::Transcript { r#final: false, .. })
    }

    /// What an operator should know of it, without anything that was said; `None` if all is well.
    pub fn trouble(&self) -> Option<String> {
        match self {
            EventKind::Provider { stage, provider, state: "down", code, message, request_id, .. } => {
                let (code, message) = (code.as_deref().unwrap_or("-"), message.as_deref().unwrap_or("-"));
                let request = request_id.as_deref().map(|id| format!("; request {id}")).unwrap_or_default();
                Some(format!("{stage} provider {provider} is down: {message} ({code}{request})"))
            }
            EventKind::SegmentLost { stage, reason, start_ms, end_ms, .. } => {
                Some(format!("speech from {start_ms} to {end_ms} ms was lost at {stage}: {reason}"))
            }
            EventKind::AudioDropped { stage, dropped_ms, .. } => {
                Some(format!("{dropped_ms} ms of audio dropped: {stage}"))
            }
            EventKind::FailOpen { active: true, reason, .. } => Some(format!("the original voice passes: {reason}")),
            EventKind::Error { code, message } => Some(format!("{code}: {message}")),
            _ => None,
        }
    }
}
