//! The sync buffer in virtual time, without a room: segments come as a script says, an ear pulls, coded words are counted.

mod account;
mod close;
mod pauses;

use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::codec;

const A: SessionId = SessionId(1);
const B: SessionId = SessionId(2);

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// The audio of a segment as far as it has come.
struct Speech {
    audio: Vec<i16>,
    rate: u32,
    over: bool,
    since: Option<Duration>,
}

/// A queue, what comes for it, and the ear that pulls from it.
struct Desk {
    playout: Playout,
    now: Duration,
    speech: BTreeMap<SegmentId, Speech>,
    ring: VecDeque<i16>,
    skip: usize,
    asked: u64,
    taken: u64,
    /// Samples per pull.
    frame: usize,
    /// All that was heard, silence between as zeros.
    heard: Vec<i16>,
    /// Samples of it that came from the ring.
    spoken: u64,
    ended: Vec<Heard>,
}

impl Desk {
    fn new(hz: u32) -> Self {
        let lead = Lead::new(ms(120), ms(300));
        let mut playout = Playout::new(Language::parse("es").expect("a language"), hz, lead, 1.0);
        playout.configure(1.25, false);
        Desk {
            playout,
            now: Duration::ZERO,
            speech: BTreeMap::new(),
            ring: VecDeque::new(),
            skip: 0,
            asked: 0,
            taken: 0,
            frame: hz as usize / 50,
            heard: Vec::new(),
            spoken: 0,
            ended: Vec::new(),
        }
    }

    /// A segment that was said from `start` to `end` (ms), after a pause.
    fn push(&mut self, id: u64, voice: SessionId, (start, end): (u64, u64), pause: u64, rate: u32) {
        let timing = Timing {
            voice,
            start_at: ms(start),
            end_at: ms(end),
            pause: ms(pause),
            may_skip: true,
            queued: Duration::ZERO,
        };
        self.playout.push(SegmentId(id), timing);
        self.speech.insert(SegmentId(id), Speech { audio: Vec::new(), rate, over: false, since: None });
    }

    fn audio(&mut self, id: u64, samples: &[i16], over: bool) {
        let speech = self.speech.get_mut(&SegmentId(id)).expect("a segment");
        speech.audio.extend_from_slice(samples);
        speech.over |= over;
        if !samples.is_empty() {
            speech.since.get_or_insert(self.now);
        }
        self.top_up();
    }

    fn source<'a>(&'a self) -> impl Fn(SegmentId) -> Option<Source<'a>> {
        move |id| {
            let speech = self.speech.get(&id)?;
            Some(Source { audio: &speech.audio, rate: speech.rate, over: speech.over, since: speech.since })
        }
    }

    fn top_up(&mut self) {
        let speech = &self.speech;
        let out = self.playout.top_up(self.now, |id| {
            let s = speech.get(&id)?;
            Some(Source { audio: &s.audio, rate: s.rate, over: s.over, since: s.since })
        });
        self.ring.extend(out);
        assert!(self.ring.len() <= RING_SAMPLES);
    }

    fn pull(&mut self) {
        let skipped = std::mem::take(&mut self.skip);
        self.ring.drain(..skipped);
        let n = self.ring.len().min(self.frame);
        self.heard.extend(self.ring.drain(..n));
        self.heard.resize(self.heard.len() + self.frame - n, 0);
        self.asked += self.frame as u64;
        self.taken += (n + skipped) as u64;
        self.spoken += n as u64;
    }

    /// A round of the engine after 10 ms; a pull every 20 ms.
    fn round(&mut self) {
        self.now += ms(10);
        if self.now.as_millis().is_multiple_of(20) {
            self.pull();
            self.ended.extend(self.playout.pulled(self.now, self.asked, self.taken));
        }
        self.top_up();
    }

    fn run(&mut self, length: u64) {
        for _ in 0..length / 10 {
            self.round();
        }
    }

    fn flush(&mut self) {
        self.skip = self.ring.len();
        self.ended.extend(self.playout.clear(self.now));
    }

    fn set_rate(&mut self, hz: u32) {
        self.playout.set_rate(hz);
        self.ring.clear();
        (self.skip, self.asked, self.taken) = (0, 0, 0);
        self.frame = hz as usize / 50;
        self.top_up();
    }

    /// Lengths of silence in what was heard, in milliseconds, from the first sound to the last.
    fn silences(&self, hz: u32) -> Vec<usize> {
        let sound = |s: &i16| s.unsigned_abs() > 40;
        let first = self.heard.iter().position(sound).unwrap_or(0);
        let last = self.heard.iter().rposition(sound).unwrap_or(0);
        let runs = self.heard[first..last].chunk_by(|a, b| sound(a) == sound(b));
        let silent = runs.filter(|run| !sound(&run[0])).map(|run| run.len() * 1000 / hz as usize);
        silent.filter(|length| *length >= 10).collect()
    }
}

/// `count` coded words from number `first` on, each with its 40 ms of silence.
fn words(first: u16, count: usize, rate: u32) -> Vec<i16> {
    let mut out = Vec::new();
    for i in 0..count as u16 {
        let word = codec::Token::new("es", (first + i) % codec::WORDS).expect("a word");
        codec::encode(word, rate, -12.0, &mut out);
        codec::silence(codec::GAP_S, rate, &mut out);
    }
    out
}

fn silence(length: u64, rate: u32) -> Vec<i16> {
    vec![0; (length * u64::from(rate) / 1000) as usize]
}

/// Numbers of the words that were heard whole, with the second in which each ended, and how many were damaged.
fn decoded(heard: &[i16], hz: u32) -> (Vec<(u16, f64)>, usize) {
    let mut decoder = codec::Decoder::new(hz);
    let mut all = decoder.feed(heard);
    all.extend(decoder.finish());
    let whole: Vec<(u16, f64)> = all
        .iter()
        .filter_map(|heard| match heard {
            codec::Heard::Word { token, end, .. } => Some((token.n, *end)),
            codec::Heard::Damaged { .. } => None,
        })
        .collect();
    let damaged = all.len() - whole.len();
    (whole, damaged)
}

/// What must be true of every segment that was heard to its end.
fn accounted(heard: &Heard, length: usize, hz: u32, rate_changed: bool) {
    let t = &heard.treatment;
    assert_eq!(t.taken as usize, length, "all of the audio was taken");
    assert_eq!(t.trimmed + t.cut + t.stretched.0, t.taken, "{t:?}");
    let given = (t.stretched.1 * u64::from(hz)).div_ceil(u64::from(t.rate.max(1)));
    let off = heard.length.abs_diff(span(given, hz));
    assert!(off <= if rate_changed { ms(6) } else { ms(0) }, "heard {:?}, given {given} at {hz}: {t:?}", heard.length);
    assert!((0.999..1.27).contains(&t.speed()), "{t:?}");
}
