//! Push and pull of 200 paced sessions, each beside the same on a bare rtrb ring.
//!
//! One thread visits all sessions once in 20 ms, each at its own time, so caches are as cold as in a
//! switchboard. At each visit the library's call and the bare ring's follow each other, in turns A B and B A.
//! The bare rings have another thread behind them that empties and fills them every 10 ms, as the media
//! thread does for the library's. What is compared is what C programs call, guards and all.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mgw::config::Config;
use mgw::ffi::frames::{mgw_pull_frame, mgw_push_frame};
use mgw::{Gateway, Status};
use rtrb::{Consumer, Producer, RingBuffer};

use crate::report::{Figure, Report};
use crate::stat::{RATE, SAMPLES, every_frame, median, quantile, sleep_until, spread};

const SESSIONS: usize = 200;
/// As large as the library's.
const RING_SAMPLES: usize = 24_576;

/// Rings with the caller's ends here and a thread of its own behind them.
struct Bare {
    up: Vec<Producer<i16>>,
    down: Vec<Consumer<i16>>,
    stop: Arc<AtomicBool>,
    partner: JoinHandle<()>,
}

impl Bare {
    fn start() -> Bare {
        let (mut up, mut down, mut far) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..SESSIONS {
            let (up_tx, up_rx) = RingBuffer::<i16>::new(RING_SAMPLES);
            let (down_tx, down_rx) = RingBuffer::<i16>::new(RING_SAMPLES);
            up.push(up_tx);
            down.push(down_rx);
            far.push((up_rx, down_tx));
        }
        let stop = Arc::new(AtomicBool::new(false));
        let ended = stop.clone();
        let partner = std::thread::spawn(move || {
            mgw::sys::adopt_thread();
            let mut frame = [0i16; SAMPLES];
            let mut at = Instant::now();
            while !ended.load(Ordering::Relaxed) {
                for (rx, tx) in &mut far {
                    while !rx.pop_partial_slice(&mut frame).0.is_empty() {}
                    // Two frames lie ready, as in the library's original ring.
                    while RING_SAMPLES - tx.slots() < 2 * SAMPLES {
                        let _ = tx.push_partial_slice(&frame);
                    }
                }
                at += Duration::from_millis(10);
                sleep_until(at);
            }
        });
        Bare { up, down, stop, partner }
    }
}

/// Times of one block in nanoseconds, the clock's own taken off.
#[derive(Default)]
struct Block {
    push: Vec<f64>,
    pull: Vec<f64>,
    bare_push: Vec<f64>,
    bare_pull: Vec<f64>,
}

/// Median cost of reading the clock twice, in nanoseconds.
fn clock_cost() -> f64 {
    let costs: Vec<f64> = (0..10_001)
        .map(|_| {
            let from = Instant::now();
            std::hint::black_box(from).elapsed().as_nanos() as f64
        })
        .collect();
    median(&costs)
}

fn timed<R>(cost: f64, into: &mut Vec<f64>, call: impl FnOnce() -> R) -> R {
    let from = Instant::now();
    let result = call();
    into.push((from.elapsed().as_nanos() as f64 - cost).max(0.0));
    result
}

