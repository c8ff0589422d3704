//! Phones for the shim and for rtpengine: one thread, a connected socket each, 50 packets a second both ways.

use std::io::IoSliceMut;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use mgw::telephony::codec::Codec;
use mgw::telephony::rtp::{Packet, Stream};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt};
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime};

use super::pattern::{self, Ear, Heard};
use crate::stat::{Chance, FRAME, sleep_until};

/// The generator wakes so often. Each phone sends at a slot of its own, by chance: phones know nothing of each other, so
/// packets do not come in bursts.
const SLOT: Duration = Duration::from_micros(100);
const SLOTS: usize = 200;
/// Each socket is read in every so many slots: two packets at a time cost fewer system calls than one. A whole number of these
/// makes a measured time, so that as many packets fall in at its one end as out at the other.
const READ_SLOTS: usize = 400;
/// Bytes that may wait in a phone's socket: far more than come in [`READ_SLOTS`].
const BUFFER: usize = 128 * 1024;
/// Samples, and bytes of mu-law, of a frame.
const STEP: usize = 160;

struct Phone {
    socket: UdpSocket,
    stream: Stream,
    last: Option<(u16, u32, u32)>,
    ear: Ear,
    count: Count,
    /// Running packet number and time of arrival, while wanted.
    arrivals: Vec<(u32, Duration)>,
}

/// Sums over phones.
#[derive(Clone, Copy, Debug, Default)]
pub struct Count {
    pub sent: u64,
    pub not_sent: u64,
    pub received: u64,
    /// Steps of sequence number, timestamp or SSRC that are not those of an even stream.
    pub uneven: u64,
}

/// What a measured stretch of time gave.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    pub seconds: f64,
    pub count: Count,
    pub heard: Heard,
    /// Packets that found a phone's socket full.
    pub socket_drops: u64,
    /// Phones of which fewer or more packets came than one in 20 ms, give or take one.
    pub wrong_pace: usize,
    /// How late the generator's own slots were, in ms.
    pub late: Vec<f64>,
    /// Deviation of each packet from its stream's 20 ms grid in ms, if arrivals were kept.
    pub deviation: Vec<f64>,
}

/// All phones of a measurement.
pub struct Load {
    phones: Vec<Phone>,
    /// Phones of each slot.
    slots: Vec<Vec<usize>>,
    /// Number of the next slot, and when slot 0 was.
    slot: usize,
    began: Instant,
    control: Vec<u8>,
    keep_arrivals: bool,
}

impl Load {
    /// So many phones, two to a call, with sockets of their own.
    pub fn new(phones: usize) -> Load {
        let phones = (0..phones as u32).map(|i| {
            let socket = UdpSocket::bind("127.0.0.1:0").expect("port");
            socket.set_nonblocking(true).expect("non-blocking");
            // The kernel may cut this at net.core.rmem_max (212992 by default, more than is asked for).
            setsockopt(&socket, sockopt::RcvBuf, &BUFFER).expect("receive buffer");
            setsockopt(&socket, sockopt::ReceiveTimestampns, &true).expect("receive timestamps");
            Phone {
                socket,
                stream: Stream::new(0x4D47_0000 | i, 1, 0),
                last: None,
                ear: Ear::new(i ^ 1),
                count: Count::default(),
                arrivals: Vec::new(),
            }
        });
        let phones: Vec<Phone> = phones.collect();
        let mut chance = Chance::new(5);
        let mut slots = vec![Vec::new(); SLOTS];
        for phone in 0..phones.len() {
            slots[chance.below(SLOT * SLOTS as u32).as_micros() as usize / SLOT.as_micros() as usize].push(phone);
        }
        let control = nix::cmsg_space!(TimeSpec);
        Load { phones, slots, slot: 0, began: Instant::now(), control, keep_arrivals: false }
    }

    /// Where a phone is.
    pub fn address(&self, phone: usize) -> SocketAddr {
        self.phones[phone].socket.local_addr().expect("address")
    }

    /// Tells a phone where to send; from there only it receives.
    pub fn connect(&self, phone: usize, leg: SocketAddr) {
        self.phones[phone].socket.connect(leg).expect("connect");
    }

    /// Talks for so long without counting.
    pub fn warm_up(&mut self, time: Duration) {
        self.began = Instant::now() - SLOT * self.slot as u32;
        self.run(time, &mut Vec::new());
    }

    /// Talks for so long and counts; with `arrivals` also when each packet came.
    pub fn measure(&mut self, time: Duration, arrivals: bool) -> Outcome {
        self.keep_arrivals = arrivals;
        let drops_before = self.drops();
        for phone in &mut self.phones {
            phone.ear.begin();
            phone.count = Count::default();
            phone.arrivals.clear();
            phone.arrivals.reserve(if arrivals { time.as_millis() as usize / 20 + 20 } else { 0 });
        }
        let began = Instant::now();
        let mut late = Vec::with_capacity((time.as_micros() / SLOT.as_micros()) as usize);
        self.run(time, &mut late);
        let seconds = began.elapsed().as_secs_f64();
        let mut outcome = Outcome { seconds, late, socket_drops: self.drops() - drops_before, ..Outcome::default() };
        let frames = seconds / FRAME.as_secs_f64();
        for phone in &self.phones {
            let (heard, count) = (phone.ear.end(), phone.count);
            outcome.count.sent += count.sent;
            outcome.count.not_sent += count.not_sent;
            outcome.count.received += count.received;
            outcome.count.uneven += count.uneven;
            outcome.heard.whole += heard.whole;
            outcome.heard.lost += heard.lost;
            outcome.heard.altered += heard.altered;
            outcome.heard.repeated += heard.repeated;
            outcome.heard.foreign += heard.foreign;
            // Packets that are on their way fall to the one or the other side of each end.
            let slack = 2.0 + (READ_SLOTS / SLOTS) as f64;
            outcome.wrong_pace += usize::from((count.received as f64 - frames).abs() > slack);
            outcome.deviation.extend(deviations(&phone.arrivals));
        }
        outcome
    }

