//! A leg over RTP: packets through validation and jitter buffer to the session, a packet in 20 ms to the peer.

use std::time::Duration;

use mgw::telephony::codec::{Codec, TELEPHONE_EVENT, comfort_noise_level, is_comfort_noise};
use mgw::telephony::dtmf;
use mgw::telephony::jitter::{Config, JitterBuffer};
use mgw::telephony::outgoing::{Outgoing, Send};
use mgw::telephony::rtp::{Malformed, Packet, Stream};
use mgw::telephony::source::{Source, Verdict};

use super::clock::{PTIME, Tick};
use super::figures::RtpFigures;
use super::ports::{Connected, Guard};
use super::rtcp_side::RtcpSide;
use super::udp::Udp;
use super::voice::Voice;

/// Datagrams of one turn. A phone sends one or two; after a stall of half a second it may be thirty.
const MAX_PER_TURN: usize = 40;
/// Clock of telephone-events in Asterisk's static table of payload types.
const EVENT_CLOCK: u32 = 8000;
/// Most that a finished leg plays out of its jitter buffer, which holds two seconds at most.
const FINISH_MOST: Duration = Duration::from_secs(3);
/// How long a relayed digit is.
const DIGIT: Duration = Duration::from_millis(160);

/// What is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// An ExternalMedia channel. Asterisk 22 throws away the packet with sequence number 0 that follows 65535 (seen with
    /// 22.10.1), a hole of 20 ms every 22 minutes; a stream that goes on with 1 is heard whole.
    Asterisk,
    Any,
}

pub struct RtpLeg {
    peer: Peer,
    voice: Voice,
    udp: Udp,
    guard: Guard,
    rtcp: RtcpSide,
    way_in: WayIn,
    stream: Stream,
    outgoing: Outgoing,
    digits_out: dtmf::Sender,
    packet: Vec<u8>,
    marker: bool,
    /// Of the last turn.
    now: Duration,
}

/// From datagrams to frames.
struct WayIn {
    codec: Codec,
    source: Source,
    jitter: JitterBuffer,
    digits: dtmf::Receiver,
    samples: Vec<i16>,
    frame: Vec<i16>,
    began: bool,
    rejected: u64,
}

impl RtpLeg {
    pub fn new(voice: Voice, port: Connected, peer: Peer, codec: Codec, send: Send, jitter_ms: [u32; 2]) -> RtpLeg {
        let outgoing = Outgoing::new(send);
        let jitter = Config { hz: codec.hz(), min_ms: jitter_ms[0], max_ms: jitter_ms[1] };
        RtpLeg {
            peer,
            udp: Udp::new(port.rtp),
            guard: port.guard,
            rtcp: RtcpSide::new(port.rtcp, port.speaks_rtcp),
            way_in: WayIn {
                codec,
                source: Source::new(),
                jitter: JitterBuffer::new(jitter),
                digits: dtmf::Receiver::new(EVENT_CLOCK),
                samples: Vec::with_capacity(4096),
                frame: vec![0; voice.frame_in()],
                began: false,
                rejected: 0,
            },
            // RFC 3550 section 5.1: the three begin at random. The timestamp in the lower half, so that it does not wrap
            // in the first 37 hours of a call, where Asterisk may lose a frame.
            stream: Stream::new(rand::random(), rand::random(), rand::random::<u32>() >> 1),
            digits_out: dtmf::Sender::new(outgoing.clock_hz(), PTIME.as_millis() as u32),
            outgoing,
            packet: Vec::with_capacity(1500),
            // First packet of a stream (RFC 3551 section 4.1).
            marker: true,
            now: Duration::ZERO,
            voice,
        }
    }

    fn receive(&mut self, now: Duration) {
        let RtpLeg { udp, way_in, voice, rtcp, stream, .. } = self;
        udp.receive(now, MAX_PER_TURN, |bytes, at| match way_in.take(voice, bytes, at) {
            Ok(()) => {}
            Err(Malformed::Rtcp) => rtcp.take_shared(bytes, stream, &way_in.source, now),
            Err(_) => way_in.rejected += 1,
        });
        self.way_in.play(&mut self.voice, now);
    }

