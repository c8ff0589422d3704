//! The typed settings that the rest of the library works with.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::choices::{
    AloneCue, Choice, LedgerPolicy, MtProvider, Original, Overflow, Overlap, PendingCue, Speculation, SttProvider,
    TtsProvider,
};
use super::error::{ConfigError, ErrorKind, Origin, quoted_key, suggestion};
use super::keys::{KEYS, Scope, find};
use super::languages::Language;
use super::value::{Raw, Value};
use super::vendors::{
    AuraConfig, DeepgramConfig, DeeplConfig, ElevenlabsConfig, FluxConfig, LibretranslateConfig, OpenaiConfig,
};

/// Settings of the whole library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayConfig {
    /// Most sessions at one time.
    pub max_sessions: usize,
    /// Threads that run rooms; 0 for by the number of cores.
    pub media_threads: usize,
    /// Threads of the network runtime.
    pub net_threads: usize,
    /// Events kept for a host that does not fetch them.
    pub events_capacity: usize,
    /// PEM file of authorities trusted besides the system's.
    pub tls_ca_file: Option<PathBuf>,
    /// What may be spent by all sessions together.
    pub budget: Budget,
    /// Flight records of rooms.
    pub recorder: RecorderConfig,
}

/// Flight records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecorderConfig {
    /// Where the files are made, if they are wanted.
    pub folder: Option<PathBuf>,
    /// Most bytes of one of them.
    pub max_bytes: u64,
}

/// What may be sent to vendors; `None` is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// Audio to recognisers.
    pub stt: Option<Duration>,
    /// Characters (Unicode code points) to translators.
    pub mt_chars: Option<u64>,
    /// Characters (Unicode code points) to synthesisers.
    pub tts_chars: Option<u64>,
}

/// Everything one session is set to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SessionConfig {
    /// Name of the profile it started from.
    pub profile: String,
    /// What it speaks.
    pub language: Language,
    /// What it hears.
    pub hears: Language,
    /// Name given by the host, if any.
    pub id: Option<String>,
    /// What it is in the call, if the host said so.
    pub role: Option<String>,
    /// The host's own labels, without the prefix `label.`; at most 16.
    pub labels: BTreeMap<String, String>,
    /// Sample rate of pushed frames, in Hz.
    pub rate_in: u32,
    /// Sample rate of pulled frames, in Hz.
    pub rate_out: u32,
    /// Whether the others' own voices are heard under their translation.
    pub original: Original,
    /// Level of the others' own voices under a translation, in dB against their own.
    pub original_under_db: f32,
    /// How long a voice takes to go under a translation and to come back.
    pub original_fade: Duration,
    /// Bring translated speech to -20 dBFS.
    pub normalise: bool,
    /// What it hears of a translation while speaking.
    pub overlap: Overlap,
    /// Level of the translation while it speaks, in dB, where `overlap` says so.
    pub overlap_duck_db: f32,
    /// What it hears while a translation is on its way.
    pub pending_cue: PendingCue,
    /// What its microphone repeats of what its ear was played is not translated back.
    pub loop_guard: bool,
    /// Said to it when it joins, and the language of that.
    pub announcement: Option<(String, Language)>,
    /// Gain of translated speech in this ear, in dB.
    pub gain_translation_db: f32,
    /// Gain of the others' own voices in this ear, in dB.
    pub gain_original_db: f32,
    /// What it hears while alone.
    pub alone_cue: AloneCue,
    /// Whether the others' own voices are heard while translation is down.
    pub fail_open: bool,
    /// The sync buffer of this listener.
    pub playout: PlayoutConfig,
    /// From commit to first audio; later the segment is reported lost.
    pub segment_timeout: Duration,
    /// Without a pull for so long the listener is absent.
    pub absent_after: Duration,
    /// Which recognised words may be spoken.
    pub ledger: LedgerConfig,
    /// What is done ahead with words that are not certain yet.
    pub speculation: Speculation,
    /// Most characters worked on in vain, against those that were used; 1.0 is as many.
    pub speculation_share: f32,
    /// Who recognises its speech: at least one, the preferred one first.
    pub stt_providers: Vec<SttProvider>,
    /// Keep a second recogniser connection open.
    pub stt_standby: bool,
    /// Who translates its speech: at least one, the preferred one first.
    pub mt_providers: Vec<MtProvider>,
    /// A translator that has not answered by then is not waited for any longer.
    pub mt_timeout: Duration,
    /// Who speaks its words to the others: at least one, the preferred one first.
    pub tts_providers: Vec<TtsProvider>,
    /// The provider's id of the voice that speaks its words to the others.
    pub tts_voice: String,
    /// Sample rate asked of the tts provider, in Hz; `None` for what fits the listener.
    pub tts_sample_rate: Option<u32>,
    /// What may be spent for it.
    pub budget: Budget,
    /// Settings of Deepgram; its account and address are those of Flux and Aura too.
    pub deepgram: DeepgramConfig,
    /// Settings of Flux.
    pub flux: FluxConfig,
    /// Settings of Aura.
    pub aura: AuraConfig,
    /// Settings of DeepL.
    pub deepl: DeeplConfig,
    /// Settings of OpenAI-compatible servers.
    pub openai: OpenaiConfig,
    /// Settings of LibreTranslate.
    pub libretranslate: LibretranslateConfig,
    /// Settings of ElevenLabs.
    pub elevenlabs: ElevenlabsConfig,
}

