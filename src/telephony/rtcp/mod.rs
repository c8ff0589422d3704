//! RTCP (RFC 3550 section 6): reports that are received and sent, round trip time, leaving.
//!
//! A datagram is a compound of packets: a sender or receiver report, then descriptions (SDES), then perhaps a BYE.
//! [`Compound`] reads it; [`Session`] is the state of one leg that sends one every [`INTERVAL`] or so.

mod session;

use std::fmt;
use std::time::Duration;

pub use session::{INTERVAL, Received, Session};

const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const DESCRIPTION: u8 = 202;
const GOODBYE: u8 = 203;
const CNAME: u8 = 1;
const SENDER_INFO_BYTES: usize = 20;
const BLOCK_BYTES: usize = 24;
/// Seconds from 1900, where NTP begins, to 1970.
const NTP_TO_UNIX: u64 = 2_208_988_800;

/// Why bytes are not an RTCP compound (RFC 3550 A.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// Fewer bytes than a packet's header, or than its length tells.
    Short,
    /// Not version 2.
    Version,
    /// The compound does not begin with a report.
    NoReport,
    /// A padding count that does not fit, or padding anywhere but in a last packet that is not the first.
    Padding,
    /// More report blocks, descriptions or sources are announced than there are bytes.
    Count,
    /// A description or a reason for leaving that is cut off.
    Text,
}

impl Malformed {
    /// The reason in a few words, for logs.
    pub const fn reason(self) -> &'static str {
        match self {
            Malformed::Short => "RTCP packet is cut off",
            Malformed::Version => "not RTCP version 2",
            Malformed::NoReport => "RTCP does not begin with a report",
            Malformed::Padding => "RTCP padding does not fit",
            Malformed::Count => "RTCP count does not fit the packet",
            Malformed::Text => "RTCP text is cut off",
        }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

impl std::error::Error for Malformed {}

/// A time as NTP has it: seconds since 1900 in the upper 32 bits, their fraction in the lower.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ntp(pub u64);

impl Ntp {
    /// From the time since 1970.
    pub fn from_unix(since_1970: Duration) -> Self {
        let seconds = since_1970.as_secs().wrapping_add(NTP_TO_UNIX);
        let fraction = (u64::from(since_1970.subsec_nanos()) << 32) / 1_000_000_000;
        Ntp(seconds << 32 | fraction)
    }

    /// The middle 32 bits, in 1/65536 s, as report blocks carry them.
    pub fn middle(self) -> u32 {
        (self.0 >> 16) as u32
    }
}

/// What a sender tells of itself (RFC 3550 section 6.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SenderInfo {
    /// When the report was sent.
    pub ntp: Ntp,
    /// The same moment on the stream's timestamps.
    pub timestamp: u32,
    /// Packets sent.
    pub packets: u32,
    /// Payload bytes sent.
    pub octets: u32,
}

/// What a receiver tells of one source (RFC 3550 section 6.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReportBlock {
    /// The source.
    pub ssrc: u32,
    /// Part of the packets lost since the last report, in 1/256.
    pub fraction_lost: u8,
    /// Packets lost since the begin; 24 bits, negative when duplicates outnumber losses.
    pub lost: i32,
    /// Highest sequence number received, wraps in the upper 16 bits.
    pub highest_sequence: u32,
    /// Interarrival jitter in units of the timestamp's clock.
    pub jitter: u32,
    /// Middle of the NTP time of the last sender report from that source; 0 for none.
    pub last_report: u32,
    /// Time since that report, in 1/65536 s.
    pub since_last_report: u32,
}

