//! Brings synthesised voices to one loudness: -20 dBFS of active speech, as RFC 7874 asks of telephones.
//!
//! [`Meter`] measures how loud a voice speaks, over its segments: the mean power of blocks of 20 ms, without the pauses
//! (two gates, as ITU-R BS.1770 has them). [`Leveller`] applies the gain that follows from it, slowly, and takes it back
//! for a moment before a peak that it would clip.

use std::collections::VecDeque;
use std::time::Duration;

/// What active speech is brought to.
const GOAL_DB: f32 = -20.0;
/// No voice is made louder or softer by more.
const MOST_DB: f32 = 20.0;
/// A goal that is off by less than this is as good: the gain stands still while somebody speaks evenly.
const NEAR_DB: f32 = 0.5;
/// What no block counts below: -60 dBFS.
const SILENCE: f32 = 33.0 * 33.0;
/// Below the mean of what counts by so much a block is a pause: -20 dB.
const GATE: f32 = 1e-2;
/// Blocks remembered: 4 s of speech.
const BLOCKS: usize = 200;
/// Blocks after which a voice is known well: 500 ms.
const KNOWN: usize = 25;
/// What is thought of a voice of which nothing is known weighs as much as so many blocks.
const PRIOR: f32 = 1.5;
/// How fast the gain moves in dB per second, while a voice is new and when it is known.
const FAST: f32 = 100.0;
const SLOW: f32 = 4.0;
/// No sample is made larger than this by a gain.
const LIMIT: f32 = 31_000.0;
/// How fast the gain comes back after a peak, in dB per second.
const RELEASE: f32 = 40.0;
/// How fast the listener's own gain moves where nothing else is asked for: from nothing to 1 in 10 ms.
const OWN_PER_S: f32 = 100.0;

/// How loud a voice speaks.
#[derive(Clone, Debug, Default)]
pub struct Meter {
    /// Mean squares of the last blocks that are no silence.
    blocks: VecDeque<f32>,
    /// Sum of squares and length of the block that has begun.
    begun: (f32, usize),
    /// Blocks that were no silence, in all.
    heard: usize,
    /// Active level in dBFS.
    level: Option<f32>,
}

impl Meter {
    /// Listens to more of the voice, at `hz`.
    pub fn hear(&mut self, samples: &[i16], hz: u32) {
        let length = (hz as usize / 50).max(1);
        let mut news = false;
        let mut rest = samples;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(length - self.begun.1.min(length - 1)));
            rest = later;
            self.begun.0 += power(now);
            self.begun.1 += now.len();
            if self.begun.1 < length {
                break;
            }
            let (sum, count) = std::mem::take(&mut self.begun);
            let mean = sum / count as f32;
            if mean > SILENCE {
                if self.blocks.len() == BLOCKS {
                    self.blocks.pop_front();
                }
                self.blocks.push_back(mean);
                self.heard = self.heard.saturating_add(1);
                news = true;
            }
        }
        if news {
            self.level = Some(self.measure());
        }
    }

    /// The level of active speech in dBFS; `None` while nothing was heard.
    pub fn level(&self) -> Option<f32> {
        self.level
    }

    /// Enough was heard for the level not to change much any more.
    pub fn is_known(&self) -> bool {
        self.heard >= KNOWN
    }

    fn measure(&self) -> f32 {
        let mean = |gate: f32| {
            let active = self.blocks.iter().filter(|mean| **mean > gate);
            let (sum, count) = active.fold((0.0, 0.0), |(sum, count), mean| (sum + mean, count + 1.0));
            (sum / f32::max(count, 1.0), count)
        };
        let (all, _) = mean(0.0);
        let (active, count) = mean(all * GATE);
        let heard = 10.0 * (active / (32_768.0 * 32_768.0)).log10();
        if self.is_known() {
            return heard;
        }
        // A crumb at the beginning says little, so that it is not believed all at once.
        (heard * count + GOAL_DB * PRIOR) / (count + PRIOR)
    }
}

/// Sum of squares.
fn power(samples: &[i16]) -> f32 {
    samples.iter().map(|&s| i64::from(i32::from(s) * i32::from(s))).sum::<i64>() as f32
}

/// The gain of one listener's speech: loudness of the voice, times the listener's own gain, held below clipping.
///
/// At gain 1 everything passes bit-exact and at once; otherwise 5 to 10 ms are held back, to see peaks before they come.
#[derive(Clone, Debug)]
pub struct Leveller {
    hz: u32,
    /// Gain by the voice's loudness, in dB; `None` before anything was measured.
    voice_db: Option<f32>,
    /// Where it goes.
    goal_db: f32,
    /// The listener's own gain, and where that goes.
    own: f32,
    own_goal: f32,
    own_per_s: f32,
    /// What is left of the gain under a peak, 0 to 1.
    held: f32,
    /// The product where `waiting` begins.
    now: f32,
    waiting: Vec<i16>,
    /// Something of what is spoken now was given.
    given: bool,
}

impl Leveller {
    /// With the listener's own gain.
    pub fn new(own: f32) -> Self {
        Leveller {
            hz: 8000,
            voice_db: None,
            goal_db: 0.0,
            own,
            own_goal: own,
            own_per_s: OWN_PER_S,
            held: 1.0,
            now: own,
            waiting: Vec::new(),
            given: false,
        }
    }