/// The sync buffer of a listener.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlayoutConfig {
    /// Most translated speech that may wait.
    pub max: Duration,
    /// Least audio ahead of the puller.
    pub lead_min: Duration,
    /// Most audio ahead of the puller; not less than `lead_min`.
    pub lead_max: Duration,
    /// How much faster than it was spoken it may be played, 1.0 to 1.25.
    pub stretch_max: f32,
    /// What is done when stretching is not enough …
    pub overflow: Overflow,
    /// … and the end of a segment would be heard later than this after it was said.
    pub overflow_after: Duration,
}

/// When the ledger lets words go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerConfig {
    /// By what.
    pub policy: LedgerPolicy,
    /// Words known for so long are let go in any case (but under `final`).
    pub max_wait: Duration,
    /// Interim results in a row that must agree, for `agreement`.
    pub agreement: u32,
    /// Fewest words of a clause that ends without punctuation or a pause, for `clause`.
    pub min_words: usize,
}

impl SessionConfig {
    /// Changes a key in mid-call.
    ///
    /// # Errors
    /// [`ErrorKind::UnknownKey`]; [`ErrorKind::NotLive`], saying when the key can be set; [`ErrorKind::BadValue`].
    pub fn set_live(&mut self, key: &str, value: &str) -> Result<(), ConfigError> {
        let Some(known) = find(key) else {
            let near = suggestion(key, KEYS.iter().filter(|k| k.live).map(|k| k.name));
            let message = format!("unknown key {}{near}", quoted_key(key));
            return Err(ConfigError::new(ErrorKind::UnknownKey, key, message));
        };
        let not_live = || {
            let when = match known.scope {
                Scope::Gateway => "when the gateway is made",
                Scope::Session => "when a session is made",
            };
            let message = format!("{} can only be set {when}, not in mid-call", known.name);
            Err(ConfigError::new(ErrorKind::NotLive, key, message))
        };
        if !known.live {
            return not_live();
        }
        let checked = known.kind.check(&Raw::Text(value.to_owned()));
        let bad = |why| ConfigError::new(ErrorKind::BadValue, key, format!("{key}{why}"));
        match (known.name, checked.map_err(bad)?) {
            ("original", Value::Text(word)) => match Original::from_word(&word) {
                Some(original) => self.original = original,
                None => return not_live(),
            },
            ("overlap", Value::Text(word)) => match Overlap::from_word(&word) {
                Some(overlap) => self.overlap = overlap,
                None => return not_live(),
            },
            ("pending.cue", Value::Text(word)) => match PendingCue::from_word(&word) {
                Some(cue) => self.pending_cue = cue,
                None => return not_live(),
            },
            ("playout.overflow", Value::Text(word)) => match Overflow::from_word(&word) {
                Some(overflow) => self.playout.overflow = overflow,
                None => return not_live(),
            },
            ("playout.overflow_ms", Value::Int(n)) => self.playout.overflow_after = millis(n),
            ("playout.stretch_max", Value::Float(most)) => self.playout.stretch_max = most as f32,
            ("gain.under_db", Value::Float(db)) => self.original_under_db = db as f32,
            ("gain.fade_ms", Value::Int(n)) => self.original_fade = millis(n),
            ("gain.duck_db", Value::Float(db)) => self.overlap_duck_db = db as f32,
            ("loudness.normalise", Value::Bool(on)) => self.normalise = on,
            ("loop_guard", Value::Bool(on)) => self.loop_guard = on,
            ("gain.translation_db", Value::Float(db)) => self.gain_translation_db = db as f32,
            ("gain.original_db", Value::Float(db)) => self.gain_original_db = db as f32,
            ("language" | "hears", Value::Language(language)) => {
                let mut changed = self.clone();
                match known.name {
                    "language" => changed.language = language,
                    _ => changed.hears = language,
                }
                let nowhere = Origin::default();
                changed.check_stages(&nowhere, &nowhere, &nowhere)?;
                *self = changed;
            }
            ("tts.voice", Value::Text(voice)) => self.tts_voice = voice,
            ("tts.voice", Value::Unset) => known.default.clone_into(&mut self.tts_voice),
            ("language" | "hears", _) => {
                let message = format!("{key} needs a language; in mid-call it cannot be taken back to a default");
                return Err(ConfigError::new(ErrorKind::BadValue, key, message));
            }
            _ => return not_live(),
        }
        Ok(())
    }

