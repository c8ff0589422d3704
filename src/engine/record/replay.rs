//! Runs a recorded room again and compares what it gives.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use super::super::room::Room;
use super::super::{Input, Output};
use super::reader::{Damage, Entry, Line, Reader, What};
use super::writer::Digest;
use super::{Header, Over};

/// A panic that the record does not tell of.
const PANICS: &str = "the engine panics in this line or the one before, and did not then";

/// What happens while a record runs.
pub enum Seen<'a> {
    /// The room is given this.
    Input(&'a Input<'a>),
    /// A session is put back, or everybody has to go.
    Done(&'a What),
    /// The room gave this.
    Output(&'a Output),
}

/// The first place where the room does something else than when it was recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Line of the record.
    pub line: u64,
    /// The first line behind the last one that was the same.
    pub since: u64,
    /// Gateway time.
    pub at: Duration,
    /// What.
    pub what: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Difference { line, since, at, what } = self;
        write!(f, "line {line} (inputs since line {since}), at {:.3} s: {what}", at.as_secs_f64())
    }
}

/// Why a replay went no further.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The record cannot be read.
    Damage(Damage),
    /// The room does something else than when it was recorded.
    Difference(Difference),
}

impl From<Damage> for Stop {
    fn from(damage: Damage) -> Self {
        Stop::Damage(damage)
    }
}

impl From<Difference> for Stop {
    fn from(difference: Difference) -> Self {
        Stop::Difference(difference)
    }
}

/// A replay under way.
pub struct Replay {
    room: Room,
    reader: Reader,
    digest: Digest,
    since: u64,
    at: Duration,
    inputs: u64,
    outputs: u64,
    /// Digests that were compared.
    compared: u64,
    panicked: bool,
    over: Option<Over>,
}

impl Replay {
    /// Begins with the first line of a record.
    ///
    /// # Errors
    /// As [`Reader::begin`].
    pub fn begin(text: &str) -> Result<(Replay, Header), Damage> {
        let (reader, header) = Reader::begin(text)?;
        let replay = Replay {
            room: Room::new(header.first_segment),
            reader,
            digest: Digest::default(),
            since: 2,
            at: Duration::ZERO,
            inputs: 0,
            outputs: 0,
            compared: 0,
            panicked: false,
            over: None,
        };
        Ok((replay, header))
    }

    /// Runs the next line; `watch` is told of all that happens, with its gateway time.
    ///
    /// # Errors
    /// The line cannot be read, or the room does something else than then.
    pub fn line(&mut self, text: &str, watch: &mut dyn FnMut(Duration, Seen<'_>)) -> Result<(), Stop> {
        let entry = match self.reader.line(text)? {
            Line::Entry(entry) => entry,
            Line::Over(over) => {
                self.over = Some(over);
                return match (over == Over::Panicked, self.panicked) {
                    (true, false) => Err(self.differs("the engine panicked then and does not now").into()),
                    (false, true) => Err(self.differs(PANICS).into()),
                    _ => Ok(()),
                };
            }
        };
        if self.panicked {
            return Err(self.differs(PANICS).into());
        }
        self.at = entry.at;
        self.inputs += u64::from(matches!(entry.what, What::Input { .. }));
        // Of a panic only the next line tells whether it was there then, too.
        self.panicked = !self.run(&entry, watch)?;
        if self.panicked {
            return Ok(());
        }
        // Outputs are taken where they were taken then: an input may take back what still waits.
        let Some(then) = &entry.out else { return Ok(()) };
        while let Some(output) = self.room.poll() {
            self.digest.add(&output);
            watch(self.at, Seen::Output(&output));
        }
        let now = std::mem::take(&mut self.digest);
        self.outputs += now.outputs();
        self.compared += 1;
        if *then != now.to_string() {
            let (n, was) = (now.outputs(), if then.is_empty() { "none" } else { "others" });
            return Err(self.differs(&format!("{n} outputs now, {was} then")).into());
        }
        self.since = self.reader.number() + 1;
        Ok(())
    }

    /// The record has no more lines.
    ///
    /// # Errors
    /// The room panicked in the last line and the record does not say so.
    pub fn finish(&self) -> Result<(), Difference> {
        match self.panicked && self.over.is_none() {
            true => Err(self.differs(PANICS)),
            false => Ok(()),
        }
    }

    /// Inputs so far.
    pub fn inputs(&self) -> u64 {
        self.inputs
    }

    /// Outputs so far.
    pub fn outputs(&self) -> u64 {
        self.outputs
    }

    /// How often outputs were compared with what they were when it was recorded.
    pub fn compared(&self) -> u64 {
        self.compared
    }

    /// Why the record ends, if it says so.
    pub fn over(&self) -> Option<Over> {
        self.over
    }

    /// The line that was read last, from 1.
    pub fn number(&self) -> u64 {
        self.reader.number()
    }

    /// One line through the room; false if it panics.
    fn run(&mut self, entry: &Entry, watch: &mut dyn FnMut(Duration, Seen<'_>)) -> Result<bool, Damage> {
        let at = entry.at;
        #[cfg(not(any(test, feature = "fault-injection")))]
        if let What::Panic = entry.what {
            let what = "a panic by injection; only a build with the feature fault-injection can do that again".into();
            return Err(Damage { line: self.reader.number(), what });
        }
        let input = entry.what.input();
        match &input {
            Some(input) => watch(at, Seen::Input(input)),
            None => watch(at, Seen::Done(&entry.what)),
        }
        let room = &mut self.room;
        let done = catch_unwind(AssertUnwindSafe(|| match &entry.what {
            What::Input { .. } => input.into_iter().for_each(|input| room.handle(at, input)),
            What::Rejoin { session, config, in_hz, out_hz } => {
                room.rejoin(at, *session, config.clone(), *in_hz, *out_hz);
            }
            What::End => room.end(at),
            What::Panic => {
                #[cfg(any(test, feature = "fault-injection"))]
                room.inject_panic();
            }
        }));
        Ok(done.is_ok())
    }

    fn differs(&self, what: &str) -> Difference {
        Difference { line: self.reader.number(), since: self.since, at: self.at, what: what.to_owned() }
    }
}
