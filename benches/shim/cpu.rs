//! Processor time of a forwarded packet: the shim's and rtpengine's, in turns.

use std::time::Duration;

use serde_json::{Value, json};

use super::load::Outcome;
use super::rtpengine::{self, Rtpengine};
use super::{Load, WARM_UP, cpu_by_thread, cpu_since, load_core, open_legs, pattern, pin, pin_load, round, start_shim};
use crate::report::{Figure, Report};
use crate::stat::{median, quantile};

const CALLS: usize = 100;

/// What one turn gave.
struct Turn {
    us: f64,
    row: Value,
    whole: bool,
}

pub fn run(quick: bool, report: &mut Report) {
    pattern::check();
    pin_load();
    let (pairs, seconds) = if quick { (1, 2) } else { (5, 8) };
    let time = Duration::from_secs(seconds);
    let version = rtpengine::version();
    let (mut ours, mut theirs, mut ratios, mut rows, mut broken) = (vec![], vec![], vec![], vec![], 0);
    let mut trouble = version.clone().err();
    for pair in 1..=pairs {
        eprintln!("  pair {pair}");
        let a = shim(time);
        let b = if trouble.is_none() { rtpengine(time).map_err(|e| trouble = Some(e)).ok() } else { None };
        for (who, turn) in [("shim", Some(&a)), ("rtpengine", b.as_ref())] {
            let Some(turn) = turn else { continue };
            let mut row = json!({ "pair": pair, "who": who });
            row.as_object_mut().expect("object").append(&mut turn.row.as_object().expect("object").clone());
            rows.push(row);
            broken += usize::from(!turn.whole);
        }
        ours.push(a.us);
        if let Some(b) = b {
            ratios.push(a.us / b.us);
            theirs.push(b.us);
        }
    }
    report.add(Figure::new("shim_cpu_us_per_packet", median(&ours), "us"));
    if let Some(why) = trouble {
        // Without the one beside it the figure means little: said, not skipped.
        report.failed.push(format!("shim-cpu: nothing to compare with: {why}"));
        eprintln!("  no comparison with rtpengine: {why}");
    } else {
        report.add(Figure::new("rtpengine_cpu_us_per_packet", median(&theirs), "us"));
        report.add(Figure::new("shim_cpu_ratio", median(&ratios), "times rtpengine").below(1.0));
    }
    report.details.insert("cpu_turns".into(), rows.into());
    report.note(&format!(
        "processor time per forwarded packet: {CALLS} calls of plain forwarding, {} streams of 50 packets/s (172 bytes, \
         mu-law), each at a phase of its own by chance, user and system time of all threads from schedstat, by packets that came out; subject pinned to core 0, \
         phones to core {}; a fresh process each turn, {pairs} turns of {seconds} s each, shim and rtpengine alternating, \
         the ratio is the median of the pairs'; rtpengine in user space (--table=-1): {}; the shim passes each stream \
         through jitter buffer and engine and paces it anew, rtpengine passes packets on as they come and so wakes for nearly each; turns in which a \
         packet or sample was lost: {broken}",
        2 * CALLS,
        load_core(),
        version.unwrap_or_else(|e| e),
    ));
}

fn shim(time: Duration) -> Turn {
    let shim = start_shim("0");
    let mut load = Load::new(2 * CALLS);
    open_legs(&shim, &load, 2 * CALLS);
    turn(shim.pid(), &mut load, time)
}

fn rtpengine(time: Duration) -> Result<Turn, String> {
    let mut engine = Rtpengine::start()?;
    pin(engine.pid(), "0");
    let mut load = Load::new(2 * CALLS);
    for call in 0..CALLS {
        let phones = [2 * call, 2 * call + 1];
        let legs = engine.call(&format!("call-{call}"), phones.map(|phone| load.address(phone)))?;
        phones.iter().zip(legs).for_each(|(phone, leg)| load.connect(*phone, leg));
    }
    Ok(turn(engine.pid(), &mut load, time))
}

fn turn(pid: u32, load: &mut Load, time: Duration) -> Turn {
    load.warm_up(WARM_UP);
    let before = cpu_by_thread(pid);
    let Outcome { count, heard, socket_drops, mut late, seconds, .. } = load.measure(time, false);
    let cpu: f64 = cpu_since(pid, &before).values().sum();
    let us = cpu * 1e6 / count.received.max(1) as f64;
    let row = json!({
        "us/packet": round(us, 3),
        "cores": round(cpu / seconds, 3),
        "packets in": count.sent,
        "packets out": count.received,
        "uneven": count.uneven,
        "samples lost": heard.lost,
        "changed": heard.changed(),
        "phones' drops": socket_drops,
        "phones late p99 ms": round(quantile(&mut late, 0.99), 2),
    });
    Turn { us, row, whole: heard.lost + count.uneven == 0 }
}
