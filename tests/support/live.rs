//! A call leg that is told what to say while it runs, and whose ear can be read at any time.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mgw::Status;
use mgw::engine::SessionId;
use mgw::media_port::{self, Direction, pull_frame, push_frame};

use super::codec::{self, Token};
use super::leg::hear;

const FRAME_MS: u32 = 20;

/// What the leg does next.
enum Item {
    Voice(VecDeque<i16>),
    Rate(u32),
}

/// What was heard at one rate.
#[derive(Clone)]
pub struct Stretch {
    pub rate: u32,
    pub samples: Vec<i16>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    /// Nothing is left to say.
    quiet: AtomicBool,
    plan: Mutex<VecDeque<Item>>,
    /// Output rate wanted from the next pull on; 0: as it is.
    rate_out: AtomicU32,
    ear: Mutex<Vec<Stretch>>,
    /// How often pull said `Original`.
    originals: AtomicU32,
    pulls: AtomicU32,
}

/// A running leg. Frames that the handle refuses (the session was closed) end its threads.
pub struct LiveLeg {
    pub session: SessionId,
    rate_in: u32,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// The samples of words, each followed by its gap, and a pause behind them.
pub fn sentence(language: &str, words: impl IntoIterator<Item = u16>, rate: u32, pause: Duration) -> Vec<i16> {
    let mut out = Vec::new();
    for n in words {
        codec::encode(Token::new(language, n).expect("word"), rate, -20.0, &mut out);
        codec::silence(codec::GAP_S, rate, &mut out);
    }
    codec::silence(pause.as_secs_f64(), rate, &mut out);
    out
}

/// A text of coded words.
pub fn text(language: &str, words: impl IntoIterator<Item = u16>) -> String {
    let words: Vec<String> = words.into_iter().map(|n| Token::new(language, n).expect("word").text()).collect();
    words.join(" ")
}

/// What the microphone hears of the ear.
#[derive(Clone, Copy)]
pub struct Echo {
    pub delay: Duration,
    pub gain_db: f64,
}

impl LiveLeg {
    pub fn start(session: SessionId, rate_in: u32, rate_out: u32) -> LiveLeg {
        Self::start_with(session, rate_in, rate_out, None)
    }

    /// A leg whose microphone also hears its ear; both at one rate.
    pub fn start_with_echo(session: SessionId, rate: u32, echo: Echo) -> LiveLeg {
        Self::start_with(session, rate, rate, Some(echo))
    }

    fn start_with(session: SessionId, rate_in: u32, rate_out: u32, echo: Option<Echo>) -> LiveLeg {
        let shared = Arc::new(Shared::default());
        shared.quiet.store(true, Relaxed);
        shared.ear.lock().expect("ear").push(Stretch { rate: rate_out, samples: Vec::new() });
        let push = {
            let shared = shared.clone();
            std::thread::spawn(move || {
                let mut rate = rate_in;
                let mut pushed = 0;
                paced(&shared.stop, || {
                    let mut frame = {
                        let mut plan = shared.plan.lock().expect("plan");
                        let frame = next_frame(&mut plan, session, &mut rate);
                        shared.quiet.store(plan.is_empty(), Relaxed);
                        frame
                    };
                    if let Some(echo) = echo {
                        let ear = shared.ear.lock().expect("ear");
                        mix(&mut frame, &ear[0].samples, pushed, echo, rate);
                    }
                    pushed += frame.len();
                    push_frame(session, &frame) == Status::Ok
                });
            })
        };
        let pull = {
            let shared = shared.clone();
            std::thread::spawn(move || {
                let mut rate = rate_out;
                paced(&shared.stop, || {
                    let wanted = shared.rate_out.load(Relaxed);
                    if wanted != 0 && wanted != rate {
                        assert_eq!(media_port::set_rate(session, Direction::Out, wanted), Status::Ok);
                        rate = wanted;
                        shared.ear.lock().expect("ear").push(Stretch { rate, samples: Vec::new() });
                    }
                    let mut frame = vec![1; (rate * FRAME_MS / 1000) as usize];
                    match pull_frame(session, &mut frame) {
                        Status::Ok | Status::Silence => {}
                        Status::Original => {
                            shared.originals.fetch_add(1, Relaxed);
                        }
                        _ => return false,
                    }
                    shared.pulls.fetch_add(1, Relaxed);
                    shared.ear.lock().expect("ear").last_mut().expect("a stretch").samples.extend(frame);
                    true
                });
            })
        };
        LiveLeg { session, rate_in, shared, threads: vec![push, pull] }
    }

