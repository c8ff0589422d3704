//! Settings that take one word of a few. The names stand here once: the table of keys, the parser
//! and the generated documentation all read them from the enums.

macro_rules! choice {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$vdoc])* $variant,)+ }

        impl $name {
            /// The words a configuration may use, in order.
            pub const NAMES: &'static [&'static str] = &[$($text),+];

            /// The word for this value, as a configuration spells it.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }

        impl Choice for $name {
            fn from_word(word: &str) -> Option<Self> {
                match word { $($text => Some(Self::$variant),)+ _ => None }
            }

            fn word(self) -> &'static str {
                self.as_str()
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let word = String::deserialize(from)?;
                Self::from_word(&word).ok_or_else(|| serde::de::Error::custom("a word that is not known here"))
            }
        }
    };
}

/// An enum that a configuration gives by word.
pub(crate) trait Choice: Sized {
    /// The value for an exact word of `NAMES`.
    fn from_word(word: &str) -> Option<Self>;
    /// The word for a value.
    fn word(self) -> &'static str;
}

choice! {
    /// Whether a listener hears the others' own voices under their translation.
    Original {
        /// Only the translation.
        Off = "off",
        /// The original voice, at its own level while no translation sounds and quietly under one that does.
        Under = "under",
        /// The original voice at its own level all the time.
        Full = "full",
    }
}
choice! {
    /// What a session hears while it is alone in its room.
    AloneCue {
        /// Nothing.
        Silence = "silence",
        /// A soft comfort tone.
        Tone = "tone",
    }
}
choice! {
    /// Who recognises speech.
    SttProvider {
        /// Deepgram `/v1/listen`.
        Deepgram = "deepgram",
        /// Deepgram Flux, `/v2/listen`.
        Flux = "flux",
    }
}
choice! {
    /// Who translates text.
    MtProvider {
        /// DeepL.
        Deepl = "deepl",
        /// A chat completion of OpenAI, or of any server that speaks its protocol.
        Openai = "openai",
        /// LibreTranslate.
        Libretranslate = "libretranslate",
    }
}
choice! {
    /// Who synthesises speech.
    TtsProvider {
        /// ElevenLabs over its websocket.
        Elevenlabs = "elevenlabs",
        /// ElevenLabs over HTTP, a request for each text.
        ElevenlabsHttp = "elevenlabs_http",
        /// Deepgram Aura over HTTP.
        Aura = "aura",
    }
}
choice! {
    /// Which recognised words the ledger lets through to be spoken.
    LedgerPolicy {
        /// Only words the stt provider has marked final.
        Final = "final",
        /// Clauses, as soon as two interim results in a row agree on them.
        Clause = "clause",
        /// Whatever several interim results in a row agree on (local agreement).
        Agreement = "agreement",
    }
}
choice! {
    /// How much is done ahead with words that are not committed yet.
    Speculation {
        /// Nothing.
        Off = "off",
        /// They are translated.
        Translate = "translate",
        /// They are translated and synthesised.
        Speak = "speak",
    }
}
choice! {
    /// What is done about translated speech that waits too long although it is stretched.
    Overflow {
        /// It waits.
        Grow = "grow",
        /// The oldest whole segment is left out.
        Skip = "skip",
    }
}
choice! {
    /// What a listener hears of a translation while speaking.
    Overlap {
        /// All of it, as it is.
        Mix = "mix",
        /// All of it, more quietly.
        Duck = "duck",
        /// Nothing before the own voice pauses; then all of it.
        Wait = "wait",
    }
}
choice! {
    /// What a listener hears while somebody's words are on their way to be heard translated.
    PendingCue {
        /// Nothing.
        Silence = "silence",
        /// A soft tick now and then.
        Tick = "tick",
    }
}
choice! {
    /// Where Deepgram processes audio.
    DeepgramRegion {
        /// `api.deepgram.com`.
        Default = "default",
        /// European Union.
        Eu = "eu",
        /// Australia.
        Au = "au",
        /// India.
        In = "in",
    }
}
choice! {
    /// Where DeepL processes text.
    DeeplRegion {
        /// `api.deepl.com`, or `api-free.deepl.com` for free keys.
        Default = "default",
        /// United States.
        Us = "us",
        /// Japan.
        Jp = "jp",
    }
}
choice! {
    /// How formally DeepL addresses the listener. The strict forms `more` and `less` are left out:
    /// they fail the request for target languages without formality.
    DeeplFormality {
        /// The vendor's default.
        Default = "default",
        /// Formal where the language can.
        PreferMore = "prefer_more",
        /// Informal where the language can.
        PreferLess = "prefer_less",
    }
}
choice! {
    /// Which kind of model DeepL uses.
    DeeplModelType {
        /// Not sent; DeepL chooses what fits the language pair.
        Default = "default",
        /// Fastest.
        LatencyOptimized = "latency_optimized",
        /// Best; fails for pairs without such a model.
        QualityOptimized = "quality_optimized",
        /// Best where the pair has it.
        PreferQualityOptimized = "prefer_quality_optimized",
    }
}
choice! {
    /// Where ElevenLabs processes text.
    ElevenlabsRegion {
        /// `api.elevenlabs.io`.
        Default = "default",
        /// United States.
        Us = "us",
        /// European Union (data residency).
        Eu = "eu",
        /// India (data residency).
        In = "in",
        /// Singapore (data residency).
        Sg = "sg",
    }
}
