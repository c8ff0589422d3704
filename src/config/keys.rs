//! The table of keys: the one place that says which settings exist, what they take and what they
//! are when not given. Reading, checking and the documentation all follow from it.

use super::choices::{
    AloneCue, DeepgramRegion, DeeplFormality, DeeplModelType, DeeplRegion, ElevenlabsRegion, LedgerPolicy, MtProvider,
    Original, Overflow, Overlap, PendingCue, Speculation, SttProvider, TtsProvider,
};
use super::value::name_byte;

/// Sample rates a session may push or pull, in Hz.
pub const RATES: [u32; 9] = [8000, 12000, 16000, 24000, 32000, 44100, 48000, 96000, 192_000];

/// A voice every ElevenLabs account has ("Rachel", a public premade voice).
pub const DEFAULT_VOICE: &str = "21m00Tcm4TlvDq8ikWAM";

/// Where a key counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Once for the whole library.
    Gateway,
    /// For a session: given for all, in a profile, or as an option of one session.
    Session,
}

/// What a key takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// `true` or `false` (as text also `yes`, `no`, `on`, `off`, `1`, `0`).
    Bool,
    /// A whole number in a range.
    Int {
        /// Smallest value.
        min: i64,
        /// Largest value.
        max: i64,
    },
    /// A number in a range.
    Float {
        /// Smallest value.
        min: f64,
        /// Largest value.
        max: f64,
        /// Whether `""` stands for "leave it to the vendor".
        optional: bool,
    },
    /// Free text without control characters; `""` is "not set".
    Text {
        /// Most characters.
        max: usize,
    },
    /// Letters, digits, `.`, `_` and `-`; `""` is "not set".
    Name {
        /// Most characters.
        max: usize,
    },
    /// A list of texts, or one text with commas.
    List {
        /// Most items.
        max_items: usize,
        /// Most characters of an item.
        max_chars: usize,
    },
    /// One of these words.
    Choice(&'static [&'static str]),
    /// One or more of these words, each once, in an order that counts: a list, or one text with commas.
    Choices(&'static [&'static str]),
    /// A [`BaseUrl`](super::BaseUrl); `""` is "not set".
    Url,
    /// A code of the table of [languages](super::Language).
    Language,
    /// A [`Secret`](super::Secret).
    Secret,
    /// One of [`RATES`].
    Rate,
}

/// One setting.
#[derive(Debug)]
pub struct Key {
    /// Dotted name; `label.*` stands for every name with that beginning.
    pub name: &'static str,
    /// Where it counts.
    pub scope: Scope,
    /// What it takes.
    pub kind: Kind,
    /// The value when it is not given, as text; `""` is "not set".
    pub default: &'static str,
    /// Unit of the value, or `""`.
    pub unit: &'static str,
    /// Whether it may be changed in mid-call.
    pub live: bool,
    /// What it does.
    pub doc: &'static str,
}

