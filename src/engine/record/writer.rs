//! Writes a record: bytes of lines, for somebody else to keep.

use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::super::{Input, NetCommand, Output, SessionId};
use super::{Header, Over, pcm, settings};
use crate::config::SessionConfig;

/// A digest of outputs: FNV-1a of 64 bits over the samples of what is played or recognised and over the `Debug` text of the rest.
/// That text shows everything but secrets.
#[derive(Clone, Debug)]
pub struct Digest {
    hash: u64,
    outputs: u64,
}

impl Default for Digest {
    fn default() -> Self {
        Digest { hash: 0xcbf2_9ce4_8422_2325, outputs: 0 }
    }
}

impl Digest {
    /// Takes one output in.
    pub fn add(&mut self, output: &Output) {
        // Writing to a digest does not fail.
        let _ = match output {
            Output::Play { session, ring, samples } => {
                let head = write!(self, "Play {session:?} {ring:?}");
                self.samples(samples);
                head
            }
            Output::Net(NetCommand::Audio { session, at, samples }) => {
                let head = write!(self, "Audio {session:?} {at:?}");
                self.samples(samples);
                head
            }
            other => write!(self, "{other:?}"),
        };
        // No text holds this value, so that two outputs are never taken for another two.
        self.mix(0xFF);
        self.outputs += 1;
    }

    /// How many outputs it has taken in.
    pub fn outputs(&self) -> u64 {
        self.outputs
    }

    fn mix(&mut self, value: u64) {
        self.hash = (self.hash ^ value).wrapping_mul(0x0000_0100_0000_01b3);
    }

    fn samples(&mut self, samples: &[i16]) {
        self.mix(samples.len() as u64);
        samples.iter().for_each(|s| self.mix(u64::from(*s as u16)));
    }
}

impl fmt::Write for Digest {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.bytes().for_each(|byte| self.mix(u64::from(byte)));
        Ok(())
    }
}

/// 16 hex digits, or nothing if there was no output.
impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.outputs {
            0 => Ok(()),
            _ => write!(f, "{:016x}", self.hash),
        }
    }
}

/// What is done to a room beside its inputs.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Act<'a> {
    Rejoin {
        session: SessionId,
        #[serde(with = "settings")]
        config: &'a Arc<SessionConfig>,
        in_hz: u32,
        out_hz: u32,
    },
    End,
    #[cfg(any(test, feature = "fault-injection"))]
    Panic,
}

/// Lines of a record, as far as nobody has taken them.
#[derive(Debug)]
pub struct Writer {
    bytes: Vec<u8>,
    /// Beginning of the last line in `bytes`.
    line: usize,
    /// The last line may still get its digest.
    open: bool,
    digest: Digest,
    scratch: Vec<u8>,
}

impl Writer {
    /// A record that begins with this header.
    pub fn new(header: &Header) -> Self {
        let mut writer =
            Writer { bytes: Vec::new(), line: 0, open: false, digest: Digest::default(), scratch: Vec::new() };
        writer.json(header);
        writer.bytes.push(b'\n');
        writer.line = writer.bytes.len();
        writer
    }

    /// Notes an input, before the room is given it.
    pub fn input(&mut self, now: Duration, input: &Input<'_>) {
        self.begin(now, "in");
        self.json(input);
        if let Input::Said { samples, .. } = input {
            self.bytes.extend_from_slice(b",\"pcm\":\"");
            pcm::append(samples, &mut self.scratch, &mut self.bytes);
            self.bytes.push(b'"');
        }
    }

    /// Notes that a session is put back.
    pub fn rejoin(&mut self, now: Duration, session: SessionId, config: &Arc<SessionConfig>, in_hz: u32, out_hz: u32) {
        self.act(now, &Act::Rejoin { session, config, in_hz, out_hz });
    }

    /// Notes that everybody has to go.
    pub fn end(&mut self, now: Duration) {
        self.act(now, &Act::End);
    }

    /// Notes that the next tick shall panic.
    #[cfg(any(test, feature = "fault-injection"))]
    pub fn panic(&mut self, now: Duration) {
        self.act(now, &Act::Panic);
    }

    /// Notes what the room gave when it was polled; `None`: it had nothing more.
    pub fn polled(&mut self, output: Option<&Output>) {
        match output {
            Some(output) => self.digest.add(output),
            None if self.open => {
                let digest = std::mem::take(&mut self.digest);
                // Writing to a Vec does not fail.
                let _ = writeln!(self.bytes, ",\"out\":\"{digest}\"}}");
                self.open = false;
            }
            None => {}
        }
    }

    /// The last line.
    pub fn over(&mut self, why: Over) {
        self.close();
        self.bytes.extend_from_slice(b"{\"over\":");
        self.json(&why);
        self.bytes.extend_from_slice(b"}\n");
    }

    /// Forgets the line that is not ended yet, as if its input had not been noted.
    pub fn take_back(&mut self) {
        if std::mem::take(&mut self.open) {
            self.bytes.truncate(self.line);
        }
    }

    /// Bytes that are here.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Nothing is here.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Takes the lines so far; one that is not ended yet stays.
    pub fn take(&mut self) -> Vec<u8> {
        let end = if self.open { self.line } else { self.bytes.len() };
        let mut rest = Vec::with_capacity(self.bytes.capacity());
        rest.extend_from_slice(&self.bytes[end..]);
        self.bytes.truncate(end);
        self.line = 0;
        std::mem::replace(&mut self.bytes, rest)
    }

    fn act(&mut self, now: Duration, act: &Act<'_>) {
        self.begin(now, "do");
        self.json(act);
    }

    fn begin(&mut self, now: Duration, what: &str) {
        self.close();
        self.line = self.bytes.len();
        self.open = true;
        // Writing to a Vec does not fail; 584 years fit.
        let _ = write!(self.bytes, "{{\"at\":{},\"{what}\":", now.as_nanos() as u64);
    }

    fn close(&mut self) {
        if std::mem::take(&mut self.open) {
            self.bytes.extend_from_slice(b"}\n");
        }
    }

    fn json(&mut self, value: &impl Serialize) {
        // Everything here is plain data with text keys, which serde_json always can write.
        let _ = serde_json::to_writer(&mut self.bytes, value);
    }
}
