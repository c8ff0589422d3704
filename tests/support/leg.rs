//! A call leg in real time: one thread pushes coded speech, another pulls and keeps what was heard.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mgw::Status;
use mgw::engine::SessionId;
use mgw::media_port::{pull_frame, push_frame};

use super::codec::{self, Decoder, Heard, Token};

/// What a leg says: sentences of coded words.
pub struct Talk {
    pub language: &'static str,
    pub first_word: u16,
    pub sentences: usize,
    pub words_per_sentence: usize,
    pub gap: Duration,
    pub lead: Duration,
}

impl Talk {
    pub fn numbers(&self) -> Vec<u16> {
        (0..(self.sentences * self.words_per_sentence) as u16).map(|i| self.first_word + i).collect()
    }

    pub fn samples(&self, rate: u32) -> Vec<i16> {
        let mut out = Vec::new();
        codec::silence(self.lead.as_secs_f64(), rate, &mut out);
        for sentence in self.numbers().chunks(self.words_per_sentence) {
            for n in sentence {
                codec::encode(Token::new(self.language, *n).expect("word"), rate, -20.0, &mut out);
                codec::silence(codec::GAP_S, rate, &mut out);
            }
            codec::silence(self.gap.as_secs_f64(), rate, &mut out);
        }
        out
    }
}

/// How a leg behaves.
#[derive(Clone)]
pub struct Manner {
    pub rate_in: u32,
    pub rate_out: u32,
    pub frame_ms: u32,
    /// Deviation of the two clocks in parts per million.
    pub push_ppm: i32,
    pub pull_ppm: i32,
    /// Time since the start in which it does not push; what it has to say waits.
    pub mute: Range<Duration>,
    /// Time since the start in which it does not pull.
    pub away: Range<Duration>,
}

impl Default for Manner {
    fn default() -> Self {
        let never = Duration::MAX..Duration::MAX;
        Manner {
            rate_in: 16_000,
            rate_out: 16_000,
            frame_ms: 20,
            push_ppm: 0,
            pull_ppm: 0,
            mute: never.clone(),
            away: never,
        }
    }
}

impl Manner {
    /// The session options that fit.
    pub fn options(&self) -> mgw::config::Config {
        let mut options = mgw::config::Config::new();
        options.set("rate.in", &self.rate_in.to_string()).expect("rate");
        options.set("rate.out", &self.rate_out.to_string()).expect("rate");
        options
    }
}

/// A running leg.
pub struct Leg {
    stop: Arc<AtomicBool>,
    said: Arc<AtomicBool>,
    push: JoinHandle<()>,
    pull: JoinHandle<Vec<i16>>,
}

impl Leg {
    /// Starts to push `voice` (then silence) and to pull.
    pub fn start(session: SessionId, manner: Manner, voice: Vec<i16>) -> Leg {
        let stop = Arc::new(AtomicBool::new(false));
        let said = Arc::new(AtomicBool::new(false));
        let begin = Instant::now();
        let push = {
            let (stop, said, manner) = (stop.clone(), said.clone(), manner.clone());
            std::thread::spawn(move || {
                let n = (manner.rate_in * manner.frame_ms / 1000) as usize;
                let mut voice = voice.chunks(n);
                let silence = vec![0; n];
                paced(begin, manner.frame_ms, manner.push_ppm, &stop, |at| {
                    if manner.mute.contains(&at) {
                        return;
                    }
                    let frame = voice.next();
                    said.store(frame.is_none(), Ordering::Relaxed);
                    assert_eq!(push_frame(session, frame.unwrap_or(&silence)), Status::Ok);
                });
            })
        };
        let pull = {
            let stop = stop.clone();
            std::thread::spawn(move || {
                let n = (manner.rate_out * manner.frame_ms / 1000) as usize;
                let mut heard = Vec::new();
                paced(begin, manner.frame_ms, manner.pull_ppm, &stop, |at| {
                    if manner.away.contains(&at) {
                        return;
                    }
                    let mut frame = vec![1; n];
                    let status = pull_frame(session, &mut frame);
                    assert!(matches!(status, Status::Ok | Status::Silence | Status::Original), "{status:?}");
                    heard.extend(frame);
                });
                heard
            })
        };
        Leg { stop, said, push, pull }
    }

    /// Everything was pushed.
    pub fn has_said_all(&self) -> bool {
        self.said.load(Ordering::Relaxed)
    }

    /// Ends both threads; returns what was heard.
    pub fn finish(self) -> Vec<i16> {
        self.stop.store(true, Ordering::Relaxed);
        self.push.join().expect("pusher");
        self.pull.join().expect("puller")
    }
}

/// Calls `f` once a frame on an absolute clock that is `ppm` fast; frames that are late come at once, as from a network.
fn paced(begin: Instant, frame_ms: u32, ppm: i32, stop: &AtomicBool, mut f: impl FnMut(Duration)) {
    let period = Duration::from_secs_f64(f64::from(frame_ms) / 1000.0 / (1.0 + f64::from(ppm) / 1e6));
    let mut next = begin + period;
    while !stop.load(Ordering::Relaxed) {
        let now = Instant::now();
        if next > now {
            std::thread::sleep(next - now);
        }
        f(next - begin);
        next += period;
    }
}

/// What an ear heard, decoded from the sound.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct EarReport {
    /// Words in order: (language, number).
    pub words: Vec<(&'static str, u16)>,
    /// Spans of coded speech that were no whole word.
    pub damaged: usize,
}

/// Decodes a recording.
pub fn hear(samples: &[i16], rate: u32) -> EarReport {
    let mut decoder = Decoder::new(rate);
    let mut heard = decoder.feed(samples);
    heard.extend(decoder.finish());
    let mut report = EarReport::default();
    for event in heard {
        match event {
            Heard::Word { token, .. } => report.words.push((token.language(), token.n)),
            Heard::Damaged { .. } => report.damaged += 1,
        }
    }
    report
}
