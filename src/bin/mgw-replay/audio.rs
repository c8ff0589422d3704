//! What each session said and heard, put together from a record while it runs.
//!
//! Tests of flight records include this file by `#[path]`, to listen with a recorded ear.
#![allow(dead_code)] // whoever includes the file by path uses only a part of it

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use mgw::engine::record::reader::What;
use mgw::engine::record::replay::Seen;
use mgw::engine::time::samples;
use mgw::engine::{Input, Output, PullTotals, Ring, SessionId};

/// What is this much late was not there: silence is put in. Less is jitter.
const JITTER: Duration = Duration::from_millis(200);
/// No caller pulls or leaves out more than this at once; a damaged record may say so.
const MOST: u64 = 60 * 192_000;

/// Sound at one rate, from the beginning of the record on.
#[derive(Clone, Debug)]
pub struct Track {
    /// Hz.
    pub rate: u32,
    /// Mono 16-bit PCM.
    pub samples: Vec<i16>,
}

impl Track {
    fn new(rate: u32) -> Track {
        Track { rate, samples: Vec::new() }
    }

    /// Adds what ended at this time since the beginning of the record.
    fn add(&mut self, until: Duration, more: &[i16]) {
        let due = (samples(until, self.rate) as usize).saturating_sub(more.len());
        if self.samples.len() + (samples(JITTER, self.rate) as usize) < due {
            self.samples.resize(due, 0);
        }
        self.samples.extend_from_slice(more);
    }
}

/// A ring between the engine and a puller.
#[derive(Default)]
struct Waiting {
    samples: VecDeque<i16>,
    /// Of them, those that are not to be heard.
    flushed: usize,
    taken: u64,
}

impl Waiting {
    /// What was heard since the totals were told the last time.
    fn pull(&mut self, total: u64) -> Vec<i16> {
        let count = (total.saturating_sub(self.taken) as usize).min(self.samples.len());
        self.taken = total;
        let skipped = count.min(self.flushed);
        self.flushed -= skipped;
        self.samples.drain(..skipped);
        self.samples.drain(..count - skipped).collect()
    }
}

/// A session's mouth and ear.
struct Leg {
    name: String,
    said: Vec<Track>,
    heard: Vec<Track>,
    speech: Waiting,
    original: Waiting,
    asked: u64,
}

/// All sessions of a record.
#[derive(Default)]
pub struct Audio {
    begin: Option<Duration>,
    legs: BTreeMap<SessionId, Leg>,
}

impl Audio {
    /// Takes in what happens.
    pub fn take(&mut self, at: Duration, seen: &Seen<'_>) {
        let at = at.saturating_sub(*self.begin.get_or_insert(at));
        match seen {
            Seen::Input(Input::Join { session, config }) => {
                self.join(*session, &config.profile, config.rate_in, config.rate_out);
            }
            Seen::Done(What::Rejoin { session, config, in_hz, out_hz }) => {
                self.join(*session, &config.profile, *in_hz, *out_hz);
            }
            Seen::Input(Input::Said { session, samples }) => {
                if let Some(track) = self.legs.get_mut(session).and_then(|leg| leg.said.last_mut()) {
                    track.add(at, samples);
                }
            }
            Seen::Input(Input::Gap { session, count, .. }) => {
                if let Some(track) = self.legs.get_mut(session).and_then(|leg| leg.said.last_mut()) {
                    track.add(at, &vec![0; (*count).min(MOST) as usize]);
                }
            }
            Seen::Input(Input::InRate { session, hz }) => {
                if let Some(leg) = self.legs.get_mut(session) {
                    leg.said.push(Track::new(*hz));
                }
            }
            Seen::Input(Input::Pulled { session, totals }) => {
                if let Some(leg) = self.legs.get_mut(session) {
                    leg.pull(at, *totals);
                }
            }
            Seen::Output(Output::Play { session, ring, samples }) => {
                if let Some(ring) = self.ring(*session, *ring) {
                    ring.samples.extend(samples);
                }
            }
            Seen::Output(Output::Flush { session, ring }) => {
                if let Some(ring) = self.ring(*session, *ring) {
                    ring.flushed = ring.samples.len();
                }
            }
            Seen::Output(Output::OutRateDone { session, hz }) => {
                if let Some(leg) = self.legs.get_mut(session) {
                    leg.heard.push(Track::new(*hz));
                    (leg.speech, leg.original, leg.asked) = Default::default();
                }
            }
            _ => {}
        }
    }

    /// Everything, by the name of a file.
    pub fn tracks(&self) -> impl Iterator<Item = (String, &Track)> {
        self.legs.values().flat_map(|leg| {
            let parts = leg.said.iter().enumerate().map(|(n, track)| ("said", n, track));
            let parts = parts.chain(leg.heard.iter().enumerate().map(|(n, track)| ("heard", n, track)));
            parts.filter(|(_, _, track)| !track.samples.is_empty()).map(|(what, n, track)| {
                let part = if n == 0 { String::new() } else { format!("-{}", n + 1) };
                (format!("{}-{what}{part}.wav", leg.name), track)
            })
        })
    }

    /// What a session heard, at each rate that it heard with.
    pub fn heard(&self, session: SessionId) -> &[Track] {
        self.legs.get(&session).map_or(&[], |leg| &leg.heard)
    }

    fn join(&mut self, session: SessionId, profile: &str, in_hz: u32, out_hz: u32) {
        let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
        let profile: String = profile.chars().map(plain).collect();
        let name = format!("{}-{profile}", self.legs.len() + 1);
        let leg = self.legs.entry(session).or_insert_with(|| Leg {
            name,
            said: Vec::new(),
            heard: Vec::new(),
            speech: Waiting::default(),
            original: Waiting::default(),
            asked: 0,
        });
        leg.said.push(Track::new(in_hz));
        leg.heard.push(Track::new(out_hz));
        (leg.speech, leg.original, leg.asked) = Default::default();
    }

    fn ring(&mut self, session: SessionId, ring: Ring) -> Option<&mut Waiting> {
        let leg = self.legs.get_mut(&session)?;
        Some(match ring {
            Ring::Speech => &mut leg.speech,
            Ring::Original => &mut leg.original,
        })
    }
}

impl Leg {
    fn pull(&mut self, at: Duration, totals: PullTotals) {
        let asked = totals.asked.saturating_sub(self.asked).min(MOST);
        self.asked = totals.asked;
        let mut frame = vec![0i16; asked as usize];
        for heard in [self.speech.pull(totals.speech), self.original.pull(totals.original)] {
            frame.iter_mut().zip(heard).for_each(|(sum, sample)| *sum = sum.saturating_add(sample));
        }
        if let Some(track) = self.heard.last_mut().filter(|_| !frame.is_empty()) {
            track.add(at, &frame);
        }
    }
}