    fn send(&mut self) {
        while let Ok(digit) = self.voice.digits.try_recv() {
            let _ = self.digits_out.push(digit, DIGIT);
        }
        if self.peer == Peer::Asterisk && self.stream.sequence() == 0 {
            self.stream.skip_number();
        }
        let step = self.outgoing.step();
        let frame = self.voice.hear();
        if let Some(event) = self.digits_out.next(self.stream.timestamp()) {
            self.stream.write_at(&mut self.packet, TELEPHONE_EVENT, event.marker, event.timestamp, |out| {
                out.extend_from_slice(&event.payload);
            });
            self.stream.skip(step);
        } else {
            let outgoing = &mut self.outgoing;
            let payload_type = outgoing.payload_type();
            self.stream.write(&mut self.packet, payload_type, std::mem::take(&mut self.marker), step, |out| {
                outgoing.encode(frame, out);
            });
        }
        match self.udp.socket.send(&self.packet) {
            Ok(_) => self.voice.figures.frames_out += 1,
            Err(_) => self.voice.figures.frames_not_sent += 1,
        }
    }

    fn publish(&mut self, now: Duration) {
        let (source, jitter) = (self.way_in.source.stats(), self.way_in.jitter.stats());
        let ms = |samples: u64| samples as f64 * 1000.0 / f64::from(self.way_in.codec.hz());
        self.voice.figures.rtp = Some(RtpFigures {
            packets_lost: source.lost(),
            packets_duplicate: source.duplicates,
            packets_reordered: source.reordered,
            packets_late: jitter.late,
            packets_rejected: self.way_in.rejected + source.rejected_ssrc + source.rejected_sequence + source.held,
            strangers: self.guard.count(),
            jitter_ms: source.jitter_ms(self.way_in.codec.hz()),
            buffer_ms: jitter.depth_ms,
            buffer_target_ms: jitter.target_ms,
            concealed_ms: ms(jitter.concealed_samples),
            inserted_ms: ms(jitter.inserted_samples),
            removed_ms: ms(jitter.removed_samples),
            source_restarts: source.restarts,
            round_trip_ms: self.rtcp.round_trip_ms(),
        });
        self.voice.publish(now);
    }
}

impl WayIn {
    /// One datagram that arrived at `at`.
    fn take(&mut self, voice: &mut Voice, bytes: &[u8], at: Duration) -> Result<(), Malformed> {
        let packet = Packet::parse(bytes)?;
        let event = packet.payload_type == TELEPHONE_EVENT;
        let noise = is_comfort_noise(packet.payload_type);
        if !event && !noise && !self.codec.accepts(packet.payload_type) {
            self.rejected += 1;
            return Ok(());
        }
        let clock = if event { EVENT_CLOCK } else { self.codec.hz() };
        let Verdict::Accept { sequence, restarted } = self.source.check(&packet, at, clock) else { return Ok(()) };
        if restarted {
            self.jitter.restart();
            self.digits.restart(|digit| voice.digit(digit.digit));
        }
        voice.came(at);
        if event {
            self.jitter.not_audio(sequence);
            self.digits.receive(packet.timestamp, packet.payload, at, |digit| voice.digit(digit.digit));
        } else if noise {
            match comfort_noise_level(packet.payload) {
                Some(level) => self.jitter.comfort_noise(at, sequence, packet.timestamp, level),
                None => self.jitter.not_audio(sequence),
            }
        } else {
            self.samples.clear();
            if self.codec.decode(packet.payload, &mut self.samples).is_ok() {
                self.began = true;
                self.jitter.put(at, sequence, packet.timestamp, &self.samples);
            } else {
                self.rejected += 1;
            }
        }
        Ok(())
    }

    /// One frame for the session.
    fn play(&mut self, voice: &mut Voice, now: Duration) {
        self.digits.poll(now, |digit| voice.digit(digit.digit));
        if self.began {
            self.jitter.get(now, &mut self.frame);
            voice.say(&self.frame);
        }
    }
}

impl Tick for RtpLeg {
    fn tick(&mut self, now: Duration, skipped: u32) -> bool {
        if skipped > 0 {
            self.stream.skip(self.outgoing.step().saturating_mul(skipped));
            self.marker = true;
            // What the leg said meanwhile waits in the socket and is played on, late; nothing is skipped.
        }
        self.receive(now);
        self.send();
        self.rtcp.turn(&self.udp.socket, &self.stream, &self.way_in.source, now);
        self.now = now;
        if self.voice.second() {
            self.publish(now);
        }
        true
    }

    fn finish(&mut self, now: Duration) {
        self.receive(now);
        // Each frame takes time off the buffer; at most its whole length waits in it.
        let mut at = now;
        while self.way_in.jitter.stats().queued_samples > 0 && at < now + FINISH_MOST {
            at += PTIME;
            self.way_in.play(&mut self.voice, at);
        }
    }
}

impl Drop for RtpLeg {
    fn drop(&mut self) {
        self.rtcp.leave(&self.udp.socket, &self.stream, &self.way_in.source, self.now);
    }
}