const fn gateway(name: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Key {
    Key { name, scope: Scope::Gateway, kind, default, unit: "", live: false, doc }
}

const fn session(name: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Key {
    Key { name, scope: Scope::Session, kind, default, unit: "", live: false, doc }
}

impl Key {
    const fn unit(mut self, unit: &'static str) -> Self {
        self.unit = unit;
        self
    }

    const fn live(mut self) -> Self {
        self.live = true;
        self
    }

    /// The part before the first dot, or `""`.
    pub fn section(&self) -> &'static str {
        self.name.split_once('.').map_or("", |(section, _)| section)
    }
}

const fn int(min: i64, max: i64) -> Kind {
    Kind::Int { min, max }
}

/// The prefix of free labels.
pub(crate) const LABEL_PREFIX: &str = "label.";

/// Every key, in the order of the documentation.
#[rustfmt::skip]
pub static KEYS: &[Key] = &[
    gateway("max_sessions", int(1, 16384), "1024",
        "Most sessions at one time; one more is refused."),
    gateway("media_threads", int(0, 64), "0",
        "Threads that run rooms. 0 chooses by the number of cores."),
    gateway("net_threads", int(1, 64), "2",
        "Threads for the connections to vendors."),
    gateway("events.capacity", int(16, 1_048_576), "4096",
        "Events kept for a host that does not fetch them; then interim transcripts are dropped, and counted.")
        .unit("events"),
    gateway("tls.ca_file", Kind::Text { max: 4096 }, "",
        "PEM file of certificate authorities to trust in addition to the system's."),
    gateway("total_budget.stt_s", int(0, 1_000_000_000), "0",
        "Audio that may be sent to recognisers, by all sessions together, until the gateway ends; then original voices pass. 0: no limit.").unit("s"),
    gateway("total_budget.mt_chars", int(0, 1_000_000_000), "0",
        "As `total_budget.stt_s`, for texts sent to translators.").unit("characters"),
    gateway("total_budget.tts_chars", int(0, 1_000_000_000), "0",
        "As `total_budget.stt_s`, for texts sent to synthesisers.").unit("characters"),

    gateway("recorder.folder", Kind::Text { max: 4096 }, "",
        "Folder for flight records, one file for each room, which `mgw-replay` runs again. They hold what was said and heard, but no keys. Not given: none are made."),
    gateway("recorder.max_mb", int(1, 4096), "64",
        "Most megabytes of one flight record; then it ends, and the event `error` says so. A call of two at 16 kHz takes about 6 a minute.").unit("MB"),

    session("language", Kind::Language, "",
        "The language this session speaks. Must be given.").live(),
    session("hears", Kind::Language, "",
        "The language this session hears. Not given: the one it speaks.").live(),
    session("id", Kind::Text { max: 128 }, "",
        "Name of this session in events and logs. Only as a session option. Not given: made up."),
    session("role", Kind::Text { max: 64 }, "",
        "What this session is in the call (`caller`, `agent`), told in events."),
    session("label.*", Kind::Text { max: 256 }, "",
        "Free text of the host's own, told in events: `label.queue = \"sales\"`. At most 16."),
    session("rate.in", Kind::Rate, "16000",
        "Sample rate of pushed frames.").unit("Hz"),
    session("rate.out", Kind::Rate, "16000",
        "Sample rate of pulled frames.").unit("Hz"),

    session("original", Kind::Choice(Original::NAMES), "off",
        "Whether the others' own voices are heard under their translation.").live(),
    session("gain.under_db", Kind::Float { min: -60.0, max: 0.0, optional: false }, "-18",
        "With `original = \"under\"`: level of the others' own voices while a translation sounds, against their own.").unit("dB").live(),
    session("gain.fade_ms", int(50, 200), "100",
        "How long a voice takes to go under a translation and to come back.").unit("ms").live(),
    session("gain.translation_db", Kind::Float { min: -60.0, max: 12.0, optional: false }, "0",
        "Gain of translated speech in this ear.").unit("dB").live(),
    session("gain.original_db", Kind::Float { min: -60.0, max: 12.0, optional: false }, "0",
        "Gain of the others' own voices in this ear.").unit("dB").live(),
    session("loudness.normalise", Kind::Bool, "true",
        "Bring translated speech to -20 dBFS, whichever voice speaks it.").live(),
    session("overlap", Kind::Choice(Overlap::NAMES), "mix",
        "What this listener hears of a translation while speaking. Nothing is thrown away by it.").live(),
    session("gain.duck_db", Kind::Float { min: -60.0, max: 0.0, optional: false }, "-12",
        "With `overlap = \"duck\"`: level of the translation while this listener speaks.").unit("dB").live(),
    session("pending.cue", Kind::Choice(PendingCue::NAMES), "silence",
        "What a session hears while somebody's words are on their way to be heard translated.").live(),
    session("loop_guard", Kind::Bool, "true",
        "Do not translate back what this session's microphone repeats of what its ear was just played.").live(),
    session("announcement.text", Kind::Text { max: 1000 }, "",
        "Said to this session when it joins, such as a notice that the call is translated by a machine."),
    session("announcement.language", Kind::Language, "",
        "Language of `announcement.text`; translated if the session hears another. Not given: the one it hears."),
    session("alone.cue", Kind::Choice(AloneCue::NAMES), "silence",
        "What a session hears while it is alone in its room."),
    session("fail_open", Kind::Bool, "true",
        "Whether the others' own voices are heard while translation is down."),

    session("playout.max_s", int(2, 600), "30",
        "Most translated speech waiting for this listener; beyond it the oldest is dropped and reported lost.").unit("s"),
    session("playout.overflow", Kind::Choice(Overflow::NAMES), "grow",
        "When translated speech lies further behind than `playout.overflow_ms` although it is stretched: let it wait, or leave out the oldest whole segment and report it.").live(),
    session("playout.overflow_ms", int(1000, 60_000), "6000",
        "See `playout.overflow`: from the end of a segment in the speaker's mouth to its expected end in this ear.").unit("ms").live(),
    session("playout.stretch_max", Kind::Float { min: 1.0, max: 1.25, optional: false }, "1.25",
        "How much faster translated speech may be played to catch up; its pitch stays. 1: never.").live(),
    session("playout.lead_min_ms", int(10, 500), "120",
        "Least audio kept ready ahead of the puller.").unit("ms"),
    session("playout.lead_max_ms", int(10, 500), "300",
        "Most audio kept ready ahead of a puller that pulls unevenly.").unit("ms"),
    session("segment.timeout_ms", int(500, 60_000), "8000",
        "From the commit of a segment to the first audio of its translation; later it is reported lost.").unit("ms"),
    session("absent_after_ms", int(100, 60_000), "500",
        "A listener that has not pulled for so long is absent: nothing is synthesised for it.").unit("ms"),
    session("ledger.policy", Kind::Choice(LedgerPolicy::NAMES), "clause",
        "Which recognised words are certain enough to be spoken."),
    session("ledger.max_wait_ms", int(500, 20_000), "2000",
        "With `clause` and `agreement`: words that two interim results agree on are spoken after so long in any case, words that only one knows a second later.").unit("ms"),
    session("ledger.agreement", int(2, 5), "2",
        "With `agreement`: so many interim results in a row must agree.").unit("interims"),
    session("ledger.min_words", int(1, 20), "4",
        "With `clause`: fewest words of a clause that ends without punctuation or a pause.").unit("words"),
    session("speculation.mode", Kind::Choice(Speculation::NAMES), "translate",
        "What is done ahead with words that are not certain yet. It costs characters in vain when they change."),
    session("speculation.max_percent", int(0, 10_000), "300",
        "Most characters translated (or spoken) in vain, against those that were used.").unit("%"),

    session("stt.provider", Kind::Choices(SttProvider::NAMES), "deepgram",
        "Who recognises this session's speech: the first of these that works."),
    session("stt.standby", Kind::Bool, "false",
        "Keep a second recogniser connection open, so that a lost one is replaced at once. Counts as a stream with the vendor."),
    session("mt.provider", Kind::Choices(MtProvider::NAMES), "deepl",
        "Who translates this session's speech: the first of these that works."),
    session("mt.timeout_ms", int(100, 30_000), "1500",
        "A translator that has not answered by then is asked again, or the next one is.").unit("ms"),
    session("tts.provider", Kind::Choices(TtsProvider::NAMES), "elevenlabs,elevenlabs_http",
        "Who speaks this session's words to the others: the first of these that works."),
    session("tts.voice", Kind::Name { max: 64 }, DEFAULT_VOICE,
        "The provider's id of the voice in which this session's words are spoken to the others.").live(),
    session("tts.sample_rate", Kind::Choice(&["0", "8000", "16000", "22050", "24000", "32000", "44100", "48000"]), "0",
        "Sample rate asked of the provider; 0 chooses what fits the listener.").unit("Hz"),

    session("budget.stt_s", int(0, 1_000_000), "0",
        "Audio of this session that may be sent to recognisers; then the original voice passes. 0: no limit.").unit("s"),
    session("budget.mt_chars", int(0, 100_000_000), "0",
        "As `budget.stt_s`, for texts sent to translators.").unit("characters"),
    session("budget.tts_chars", int(0, 100_000_000), "0",
        "As `budget.stt_s`, for texts sent to synthesisers.").unit("characters"),

    session("deepgram.api_key", Kind::Secret, "",
        "Key of the Deepgram account; Flux and Aura use it too."),
    session("deepgram.max_streams", int(0, 100_000), "150",
        "Recogniser connections that the account may have open; more sessions wait. 0: no limit.").unit("connections"),
    session("deepgram.base_url", Kind::Url, "",
        "Where Deepgram is reached, for self-hosted or emulated services. Not given: by region."),
    session("deepgram.region", Kind::Choice(DeepgramRegion::NAMES), "default",
        "Where Deepgram processes audio."),
    session("deepgram.model", Kind::Name { max: 64 }, "nova-3",
        "Model of `/v1/listen`."),
    session("deepgram.endpointing_ms", int(10, 5000), "300",
        "Silence that ends an utterance.").unit("ms"),
    session("deepgram.utterance_end_ms", int(1000, 5000), "1000",
        "Gap between words that ends an utterance where noise hides the silence.").unit("ms"),
    session("deepgram.smart_format", Kind::Bool, "true",
        "Punctuation, and numbers and dates in their written form."),
    session("deepgram.no_delay", Kind::Bool, "true",
        "Do not hold finals back to format them better."),
    session("deepgram.multi", Kind::Bool, "false",
        "Recognise a speaker who mixes languages (`language=multi`); transcripts then tell the language."),
    session("deepgram.keyterm", Kind::List { max_items: 100, max_chars: 100 }, "",
        "Names and terms to listen for."),
    session("deepgram.mip_opt_out", Kind::Bool, "true",
        "Keep audio out of the vendor's model improvement programme. `false` may be cheaper."),
    session("deepgram.tag", Kind::Text { max: 128 }, "",
        "Label in the vendor's usage reports."),

    session("flux.model", Kind::Choice(&["auto", "flux-general-en", "flux-general-multi"]), "auto",
        "Model of `/v2/listen`; `auto` takes the English one for English."),
    session("flux.eot_threshold", Kind::Float { min: 0.5, max: 0.9, optional: true }, "",
        "How sure Flux must be that a turn has ended. Not given: the vendor's."),
    session("flux.eager_eot_threshold", Kind::Float { min: 0.3, max: 0.9, optional: true }, "",
        "How sure Flux must be to say early that a turn is probably ending. Not given: it does not."),
    session("flux.eot_timeout_ms", int(500, 10_000), "5000",
        "Silence that ends a turn in any case.").unit("ms"),

    session("aura.voice", Kind::Name { max: 64 }, "",
        "Aura model that speaks, such as `aura-2-thalia-en`. Not given: one of the language, where there is one."),
    session("aura.max_requests", int(0, 100_000), "15",
        "Aura requests that the account may have under way; more wait. 0: no limit.").unit("requests"),

    session("deepl.api_key", Kind::Secret, "",
        "Key of the DeepL account; one that ends in `:fx` is of the free plan."),
    session("deepl.base_url", Kind::Url, "",
        "Where DeepL is reached. Not given: by region and kind of key."),
    session("deepl.region", Kind::Choice(DeeplRegion::NAMES), "default",
        "Where DeepL processes text. Regions need a Pro key."),
    session("deepl.formality", Kind::Choice(DeeplFormality::NAMES), "default",
        "How formally the listener is addressed, where the language can."),
    session("deepl.model_type", Kind::Choice(DeeplModelType::NAMES), "default",
        "Speed or quality. `default` leaves it to DeepL, which then serves every language pair."),
    session("deepl.glossary_id", Kind::Name { max: 64 }, "",
        "Glossary for this session's speech."),
    session("deepl.context_segments", int(0, 20), "3",
        "How many of the speaker's preceding segments are sent along as context (not billed).").unit("segments"),

    session("deepl.max_requests", int(1, 64), "2",
        "Requests of one session under way; texts that wait go together in the next one.").unit("requests"),

    session("openai.api_key", Kind::Secret, "",
        "Key of the account; a server of one's own on loopback may need none."),
    session("openai.base_url", Kind::Url, "https://api.openai.com/v1",
        "Where chat completions are reached, up to `/chat/completions`."),
    session("openai.model", Kind::Text { max: 128 }, "gpt-4o-mini",
        "Model that translates."),
    session("openai.max_tokens", int(16, 8192), "512",
        "Longest translation.").unit("tokens"),

    session("libretranslate.api_key", Kind::Secret, "",
        "Key, if the server wants one."),
    session("libretranslate.base_url", Kind::Url, "http://127.0.0.1:5000",
        "Where LibreTranslate is reached."),

    session("elevenlabs.api_key", Kind::Secret, "",
        "Key of the ElevenLabs account."),
    session("elevenlabs.base_url", Kind::Url, "",
        "Where ElevenLabs is reached. Not given: by region."),
    session("elevenlabs.region", Kind::Choice(ElevenlabsRegion::NAMES), "default",
        "Where ElevenLabs processes text. `eu`, `in` and `sg` are for accounts with data residency."),
    session("elevenlabs.model", Kind::Name { max: 64 }, "eleven_flash_v2_5",
        "Model that speaks; it must take a language code, as the v2.5 models do."),
    session("elevenlabs.max_streams", int(0, 100_000), "0",
        "ElevenLabs connections that may be open for this account; more sessions wait. 0: no limit.").unit("connections"),
    session("elevenlabs.enable_logging", Kind::Bool, "true",
        "`false` is the vendor's zero retention mode, for enterprise accounts only."),
    session("elevenlabs.stability", Kind::Float { min: 0.0, max: 1.0, optional: true }, "",
        "How even the voice is. Not given: the voice's own."),
    session("elevenlabs.similarity_boost", Kind::Float { min: 0.0, max: 1.0, optional: true }, "",
        "How close to the original voice. Not given: the voice's own."),
    session("elevenlabs.speed", Kind::Float { min: 0.7, max: 1.2, optional: true }, "",
        "How fast the voice speaks. Not given: the voice's own."),
];

/// The key of a name without a profile; every valid `label.…` gives the key `label.*`.
pub fn find(name: &str) -> Option<&'static Key> {
    let name = match name.strip_prefix(LABEL_PREFIX) {
        Some(label) if !label.is_empty() && label.len() <= 64 && label.bytes().all(name_byte) => "label.*",
        Some(_) => return None,
        None => name,
    };
    KEYS.iter().find(|key| key.name == name)
}

