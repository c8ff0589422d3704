//! Coded speech: audible words that a machine can check.
//!
//! A word is a token of seven 20 ms symbols (140 ms) and 40 ms of silence. A symbol is a pair of tones, one of eight low
//! (550-1250 Hz) and one of eight high (1500-2900 Hz), so it carries six bits and lies inside the telephone band.
//! The first symbol is START, the last END, the five between carry 4 bits of language, 12 bits of word number and a CRC-14.
//! A piece lost or doubled moves END off its place, so damage is seen by structure and not only by the checksum.
//!
//! This file depends on nothing but `std`: integration tests include it by `#[path]`.
#![allow(dead_code)] // whoever includes the file by path uses only a part of it

use std::collections::VecDeque;
use std::f64::consts::TAU;

/// Length of one token in seconds.
pub const TOKEN_S: f64 = 0.140;
/// Silence after a token in seconds.
pub const GAP_S: f64 = 0.040;
/// Number of different words in every language.
pub const WORDS: u16 = 4096;
/// Languages by their number on the air; `xx` stands for words of no known vocabulary.
pub const LANGUAGES: [&str; 16] =
    ["en", "es", "de", "fr", "it", "pt", "nl", "pl", "ru", "uk", "ja", "zh", "tr", "ar", "hi", "xx"];

const SYMBOL_S: f64 = 0.020;
const SYMBOLS: usize = 7;
const RAMP_S: f64 = 0.002;
/// Tones in Hz: eight low, then eight high.
const TONES: [u64; 16] = [550, 650, 750, 850, 950, 1050, 1150, 1250, 1500, 1700, 1900, 2100, 2300, 2500, 2700, 2900];
const START: u8 = 0o07;
const END: u8 = 0o70;
/// Keeps word 0 from being five equal symbols.
const WHITEN: u32 = 0x2A93_5C69 & 0x3FFF_FFFF;

/// Analysis slots per second (2.5 ms).
const SLOTS_PER_S: u64 = 400;
const SYMBOL_SLOTS: u64 = 8;
const TOKEN_SLOTS: u64 = SYMBOL_SLOTS * SYMBOLS as u64;
/// How far the best alignment may lie behind the first one that decodes.
const SEARCH_SLOTS: u64 = 3;
/// Share of a window's energy that its two strongest tones must hold to be believed.
const PURE: f64 = 0.80;
/// Share from which a window is taken for (damaged) coded speech.
const SYMBOL_LIKE: f64 = 0.45;
/// Mean power below which a window is silence (an amplitude of about 6 in 32768).
const MIN_POWER: f64 = 36.0;
/// Loudest to faintest symbol of one token, in power.
const MAX_LEVEL_RATIO: f64 = 6.0;
/// How much shorter a word of stretched speech may be in all, and from one symbol to the next.
const SHORTER_SLOTS: u64 = 3;
const SHORTER_STEP_SLOTS: u64 = 2;
const DAMAGE_MIN_SLOTS: u64 = 12;
const DAMAGE_JOIN_SLOTS: u64 = 10;

/// One coded word: the index of its language in [`LANGUAGES`] and its number (0..4096).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token {
    /// Index into [`LANGUAGES`].
    pub lang: u8,
    /// Word number, the same in all languages.
    pub n: u16,
}

/// What the decoder heard, in seconds since the first sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Heard {
    /// A whole word with a correct checksum.
    Word {
        /// The word.
        token: Token,
        /// Its beginning.
        start: f64,
        /// Its end.
        end: f64,
    },
    /// Coded speech that is not a whole word.
    Damaged {
        /// Beginning of the damaged span.
        start: f64,
        /// Its end.
        end: f64,
    },
}

const CONSONANTS: &[u8; 16] = b"bdfghjklmnprstvz";
const VOWELS: &[u8; 4] = b"aeio";

/// Index of a language tag (`en`, `en-US`, `EN`) in [`LANGUAGES`]; region subtags are ignored.
pub fn language_index(tag: &str) -> Option<u8> {
    let primary = tag.split(['-', '_']).next().unwrap_or(tag);
    LANGUAGES.iter().position(|l| l.eq_ignore_ascii_case(primary)).and_then(|i| u8::try_from(i).ok())
}

impl Token {
    /// The token of word `n` of a language; `None` for an unknown language or number.
    pub fn new(language: &str, n: u16) -> Option<Token> {
        (n < WORDS).then_some(())?;
        language_index(language).map(|lang| Token { lang, n })
    }

