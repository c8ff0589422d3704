//! `talk` and `ear`: make coded speech into a WAV file, and tell what a WAV file says.

use crate::coded::codec::{self, Decoder, GAP_S, Heard, Token, WORDS};
use crate::engine::Engine;
use crate::offline::{OfflineEngine, Places};
use clap::Args;
use serde_json::{Value, json};
use std::error::Error;
use std::path::{Path, PathBuf};

/// What to say.
#[derive(Args, Debug)]
pub struct Talk {
    /// Language of the words, such as en or es-MX.
    #[arg(long, default_value = "en")]
    language: String,
    /// Word numbers (0 to 4095) or spellings; `|` ends a sentence.
    #[arg(long, conflicts_with = "sentences")]
    words: Option<String>,
    /// Makes so many sentences instead of --words.
    #[arg(long)]
    sentences: Option<usize>,
    /// Words of each sentence made; with --seed, at most so many.
    #[arg(long, default_value_t = 5)]
    words_per_sentence: usize,
    /// Draws the length of each sentence from 1 to --words-per-sentence.
    #[arg(long)]
    seed: Option<u64>,
    /// Number of the first word of made sentences; the following count up, modulo 4096.
    #[arg(long, default_value_t = 0)]
    first_word: u16,
    /// Sample rate in Hz.
    #[arg(long, default_value_t = 16000)]
    rate: u32,
    /// Silence after each sentence.
    #[arg(long, default_value_t = 700)]
    gap_ms: u32,
    /// Silence before the first.
    #[arg(long, default_value_t = 0)]
    lead_ms: u32,
    /// Peak level in dBFS.
    #[arg(long, default_value_t = -20.0, allow_hyphen_values = true)]
    level_db: f64,
    /// WAV file to write (mono, 16 bit).
    out: PathBuf,
}

/// Writes the file and returns what it says.
pub fn talk(ask: &Talk) -> Result<Value, Box<dyn Error>> {
    if !(8000..=192_000).contains(&ask.rate) {
        return Err(format!("rate {} is not 8000 to 192000", ask.rate).into());
    }
    let sentences = sentences(ask)?;
    let mut pcm = Vec::new();
    let mut words = Vec::new();
    codec::silence(f64::from(ask.lead_ms) / 1000.0, ask.rate, &mut pcm);
    for (number, sentence) in sentences.iter().enumerate() {
        for (i, token) in sentence.iter().enumerate() {
            if i > 0 {
                codec::silence(GAP_S, ask.rate, &mut pcm);
            }
            let start = pcm.len() as f64 / f64::from(ask.rate);
            codec::encode(*token, ask.rate, ask.level_db, &mut pcm);
            let end = pcm.len() as f64 / f64::from(ask.rate);
            words.push(json!({
                "n": token.n, "lang": token.language(), "text": token.text(), "sentence": number,
                "start": millis(start), "end": millis(end),
            }));
        }
        codec::silence(f64::from(ask.gap_ms) / 1000.0, ask.rate, &mut pcm);
    }
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: ask.rate,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut file = hound::WavWriter::create(&ask.out, spec)?;
    for sample in &pcm {
        file.write_sample(*sample)?;
    }
    file.finalize()?;
    Ok(
        json!({"rate": ask.rate, "duration_s": millis(pcm.len() as f64 / f64::from(ask.rate)), "sentences": sentences.len(), "words": words}),
    )
}

fn sentences(ask: &Talk) -> Result<Vec<Vec<Token>>, String> {
    let token =
        |n: u16| Token::new(&ask.language, n).ok_or_else(|| format!("no word {n} in language {}", ask.language));
    if let Some(words) = &ask.words {
        let read = |word: &str| match word.parse() {
            Ok(n) => token(n),
            Err(_) => Token::parse(word).ok_or_else(|| format!("{word} is neither a number nor a coded word")),
        };
        return words.split('|').map(|s| s.split_whitespace().map(read).collect()).collect();
    }
    let mut next = ask.first_word;
    let mut state = ask.seed.unwrap_or(0).wrapping_add(0x9E37_79B9_7F4A_7C15);
    (0..ask.sentences.unwrap_or(1))
        .map(|_| {
            // A linear congruential step (Knuth's MMIX constants) is chance enough for sentence lengths.
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let most = ask.words_per_sentence.max(1);
            let length = if ask.seed.is_some() { 1 + (state >> 33) as usize % most } else { most };
            (0..length)
                .map(|_| {
                    let word = token(next % WORDS);
                    next = (next + 1) % WORDS;
                    word
                })
                .collect()
        })
        .collect()
}

