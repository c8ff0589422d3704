//! An ear: what a caller's puller takes out of its two rings, as the media port does it, and the words in it.

use std::collections::VecDeque;
use std::time::Duration;

use mgw::engine::{PullTotals, RING_SAMPLES, Ring};

use crate::support::codec::{Decoder, Heard, Token};

/// Audio that is decoded at a time: the decoder is quicker in one go.
const BLOCK_S: u32 = 2;

/// A word in the sound, in gateway time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HeardWord {
    pub token: Token,
    pub start: Duration,
    pub end: Duration,
}

#[derive(Default)]
struct RingOf {
    samples: VecDeque<i16>,
    /// Flushed, and skipped at the next pull.
    skip: usize,
}

impl RingOf {
    fn take(&mut self, count: usize, frame: &mut [i16]) -> u64 {
        self.samples.drain(..self.skip);
        let n = self.samples.len().min(count);
        for (out, sample) in frame.iter_mut().zip(self.samples.drain(..n)) {
            *out = out.saturating_add(sample);
        }
        (std::mem::take(&mut self.skip) + n) as u64
    }
}

pub struct Ear {
    rate: u32,
    speech: RingOf,
    original: RingOf,
    pub totals: PullTotals,
    /// It pulls.
    pub awake: bool,
    decoder: Decoder,
    /// Sound that was not decoded yet.
    sound: Vec<i16>,
    /// Gateway time of the first sample.
    began: Option<Duration>,
    words: Vec<HeardWord>,
    damaged: Vec<(Duration, Duration)>,
}

impl Ear {
    pub fn new(rate: u32) -> Ear {
        Ear {
            rate,
            speech: RingOf::default(),
            original: RingOf::default(),
            totals: PullTotals::default(),
            awake: true,
            decoder: Decoder::of_stretched(rate),
            sound: Vec::new(),
            began: None,
            words: Vec::new(),
            damaged: Vec::new(),
        }
    }

    pub fn play(&mut self, ring: Ring, samples: Vec<i16>) {
        let ring = self.ring(ring);
        ring.samples.extend(samples);
        assert!(ring.samples.len() <= RING_SAMPLES, "the ring would overflow");
    }

    pub fn flush(&mut self, ring: Ring) {
        let ring = self.ring(ring);
        ring.skip = ring.samples.len();
    }

    fn ring(&mut self, ring: Ring) -> &mut RingOf {
        match ring {
            Ring::Speech => &mut self.speech,
            Ring::Original => &mut self.original,
        }
    }

    /// Takes the frame that sounds from `now` on.
    pub fn pull(&mut self, now: Duration, count: usize) {
        self.began.get_or_insert(now);
        let from = self.sound.len();
        self.sound.resize(from + count, 0);
        self.totals.speech += self.speech.take(count, &mut self.sound[from..]);
        self.totals.original += self.original.take(count, &mut self.sound[from..]);
        self.totals.asked += count as u64;
        if self.sound.len() >= (BLOCK_S * self.rate) as usize {
            let heard = self.decoder.feed(&self.sound);
            self.sound.clear();
            self.note(heard);
        }
    }

    fn note(&mut self, heard: Vec<Heard>) {
        let began = self.began.unwrap_or_default();
        let at = |s: f64| began + Duration::from_secs_f64(s.max(0.0));
        for heard in heard {
            match heard {
                Heard::Word { token, start, end } => {
                    self.words.push(HeardWord { token, start: at(start), end: at(end) });
                }
                Heard::Damaged { start, end } => self.damaged.push((at(start), at(end))),
            }
        }
    }

    /// Words heard so far, and spans of sound that were no whole word.
    pub fn heard(&mut self) -> (&[HeardWord], &[(Duration, Duration)]) {
        let mut heard = self.decoder.feed(&self.sound);
        self.sound.clear();
        heard.extend(self.decoder.drain());
        self.note(heard);
        (&self.words, &self.damaged)
    }
}
