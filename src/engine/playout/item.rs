//! A segment in a listener's queue: what is left out of its audio, how it is stretched, and what became of each sample.

use std::collections::VecDeque;
use std::time::Duration;

use super::super::level::mean_square;
use super::super::loudness::Leveller;
use super::super::resample::Resampler;
use super::super::stretch::Stretch;
use super::super::time::{ms, samples, span};
use super::super::{SegmentId, SessionId};
use super::pace::strain;
use crate::event::Played;

/// So much silence is kept before the first and behind the last sound of a segment: a quiet onset lies in it.
const EDGE: Duration = Duration::from_millis(20);
/// The same behind it when it is stretched as far as it goes.
const STRAINED_EDGE: Duration = Duration::from_millis(5);
/// A pause inside a segment that is no longer than this is never cut.
pub const SHORT_PAUSE: Duration = Duration::from_millis(120);
/// A cut takes at least this much; less is not worth it.
const LEAST_CUT: Duration = Duration::from_millis(5);
/// While so little has come of a segment that goes on, it is not stretched.
const SCARCE: Duration = Duration::from_millis(120);
/// By no more it gets faster in 10 ms.
const FASTER: f32 = 0.005;
/// The two sides of a cut fade into each other.
const FADE: Duration = Duration::from_millis(2);
/// So far ahead the end of a pause is looked for.
const SIGHT: Duration = Duration::from_secs(2);

/// When the speech of a segment was said, and how it lies in its speaker's flow.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Timing {
    /// Whose voice it is: the pauses between segments of one voice are its own.
    pub voice: SessionId,
    /// Gateway time of the beginning of the speech.
    pub start_at: Duration,
    /// The same of its end.
    pub end_at: Duration,
    /// The speaker's pause before it, from the end of the segment before.
    pub pause: Duration,
    /// It may be left out when too much waits (`playout.overflow`).
    pub may_skip: bool,
    /// Gateway time from which on it could be played, had its audio been there.
    pub queued: Duration,
}

/// The audio of a segment as the queue needs it.
pub struct Source<'a> {
    /// Everything that has come so far.
    pub audio: &'a [i16],
    /// Hz.
    pub rate: u32,
    /// No more will come.
    pub over: bool,
    /// Gateway time at which the first of it came.
    pub since: Option<Duration>,
}

/// How audio is to be shaped now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shape {
    /// 1.25 plays 10 s in 8 s.
    pub speed: f32,
    /// How much of the pauses is kept: 1 for all, 0 for as little as may be.
    pub pauses: f32,
    /// Mean square up to which a block is a pause.
    pub quiet: f32,
    /// The voice is known: its gain moves slowly.
    pub known: bool,
}

/// What playout did with a segment. Samples are the source's, at `rate`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Treatment {
    /// Hz.
    pub rate: u32,
    /// Samples taken from the source: trimmed, cut and stretched ones together.
    pub taken: u64,
    /// Silence left out at the ends.
    pub trimmed: u64,
    /// Cut out of pauses inside.
    pub cut: u64,
    /// Given to the stretcher, and what came out of it.
    pub stretched: (u64, u64),
    /// By how much the speaker's pause before it was shortened.
    pub gap_cut: Duration,
    /// Gain by loudness: sum over samples in dB, and their number.
    gain: (f64, u64),
}

impl Treatment {
    /// How much faster than it was synthesised it was played, on average.
    pub fn speed(&self) -> f64 {
        let (taken, given) = self.stretched;
        if given == 0 { 1.0 } else { taken as f64 / given as f64 }
    }

    /// By how much pauses in it and before it were shortened.
    pub fn pause_cut(&self) -> Duration {
        span(self.cut, self.rate) + self.gap_cut
    }

    /// Silence left out at the ends.
    pub fn trimmed(&self) -> Duration {
        span(self.trimmed, self.rate)
    }

    /// For the event that tells of it.
    pub fn told(&self) -> Played {
        let thousandths = |x: f64| (x * 1e3).round() / 1e3;
        Played {
            stretch: thousandths(self.speed()),
            pause_cut_ms: ms(self.pause_cut()),
            trimmed_ms: ms(self.trimmed()),
            gain_db: (self.gain_db() * 10.0).round() / 10.0,
        }
    }

    /// Mean gain in dB that brought the voice to its loudness.
    pub fn gain_db(&self) -> f64 {
        if self.gain.1 == 0 { 0.0 } else { self.gain.0 / self.gain.1 as f64 }
    }
}

