//! The tables of single vendors in a scenario. A limit of 0 is none.

use serde::{Deserialize, Serialize};

/// `[deepgram]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Deepgram {
    /// Silence on the wire before NET-0001 (10000).
    pub idle_timeout_ms: u64,
    /// Audio may not come faster than `rate_limit` times real time for longer than this (5000).
    pub rate_window_ms: u64,
    /// See `rate_window_ms` (1.25).
    pub rate_limit: f64,
}

impl Default for Deepgram {
    fn default() -> Deepgram {
        Deepgram { idle_timeout_ms: 10_000, rate_window_ms: 5000, rate_limit: 1.25 }
    }
}

/// `[flux]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Flux {
    /// Time without any message before INACTIVE_CLIENT (10000).
    pub idle_timeout_ms: u64,
    /// Whether words carry `start` and `end` (true).
    pub word_times: bool,
    /// Audio time between Updates (250).
    pub update_ms: u32,
    /// Silence after which the end of a turn is certain; confidence grows evenly up to there (400).
    pub confident_ms: u32,
    /// How long a Configure is pending before its answer (0).
    pub configure_delay_ms: u64,
}

impl Default for Flux {
    fn default() -> Flux {
        Flux { idle_timeout_ms: 10_000, word_times: true, update_ms: 250, confident_ms: 400, configure_delay_ms: 0 }
    }
}

/// `[aura]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Aura {
    /// Requests at once before 429 (15, the vendor's limit for one without a contract).
    pub max_requests: u64,
}

impl Default for Aura {
    fn default() -> Aura {
        Aura { max_requests: 15 }
    }
}

/// `[deepl]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct DeepL {
    /// Idle time after which a kept connection is closed (60000).
    pub keep_alive_ms: u64,
    /// Characters before 456 (1000000000).
    pub character_limit: u64,
    /// Requests at once before 429 (0).
    pub max_requests: u64,
}

impl Default for DeepL {
    fn default() -> DeepL {
        DeepL { keep_alive_ms: 60_000, character_limit: 1_000_000_000, max_requests: 0 }
    }
}

/// `[elevenlabs]`
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ElevenLabs {
    /// HTTP requests at once before 429 (0).
    pub max_requests: u64,
    /// Websockets at once before an error message and 1008 (0).
    pub max_sockets: u64,
    /// Characters before quota_exceeded (0).
    pub character_limit: u64,
}

/// `[openai]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct OpenAi {
    /// Time between the pieces of a streamed answer (2).
    pub chunk_ms: u64,
    /// Share of events whose bytes come in two parts (0.2).
    pub split_rate: f64,
    /// Requests at once before 429 (0).
    pub max_requests: u64,
}

impl Default for OpenAi {
    fn default() -> OpenAi {
        OpenAi { chunk_ms: 2, split_rate: 0.2, max_requests: 0 }
    }
}

/// `[libretranslate]`
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct LibreTranslate {
    /// Characters of one request before 400 (0).
    pub char_limit: u64,
    /// Requests at once before 429 (0).
    pub max_requests: u64,
}
