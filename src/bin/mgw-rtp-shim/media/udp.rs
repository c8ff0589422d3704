//! Datagrams with the time at which the kernel took them in: turns are 20 ms apart, arrivals must be told finer.

use std::cell::RefCell;
use std::io::IoSliceMut;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, MultiHeaders, recvmmsg, setsockopt, sockopt};
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime};

/// Longest datagram that can be ours: 120 ms of slin16 is 3852 bytes.
const MAX_DATAGRAM: usize = 4096;
/// Datagrams that one system call takes.
const BATCH: usize = 4;
/// Turns between two looks at how far the wall clock, which stamps datagrams, is from ours.
const LOOK_EVERY: u32 = 50;

/// Where datagrams are read to: one place for all sockets of a thread, so that it stays in the cache.
struct Space {
    headers: MultiHeaders<()>,
    buffers: Box<[[u8; MAX_DATAGRAM]; BATCH]>,
}

thread_local! {
    static SPACE: RefCell<Space> = RefCell::new(Space {
        headers: MultiHeaders::preallocate(BATCH, Some(nix::cmsg_space!(TimeSpec))),
        buffers: Box::new([[0; MAX_DATAGRAM]; BATCH]),
    });
}

/// A connected socket that is read without waiting.
pub struct Udp {
    pub socket: UdpSocket,
    /// Wall time minus the clock thread's time.
    offset: Duration,
    turns: u32,
}

impl Udp {
    pub fn new(socket: UdpSocket) -> Udp {
        // Without it arrivals are taken for those of the turn, which is right to 20 ms.
        let _ = setsockopt(&socket, sockopt::ReceiveTimestampns, &true);
        Udp { socket, offset: Duration::ZERO, turns: 0 }
    }

    /// Takes what came, `most` datagrams or a few more: gives `each` the bytes, and when they came by the clock thread's
    /// time. To be called at `now`, once in a turn.
    pub fn receive(&mut self, now: Duration, most: usize, mut each: impl FnMut(&[u8], Duration)) {
        self.look_at_clocks(now);
        SPACE.with_borrow_mut(|space| {
            for _ in 0..most.div_ceil(BATCH) {
                match self.receive_batch(space, now, &mut each) {
                    Ok(BATCH) => {}
                    // The peer has closed its port: the call is over, or about to be; ARI tells.
                    Err(Errno::ECONNREFUSED) => {}
                    Ok(_) | Err(_) => return,
                }
            }
        });
    }

    fn look_at_clocks(&mut self, now: Duration) {
        if self.turns.is_multiple_of(LOOK_EVERY) {
            let wall = clock_gettime(ClockId::CLOCK_REALTIME).map(Duration::from).unwrap_or_default();
            self.offset = wall.saturating_sub(now);
        }
        self.turns = self.turns.wrapping_add(1);
    }

    fn receive_batch(
        &self,
        space: &mut Space,
        now: Duration,
        each: &mut impl FnMut(&[u8], Duration),
    ) -> Result<usize, Errno> {
        let mut parts = space.buffers.each_mut().map(|buffer| [IoSliceMut::new(buffer)]);
        let fd = self.socket.as_raw_fd();
        let messages = recvmmsg(fd, &mut space.headers, parts.iter_mut(), MsgFlags::MSG_DONTWAIT, None)?;
        let mut count = 0;
        for message in messages {
            count += 1;
            let stamp = message.cmsgs().ok().and_then(|mut all| {
                all.find_map(|m| {
                    if let ControlMessageOwned::ScmTimestampns(t) = m { Some(Duration::from(t)) } else { None }
                })
            });
            // A wall clock that was set meanwhile must not throw arrivals about.
            let at = stamp
                .and_then(|s| s.checked_sub(self.offset))
                .filter(|at| *at <= now + Duration::from_millis(1) && now.saturating_sub(*at) < Duration::from_secs(1));
            let at = at.unwrap_or(now).min(now);
            message.iovs().for_each(|bytes| each(bytes, at));
        }
        Ok(count)
    }
}