/// A segment in a listener's queue.
pub struct Item {
    /// Which.
    pub segment: SegmentId,
    /// When it was said.
    pub timing: Timing,
    /// Source samples taken so far.
    pub taken: usize,
    /// Ring position of its first sample.
    pub start: Option<u64>,
    /// Ring position behind its last sample, when all is written.
    pub end: Option<u64>,
    /// When its first sample was pulled.
    pub started_at: Option<Duration>,
    /// Samples written to the ring.
    pub written: u64,
    /// Waits until `hold` of audio is there.
    pub waits: bool,
    /// It ran dry in its middle.
    pub ran_dry: bool,
    /// At the listener's rate, not yet written.
    pub ready: VecDeque<i16>,
    /// What was done with it.
    pub treatment: Treatment,
    /// Its first sound was found; what lay before it is trimmed.
    found: bool,
    /// So far was looked for the first sound.
    scanned: usize,
    /// When that came.
    found_at: Option<Duration>,
    /// Where its last sound ends; known when all is there.
    tail: Option<usize>,
    /// Samples listened to for its loudness.
    metered: usize,
    /// Silence kept in front of the first sound, in samples.
    head: usize,
    /// Length of the pause that is being played, and what was cut out of it.
    pause: (usize, usize),
    stretch: Option<Stretch>,
    resampler: Option<Resampler>,
    flushed: bool,
}

impl Item {
    /// A segment of which nothing has come yet.
    pub fn new(segment: SegmentId, timing: Timing) -> Self {
        Item {
            segment,
            timing,
            taken: 0,
            start: None,
            end: None,
            started_at: None,
            written: 0,
            waits: true,
            ran_dry: false,
            ready: VecDeque::new(),
            treatment: Treatment::default(),
            found: false,
            scanned: 0,
            found_at: None,
            tail: None,
            metered: 0,
            head: 0,
            pause: (0, 0),
            stretch: None,
            resampler: None,
            flushed: false,
        }
    }

