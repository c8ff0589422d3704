//! The line of a light phone: SIP (RFC 3261) over UDP, as much of it as one call needs, and its RTP.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::light::{State, Todo};
use super::light_ear::Ear;
use super::phones::RATE;

const FRAME: usize = RATE as usize / 50;
const FRAME_TIME: Duration = Duration::from_millis(20);
/// Payload type that the phone offers for L16/16000.
pub(super) const L16: u8 = 96;
/// The same at 8 kHz, after [`LightPhone::narrow`].
const L16_8: u8 = 97;

/// The phone's side of one SIP dialog (RFC 3261), as much of it as one call needs.
pub(super) struct Sip {
    sip: UdpSocket,
    rtp: UdpSocket,
    gateway: SocketAddr,
    own: SocketAddr,
    uri: String,
    tag: String,
    call_id: String,
    /// The gateway's tag, and the address that requests within the call go to.
    to: String,
    contact: String,
    sequence: u32,
    /// Of the endpoint.
    name: &'static str,
    /// Sampling rate on the line.
    rate: u32,
    /// Of our descriptions of the session, and what the one under way offers.
    version: u32,
    direction: &'static str,
    offered: u32,
}

impl Sip {
    pub(super) fn new(port: u16, name: &'static str, extension: &str) -> Sip {
        let sip = UdpSocket::bind("127.0.0.1:0").expect("a SIP socket");
        let rtp = UdpSocket::bind("127.0.0.1:0").expect("an RTP socket");
        let own = sip.local_addr().expect("address");
        let uri = format!("sip:{extension}@127.0.0.1:{port}");
        // The port alone may come again within the half minute for which Asterisk keeps a transaction.
        static CALLS: AtomicU32 = AtomicU32::new(0);
        let unique = format!("{}-{}-{}", own.port(), std::process::id(), CALLS.fetch_add(1, Ordering::Relaxed));
        let (to, contact) = (format!("<{uri}>"), uri.clone());
        let gateway = SocketAddr::from(([127, 0, 0, 1], port));
        let call_id = unique.clone();
        let direction = "sendrecv";
        let (rate, offered) = (RATE, RATE);
        Sip {
            sip,
            rtp,
            gateway,
            own,
            uri,
            tag: unique,
            call_id,
            to,
            contact,
            sequence: 0,
            name,
            rate,
            version: 1,
            direction,
            offered,
        }
    }

    fn offer(&self) -> String {
        let port = self.rtp.local_addr().expect("address").port();
        let (version, direction, rate) = (self.version, self.direction, self.offered);
        let payload = if rate == RATE { L16 } else { L16_8 };
        format!(
            "v=0\r\no=- 1 {version} IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
             m=audio {port} RTP/AVP {payload}\r\na=rtpmap:{payload} L16/{rate}\r\na=ptime:20\r\na={direction}\r\n"
        )
    }

    /// Sends a request; `branch` tells transactions apart, and an ACK is one of its own after a 2xx (RFC 3261 13.2.2.4).
    fn request(&self, method: &str, branch: &str, body: &str) {
        self.request_with(method, branch, "", body);
    }

    fn request_with(&self, method: &str, branch: &str, more: &str, body: &str) {
        let Sip { own, uri, tag, call_id, to, contact, sequence, name, .. } = self;
        let target = if method == "INVITE" && *sequence == 1 { uri } else { contact };
        let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        let length = body.len();
        let text = format!(
            "{method} {target} SIP/2.0\r\nVia: SIP/2.0/UDP {own};rport;branch=z9hG4bK{tag}{branch}\r\n\
             Max-Forwards: 70\r\nFrom: <sip:{name}@{own}>;tag={tag}\r\nTo: {to}\r\nCall-ID: {call_id}\r\n\
             CSeq: {sequence} {method}\r\nContact: <sip:{name}@{own}>\r\n{more}{kind}Content-Length: {length}\r\n\r\n{body}"
        );
        self.sip.send_to(text.as_bytes(), self.gateway).expect("send");
    }

    /// The next message within a time.
    fn receive(&self, time: Duration) -> Option<String> {
        let mut packet = vec![0; 8192];
        let outcome = if time.is_zero() {
            self.sip.set_nonblocking(true).expect("non-blocking");
            let outcome = self.sip.recv(&mut packet);
            self.sip.set_nonblocking(false).expect("blocking");
            outcome
        } else {
            self.sip.set_read_timeout(Some(time)).expect("timeout");
            self.sip.recv(&mut packet)
        };
        outcome.ok().map(|n| String::from_utf8_lossy(&packet[..n]).into_owned())
    }