    /// Refuses a language or a rate that none of a stage's chosen providers knows.
    pub(crate) fn check_stages(
        &self,
        language_at: &Origin,
        hears_at: &Origin,
        rate_at: &Origin,
    ) -> Result<(), ConfigError> {
        let (spoken, heard) = (self.language, self.hears);
        let stt = self.stt_providers.iter().any(|p| p.recognises(spoken));
        let from = self.mt_providers.iter().any(|p| p.translates_from(spoken));
        let into = self.mt_providers.iter().any(|p| p.translates_into(heard));
        let tts = self.tts_providers.iter().any(|p| p.speaks(heard, &self.aura));
        for (key, language, at, can, stage) in [
            ("language", spoken, language_at, stt, format!("{} cannot recognise", names("stt", &self.stt_providers))),
            (
                "language",
                spoken,
                language_at,
                from,
                format!("{} cannot translate from", names("mt", &self.mt_providers)),
            ),
            ("hears", heard, hears_at, into, format!("{} cannot translate into", names("mt", &self.mt_providers))),
            ("hears", heard, hears_at, tts, format!("{} cannot speak", names("tts", &self.tts_providers))),
        ] {
            if !can {
                let advice = if key == "hears" { "; set \"hears\" to a language it can" } else { "" };
                let message = format!("{key} = \"{language}\": {stage} {}{advice}", language.name());
                return Err(ConfigError::new(ErrorKind::Unsupported, key, message).at(at));
            }
        }
        if let Some(hz) = self.tts_sample_rate
            && !self.tts_providers.iter().any(|p| p.gives(hz))
        {
            let key = "tts.sample_rate";
            let providers = names("tts", &self.tts_providers);
            let message = format!("{key} = {hz}: {providers} does not give that rate; 0 chooses one that fits");
            return Err(ConfigError::new(ErrorKind::BadValue, key, message).at(rate_at));
        }
        Ok(())
    }
}

fn millis(n: i64) -> Duration {
    Duration::from_millis(u64::try_from(n).unwrap_or(0))
}

fn names<C: Choice + Copy>(stage: &str, providers: &[C]) -> String {
    let names: Vec<&str> = providers.iter().map(|p| p.word()).collect();
    format!("{stage} provider {}", names.join(" or "))
}