    /// Says samples at the current input rate, behind what it still has to say.
    pub fn say(&self, samples: Vec<i16>) {
        let mut plan = self.shared.plan.lock().expect("plan");
        self.shared.quiet.store(false, Relaxed);
        plan.push_back(Item::Voice(samples.into()));
    }

    /// Says words of a language, with 900 ms of pause behind them.
    pub fn say_words(&self, language: &str, words: impl IntoIterator<Item = u16>) {
        self.say(sentence(language, words, self.rate_in, Duration::from_millis(900)));
    }

    /// Changes the input rate behind what it still has to say; what is said next must be at this rate.
    pub fn then_rate_in(&mut self, rate: u32) {
        self.rate_in = rate;
        self.shared.plan.lock().expect("plan").push_back(Item::Rate(rate));
    }

    /// Changes the output rate with the next pull.
    pub fn set_rate_out(&self, rate: u32) {
        self.shared.rate_out.store(rate, Relaxed);
    }

    /// All was pushed.
    pub fn has_said_all(&self) -> bool {
        self.shared.quiet.load(Relaxed)
    }

    pub fn stretches(&self) -> Vec<Stretch> {
        self.shared.ear.lock().expect("ear").clone()
    }

    /// What was heard so far, as long as the output rate never changed.
    pub fn heard(&self) -> Vec<i16> {
        let ear = self.shared.ear.lock().expect("ear");
        assert_eq!(ear.len(), 1, "the rate changed: use stretches");
        ear[0].samples.clone()
    }

    /// Numbers of the words of one language heard so far, in order.
    pub fn words(&self, language: &str) -> Vec<u16> {
        let rate = self.shared.ear.lock().expect("ear")[0].rate;
        hear(&self.heard(), rate).words.into_iter().filter(|(l, _)| *l == language).map(|(_, n)| n).collect()
    }

    /// How often pull said that the engine shows no life.
    pub fn originals(&self) -> u32 {
        self.shared.originals.load(Relaxed)
    }

    pub fn pulls(&self) -> u32 {
        self.shared.pulls.load(Relaxed)
    }

    /// Ends both threads; the session stays as it is.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.shared.stop.store(true, Relaxed);
        for thread in self.threads.drain(..) {
            let ended = thread.join();
            // A second panic while one is under way would hide the first.
            if !std::thread::panicking() {
                ended.expect("a leg's thread");
            }
        }
    }
}

impl Drop for LiveLeg {
    fn drop(&mut self) {
        self.end();
    }
}

/// Two frames later than what is pulled at the same time, and the echo's delay more: it is there by then.
fn mix(frame: &mut [i16], ear: &[i16], pushed: usize, echo: Echo, rate: u32) {
    let late = (echo.delay.as_secs_f64() * f64::from(rate)) as usize + 2 * (rate * FRAME_MS / 1000) as usize;
    let gain = 10f64.powf(echo.gain_db / 20.0);
    for (i, sample) in frame.iter_mut().enumerate() {
        if let Some(heard) = (pushed + i).checked_sub(late).and_then(|at| ear.get(at)) {
            *sample = sample.saturating_add((f64::from(*heard) * gain) as i16);
        }
    }
}

/// The next 20 ms; silence where the plan has nothing. A change of rate takes effect between two frames, the last of
/// which may be shorter.
fn next_frame(plan: &mut VecDeque<Item>, session: SessionId, rate: &mut u32) -> Vec<i16> {
    let mut frame: Vec<i16> = Vec::new();
    let full = |rate: u32| (rate * FRAME_MS / 1000) as usize;
    loop {
        match plan.front_mut() {
            Some(Item::Voice(voice)) => {
                let n = voice.len().min(full(*rate) - frame.len());
                frame.extend(voice.drain(..n));
                if voice.is_empty() {
                    plan.pop_front();
                }
            }
            Some(Item::Rate(hz)) if frame.is_empty() => {
                assert_eq!(media_port::set_rate(session, Direction::In, *hz), Status::Ok);
                *rate = *hz;
                plan.pop_front();
            }
            Some(Item::Rate(_)) => return frame,
            None => {
                frame.resize(full(*rate), 0);
            }
        }
        if frame.len() == full(*rate) {
            return frame;
        }
    }
}

/// Calls `f` every 20 ms on an absolute clock until it says false; late frames come at once, as from a network.
fn paced(stop: &AtomicBool, mut f: impl FnMut() -> bool) {
    let period = Duration::from_millis(u64::from(FRAME_MS));
    let mut next = Instant::now() + period;
    while !stop.load(Relaxed) {
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
        if !f() {
            return;
        }
        next += period;
    }
}
