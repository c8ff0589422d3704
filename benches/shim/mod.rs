//! The RTP shim as a process of its own: pacing, processor time beside rtpengine's, calls without loss.
//!
//! Plain forwarding: two legs of one language in one room, mu-law both ways, so no provider is needed. The phones are a
//! thread of this program, pinned to the last core; what they say tells at the other end what became of it.

mod calls;
mod cpu;
mod load;
mod pacing;
mod pattern;
mod rtpengine;

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use crate::support::shim::{Shim, TOKEN};
use crate::support::temp_file;
use load::Load;

pub use calls::run as calls;
pub use cpu::run as cpu;
pub use pacing::{nanosleep, run as pacing};

/// What phones talk before anything is counted: jitter buffers and rings settle.
const WARM_UP: Duration = Duration::from_secs(3);

/// The core of the phones, the last; the first is where a subject is pinned to.
fn load_core() -> usize {
    // Not available_parallelism(), which tells where this thread may run.
    let text = std::fs::read_to_string("/proc/cpuinfo").expect("procfs");
    text.lines().filter(|l| l.starts_with("processor")).count() - 1
}

/// Has all threads of a process, and those they start, run on these cores only.
fn pin(pid: u32, cores: &str) {
    let done = Command::new("taskset").args(["-a", "-c", "-p", cores, &pid.to_string()]).output().expect("taskset");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

/// Pins this program, with the thread that plays the phones.
fn pin_load() {
    pin(std::process::id(), &load_core().to_string());
}

/// All cores, as `taskset` wants them.
fn all_cores() -> String {
    format!("0-{}", load_core())
}

/// A fresh shim on these cores, without ARI and AudioSocket.
fn start_shim(cores: &str) -> Shim {
    let file = temp_file("mgw.toml");
    let text = format!(
        "max_sessions = 4000\ndeepgram.base_url = \"http://127.0.0.1:9\"\ndeepl.base_url = \"http://127.0.0.1:9\"\n\
         elevenlabs.base_url = \"http://127.0.0.1:9\"\n\
         deepgram.api_key = \"unused\"\ndeepl.api_key = \"unused\"\nelevenlabs.api_key = \"unused\"\n\
         [profile.7777]\nlanguage = \"en\"\n\
         [shim]\nmax_legs = 4000\npairs = []\n\
         [shim.http]\nlisten = \"127.0.0.1:0\"\ntoken = \"{TOKEN}\"\n\
         [shim.ari]\nenabled = false\n[shim.audiosocket]\nenabled = false\n\
         [shim.rtp]\nports = [12000, 29999]\n\
         [shim.extension.7777]\nformat = \"ulaw\"\nsend = \"ulaw\"\n"
    );
    std::fs::write(&file, text).expect("configuration");
    let shim = Shim::start(file);
    pin(shim.pid(), cores);
    shim
}

/// Opens a leg for each phone, two to a room.
fn open_legs(shim: &Shim, load: &Load, phones: usize) {
    for phone in 0..phones {
        let room = format!("call-{}", phone / 2);
        let (_, leg) = shim.open_leg("7777", load.address(phone), Some(&room));
        load.connect(phone, leg);
    }
}

/// Processor seconds of a process's living threads so far, by name without its number.
fn cpu_by_thread(pid: u32) -> BTreeMap<String, f64> {
    let mut sums = BTreeMap::new();
    for task in std::fs::read_dir(format!("/proc/{pid}/task")).expect("procfs").flatten() {
        let read = |file: &str| std::fs::read_to_string(task.path().join(file)).unwrap_or_default();
        let ns: f64 = read("schedstat").split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(0.0);
        let name = read("comm").trim().trim_end_matches(|c: char| c.is_ascii_digit() || c == '-').to_owned();
        *sums.entry(name).or_insert(0.0) += ns / 1e9;
    }
    sums
}

/// Seconds more in the later one.
fn cpu_since(pid: u32, before: &BTreeMap<String, f64>) -> BTreeMap<String, f64> {
    let mut now = cpu_by_thread(pid);
    now.iter_mut().for_each(|(name, seconds)| *seconds -= before.get(name).copied().unwrap_or(0.0));
    now
}

/// Datagrams that found the socket full, on this machine since it started (`RcvbufErrors`).
fn rcvbuf_errors() -> u64 {
    let text = std::fs::read_to_string("/proc/net/snmp").expect("procfs");
    let mut lines = text.lines().filter_map(|l| l.strip_prefix("Udp: "));
    let (names, values) = (lines.next().expect("names"), lines.next().expect("values"));
    let at = names.split_whitespace().position(|n| n == "RcvbufErrors").expect("RcvbufErrors");
    values.split_whitespace().nth(at).and_then(|v| v.parse().ok()).expect("number")
}

fn round(x: f64, decimals: i32) -> f64 {
    (x * 10f64.powi(decimals)).round() / 10f64.powi(decimals)
}
