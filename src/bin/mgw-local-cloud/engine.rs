//! The seam between the protocol servers and what understands and makes speech.

use crate::speech::{self, Char};

/// A recognised word; times in seconds since the stream began.
#[derive(Clone, Debug, PartialEq)]
pub struct Word {
    /// The word as recognised, without punctuation.
    pub text: String,
    /// Its beginning.
    pub start: f64,
    /// Its end.
    pub end: f64,
    /// From 0 to 1.
    pub confidence: f32,
}

/// One stream of recognition.
pub trait Recognizer: Send {
    /// Feeds mono 16-bit PCM at the stream's rate.
    fn feed(&mut self, pcm: &[i16]);
    /// Best guess so far at the words of the utterance in progress.
    fn hypothesis(&mut self) -> Vec<Word>;
    /// Ends the utterance and returns its final words; the next feed begins a new one. Times keep counting from the stream's start.
    fn finish_utterance(&mut self) -> Vec<Word>;
}

/// Why an engine refused.
#[allow(dead_code)] // the coded engine never runs out of streams; the offline engine does
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineErrorKind {
    /// No such language.
    UnsupportedLanguage,
    /// All streams are taken.
    TooManyStreams,
    /// The engine cannot work now.
    Unavailable,
    /// The text or audio makes no sense.
    BadInput,
}

/// A refusal and its text.
#[derive(Clone, Debug)]
pub struct EngineError {
    /// The kind, which decides the vendor's error code.
    pub kind: EngineErrorKind,
    /// Human text.
    pub message: String,
}

impl EngineError {
    /// An error of `kind`.
    pub fn new(kind: EngineErrorKind, message: impl Into<String>) -> EngineError {
        EngineError { kind, message: message.into() }
    }
}

/// Recognition, translation and synthesis behind the protocol servers.
pub trait Engine: Send + Sync + 'static {
    /// Name for the stats.
    fn name(&self) -> &'static str;
    /// Opens a recognition stream; `language` is a BCP-47 tag or `multi`.
    fn recognizer(&self, language: &str, sample_rate: u32) -> Result<Box<dyn Recognizer>, EngineError>;
    /// Translates; returns the (detected) source language and the text. Blocking; called from `spawn_blocking`.
    fn translate(
        &self,
        text: &str,
        source: Option<&str>,
        target: &str,
        context: Option<&str>,
    ) -> Result<(String, String), EngineError>;
    /// Where each character of a text is in the audio that was synthesised for it. Unless an engine knows, it is guessed
    /// from the pauses.
    fn place(&self, text: &str, pcm: &[i16], sample_rate: u32) -> Vec<Char> {
        speech::guess(text, pcm, sample_rate)
    }
    /// Synthesises mono 16-bit PCM. Blocking and streaming; `sink` returns false to stop.
    fn synthesize(
        &self,
        text: &str,
        voice: &str,
        language: Option<&str>,
        sample_rate: u32,
        sink: &mut dyn FnMut(&[i16]) -> bool,
    ) -> Result<(), EngineError>;
}
