//! Which received packets one leg takes, and what was lost: RFC 3550 appendices A.1, A.3 and A.8.
//!
//! A leg listens to one source (SSRC) at a time. The socket is connected to the address that signalling named, so
//! the very first packet is taken at once and no speech is lost; until two packets in sequence have proved the source,
//! any other that proves itself replaces it. A proved source is replaced only when it has been silent for [`SILENCE`]
//! *and* the other has sent two packets in sequence, so that forged packets cannot interrupt a voice.

use std::time::Duration;

use super::rtp::Packet;

/// Packets in sequence that prove a source (RFC 3550 A.1, MIN_SEQUENTIAL).
pub const MIN_SEQUENTIAL: u32 = 2;
/// A step forward of so many sequence numbers is a jump, not a loss (RFC 3550 A.1).
pub const MAX_DROPOUT: u16 = 3000;
/// A step back of more sequence numbers than this is a jump, not a late packet (RFC 3550 A.1).
pub const MAX_MISORDER: u16 = 100;
/// How long a proved source must be silent before another may replace it: ten packets of 20 ms, more than the jitter
/// that a call bears, less than a listener takes for a dead line.
pub const SILENCE: Duration = Duration::from_millis(200);
/// How far back a packet is known to be new or a duplicate, in packets; older ones would be too late to be heard.
pub const WINDOW: u64 = 64;

/// Other sources that are watched at a time; of more, the one heard longest ago is forgotten.
const CANDIDATES: usize = 4;
/// A transit time that changes by more at once is a new base of the timestamps or a pause, not jitter.
const JITTER_LIMIT: Duration = Duration::from_secs(1);

/// Why a packet is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Another source is being heard.
    OtherSource,
    /// Its sequence number is far from the last one and does not follow the last such jump.
    SequenceJump,
    /// It is [`WINDOW`] packets or more behind the newest.
    TooLate,
}

/// What to do with a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Take it.
    Accept {
        /// The extended sequence number. It is at least 65536, never given twice in the life of a leg, and higher
        /// after a restart than any before.
        sequence: u64,
        /// Sequence numbers and timestamps begin anew with this packet: another source, or a jump of the same one.
        restarted: bool,
    },
    /// Leave it: the first packet of another source while nobody else is heard. The next in sequence is accepted.
    Hold,
    /// Leave it: it was accepted before.
    Duplicate,
    /// Leave it.
    Reject(Reason),
}

/// Counts of one leg since its begin, over all its sources.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SourceStats {
    /// Packets accepted.
    pub received: u64,
    /// Packets that the sequence numbers tell of: highest less first plus one, summed over restarts.
    pub expected: u64,
    /// Packets that came again.
    pub duplicates: u64,
    /// Accepted behind a packet with a higher sequence number.
    pub reordered: u64,
    /// First packets of other sources, not taken though nobody else was heard.
    pub held: u64,
    /// Packets of other sources while one was heard.
    pub rejected_ssrc: u64,
    /// Packets whose sequence number jumped or was too late.
    pub rejected_sequence: u64,
    /// Times that another source, or the same one after a jump of its sequence numbers, began anew.
    pub restarts: u64,
    /// Interarrival jitter now, in units of the timestamp's clock (RFC 3550 A.8).
    pub jitter: u32,
}

impl SourceStats {
    /// Packets lost so far (RFC 3550 A.3, without counting duplicates as received); late ones reduce it again.
    pub fn lost(&self) -> u64 {
        self.expected.saturating_sub(self.received)
    }

    /// The jitter in milliseconds, for a timestamp's clock of `clock_hz`; 0 for a clock of 0.
    pub fn jitter_ms(&self, clock_hz: u32) -> f64 {
        if clock_hz == 0 { 0.0 } else { f64::from(self.jitter) * 1000.0 / f64::from(clock_hz) }
    }
}

/// What a report block tells of the source that is heard now (RFC 3550 section 6.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reception {
    /// The source.
    pub ssrc: u32,
    /// How often the source changed or jumped; a difference of counts over a change means nothing.
    pub restarts: u64,
    /// Packets expected of this source.
    pub expected: u64,
    /// Packets received from it, with duplicates, as A.3 counts them.
    pub received: u64,
    /// Highest sequence number, with the count of wraps in the upper 16 bits.
    pub highest_sequence: u32,
    /// Interarrival jitter in units of the timestamp's clock.
    pub jitter: u32,
}

