//! AudioSocket, Asterisk's audio over TCP: `kind: u8`, `length: u16` (big-endian), payload.
//!
//! Audio is 16-bit linear mono, little-endian; its kind tells the rate. Asterisk accepts hangup and audio only, and
//! drops the call when a message's payload comes later than its header: each message here is one buffer for one write.

use std::fmt;

/// Bytes of the longest message.
pub const MAX_MESSAGE: usize = HEADER + u16::MAX as usize;

const HEADER: usize = 3;
const HANGUP: u8 = 0x00;
const UUID: u8 = 0x01;
const DTMF: u8 = 0x03;
const ERROR: u8 = 0xFF;
/// Kinds 0x10, 0x11, .. and their samples per second.
const AUDIO: u8 = 0x10;
const RATES: [u32; 9] = [8_000, 12_000, 16_000, 24_000, 32_000, 44_100, 48_000, 96_000, 192_000];
/// Room of a reader at its begin: a 20 ms message at 48 kHz.
const FIRST_ROOM: usize = 2048;

/// What is wrong with a message that was received or is to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// A UUID that is not 16 bytes.
    UuidLength(u16),
    /// A DTMF message that is not one byte.
    DtmfLength(u16),
    /// A DTMF byte outside `0`-`9`, `*`, `#`, `A`-`D`.
    Digit(u8),
    /// Audio with half a sample at its end.
    OddAudio(u16),
    /// An error message that is not one byte.
    ErrorLength(u16),
    /// A hangup with a payload.
    HangupLength(u16),
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Malformed::UuidLength(length) => write!(f, "UUID of {length} bytes instead of 16"),
            Malformed::DtmfLength(length) => write!(f, "DTMF of {length} bytes instead of 1"),
            Malformed::Digit(byte) => write!(f, "DTMF with byte {byte:#04x}, which is no digit"),
            Malformed::OddAudio(length) => write!(f, "audio of {length} bytes, not whole samples"),
            Malformed::ErrorLength(length) => write!(f, "error of {length} bytes instead of 1"),
            Malformed::HangupLength(length) => write!(f, "hangup with {length} bytes"),
        }
    }
}

impl std::error::Error for Malformed {}

/// Why audio cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsendable {
    /// No kind stands for this rate.
    Rate(u32),
    /// Asterisk drops the call at an audio message without samples.
    Empty,
    /// More samples than a message's length can tell.
    TooLong(usize),
}

impl fmt::Display for Unsendable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unsendable::Rate(hz) => write!(f, "AudioSocket has no kind for {hz} Hz"),
            Unsendable::Empty => f.write_str("an audio message needs samples"),
            Unsendable::TooLong(samples) => write!(f, "{samples} samples do not fit one message"),
        }
    }
}

impl std::error::Error for Unsendable {}

/// One message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message<'a> {
    /// The call is over.
    Hangup,
    /// Asterisk's first message: which call this is.
    Uuid([u8; 16]),
    /// A key was pressed: `0`-`9`, `*`, `#`, `A`-`D`.
    Dtmf(char),
    /// Audio; may be empty when received.
    Audio {
        /// Samples per second.
        hz: u32,
        /// 16-bit samples, little-endian, two bytes each.
        samples: &'a [u8],
    },
    /// Asterisk's error: 1 the caller hung up, 2 a frame could not be forwarded, 4 memory.
    Error(u8),
    /// A kind that is not known here; its payload is left out.
    Other(u8),
}

impl<'a> Message<'a> {
    fn parse(kind: u8, payload: &'a [u8]) -> Result<Self, Malformed> {
        let length = payload.len() as u16;
        match kind {
            HANGUP if payload.is_empty() => Ok(Message::Hangup),
            HANGUP => Err(Malformed::HangupLength(length)),
            UUID => payload.try_into().map(Message::Uuid).map_err(|_| Malformed::UuidLength(length)),
            DTMF => match payload {
                [digit @ (b'0'..=b'9' | b'*' | b'#' | b'A'..=b'D')] => Ok(Message::Dtmf(char::from(*digit))),
                [other] => Err(Malformed::Digit(*other)),
                _ => Err(Malformed::DtmfLength(length)),
            },
            ERROR => match payload {
                [code] => Ok(Message::Error(*code)),
                _ => Err(Malformed::ErrorLength(length)),
            },
            _ => match RATES.get(usize::from(kind.wrapping_sub(AUDIO))) {
                Some(_) if !payload.len().is_multiple_of(2) => Err(Malformed::OddAudio(length)),
                Some(hz) => Ok(Message::Audio { hz: *hz, samples: payload }),
                None => Ok(Message::Other(kind)),
            },
        }
    }
}

/// Cuts a byte stream into messages.
///
/// Holds one message at a time; after the longest message so far it does not allocate.
#[derive(Debug, Clone)]
pub struct Reader {
    buffer: Vec<u8>,
    /// The buffer holds a message that was handed out.
    taken: bool,
}

