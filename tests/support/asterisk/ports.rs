//! Ports for one Asterisk and what is tested with it.

use std::net::{TcpListener, UdpSocket};
use std::ops::Range;

const SIZE: u16 = 1000;
/// Starts of blocks: below the range that the system gives to clients, and beside 17000 and 18000, which the classic
/// fixed ports of the shim need.
const STARTS: [u16; 19] = [
    20000, 21000, 22000, 23000, 24000, 25000, 26000, 27000, 28000, 29000, 30000, 31000, 11000, 12000, 13000, 14000,
    15000, 16000, 10000,
];

/// A block of ports that belongs to this process as long as the value lives.
pub struct Ports {
    start: u16,
    /// Holding it is the claim; it goes with the process, however that ends.
    _claim: TcpListener,
}

impl Ports {
    pub fn claim() -> Ports {
        // Different processes begin at different blocks, so that they seldom try for the same one.
        let first = std::process::id() as usize % STARTS.len();
        for i in 0..STARTS.len() {
            let start = STARTS[(first + i) % STARTS.len()];
            let Ok(claim) = TcpListener::bind(("127.0.0.1", start)) else { continue };
            let ports = Ports { start, _claim: claim };
            let tcp = [ports.http(), ports.manager(), ports.audiosocket()];
            let udp = [ports.sip(), ports.rtp().start, ports.shim().start];
            if tcp.iter().all(|p| TcpListener::bind(("127.0.0.1", *p)).is_ok())
                && udp.iter().all(|p| UdpSocket::bind(("127.0.0.1", *p)).is_ok())
            {
                return ports;
            }
        }
        panic!("no block of {SIZE} free ports among {STARTS:?}");
    }

    pub fn http(&self) -> u16 {
        self.start + 1
    }

    pub fn sip(&self) -> u16 {
        self.start + 2
    }

    pub fn manager(&self) -> u16 {
        self.start + 3
    }

    /// Where the dialplan looks for the shim's AudioSocket server.
    pub fn audiosocket(&self) -> u16 {
        self.start + 4
    }

    /// Asterisk's own RTP.
    pub fn rtp(&self) -> Range<u16> {
        self.start + 10..self.start + 600
    }

    /// For the sockets of what is tested: Asterisk never takes one of these.
    pub fn shim(&self) -> Range<u16> {
        self.start + 600..self.start + SIZE
    }
}