/// Mean square of -50 dBFS: what is below is a pause.
const PAUSE_POWER: f64 = 104.0 * 104.0;
/// A pause of so many 20 ms frames ends an utterance.
const PAUSE_FRAMES: usize = 20;

/// Recognises real speech in a WAV file: its words, where there is speech, and how loud it is (dBFS RMS).
pub fn recognise(language: &str, path: &Path) -> Result<Value, Box<dyn Error>> {
    let (rate, pcm) = read_wav(path)?;
    let engine = OfflineEngine::with(Places::default(), 1).map_err(|e| e.message)?;
    let mut recognizer = engine.recognizer(language, rate).map_err(|e| e.message)?;
    let frame = (rate as usize / 50).max(1);
    let at = |frames: usize| millis(frames as f64 / 50.0);
    let (mut words, mut spans, mut begun, mut pause) = (Vec::new(), Vec::new(), None, 0);
    let (mut power, mut loud) = (0.0, 0);
    let frames = pcm.len().div_ceil(frame);
    let silence = vec![0; frame];
    for (i, block) in pcm.chunks(frame).chain(std::iter::repeat_n(&silence[..], PAUSE_FRAMES)).enumerate() {
        recognizer.feed(block);
        let mean = block.iter().map(|&s| f64::from(s).powi(2)).sum::<f64>() / block.len() as f64;
        if mean > PAUSE_POWER {
            (power, loud, pause) = (power + mean, loud + 1, 0);
            begun.get_or_insert(i);
        } else if let Some(first) = begun {
            pause += 1;
            if pause == PAUSE_FRAMES {
                spans.push(json!({"start": at(first), "end": at((i + 1 - pause).min(frames))}));
                begun = None;
                words.extend(recognizer.finish_utterance());
            }
        }
    }
    let level = 10.0 * (power / f64::from(loud.max(1)) / 32_768.0_f64.powi(2)).max(1e-10).log10();
    let words: Vec<Value> =
        words.into_iter().map(|w| json!({"text": w.text, "start": millis(w.start), "end": millis(w.end)})).collect();
    Ok(json!({ "words": words, "speech": spans, "level_dbfs": millis(level), "duration_s": at(frames) }))
}

/// Rate and samples of a 16-bit file; of several channels the first.
fn read_wav(path: &Path) -> Result<(u32, Vec<i16>), Box<dyn Error>> {
    let mut file = hound::WavReader::open(path)?;
    let spec = file.spec();
    if spec.bits_per_sample != 16 || spec.sample_format != hound::SampleFormat::Int {
        return Err("want 16-bit PCM".into());
    }
    let all: Vec<i16> = file.samples::<i16>().collect::<Result<_, _>>()?;
    Ok((spec.sample_rate, all.into_iter().step_by(usize::from(spec.channels.max(1))).collect()))
}

/// What a WAV file says: `{words, damaged, speech_s, loud_s, max_gap, duration_s}`, times in seconds.
pub fn ear(path: &Path) -> Result<Value, Box<dyn Error>> {
    let (rate, pcm) = read_wav(path)?;
    let mut decoder = Decoder::new(rate);
    let mut heard = decoder.feed(&pcm);
    heard.extend(decoder.finish());
    let (mut words, mut damaged) = (Vec::new(), Vec::new());
    let (mut speech, mut max_gap, mut last) = (0.0, 0.0_f64, None);
    for h in heard {
        match h {
            Heard::Word { token, start, end } => {
                speech += end - start;
                max_gap = max_gap.max(last.map_or(0.0, |last| start - last));
                last = Some(end);
                words.push(json!({"n": token.n, "lang": token.language(), "text": token.text(), "start": millis(start), "end": millis(end)}));
            }
            Heard::Damaged { start, end } => damaged.push(json!({"start": millis(start), "end": millis(end)})),
        }
    }
    let frame = (rate as usize / 100).max(1);
    let loud = pcm.chunks(frame).filter(|f| f.iter().any(|s| s.unsigned_abs() > 100)).count();
    Ok(json!({
        "words": words, "damaged": damaged, "speech_s": millis(speech), "loud_s": millis(loud as f64 / 100.0),
        "max_gap": millis(max_gap), "duration_s": millis(pcm.len() as f64 / f64::from(rate)),
    }))
}

fn millis(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
}
