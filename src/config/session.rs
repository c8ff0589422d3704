//! The typed settings that the rest of the library works with.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::choices::{AloneCue, Choice, LedgerPolicy, MtProvider, Original, SttProvider, TtsProvider};
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
}

/// What may be sent to vendors; `None` is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Budget {
    /// Audio to recognisers.
    pub stt: Option<Duration>,
    /// Characters (Unicode code points) to translators.
    pub mt_chars: Option<u64>,
    /// Characters (Unicode code points) to synthesisers.
    pub tts_chars: Option<u64>,
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlayoutConfig {
    /// Most translated speech that may wait.
    pub max: Duration,
    /// Least audio ahead of the puller.
    pub lead_min: Duration,
    /// Most audio ahead of the puller; not less than `lead_min`.
    pub lead_max: Duration,
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

fn names<C: Choice + Copy>(stage: &str, providers: &[C]) -> String {
    let names: Vec<&str> = providers.iter().map(|p| p.word()).collect();
    format!("{stage} provider {}", names.join(" or "))
}
