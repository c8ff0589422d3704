//! Builds the typed settings from the collected ones, and refuses what contradicts itself.

use std::path::PathBuf;
use std::time::Duration;

use super::choices::{DeepgramRegion, DeeplRegion, ElevenlabsRegion};
use super::endpoint::BaseUrl;
use super::error::{ConfigError, ErrorKind, quoted_key, suggestion};
use super::keys::{Scope, find};
use super::resolve::Resolver;
use super::session::{DeepgramConfig, DeeplConfig, ElevenlabsConfig, GatewayConfig, PlayoutConfig, SessionConfig};
use super::{Config, Layer};

impl Config {
    /// The settings of the whole library.
    ///
    /// # Errors
    /// None that a `Config` whose settings were taken can give; kept for values that contradict each other.
    pub fn gateway(&self) -> Result<GatewayConfig, ConfigError> {
        let r = Resolver { layers: &[&self.global], profile: "", before_env: 0, env: &|_| None };
        Ok(GatewayConfig {
            max_sessions: r.int("max_sessions")? as usize,
            media_threads: r.int("media_threads")? as usize,
            net_threads: r.int("net_threads")? as usize,
            events_capacity: r.int("events.capacity")? as usize,
            tls_ca_file: r.text("tls.ca_file")?.map(PathBuf::from),
        })
    }

