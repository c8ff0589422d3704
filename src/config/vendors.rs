//! The settings of each vendor: their types, and how they are made of the collected keys.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::choices::{
    DeepgramRegion, DeeplFormality, DeeplModelType, DeeplRegion, ElevenlabsRegion, MtProvider, SttProvider, TtsProvider,
};
use super::endpoint::BaseUrl;
use super::error::{ConfigError, ErrorKind};
use super::languages::Language;
use super::resolve::Resolver;
use super::value::Secret;

/// Rates of linear16 audio that Flux takes, in Hz (Deepgram's AsyncAPI of 2026-07).
const FLUX_RATES: [u32; 5] = [8000, 16_000, 24_000, 44_100, 48_000];
/// Rates that Aura gives linear16 at, in Hz (Deepgram's OpenAPI of 2026-07).
const AURA_RATES: [u32; 5] = [8000, 16_000, 24_000, 32_000, 48_000];

/// Settings of Deepgram.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeepgramConfig {
    /// Key of the account.
    pub api_key: Secret,
    /// Where it is reached: as given, or by region.
    pub base_url: BaseUrl,
    /// Connections that the account may have open; `None` for any number.
    pub max_streams: Option<usize>,
    /// `model` of `/v1/listen`.
    pub model: String,
    /// `language=multi`: the speaker mixes languages.
    pub multi: bool,
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
    /// Requests of one session under way; at least 1.
    pub max_requests: usize,
}

/// Settings of ElevenLabs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ElevenlabsConfig {
    /// Key of the account.
    pub api_key: Secret,
    /// Where it is reached: as given, or by region.
    pub base_url: BaseUrl,
    /// Connections that the account may have open; `None` for any number.
    pub max_streams: Option<usize>,
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

/// Settings of Deepgram Flux.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FluxConfig {
    /// `model` of `/v2/listen`; `None` for one that fits the language.
    pub model: Option<String>,
    /// `eot_threshold`, 0.5 to 0.9; `None` for the vendor's.
    pub eot_threshold: Option<f32>,
    /// `eager_eot_threshold`, 0.3 to 0.9 and not above `eot_threshold`; `None` for no eager ends of turn.
    pub eager_eot_threshold: Option<f32>,
    /// `eot_timeout_ms`.
    pub eot_timeout: Duration,
}

/// Settings of Deepgram Aura.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuraConfig {
    /// `model`, which is the voice; `None` for one of the language.
    pub voice: Option<String>,
    /// Requests that the account may have under way; `None` for any number.
    pub max_requests: Option<usize>,
}

/// Settings of a server that speaks OpenAI's protocol.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenaiConfig {
    /// Key of the account; `None` for a server on loopback that wants none.
    pub api_key: Option<Secret>,
    /// Where `/chat/completions` is.
    pub base_url: BaseUrl,
    /// `model`.
    pub model: String,
    /// `max_tokens`.
    pub max_tokens: u32,
}

/// Settings of LibreTranslate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LibretranslateConfig {
    /// `api_key`, if the server wants one.
    pub api_key: Option<Secret>,
    /// Where it is reached.
    pub base_url: BaseUrl,
}

impl SttProvider {
    /// Whether it recognises a language.
    pub fn recognises(self, language: Language) -> bool {
        match self {
            SttProvider::Deepgram => language.deepgram().is_some(),
            SttProvider::Flux => language.flux().is_some(),
        }
    }

    /// Whether it takes audio of `hz` Hz.
    pub fn takes(self, hz: u32) -> bool {
        match self {
            SttProvider::Deepgram => true,
            SttProvider::Flux => FLUX_RATES.contains(&hz),
        }
    }
}

impl MtProvider {
    /// Whether it translates from a language. A LibreTranslate server may have fewer than it could.
    pub fn translates_from(self, language: Language) -> bool {
        match self {
            MtProvider::Deepl => language.deepl_source().is_some(),
            MtProvider::Openai | MtProvider::Libretranslate => true,
        }
    }

    /// Whether it translates into a language.
    pub fn translates_into(self, language: Language) -> bool {
        match self {
            MtProvider::Deepl => language.deepl_target().is_some(),
            MtProvider::Openai | MtProvider::Libretranslate => true,
        }
    }
}

impl TtsProvider {
    /// Whether it speaks a language with these settings.
    pub fn speaks(self, language: Language, aura: &AuraConfig) -> bool {
        match self {
            TtsProvider::Elevenlabs | TtsProvider::ElevenlabsHttp => language.elevenlabs().is_some(),
            TtsProvider::Aura => aura.voice.is_some() || language.aura_voice().is_some(),
        }
    }

    /// Whether it gives speech at `hz` Hz, one of the choices of `tts.sample_rate`.
    pub fn gives(self, hz: u32) -> bool {
        match self {
            TtsProvider::Elevenlabs | TtsProvider::ElevenlabsHttp => true,
            TtsProvider::Aura => AURA_RATES.contains(&hz),
        }
    }
}

pub(super) fn deepgram(r: &Resolver<'_>, needed: bool) -> Result<DeepgramConfig, ConfigError> {
    let region: DeepgramRegion = r.choice("deepgram.region")?;
    Ok(DeepgramConfig {
        api_key: key(r, "deepgram.api_key", needed)?,
        base_url: base_url(r, "deepgram", region == DeepgramRegion::Default, region.base_url())?,
        max_streams: limit(r, "deepgram.max_streams")?,
        model: r.name("deepgram.model")?,
        multi: r.bool("deepgram.multi")?,
        endpointing: r.millis("deepgram.endpointing_ms")?,
        utterance_end: r.millis("deepgram.utterance_end_ms")?,
        smart_format: r.bool("deepgram.smart_format")?,
        no_delay: r.bool("deepgram.no_delay")?,
        keyterms: r.list("deepgram.keyterm")?,
        mip_opt_out: r.bool("deepgram.mip_opt_out")?,
        tag: r.text("deepgram.tag")?,
    })
}

