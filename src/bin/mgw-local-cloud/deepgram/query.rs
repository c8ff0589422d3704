//! Reads and checks the query of `/v1/listen`; unknown names and bad values are refused.

use crate::g711;

/// How the audio is coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Signed 16-bit little-endian.
    Linear16,
    /// G.711 mu-law.
    Mulaw,
    /// G.711 A-law.
    Alaw,
}

impl Encoding {
    /// The samples of a frame; `None` if it ends inside one.
    pub fn samples(self, bytes: &[u8]) -> Option<Vec<i16>> {
        match self {
            Encoding::Linear16 if bytes.len() % 2 == 1 => None,
            Encoding::Linear16 => Some(bytes.chunks_exact(2).map(|b| i16::from_le_bytes([b[0], b[1]])).collect()),
            Encoding::Mulaw => Some(bytes.iter().map(|b| g711::ulaw_to_linear(*b)).collect()),
            Encoding::Alaw => Some(bytes.iter().map(|b| g711::alaw_to_linear(*b)).collect()),
        }
    }
}

/// A checked query.
#[derive(Clone, Debug)]
pub struct Query {
    /// As given.
    pub model: String,
    /// As given, default `en`.
    pub language: String,
    /// Coding of the audio.
    pub encoding: Encoding,
    /// Hz.
    pub sample_rate: u32,
    /// Whether results come before they are final.
    pub interim_results: bool,
    /// Silence that ends an utterance; `None` is off.
    pub endpointing_ms: Option<u32>,
    /// Gap between words that makes an UtteranceEnd.
    pub utterance_end_ms: Option<u32>,
    /// Whether SpeechStarted is sent.
    pub vad_events: bool,
    /// Capitals and full stops: `smart_format` or `punctuate`.
    pub punctuate: bool,
    /// `keyterm`, as changed by `Configure`.
    pub keyterms: Vec<String>,
    /// What is allowed but unwise.
    pub remarks: Vec<String>,
}

/// How the refusal of a model or language begins.
pub const NO_SUCH_MODEL: &str = "No such model/language/tier combination found";

/// Most terms of a stream.
pub const MOST_TERMS: usize = 100;

const MODELS: &[&str] = &[
    "nova-3",
    "nova-3-general",
    "nova-3-medical",
    "nova-2",
    "nova-2-general",
    "nova-2-meeting",
    "nova-2-finance",
    "nova-2-conversationalai",
    "nova-2-voicemail",
    "nova-2-video",
    "nova-2-medical",
    "nova-2-drivethru",
    "nova-2-automotive",
    "nova-2-phonecall",
    "nova",
    "nova-general",
    "nova-phonecall",
    "nova-medical",
    "enhanced",
    "enhanced-general",
    "enhanced-meeting",
    "enhanced-phonecall",
    "enhanced-finance",
    "base",
    "meeting",
    "phonecall",
    "finance",
    "conversationalai",
    "voicemail",
    "video",
    "custom",
];
const FLAGS: &[&str] = &[
    "multichannel",
    "no_delay",
    "numerals",
    "dictation",
    "profanity_filter",
    "filler_words",
    "diarize",
    "detect_entities",
    "mip_opt_out",
];
const OTHER_ENCODINGS: &[&str] = &["linear32", "flac", "amr-nb", "amr-wb", "opus", "ogg-opus", "speex", "g729"];
/// May be given more than once.
const REPEATABLE: &[&str] = &["redact", "keyterm", "keywords", "search", "replace", "tag", "extra", "language_hint"];

impl Query {
    /// Checks `name=value` pairs in order; the error is the text for `err_msg`.
    pub fn parse(pairs: &[(String, String)]) -> Result<Query, String> {
        let mut query = Query {
            model: String::new(),
            language: "en".to_owned(),
            encoding: Encoding::Linear16,
            sample_rate: 0,
            interim_results: false,
            endpointing_ms: Some(10),
            utterance_end_ms: None,
            vad_events: false,
            punctuate: false,
            keyterms: Vec::new(),
            remarks: Vec::new(),
        };
        let (mut encoding, mut seen) = (None, Vec::new());
        for (name, value) in pairs {
            let bad =
                |want: &str| Err(format!("Failed to deserialize query parameters: {name}: `{value}` is not {want}"));
            let flag = || match value.as_str() {
                "true" => Ok(true),
                "false" => Ok(false),
                _ => Err(format!("Failed to deserialize query parameters: {name}: `{value}` is not `true` or `false`")),
            };
            if seen.contains(&name) && !REPEATABLE.contains(&name.as_str()) {
                return Err(format!("Failed to deserialize query parameters: duplicate field `{name}`"));
            }
            seen.push(name);
            match name.as_str() {
                "model" if MODELS.contains(&value.as_str()) || is_uuid(value) => query.model.clone_from(value),
                "model" => {
                    return Err(format!("{NO_SUCH_MODEL}: {value}"));
                }
                "language" if !value.is_empty() => query.language.clone_from(value),
                "encoding" => {
                    encoding = Some(match value.as_str() {
                        "linear16" => Encoding::Linear16,
                        "mulaw" => Encoding::Mulaw,
                        "alaw" => Encoding::Alaw,
                        other if OTHER_ENCODINGS.contains(&other) => {
                            return Err(format!("the emulator decodes linear16, mulaw and alaw only, not {other}"));
                        }
                        _ => return bad("a known encoding"),
                    });
                }
                "sample_rate" => match value.parse() {
                    Ok(rate @ 8000..=48000) => query.sample_rate = rate,
                    _ => return bad("a sample rate from 8000 to 48000"),
                },
                "channels" if value == "1" => {}
                "channels" => {
                    return Err(format!("the emulator takes one channel only, not {value}"));
                }
                "interim_results" => query.interim_results = flag()?,
                "vad_events" => query.vad_events = flag()?,
                "smart_format" | "punctuate" => query.punctuate |= flag()?,
                "endpointing" => match (value.as_str(), value.parse()) {
                    ("false", _) => query.endpointing_ms = None,
                    (_, Ok(ms @ 0..=60_000)) => query.endpointing_ms = Some(ms),
                    _ => return bad("milliseconds or `false`"),
                },
                "utterance_end_ms" => match value.parse() {
                    Ok(ms @ 1..=60_000) => query.utterance_end_ms = Some(ms),
                    _ => return bad("milliseconds"),
                },
                "tag" if value.is_empty() || value.len() > 128 => {
                    return bad("a tag of 1 to 128 characters");
                }
                "keyterm" if value.is_empty() || is_weighted(value) => return bad("a plain term"),
                "keyterm" => query.keyterms.push(value.clone()),
                "redact"
                    if !["pci", "numbers", "aggressive_numbers", "ssn", "true", "false"].contains(&value.as_str()) =>
                {
                    return bad("pci, numbers, aggressive_numbers, ssn, true or false");
                }
                "extra" | "replace" if !value.contains(':') => {
                    return bad("two parts with a colon between");
                }
                "callback" | "callback_method" => {
                    return Err("the emulator sends results to the socket only".to_owned());
                }
                "version" | "diarize_model" | "tag" | "keywords" | "redact" | "extra" | "replace" | "search"
                | "language_hint" => {}
                other if FLAGS.contains(&other) => {
                    flag()?;
                }
                other => {
                    return Err(format!("Failed to deserialize query parameters: unknown field `{other}`"));
                }
            }
        }
        query.whole(encoding, |name| seen.iter().any(|s| *s == name))
    }

