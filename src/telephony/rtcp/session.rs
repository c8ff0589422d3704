//! The RTCP state of one leg: which reports it sends, what it learns of those it receives.

use std::time::Duration;

use super::super::rtp::Stream;
use super::super::source::Source;
use super::{Compound, Malformed, Ntp, Packet, ReportBlock, SenderInfo, write_cname, write_goodbye, write_report};

/// Least mean time between reports (RFC 3550 section 6.2); each interval should be 0.5 to 1.5 times it, at random.
pub const INTERVAL: Duration = Duration::from_secs(5);

/// What a received compound told of this leg.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Received {
    /// What the other side has received of this leg's stream; the last block of several.
    pub report: Option<ReportBlock>,
    /// Time of a packet there and back (RFC 3550 section 6.4.1), when the block told of a report of this leg.
    pub round_trip: Option<Duration>,
    /// The source that is heard has left.
    pub goodbye: bool,
}

/// The sender report received last.
#[derive(Debug, Clone, Copy)]
struct LastReport {
    ssrc: u32,
    middle: u32,
    at: Duration,
}

/// Counts at the time of the last own report, for the fraction lost (RFC 3550 A.3).
#[derive(Debug, Clone, Copy)]
struct Prior {
    ssrc: u32,
    restarts: u64,
    expected: u64,
    received: u64,
}

/// The RTCP state of one leg.
#[derive(Debug, Clone)]
pub struct Session {
    cname: Vec<u8>,
    last_report: Option<LastReport>,
    prior: Option<Prior>,
    packets_reported: u32,
    malformed: u64,
}

impl Session {
    /// A leg with this canonical name, which should be the same for all streams of one participant (RFC 7022).
    pub fn new(cname: &str) -> Self {
        let cname = cname.as_bytes()[..cname.len().min(255)].to_vec();
        Session { cname, last_report: None, prior: None, packets_reported: 0, malformed: 0 }
    }

    /// Writes a report and the name into `out`, which is emptied first: a sender report when `stream` has sent
    /// something since the last one, else a receiver report. `ntp` and `now` are the same moment.
    pub fn report(&mut self, out: &mut Vec<u8>, stream: &Stream, source: &Source, ntp: Ntp, now: Duration) {
        out.clear();
        let sends = stream.packets() != self.packets_reported;
        self.packets_reported = stream.packets();
        let sender =
            SenderInfo { ntp, timestamp: stream.timestamp(), packets: stream.packets(), octets: stream.octets() };
        let block = self.block(source, now);
        write_report(out, stream.ssrc(), sends.then_some(&sender), block.as_slice());
        write_cname(out, stream.ssrc(), &self.cname);
    }

    /// Writes the last compound of a leg into `out`: a report, the name and a BYE.
    pub fn leave(&mut self, out: &mut Vec<u8>, stream: &Stream, source: &Source, ntp: Ntp, now: Duration) {
        self.report(out, stream, source, ntp, now);
        write_goodbye(out, stream.ssrc(), b"");
    }

    /// Takes a datagram that arrived at `now`, which by the clock of the own reports is `ntp`.
    ///
    /// # Errors
    /// What is wrong with it; it is counted and changes nothing.
    pub fn receive(
        &mut self,
        datagram: &[u8],
        stream: &Stream,
        source: &Source,
        ntp: Ntp,
        now: Duration,
    ) -> Result<Received, Malformed> {
        let compound = Compound::parse(datagram).inspect_err(|_| self.malformed += 1)?;
        let mut received = Received::default();
        for packet in compound.packets() {
            if let Packet::Report { ssrc, sender: Some(sender), .. } = packet
                && source.ssrc().is_none_or(|heard| heard == ssrc)
            {
                self.last_report = Some(LastReport { ssrc, middle: sender.ntp.middle(), at: now });
            }
            for block in packet.blocks().filter(|block| block.ssrc == stream.ssrc()) {
                received.report = Some(block);
                received.round_trip = round_trip(&block, ntp);
            }
            received.goodbye |= packet.leaving().any(|leaving| source.ssrc() == Some(leaving));
        }
        Ok(received)
    }

    /// Datagrams that were no RTCP.
    pub fn malformed(&self) -> u64 {
        self.malformed
    }

    /// RFC 3550 A.3 and section 6.4.1 for the source that is heard.
    pub(super) fn block(&mut self, source: &Source, now: Duration) -> Option<ReportBlock> {
        let heard = source.reception()?;
        let prior = self.prior.filter(|prior| prior.ssrc == heard.ssrc && prior.restarts == heard.restarts);
        let expected = heard.expected - prior.map_or(0, |prior| prior.expected);
        let received = heard.received - prior.map_or(0, |prior| prior.received);
        self.prior = Some(Prior {
            ssrc: heard.ssrc,
            restarts: heard.restarts,
            expected: heard.expected,
            received: heard.received,
        });
        let lost = heard.expected as i64 - heard.received as i64;
        let last = self.last_report.filter(|last| last.ssrc == heard.ssrc);
        Some(ReportBlock {
            ssrc: heard.ssrc,
            // Below 256, as at least the packet that raised the highest number was received.
            fraction_lost: (expected.saturating_sub(received) * 256).checked_div(expected).unwrap_or(0) as u8,
            lost: lost.clamp(-0x80_0000, 0x7F_FFFF) as i32,
            highest_sequence: heard.highest_sequence,
            jitter: heard.jitter,
            last_report: last.map_or(0, |last| last.middle),
            since_last_report: last.map_or(0, |last| short(now.saturating_sub(last.at))),
        })
    }
}

/// Arrival less the report's time less the delay at the other side; `None` without a report or for nonsense.
pub(super) fn round_trip(block: &ReportBlock, arrival: Ntp) -> Option<Duration> {
    if block.last_report == 0 {
        return None;
    }
    let units = arrival.middle().wrapping_sub(block.last_report).wrapping_sub(block.since_last_report);
    // The middle bits wrap after 18 hours; the upper half is a difference below zero by clocks that are not quite even.
    (units < 1 << 31).then(|| Duration::from_nanos((u64::from(units) * 1_000_000_000) >> 16))
}

/// A duration in 1/65536 s, at most what 32 bits hold.
pub(super) fn short(duration: Duration) -> u32 {
    u32::try_from((duration.as_nanos() << 16) / 1_000_000_000).unwrap_or(u32::MAX)
}
