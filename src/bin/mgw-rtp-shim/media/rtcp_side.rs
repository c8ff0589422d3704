//! RTCP of a leg: silent until the peer speaks it, then a report every five seconds or so, and a BYE at the end.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use std::net::UdpSocket;

use mgw::telephony::rtcp::{INTERVAL, Ntp, Session};
use mgw::telephony::rtp::Stream;
use mgw::telephony::source::Source;

use super::udp::Udp;

/// Turns between two looks at the RTCP port: half a second is soon enough for what comes every five.
const LOOK_EVERY: u32 = 25;
/// Datagrams of one look.
const MAX_PER_LOOK: usize = 8;
/// Canonical name of all our streams: they are one participant. Nothing of the host is told (RFC 7022).
const CNAME: &str = "mgw";

/// Where the peer wants its reports.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// The odd port above.
    Port,
    /// The port of RTP (RFC 5761).
    Shared,
}

pub struct RtcpSide {
    wanted: bool,
    udp: Option<Udp>,
    session: Session,
    /// Set when the peer has spoken RTCP.
    way: Option<Way>,
    next: Duration,
    turns: u32,
    round_trip: Option<Duration>,
    packet: Vec<u8>,
}

fn ntp() -> Ntp {
    Ntp::from_unix(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

impl RtcpSide {
    /// `wanted` is false where RTCP is switched off.
    pub fn new(socket: Option<UdpSocket>, wanted: bool) -> RtcpSide {
        RtcpSide {
            wanted,
            udp: socket.map(Udp::new),
            session: Session::new(CNAME),
            way: None,
            next: Duration::ZERO,
            turns: 0,
            round_trip: None,
            packet: Vec::with_capacity(256),
        }
    }

    /// A datagram that came on the port of RTP.
    pub fn take_shared(&mut self, bytes: &[u8], stream: &Stream, source: &Source, now: Duration) {
        if self.wanted && take(&mut self.session, &mut self.round_trip, bytes, stream, source, now) {
            heard(&mut self.way, &mut self.next, Way::Shared, now);
        }
    }

    /// Reads and sends what is due; called once in 20 ms.
    pub fn turn(&mut self, rtp: &UdpSocket, stream: &Stream, source: &Source, now: Duration) {
        self.turns = self.turns.wrapping_add(1);
        if let Some(udp) = &mut self.udp
            && self.turns.is_multiple_of(LOOK_EVERY)
        {
            let RtcpSide { session, round_trip, way, next, .. } = self;
            udp.receive(now, MAX_PER_LOOK, |bytes, _| {
                if take(session, round_trip, bytes, stream, source, now) {
                    heard(way, next, Way::Port, now);
                }
            });
        }
        if self.way.is_some() && now >= self.next {
            // Half to one and a half of the interval, so that many legs do not report at once (RFC 3550 section 6.3.1).
            self.next = now + INTERVAL.mul_f64(rand::random_range(0.5..1.5));
            self.session.report(&mut self.packet, stream, source, ntp(), now);
            self.send(rtp);
        }
    }

    /// Says good-bye if the peer speaks RTCP.
    pub fn leave(&mut self, rtp: &UdpSocket, stream: &Stream, source: &Source, now: Duration) {
        if self.way.is_some() {
            self.session.leave(&mut self.packet, stream, source, ntp(), now);
            self.send(rtp);
        }
    }

    /// Time to the peer and back, as its reports tell.
    pub fn round_trip_ms(&self) -> Option<f64> {
        self.round_trip.map(|time| time.as_secs_f64() * 1000.0)
    }

    fn send(&self, rtp: &UdpSocket) {
        let socket = match (self.way, &self.udp) {
            (Some(Way::Port), Some(udp)) => &udp.socket,
            _ => rtp,
        };
        // A report that does not get through is followed by another.
        let _ = socket.send(&self.packet);
    }
}

fn take(
    session: &mut Session,
    round_trip: &mut Option<Duration>,
    bytes: &[u8],
    stream: &Stream,
    source: &Source,
    now: Duration,
) -> bool {
    let Ok(received) = session.receive(bytes, stream, source, ntp(), now) else { return false };
    *round_trip = received.round_trip.or(*round_trip);
    true
}

fn heard(known: &mut Option<Way>, next: &mut Duration, way: Way, now: Duration) {
    if known.is_none() {
        *next = now;
    }
    *known = Some(way);
}
