//! One stream of speech: resampling, a gate that keeps silence from the decoder, word times.

use super::convert::{Converter, rms};
use super::language::english_case;
use super::phrasebook::PhraseBook;
use super::pool::Lease;
use super::sphinx::{Decoder, FRAMES_PER_SECOND, Segment};
use crate::engine::{Recognizer, Word};

/// Rate of the acoustic model.
pub const MODEL_RATE: u32 = 16_000;
/// Samples in a piece the gate looks at (10 ms).
const BLOCK: usize = 160;
/// Samples from before the gate opened that the decoder gets too (400 ms).
const LEAD: usize = 6400;
/// Longest time in one pass of the decoder (30 s), which bounds its memory.
const LONGEST: u64 = 480_000;
/// Speech is never softer than this (about -58 dBFS).
const FLOOR: f64 = 40.0;
/// Confidence of words that may still change: the decoder has posteriors only at the end of an utterance.
const INTERIM_CONFIDENCE: f32 = 0.5;

/// The decoder (or decoders) behind a stream.
pub enum Ear {
    /// Free English speech.
    English(Decoder),
    /// The Spanish phrase book.
    Phrases(Box<PhraseBook>),
}

impl Ear {
    fn start(&mut self) {
        match self {
            Self::English(decoder) => decoder.start(),
            Self::Phrases(book) => book.start(),
        }
    }

    fn feed(&mut self, pcm: &[i16]) {
        match self {
            Self::English(decoder) => decoder.feed(pcm),
            Self::Phrases(book) => book.feed(pcm),
        }
    }

    fn finish(&mut self) {
        match self {
            Self::English(decoder) => decoder.finish(),
            Self::Phrases(book) => book.finish(),
        }
    }

    fn segments(&mut self, last: bool) -> Vec<Segment> {
        match self {
            Self::English(decoder) => decoder.segments(),
            Self::Phrases(book) => book.segments(last),
        }
    }
}

/// A stream.
pub struct Stream {
    lease: Lease,
    converter: Converter,
    /// Samples at the model's rate that wait for a whole block.
    pending: Vec<i16>,
    /// What came before the gate opened, at most `LEAD`.
    lead: Vec<i16>,
    /// Samples seen, at the model's rate.
    seen: u64,
    /// Where the running utterance began, in samples; `None` while the gate is shut.
    begun: Option<u64>,
    /// Words of the utterance from before the decoder had to be restarted.
    earlier: Vec<Word>,
    /// Level of the background.
    background: f64,
    dither: Dither,
}

/// White noise of about -77 dBFS, added to what the decoder hears. The model was trained on rooms; with a faint tone
/// instead of noise between phrases 13 of 47 were missed, with this 1.
struct Dither(u32);

impl Dither {
    fn sample(&mut self) -> i16 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.0 >> 28) as i16 - 8
    }
}

impl Stream {
    /// A stream at `rate` Hz on a decoder from the pool.
    pub fn new(lease: Lease, rate: u32) -> Self {
        Self {
            lease,
            converter: Converter::new(rate, MODEL_RATE),
            pending: Vec::new(),
            lead: Vec::new(),
            seen: 0,
            begun: None,
            earlier: Vec::new(),
            background: FLOOR,
            dither: Dither(1),
        }
    }

    fn block(&mut self, block: &mut [i16]) {
        let level = rms(block);
        // Falls at once and rises about 1 dB a second, so that speech hardly lifts it.
        self.background = level.max(FLOOR / 4.0).min(self.background * 1.0012);
        self.seen += block.len() as u64;
        for sample in &mut *block {
            *sample = sample.saturating_add(self.dither.sample());
        }
        if let Some(begun) = self.begun {
            self.lease.ear().feed(block);
            if self.seen - begun > LONGEST {
                let words = self.end();
                self.earlier.extend(words);
            }
            return;
        }
        self.lead.extend_from_slice(block);
        let excess = self.lead.len().saturating_sub(LEAD);
        self.lead.drain(..excess);
        if level > FLOOR.max(self.background * 2.5) {
            let lead = std::mem::take(&mut self.lead);
            let ear = self.lease.ear();
            ear.start();
            ear.feed(&lead);
            self.begun = Some(self.seen - lead.len() as u64);
        }
    }

    /// Ends the decoder's pass and shuts the gate.
    fn end(&mut self) -> Vec<Word> {
        let Some(begun) = self.begun.take() else {
            return Vec::new();
        };
        // A cut right after the last sound would leave the last word without its end.
        let mut tail = [0_i16; BLOCK * 15];
        tail.fill_with(|| self.dither.sample());
        let ear = self.lease.ear();
        ear.feed(&tail);
        ear.finish();
        let segments = ear.segments(true);
        words(&segments, begun, self.seen, None)
    }
}

impl Recognizer for Stream {
    fn feed(&mut self, pcm: &[i16]) {
        let mut pending = std::mem::take(&mut self.pending);
        self.converter.convert(pcm, &mut pending);
        let whole = pending.len() - pending.len() % BLOCK;
        for block in pending[..whole].chunks_mut(BLOCK) {
            self.block(block);
        }
        pending.drain(..whole);
        self.pending = pending;
    }

    fn hypothesis(&mut self) -> Vec<Word> {
        let mut found = self.earlier.clone();
        if let Some(begun) = self.begun {
            let segments = self.lease.ear().segments(false);
            found.extend(words(&segments, begun, self.seen, Some(INTERIM_CONFIDENCE)));
        }
        found
    }

    fn finish_utterance(&mut self) -> Vec<Word> {
        let mut found = std::mem::take(&mut self.earlier);
        let last = self.end();
        found.extend(last);
        self.lead.clear();
        found
    }
}

/// The words among segments, with times in seconds since the stream began.
fn words(segments: &[Segment], begun: u64, seen: u64, confidence: Option<f32>) -> Vec<Word> {
    let (begun, seen) = (begun as f64 / 16_000.0, seen as f64 / 16_000.0);
    // The library counts frames on from one utterance to the next; a path begins at its utterance's first frame.
    let first = segments.first().map_or(0, |segment| segment.start);
    let time = |frame: i32| (begun + f64::from(frame - first) / FRAMES_PER_SECOND).min(seen);
    let mut after = begun;
    segments
        .iter()
        .filter_map(|segment| {
            let text = spoken(&segment.word)?;
            // The lattice may give neighbours a frame in common.
            let start = time(segment.start).max(after);
            after = time(segment.end + 1).max(start);
            Some(Word {
                text: english_case(text),
                start,
                end: after,
                confidence: confidence.unwrap_or(segment.probability as f32),
            })
        })
        .collect()
}

/// The word without the number of its pronunciation; `None` for pauses, noises and grammar marks.
pub fn spoken(word: &str) -> Option<&str> {
    let filler = ["<", "[", "++", "("].iter().any(|mark| word.starts_with(mark));
    (!filler && !word.is_empty()).then(|| word.split('(').next().unwrap_or(word))
}