    /// The language tag.
    pub fn language(self) -> &'static str {
        LANGUAGES[usize::from(self.lang & 15)]
    }

    /// The spelling: the language's two letters and two syllables of six bits, such as `enbako`.
    pub fn text(self) -> String {
        let mut text = String::from(self.language());
        for syllable in [self.n >> 6, self.n & 63] {
            text.push(char::from(CONSONANTS[usize::from(syllable >> 2) & 15]));
            text.push(char::from(VOWELS[usize::from(syllable & 3)]));
        }
        text
    }

    /// Reads a spelling back; case and surrounding or embedded punctuation do not matter.
    pub fn parse(word: &str) -> Option<Token> {
        let letters: Vec<u8> = word
            .chars()
            .filter(|c| c.is_alphanumeric())
            .map(|c| u8::try_from(c.to_ascii_lowercase()).unwrap_or(0))
            .collect();
        if letters.len() != 6 {
            return None;
        }
        let lang = LANGUAGES.iter().position(|l| l.as_bytes() == &letters[..2])?;
        let mut n = 0;
        for pair in letters[2..].chunks(2) {
            let consonant = CONSONANTS.iter().position(|c| *c == pair[0])?;
            let vowel = VOWELS.iter().position(|v| *v == pair[1])?;
            n = n << 6 | consonant << 2 | vowel;
        }
        Some(Token { lang: u8::try_from(lang).ok()?, n: u16::try_from(n).ok()? })
    }

    /// The token that stands for a word of no vocabulary: language `xx`, number by FNV-1a of its letters.
    pub fn foreign(word: &str) -> Token {
        let hash = word
            .chars()
            .filter(|c| c.is_alphanumeric())
            .flat_map(char::to_lowercase)
            .fold(0x811c_9dc5_u32, |h, c| (h ^ u32::from(c)).wrapping_mul(0x0100_0193));
        Token { lang: 15, n: ((hash ^ hash >> 12 ^ hash >> 24) & 0xFFF) as u16 }
    }

    fn symbols(self) -> [u8; SYMBOLS] {
        let data = u16::from(self.lang & 15) << 12 | self.n & 0xFFF;
        let bits = (u32::from(data) << 14 | u32::from(crc14(data))) ^ WHITEN;
        let mut symbols = [START, 0, 0, 0, 0, 0, END];
        for (i, symbol) in symbols[1..6].iter_mut().enumerate() {
            *symbol = (bits >> (24 - 6 * i) & 63) as u8;
        }
        symbols
    }

    /// Whether five data symbols would pass the checksum; for measuring false accepts.
    pub fn accepts(symbols: &[u8; 5]) -> bool {
        Self::from_symbols(symbols).is_some()
    }

    fn from_symbols(symbols: &[u8]) -> Option<Token> {
        let bits = symbols.iter().fold(0_u32, |b, s| b << 6 | u32::from(*s)) ^ WHITEN;
        let data = (bits >> 14) as u16;
        (u32::from(crc14(data)) == bits & 0x3FFF).then_some(Token { lang: (data >> 12) as u8, n: data & 0xFFF })
    }
}

/// CRC-14 with the polynomial of GSM (0x202D), all ones at the start.
fn crc14(data: u16) -> u16 {
    (0..16).rev().fold(0x3FFF, |crc, i| {
        let feedback = (data >> i ^ crc >> 13) & 1;
        (crc << 1 & 0x3FFF) ^ if feedback == 1 { 0x202D } else { 0 }
    })
}

/// Appends one token, without the silence after it, at `peak_db` dBFS (the peak of the pair).
pub fn encode(token: Token, rate: u32, peak_db: f64, out: &mut Vec<i16>) {
    let amplitude = 0.5 * 32767.0 * 10_f64.powf(peak_db.min(0.0) / 20.0);
    let rate = f64::from(rate);
    for (k, symbol) in token.symbols().into_iter().enumerate() {
        let (from, to) =
            ((k as f64 * SYMBOL_S * rate).round() as u64, ((k + 1) as f64 * SYMBOL_S * rate).round() as u64);
        let low = TONES[usize::from(symbol >> 3)] as f64;
        let high = TONES[8 + usize::from(symbol & 7)] as f64;
        for i in 0..to - from {
            let t = i as f64 / rate;
            let edge = t.min((to - from) as f64 / rate - t) / RAMP_S;
            let ramp = if edge >= 1.0 { 1.0 } else { 0.5 - 0.5 * (edge * TAU / 2.0).cos() };
            out.push((amplitude * ramp * ((TAU * low * t).sin() + (TAU * high * t).sin())).round() as i16);
        }
    }
}

/// Appends silence of the given length.
pub fn silence(seconds: f64, rate: u32, out: &mut Vec<i16>) {
    out.resize(out.len() + (seconds * f64::from(rate)).round() as usize, 0);
}

