//! Key presses as RTP telephone-events (RFC 4733), received and sent.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

/// Digits by event number (RFC 4733 section 3.2).
const DIGITS: &[u8; 16] = b"0123456789*#ABCD";
/// Without packets for this long an event is over: senders repeat them every 50 ms or sooner (RFC 4733 section
/// 2.5.1.2), so this is the loss of at least three, which is how often the end is sent.
pub const LOST_END: Duration = Duration::from_millis(200);
/// Within this time packets of older timestamps are late ones of older events; later, the timestamps began anew.
const REORDER: Duration = Duration::from_secs(1);
/// An event of longer duration goes on as a segment with this much higher timestamp (RFC 4733 section 2.5.1.3).
const SEGMENT: u32 = 0xFFFF;
/// Digits that wait to be sent.
pub const MAX_QUEUED: usize = 32;
/// Shortest digit that is sent; receivers need not notice less than 40 ms, and many want more.
pub const MIN_DURATION: Duration = Duration::from_millis(100);
/// Longest digit that is sent.
pub const MAX_DURATION: Duration = Duration::from_secs(1);
/// How often the end is sent (RFC 4733 section 2.5.1.4).
const ENDS: u32 = 3;
/// Packets left out behind the last end, so that 60 ms at least lie between two digits of 20 ms packets.
const PAUSE: u32 = 1;
/// Sent loudness in -dBm0, the usual of telephones.
const VOLUME: u8 = 10;

/// One telephone-event payload (RFC 4733 section 2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// Which event; 0..=15 are the digits.
    pub event: u8,
    /// The event is over.
    pub end: bool,
    /// Loudness in -dBm0, 0..=63.
    pub volume: u8,
    /// Duration so far, in units of the timestamp's clock.
    pub duration: u16,
}

impl Event {
    /// Reads the first event of a payload; `None` when it is shorter than four bytes.
    pub fn parse(payload: &[u8]) -> Option<Event> {
        let &[event, flags, high, low] = payload.first_chunk()?;
        let duration = u16::from_be_bytes([high, low]);
        Some(Event { event, end: flags & 0x80 != 0, volume: flags & 0x3F, duration })
    }

    /// The payload's bytes.
    pub fn bytes(&self) -> [u8; 4] {
        let [high, low] = self.duration.to_be_bytes();
        [self.event, u8::from(self.end) << 7 | self.volume & 0x3F, high, low]
    }

    /// The digit, `0`-`9`, `*`, `#`, `A`-`D`; `None` for other events.
    pub fn digit(&self) -> Option<char> {
        DIGITS.get(usize::from(self.event)).map(|digit| char::from(*digit))
    }
}

/// The event number of a digit; `None` for what is none.
pub fn event_of(digit: char) -> Option<u8> {
    DIGITS.iter().position(|known| char::from(*known) == digit).map(|index| index as u8)
}

/// A key that was pressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digit {
    /// `0`-`9`, `*`, `#`, `A`-`D`.
    pub digit: char,
    /// How long, as far as its packets told.
    pub duration: Duration,
}

/// The event that the last packets were about.
#[derive(Debug, Clone, Copy)]
struct Pressed {
    digit: char,
    /// Timestamp of its begin, or of the begin of its latest segment.
    timestamp: u32,
    /// Durations of former segments, then that of the latest one.
    former: u64,
    duration: u16,
    heard: Duration,
    reported: bool,
}

/// Makes digits of the packets of one leg, each once.
///
/// A digit is reported at its first end packet; with its end lost, when the next event begins or after [`LOST_END`].
/// One packet of its many is enough.
#[derive(Debug, Clone)]
pub struct Receiver {
    clock_hz: u32,
    last: Option<Pressed>,
    ignored: u64,
}

impl Receiver {
    /// For events whose timestamps have this clock (Asterisk: 8000 Hz).
    pub fn new(clock_hz: u32) -> Self {
        Receiver { clock_hz: clock_hz.max(1), last: None, ignored: 0 }
    }

    /// Takes a packet that arrived at `now`; digits that it completes, two at most, go to `report`.
    pub fn receive(&mut self, timestamp: u32, payload: &[u8], now: Duration, mut report: impl FnMut(Digit)) {
        let Some((event, digit)) = Event::parse(payload).and_then(|event| Some((event, event.digit()?))) else {
            self.ignored += 1;
            return;
        };
        let mut pressed =
            Pressed { digit, timestamp, former: 0, duration: event.duration, heard: now, reported: false };
        if let Some(last) = self.last {
            let ahead = timestamp.wrapping_sub(last.timestamp);
            if ahead == 0 {
                pressed = Pressed { duration: last.duration.max(event.duration), heard: now, ..last };
            } else if ahead == SEGMENT && !last.reported && last.digit == digit {
                pressed.former = last.former + u64::from(SEGMENT);
            } else if ahead as i32 <= 0 && now.saturating_sub(last.heard) < REORDER {
                return;
            } else {
                self.finish(&mut report);
            }
        }
        self.last = Some(pressed);
        if event.end {
            self.finish(&mut report);
        }
    }

