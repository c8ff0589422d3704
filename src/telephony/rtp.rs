//! RTP packets (RFC 3550 section 5.1) and the state of a stream that is sent.

use std::fmt;

/// Bytes of a header without contributing sources and extension.
pub const HEADER_BYTES: usize = 12;

/// Why bytes are not an RTP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// Fewer bytes than a header.
    Short,
    /// The first byte is outside 128..=191, which RFC 7983 leaves to STUN, DTLS, TURN and others.
    NotRtp,
    /// The second byte is in 192..=223: RTCP that shares the port (RFC 5761 section 4).
    Rtcp,
    /// The list of contributing sources is longer than the packet.
    Contributors,
    /// The header extension is longer than the packet.
    Extension,
    /// The padding count is 0 or more than what lies behind the header.
    Padding,
}

impl Malformed {
    /// The reason in a few words, for logs.
    pub const fn reason(self) -> &'static str {
        match self {
            Malformed::Short => "shorter than an RTP header",
            Malformed::NotRtp => "not RTP version 2",
            Malformed::Rtcp => "RTCP, not RTP",
            Malformed::Contributors => "list of contributing sources is cut off",
            Malformed::Extension => "header extension is cut off",
            Malformed::Padding => "padding count does not fit the packet",
        }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

impl std::error::Error for Malformed {}

/// One RTP packet; contributing sources, header extension and padding are checked and left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    /// What the payload is, 0..=127.
    pub payload_type: u8,
    /// Begin of a talk spurt (RFC 3551 section 4.1) or of a telephone-event.
    pub marker: bool,
    /// Goes up by one for each packet.
    pub sequence: u16,
    /// When the payload's first sample was taken, in units of the payload type's clock.
    pub timestamp: u32,
    /// Which source sent it.
    pub ssrc: u32,
    /// The payload; may be empty.
    pub payload: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Reads one datagram.
    ///
    /// # Errors
    /// What is wrong with it; [`Malformed::Rtcp`] belongs to [`rtcp`](super::rtcp).
    pub fn parse(datagram: &'a [u8]) -> Result<Self, Malformed> {
        let &[first, second, ..] = datagram else { return Err(Malformed::Short) };
        if first >> 6 != 2 {
            return Err(Malformed::NotRtp);
        }
        if (192..=223).contains(&second) {
            return Err(Malformed::Rtcp);
        }
        let (header, rest) = datagram.split_first_chunk::<HEADER_BYTES>().ok_or(Malformed::Short)?;
        let rest = rest.get(4 * usize::from(first & 0x0F)..).ok_or(Malformed::Contributors)?;
        let rest = if first & 0x10 != 0 { after_extension(rest).ok_or(Malformed::Extension)? } else { rest };
        let payload = if first & 0x20 != 0 { without_padding(rest).ok_or(Malformed::Padding)? } else { rest };
        Ok(Packet {
            payload_type: second & 0x7F,
            marker: second & 0x80 != 0,
            sequence: u16::from_be_bytes([header[2], header[3]]),
            timestamp: u32::from_be_bytes([header[4], header[5], header[6], header[7]]),
            ssrc: u32::from_be_bytes([header[8], header[9], header[10], header[11]]),
            payload,
        })
    }

    /// Writes it with the plain header: no contributing sources, extension or padding. `out` is emptied first.
    ///
    /// A payload type of 64..=95 with the marker reads as RTCP (RFC 5761) and is for the caller to avoid.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.clear();
        write_header(out, self.payload_type, self.marker, self.sequence, self.timestamp, self.ssrc);
        out.extend_from_slice(self.payload);
    }
}

/// What follows a header extension (RFC 3550 section 5.3.1): 16 bits of profile, 16 bits of length in words.
fn after_extension(rest: &[u8]) -> Option<&[u8]> {
    let (head, rest) = rest.split_first_chunk::<4>()?;
    rest.get(4 * usize::from(u16::from_be_bytes([head[2], head[3]]))..)
}

/// The payload before the padding, whose last byte is its length with itself.
fn without_padding(rest: &[u8]) -> Option<&[u8]> {
    match usize::from(*rest.last()?) {
        0 => None,
        count => rest.get(..rest.len().checked_sub(count)?),
    }
}

fn write_header(out: &mut Vec<u8>, payload_type: u8, marker: bool, sequence: u16, timestamp: u32, ssrc: u32) {
    out.extend_from_slice(&[0x80, u8::from(marker) << 7 | payload_type & 0x7F]);
    out.extend_from_slice(&sequence.to_be_bytes());
    out.extend_from_slice(&timestamp.to_be_bytes());
    out.extend_from_slice(&ssrc.to_be_bytes());
}

/// The sender's state of one stream.
///
/// Each 20 ms either [`write`](Stream::write) a packet or [`skip`](Stream::skip) one: the timestamp follows time
/// whether or not something is sent, the sequence number counts only what is sent.
#[derive(Debug, Clone)]
pub struct Stream {
    ssrc: u32,
    sequence: u16,
    timestamp: u32,
    packets: u32,
    octets: u32,
}

impl Stream {
    /// A stream that has sent nothing. All three numbers should be random (RFC 3550 section 5.1).
    pub fn new(ssrc: u32, first_sequence: u16, first_timestamp: u32) -> Self {
        Stream { ssrc, sequence: first_sequence, timestamp: first_timestamp, packets: 0, octets: 0 }
    }

    /// Writes the next packet into `out`, which is emptied first and keeps its capacity.
    ///
    /// `payload` appends the payload, which lasts for `samples` units of the timestamp's clock. `marker` is for the
    /// first packet after a pause.
    pub fn write(
        &mut self,
        out: &mut Vec<u8>,
        payload_type: u8,
        marker: bool,
        samples: u32,
        payload: impl FnOnce(&mut Vec<u8>),
    ) {
        self.write_at(out, payload_type, marker, self.timestamp, payload);
        self.skip(samples);
    }

    /// Writes the next packet with a timestamp of its own; the stream's does not move.
    ///
    /// This is for telephone-events: all packets of one carry the timestamp of its begin (RFC 4733 section 2.1).
    pub fn write_at(
        &mut self,
        out: &mut Vec<u8>,
        payload_type: u8,
        marker: bool,
        timestamp: u32,
        payload: impl FnOnce(&mut Vec<u8>),
    ) {
        out.clear();
        write_header(out, payload_type, marker, self.sequence, timestamp, self.ssrc);
        payload(out);
        self.sequence = self.sequence.wrapping_add(1);
        self.packets = self.packets.wrapping_add(1);
        self.octets = self.octets.wrapping_add((out.len() - HEADER_BYTES) as u32);
    }

    /// Lets `samples` units of time pass without a packet.
    pub fn skip(&mut self, samples: u32) {
        self.timestamp = self.timestamp.wrapping_add(samples);
    }

    /// Leaves a sequence number out, as if a packet had been lost that had nothing in it.
    pub fn skip_number(&mut self) {
        self.sequence = self.sequence.wrapping_add(1);
    }

    /// The source's number.
    pub fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// The sequence number that the next packet will carry.
    pub fn sequence(&self) -> u16 {
        self.sequence
    }

    /// The timestamp of now: what the next packet will carry.
    pub fn timestamp(&self) -> u32 {
        self.timestamp
    }

    /// Packets sent, modulo 2^32 as sender reports want it.
    pub fn packets(&self) -> u32 {
        self.packets
    }

    /// Payload bytes sent, without headers, modulo 2^32.
    pub fn octets(&self) -> u32 {
        self.octets
    }
}

#[cfg(test)]
#[path = "rtp_tests.rs"]
mod tests;