#[cfg(test)]
mod tests {
    use super::super::value::Raw;
    use super::*;

    #[test]
    fn every_default_passes_its_own_check() {
        for key in KEYS {
            let checked = key.kind.check(&Raw::Text(key.default.to_owned()));
            assert!(checked.is_ok(), "{}: {checked:?}", key.name);
        }
    }

    #[test]
    fn names_are_unique_plain_and_explained() {
        for (i, key) in KEYS.iter().enumerate() {
            assert!(KEYS[..i].iter().all(|other| other.name != key.name), "{} twice", key.name);
            assert!(key.doc.ends_with('.'), "{}: the explanation ends with a full stop", key.name);
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._*".contains(c);
            assert!(key.name.chars().all(plain), "{}", key.name);
            assert!(!key.live || key.scope == Scope::Session, "{}: only a session is live", key.name);
            // A scalar key and a section of the same name could not stand in one TOML file.
            assert!(KEYS.iter().all(|other| other.section() != key.name), "{} is a section", key.name);
        }
    }

    #[test]
    fn labels_are_open_but_not_boundless() {
        for (name, found) in [
            ("label.queue", true),
            ("label.a.b-c_1", true),
            ("label.*", false),
            ("label.", false),
            ("label", false),
            ("label.a b", false),
        ] {
            assert_eq!(find(name).is_some(), found, "{name}");
        }
        assert!(find(&format!("label.{}", "x".repeat(65))).is_none());
    }
}
