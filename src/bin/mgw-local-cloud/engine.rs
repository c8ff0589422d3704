//! What a speech engine behind the local cloud must do.
#![allow(dead_code, reason = "the servers that use all of it are merged later")]

/// One recognised word; times are seconds since the stream began.
#[derive(Debug, Clone, PartialEq)]
pub struct Word {
    /// The word as it is written.
    pub text: String,
    /// Its start in seconds.
    pub start: f64,
    /// Its end in seconds.
    pub end: f64,
    /// 0 to 1.
    pub confidence: f32,
}

/// Recognises one stream of speech.
pub trait Recognizer: Send {
    /// Takes mono 16-bit PCM at the stream's rate.
    fn feed(&mut self, pcm: &[i16]);
    /// The best guess so far at the utterance in progress.
    fn hypothesis(&mut self) -> Vec<Word>;
    /// The final words; the next feed begins a new utterance.
    fn finish_utterance(&mut self) -> Vec<Word>;
}

/// Why an engine refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineErrorKind {
    /// The engine does not know the language.
    UnsupportedLanguage,
    /// As many streams run already as the machine carries.
    TooManyStreams,
    /// A library, model or program is missing or broken.
    Unavailable,
    /// The request makes no sense.
    BadInput,
}

/// An engine's refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineError {
    /// The class of refusal.
    pub kind: EngineErrorKind,
    /// What happened and what to do, for a person.
    pub message: String,
}

/// A speech engine.
pub trait Engine: Send + Sync + 'static {
    /// Its name for logs.
    fn name(&self) -> &'static str;
    /// Begins a stream.
    fn recognizer(&self, language: &str, sample_rate: u32) -> Result<Box<dyn Recognizer>, EngineError>;
    /// Translates; returns the detected source language and the text.
    fn translate(
        &self,
        text: &str,
        source: Option<&str>,
        target: &str,
        context: Option<&str>,
    ) -> Result<(String, String), EngineError>;
    /// Speaks; the sink returns false to stop.
    fn synthesize(
        &self,
        text: &str,
        voice: &str,
        language: Option<&str>,
        sample_rate: u32,
        sink: &mut dyn FnMut(&[i16]) -> bool,
    ) -> Result<(), EngineError>;
}