/// Projection of 2.5 ms of audio on all tones, with phases counted from the stream's first sample so that slots can be added.
#[derive(Clone, Copy, Default)]
struct Slot {
    bins: [(f64, f64); 16],
    energy: f64,
    samples: f64,
}

/// What one symbol's window holds.
struct Window {
    symbol: u8,
    purity: f64,
    power: f64,
}

/// Streaming decoder for any sample rate of 8000 Hz and more.
pub struct Decoder {
    rate: u64,
    sample: u64,
    high_pass: (f64, f64, f64),
    current: Slot,
    slots: VecDeque<Slot>,
    /// How much shorter a word may be, in slots.
    shorter: u64,
    /// Absolute number of `slots[0]`, which is also the next alignment to try.
    first: u64,
    /// First and last window of coded speech that no word explains yet.
    unexplained: Option<(u64, u64)>,
}

impl Decoder {
    /// A decoder for mono audio at `rate` Hz.
    pub fn new(rate: u32) -> Decoder {
        let pole = (-TAU * 80.0 / f64::from(rate.max(1))).exp();
        Decoder {
            rate: u64::from(rate.max(1)),
            sample: 0,
            high_pass: (pole, 0.0, 0.0),
            current: Slot::default(),
            slots: VecDeque::new(),
            shorter: 0,
            first: 0,
            unexplained: None,
        }
    }

    /// A decoder for speech whose speed was changed: a time-scale modifier leaves out a period of the voice here and there,
    /// up to 7.5 ms of a word. What no other decoder would take for whole, an ear does.
    pub fn of_stretched(rate: u32) -> Decoder {
        Decoder { shorter: SHORTER_SLOTS, ..Decoder::new(rate) }
    }

    /// Feeds samples and returns what became certain; a word comes about 10 ms after its end.
    pub fn feed(&mut self, pcm: &[i16]) -> Vec<Heard> {
        let mut heard = Vec::new();
        let mut rest = pcm;
        while !rest.is_empty() {
            let boundary = (self.sample * SLOTS_PER_S / self.rate + 1) * self.rate;
            let until = boundary.div_ceil(SLOTS_PER_S);
            let take = usize::try_from(until - self.sample).unwrap_or(usize::MAX).min(rest.len());
            let (run, tail) = rest.split_at(take);
            self.accumulate(run);
            rest = tail;
            if self.sample == until {
                self.slots.push_back(std::mem::take(&mut self.current));
                self.search(SEARCH_SLOTS, &mut heard);
            }
        }
        heard
    }

    /// Decodes what lies complete in the decoder without waiting for more audio. Feeding may go on afterwards.
    pub fn drain(&mut self) -> Vec<Heard> {
        let mut heard = Vec::new();
        self.search(0, &mut heard);
        heard
    }

    /// Ends the stream: like [`Decoder::drain`], and an unfinished word is reported as damaged.
    pub fn finish(&mut self) -> Vec<Heard> {
        let end = vec![0; (self.rate * (TOKEN_SLOTS + 2 * SEARCH_SLOTS + DAMAGE_JOIN_SLOTS) / SLOTS_PER_S) as usize];
        self.feed(&end)
    }

    fn accumulate(&mut self, run: &[i16]) {
        let (pole, mut x1, mut y1) = self.high_pass;
        let filtered: Vec<f64> = run
            .iter()
            .map(|s| {
                let x = f64::from(*s);
                y1 = x - x1 + pole * y1;
                x1 = x;
                y1
            })
            .collect();
        self.high_pass = (pole, x1, y1);
        for (bin, tone) in self.current.bins.iter_mut().zip(TONES) {
            // The phase is reduced in integers: exact however long the stream runs.
            let phase = ((tone * self.sample) % self.rate) as f64 / self.rate as f64;
            let (mut im, mut re) = (TAU * phase).sin_cos();
            let (step_im, step_re) = (TAU * tone as f64 / self.rate as f64).sin_cos();
            for x in &filtered {
                bin.0 += x * re;
                bin.1 -= x * im;
                (re, im) = (re * step_re - im * step_im, re * step_im + im * step_re);
            }
        }
        self.current.energy += filtered.iter().map(|x| x * x).sum::<f64>();
        self.current.samples += run.len() as f64;
        self.sample += run.len() as u64;
    }