pub fn run(quick: bool, report: &mut Report) {
    let (blocks, frames) = if quick { (5, 20) } else { (7, 150) };
    let config = config();
    let gateway = Gateway::new(&config).expect("gateway");
    let sessions: Vec<_> = (0..SESSIONS)
        .map(|i| gateway.open_session("7777", &format!("room {}", i / 2), &Config::new()).expect("session"))
        .collect();
    let mut bare = Bare::start();
    let cost = clock_cost();
    let voice: Vec<i16> = (0..SAMPLES as i16).map(|i| if i % 2 == 0 { 3000 } else { -3000 }).collect();
    let mut out = [0i16; SAMPLES];
    let phases = spread(SESSIONS);
    let mut all = Vec::new();
    let mut heard = 0usize;
    // The first block fills rings and learns phases; it is not counted.
    for number in 0..=blocks {
        let mut block = Block::default();
        every_frame(&phases, if number == 0 { 25 } else { frames }, |slot, frame| {
            let session = sessions[slot].0;
            let library = |block: &mut Block, out: &mut [i16; SAMPLES]| {
                // SAFETY: both buffers are whole frames of this thread's own.
                let pushed =
                    timed(cost, &mut block.push, || unsafe { mgw_push_frame(session, voice.as_ptr(), SAMPLES) });
                // SAFETY: as above.
                let pulled =
                    timed(cost, &mut block.pull, || unsafe { mgw_pull_frame(session, out.as_mut_ptr(), SAMPLES) });
                assert!(pushed == Status::Ok as i32 && pulled >= 0, "{pushed} {pulled}");
                pulled == Status::Ok as i32
            };
            let ring = |block: &mut Block, out: &mut [i16; SAMPLES], bare: &mut Bare| {
                timed(cost, &mut block.bare_push, || bare.up[slot].push_partial_slice(&voice).0.len());
                timed(cost, &mut block.bare_pull, || bare.down[slot].pop_partial_slice(out).0.len());
            };
            // Waking up has left the clock's own pages cold: that is nobody's cost.
            std::hint::black_box(Instant::now());
            if (slot + frame) % 2 == 0 {
                heard += usize::from(library(&mut block, &mut out));
                ring(&mut block, &mut out, &mut bare);
            } else {
                ring(&mut block, &mut out, &mut bare);
                heard += usize::from(library(&mut block, &mut out));
            }
        });
        if number > 0 {
            all.push(block);
        }
    }
    bare.stop.store(true, Ordering::Relaxed);
    bare.partner.join().expect("partner");
    let calls: usize = all.iter().map(|b| b.push.len()).sum();
    publish("push", &mut all, |b| (&mut b.push, &mut b.bare_push), report);
    publish("pull", &mut all, |b| (&mut b.pull, &mut b.bare_pull), report);
    report.note(&format!(
        "push and pull: {SESSIONS} sessions in {} rooms of one language, {RATE} Hz, 20 ms; {calls} calls each in {blocks} \
         blocks; {:.1} % of all pulls carried voice; two clock reads ({cost:.0} ns) are taken off each; ratios are \
         medians over blocks; C ABI on one side, rtrb push_partial_slice and pop_partial_slice on the other",
        SESSIONS / 2,
        heard as f64 * 100.0 / (calls + 25 * SESSIONS) as f64,
    ));
}

fn config() -> Config {
    let mut config = Config::new();
    for (key, value) in [
        ("profile.7777.language", "en"),
        ("deepgram.api_key", "unused"),
        ("deepl.api_key", "unused"),
        ("elevenlabs.api_key", "unused"),
    ] {
        config.set(key, value).unwrap_or_else(|e| panic!("{e}"));
    }
    config
}

fn publish(
    name: &str,
    blocks: &mut [Block],
    pick: impl Fn(&mut Block) -> (&mut Vec<f64>, &mut Vec<f64>),
    report: &mut Report,
) {
    for (suffix, q) in [("p50", 0.5), ("p99", 0.99), ("p999", 0.999)] {
        let pairs: Vec<(f64, f64)> = blocks
            .iter_mut()
            .map(|block| {
                let (library, bare) = pick(block);
                (quantile(library, q), quantile(bare, q))
            })
            .collect();
        let column = |f: fn(&(f64, f64)) -> f64| median(&pairs.iter().map(f).collect::<Vec<_>>());
        report.add(Figure::new(&format!("{name}_{suffix}_ns"), column(|p| p.0), "ns"));
        report.add(Figure::new(&format!("rtrb_{name}_{suffix}_ns"), column(|p| p.1), "ns"));
        // The clock counts whole nanoseconds; a ring that took none of them took one.
        let ratio = Figure::new(&format!("{name}_{suffix}_ratio"), column(|p| p.0 / p.1.max(1.0)), "times rtrb");
        report.add(if suffix == "p99" { ratio.at_most(1.5) } else { ratio });
    }
}