    pub(super) fn run(&mut self, state: &Mutex<State>) {
        let Some(peer) = self.invite(state) else { return };
        state.lock().expect("phone").status = 200;
        if self.talk(state, peer) {
            self.bye();
        }
    }

    /// Dials; where to send RTP, or none when it is refused or hung up first.
    fn invite(&mut self, state: &Mutex<State>) -> Option<SocketAddr> {
        self.sequence = 1;
        let offer = self.offer();
        self.request("INVITE", "i", &offer);
        let mut heard_of = false;
        loop {
            if state.lock().expect("phone").hang_up {
                // Before any provisional answer there is nothing to cancel (RFC 3261 9.1); the thread ends all the same.
                self.request("CANCEL", "i", "");
                return None;
            }
            let Some(text) = self.receive(Duration::from_millis(500)) else {
                if !heard_of {
                    self.request("INVITE", "i", &offer);
                }
                continue;
            };
            heard_of = true;
            let status = status(&text);
            if status < 200 {
                continue;
            }
            self.to = header(&text, "To").unwrap_or_default();
            if status >= 300 {
                self.request("ACK", "i", "");
                state.lock().expect("phone").status = status;
                return None;
            }
            let contact = header(&text, "Contact").expect("a 200 has a contact");
            self.contact = contact.trim_start_matches('<').split('>').next().unwrap_or_default().to_owned();
            self.request("ACK", "a", "");
            let tag = self.to.split(";tag=").nth(1).unwrap_or_default();
            state.lock().expect("phone").dialog =
                format!("{}%3Bto-tag%3D{tag}%3Bfrom-tag%3D{}", self.call_id, self.tag);
            return Some(media(&text).expect("an answer with audio"));
        }
    }

    /// Speaks and listens on an absolute clock; true when it is up to us to hang up.
    fn talk(&mut self, state: &Mutex<State>, mut peer: SocketAddr) -> bool {
        state.lock().expect("phone").own = self.rtp.local_addr().ok();
        let mut ear = Ear::default();
        let (mut sequence, mut timestamp) = (0_u16, 0_u32);
        let mut packet = vec![0; 12 + 2 * FRAME];
        let mut next = Instant::now();
        loop {
            let mute;
            let todo = {
                let mut state = state.lock().expect("phone");
                if state.hang_up {
                    return true;
                }
                mute = state.mute;
                // Samples of the line that make one of ours.
                let step = (RATE / self.rate) as usize;
                packet.resize(12 + 2 * FRAME / step, 0);
                let payload = if step == 1 { L16 } else { L16_8 };
                packet[..4].copy_from_slice(&[0x80, payload, (sequence >> 8) as u8, sequence as u8]);
                packet[4..8].copy_from_slice(&timestamp.to_be_bytes());
                packet[8..12].copy_from_slice(&u32::from(self.own.port()).to_be_bytes());
                for (i, bytes) in packet[12..].chunks_exact_mut(2).enumerate() {
                    let sample = |n: usize| i32::from(state.voice.get(state.said + n).copied().unwrap_or(0));
                    let mean = (0..step).map(|k| sample(i * step + k)).sum::<i32>() / step as i32;
                    bytes.copy_from_slice(&(mean as i16).to_be_bytes());
                }
                state.said = (state.said + FRAME).min(state.voice.len());
                state.todo.front().cloned()
            };
            if let Some(todo) = todo {
                self.ask(&todo, state);
            }
            // Refused when the gateway has closed its end: the BYE is on its way.
            if !mute {
                let _ = self.rtp.send_to(&packet, peer);
            }
            // Looked at behind it, so that no delay before it is missed.
            state.lock().expect("phone").late.note(next.elapsed());
            let step = FRAME as u32 * self.rate / RATE;
            (sequence, timestamp) = (sequence.wrapping_add(1), timestamp.wrapping_add(step));
            next += FRAME_TIME;
            self.listen(state, &mut ear, next);
            while let Some(text) = self.receive(Duration::ZERO) {
                if self.respond(&text) {
                    return false;
                }
                // An offer of the gateway, or its answer to ours, says where it wants the sound.
                peer = media(&text).unwrap_or(peer);
                state.lock().expect("phone").peer = Some(peer);
                self.answered(&text, state);
            }
        }
    }

