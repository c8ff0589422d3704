//! One generation: text into audio chunks, paced as the scenario says and cut irregularly, now and then inside a sample.

mod align;
mod format;

pub use align::{Char, guess, spread};
pub use format::{Coding, Format};

use crate::app::App;
use crate::engine::EngineError;
use crate::scenario::Stage;
use crate::stats::keep_last;
use rand::RngExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

/// What to make.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The vendor's name of the voice.
    pub voice: String,
    /// ISO 639-1, if the client said it.
    pub language: Option<String>,
    /// Format of the audio.
    pub format: Format,
    /// Whether characters are to be placed in it.
    pub timed: bool,
}

/// A piece of audio.
pub struct Chunk {
    /// Coded audio; may end inside a sample, the rest is in the next.
    pub bytes: Vec<u8>,
    /// Where it begins, in seconds since the generation's audio began.
    pub from_s: f64,
    /// The characters that begin in it, if they were asked for.
    pub chars: Vec<Char>,
}

/// Synthesises `text` and gives chunks to `sink` when they are due. Stops early when `sink` returns false or `stop` is set.
pub async fn run<F, Fut>(
    app: &Arc<App>,
    wanted: &Wanted,
    text: String,
    stop: &Arc<AtomicBool>,
    mut sink: F,
) -> Result<(), EngineError>
where
    F: FnMut(Chunk) -> Fut,
    Fut: Future<Output = bool>,
{
    let scenario = app.scenario();
    app.stats.with(|n| {
        *n.characters.entry(Stage::Tts).or_default() += text.chars().count() as u64;
        keep_last(&mut n.spoken, text.clone());
    });
    let first = Instant::now() + app.chance(|rng| scenario.tts.first_audio_ms.draw(rng));
    let (sender, mut receiver) = mpsc::channel::<Vec<i16>>(64);
    let work = {
        let (app, wanted, text, stop) = (app.clone(), wanted.clone(), text.clone(), stop.clone());
        tokio::task::spawn_blocking(move || {
            app.engine.synthesize(&text, &wanted.voice, wanted.language.as_deref(), wanted.format.rate, &mut |pcm| {
                !stop.load(Ordering::Relaxed) && sender.blocking_send(pcm.to_vec()).is_ok()
            })
        })
    };
    let mut waiting: Vec<i16> = Vec::new();
    let mut chars = Vec::new();
    let mut ended = false;
    if wanted.timed {
        // Only with all audio known can characters be placed in it.
        while let Some(pcm) = receiver.recv().await {
            waiting.extend(pcm);
        }
        ended = true;
        chars = app.engine.place(&text, &waiting, wanted.format.rate);
    }
    let (mut carried, mut sent) = (Vec::new(), 0_usize);
    let mut began: Option<Instant> = None;
    while !(ended && waiting.is_empty() && carried.is_empty()) {
        let range = scenario.tts.chunk_ms;
        let (ms, odd) =
            app.chance(|rng| (rng.random_range(range.0..=range.1), rng.random_bool(scenario.tts.odd_chunk_rate)));
        let want = (wanted.format.rate as usize * ms as usize / 1000).max(1);
        while !ended && waiting.len() < want {
            match receiver.recv().await {
                Some(pcm) => waiting.extend(pcm),
                None => ended = true,
            }
        }
        let rest = waiting.split_off(want.min(waiting.len()));
        let pcm = std::mem::replace(&mut waiting, rest);
        let mut bytes = std::mem::take(&mut carried);
        bytes.extend(wanted.format.bytes(&pcm));
        if odd && wanted.format.width() == 2 && bytes.len() > 2 && !(ended && waiting.is_empty()) {
            carried = bytes.split_off(bytes.len() - 1);
        }
        if bytes.is_empty() {
            continue;
        }
        sleep_until(first).await;
        let start = *began.get_or_insert_with(Instant::now);
        let audio_s = sent as f64 / f64::from(wanted.format.rate);
        sleep_until(start + Duration::from_secs_f64(audio_s / scenario.tts.speed)).await;
        if stop.load(Ordering::Relaxed) {
            break;
        }
        sent += pcm.len();
        let seconds = pcm.len() as f64 / f64::from(wanted.format.rate);
        app.stats.with(|n| *n.audio_s.entry(Stage::Tts).or_default() += seconds);
        let last = ended && waiting.is_empty() && carried.is_empty();
        let upto = sent as f64 / f64::from(wanted.format.rate);
        let here = if last { chars.len() } else { chars.partition_point(|c| c.start + 1e-9 < upto) };
        let chunk = Chunk { bytes, from_s: audio_s, chars: chars.drain(..here).collect() };
        if !sink(chunk).await {
            break;
        }
    }
    drop(receiver);
    work.await.unwrap_or(Ok(()))
}