/// The source that is heard.
#[derive(Debug, Clone, Copy)]
struct Current {
    ssrc: u32,
    /// Packets in sequence, counted up to [`MIN_SEQUENTIAL`].
    run: u32,
    /// Extended numbers of its first and its highest packet.
    first: u64,
    highest: u64,
    /// Bit n: the packet n before the highest was accepted.
    window: u64,
    received: u64,
    duplicates: u64,
    /// The number that would prove a jump.
    after_jump: Option<u16>,
    heard: Duration,
}

impl Current {
    fn expected(&self) -> u64 {
        self.highest - self.first + 1
    }

    /// RFC 3550 A.1, update_seq. `None` for the second packet behind a jump: the sequence begins anew.
    fn update(&mut self, sequence: u16) -> Option<Verdict> {
        let step = sequence.wrapping_sub(self.highest as u16);
        let behind = step.wrapping_neg();
        Some(if step == 0 {
            Verdict::Duplicate
        } else if step < MAX_DROPOUT {
            self.highest += u64::from(step);
            self.window = self.window.checked_shl(u32::from(step)).unwrap_or(0) | 1;
            if self.run < MIN_SEQUENTIAL {
                self.run = if step == 1 { self.run + 1 } else { 1 };
            }
            Verdict::Accept { sequence: self.highest, restarted: false }
        } else if behind <= MAX_MISORDER {
            match 1_u64.checked_shl(u32::from(behind)) {
                None => Verdict::Reject(Reason::TooLate),
                Some(bit) if self.window & bit != 0 => Verdict::Duplicate,
                Some(bit) => {
                    self.window |= bit;
                    Verdict::Accept { sequence: self.highest - u64::from(behind), restarted: false }
                }
            }
        } else if self.after_jump == Some(sequence) {
            return None;
        } else {
            self.after_jump = Some(sequence.wrapping_add(1));
            Verdict::Reject(Reason::SequenceJump)
        })
    }
}

/// Another source that may become the one that is heard.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    ssrc: u32,
    run: u32,
    next: u16,
    heard: Duration,
}

/// The last packet that jitter was measured on.
#[derive(Debug, Clone, Copy)]
struct Measured {
    payload_type: u8,
    timestamp: u32,
    transit: u32,
}

/// The receiving side of one leg; its size does not depend on what it receives.
#[derive(Debug, Clone, Default)]
pub struct Source {
    current: Option<Current>,
    candidates: [Option<Candidate>; CANDIDATES],
    measured: Option<Measured>,
    /// Jitter times 16 (RFC 3550 A.8).
    jitter: u32,
    /// Here `expected` is that of former sources.
    totals: SourceStats,
}

impl Source {
    /// A leg that has received nothing.
    pub fn new() -> Self {
        Source::default()
    }

    /// Decides on a packet that arrived at `now`; `clock_hz` is the clock of its payload type's timestamps.
    pub fn check(&mut self, packet: &Packet<'_>, now: Duration, clock_hz: u32) -> Verdict {
        let verdict = match &mut self.current {
            None => self.begin(packet, 1),
            Some(current) if current.ssrc == packet.ssrc => match current.update(packet.sequence) {
                Some(verdict) => verdict,
                None => self.begin(packet, MIN_SEQUENTIAL),
            },
            Some(current) => {
                let free = current.run < MIN_SEQUENTIAL || now.saturating_sub(current.heard) >= SILENCE;
                match (free, self.run_of_other(packet, now)) {
                    (true, run) if run >= MIN_SEQUENTIAL => self.begin(packet, run),
                    (true, _) => Verdict::Hold,
                    (false, _) => Verdict::Reject(Reason::OtherSource),
                }
            }
        };
        if let Some(current) = &mut self.current {
            match verdict {
                Verdict::Accept { sequence, .. } => {
                    current.received += 1;
                    current.heard = now;
                    self.totals.received += 1;
                    self.totals.reordered += u64::from(sequence < current.highest);
                    self.measure(packet, now, clock_hz);
                }
                Verdict::Duplicate => {
                    current.duplicates += 1;
                    self.totals.duplicates += 1;
                }
                Verdict::Hold => self.totals.held += 1,
                Verdict::Reject(Reason::OtherSource) => self.totals.rejected_ssrc += 1,
                Verdict::Reject(Reason::SequenceJump | Reason::TooLate) => self.totals.rejected_sequence += 1,
            }
        }
        verdict
    }