    /// What of the audio was not listened to yet for its loudness.
    pub fn unheard<'a>(&mut self, source: &Source<'a>) -> &'a [i16] {
        // A failed synthesis is cut back, and then goes on.
        let from = self.metered.min(source.audio.len());
        self.metered = source.audio.len();
        &source.audio[from..]
    }

    /// Leaves out the silence at its ends, as far as it has come.
    pub fn trim(&mut self, now: Duration, source: &Source<'_>, quiet: f32) {
        let first = self.scanned == 0;
        let (edge, block) = (in_samples(EDGE, source), block(source));
        self.treatment.rate = source.rate;
        let all = source.audio;
        self.scanned = self.scanned.min(all.len());
        while !self.found && self.scanned < all.len() {
            let next = &all[self.scanned..all.len().min(self.scanned + block)];
            if next.len() < block && !source.over {
                break;
            }
            self.found = mean_square(next) > quiet;
            if !self.found {
                self.scanned += next.len();
            }
            let from = self.scanned.saturating_sub(edge).max(self.taken);
            self.treatment.trimmed += (from - self.taken) as u64;
            self.taken = from;
            self.head = self.scanned - from;
        }
        self.treatment.taken = self.taken as u64;
        if self.found && self.found_at.is_none() {
            // Silence that came before it took its time, and nobody waited for that.
            self.found_at = source.since.filter(|_| first).map(|since| since.max(self.timing.queued)).or(Some(now));
        }
        if source.over && self.tail.is_none() {
            let mut end = all.len();
            while end > self.taken && mean_square(&all[end.saturating_sub(block).max(self.taken)..end]) <= quiet {
                end = end.saturating_sub(block).max(self.taken);
            }
            self.tail = Some(end);
        }
    }

    /// Where its audio ends, as far as that is known; silence behind it is left out but for an edge, which gets shorter
    /// when speech is stretched.
    fn until(&self, source: &Source<'_>, speed: f32) -> usize {
        let edge = EDGE - (EDGE - STRAINED_EDGE).mul_f32(strain(speed));
        let edge = if self.found { in_samples(edge, source) } else { 0 };
        let end = self.tail.filter(|_| source.over).map(|end| end + edge);
        end.map_or(source.audio.len(), |end| end.clamp(self.taken, source.audio.len()))
    }

    /// When its first sound came.
    pub fn found_at(&self) -> Option<Duration> {
        self.found_at
    }

    /// Source samples that may be taken now.
    pub fn rest(&self, source: &Source<'_>) -> usize {
        let until = self.until(source, 1.0);
        until.saturating_sub(if self.found { self.taken } else { self.scanned.max(self.taken) })
    }

    /// Seconds that its speech took; 0 for what nobody said.
    pub fn speech_s(&self) -> f32 {
        self.timing.end_at.saturating_sub(self.timing.start_at).as_secs_f32()
    }

    /// Silence of its own that it begins with.
    pub fn head(&self) -> Duration {
        span(self.head as u64, self.treatment.rate)
    }

    /// Silence of its own that it ended with.
    pub fn tail(&self) -> Duration {
        span(self.pause.0 as u64, self.treatment.rate)
    }

    /// Something of it was given to be played.
    pub fn has_begun(&self) -> bool {
        self.stretch.is_some()
    }

    /// All of it was converted.
    pub fn is_flushed(&self) -> bool {
        self.flushed
    }

    /// Nothing of it is left to be given.
    pub fn is_done(&self) -> bool {
        self.flushed && self.ready.is_empty()
    }

    /// Shapes as much of the source as is needed for `want` samples at `hz`.
    pub fn convert(&mut self, source: &Source<'_>, shape: &Shape, leveller: &mut Leveller, hz: u32, want: usize) {
        let rest = span(self.rest(source) as u64, source.rate);
        let stretch = self.stretch.get_or_insert_with(|| {
            let mut stretch = Stretch::new(source.rate);
            if source.over || rest > SCARCE {
                stretch.set_speed(shape.speed);
            }
            stretch.follow_pause();
            stretch
        });
        let speed = match rest {
            // The stretcher holds 40 ms back, which may be all there is; and nothing is gained by being faster than that.
            _ if source.over => shape.speed,
            rest if rest < SCARCE => 1.0,
            rest if rest < 2 * SCARCE && stretch.speed() == 1.0 => 1.0,
            _ => shape.speed,
        };
        let until = self.until(source, shape.speed);
        let mut converted = Vec::new();
        while self.found && self.ready.len() + converted.len() < want && self.taken < until {
            self.change_speed(speed);
            let step = block(source).min(until - self.taken);
            let piece = &source.audio[self.taken..self.taken + step];
            let mut joined = Vec::new();
            let mut piece = piece;
            if mean_square(piece) <= shape.quiet {
                if let Some(cut) = self.cut(source, shape, until) {
                    joined = join(source, self.taken, self.taken + cut);
                    self.taken += cut;
                    self.treatment.cut += cut as u64;
                    self.pause.1 += cut;
                    piece = &joined;
                }
                self.pause.0 += piece.len();
            } else {
                self.pause = (0, 0);
            }
            self.taken += piece.len();
            self.shape(piece, source, shape, leveller, hz, &mut converted);
            drop(joined);
        }
        if source.over && self.taken >= until && !self.flushed {
            self.flushed = true;
            let left = source.audio.len().saturating_sub(self.taken);
            self.treatment.trimmed += left as u64;
            self.taken += left;
            self.finish(source, shape, leveller, hz, &mut converted);
        }
        self.treatment.taken = self.taken as u64;
        self.ready.extend(converted);
    }

    /// No more has come, and the ear is about to run dry: what the stages hold back is given, so that a word that is
    /// there to its end is not torn in two. What comes later begins behind it.
    pub fn drain(&mut self, source: &Source<'_>, shape: &Shape, leveller: &mut Leveller, hz: u32) {
        if self.flushed || self.taken < self.until(source, shape.speed) {
            return;
        }
        let mut converted = Vec::new();
        let mut levelled = Vec::new();
        leveller.finish(shape.known, &mut levelled);
        self.stretched(&levelled, source, hz, &mut converted, false);
        if let (Some(stretch), Some(resampler)) = (&mut self.stretch, &mut self.resampler) {
            let mut rest = Vec::new();
            stretch.finish(&mut rest);
            self.treatment.stretched.1 += rest.len() as u64;
            resampler.process(&rest, &mut converted);
        }
        self.ready.extend(converted);
    }

    /// Brings the stretcher nearer to a speed. A jump would have to be made up for in the middle of a word.
    fn change_speed(&mut self, goal: f32) {
        let Some(stretch) = &mut self.stretch else { return };
        let speed = goal.min(stretch.speed() + FASTER);
        if stretch.speed() != speed {
            stretch.set_speed(speed);
        }
    }

    /// How much of the pause that goes on at `taken` is left out here.
    fn cut(&self, source: &Source<'_>, shape: &Shape, until: usize) -> Option<usize> {
        let edge = in_samples(EDGE, source);
        let (played, cut) = self.pause;
        if shape.pauses >= 1.0 || played < edge {
            return None;
        }
        let ahead = &source.audio[self.taken..until.min(self.taken + in_samples(SIGHT, source))];
        let blocks = ahead.chunks(block(source));
        // Where the end of the pause is not in sight, it is not known whether it has one.
        let left = blocks.take_while(|&block| mean_square(block) <= shape.quiet).map(<[i16]>::len).sum::<usize>();
        if left == ahead.len() {
            return None;
        }
        let (whole, short) = (played + cut + left, in_samples(SHORT_PAUSE, source));
        let kept = short + (whole.saturating_sub(short) as f32 * shape.pauses.max(0.0)) as usize;
        let more = (played + left).saturating_sub(kept).min(left.saturating_sub(edge));
        (more >= in_samples(LEAST_CUT, source)).then_some(more)
    }

    fn shape(
        &mut self,
        piece: &[i16],
        source: &Source<'_>,
        shape: &Shape,
        leveller: &mut Leveller,
        hz: u32,
        converted: &mut Vec<i16>,
    ) {
        let mut levelled = Vec::with_capacity(piece.len());
        leveller.process(piece, shape.known, &mut levelled);
        let gain = f64::from(leveller.voice_db().unwrap_or(0.0));
        self.treatment.gain.0 += gain * piece.len() as f64;
        self.treatment.gain.1 += piece.len() as u64;
        self.stretched(&levelled, source, hz, converted, false);
    }

    fn finish(
        &mut self,
        source: &Source<'_>,
        shape: &Shape,
        leveller: &mut Leveller,
        hz: u32,
        converted: &mut Vec<i16>,
    ) {
        let mut levelled = Vec::new();
        leveller.finish(shape.known, &mut levelled);
        self.stretched(&levelled, source, hz, converted, true);
    }

    fn stretched(&mut self, levelled: &[i16], source: &Source<'_>, hz: u32, converted: &mut Vec<i16>, last: bool) {
        let Some(stretch) = &mut self.stretch else { return };
        let resampler = self.resampler.get_or_insert_with(|| Resampler::new(source.rate, hz, 20));
        let mut stretched = Vec::with_capacity(levelled.len());
        stretch.process(levelled, &mut stretched);
        self.treatment.stretched.0 += levelled.len() as u64;
        if last {
            stretch.finish(&mut stretched);
        }
        self.treatment.stretched.1 += stretched.len() as u64;
        resampler.process(&stretched, converted);
        if last {
            resampler.finish(converted);
        }
    }

    /// Goes on at another rate; `moved` says where a ring position is then.
    pub fn set_rate(&mut self, old: u32, new: u32, moved: impl Fn(u64) -> u64) {
        self.start = self.start.map(&moved);
        self.end = self.end.map(&moved);
        self.written = self.written * u64::from(new) / u64::from(old);
        // The old converter gives what it still holds, so that nothing inside a word is lost.
        if let Some(mut converter) = self.resampler.take() {
            let mut rest = Vec::new();
            converter.finish(&mut rest);
            self.ready.extend(rest);
        }
        let mut converted = Vec::new();
        let mut resampler = Resampler::new(old, new, 20);
        resampler.process(self.ready.make_contiguous(), &mut converted);
        resampler.finish(&mut converted);
        self.ready = converted.into();
    }
}

/// The unit in which speech and silence are told apart: 10 ms.
fn block(source: &Source<'_>) -> usize {
    (source.rate as usize / 100).max(1)
}

fn in_samples(length: Duration, source: &Source<'_>) -> usize {
    samples(length, source.rate) as usize
}

/// A few samples in which the audio at `from` fades into that at `to`.
fn join(source: &Source<'_>, from: usize, to: usize) -> Vec<i16> {
    let length = in_samples(FADE, source).max(1);
    let sides = source.audio[from..].iter().zip(&source.audio[to..]).take(length);
    sides
        .enumerate()
        .map(|(i, (old, new))| {
            let into = (i as f32 + 0.5) / length as f32;
            (f32::from(*old) * (1.0 - into) + f32::from(*new) * into).round() as i16
        })
        .collect()
}
