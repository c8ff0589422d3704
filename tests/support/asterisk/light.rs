//! A phone without an Asterisk behind it: SIP over UDP and L16/16000, one thread each, for many calls at once.
//!
//! The Asterisk phones record by an audiohook, which throws away what it holds when the two directions of a call come
//! more than 100 ms apart, as they do on a machine that is busy. Here each packet is put where its timestamp says, so
//! what is missing in the recording was missing on the wire.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::Asterisk;
use super::light_ear::Ear;
use super::phones::RATE;

const FRAME: usize = RATE as usize / 50;
const FRAME_TIME: Duration = Duration::from_millis(20);
/// Payload type that the phone offers for L16/16000.
pub(super) const L16: u8 = 96;
/// The same at 8 kHz, after [`LightPhone::narrow`].
const L16_8: u8 = 97;

/// Endpoints of the gateway for these phones: known by their names alone, without a password. The sound of `direct` goes
/// from phone to phone where it can.
pub const ENDPOINT: &str = "\n[light](phone)\nallow = slin\n[direct](phone)\nallow = slin\ndirect_media = yes\n";

#[derive(Default)]
pub(super) struct State {
    /// What is still to be said.
    voice: Vec<i16>,
    said: usize,
    pub(super) heard: Vec<i16>,
    pub(super) packets: u64,
    late: Lateness,
    pub(super) came: Lateness,
    /// Status of the answer to the INVITE, once it is final.
    status: u16,
    hang_up: bool,
    /// Sends no RTP: neither speech nor silence.
    mute: bool,
    /// Requests within the call that are still to be sent, and how many were answered.
    todo: VecDeque<Todo>,
    done: u32,
    /// The dialog as a Replaces parameter (RFC 3891) names it to the gateway.
    dialog: String,
    /// Where its RTP comes from, and where it goes.
    own: Option<SocketAddr>,
    peer: Option<SocketAddr>,
    /// The call is over, or was never answered.
    over: bool,
}

/// A request within the call.
#[derive(Clone, Debug)]
enum Todo {
    /// An INVITE: direction of the sound, sampling rate.
    Offer(&'static str, u32),
    /// A REFER to this target.
    Refer(String),
}

/// How late packets were since [`LightPhone::watch`].
#[derive(Clone, Debug, Default)]
pub struct Lateness {
    since: Option<Instant>,
    pub worst: Duration,
    /// Packets later than [`LATE`]: seconds since the watch began, and how late.
    pub beyond: Vec<(f64, Duration)>,
}

/// From here on a packet is noted as late: the least delay of the shim's jitter buffer. What is later and was not so in
/// the seconds before may cost a word, and nobody can help it.
pub const LATE: Duration = Duration::from_millis(20);

impl Lateness {
    pub(super) fn note(&mut self, late: Duration) {
        let Some(since) = self.since else { return };
        self.worst = self.worst.max(late);
        if late > LATE {
            self.beyond.push((since.elapsed().as_secs_f64(), late));
        }
    }
}

/// A call; hung up when dropped.
pub struct LightPhone {
    state: Arc<Mutex<State>>,
    thread: Option<JoinHandle<()>>,
}

impl LightPhone {
    /// Dials an extension; once it is answered it says `say` (16 kHz), then silence.
    pub fn call(gateway: &Asterisk, extension: &str, say: &[i16]) -> LightPhone {
        LightPhone::call_as(gateway, "light", extension, say)
    }

    /// The same as endpoint `direct`, whose sound goes from phone to phone where it can.
    pub fn call_direct(gateway: &Asterisk, extension: &str) -> LightPhone {
        LightPhone::call_as(gateway, "direct", extension, &[])
    }

    fn call_as(gateway: &Asterisk, name: &'static str, extension: &str, say: &[i16]) -> LightPhone {
        let state = Arc::new(Mutex::new(State { voice: say.to_vec(), ..State::default() }));
        let (shared, port, extension) = (state.clone(), gateway.sip_port(), extension.to_owned());
        let thread = std::thread::Builder::new()
            .name("phone".into())
            .spawn(move || {
                let mut sip = Sip::new(port, name, &extension);
                sip.run(&shared);
                shared.lock().expect("phone").over = true;
            })
            .expect("thread");
        LightPhone { state, thread: Some(thread) }
    }

    fn read<T>(&self, f: impl FnOnce(&State) -> T) -> T {
        f(&self.state.lock().expect("phone"))
    }

    /// Says more, behind what it still has to say.
    pub fn say(&self, samples: &[i16]) {
        self.state.lock().expect("phone").voice.extend(samples);
    }

    /// It was answered and nobody has hung up.
    pub fn is_up(&self) -> bool {
        self.read(|s| s.status == 200 && !s.over)
    }

    /// The call is over, or was refused.
    pub fn is_gone(&self) -> bool {
        self.read(|s| s.over)
    }

    /// Final status of the call's INVITE; 0 while it rings.
    pub fn status(&self) -> u16 {
        self.read(|s| s.status)
    }