    fn drops(&self) -> u64 {
        self.phones.iter().map(|p| u64::from(mgw::sys::socket_drops(&p.socket).expect("SO_MEMINFO"))).sum()
    }

    fn run(&mut self, time: Duration, late: &mut Vec<f64>) {
        mgw::sys::adopt_thread();
        for _ in 0..time.as_micros() / SLOT.as_micros() {
            let due = self.began + SLOT * self.slot as u32;
            sleep_until(due);
            late.push(due.elapsed().as_secs_f64() * 1e3);
            let frame = (self.slot / SLOTS) as u32;
            for &i in &self.slots[self.slot % SLOTS] {
                self.phones[i].send(i as u32, frame);
            }
            let offset = if self.keep_arrivals { wall_offset() } else { Duration::ZERO };
            for i in (self.slot % READ_SLOTS..self.phones.len()).step_by(READ_SLOTS) {
                self.phones[i].receive(&mut self.control, self.keep_arrivals.then_some(offset));
            }
            self.slot += 1;
        }
    }
}

/// Wall time, which stamps datagrams, minus the monotonic clock's, which no one sets.
fn wall_offset() -> Duration {
    let now = |clock| clock_gettime(clock).map(Duration::from).expect("clock");
    now(ClockId::CLOCK_REALTIME) - now(ClockId::CLOCK_MONOTONIC)
}

impl Phone {
    fn send(&mut self, number: u32, frame: u32) {
        let mut packet = Vec::with_capacity(12 + STEP);
        self.stream.write(&mut packet, Codec::Pcmu.payload_type(), frame == 0, STEP as u32, |out| {
            let at = out.len();
            out.resize(at + STEP, 0);
            pattern::write(frame, number, &mut out[at..]);
        });
        match self.socket.send(&packet) {
            Ok(_) => self.count.sent += 1,
            Err(_) => self.count.not_sent += 1,
        }
    }

    fn receive(&mut self, control: &mut Vec<u8>, stamp_offset: Option<Duration>) {
        let mut buffer = [0; 2048];
        loop {
            control.resize(control.capacity(), 0);
            let mut parts = [IoSliceMut::new(&mut buffer)];
            let fd = self.socket.as_raw_fd();
            let Ok(message) = recvmsg::<()>(fd, &mut parts, Some(control), MsgFlags::MSG_DONTWAIT) else { return };
            let stamp = stamp_offset.and_then(|offset| {
                let stamp = message.cmsgs().ok()?.find_map(|m| match m {
                    ControlMessageOwned::ScmTimestampns(t) => Some(Duration::from(t)),
                    _ => None,
                });
                Some(stamp.expect("the kernel stamps datagrams") - offset)
            });
            let length = message.bytes;
            self.take(&buffer[..length], stamp);
        }
    }

    fn take(&mut self, bytes: &[u8], stamp: Option<Duration>) {
        let Ok(packet) = Packet::parse(bytes) else {
            self.count.uneven += 1;
            return;
        };
        self.count.received += 1;
        if let Some((sequence, timestamp, ssrc)) = self.last {
            let even = packet.sequence == sequence.wrapping_add(1)
                && packet.timestamp == timestamp.wrapping_add(STEP as u32)
                && packet.ssrc == ssrc;
            self.count.uneven += u64::from(!even);
        }
        if let Some(stamp) = stamp {
            let number = match (self.last, self.arrivals.last()) {
                (Some((sequence, ..)), Some((number, _))) => {
                    number.wrapping_add(u32::from(packet.sequence.wrapping_sub(sequence)))
                }
                _ => 0,
            };
            self.arrivals.push((number, stamp));
        }
        self.last = Some((packet.sequence, packet.timestamp, packet.ssrc));
        self.ear.take(packet.payload);
    }
}

/// How far each arrival lies from its place on a grid of 20 ms, whose origin is the one that makes the median zero; in ms.
pub fn deviations(arrivals: &[(u32, Duration)]) -> Vec<f64> {
    let Some((_, first)) = arrivals.first().copied() else { return Vec::new() };
    let place = |(number, at): &(u32, Duration)| {
        at.as_secs_f64() * 1e3 - first.as_secs_f64() * 1e3 - f64::from(*number) * FRAME.as_secs_f64() * 1e3
    };
    let places: Vec<f64> = arrivals.iter().map(place).collect();
    let origin = crate::stat::median(&places);
    places.into_iter().map(|p| (p - origin).abs()).collect()
}