    /// Reports the digit whose end was lost; call it every 20 ms or so.
    pub fn poll(&mut self, now: Duration, report: impl FnMut(Digit)) {
        if self.last.is_some_and(|last| now.saturating_sub(last.heard) >= LOST_END) {
            self.finish(report);
        }
    }

    /// The source begins anew: its timestamps have nothing to do with those before. An unfinished digit is reported.
    pub fn restart(&mut self, report: impl FnMut(Digit)) {
        self.finish(report);
        self.last = None;
    }

    /// Packets that were no digits.
    pub fn ignored(&self) -> u64 {
        self.ignored
    }

    fn finish(&mut self, mut report: impl FnMut(Digit)) {
        if let Some(last) = &mut self.last
            && !last.reported
        {
            last.reported = true;
            let units = last.former + u64::from(last.duration);
            let micros = units * 1_000_000 / u64::from(self.clock_hz);
            report(Digit { digit: last.digit, duration: Duration::from_micros(micros) });
        }
    }
}

/// Why a digit is not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Not one of `0`-`9`, `*`, `#`, `A`-`D`.
    NoDigit,
    /// [`MAX_QUEUED`] digits wait already.
    Full,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refused::NoDigit => "not a DTMF digit",
            Refused::Full => "too many DTMF digits wait to be sent",
        })
    }
}

impl std::error::Error for Refused {}

/// A telephone-event packet to send in place of audio.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventPacket {
    /// First packet of the digit.
    pub marker: bool,
    /// Timestamp of the digit's begin, the same in all its packets.
    pub timestamp: u32,
    /// The payload.
    pub payload: [u8; 4],
}

#[derive(Debug, Clone, Copy)]
struct Sending {
    event: u8,
    timestamp: u32,
    /// Packets given so far, and how many there are up to the first end.
    given: u32,
    packets: u32,
}

/// Gives the packets of queued digits, one every 20 ms.
#[derive(Debug, Clone)]
pub struct Sender {
    step: u32,
    clock_hz: u32,
    /// Event numbers and their packets up to the first end.
    queue: VecDeque<(u8, u32)>,
    sending: Option<Sending>,
}

impl Sender {
    /// For packets of `packet_ms` (20) with timestamps of `clock_hz`, at most 48000.
    pub fn new(clock_hz: u32, packet_ms: u32) -> Self {
        let step = (clock_hz * packet_ms / 1000).max(1);
        Sender { step, clock_hz, queue: VecDeque::with_capacity(MAX_QUEUED), sending: None }
    }

    /// Queues a digit; the duration is brought into [`MIN_DURATION`]..=[`MAX_DURATION`] and up to whole packets.
    ///
    /// # Errors
    /// What is no digit, and more than [`MAX_QUEUED`] of them.
    pub fn push(&mut self, digit: char, duration: Duration) -> Result<(), Refused> {
        let event = event_of(digit).ok_or(Refused::NoDigit)?;
        if self.queue.len() == MAX_QUEUED {
            return Err(Refused::Full);
        }
        let duration = duration.clamp(MIN_DURATION, MAX_DURATION);
        let units = (duration.as_millis() as u64 * u64::from(self.clock_hz)).div_ceil(1000) as u32;
        // The payload's 16 bits of duration hold a second up to 65 kHz.
        self.queue.push_back((event, units.div_ceil(self.step).clamp(1, (SEGMENT / self.step).max(1))));
        Ok(())
    }

    /// The packet of now; `timestamp` is the stream's of now, which goes on by 20 ms for each call.
    ///
    /// `None` when audio may be sent: nothing is queued, or a pause between two digits.
    pub fn next(&mut self, timestamp: u32) -> Option<EventPacket> {
        if self.sending.is_none() {
            let (event, packets) = self.queue.pop_front()?;
            self.sending = Some(Sending { event, timestamp, given: 0, packets });
        }
        let sending = self.sending.as_mut()?;
        sending.given += 1;
        let Sending { event, timestamp, given, packets } = *sending;
        if given >= packets + ENDS - 1 + PAUSE {
            self.sending = None;
        }
        if given >= packets + ENDS {
            return None;
        }
        let duration = (given.min(packets) * self.step).min(SEGMENT) as u16;
        let payload = Event { event, end: given >= packets, volume: VOLUME, duration }.bytes();
        Some(EventPacket { marker: given == 1, timestamp, payload })
    }

    /// Digits that wait, without the one being sent.
    pub fn queued(&self) -> usize {
        self.queue.len()
    }

    /// Whether the last packet belonged to a digit that is not over, so that [`next`](Sender::next) goes on with it.
    pub fn is_sending(&self) -> bool {
        self.sending.is_some()
    }
}

#[cfg(test)]
#[path = "dtmf_tests.rs"]
mod tests;