    fn whole(mut self, encoding: Option<Encoding>, has: impl Fn(&str) -> bool) -> Result<Query, String> {
        let missing = |name: &str| Err(format!("Failed to deserialize query parameters: missing field `{name}`"));
        match encoding {
            _ if self.model.is_empty() => return missing("model"),
            None => return missing("encoding"),
            Some(_) if self.sample_rate == 0 => return missing("sample_rate"),
            Some(encoding) => self.encoding = encoding,
        }
        if self.utterance_end_ms.is_some() && !self.interim_results {
            return Err("utterance_end_ms requires interim_results=true".to_owned());
        }
        let nova_3 = self.model.starts_with("nova-3");
        if has("keyterm") && !nova_3 {
            return Err("keyterm is supported by nova-3 models only".to_owned());
        }
        if self.keyterms.len() > MOST_TERMS {
            return Err(format!("at most {MOST_TERMS} keyterms are allowed"));
        }
        if has("keywords") && nova_3 {
            return Err("keywords are not supported by nova-3 models; use keyterm".to_owned());
        }
        if self.language == "multi" && !nova_3 && !self.model.starts_with("nova-2") {
            return Err(format!("No such model/language/tier combination found: {} multi", self.model));
        }
        if self.utterance_end_ms.is_some_and(|ms| ms < 1000) {
            self.remarks.push("utterance_end_ms below 1000".to_owned());
        }
        Ok(self)
    }
}

/// `term:0.5` belongs to the older `keywords`.
fn is_weighted(term: &str) -> bool {
    term.rsplit_once(':').is_some_and(|(_, weight)| weight.parse::<f64>().is_ok())
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(
            |(i, b)| {
                if matches!(i, 8 | 13 | 18 | 23) { b == b'-' } else { b.is_ascii_hexdigit() }
            },
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(query: &str) -> Result<Query, String> {
        let pairs: Vec<_> = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        Query::parse(&pairs)
    }

    const GOOD: &str = "model=nova-3&encoding=linear16&sample_rate=16000";

    #[test]
    fn good_queries() {
        let q = parse(GOOD).unwrap();
        assert_eq!((q.endpointing_ms, q.sample_rate, q.language.as_str()), (Some(10), 16000, "en"));
        let q = parse(&format!("{GOOD}&language=es&interim_results=true&endpointing=false&utterance_end_ms=1000&vad_events=true&smart_format=true&no_delay=true&channels=1&keyterm=a&keyterm=b")).unwrap();
        assert_eq!((q.endpointing_ms, q.utterance_end_ms, q.punctuate, q.vad_events), (None, Some(1000), true, true));
    }

    #[test]
    fn bad_queries() {
        for (query, hint) in [
            ("encoding=linear16&sample_rate=16000".to_owned(), "model"),
            ("model=nova-9&encoding=linear16&sample_rate=16000".to_owned(), "nova-9"),
            ("model=nova-3&encoding=linear16".to_owned(), "sample_rate"),
            ("model=nova-3&sample_rate=16000".to_owned(), "encoding"),
            (format!("{GOOD}&interim=true"), "interim"),
            (format!("{GOOD}&interim_results=1"), "interim_results"),
            (format!("{GOOD}&utterance_end_ms=1000"), "interim_results"),
            (format!("{GOOD}&model=nova-2"), "duplicate"),
            (format!("{GOOD}&endpointing=soon"), "endpointing"),
            (format!("{GOOD}&keywords=x:2"), "keyterm"),
            (format!("{GOOD}&keyterm=x:2"), "plain term"),
            (format!("{GOOD}{}", "&keyterm=x".repeat(101)), "100"),
            (format!("{GOOD}&channels=2"), "channel"),
            ("model=nova-2&encoding=linear16&sample_rate=16000&keyterm=x".to_owned(), "nova-3"),
        ] {
            let error = parse(&query).unwrap_err();
            assert!(error.contains(hint), "{query}: {error}");
        }
    }
}
