//! RTP ports: bound for one peer each, closed to everybody else.
//!
//! Three sockets make a port. The RTP socket is connected to the address that Asterisk named, so the kernel itself
//! drops what strangers send; until then a filter drops everything, so nothing waits in it. A guard on the same port,
//! never connected and with that filter for ever, is where the kernel delivers strangers' packets: it answers nothing
//! (no ICMP either), and the kernel counts what it dropped. RTCP has the odd port above, where it is wanted.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use socket2::{Domain, Protocol, SockFilter, Socket, Type};

use super::MediaError;

/// Classic BPF `ret #0`: keep zero bytes of every packet (linux/filter.h: BPF_RET | BPF_K).
fn drop_everything() -> [SockFilter; 1] {
    [SockFilter::new(0x06, 0, 0, 0)]
}

/// A bound RTP port; nothing is received on it until [`Reserved::connect`].
pub struct Reserved {
    /// What Asterisk is told as `external_host`.
    pub address: SocketAddr,
    rtp: Socket,
    rtcp: Option<Socket>,
    guard: Socket,
    total: Arc<Strangers>,
}

/// A port that belongs to one peer.
pub struct Connected {
    pub rtp: UdpSocket,
    /// Odd port above, for peers that speak RTCP.
    pub rtcp: Option<UdpSocket>,
    /// Whether RTCP is answered at all.
    pub speaks_rtcp: bool,
    pub guard: Guard,
}

/// Receives nothing and counts what strangers sent.
pub struct Guard {
    socket: Socket,
    told: u64,
    total: Arc<Strangers>,
}

/// Packets of strangers to all ports, those of ended calls included.
#[derive(Default)]
pub struct Strangers(AtomicU64);

impl Strangers {
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The range of ports.
pub struct Ports {
    ip: IpAddr,
    first: u16,
    last: u16,
    rtcp: bool,
    next: Mutex<u16>,
    strangers: Arc<Strangers>,
}

impl Ports {
    pub fn new(ip: IpAddr, range: [u16; 2], rtcp: bool) -> Ports {
        let first = range[0].next_multiple_of(2);
        Ports { ip, first, last: range[1], rtcp, next: Mutex::new(first), strangers: Arc::default() }
    }

    /// Packets that came from other addresses than those that Asterisk named.
    pub fn strangers(&self) -> u64 {
        self.strangers.count()
    }

    /// Binds `preferred` if it is free, else the next free port of the range.
    ///
    /// # Errors
    /// Busy when no port is free; failed when the system refuses for another reason.
    pub fn reserve(&self, preferred: Option<u16>) -> Result<Reserved, MediaError> {
        if let Some(port) = preferred {
            match self.bind(port) {
                Ok(reserved) => return Ok(reserved),
                Err(e) if e.kind() == io::ErrorKind::AddrInUse => {}
                Err(e) => return Err(refused(self.ip, port, &e)),
            }
        }
        let pairs = (self.last - self.first) / 2 + 1;
        for _ in 0..pairs {
            let port = self.take_next();
            match self.bind(port) {
                Ok(reserved) => return Ok(reserved),
                Err(e) if e.kind() == io::ErrorKind::AddrInUse => {}
                Err(e) => return Err(refused(self.ip, port, &e)),
            }
        }
        Err(MediaError::Busy(format!("no free RTP port from {} to {} (shim.rtp.ports)", self.first, self.last)))
    }

    /// Ports are taken in turn, so that late packets of an ended call find nobody.
    fn take_next(&self) -> u16 {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let port = *next;
        *next = if self.last - port < 2 { self.first } else { port + 2 };
        port
    }

    fn bind(&self, port: u16) -> io::Result<Reserved> {
        let address = SocketAddr::new(self.ip, port);
        // Alone on the port first: two shims of one user would share it silently if both allowed it from the start.
        let rtp = closed_socket(self.ip)?;
        rtp.bind(&address.into())?;
        let guard = closed_socket(self.ip)?;
        rtp.set_reuse_port(true)?;
        guard.set_reuse_port(true)?;
        guard.bind(&address.into())?;
        rtp.set_reuse_port(false)?;
        guard.set_reuse_port(false)?;
        let rtcp = match self.rtcp.then(|| self.bind_rtcp(port)) {
            Some(socket) => Some(socket?),
            None => None,
        };
        Ok(Reserved {
            address: rtp.local_addr()?.as_socket().unwrap_or(address),
            rtp,
            rtcp,
            guard,
            total: self.strangers.clone(),
        })
    }

