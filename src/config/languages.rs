//! The one table of language codes: what each vendor wants for `en`, `es-419`, `pt-BR`, `zh` and the rest.
//!
//! Deepgram: `language` of nova-3, monolingual models (changelogs up to 2026-03). DeepL: `source_lang`
//! takes no regional variants, `target_lang` prefers them. ElevenLabs: ISO 639-1 `language_code` of the
//! flash v2.5 models; languages only `eleven_v3` speaks have none, as it cannot be streamed to.

use std::fmt;

use super::error::{shown_value, suggestion};

/// One row of the table; `""` means that the stage cannot do the language.
#[derive(Debug)]
struct Row {
    code: &'static str,
    name: &'static str,
    deepgram: &'static str,
    deepl_source: &'static str,
    deepl_target: &'static str,
    elevenlabs: &'static str,
}

/// A language, perhaps of a region, that at least one stage knows. Small and `Copy`.
#[derive(Clone, Copy)]
pub struct Language(&'static Row);

impl Language {
    /// Looks a BCP-47 code up; case does not matter and `_` may stand for `-`.
    ///
    /// # Errors
    /// The explanation, naming the nearest code, without the key it was given for.
    pub fn parse(code: &str) -> Result<Self, String> {
        let wanted = code.replace('_', "-");
        match ROWS.iter().find(|row| row.code.eq_ignore_ascii_case(&wanted)) {
            Some(row) => Ok(Self(row)),
            None => {
                // A known language with an unknown region is best served by the language itself.
                let primary = wanted.split('-').next().unwrap_or_default();
                let hint = match ROWS.iter().find(|row| row.code.eq_ignore_ascii_case(primary)) {
                    Some(row) => format!("; did you mean \"{}\"?", row.code),
                    None => suggestion(&wanted, ROWS.iter().map(|row| row.code)),
                };
                Err(format!("{} is not a known language code{hint}", shown_value(code)))
            }
        }
    }

    /// Every language of the table, in its order.
    pub fn all() -> impl Iterator<Item = Self> {
        ROWS.iter().map(Self)
    }

    /// The code, in BCP-47 spelling (`pt-BR`).
    pub fn code(self) -> &'static str {
        self.0.code
    }

    /// The English name.
    pub fn name(self) -> &'static str {
        self.0.name
    }

    /// Deepgram's `language`, if it recognises the language.
    pub fn deepgram(self) -> Option<&'static str> {
        given(self.0.deepgram)
    }

    /// DeepL's `source_lang`, if it translates from the language.
    pub fn deepl_source(self) -> Option<&'static str> {
        given(self.0.deepl_source)
    }

    /// DeepL's `target_lang`, if it translates into the language.
    pub fn deepl_target(self) -> Option<&'static str> {
        given(self.0.deepl_target)
    }

    /// ElevenLabs' `language_code`, if its streaming models speak the language.
    pub fn elevenlabs(self) -> Option<&'static str> {
        given(self.0.elevenlabs)
    }

    /// Flux's `language_hint`, if it recognises the language (`flux-general-multi`).
    pub fn flux(self) -> Option<&'static str> {
        let known = ["de", "en", "es", "fr", "hi", "it", "ja", "nl", "pt", "ru"];
        known.into_iter().find(|code| *code == self.primary())
    }

    /// A voice of Aura that speaks the language. For others than these the name of one must be given.
    pub fn aura_voice(self) -> Option<&'static str> {
        match self.primary() {
            "en" => Some("aura-2-thalia-en"),
            "es" => Some("aura-2-celeste-es"),
            _ => None,
        }
    }

    /// LibreTranslate's code: the primary subtag, with a script or region where it has one (server 1.9).
    pub fn libretranslate(self) -> &'static str {
        match (self.primary(), self.0.code) {
            ("zh", "zh-Hant" | "zh-TW") => "zh-Hant",
            ("zh", _) => "zh-Hans",
            ("pt", "pt-BR") => "pt-BR",
            (primary, _) => primary,
        }
    }

    /// Whether speakers of the two understand each other without translation: same primary subtag
    /// (`en-US` and `en-GB`), with `no` and `nb` taken for one.
    pub fn same_language(self, other: &Self) -> bool {
        self.primary() == other.primary()
    }

    fn primary(self) -> &'static str {
        match self.0.code.split('-').next().unwrap_or(self.0.code) {
            "no" => "nb",
            primary => primary,
        }
    }
}

impl PartialEq for Language {
    fn eq(&self, other: &Self) -> bool {
        self.0.code == other.0.code
    }
}

