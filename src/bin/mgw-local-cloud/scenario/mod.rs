//! The scenario: latencies, pacing and faults of the emulated services, read from TOML. Unknown keys are refused.

mod faults;
mod vendors;

pub use faults::{Fault, FaultKind, On, Stage};
pub use vendors::{Aura, DeepL, Deepgram, ElevenLabs, Flux, LibreTranslate, OpenAi};

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A delay: fixed milliseconds (`100`) or log-normal (`{ median = 120, p95 = 300 }`), drawn with the scenario's seed.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(untagged)]
pub enum Latency {
    /// Always the same.
    Fixed(f64),
    /// Log-normal with this median and 95th percentile.
    Spread(Spread),
}

/// Median and 95th percentile in milliseconds.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Spread {
    /// Half of the delays are shorter.
    pub median: f64,
    /// One in twenty is longer.
    pub p95: f64,
}

impl Latency {
    /// Draws one delay.
    pub fn draw(self, rng: &mut ChaCha8Rng) -> Duration {
        let ms = match self {
            Latency::Fixed(ms) => ms,
            Latency::Spread(s) => {
                // Box-Muller; 1.6449 is the normal 95 % quantile.
                let (u, v): (f64, f64) = (1.0 - rng.random::<f64>(), rng.random());
                let normal = (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos();
                s.median * ((s.p95 / s.median).ln() / 1.6449 * normal).exp()
            }
        };
        Duration::from_secs_f64(ms.clamp(0.0, 600_000.0) / 1000.0)
    }

    fn check(self, key: &str) -> Result<(), String> {
        let good = match self {
            Latency::Fixed(ms) => (0.0..=600_000.0).contains(&ms),
            Latency::Spread(s) => s.median > 0.0 && s.p95 >= s.median && s.p95 <= 600_000.0,
        };
        good.then_some(())
            .ok_or_else(|| format!("{key}: want milliseconds from 0 to 600000, or median > 0 and p95 >= median"))
    }
}

/// The whole file. Every table and key may be left out.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Scenario {
    /// Seed of all chance in the servers.
    pub seed: u64,
    /// Recognition, whatever the vendor.
    pub stt: Stt,
    /// Translation.
    pub mt: Mt,
    /// Synthesis.
    pub tts: Tts,
    /// What only Deepgram has.
    pub deepgram: Deepgram,
    /// What only Deepgram Flux has.
    pub flux: Flux,
    /// What only Deepgram Aura has.
    pub aura: Aura,
    /// What only DeepL has.
    pub deepl: DeepL,
    /// What only ElevenLabs has.
    pub elevenlabs: ElevenLabs,
    /// What only OpenAI-compatible chat has.
    pub openai: OpenAi,
    /// What only LibreTranslate has.
    pub libretranslate: LibreTranslate,
    /// Faults, looked at in order; the first that fits is fired.
    pub fault: Vec<Fault>,
}

impl Default for Scenario {
    fn default() -> Scenario {
        Scenario {
            seed: 1,
            stt: Stt::default(),
            mt: Mt::default(),
            tts: Tts::default(),
            deepgram: Deepgram::default(),
            flux: Flux::default(),
            aura: Aura::default(),
            deepl: DeepL::default(),
            elevenlabs: ElevenLabs::default(),
            openai: OpenAi::default(),
            libretranslate: LibreTranslate::default(),
            fault: Vec::new(),
        }
    }
}

/// `[stt]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Stt {
    /// Audio time between interim results (1000).
    pub interim_interval_ms: u32,
    /// Share of newest interim words that are wrong at first (0.3); read at start only.
    pub revision_rate: f64,
    /// So many of the newest words may be wrong at first, each by `revision_rate` (1); read at start only.
    pub revision_depth: usize,
    /// Coded words whose number and one more can be divided by this end a clause: a comma is written behind them as soon
    /// as a later word is known (0: no clauses).
    pub clause_words: u16,
    /// Silence after which a turn is over, drawn anew for each (the same in every stream). Then neither `endpointing` nor
    /// Flux's growing confidence decides when (not given).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_of_turn_ms: Option<Latency>,
    /// Extra delay of every interim result (0).
    pub interim_delay_ms: Latency,
    /// Extra delay of every final result and UtteranceEnd (0).
    pub final_delay_ms: Latency,
    /// Speech after which a final is cut at a word gap: at least `min`, drawn up to `max` (4000, 5000).
    pub cut_after_ms: (u32, u32),
    /// Streams at once before 429 (150).
    pub max_streams: usize,
}

impl Default for Stt {
    fn default() -> Stt {
        Stt {
            interim_interval_ms: 1000,
            revision_rate: 0.3,
            revision_depth: 1,
            clause_words: 0,
            end_of_turn_ms: None,
            interim_delay_ms: Latency::Fixed(0.0),
            final_delay_ms: Latency::Fixed(0.0),
            cut_after_ms: (4000, 5000),
            max_streams: 150,
        }
    }
}

/// `[mt]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mt {
    /// Time from the whole request to the reply (100).
    pub latency_ms: Latency,
}

impl Default for Mt {
    fn default() -> Mt {
        Mt { latency_ms: Latency::Fixed(100.0) }
    }
}

/// What `close_context` does with text that is not yet spoken.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CloseContext {
    /// Speaks it, then says isFinal.
    Finish,
    /// Drops it and says isFinal at once.
    Stop,
}