    /// The settings of a session that starts from `profile`, with its own `options` over them.
    ///
    /// `env` gives environment variables; vendors' keys are looked up in it.
    ///
    /// # Errors
    /// [`ErrorKind::UnknownProfile`]; [`ErrorKind::Missing`] without a language or a vendor's key;
    /// [`ErrorKind::Unsupported`] if a stage cannot do a language; [`ErrorKind::WrongPlace`] if the
    /// options hold profiles or gateway keys; [`ErrorKind::BadValue`] if values contradict each other.
    pub fn session(
        &self,
        profile: &str,
        options: &Config,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<SessionConfig, ConfigError> {
        let Some(settings) = self.profiles.get(profile) else {
            return Err(self.unknown_profile(profile));
        };
        check_options(options)?;
        for layer in [settings, &self.global] {
            if let Some(setting) = layer.get("id") {
                let message = "id names one session; give it as an option of the session";
                return Err(ConfigError::new(ErrorKind::WrongPlace, "id", message).at(&setting.origin));
            }
        }
        let layers: [&Layer; 3] = [&options.global, settings, &self.global];
        build(profile, &Resolver { layers: &layers, profile, before_env: 2, env })
    }

    fn unknown_profile(&self, profile: &str) -> ConfigError {
        let known: Vec<&str> = self.profile_names().take(10).collect();
        let near = suggestion(profile, self.profile_names());
        let list = match known.len() {
            0 => "; there are no profiles".to_owned(),
            _ if near.contains("did you mean") => near,
            n if n < self.profiles.len() => format!("; there are {} and others", known.join(", ")),
            _ => format!("; there are {}", known.join(", ")),
        };
        let message = format!("unknown profile {}{list}", quoted_key(profile));
        ConfigError::new(ErrorKind::UnknownProfile, profile, message)
    }
}

fn check_options(options: &Config) -> Result<(), ConfigError> {
    if let Some(name) = options.profile_names().next() {
        let key = format!("profile.{name}");
        let message = format!("{} cannot stand in a session's options", quoted_key(&key));
        return Err(ConfigError::new(ErrorKind::WrongPlace, &key, message));
    }
    for (name, setting) in &options.global {
        if find(name).is_some_and(|key| key.scope == Scope::Gateway) {
            let message = format!("{name} is for the whole gateway; it cannot be an option of a session");
            return Err(ConfigError::new(ErrorKind::WrongPlace, name, message).at(&setting.origin));
        }
    }
    Ok(())
}

fn build(profile: &str, r: &Resolver<'_>) -> Result<SessionConfig, ConfigError> {
    let language = r.language("language")?.ok_or_else(|| {
        let message = format!("language is not given; set \"profile.{profile}.language\"");
        ConfigError::new(ErrorKind::Missing, "language", message)
    })?;
    let hears = r.language("hears")?.unwrap_or(language);
    let playout = PlayoutConfig {
        max: Duration::from_secs(u64::from(r.int("playout.max_s")?)),
        lead_min: r.millis("playout.lead_min_ms")?,
        lead_max: r.millis("playout.lead_max_ms")?,
    };
    if playout.lead_min > playout.lead_max {
        let message = format!(
            "playout.lead_min_ms = {} is more than playout.lead_max_ms = {}",
            playout.lead_min.as_millis(),
            playout.lead_max.as_millis()
        );
        let origin = r.origin("playout.lead_min_ms");
        return Err(ConfigError::new(ErrorKind::BadValue, "playout.lead_min_ms", message).at(&origin));
    }
    let config = SessionConfig {
        profile: profile.to_owned(),
        language,
        hears,
        id: r.text("id")?,
        role: r.text("role")?,
        labels: r.labels()?,
        rate_in: r.int("rate.in")?,
        rate_out: r.int("rate.out")?,
        original: r.choice("original")?,
        gain_translation_db: r.float("gain.translation_db")?.unwrap_or(0.0),
        gain_original_db: r.float("gain.original_db")?.unwrap_or(0.0),
        alone_cue: r.choice("alone.cue")?,
        fail_open: r.bool("fail_open")?,
        playout,
        segment_timeout: r.millis("segment.timeout_ms")?,
        absent_after: r.millis("absent_after_ms")?,
        ledger_policy: r.choice("ledger.policy")?,
        stt_provider: r.choice("stt.provider")?,
        mt_provider: r.choice("mt.provider")?,
        tts_provider: r.choice("tts.provider")?,
        tts_voice: r.name("tts.voice")?,
        tts_sample_rate: r.name("tts.sample_rate")?.parse().ok().filter(|hz| *hz != 0),
        deepgram: deepgram(r)?,
        deepl: deepl(r)?,
        elevenlabs: elevenlabs(r)?,
    };
    config.check_stages(&r.origin("language"), &r.origin("hears"))?;
    Ok(config)
}

fn deepgram(r: &Resolver<'_>) -> Result<DeepgramConfig, ConfigError> {
    let region: DeepgramRegion = r.choice("deepgram.region")?;
    Ok(DeepgramConfig {
        api_key: r.secret("deepgram.api_key")?,
        base_url: base_url(r, "deepgram", region == DeepgramRegion::Default, region.base_url())?,
        model: r.name("deepgram.model")?,
        endpointing: r.millis("deepgram.endpointing_ms")?,
        utterance_end: r.millis("deepgram.utterance_end_ms")?,
        smart_format: r.bool("deepgram.smart_format")?,
        no_delay: r.bool("deepgram.no_delay")?,
        keyterms: r.list("deepgram.keyterm")?,
        mip_opt_out: r.bool("deepgram.mip_opt_out")?,
        tag: r.text("deepgram.tag")?,
    })
}

fn deepl(r: &Resolver<'_>) -> Result<DeeplConfig, ConfigError> {
    let region: DeeplRegion = r.choice("deepl.region")?;
    let api_key = r.secret("deepl.api_key")?;
    let url = region.base_url(api_key.expose().ends_with(":fx"));
    Ok(DeeplConfig {
        base_url: base_url(r, "deepl", region == DeeplRegion::Default, url)?,
        api_key,
        formality: r.choice("deepl.formality")?,
        model_type: r.choice("deepl.model_type")?,
        glossary_id: r.text("deepl.glossary_id")?,
        context_segments: r.int("deepl.context_segments")? as usize,
    })
}

fn elevenlabs(r: &Resolver<'_>) -> Result<ElevenlabsConfig, ConfigError> {
    let region: ElevenlabsRegion = r.choice("elevenlabs.region")?;
    Ok(ElevenlabsConfig {
        api_key: r.secret("elevenlabs.api_key")?,
        base_url: base_url(r, "elevenlabs", region == ElevenlabsRegion::Default, region.base_url())?,
        model: r.name("elevenlabs.model")?,
        enable_logging: r.bool("elevenlabs.enable_logging")?,
        stability: r.float("elevenlabs.stability")?,
        similarity_boost: r.float("elevenlabs.similarity_boost")?,
        speed: r.float("elevenlabs.speed")?,
    })
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