impl ReportBlock {
    fn parse(bytes: &[u8; BLOCK_BYTES]) -> Self {
        let word = |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        ReportBlock {
            ssrc: word(0),
            fraction_lost: bytes[4],
            // Shifted up and down again, which copies the sign of 24 bits.
            lost: (word(4) << 8) as i32 >> 8,
            highest_sequence: word(8),
            jitter: word(12),
            last_report: word(16),
            since_last_report: word(20),
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        let lost = self.lost.clamp(-0x80_0000, 0x7F_FFFF) as u32 & 0xFF_FFFF;
        let words = [
            self.ssrc,
            u32::from(self.fraction_lost) << 24 | lost,
            self.highest_sequence,
            self.jitter,
            self.last_report,
            self.since_last_report,
        ];
        for word in words {
            out.extend_from_slice(&word.to_be_bytes());
        }
    }
}

/// One packet of a compound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packet<'a> {
    /// A report; with `sender` a sender report.
    Report {
        /// Who reports.
        ssrc: u32,
        /// What it has sent, if it sends.
        sender: Option<SenderInfo>,
        /// What it has received.
        blocks: &'a [[u8; BLOCK_BYTES]],
    },
    /// Source descriptions; read them with [`descriptions`].
    Description(&'a [u8]),
    /// Sources leave.
    Goodbye {
        /// Which, four bytes each, big-endian.
        sources: &'a [[u8; 4]],
        /// Why; empty for no reason.
        reason: &'a [u8],
    },
    /// Another packet type, application-defined or feedback; not read.
    Other(u8),
}

impl Packet<'_> {
    /// The blocks of a report; none of other packets.
    pub fn blocks(&self) -> impl Iterator<Item = ReportBlock> + '_ {
        let blocks: &[_] = if let Packet::Report { blocks, .. } = self { blocks } else { &[] };
        blocks.iter().map(ReportBlock::parse)
    }

    /// The sources that leave; none of other packets.
    pub fn leaving(&self) -> impl Iterator<Item = u32> + '_ {
        let sources: &[_] = if let Packet::Goodbye { sources, .. } = self { sources } else { &[] };
        sources.iter().map(|source| u32::from_be_bytes(*source))
    }
}

/// A datagram whose packets have all been checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compound<'a>(&'a [u8]);

impl<'a> Compound<'a> {
    /// Checks a datagram by RFC 3550 A.2, every packet of it.
    ///
    /// # Errors
    /// What is wrong with it. Nothing of a malformed datagram is to be used.
    pub fn parse(datagram: &'a [u8]) -> Result<Self, Malformed> {
        let mut rest = datagram;
        while !rest.is_empty() || rest.len() == datagram.len() {
            let first = rest.len() == datagram.len();
            let padded = rest.first().is_some_and(|byte| byte & 0x20 != 0);
            let (packet, later) = parse_one(rest)?;
            match packet {
                Packet::Report { .. } => {}
                _ if first => return Err(Malformed::NoReport),
                _ => {}
            }
            if padded && (first || !later.is_empty()) {
                return Err(Malformed::Padding);
            }
            rest = later;
        }
        Ok(Compound(datagram))
    }

    /// Its packets in order.
    pub fn packets(&self) -> impl Iterator<Item = Packet<'a>> + use<'a> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let (packet, later) = parse_one(rest).ok()?;
            rest = later;
            Some(packet)
        })
    }
}

/// The first packet and what follows it.
fn parse_one(bytes: &[u8]) -> Result<(Packet<'_>, &[u8]), Malformed> {
    let &[first, kind, high, low] = bytes.first_chunk().ok_or(Malformed::Short)?;
    if first >> 6 != 2 {
        return Err(Malformed::Version);
    }
    let length = 4 * usize::from(u16::from_be_bytes([high, low]));
    let (body, later) = bytes[4..].split_at_checked(length).ok_or(Malformed::Short)?;
    let body = if first & 0x20 == 0 {
        body
    } else {
        let count = usize::from(*body.last().ok_or(Malformed::Padding)?);
        if count == 0 || count % 4 != 0 {
            return Err(Malformed::Padding);
        }
        &body[..body.len().checked_sub(count).ok_or(Malformed::Padding)?]
    };
    let count = usize::from(first & 0x1F);
    let packet = match kind {
        SENDER_REPORT | RECEIVER_REPORT => {
            let (ssrc, body) = body.split_first_chunk().ok_or(Malformed::Short)?;
            let (sender, body) = if kind == RECEIVER_REPORT {
                (None, body)
            } else {
                let (info, body) = body.split_first_chunk::<SENDER_INFO_BYTES>().ok_or(Malformed::Short)?;
                (Some(sender_info(info)), body)
            };
            // What follows the blocks are extensions of a profile.
            let blocks = body.as_chunks().0.get(..count).ok_or(Malformed::Count)?;
            Packet::Report { ssrc: u32::from_be_bytes(*ssrc), sender, blocks }
        }
        DESCRIPTION => {
            let mut rest = body;
            for _ in 0..count {
                rest = skip_chunk(rest)?;
            }
            Packet::Description(&body[..body.len() - rest.len()])
        }
        GOODBYE => {
            let sources = body.as_chunks().0.get(..count).ok_or(Malformed::Count)?;
            let reason = match body[4 * count..].split_first() {
                None => &[],
                Some((length, text)) => text.get(..usize::from(*length)).ok_or(Malformed::Text)?,
            };
            Packet::Goodbye { sources, reason }
        }
        other => Packet::Other(other),
    };
    Ok((packet, later))
}