    pub fn has_said_all(&self) -> bool {
        self.read(|s| s.said >= s.voice.len())
    }

    /// RTP packets that have come.
    pub fn packets(&self) -> u64 {
        self.read(|s| s.packets)
    }

    /// Begins to note how late packets are.
    pub fn watch(&self) {
        let mut state = self.state.lock().expect("phone");
        let begin = || Lateness { since: Some(Instant::now()), ..Lateness::default() };
        (state.late, state.came) = (begin(), begin());
    }

    /// How late the phone's own packets left it, by its absolute clock: a thread that the machine gives no time is late
    /// whatever is tested.
    pub fn lateness(&self) -> Lateness {
        self.read(|s| s.late.clone())
    }

    /// How late packets came, beyond the fastest of the call by their timestamps. Of an echo it is what the phone, the
    /// way to the gateway and back, and the gateway's own threads add; nothing else has a part in it.
    pub fn arrivals(&self) -> Lateness {
        self.read(|s| s.came.clone())
    }

    /// What was heard since the first packet, as 16 kHz samples, from one of them on.
    pub fn heard_from(&self, sample: usize) -> Vec<i16> {
        self.read(|s| s.heard.get(sample..).unwrap_or_default().to_vec())
    }

    /// What was heard since the first packet, as 16 kHz samples.
    pub fn heard(&self) -> Vec<i16> {
        self.read(|s| s.heard.clone())
    }

    /// Where its RTP comes from.
    pub fn own(&self) -> Option<SocketAddr> {
        self.read(|s| s.own)
    }

    /// Where its RTP goes.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.read(|s| s.peer)
    }

    /// Sends nothing at all any more, as a phone with silence suppression; or sends again.
    pub fn mute(&self, on: bool) {
        self.state.lock().expect("phone").mute = on;
    }

    fn ask(&self, todo: Todo) {
        let wanted = {
            let mut state = self.state.lock().expect("phone");
            state.todo.push_back(todo);
            state.done + state.todo.len() as u32
        };
        self.wait("an answer to a request", |p| p.is_gone() || p.read(|s| s.done >= wanted));
    }

    /// Puts the other party on hold, and takes it back.
    pub fn hold(&self, on: bool) {
        self.ask(Todo::Offer(if on { "sendonly" } else { "sendrecv" }, RATE));
    }

    /// Changes the codec to 8 kHz, or back to 16.
    pub fn narrow(&self, on: bool) {
        self.ask(Todo::Offer("sendrecv", if on { RATE / 2 } else { RATE }));
    }

    /// Transfers the other party to an extension (a blind transfer) and leaves.
    pub fn transfer(&self, extension: &str) {
        self.ask(Todo::Refer(format!("sip:{extension}@127.0.0.1")));
    }

    /// Connects the other party with the one that another call of ours has (an attended transfer) and leaves both.
    pub fn transfer_to(&self, extension: &str, other: &LightPhone) {
        let replaces = other.read(|s| s.dialog.clone());
        self.ask(Todo::Refer(format!("sip:{extension}@127.0.0.1?Replaces={replaces}")));
    }

    fn wait(&self, what: &str, condition: impl Fn(&LightPhone) -> bool) {
        let begin = Instant::now();
        while !condition(self) {
            assert!(begin.elapsed() < Duration::from_secs(120), "waited 120 s for {what}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn wait_up(&self) {
        self.wait("an answer", |p| {
            assert!(p.status() < 300, "refused with {}", p.status());
            p.is_up()
        });
    }

    pub fn wait_gone(&self) {
        self.wait("the end of the call", LightPhone::is_gone);
    }

    pub fn wait_said_all(&self) {
        self.wait("the end of what the phone says", LightPhone::has_said_all);
    }

    /// Hangs up (nothing, if the other side has) and returns what was heard.
    pub fn hang_up(&self) -> Vec<i16> {
        self.state.lock().expect("phone").hang_up = true;
        self.wait_gone();
        self.heard()
    }
}

impl Drop for LightPhone {
    fn drop(&mut self) {
        // A poisoned lock: the thread has ended.
        if let Ok(mut state) = self.state.lock() {
            state.hang_up = true;
        }
        let ended = self.thread.take().map(JoinHandle::join);
        if !std::thread::panicking() {
            ended.expect("it is joined once").expect("a phone's thread");
        }
    }
}

/// The phone's side of one SIP dialog (RFC 3261), as much of it as one call needs.
struct Sip {
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
    fn new(port: u16, name: &'static str, extension: &str) -> Sip {
        let sip = UdpSocket::bind("127.0.0.1:0").expect("a SIP socket");
        let rtp = UdpSocket::bind("127.0.0.1:0").expect("an RTP socket");
        let own = sip.local_addr().expect("address");
        let uri = format!("sip:{extension}@127.0.0.1:{port}");
        let unique = format!("{}-{}", own.port(), std::process::id());
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

    fn run(&mut self, state: &Mutex<State>) {
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
