//! Datagrams with the time at which the kernel took them in: turns are 20 ms apart, arrivals must be told finer.

use std::io::IoSliceMut;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt};
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime};

/// Longest datagram that can be ours: 120 ms of slin16 is 3852 bytes.
const MAX_DATAGRAM: usize = 4096;
/// Turns between two looks at how far the wall clock, which stamps datagrams, is from ours.
const LOOK_EVERY: u32 = 50;

/// What came of asking for a datagram.
pub enum Received<'a> {
    /// Its bytes, and when it came by the clock thread's time.
    Datagram(&'a [u8], Duration),
    /// The peer has closed its port.
    Refused,
    /// None waits.
    Nothing,
}

/// A connected socket that is read without waiting.
pub struct Udp {
    pub socket: UdpSocket,
    buffer: Box<[u8; MAX_DATAGRAM]>,
    control: Vec<u8>,
    /// Wall time minus the clock thread's time.
    offset: Duration,
    turns: u32,
}

impl Udp {
    pub fn new(socket: UdpSocket) -> Udp {
        // Without it arrivals are taken for those of the turn, which is right to 20 ms.
        let _ = setsockopt(&socket, sockopt::ReceiveTimestampns, &true);
        let control = nix::cmsg_space!(TimeSpec);
        Udp { socket, buffer: Box::new([0; MAX_DATAGRAM]), control, offset: Duration::ZERO, turns: 0 }
    }

    /// To be called once in a turn, before the first [`Udp::receive`].
    pub fn begin(&mut self, now: Duration) {
        if self.turns.is_multiple_of(LOOK_EVERY) {
            let wall = clock_gettime(ClockId::CLOCK_REALTIME).map(Duration::from).unwrap_or_default();
            self.offset = wall.saturating_sub(now);
        }
        self.turns = self.turns.wrapping_add(1);
    }

    /// The next datagram.
    pub fn receive(&mut self, now: Duration) -> Received<'_> {
        let capacity = self.control.capacity();
        self.control.resize(capacity, 0);
        let fd = self.socket.as_raw_fd();
        let mut parts = [IoSliceMut::new(&mut self.buffer[..])];
        let got = recvmsg::<()>(fd, &mut parts, Some(&mut self.control), MsgFlags::MSG_DONTWAIT).map(|message| {
            let stamp = message.cmsgs().ok().and_then(|mut all| {
                all.find_map(|m| {
                    if let ControlMessageOwned::ScmTimestampns(t) = m { Some(Duration::from(t)) } else { None }
                })
            });
            (message.bytes, stamp)
        });
        match got {
            Ok((length, stamp)) => {
                // A wall clock that was set meanwhile must not throw arrivals about.
                let at = stamp.and_then(|s| s.checked_sub(self.offset)).filter(|at| {
                    *at <= now + Duration::from_millis(1) && now.saturating_sub(*at) < Duration::from_secs(1)
                });
                Received::Datagram(&self.buffer[..length], at.unwrap_or(now).min(now))
            }
            Err(Errno::ECONNREFUSED) => Received::Refused,
            Err(_) => Received::Nothing,
        }
    }
}