    /// Sends a request within the call, once; what is under way has a sequence number above the number of answers.
    fn ask(&mut self, todo: &Todo, state: &Mutex<State>) {
        let done = state.lock().expect("phone").done;
        if self.sequence > 1 + done {
            return;
        }
        self.sequence += 1;
        let branch = format!("t{}", self.sequence);
        match todo {
            Todo::Offer(direction, rate) => {
                self.version += 1;
                (self.direction, self.offered) = (direction, *rate);
                self.request("INVITE", &branch, &self.offer());
            }
            Todo::Refer(target) => {
                let (target, port) = (target.clone(), self.gateway.port());
                let target = target.replacen("127.0.0.1", &format!("127.0.0.1:{port}"), 1);
                self.request_with("REFER", &branch, &format!("Refer-To: <{target}>\r\n"), "");
            }
        }
    }

    /// A final answer to the request that is under way.
    fn answered(&mut self, text: &str, state: &Mutex<State>) {
        let number = header(text, "CSeq").and_then(|c| c.split(' ').next()?.parse::<u32>().ok());
        let mut state = state.lock().expect("phone");
        if status(text) < 200 || number != Some(self.sequence) || self.sequence != 2 + state.done {
            return;
        }
        assert!(status(text) < 300, "a request within the call was answered with {text}");
        self.rate = self.offered;
        state.todo.pop_front();
        state.done += 1;
    }

    /// Takes what comes until it is time to send again.
    fn listen(&self, state: &Mutex<State>, ear: &mut Ear, until: Instant) {
        let mut packet = [0; 2048];
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            self.rtp.set_read_timeout(Some(left)).expect("timeout");
            match self.rtp.recv(&mut packet) {
                Ok(n) if n > 12 && [L16, L16_8].contains(&(packet[1] & 0x7f)) => {
                    ear.place(&packet[..n], &mut state.lock().expect("phone"));
                }
                Ok(_) => {}
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return,
                // Refused by the gateway's closed port.
                Err(_) => std::thread::sleep(until.saturating_duration_since(Instant::now())),
            }
        }
    }

    /// Answers a request of the gateway; true for the one that ends the call.
    fn respond(&self, text: &str) -> bool {
        let method = text.split(' ').next().unwrap_or_default();
        if method == "SIP/2.0" {
            // Of a request within the call, or the first one's again: our ACK was lost.
            if status(text) >= 200 && header(text, "CSeq").is_some_and(|c| c.ends_with("INVITE")) {
                self.request("ACK", &format!("a{}", self.sequence), "");
            }
            return false;
        }
        if method == "ACK" {
            return false;
        }
        let body = if method == "INVITE" { self.offer() } else { String::new() };
        let mut reply = String::from("SIP/2.0 200 OK\r\n");
        for line in text.lines().take_while(|line| !line.is_empty()) {
            if ["Via:", "From:", "To:", "Call-ID:", "CSeq:"].iter().any(|name| line.starts_with(name)) {
                reply += line;
                reply += "\r\n";
            }
        }
        let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        reply += &format!("Contact: <sip:phone@{}>\r\n{kind}Content-Length: {}\r\n\r\n{body}", self.own, body.len());
        self.sip.send_to(reply.as_bytes(), self.gateway).expect("send");
        method == "BYE"
    }

    fn bye(&mut self) {
        self.sequence += 1;
        for _ in 0..10 {
            self.request("BYE", "b", "");
            while let Some(text) = self.receive(Duration::from_millis(500)) {
                if header(&text, "CSeq").is_some_and(|c| c.ends_with("BYE")) {
                    // Its answer, or the gateway's own BYE, which crossed ours; it may not know the call any more.
                    self.respond(&text);
                    assert!([0, 200, 481].contains(&status(&text)), "a BYE was answered with {}", status(&text));
                    return;
                }
            }
        }
    }
}

/// The RTP address in a session description, if there is one; everything here is on loopback.
fn media(text: &str) -> Option<SocketAddr> {
    let port = text.lines().find_map(|line| line.strip_prefix("m=audio "))?.split(' ').next()?.parse().ok()?;
    (port != 0).then(|| SocketAddr::from(([127, 0, 0, 1], port)))
}

fn status(text: &str) -> u16 {
    let number = text.strip_prefix("SIP/2.0 ").and_then(|rest| rest.get(..3));
    number.and_then(|n| n.parse().ok()).unwrap_or(0)
}

fn header(text: &str, name: &str) -> Option<String> {
    text.lines().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim().to_owned()))
}