impl Eq for Language {}

impl PartialOrd for Language {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Language {
    /// By code; any total order will do for maps.
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.code().cmp(other.code())
    }
}

impl std::hash::Hash for Language {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.code.hash(state);
    }
}

impl fmt::Debug for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.code)
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.code)
    }
}

fn given(code: &'static str) -> Option<&'static str> {
    (!code.is_empty()).then_some(code)
}

const fn row(
    code: &'static str,
    name: &'static str,
    deepgram: &'static str,
    deepl_source: &'static str,
    deepl_target: &'static str,
    elevenlabs: &'static str,
) -> Row {
    Row { code, name, deepgram, deepl_source, deepl_target, elevenlabs }
}

#[rustfmt::skip]
static ROWS: &[Row] = &[
    //  code       name                       Deepgram   DeepL from, into     ElevenLabs
    row("ar",      "Arabic",                  "ar",      "AR", "AR",          "ar"),
    row("bg",      "Bulgarian",               "bg",      "BG", "BG",          "bg"),
    row("cs",      "Czech",                   "cs",      "CS", "CS",          "cs"),
    row("da",      "Danish",                  "da",      "DA", "DA",          "da"),
    row("de",      "German",                  "de",      "DE", "DE",          "de"),
    row("de-AT",   "German (Austria)",        "de",      "DE", "DE",          "de"),
    row("de-CH",   "German (Switzerland)",    "de-CH",   "DE", "DE",          "de"),
    row("el",      "Greek",                   "el",      "EL", "EL",          "el"),
    row("en",      "English",                 "en",      "EN", "EN-US",       "en"),
    row("en-AU",   "English (Australia)",     "en-AU",   "EN", "EN-GB",       "en"),
    row("en-CA",   "English (Canada)",        "en",      "EN", "EN-US",       "en"),
    row("en-GB",   "English (Britain)",       "en-GB",   "EN", "EN-GB",       "en"),
    row("en-IE",   "English (Ireland)",       "en",      "EN", "EN-GB",       "en"),
    row("en-IN",   "English (India)",         "en-IN",   "EN", "EN-GB",       "en"),
    row("en-NZ",   "English (New Zealand)",   "en-NZ",   "EN", "EN-GB",       "en"),
    row("en-US",   "English (United States)", "en-US",   "EN", "EN-US",       "en"),
    row("es",      "Spanish",                 "es",      "ES", "ES",          "es"),
    row("es-419",  "Spanish (Latin America)", "es-419",  "ES", "ES-419",      "es"),
    row("es-ES",   "Spanish (Spain)",         "es",      "ES", "ES",          "es"),
    row("es-MX",   "Spanish (Mexico)",        "es-419",  "ES", "ES-419",      "es"),
    row("es-US",   "Spanish (United States)", "es-419",  "ES", "ES-419",      "es"),
    row("et",      "Estonian",                "et",      "ET", "ET",          ""),
    row("fi",      "Finnish",                 "fi",      "FI", "FI",          "fi"),
    row("fr",      "French",                  "fr",      "FR", "FR",          "fr"),
    row("fr-BE",   "French (Belgium)",        "fr",      "FR", "FR",          "fr"),
    row("fr-CA",   "French (Canada)",         "fr-CA",   "FR", "FR",          "fr"),
    row("fr-CH",   "French (Switzerland)",    "fr",      "FR", "FR",          "fr"),
    row("he",      "Hebrew",                  "he",      "HE", "HE",          ""),
    row("hi",      "Hindi",                   "hi",      "HI", "HI",          "hi"),
    row("hr",      "Croatian",                "hr",      "HR", "HR",          "hr"),
    row("hu",      "Hungarian",               "hu",      "HU", "HU",          "hu"),
    row("id",      "Indonesian",              "id",      "ID", "ID",          "id"),
    row("it",      "Italian",                 "it",      "IT", "IT",          "it"),
    row("ja",      "Japanese",                "ja",      "JA", "JA",          "ja"),
    row("ko",      "Korean",                  "ko",      "KO", "KO",          "ko"),
    row("lt",      "Lithuanian",              "lt",      "LT", "LT",          ""),
    row("lv",      "Latvian",                 "lv",      "LV", "LV",          ""),
    row("nb",      "Norwegian Bokmål",        "no",      "NB", "NB",          "no"),
    row("nl",      "Dutch",                   "nl",      "NL", "NL",          "nl"),
    row("nl-BE",   "Dutch (Belgium)",         "nl-BE",   "NL", "NL",          "nl"),
    row("no",      "Norwegian",               "no",      "NB", "NB",          "no"),
    row("pl",      "Polish",                  "pl",      "PL", "PL",          "pl"),
    row("pt",      "Portuguese",              "pt",      "PT", "PT-BR",       "pt"),
    row("pt-BR",   "Portuguese (Brazil)",     "pt-BR",   "PT", "PT-BR",       "pt"),
    row("pt-PT",   "Portuguese (Portugal)",   "pt-PT",   "PT", "PT-PT",       "pt"),
    row("ro",      "Romanian",                "ro",      "RO", "RO",          "ro"),
    row("ru",      "Russian",                 "ru",      "RU", "RU",          "ru"),
    row("sk",      "Slovak",                  "sk",      "SK", "SK",          "sk"),
    row("sl",      "Slovenian",               "sl",      "SL", "SL",          ""),
    row("sv",      "Swedish",                 "sv",      "SV", "SV",          "sv"),
    row("th",      "Thai",                    "th",      "TH", "TH",          ""),
    row("tr",      "Turkish",                 "tr",      "TR", "TR",          "tr"),
    row("uk",      "Ukrainian",               "uk",      "UK", "UK",          "uk"),
    row("vi",      "Vietnamese",              "vi",      "VI", "VI",          "vi"),
    row("zh",      "Chinese (Mandarin)",      "zh",      "ZH", "ZH-HANS",     "zh"),
    row("zh-CN",   "Chinese (China)",         "zh-CN",   "ZH", "ZH-HANS",     "zh"),
    row("zh-Hans", "Chinese (simplified)",    "zh-Hans", "ZH", "ZH-HANS",     "zh"),
    row("zh-Hant", "Chinese (traditional)",   "zh-Hant", "ZH", "ZH-HANT",     "zh"),
    row("zh-TW",   "Chinese (Taiwan)",        "zh-TW",   "ZH", "ZH-HANT",     "zh"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vendors_get_their_spelling() {
        for (code, deepgram, source, target, elevenlabs) in [
            ("en", "en", "EN", "EN-US", Some("en")),
            ("EN-gb", "en-GB", "EN", "EN-GB", Some("en")),
            ("es-419", "es-419", "ES", "ES-419", Some("es")),
            ("pt_br", "pt-BR", "PT", "PT-BR", Some("pt")),
            ("zh", "zh", "ZH", "ZH-HANS", Some("zh")),
            ("zh-tw", "zh-TW", "ZH", "ZH-HANT", Some("zh")),
            ("nb", "no", "NB", "NB", Some("no")),
            ("et", "et", "ET", "ET", None),
        ] {
            let language = Language::parse(code).expect(code);
            assert_eq!(language.deepgram(), Some(deepgram), "{code}");
            assert_eq!(language.deepl_source(), Some(source), "{code}");
            assert_eq!(language.deepl_target(), Some(target), "{code}");
            assert_eq!(language.elevenlabs(), elevenlabs, "{code}");
        }
    }

    #[test]
    fn unknown_codes_name_the_nearest() {
        for (code, hint) in [
            ("en-ZZ", "did you mean \"en\"?"),
            ("esp", "did you mean \"es\"?"),
            ("pt-BX-x", "did you mean \"pt\"?"),
            ("", "the nearest is"),
        ] {
            let message = Language::parse(code).expect_err(code);
            assert!(message.contains(hint), "{code}: {message}");
        }
    }

    #[test]
    fn same_language_ignores_the_region() {
        for (a, b, same) in [
            ("en-US", "en-GB", true),
            ("no", "nb", true),
            ("zh-TW", "zh", true),
            ("es", "en", false),
            ("es-419", "es-ES", true),
        ] {
            let (x, y) = (Language::parse(a).expect(a), Language::parse(b).expect(b));
            assert_eq!(x.same_language(&y), same, "{a} {b}");
        }
    }

    #[test]
    fn the_table_is_sorted_and_each_row_is_of_use() {
        for pair in ROWS.windows(2) {
            assert!(pair[0].code < pair[1].code, "{} before {}", pair[0].code, pair[1].code);
        }
        for language in Language::all() {
            let source = language.deepl_source().unwrap_or_default();
            assert!(!source.contains('-'), "{language}: DeepL's source has no variants");
            assert!(language.deepgram().is_some() || language.deepl_target().is_some());
            assert_eq!(Language::parse(&language.code().to_uppercase()), Ok(language));
        }
    }
}