    /// The inner 15 ms of the symbol that begins at slot `offset` after `first`.
    fn window(&self, offset: u64) -> Option<Window> {
        let from = usize::try_from(offset + 1).ok()?;
        let mut sum = Slot::default();
        for i in from..from + SYMBOL_SLOTS as usize - 2 {
            let slot = self.slots.get(i)?;
            for (total, bin) in sum.bins.iter_mut().zip(slot.bins) {
                *total = (total.0 + bin.0, total.1 + bin.1);
            }
            sum.energy += slot.energy;
            sum.samples += slot.samples;
        }
        let power = sum.energy / sum.samples;
        if power < MIN_POWER {
            return Some(Window { symbol: 0, purity: 0.0, power });
        }
        let strongest = |bins: &[(f64, f64)]| {
            bins.iter()
                .map(|b| b.0 * b.0 + b.1 * b.1)
                .enumerate()
                .fold((0, 0.0), |best, (i, e)| if e > best.1 { (i as u8, e) } else { best })
        };
        let (low, high) = (strongest(&sum.bins[..8]), strongest(&sum.bins[8..]));
        let purity = 2.0 / sum.samples * (low.1 + high.1) / sum.energy;
        Some(Window { symbol: low.0 << 3 | high.0, purity, power })
    }

    /// The token that begins `offset` slots after `first`, how clean it is, and by how many slots it is too short.
    fn token_at(&self, offset: u64) -> Option<(Token, f64, u64)> {
        let mut symbols = [0; SYMBOLS];
        let mut early = 0;
        let (mut score, mut least, mut most) = (0.0, f64::MAX, 0.0_f64);
        for (k, symbol) in symbols.iter_mut().enumerate() {
            let due = offset + k as u64 * SYMBOL_SLOTS - early;
            let mut window = self.window(due)?;
            let begun = early;
            let reach = if k == 0 { 0 } else { (self.shorter - begun).min(SHORTER_STEP_SLOTS) };
            for step in 1..=reach {
                let sooner = self.window(due - step)?;
                if sooner.purity > window.purity {
                    (window, early) = (sooner, begun + step);
                }
            }
            if window.purity < PURE || (k == 0 && window.symbol != START) {
                return None;
            }
            *symbol = window.symbol;
            score += window.purity;
            least = least.min(window.power);
            most = most.max(window.power);
        }
        if symbols[SYMBOLS - 1] != END || most > least * MAX_LEVEL_RATIO {
            return None;
        }
        Token::from_symbols(&symbols[1..SYMBOLS - 1]).map(|token| (token, score, early))
    }

    fn search(&mut self, lookahead: u64, heard: &mut Vec<Heard>) {
        while self.slots.len() as u64 >= TOKEN_SLOTS + lookahead {
            let Some(found) = self.token_at(0) else {
                self.note_unexplained(heard);
                self.advance(1);
                continue;
            };
            let mut best = (0, found.1, found.2);
            for offset in 1..=lookahead.min(SEARCH_SLOTS) {
                if let Some((token, score, early)) = self.token_at(offset)
                    && token == found.0
                    && score > best.1 + 1e-3
                {
                    best = (offset, score, early);
                }
            }
            let start = self.first + best.0;
            // Windows that reach into the word's first symbol are explained by it.
            if let Some((from, to)) = self.unexplained.take() {
                Self::report((from, to.min(start.saturating_sub(SYMBOL_SLOTS - 1))), heard);
            }
            let [start_s, early_s] = [start, best.2].map(|slots| slots as f64 / SLOTS_PER_S as f64);
            heard.push(Heard::Word { token: found.0, start: start_s, end: start_s + TOKEN_S - early_s });
            self.advance(best.0 + TOKEN_SLOTS - best.2 - 1);
        }
    }

    fn note_unexplained(&mut self, heard: &mut Vec<Heard>) {
        let like = self.window(0).is_some_and(|w| w.purity >= SYMBOL_LIKE);
        match (&mut self.unexplained, like) {
            (None, true) => self.unexplained = Some((self.first, self.first)),
            (Some(run), true) => run.1 = self.first,
            (Some(run), false) if self.first > run.1 + DAMAGE_JOIN_SLOTS => {
                let run = *run;
                self.unexplained = None;
                Self::report(run, heard);
            }
            _ => {}
        }
    }

    fn report((from, to): (u64, u64), heard: &mut Vec<Heard>) {
        if to >= from + DAMAGE_MIN_SLOTS {
            let seconds = |slot: u64| slot as f64 / SLOTS_PER_S as f64;
            heard.push(Heard::Damaged { start: seconds(from + 1), end: seconds(to + SYMBOL_SLOTS - 1) });
        }
    }

    fn advance(&mut self, slots: u64) {
        for _ in 0..slots {
            self.slots.pop_front();
        }
        self.first += slots;
    }
}