    fn bind_rtcp(&self, port: u16) -> io::Result<Socket> {
        let socket = closed_socket(self.ip)?;
        socket.bind(&SocketAddr::new(self.ip, port + 1).into())?;
        Ok(socket)
    }
}

fn closed_socket(ip: IpAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(SocketAddr::new(ip, 0)), Type::DGRAM, Some(Protocol::UDP))?;
    socket.attach_filter(&drop_everything())?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn refused(ip: IpAddr, port: u16, e: &io::Error) -> MediaError {
    MediaError::Failed(format!("cannot use UDP port {ip}:{port}: {e} (shim.rtp.bind, LimitNOFILE)"))
}

impl Reserved {
    /// Opens the port for one peer.
    ///
    /// # Errors
    /// The system has no way to the peer.
    pub fn connect(self, peer: SocketAddr) -> io::Result<Connected> {
        let open = |socket: Socket, peer: SocketAddr| {
            socket.connect(&peer.into())?;
            socket.detach_filter()?;
            io::Result::Ok(UdpSocket::from(socket))
        };
        let rtcp = match (self.rtcp, peer.port().checked_add(1)) {
            (Some(socket), Some(port)) => Some(open(socket, SocketAddr::new(peer.ip(), port))?),
            _ => None,
        };
        let rtp = open(self.rtp, peer)?;
        Ok(Connected {
            rtp,
            speaks_rtcp: rtcp.is_some(),
            rtcp,
            guard: Guard { socket: self.guard, told: 0, total: self.total },
        })
    }
}

impl Guard {
    /// Packets that strangers sent to this port so far.
    pub fn count(&mut self) -> u64 {
        let drops = u64::from(mgw::sys::socket_drops(&self.socket).unwrap_or(0));
        self.total.0.fetch_add(drops.saturating_sub(self.told), Ordering::Relaxed);
        self.told = self.told.max(drops);
        self.told
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.count();
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::{Duration, Instant};

    use super::*;

    fn ports(range: [u16; 2]) -> Ports {
        Ports::new(Ipv4Addr::LOCALHOST.into(), range, true)
    }

    fn peer() -> UdpSocket {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("peer");
        socket.set_nonblocking(true).expect("non-blocking");
        socket
    }

    fn received(socket: &UdpSocket) -> Vec<Vec<u8>> {
        let mut buf = [0; 2048];
        std::iter::from_fn(|| socket.recv(&mut buf).ok().map(|n| buf[..n].to_vec())).collect()
    }

    fn until(what: &str, mut done: impl FnMut() -> bool) {
        let end = Instant::now() + Duration::from_secs(10);
        while !done() {
            assert!(Instant::now() < end, "waited for {what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn only_the_peer_gets_in_and_strangers_are_counted() {
        let (friend, stranger) = (peer(), peer());
        let ports = ports([41_000, 41_099]);
        let reserved = ports.reserve(None).expect("port");
        let at = reserved.address;
        // Before Asterisk has told its address, nothing may wait in the socket.
        stranger.send_to(b"early", at).expect("send");
        friend.send_to(b"early too", at).expect("send");
        let mut port = reserved.connect(friend.local_addr().expect("address")).expect("connect");
        for n in 0..100u8 {
            stranger.send_to(&[n; 172], at).expect("strangers hear no refusal");
        }
        friend.send_to(b"hello", at).expect("send");
        let mut heard = Vec::new();
        until("the friend's packet", || {
            heard.extend(received(&port.rtp));
            !heard.is_empty()
        });
        assert_eq!(heard, [b"hello".to_vec()]);
        until("the count", || port.guard.count() >= 100);
        assert!(received(&stranger).is_empty());
        drop(port);
        assert!(ports.strangers() >= 100, "ended calls stay in the sum");
    }

    #[test]
    fn a_preferred_port_is_taken_once_and_the_range_ends() {
        let ports = ports([41_100, 41_104]);
        let fixed = ports.reserve(Some(41_200)).expect("fixed");
        assert_eq!(fixed.address.port(), 41_200);
        let others: Vec<Reserved> = (0..3).map(|_| ports.reserve(Some(41_200)).expect("range")).collect();
        assert_eq!(others.iter().map(|r| r.address.port()).collect::<Vec<_>>(), [41_100, 41_102, 41_104]);
        assert!(matches!(ports.reserve(Some(41_200)), Err(MediaError::Busy(_))));
        drop(others);
        assert!(ports.reserve(None).is_ok());
    }

    #[test]
    fn another_process_of_ours_cannot_share_a_port() {
        let ports = ports([41_300, 41_300]);
        let held = ports.reserve(None).expect("port");
        let other = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP)).expect("socket");
        other.set_reuse_port(true).expect("option");
        other.set_reuse_address(true).expect("option");
        assert!(other.bind(&held.address.into()).is_err());
    }
}
