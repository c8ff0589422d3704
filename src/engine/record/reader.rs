//! Reads a record, line by line.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use super::super::{Input, SessionId};
use super::{FORMAT, Header, Over, pcm, settings, shape};
use crate::config::{RATES, SessionConfig};

/// A line that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Its number, from 1.
    pub line: u64,
    /// What is wrong, without quoting it.
    pub what: String,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

impl std::error::Error for Damage {}

/// A line behind the header.
#[derive(Clone, Debug)]
pub enum Line {
    /// Something happened to the room.
    Entry(Entry),
    /// The last line.
    Over(Over),
}

/// Something that happened to the room.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Gateway time.
    pub at: Duration,
    /// What.
    pub what: What,
    /// The digest of the outputs, if they were taken here.
    pub out: Option<String>,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum What {
    /// An input; see [`input`](Self::input).
    Input {
        /// It, without its samples.
        input: Input<'static>,
        /// The samples of `Input::Said`.
        samples: Vec<i16>,
    },
    /// `Room::rejoin`.
    Rejoin {
        /// Who.
        session: SessionId,
        /// Settings.
        config: Arc<SessionConfig>,
        /// Rate of what it says.
        in_hz: u32,
        /// Rate of what it hears.
        out_hz: u32,
    },
    /// `Room::end`.
    End,
    /// The next tick panics, as a test wanted it.
    Panic,
}

impl What {
    /// The input, if it is one.
    pub fn input(&self) -> Option<Input<'_>> {
        let What::Input { input, samples } = self else { return None };
        match input {
            Input::Said { session, .. } => Some(Input::Said { session: *session, samples }),
            other => Some(other.clone()),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Act {
    Rejoin {
        session: SessionId,
        #[serde(with = "settings")]
        config: Arc<SessionConfig>,
        in_hz: u32,
        out_hz: u32,
    },
    End,
    Panic,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    at: Option<u64>,
    #[serde(rename = "in")]
    input: Option<Input<'static>>,
    #[serde(rename = "do")]
    act: Option<Act>,
    pcm: Option<String>,
    out: Option<String>,
    over: Option<Over>,
}

/// Reads the lines of one record.
#[derive(Debug, Default)]
pub struct Reader {
    line: u64,
    over: bool,
}

impl Reader {
    /// Reads the first line.
    ///
    /// # Errors
    /// It is no flight record, or of another version of the format.
    pub fn begin(text: &str) -> Result<(Reader, Header), Damage> {
        let damage = |what: String| Damage { line: 1, what };
        let no_record = || damage("this is not a flight record of mgw".into());
        let value: serde_json::Value = serde_json::from_str(text).map_err(|_| no_record())?;
        let format = value.get("mgw_flight_record").and_then(serde_json::Value::as_u64).ok_or_else(no_record)?;
        if format != u64::from(FORMAT) {
            return Err(damage(format!(
                "a flight record in format {format}; this version of mgw ({}) reads format {FORMAT}",
                env!("CARGO_PKG_VERSION")
            )));
        }
        let header = serde_json::from_value(value).map_err(|e| damage(format!("the header: {}", shape(&e))))?;
        Ok((Reader { line: 1, over: false }, header))
    }

    /// Reads the next line.
    ///
    /// # Errors
    /// It is cut off, damaged, of a newer version, or stands behind the last one.
    pub fn line(&mut self, text: &str) -> Result<Line, Damage> {
        self.line += 1;
        let line = self.line;
        let damage = |what: &str| Damage { line, what: what.to_owned() };
        if self.over {
            return Err(damage("a line behind the last one"));
        }
        let raw: Raw = serde_json::from_str(text).map_err(|e| damage(&shape(&e)))?;
        let (at, what) = match raw {
            Raw { over: Some(over), at: None, input: None, act: None, pcm: None, out: None } => {
                self.over = true;
                return Ok(Line::Over(over));
            }
            Raw { at: Some(at), input: Some(input), act: None, over: None, ref pcm, .. } => {
                let samples = match (&input, pcm) {
                    (Input::Said { .. }, Some(text)) => {
                        pcm::parse(text).ok_or_else(|| damage("audio that is not base64 of 16-bit samples"))?
                    }
                    (Input::Said { .. }, None) => return Err(damage("audio is missing")),
                    (_, Some(_)) => return Err(damage("audio where none belongs")),
                    (_, None) => Vec::new(),
                };
                (at, What::Input { input, samples })
            }
            Raw { at: Some(at), act: Some(act), input: None, pcm: None, over: None, .. } => {
                let what = match act {
                    Act::Rejoin { session, config, in_hz, out_hz } => What::Rejoin { session, config, in_hz, out_hz },
                    Act::End => What::End,
                    Act::Panic => What::Panic,
                };
                (at, what)
            }
            _ => return Err(damage("it is not what this version of mgw writes")),
        };
        let rates = match &what {
            What::Input { input: Input::InRate { hz, .. } | Input::OutRate { hz, .. }, .. } => [*hz, *hz],
            What::Rejoin { in_hz, out_hz, .. } => [*in_hz, *out_hz],
            _ => [RATES[0]; 2],
        };
        if raw
            .out
            .as_ref()
            .is_some_and(|out| !matches!(out.len(), 0 | 16) || !out.bytes().all(|b| b.is_ascii_hexdigit()))
        {
            return Err(damage("a digest that is none"));
        }
        if rates.iter().any(|hz| !RATES.contains(hz)) {
            return Err(damage("a sample rate that mgw does not carry"));
        }
        Ok(Line::Entry(Entry { at: Duration::from_nanos(at), what, out: raw.out }))
    }

    /// Number of the line that was read last, from 1.
    pub fn number(&self) -> u64 {
        self.line
    }
}
