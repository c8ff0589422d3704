//! The typed settings that the rest of the library works with.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::choices::{
    AloneCue, Choice, DeeplFormality, DeeplModelType, LedgerPolicy, MtProvider, Original, SttProvider, TtsProvider,
};
use super::endpoint::BaseUrl;
use super::error::{ConfigError, ErrorKind, Origin, quoted_key, suggestion};
use super::keys::{KEYS, Scope, find};
use super::languages::Language;
use super::value::{Raw, Secret, Value};

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
}

/// Everything one session is set to.
#[derive(Debug, Clone, PartialEq)]
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
    pub ledger_policy: LedgerPolicy,
    /// Who recognises its speech.
    pub stt_provider: SttProvider,
    /// Who translates its speech.
    pub mt_provider: MtProvider,
    /// Who speaks its words to the others.
    pub tts_provider: TtsProvider,
    /// The provider's id of the voice that speaks its words to the others.
    pub tts_voice: String,
    /// Sample rate asked of the tts provider, in Hz; `None` for what fits the listener.
    pub tts_sample_rate: Option<u32>,
    /// Settings of Deepgram.
    pub deepgram: DeepgramConfig,
    /// Settings of DeepL.
    pub deepl: DeeplConfig,
    /// Settings of ElevenLabs.
    pub elevenlabs: ElevenlabsConfig,
}

/// The sync buffer of a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlayoutConfig {
    /// Most translated speech that may wait.
    pub max: Duration,
    /// Least audio ahead of the puller.
    pub lead_min: Duration,
    /// Most audio ahead of the puller; not less than `lead_min`.
    pub lead_max: Duration,
}

/// Settings of Deepgram.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeepgramConfig {
    /// Key of the account.
    pub api_key: Secret,
    /// Where it is reached: as given, or by region.
    pub base_url: BaseUrl,
    /// `model` of `/v1/listen`.
    pub model: String,
    /// Silence that ends an utterance.
    pub endpointing: Duration,
    /// Gap between words that ends an utterance.
    pub utterance_end: Duration,
    /// `smart_format`.
    pub smart_format: bool,
    /// `no_delay`.
    pub no_delay: bool,
    /// `keyterm`, once for each.
    pub keyterms: Vec<String>,
    /// `mip_opt_out`.
    pub mip_opt_out: bool,
    /// `tag`.
    pub tag: Option<String>,
}

/// Settings of DeepL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeeplConfig {
    /// Key of the account.
    pub api_key: Secret,
    /// Where it is reached: as given, or by region and kind of key.
    pub base_url: BaseUrl,
    /// `formality`.
    pub formality: DeeplFormality,
    /// `model_type`.
    pub model_type: DeeplModelType,
    /// `glossary_id`.
    pub glossary_id: Option<String>,
    /// Preceding segments sent as `context`.
    pub context_segments: usize,
}

/// Settings of ElevenLabs.
#[derive(Debug, Clone, PartialEq)]
pub struct ElevenlabsConfig {
    /// Key of the account.
    pub api_key: Secret,
    /// Where it is reached: as given, or by region.
    pub base_url: BaseUrl,
    /// `model_id`.
    pub model: String,
    /// `enable_logging`.
    pub enable_logging: bool,
    /// `stability`, 0 to 1; `None` for the voice's own.
    pub stability: Option<f32>,
    /// `similarity_boost`, 0 to 1; `None` for the voice's own.
    pub similarity_boost: Option<f32>,
    /// `speed`, 0.7 to 1.2; `None` for the voice's own.
    pub speed: Option<f32>,
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
            ("gain.translation_db", Value::Float(db)) => self.gain_translation_db = db as f32,
            ("gain.original_db", Value::Float(db)) => self.gain_original_db = db as f32,
            _ => return not_live(),
        }
        Ok(())
    }

    /// Refuses a language that one of the chosen providers does not know.
    pub(crate) fn check_stages(&self, language_at: &Origin, hears_at: &Origin) -> Result<(), ConfigError> {
        let (SttProvider::Deepgram, MtProvider::Deepl, TtsProvider::Elevenlabs) =
            (self.stt_provider, self.mt_provider, self.tts_provider);
        let (spoken, heard) = (self.language, self.hears);
        for (key, language, at, can, stage) in [
            ("language", spoken, language_at, spoken.deepgram(), "stt provider deepgram cannot recognise"),
            ("language", spoken, language_at, spoken.deepl_source(), "mt provider deepl cannot translate from"),
            ("hears", heard, hears_at, heard.deepl_target(), "mt provider deepl cannot translate into"),
            ("hears", heard, hears_at, heard.elevenlabs(), "tts provider elevenlabs cannot speak"),
        ] {
            if can.is_none() {
                let advice = if key == "hears" { "; set \"hears\" to a language it can" } else { "" };
                let message = format!("{key} = \"{language}\": {stage} {}{advice}", language.name());
                return Err(ConfigError::new(ErrorKind::Unsupported, key, message).at(at));
            }
        }
        Ok(())
    }
}
