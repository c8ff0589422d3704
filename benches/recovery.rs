//! How soon a lost connection is noticed, and replaced.

use std::time::{Duration, Instant};

use mgw::Gateway;
use mgw::config::Config;

use crate::report::{Figure, Report};
use crate::stat::quantile;
use crate::support::Cloud;
use crate::support::live::LiveLeg;

/// Longest wait for one recovery; a measurement that reaches it failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// From a fault to the next TCP connection of its stage, and to its handshake, by the emulator's clock in milliseconds.
fn one(cloud: &Cloud, stage: &str, kind: &str) -> (f64, f64) {
    cloud.reset_stats();
    // Somewhere in what comes next: the stream always carries something.
    cloud.set_scenario(&format!("[[fault]]\nstage = \"{stage}\"\non = \"byte\"\nat = 3001\nkind = \"{kind}\"\n"));
    let until = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < until, "{stage} {kind}: no recovery");
        std::thread::sleep(Duration::from_millis(100));
        let stats = cloud.stats();
        let Some(fired) = stats["faults"][0]["at_ms"].as_f64() else { continue };
        let mut after = stats["accepted"].as_array().into_iter().flatten().filter(|a| a["stage"] == stage);
        let next = after.find(|a| a["tcp_ms"].as_f64().is_some_and(|at| at >= fired));
        if let Some((tcp, ready)) = next.and_then(|a| Some((a["tcp_ms"].as_f64()?, a["at_ms"].as_f64()?))) {
            return (tcp - fired, ready - fired);
        }
    }
}

pub fn run(quick: bool, report: &mut Report) {
    let (resets, holes) = if quick { (5, 1) } else { (40, 5) };
    let cloud = Cloud::start("");
    let gateway = Gateway::new(&cloud.config(&[])).expect("gateway");
    let open = |profile| gateway.open_session(profile, "room", &Config::new()).expect("session");
    let (a, b) = (open("7777"), open("8888"));
    let (mouth, _ear) = (LiveLeg::start(a, 16_000, 16_000), LiveLeg::start(b, 16_000, 16_000));
    // Enough talk for the whole measurement: sentences of five words and a pause.
    for i in 0..800u16 {
        mouth.say_words("en", (i * 5..i * 5 + 5).map(|n| n % 4000));
    }
    std::thread::sleep(Duration::from_secs(3));
    for stage in ["stt", "tts"] {
        let (mut noticed, mut back): (Vec<f64>, Vec<f64>) = (0..resets)
            .map(|_| {
                let times = one(&cloud, stage, "reset");
                // A connection that lasted less than a second is not replaced at once, lest a broken vendor be hammered.
                std::thread::sleep(Duration::from_millis(1500));
                times
            })
            .unzip();
        report.add(
            Figure::new(&format!("{stage}_reset_noticed_p99_ms"), quantile(&mut noticed, 0.99), "ms").at_most(20.0),
        );
        report.add(Figure::new(&format!("{stage}_reset_back_p50_ms"), quantile(&mut back, 0.5), "ms"));
        report.add(Figure::new(&format!("{stage}_reset_back_p99_ms"), quantile(&mut back, 0.99), "ms").at_most(20.0));
        let mut dark: Vec<f64> = (0..holes).map(|_| one(&cloud, stage, "black_hole").0).collect();
        report.add(
            Figure::new(&format!("{stage}_black_hole_noticed_most_ms"), quantile(&mut dark, 1.0), "ms").at_most(2000.0),
        );
    }
    report.note(&format!(
        "recovery: {resets} TCP resets and {holes} black holes of the recogniser's and of the synthesiser's connection while \
         one speaker talks, from the fault to the next TCP connection (noticed) and to the end of its handshake (back), by the \
         clock of the local cloud, in whole milliseconds; loopback, so three round trips are nothing"
    ));
}
