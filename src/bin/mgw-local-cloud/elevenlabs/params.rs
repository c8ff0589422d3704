//! What a request to ElevenLabs may ask for: output format, model, language, voice settings.

use crate::app::App;
use crate::scenario::Stage;
use crate::speech::{Coding, Format, Wanted};
use serde_json::Value;

/// A refusal: the vendor's code and a text.
pub type Refusal = (&'static str, String);

/// What the query of any of the endpoints asks for.
#[derive(Clone, Debug)]
pub struct Params {
    /// Of the path.
    pub voice: String,
    /// Format of the audio.
    pub format: Format,
    /// `language_code`
    pub language: Option<String>,
    /// `model_id`, or the default.
    pub model: String,
    /// Seconds without a message before the socket is closed.
    pub inactivity_s: f64,
    /// Whether messages carry alignments.
    pub sync_alignment: bool,
    /// Generate without waiting for the schedule.
    pub auto_mode: bool,
    /// Key given in the query.
    pub query_key: Option<String>,
}

const MODELS: &[&str] = &[
    "eleven_flash_v2_5",
    "eleven_flash_v2",
    "eleven_turbo_v2_5",
    "eleven_turbo_v2",
    "eleven_multilingual_v2",
    "eleven_multilingual_v1",
    "eleven_monolingual_v1",
    "eleven_v3",
    "eleven_v4_turbo",
];
const COMPRESSED: &[&str] = &[
    "mp3_22050_32",
    "mp3_24000_48",
    "mp3_44100_32",
    "mp3_44100_64",
    "mp3_44100_96",
    "mp3_44100_128",
    "mp3_44100_192",
    "opus_48000_32",
    "opus_48000_64",
    "opus_48000_96",
    "opus_48000_128",
    "opus_48000_192",
];

fn format(name: &str) -> Result<Format, Refusal> {
    if COMPRESSED.contains(&name) {
        return Err((
            "invalid_output_format",
            format!("the emulator makes pcm_*, ulaw_8000 and alaw_8000 only, not {name}"),
        ));
    }
    let unknown = || ("invalid_output_format", format!("output_format '{name}' does not exist"));
    let (coding, rate) = name.split_once('_').ok_or_else(unknown)?;
    let (coding, rates): (_, &[&str]) = match coding {
        "pcm" => (Coding::Pcm, &["8000", "16000", "22050", "24000", "32000", "44100", "48000"]),
        "ulaw" => (Coding::Ulaw, &["8000"]),
        "alaw" => (Coding::Alaw, &["8000"]),
        _ => return Err(unknown()),
    };
    let rate = rates.contains(&rate).then(|| rate.parse().ok()).flatten().ok_or_else(unknown)?;
    Ok(Format { coding, rate })
}

impl Params {
    /// Checks the query of a websocket or of the HTTP stream; in the latter `model` and `language` come with the body.
    pub fn parse(voice: String, voices: &[String], raw: &str, websocket: bool) -> Result<Params, Refusal> {
        if voice.trim().is_empty() || (!voices.is_empty() && !voices.contains(&voice)) {
            return Err(("voice_not_found", format!("A voice with the voice_id {voice} was not found.")));
        }
        let default_model = if websocket { "eleven_flash_v2_5" } else { "eleven_multilingual_v2" };
        let mut params = Params {
            voice,
            format: Format { coding: Coding::Pcm, rate: 0 },
            language: None,
            model: default_model.to_owned(),
            inactivity_s: 20.0,
            sync_alignment: false,
            auto_mode: false,
            query_key: None,
        };
        let mut wanted = "mp3_44100_128".to_owned();
        for (name, value) in url::form_urlencoded::parse(raw.as_bytes()) {
            let invalid = || ("invalid_parameters", format!("{name}: '{value}' is not allowed"));
            let flag = || value.parse::<bool>().map_err(|_| invalid());
            match (&*name, websocket) {
                ("output_format", _) => wanted = value.into_owned(),
                ("enable_logging", _) => drop(flag()?),
                ("optimize_streaming_latency", _) if matches!(&*value, "0" | "1" | "2" | "3" | "4") => {}
                ("model_id", true) => params.model = value.into_owned(),
                ("language_code", true) => params.language = Some(value.into_owned()),
                ("enable_ssml_parsing", true) => drop(flag()?),
                ("sync_alignment", true) => params.sync_alignment = flag()?,
                ("auto_mode", true) => params.auto_mode = flag()?,
                ("inactivity_timeout", true) => match value.parse() {
                    Ok(s) if (0.05..=180.0).contains(&s) => params.inactivity_s = s,
                    _ => return Err(invalid()),
                },
                ("apply_text_normalization", true) if matches!(&*value, "auto" | "on" | "off") => {}
                ("seed", true) if value.parse::<u32>().is_ok() => {}
                ("authorization" | "single_use_token", true) => params.query_key = Some(value.into_owned()),
                _ => return Err(invalid()),
            }
        }
        params.format = format(&wanted)?;
        params.check_model(websocket)?;
        Ok(params)
    }

    /// What is to be made.
    pub fn wanted(&self) -> Wanted {
        Wanted {
            voice: self.voice.clone(),
            language: self.language.clone(),
            format: self.format,
            timed: self.sync_alignment,
        }
    }

    /// Checks model and language against each other.
    pub fn check_model(&self, websocket: bool) -> Result<(), Refusal> {
        if !MODELS.contains(&self.model.as_str()) {
            return Err(("model_not_found", format!("A model with model ID {} does not exist", self.model)));
        }
        if websocket && self.model == "eleven_v3" {
            return Err(("unsupported_model", "eleven_v3 is not available over websockets".to_owned()));
        }
        let takes_language = self.model.ends_with("v2_5") || self.model.starts_with("eleven_v");
        match &self.language {
            Some(_) if !takes_language => Err((
                "unsupported_language",
                format!("Model '{}' does not support the language_code parameter.", self.model),
            )),
            Some(code) if code.len() != 2 || !code.bytes().all(|b| b.is_ascii_lowercase()) => {
                Err(("unsupported_language", format!("language_code '{code}' is not an ISO 639-1 code")))
            }
            _ => Ok(()),
        }
    }

    /// Longest text of one request in characters.
    pub fn character_limit(&self) -> usize {
        match self.model.as_str() {
            "eleven_flash_v2_5" | "eleven_turbo_v2_5" => 40_000,
            "eleven_flash_v2" | "eleven_turbo_v2" => 30_000,
            _ => 10_000,
        }
    }
}

/// Whether a text still fits into the scenario's quota; it counts when it is spoken.
pub fn within_quota(app: &App, text: &str) -> bool {
    let limit = app.scenario().elevenlabs.character_limit;
    let used = app.stats.with(|n| n.characters.get(&Stage::Tts).copied().unwrap_or(0));
    limit == 0 || used + text.chars().count() as u64 <= limit
}

/// The refusal of what does not fit.
pub fn quota_exceeded() -> Refusal {
    ("quota_exceeded", "This request exceeds your quota. You have 0 credits remaining.".to_owned())
}

/// Checks `voice_settings`.
pub fn check_voice_settings(settings: &Value) -> Result<(), Refusal> {
    let Value::Object(map) = settings else {
        return if settings.is_null() {
            Ok(())
        } else {
            Err(("invalid_parameters", "voice_settings must be an object".to_owned()))
        };
    };
    for (name, value) in map {
        let good = match name.as_str() {
            "stability" | "similarity_boost" | "style" => value.as_f64().is_some_and(|v| (0.0..=1.0).contains(&v)),
            "speed" => value.as_f64().is_some_and(|v| (0.7..=1.2).contains(&v)),
            "use_speaker_boost" => value.is_boolean(),
            _ => false,
        };
        if !good && !value.is_null() {
            return Err(("invalid_parameters", format!("voice_settings.{name}: {value} is not allowed")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(raw: &str, websocket: bool) -> Result<Params, Refusal> {
        Params::parse("v".to_owned(), &[], raw, websocket)
    }

    #[test]
    fn checks_like_the_vendor() {
        let p = parse(
            "model_id=eleven_flash_v2_5&output_format=pcm_16000&language_code=es&inactivity_timeout=180&auto_mode=true",
            true,
        )
        .unwrap();
        assert_eq!((p.format.rate, p.auto_mode, p.language.as_deref()), (16000, true, Some("es")));
        for (raw, code) in [
            ("output_format=pcm_11025", "invalid_output_format"),
            ("output_format=ulaw_16000", "invalid_output_format"),
            ("", "invalid_output_format"),
            ("output_format=pcm_16000&inactivity_timeout=181", "invalid_parameters"),
            ("output_format=pcm_16000&colour=red", "invalid_parameters"),
            ("output_format=pcm_16000&model_id=eleven_v3", "unsupported_model"),
            ("output_format=pcm_16000&model_id=x", "model_not_found"),
            ("output_format=pcm_16000&model_id=eleven_flash_v2&language_code=es", "unsupported_language"),
            ("output_format=pcm_16000&language_code=spanish", "unsupported_language"),
        ] {
            assert_eq!(parse(raw, true).unwrap_err().0, code, "{raw}");
        }
        assert_eq!(parse("output_format=ulaw_8000", false).unwrap().format.width(), 1);
        let voices = ["a".to_owned()];
        assert_eq!(
            Params::parse("b".to_owned(), &voices, "output_format=pcm_8000", true).unwrap_err().0,
            "voice_not_found"
        );
        assert!(check_voice_settings(&serde_json::json!({"speed": 2.0})).is_err());
        assert!(check_voice_settings(&serde_json::json!({"speed": 1.0, "stability": 0.5})).is_ok());
    }
}