    /// The listener's own gain from here on; it gets there within `fade`, at least 10 ms.
    pub fn set_own(&mut self, gain: f32, fade: Duration) {
        if gain != self.own_goal {
            let way = (gain - self.own).abs();
            self.own_per_s = if fade.is_zero() { OWN_PER_S } else { (way / fade.as_secs_f32()).min(OWN_PER_S) };
            self.own_goal = gain;
        }
    }

    /// What follows is spoken at `hz` by a voice whose gain was `voice_db` when it last spoke. What came before was
    /// [finished](Self::finish), or is not wanted any more.
    pub fn begin(&mut self, hz: u32, voice_db: Option<f32>) {
        self.waiting.clear();
        self.given = false;
        self.hz = hz;
        self.voice_db = voice_db;
        self.goal_db = voice_db.unwrap_or(0.0);
        (self.own, self.held) = (self.own_goal, 1.0);
        self.now = self.product();
    }

    /// What is known of the voice by now; `None` for loudness as it is.
    pub fn aim(&mut self, meter: Option<&Meter>) {
        let goal = match meter {
            Some(meter) => match meter.level() {
                Some(level) => (GOAL_DB - level).clamp(-MOST_DB, MOST_DB),
                None => return,
            },
            None => 0.0,
        };
        if (goal - self.goal_db).abs() > NEAR_DB || meter.is_none() {
            self.goal_db = goal;
        }
        if self.voice_db.is_none() {
            // Where nothing of this voice was heard yet, nothing can be heard to change.
            self.voice_db = Some(if self.given { 0.0 } else { goal });
            self.goal_db = goal;
            if !self.given {
                self.now = self.product();
            }
        }
    }

    /// Gain by the voice's loudness in dB, for when it speaks next.
    pub fn voice_db(&self) -> Option<f32> {
        self.voice_db
    }

    /// Takes `input` and appends to `out` what is ready. `known`: the voice is known, its gain moves slowly.
    pub fn process(&mut self, input: &[i16], known: bool, out: &mut Vec<i16>) {
        self.given |= !input.is_empty();
        if self.waiting.is_empty() && self.is_unity() {
            out.extend_from_slice(input);
            return;
        }
        self.waiting.extend_from_slice(input);
        let block = self.block();
        let mut done = 0;
        while self.waiting.len() - done >= 2 * block {
            self.emit(done, block, known, out);
            done += block;
            if self.is_unity() {
                out.extend_from_slice(&self.waiting[done..]);
                done = self.waiting.len();
            }
        }
        self.waiting.drain(..done);
    }

    /// Appends what was held back.
    pub fn finish(&mut self, known: bool, out: &mut Vec<i16>) {
        let mut done = 0;
        while done < self.waiting.len() {
            let block = self.block().min(self.waiting.len() - done);
            self.emit(done, block, known, out);
            done += block;
        }
        self.waiting.clear();
    }

    fn block(&self) -> usize {
        (self.hz as usize / 200).max(1)
    }

    fn is_unity(&self) -> bool {
        let loudness = self.voice_db.unwrap_or(0.0) == 0.0 && self.goal_db == 0.0;
        loudness && self.now == 1.0 && self.own == 1.0 && self.own_goal == 1.0 && self.held == 1.0
    }

    /// The gain where no peak is near.
    fn product(&self) -> f32 {
        let voice = self.voice_db.unwrap_or(0.0);
        self.own * if voice == 0.0 { 1.0 } else { 10.0_f32.powf(voice / 20.0) }
    }

    /// Appends one block; its gain goes straight to what the next block may begin with.
    fn emit(&mut self, from: usize, length: usize, known: bool, out: &mut Vec<i16>) {
        let (samples, next) = self.waiting[from..].split_at(length);
        let next = &next[..self.block().min(next.len())];
        let seconds = length as f32 / self.hz as f32;
        let step = seconds * if known { SLOW } else { FAST };
        if let Some(db) = &mut self.voice_db {
            *db += (self.goal_db - *db).clamp(-step, step);
        }
        let step = seconds * self.own_per_s;
        self.own += (self.own_goal - self.own).clamp(-step, step);
        let wanted = self.product();
        let most = allowed(samples).min(allowed(next));
        let back = (self.held * 10.0_f32.powf(RELEASE * seconds / 20.0)).min(1.0);
        self.held = if wanted * back > most { most / wanted } else { back };
        let (begin, end) = (self.now.min(allowed(samples)), wanted * self.held);
        let slope = (end - begin) / length as f32;
        out.extend(samples.iter().enumerate().map(|(i, s)| {
            let gain = begin + slope * i as f32;
            (f32::from(*s) * gain).round().clamp(f32::from(i16::MIN), f32::from(i16::MAX)) as i16
        }));
        self.now = end;
    }
}

/// The most by which samples may be multiplied; never less than 1, at which nothing clips.
fn allowed(samples: &[i16]) -> f32 {
    let peak = samples.iter().map(|s| s.unsigned_abs()).max().unwrap_or(0);
    (LIMIT / f32::from(peak.max(1))).max(1.0)
}

#[cfg(test)]
#[path = "loudness_tests.rs"]
mod tests;
