//! A translator and a synthesiser with published times.

use std::time::Duration;

use mgw::provider::SpeechChunk;

use super::chance::Chance;
use super::script::{JOINING, NUMBERS};
use crate::support::codec::{self, GAP_S, Token};

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// How a translation comes to be a fifth longer than what was said.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Longer {
    /// It does not.
    Not,
    /// A word that was not said follows every fifth one.
    Fillers,
    /// Every word takes 216 ms instead of 180: the voice speaks slowly.
    Slow,
}

/// Times of the stages behind the recogniser.
#[derive(Clone, Debug)]
pub struct Stages {
    /// From the request to the translation.
    pub translation: Duration,
    /// From the request to the first audio.
    pub first_audio: Duration,
    /// Audio seconds sent per second.
    pub speed: f64,
    /// Audio in one piece.
    pub chunk: Duration,
    /// Silence before and behind the words of each text.
    pub padding: (Duration, Duration),
    pub longer: Longer,
    /// Share of texts whose sound stalls, and for how long: half of them before the first audio, half in the middle.
    pub stalls: Option<(f64, Duration, Duration)>,
    pub seed: u64,
}

impl Default for Stages {
    /// Translation 100 ms, first audio 288 ms, speech at three times real time, and a fifth more of it than was said.
    fn default() -> Stages {
        Stages {
            translation: ms(100),
            first_audio: ms(288),
            speed: 3.0,
            chunk: ms(100),
            padding: (ms(20), ms(60)),
            longer: Longer::Fillers,
            stalls: None,
            seed: 1,
        }
    }
}

/// Word by word; what follows a word in writing stays. Words of no vocabulary are put in brackets.
pub fn translate(text: &str, target: &str, longer: Longer) -> String {
    let mut out: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let bare: String = word.chars().filter(|c| c.is_alphanumeric()).collect();
        let mark = word.find(|c: char| !c.is_alphanumeric()).map_or("", |at| &word[at..]);
        let token = Token::parse(&bare).filter(|t| t.language() != "xx");
        let mut translated = match token {
            Some(token) => Token::new(target, token.n).map_or_else(|| format!("[{bare}]"), Token::text),
            None => joining(&bare, target).map_or_else(|| format!("[{bare}]"), str::to_owned),
        };
        if bare.starts_with(char::is_uppercase) {
            translated[..1].make_ascii_uppercase();
        }
        let filler = token.filter(|t| longer == Longer::Fillers && t.n % 5 == 4).map(|t| filler(t.n).text());
        // The mark ends the clause, so a filler stands before it.
        match filler {
            Some(filler) => out.extend([translated, filler + mark]),
            None => out.push(translated + mark),
        }
    }
    out.join(" ")
}

/// The word that was not said behind number `n`.
pub fn filler(n: u16) -> Token {
    Token::new("xx", NUMBERS + n % 90).expect("a word")
}

fn joining(word: &str, target: &str) -> Option<&'static str> {
    let place = JOINING.iter().find_map(|(_, words)| words.iter().position(|w| w.eq_ignore_ascii_case(word)))?;
    JOINING.iter().find(|(l, _)| *l == target).map(|(_, words)| words[place])
}

/// A text's sound and where its words end: samples, and bytes of the text.
fn synthesise(text: &str, rate: u32, stages: &Stages) -> (Vec<i16>, Vec<(usize, usize)>) {
    let gap = if stages.longer == Longer::Slow { GAP_S + 0.2 * (codec::TOKEN_S + GAP_S) } else { GAP_S };
    let (mut pcm, mut ends) = (Vec::new(), Vec::new());
    codec::silence(stages.padding.0.as_secs_f64(), rate, &mut pcm);
    let mut byte = 0;
    for word in text.split_inclusive(char::is_whitespace) {
        byte += word.len();
        let word = word.trim();
        if word.chars().any(char::is_alphanumeric) {
            codec::encode(Token::parse(word).unwrap_or_else(|| Token::foreign(word)), rate, -14.0, &mut pcm);
            codec::silence(gap, rate, &mut pcm);
            ends.push((pcm.len(), byte));
        }
    }
    codec::silence(stages.padding.1.as_secs_f64(), rate, &mut pcm);
    (pcm, ends)
}

/// What comes for a text, and how long after the request. Marks tell which word the sound has come to, as ElevenLabs'
/// alignment does.
pub fn speak(text: &str, rate: u32, stages: &Stages, chance: &mut Chance) -> Vec<(Duration, SpeechChunk)> {
    let (pcm, ends) = synthesise(text, rate, stages);
    let size = (stages.chunk.as_secs_f64() * f64::from(rate)) as usize;
    let pieces = pcm.len().div_ceil(size.max(1));
    let mut late = Duration::ZERO;
    let mut stall = None;
    if let Some((share, least, most)) = stages.stalls
        && chance.happens(share)
    {
        let length = chance.between(least, most);
        if chance.happens(0.5) {
            late = length;
        } else {
            stall = Some((chance.below(pieces.max(1)), length));
        }
    }
    let mut out = vec![];
    let mut ends = ends.into_iter().peekable();
    for (piece, from) in (0..pcm.len()).step_by(size.max(1)).enumerate() {
        if let Some((at, length)) = stall
            && at == piece
        {
            late += length;
        }
        let at = stages.first_audio + late + Duration::from_secs_f64(from as f64 / f64::from(rate) / stages.speed);
        if piece == 0 {
            out.push((at, SpeechChunk::Reached(0)));
        }
        let until = (from + size).min(pcm.len());
        let mut begin = from;
        while let Some((end, byte)) = ends.next_if(|(end, _)| *end <= until) {
            if end > begin {
                out.push((at, SpeechChunk::Audio(pcm[begin..end].to_vec())));
            }
            out.push((at, SpeechChunk::Reached(byte)));
            begin = end;
        }
        if until > begin {
            out.push((at, SpeechChunk::Audio(pcm[begin..until].to_vec())));
        }
    }
    let last = out.last().map_or(stages.first_audio, |(at, _)| *at);
    out.push((last, SpeechChunk::End));
    out
}