pub(super) fn deepl(r: &Resolver<'_>, needed: bool) -> Result<DeeplConfig, ConfigError> {
    let region: DeeplRegion = r.choice("deepl.region")?;
    let api_key = key(r, "deepl.api_key", needed)?;
    let url = region.base_url(api_key.expose().ends_with(":fx"));
    Ok(DeeplConfig {
        base_url: base_url(r, "deepl", region == DeeplRegion::Default, url)?,
        api_key,
        formality: r.choice("deepl.formality")?,
        model_type: r.choice("deepl.model_type")?,
        glossary_id: r.text("deepl.glossary_id")?,
        context_segments: r.int("deepl.context_segments")? as usize,
        max_requests: r.int("deepl.max_requests")? as usize,
    })
}

pub(super) fn elevenlabs(r: &Resolver<'_>, needed: bool) -> Result<ElevenlabsConfig, ConfigError> {
    let region: ElevenlabsRegion = r.choice("elevenlabs.region")?;
    Ok(ElevenlabsConfig {
        api_key: key(r, "elevenlabs.api_key", needed)?,
        base_url: base_url(r, "elevenlabs", region == ElevenlabsRegion::Default, region.base_url())?,
        max_streams: limit(r, "elevenlabs.max_streams")?,
        model: r.name("elevenlabs.model")?,
        enable_logging: r.bool("elevenlabs.enable_logging")?,
        stability: r.float("elevenlabs.stability")?,
        similarity_boost: r.float("elevenlabs.similarity_boost")?,
        speed: r.float("elevenlabs.speed")?,
    })
}

pub(super) fn flux(r: &Resolver<'_>) -> Result<FluxConfig, ConfigError> {
    let (eot_threshold, eager_eot_threshold) = (r.float("flux.eot_threshold")?, r.float("flux.eager_eot_threshold")?);
    // The vendor's default of `eot_threshold` is 0.7.
    if eager_eot_threshold.is_some_and(|eager| eager > eot_threshold.unwrap_or(0.7)) {
        let message = "flux.eager_eot_threshold is more than flux.eot_threshold (0.7 if it is not given)";
        let origin = r.origin("flux.eager_eot_threshold");
        return Err(ConfigError::new(ErrorKind::BadValue, "flux.eager_eot_threshold", message).at(&origin));
    }
    Ok(FluxConfig {
        model: Some(r.name("flux.model")?).filter(|model| model != "auto"),
        eot_threshold,
        eager_eot_threshold,
        eot_timeout: r.millis("flux.eot_timeout_ms")?,
    })
}

pub(super) fn aura(r: &Resolver<'_>) -> Result<AuraConfig, ConfigError> {
    Ok(AuraConfig { voice: r.text("aura.voice")?, max_requests: limit(r, "aura.max_requests")? })
}

pub(super) fn openai(r: &Resolver<'_>, needed: bool) -> Result<OpenaiConfig, ConfigError> {
    let base_url = base_url(r, "openai", true, "https://api.openai.com/v1")?;
    let api_key = match base_url.is_loopback() || !needed {
        true => r.secret_if_any("openai.api_key")?,
        false => Some(r.secret("openai.api_key")?),
    };
    Ok(OpenaiConfig { api_key, base_url, model: r.name("openai.model")?, max_tokens: r.int("openai.max_tokens")? })
}

pub(super) fn libretranslate(r: &Resolver<'_>) -> Result<LibretranslateConfig, ConfigError> {
    Ok(LibretranslateConfig {
        api_key: r.secret_if_any("libretranslate.api_key")?,
        base_url: base_url(r, "libretranslate", true, "http://127.0.0.1:5000")?,
    })
}

/// A vendor's key; one of a vendor that is not asked may be missing.
fn key(r: &Resolver<'_>, name: &str, needed: bool) -> Result<Secret, ConfigError> {
    match needed {
        true => r.secret(name),
        false => Ok(r.secret_if_any(name)?.unwrap_or_else(Secret::absent)),
    }
}

/// A number of connections; 0 is any.
fn limit(r: &Resolver<'_>, name: &str) -> Result<Option<usize>, ConfigError> {
    Ok(Some(r.int(name)? as usize).filter(|n| *n != 0))
}

/// The base URL given, or that of the region. Both at once are refused: speech must not leave a
/// region that was asked for because of a URL set elsewhere.
fn base_url(r: &Resolver<'_>, vendor: &str, no_region: bool, of_region: &str) -> Result<BaseUrl, ConfigError> {
    let key = format!("{vendor}.base_url");
    match r.url(&key)? {
        Some(_) if !no_region => {
            let message = format!("{key} and {vendor}.region are both given; only one can count");
            Err(ConfigError::new(ErrorKind::BadValue, &key, message).at(&r.origin(&key)))
        }
        Some(url) => Ok(url),
        None => {
            BaseUrl::parse(of_region).map_err(|why| ConfigError::new(ErrorKind::BadValue, &key, format!("{key} {why}")))
        }
    }
}
