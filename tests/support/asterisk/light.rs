//! A phone without an Asterisk behind it: SIP over UDP and L16/16000, one thread each, for many calls at once.
//!
//! The Asterisk phones record by an audiohook, which throws away what it holds when the two directions of a call come
//! more than 100 ms apart, as they do on a machine that is busy. Here each packet is put where its timestamp says, so
//! what is missing in the recording was missing on the wire.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::Asterisk;
use super::light_sip::Sip;
use super::phones::RATE;

/// Endpoints of the gateway for these phones: known by their names alone, without a password. The sound of `direct` goes
/// from phone to phone where it can.
pub const ENDPOINT: &str = "\n[light](phone)\nallow = slin\n[direct](phone)\nallow = slin\ndirect_media = yes\n";

#[derive(Default)]
pub(super) struct State {
    /// What is still to be said.
    pub(super) voice: Vec<i16>,
    pub(super) said: usize,
    pub(super) heard: Vec<i16>,
    pub(super) packets: u64,
    pub(super) late: Lateness,
    pub(super) came: Lateness,
    /// Status of the answer to the INVITE, once it is final.
    pub(super) status: u16,
    pub(super) hang_up: bool,
    /// Sends no RTP: neither speech nor silence.
    pub(super) mute: bool,
    /// Requests within the call that are still to be sent, and how many were answered.
    pub(super) todo: VecDeque<Todo>,
    pub(super) done: u32,
    /// The dialog as a Replaces parameter (RFC 3891) names it to the gateway.
    pub(super) dialog: String,
    /// Where its RTP comes from, and where it goes.
    pub(super) own: Option<SocketAddr>,
    pub(super) peer: Option<SocketAddr>,
    /// The call is over, or was never answered.
    pub(super) over: bool,
}

/// A request within the call.
#[derive(Clone, Debug)]
pub(super) enum Todo {
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
