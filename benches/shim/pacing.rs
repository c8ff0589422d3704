//! How evenly the shim sends to 500 legs, beside a bare loop of clock_nanosleep under the same load.

use std::process::{Command, Stdio};
use std::time::Duration;

use mgw::sys;
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, ClockNanosleepFlags, clock_gettime, clock_nanosleep};
use serde_json::json;

use super::{Load, WARM_UP, all_cores, load_core, open_legs, pattern, pin, pin_load, rcvbuf_errors, round, start_shim};
use crate::report::{Figure, Report};
use crate::stat::{median, quantile};

const LEGS: usize = 500;

/// The control: wakes every millisecond by absolute times and prints how late it was each time, in ns, as JSON.
pub fn nanosleep(seconds: u64) {
    sys::adopt_thread();
    // The least there is; the library's own threads have 1 us.
    std::fs::write("/proc/self/timerslack_ns", "1").expect("timer slack");
    let now = || clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from).expect("clock");
    let begin = now() + Duration::from_millis(10);
    let late: Vec<u64> = (0..seconds as u32 * 1000)
        .map(|n| {
            let due = begin + Duration::from_millis(1) * n;
            let flags = ClockNanosleepFlags::TIMER_ABSTIME;
            clock_nanosleep(ClockId::CLOCK_MONOTONIC, flags, &TimeSpec::from(due)).expect("sleep");
            (now() - due).as_nanos() as u64
        })
        .collect();
    println!("{}", json!(late));
}

pub fn run(quick: bool, report: &mut Report) {
    pattern::check();
    pin_load();
    let (windows, seconds) = if quick { (1, 2) } else { (3, 8) };
    let shim = start_shim(&all_cores());
    let mut load = Load::new(LEGS);
    open_legs(&shim, &load, LEGS);
    load.warm_up(WARM_UP);
    let full = rcvbuf_errors();
    let (mut ours, mut late, mut bare, mut own) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut packets, mut uneven, mut wrong_pace) = (0, 0, 0);
    let mut rows = Vec::new();
    for window in 0..windows {
        // A: the shim alone with its load.
        let mut outcome = load.measure(Duration::from_secs(seconds), true);
        packets += outcome.deviation.len();
        uneven += outcome.count.uneven;
        wrong_pace += outcome.wrong_pace;
        // B: the same load, and the loop beside it.
        let mut control = Command::new(std::env::current_exe().expect("this program"))
            .args(["--nanosleep", &seconds.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the control starts");
        pin(control.id(), &all_cores());
        // Its output is longer than a pipe holds, so it ends only when that is read: not before it has slept.
        load.warm_up(Duration::from_secs(seconds) + Duration::from_millis(200));
        let output = std::io::read_to_string(control.stdout.take().expect("output")).expect("the control's figures");
        assert!(control.wait().expect("end").success());
        let this: Vec<u64> = serde_json::from_str(&output).expect("JSON");
        let mut this: Vec<f64> = this.into_iter().map(|ns| ns as f64 / 1e6).collect();
        // The same measure as the packets': from the place that makes the median zero.
        let middle = median(&this);
        let mut spread: Vec<f64> = this.iter().map(|late| (late - middle).abs()).collect();
        for (who, deviation) in [("shim", &mut outcome.deviation), ("clock_nanosleep", &mut spread)] {
            rows.push(json!({
                "window": window + 1,
                "who": who,
                "n": deviation.len(),
                "p50 ms": round(quantile(deviation, 0.5), 3),
                "p99 ms": round(quantile(deviation, 0.99), 3),
                "p99.9 ms": round(quantile(deviation, 0.999), 3),
                "max ms": round(quantile(deviation, 1.0), 3),
            }));
        }
        ours.append(&mut outcome.deviation);
        own.append(&mut outcome.late);
        bare.append(&mut spread);
        late.append(&mut this);
    }
    let late_slots = 100.0 * shim.metric("mgw_shim_clock_slots_late") / shim.metric("mgw_shim_clock_slots").max(1.0);
    let mut add = |name: &str, ms: f64| report.add(Figure::new(name, ms, "ms"));
    for (name, q) in [("p50", 0.5), ("p99", 0.99), ("p999", 0.999), ("max", 1.0)] {
        add(&format!("pacing_{name}_ms"), quantile(&mut ours, q));
        add(&format!("nanosleep_{name}_ms"), quantile(&mut bare, q));
    }
    add("nanosleep_late_p50_ms", quantile(&mut late, 0.5));
    add("nanosleep_late_p99_ms", quantile(&mut late, 0.99));
    let mut beyond = |q| quantile(&mut ours, q) - quantile(&mut bare, q);
    report.add(Figure::new("pacing_beyond_nanosleep_p50_ms", beyond(0.5), "ms").below(0.1));
    report.add(Figure::new("pacing_beyond_nanosleep_p99_ms", beyond(0.99), "ms").below(1.0));
    report.details.insert("pacing_windows".into(), rows.into());
    report.note(&format!(
        "pacing: {packets} packets to {LEGS} legs in {} calls of plain forwarding, everybody talking; stamped by the kernel \
         (SO_TIMESTAMPNS) and compared with each leg's grid of 20 ms fitted to its median; the control is a process that \
         wakes every 1 ms (clock_nanosleep, TIMER_ABSTIME, timer slack 1 ns) while the shim and the phones go on, taken in \
         turns with the shim ({windows} times {seconds} s each), its lateness also from its median; shim and control on \
         all cores, phones on core {} (their own slots late p99 {:.2} ms); uneven steps {uneven}, legs of wrong pace \
         {wrong_pace}, slots of the shim's clock more than 1 ms late {late_slots:.2} %, RcvbufErrors {}",
        LEGS / 2,
        load_core(),
        quantile(&mut own, 0.99),
        rcvbuf_errors() - full,
    ));
    if uneven > 0 || wrong_pace > 0 {
        report.failed.push(format!("shim-pacing: {uneven} uneven steps, {wrong_pace} legs of wrong pace"));
    }
}