    /// The source that is heard, if any was.
    pub fn ssrc(&self) -> Option<u32> {
        self.current.map(|current| current.ssrc)
    }

    /// The counts so far.
    pub fn stats(&self) -> SourceStats {
        let expected = self.current.map_or(0, |current| current.expected());
        SourceStats { expected: self.totals.expected + expected, jitter: self.jitter >> 4, ..self.totals }
    }

    /// What a report block needs; `None` before the first packet.
    pub fn reception(&self) -> Option<Reception> {
        self.current.map(|current| Reception {
            ssrc: current.ssrc,
            restarts: self.totals.restarts,
            expected: current.expected(),
            received: current.received + current.duplicates,
            // To the other side the first packet's count of wraps is 0.
            highest_sequence: (current.highest - (current.first & !0xFFFF)) as u32,
            jitter: self.jitter >> 4,
        })
    }

    /// Makes the packet the first of the source that is heard.
    fn begin(&mut self, packet: &Packet<'_>, run: u32) -> Verdict {
        let before = self.current.take();
        // Two cycles on, so that late packets of before and after never share a number.
        let cycle = before.map_or(1, |before| (before.highest >> 16) + 2);
        let sequence = cycle << 16 | u64::from(packet.sequence);
        self.totals.expected += before.map_or(0, |before| before.expected());
        self.totals.restarts += u64::from(before.is_some());
        for place in &mut self.candidates {
            place.take_if(|candidate| candidate.ssrc == packet.ssrc);
        }
        self.current = Some(Current {
            ssrc: packet.ssrc,
            run,
            first: sequence,
            highest: sequence,
            window: 1,
            received: 0,
            duplicates: 0,
            after_jump: None,
            heard: Duration::ZERO,
        });
        self.measured = None;
        self.jitter = 0;
        Verdict::Accept { sequence, restarted: before.is_some() }
    }

    /// Notes a packet of a source that is not heard; how many it has sent in sequence.
    fn run_of_other(&mut self, packet: &Packet<'_>, now: Duration) -> u32 {
        let own = |place: &Option<Candidate>| place.is_some_and(|candidate| candidate.ssrc == packet.ssrc);
        let index = self.candidates.iter().position(own).unwrap_or_else(|| {
            // A free place comes first, as `None` is the least.
            (0..CANDIDATES).min_by_key(|&index| self.candidates[index].map(|candidate| candidate.heard)).unwrap_or(0)
        });
        let run = match self.candidates[index] {
            Some(known) if known.ssrc == packet.ssrc && known.next == packet.sequence => known.run.saturating_add(1),
            _ => 1,
        };
        let next = packet.sequence.wrapping_add(1);
        self.candidates[index] = Some(Candidate { ssrc: packet.ssrc, run, next, heard: now });
        run
    }

    /// RFC 3550 A.8. Packets that repeat a timestamp, as those of one telephone-event do, say nothing about transit.
    fn measure(&mut self, packet: &Packet<'_>, now: Duration, clock_hz: u32) {
        let arrival = units(now, clock_hz);
        let transit = arrival.wrapping_sub(packet.timestamp);
        let measured = Measured { payload_type: packet.payload_type, timestamp: packet.timestamp, transit };
        match self.measured.replace(measured) {
            Some(last) if last.payload_type != packet.payload_type => {}
            Some(last) if last.timestamp == packet.timestamp => self.measured = Some(last),
            Some(last) => {
                let change = (transit.wrapping_sub(last.transit) as i32).unsigned_abs();
                if change < units(JITTER_LIMIT, clock_hz) {
                    let sixteenth = self.jitter.saturating_add(8) >> 4;
                    self.jitter = self.jitter.saturating_add(change).saturating_sub(sixteenth);
                }
            }
            None => {}
        }
    }
}

/// A time in units of a clock, modulo 2^32.
fn units(time: Duration, clock_hz: u32) -> u32 {
    let hz = u64::from(clock_hz);
    let part = u64::from(time.subsec_nanos()) * hz / 1_000_000_000;
    time.as_secs().wrapping_mul(hz).wrapping_add(part) as u32
}

#[cfg(test)]
#[path = "source_tests.rs"]
mod tests;
