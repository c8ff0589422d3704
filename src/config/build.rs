//! Builds the typed settings from the collected ones, and refuses what contradicts itself.

use std::path::PathBuf;
use std::time::Duration;

use super::choices::{MtProvider, SttProvider, TtsProvider};
use super::error::{ConfigError, ErrorKind, quoted_key, suggestion};
use super::keys::{Scope, find};
use super::resolve::Resolver;
use super::session::{Budget, GatewayConfig, LedgerConfig, PlayoutConfig, RecorderConfig, SessionConfig};
use super::{Config, Layer, vendors};

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
            budget: budget(&r, "total_budget")?,
            recorder: RecorderConfig {
                folder: r.text("recorder.folder")?.map(PathBuf::from),
                max_bytes: u64::from(r.int("recorder.max_mb")?) << 20,
            },
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
        stretch_max: r.float("playout.stretch_max")?.unwrap_or(1.0),
        overflow: r.choice("playout.overflow")?,
        overflow_after: r.millis("playout.overflow_ms")?,
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
    let stt_providers: Vec<SttProvider> = r.choices("stt.provider")?;
    let mt_providers: Vec<MtProvider> = r.choices("mt.provider")?;
    let tts_providers: Vec<TtsProvider> = r.choices("tts.provider")?;
    // Both recognisers are Deepgram's.
    let listens = !stt_providers.is_empty();
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
        original_under_db: r.float("gain.under_db")?.unwrap_or(0.0),
        original_fade: r.millis("gain.fade_ms")?,
        normalise: r.bool("loudness.normalise")?,
        overlap: r.choice("overlap")?,
        overlap_duck_db: r.float("gain.duck_db")?.unwrap_or(0.0),
        pending_cue: r.choice("pending.cue")?,
        loop_guard: r.bool("loop_guard")?,
        announcement: match r.text("announcement.text")? {
            Some(text) => Some((text, r.language("announcement.language")?.unwrap_or(hears))),
            None => None,
        },
        gain_translation_db: r.float("gain.translation_db")?.unwrap_or(0.0),
        gain_original_db: r.float("gain.original_db")?.unwrap_or(0.0),
        alone_cue: r.choice("alone.cue")?,
        fail_open: r.bool("fail_open")?,
        playout,
        segment_timeout: r.millis("segment.timeout_ms")?,
        absent_after: r.millis("absent_after_ms")?,
        ledger: LedgerConfig {
            policy: r.choice("ledger.policy")?,
            max_wait: r.millis("ledger.max_wait_ms")?,
            agreement: r.int("ledger.agreement")?,
            min_words: r.int("ledger.min_words")? as usize,
        },
        speculation: r.choice("speculation.mode")?,
        speculation_share: r.int("speculation.max_percent")? as f32 / 100.0,
        stt_standby: r.bool("stt.standby")?,
        mt_timeout: r.millis("mt.timeout_ms")?,
        tts_voice: r.name("tts.voice")?,
        tts_sample_rate: r.name("tts.sample_rate")?.parse().ok().filter(|hz| *hz != 0),
        budget: budget(r, "budget")?,
        deepgram: vendors::deepgram(r, listens || tts_providers.contains(&TtsProvider::Aura))?,
        flux: vendors::flux(r)?,
        aura: vendors::aura(r)?,
        deepl: vendors::deepl(r, mt_providers.contains(&MtProvider::Deepl))?,
        openai: vendors::openai(r, mt_providers.contains(&MtProvider::Openai))?,
        libretranslate: vendors::libretranslate(r)?,
        elevenlabs: vendors::elevenlabs(r, tts_providers.iter().any(|p| *p != TtsProvider::Aura))?,
        stt_providers,
        mt_providers,
        tts_providers,
    };
    config.check_stages(&r.origin("language"), &r.origin("hears"), &r.origin("tts.sample_rate"))?;
    Ok(config)
}

/// Limits under `prefix`; 0 is none.
fn budget(r: &Resolver<'_>, prefix: &str) -> Result<Budget, ConfigError> {
    let given = |name: &str| Ok(Some(r.int(&format!("{prefix}.{name}"))?).filter(|n| *n != 0).map(u64::from));
    Ok(Budget {
        stt: given("stt_s")?.map(Duration::from_secs),
        mt_chars: given("mt_chars")?,
        tts_chars: given("tts_chars")?,
    })
}
