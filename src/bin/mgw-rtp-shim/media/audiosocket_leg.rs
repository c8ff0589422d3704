//! A leg over AudioSocket: Asterisk's messages in, one message in 20 ms out.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use mgw::telephony::audiosocket::{Message, Reader, write_audio, write_hangup};

use super::clock::Tick;
use super::voice::Voice;

/// Rate until the first audio tells another; Asterisk converts either.
pub const FIRST_HZ: u32 = 8000;
/// Bytes of one read: eight messages of slin16.
const READ: usize = 8 * 1024;
/// Reads of one turn. More than a second of sound at once is no phone; the rest waits for the next turn.
const MAX_READS: usize = 8;
/// Broken messages after which the peer is no Asterisk.
const MAX_MALFORMED: u32 = 10;

pub struct AudioSocketLeg {
    voice: Voice,
    stream: TcpStream,
    wire: Wire,
    /// What of the last message the system did not take; it must go out before anything else.
    rest: Vec<u8>,
    message: Vec<u8>,
    buffer: Box<[u8; READ]>,
    over: bool,
}

/// The reading half: bytes to messages to the session.
struct Wire {
    reader: Reader,
    samples: Vec<i16>,
    malformed: u32,
}

impl AudioSocketLeg {
    /// `came` is what came behind the UUID; the stream does not block.
    pub fn new(mut voice: Voice, stream: TcpStream, came: &[u8]) -> AudioSocketLeg {
        let mut wire = Wire { reader: Reader::new(), samples: Vec::with_capacity(READ), malformed: 0 };
        let over = !wire.take(&mut voice, came, Duration::ZERO);
        AudioSocketLeg {
            voice,
            stream,
            wire,
            rest: Vec::with_capacity(READ),
            message: Vec::with_capacity(READ),
            buffer: Box::new([0; READ]),
            over,
        }
    }

    fn receive(&mut self, now: Duration) {
        for _ in 0..MAX_READS {
            match self.stream.read(&mut self.buffer[..]) {
                Ok(0) => self.over = true,
                Ok(n) => self.over = !self.wire.take(&mut self.voice, &self.buffer[..n], now),
                Err(e) if e.kind() == ErrorKind::WouldBlock => return,
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(_) => self.over = true,
            }
            if self.over {
                return;
            }
        }
    }

    /// Sends what was left of a message; true when nothing is left.
    fn send_rest(&mut self) -> bool {
        while !self.rest.is_empty() {
            match self.stream.write(&self.rest) {
                Ok(n) => drop(self.rest.drain(..n)),
                Err(e) if e.kind() == ErrorKind::WouldBlock => return false,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(_) => {
                    self.over = true;
                    return false;
                }
            }
        }
        true
    }

    fn send(&mut self) {
        let hz = self.voice.hz_out();
        // What cannot be sent is still taken from the session: a peer that stops reading must not make it fall behind.
        let frame = self.voice.hear();
        if write_audio(&mut self.message, hz, frame).is_err() || !self.send_rest() {
            self.voice.figures.frames_not_sent += 1;
            return;
        }
        match self.stream.write(&self.message) {
            Ok(n) => {
                self.rest.extend_from_slice(&self.message[n..]);
                self.voice.figures.frames_out += 1;
            }
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                self.voice.figures.frames_not_sent += 1;
            }
            Err(_) => self.over = true,
        }
    }
}

impl Wire {
    /// False: the peer has hung up, or is no Asterisk.
    fn take(&mut self, voice: &mut Voice, mut bytes: &[u8], now: Duration) -> bool {
        loop {
            match self.reader.next(&mut bytes) {
                Ok(None) => return true,
                Ok(Some(Message::Audio { hz, samples })) => {
                    voice.came(now);
                    // Both directions: Asterisk speaks the rate that the channel was made for.
                    if voice.set_rate_in(hz) && voice.set_rate_out(hz) {
                        self.samples.clear();
                        self.samples.extend(samples.chunks_exact(2).map(|b| i16::from_le_bytes([b[0], b[1]])));
                        voice.say(&self.samples);
                    }
                }
                Ok(Some(Message::Dtmf(digit))) => voice.digit(digit),
                Ok(Some(Message::Hangup | Message::Error(_))) => return false,
                Ok(Some(Message::Uuid(_) | Message::Other(_))) => {}
                Err(_) => {
                    self.malformed += 1;
                    if self.malformed >= MAX_MALFORMED {
                        return false;
                    }
                }
            }
        }
    }
}

impl Tick for AudioSocketLeg {
    fn tick(&mut self, now: Duration, _skipped: u32) -> bool {
        if !self.over {
            self.receive(now);
        }
        if !self.over {
            self.send();
            if self.voice.second() {
                self.voice.publish(now);
            }
        }
        if self.over {
            self.voice.ended();
        }
        !self.over
    }

    fn finish(&mut self, now: Duration) {
        if !self.over {
            self.receive(now);
        }
    }
}

impl Drop for AudioSocketLeg {
    fn drop(&mut self) {
        if !self.over && self.send_rest() {
            // Without room for three bytes the end of the connection says the same.
            write_hangup(&mut self.message);
            let _ = self.stream.write(&self.message);
        }
    }
}