/// `[tts]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tts {
    /// Time from the trigger of a generation to its first audio (288).
    pub first_audio_ms: Latency,
    /// Audio seconds sent per second (3.0).
    pub speed: f64,
    /// Audio in one message, drawn from this range ([40, 250]).
    pub chunk_ms: (u32, u32),
    /// Share of chunks that end in the middle of a sample (0.2).
    pub odd_chunk_rate: f64,
    /// Contexts that may be open on one connection (5).
    pub max_contexts: usize,
    /// `"finish"` (default) or `"stop"`.
    pub close_context: CloseContext,
    /// Voices that exist; empty (default) means all do.
    pub voices: Vec<String>,
}

impl Default for Tts {
    fn default() -> Tts {
        Tts {
            first_audio_ms: Latency::Fixed(288.0),
            speed: 3.0,
            chunk_ms: (40, 250),
            odd_chunk_rate: 0.2,
            max_contexts: 5,
            close_context: CloseContext::Finish,
            voices: Vec::new(),
        }
    }
}

impl Scenario {
    /// Reads and checks a scenario; the error names the key.
    pub fn parse(text: &str) -> Result<Scenario, String> {
        let scenario: Scenario = toml::from_str(text).map_err(|e| e.to_string())?;
        scenario.check().map(|()| scenario)
    }

    fn check(&self) -> Result<(), String> {
        self.stt.interim_delay_ms.check("stt.interim_delay_ms")?;
        self.stt.final_delay_ms.check("stt.final_delay_ms")?;
        self.stt.end_of_turn_ms.map_or(Ok(()), |latency| latency.check("stt.end_of_turn_ms"))?;
        self.mt.latency_ms.check("mt.latency_ms")?;
        self.tts.first_audio_ms.check("tts.first_audio_ms")?;
        let rate = |r: f64| (0.0..=1.0).contains(&r);
        let rules = [
            (self.stt.interim_interval_ms >= 20, "stt.interim_interval_ms: at least 20"),
            (rate(self.stt.revision_rate), "stt.revision_rate: 0 to 1"),
            (
                self.stt.cut_after_ms.0 >= 100 && self.stt.cut_after_ms.0 <= self.stt.cut_after_ms.1,
                "stt.cut_after_ms: [min, max], at least 100",
            ),
            (self.tts.speed > 0.0 && self.tts.speed <= 1e6, "tts.speed: above 0"),
            (
                self.tts.chunk_ms.0 >= 1 && self.tts.chunk_ms.0 <= self.tts.chunk_ms.1 && self.tts.chunk_ms.1 <= 10_000,
                "tts.chunk_ms: [min, max], 1 to 10000",
            ),
            (rate(self.tts.odd_chunk_rate), "tts.odd_chunk_rate: 0 to 1"),
            (self.deepgram.idle_timeout_ms > 0 && self.deepgram.rate_window_ms > 0, "deepgram: times above 0"),
            (self.deepgram.rate_limit >= 1.0, "deepgram.rate_limit: at least 1"),
            (self.deepl.keep_alive_ms > 0, "deepl.keep_alive_ms: above 0"),
            (self.flux.idle_timeout_ms > 0, "flux.idle_timeout_ms: above 0"),
            (self.flux.update_ms >= 20, "flux.update_ms: at least 20"),
            (self.flux.confident_ms >= 20, "flux.confident_ms: at least 20"),
            (rate(self.openai.split_rate), "openai.split_rate: 0 to 1"),
        ];
        if let Some((_, text)) = rules.iter().find(|(good, _)| !good) {
            return Err((*text).to_owned());
        }
        for (i, fault) in self.fault.iter().enumerate() {
            fault.check().map_err(|e| format!("fault {}: {e}", i + 1))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn refuses_what_it_does_not_know() {
        assert!(Scenario::parse("").is_ok());
        for (text, hint) in [
            ("[stt]\nintrim_interval_ms = 3", "intrim"),
            ("[mt]\nlatency_ms = { median = 5, p95 = 2 }", "mt.latency_ms"),
            ("[stt]\nend_of_turn_ms = { median = 0, p95 = 2 }", "stt.end_of_turn_ms"),
            ("[[fault]]\nstage = \"mt\"\nat = 0\nkind = \"reset\"", "fault 1"),
            ("[[fault]]\nstage = \"mt\"\nat = 1\nkind = \"explode\"", "explode"),
            ("[[fault]]\nstage = \"mt\"\nat = 1\nkind = \"status\"\ncode = 99", "fault 1"),
            ("[[fault]]\nstage = \"mt\"\nat = 1\nkind = \"vendor\"\nname = \"deepl_999\"", "deepl_999"),
            ("[[fault]]\nstage = \"stt\"\nat = 1\nkind = \"hostile\"", "name"),
            ("[[fault]]\nstage = \"stt\"\non = \"byte\"\nat = 1\nkind = \"garbage\"", "byte"),
            ("[[fault]]\nstage = \"stt\"\non = \"byte\"\nat = 1\ncount = 2\nkind = \"reset\"", "every"),
            ("[tts]\nspeed = 0.0", "tts.speed"),
        ] {
            let error = Scenario::parse(text).unwrap_err();
            assert!(error.contains(hint), "{error}");
        }
        let all = Scenario::default();
        let text = toml::to_string(&all).unwrap();
        assert!(Scenario::parse(&text).is_ok(), "{text}");
    }

    #[test]
    fn log_normal_has_the_asked_quantiles() {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let latency = Latency::Spread(Spread { median: 120.0, p95: 300.0 });
        let mut ms: Vec<f64> = (0..20_000).map(|_| latency.draw(&mut rng).as_secs_f64() * 1000.0).collect();
        ms.sort_by(f64::total_cmp);
        assert!((ms[10_000] - 120.0).abs() < 5.0 && (ms[19_000] - 300.0).abs() < 20.0, "{} {}", ms[10_000], ms[19_000]);
    }
}