fn sender_info(bytes: &[u8; SENDER_INFO_BYTES]) -> SenderInfo {
    let word = |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    SenderInfo {
        ntp: Ntp(u64::from(word(0)) << 32 | u64::from(word(4))),
        timestamp: word(8),
        packets: word(12),
        octets: word(16),
    }
}

/// What follows one source's description: its SSRC, items of type, length and text, zeros up to a multiple of four.
fn skip_chunk(bytes: &[u8]) -> Result<&[u8], Malformed> {
    let mut at = 4;
    loop {
        match bytes.get(at) {
            None => return Err(if bytes.len() < 4 { Malformed::Count } else { Malformed::Text }),
            Some(0) => return bytes.get((at / 4 + 1) * 4..).ok_or(Malformed::Text),
            Some(_) => at += 2 + usize::from(*bytes.get(at + 1).ok_or(Malformed::Text)?),
        }
    }
}

/// The items of a [`Packet::Description`] as (source, item type, text); type 1 is the canonical name (CNAME).
pub fn descriptions(chunks: &[u8]) -> impl Iterator<Item = (u32, u8, &[u8])> {
    let mut rest = chunks;
    let mut within: Option<(u32, &[u8])> = None;
    std::iter::from_fn(move || {
        loop {
            match within {
                None => {
                    let later = skip_chunk(rest).ok()?;
                    let (ssrc, items) = rest[..rest.len() - later.len()].split_first_chunk()?;
                    within = Some((u32::from_be_bytes(*ssrc), items));
                    rest = later;
                }
                Some((ssrc, &[kind @ 1..=255, length, ref text @ ..])) => {
                    let (text, items) = text.split_at_checked(usize::from(length))?;
                    within = Some((ssrc, items));
                    return Some((ssrc, kind, text));
                }
                Some(_) => within = None,
            }
        }
    })
}

/// Appends a sender report, or with no `sender` a receiver report. Of more than 31 blocks the first 31 are written.
pub fn write_report(out: &mut Vec<u8>, ssrc: u32, sender: Option<&SenderInfo>, blocks: &[ReportBlock]) {
    let blocks = &blocks[..blocks.len().min(31)];
    let kind = if sender.is_some() { SENDER_REPORT } else { RECEIVER_REPORT };
    packet(out, blocks.len() as u8, kind, |out| {
        out.extend_from_slice(&ssrc.to_be_bytes());
        if let Some(sender) = sender {
            out.extend_from_slice(&sender.ntp.0.to_be_bytes());
            for word in [sender.timestamp, sender.packets, sender.octets] {
                out.extend_from_slice(&word.to_be_bytes());
            }
        }
        for block in blocks {
            block.write(out);
        }
    });
}

/// Appends a source's canonical name (SDES CNAME), of which 255 bytes at most are written.
pub fn write_cname(out: &mut Vec<u8>, ssrc: u32, cname: &[u8]) {
    let cname = &cname[..cname.len().min(255)];
    packet(out, 1, DESCRIPTION, |out| {
        out.extend_from_slice(&ssrc.to_be_bytes());
        out.extend_from_slice(&[CNAME, cname.len() as u8]);
        out.extend_from_slice(cname);
        // The end of the items, which must be there even when they end on a multiple of four.
        out.push(0);
    });
}

/// Appends a BYE of one source, with 255 bytes of the reason at most.
pub fn write_goodbye(out: &mut Vec<u8>, ssrc: u32, reason: &[u8]) {
    let reason = &reason[..reason.len().min(255)];
    packet(out, 1, GOODBYE, |out| {
        out.extend_from_slice(&ssrc.to_be_bytes());
        if !reason.is_empty() {
            out.push(reason.len() as u8);
            out.extend_from_slice(reason);
        }
    });
}

/// Appends a packet: its header, the body, zeros up to a multiple of four.
fn packet(out: &mut Vec<u8>, count: u8, kind: u8, body: impl FnOnce(&mut Vec<u8>)) {
    let begin = out.len();
    out.extend_from_slice(&[0x80 | count, kind, 0, 0]);
    body(out);
    out.resize(begin + (out.len() - begin).next_multiple_of(4), 0);
    let words = ((out.len() - begin) / 4 - 1) as u16;
    out[begin + 2..begin + 4].copy_from_slice(&words.to_be_bytes());
}

#[cfg(test)]
mod tests;