impl Default for Reader {
    fn default() -> Self {
        Reader::new()
    }
}

impl Reader {
    /// At the begin of a connection.
    pub fn new() -> Self {
        Reader { buffer: Vec::with_capacity(FIRST_ROOM), taken: false }
    }

    /// Takes bytes from the front of `chunk` up to the end of a message, and returns that message.
    ///
    /// Call it until it returns `None`, which it does when `chunk` is used up and the next message is not complete.
    ///
    /// # Errors
    /// A message of a wrong length or content; it is left out and the next call goes on behind it.
    pub fn next(&mut self, chunk: &mut &[u8]) -> Result<Option<Message<'_>>, Malformed> {
        if std::mem::take(&mut self.taken) {
            self.buffer.clear();
        }
        if !self.fill(HEADER, chunk) {
            return Ok(None);
        }
        let length = usize::from(u16::from_be_bytes([self.buffer[1], self.buffer[2]]));
        if !self.fill(HEADER + length, chunk) {
            return Ok(None);
        }
        self.taken = true;
        Message::parse(self.buffer[0], &self.buffer[HEADER..]).map(Some)
    }

    /// Whether the stream may end here: no message is incomplete.
    pub fn is_between_messages(&self) -> bool {
        self.taken || self.buffer.is_empty()
    }

    /// Moves bytes until the buffer holds `want`; whether it does.
    fn fill(&mut self, want: usize, chunk: &mut &[u8]) -> bool {
        let missing = want.saturating_sub(self.buffer.len());
        let (now, later) = chunk.split_at(missing.min(chunk.len()));
        self.buffer.extend_from_slice(now);
        *chunk = later;
        now.len() == missing
    }
}

/// Writes an audio message of native samples into `out`, which is emptied first and keeps its capacity.
///
/// # Errors
/// A rate without a kind, no samples, or more than 32767 of them; `out` is then empty.
pub fn write_audio(out: &mut Vec<u8>, hz: u32, samples: &[i16]) -> Result<(), Unsendable> {
    out.clear();
    let rate = RATES.iter().position(|rate| *rate == hz).ok_or(Unsendable::Rate(hz))?;
    if samples.is_empty() {
        return Err(Unsendable::Empty);
    }
    let length = u16::try_from(2 * samples.len()).map_err(|_| Unsendable::TooLong(samples.len()))?;
    begin(out, AUDIO + rate as u8, length);
    out.extend(samples.iter().flat_map(|sample| sample.to_le_bytes()));
    Ok(())
}

/// Writes a hangup into `out`, which is emptied first.
pub fn write_hangup(out: &mut Vec<u8>) {
    out.clear();
    begin(out, HANGUP, 0);
}

/// Writes the first message of a call, as Asterisk does, into `out`, which is emptied first.
pub fn write_uuid(out: &mut Vec<u8>, uuid: &[u8; 16]) {
    out.clear();
    begin(out, UUID, 16);
    out.extend_from_slice(uuid);
}

/// Writes a key press, as Asterisk does, into `out`, which is emptied first.
///
/// # Errors
/// A character that is no digit; `out` is then empty.
pub fn write_dtmf(out: &mut Vec<u8>, digit: char) -> Result<(), Malformed> {
    out.clear();
    let byte = u8::try_from(digit).unwrap_or(0);
    Message::parse(DTMF, &[byte])?;
    begin(out, DTMF, 1);
    out.push(byte);
    Ok(())
}

fn begin(out: &mut Vec<u8>, kind: u8, length: u16) {
    out.push(kind);
    out.extend_from_slice(&length.to_be_bytes());
}

/// A UUID from its text of 8-4-4-4-12 hexadecimal digits, in either case (RFC 9562 section 4).
pub fn parse_uuid(text: &str) -> Option<[u8; 16]> {
    let text = text.as_bytes();
    if text.len() != 36 {
        return None;
    }
    let mut digits = text.iter().enumerate().filter(|(at, _)| !DASHES.contains(at)).map(|(_, digit)| *digit);
    let dashes = DASHES.iter().all(|at| text[*at] == b'-');
    let mut uuid = [0; 16];
    for byte in &mut uuid {
        let high = char::from(digits.next()?).to_digit(16)?;
        let low = char::from(digits.next()?).to_digit(16)?;
        *byte = (high << 4 | low) as u8;
    }
    dashes.then_some(uuid)
}

/// A UUID as text in lower case.
pub fn format_uuid(uuid: &[u8; 16]) -> String {
    let mut text = String::with_capacity(36);
    for byte in uuid {
        if DASHES.contains(&text.len()) {
            text.push('-');
        }
        for digit in [byte >> 4, byte & 0x0F] {
            text.push(char::from(b"0123456789abcdef"[usize::from(digit)]));
        }
    }
    text
}

/// Where the dashes stand in a UUID's text.
const DASHES: [usize; 4] = [8, 13, 18, 23];

#[cfg(test)]
#[path = "audiosocket_tests.rs"]
mod tests;
