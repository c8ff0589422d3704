//! `make bench`: what the library and the shim cost and how long sound takes through them, beside goals.
//!
//! Each measurement runs in a process of its own (memory that one has warmed would flatter the next).
//! A goal that is missed is published, and is no failure; a measurement that does not end is one.
//!
//! ```text
//! cargo bench --features local-cloud,rtp-shim --bench mgw -- [NAME…] [--quick] [--markdown]
//! ```

mod alloc;
mod capacity;
mod interpreting;
mod latency;
mod memory;
mod paced;
mod recovery;
mod report;
mod shim;
mod stat;
mod stretch;
#[path = "../tests/support/mod.rs"]
mod support;
mod vendor;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use report::Report;

#[global_allocator]
static ALLOCATOR: alloc::Counting = alloc::Counting;

type Measurement = fn(bool, &mut Report);

/// Name, what to run, and the figures that it must give.
const ALL: [(&str, Measurement, &[&str]); 11] = [
    (
        "paced",
        paced::run,
        &["push_p50_ns", "push_p99_ns", "push_p99_ratio", "pull_p50_ns", "pull_p99_ns", "pull_p99_ratio"],
    ),
    (
        "memory",
        memory::run,
        &["session_idle_resident_bytes", "session_talking_resident_bytes", "session_talking_heap_bytes"],
    ),
    ("first-byte", latency::first_byte, &["tts_to_frame_p50_ms", "tts_to_frame_p99_ms"]),
    ("original", latency::original, &["original_p50_ms", "original_p99_ms"]),
    (
        "capacity",
        capacity::run,
        &["sessions_real_time", "library_cpu_ms_per_session_s", "emulator_cpu_ms_per_session_s"],
    ),
    (
        "recovery",
        recovery::run,
        &[
            "stt_reset_noticed_p99_ms",
            "stt_reset_back_p99_ms",
            "stt_black_hole_noticed_most_ms",
            "tts_reset_noticed_p99_ms",
            "tts_reset_back_p99_ms",
            "tts_black_hole_noticed_most_ms",
        ],
    ),
    (
        "interpreting",
        interpreting::run,
        &[
            "turn_first_word_of_a",
            "turn_first_word_of_b",
            "turn_first_word_speech_ahead_of_b",
            "monologue_begins_v1_ms",
            "monologue_begins_flux_ms",
            "interpreting_words_wrong",
        ],
    ),
    (
        "shim-pacing",
        shim::pacing,
        &["pacing_p50_ms", "pacing_p99_ms", "pacing_beyond_nanosleep_p50_ms", "pacing_beyond_nanosleep_p99_ms"],
    ),
    ("shim-cpu", shim::cpu, &["shim_cpu_us_per_packet", "rtpengine_cpu_us_per_packet", "shim_cpu_ratio"]),
    ("stretch", stretch::run, &["stretch_us_per_frame"]),
    ("shim-calls", shim::calls, &["calls_without_loss", "calls_shim_cores"]),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |flag: &str| arguments.iter().any(|a| a == flag);
    let names: Vec<&str> = arguments.iter().map(String::as_str).filter(|a| !a.starts_with("--")).collect();
    let known = || ALL.iter().map(|(name, ..)| *name).collect::<Vec<_>>().join(", ");
    let quick = has("--quick");
    if let Some(seconds) = names.first().and_then(|n| n.parse().ok()).filter(|_| has("--nanosleep")) {
        shim::nanosleep(seconds);
        return ExitCode::SUCCESS;
    }
    if let Some(unknown) = names.iter().find(|n| !ALL.iter().any(|(name, ..)| name == *n)) {
        eprintln!("no measurement is called {unknown}; there are: {}", known());
        return ExitCode::from(2);
    }
    if has("--child") {
        return child(&names, quick);
    }
    let (mut report, mut shim, mut interpreting) = (Report::default(), Report::default(), Report::default());
    for (name, _, figures) in ALL.iter().filter(|(name, ..)| names.is_empty() || names.contains(name)) {
        eprintln!("{name} ...");
        match in_child(name, quick) {
            Ok(mut part) => {
                let missing = figures.iter().filter(|f| !part.figures.iter().any(|have| have.name == **f));
                part.failed.extend(missing.map(|f| format!("{name}: {f}")));
                if let Some(own) = own_file(name, &mut shim, &mut interpreting) {
                    own.append(part.clone());
                }
                report.append(part);
            }
            Err(why) => {
                eprintln!("{name}: {why}");
                report.failed.push((*name).to_owned());
                if let Some(own) = own_file(name, &mut shim, &mut interpreting) {
                    own.failed.push((*name).to_owned());
                }
            }
        }
    }
    print!("{}", if has("--markdown") { report.markdown() } else { report.table() });
    report.failed.iter().for_each(|what| eprintln!("did not come to an end: {what}"));
    for (file, part) in [("summary.json", &report), ("shim.json", &shim), ("interpreting.json", &interpreting)] {
        if file != "summary.json" && part.is_empty() {
            continue;
        }
        match publish(file, part, quick) {
            Ok(path) => eprintln!("written to {}", path.display()),
            Err(e) => {
                eprintln!("cannot write {file}: {e}");
                return ExitCode::FAILURE;
            }
        }
    }
    // The page that is being made shows them.
    let docs = has("--markdown").then(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("docs"));
    for (name, svg) in &report.pictures {
        let written = [Some(folder()), docs.clone()].into_iter().flatten().map(|f| std::fs::write(f.join(name), svg));
        if let Some(e) = written.filter_map(Result::err).next() {
            eprintln!("cannot write {name}: {e}");
            return ExitCode::FAILURE;
        }
    }
    if report.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The report that a measurement's figures also go to.
fn own_file<'a>(name: &str, shim: &'a mut Report, interpreting: &'a mut Report) -> Option<&'a mut Report> {
    match name {
        "interpreting" => Some(interpreting),
        _ => name.starts_with("shim-").then_some(shim),
    }
}

/// Runs measurements here and prints what they gave as one line of JSON.
fn child(names: &[&str], quick: bool) -> ExitCode {
    let mut report = Report::default();
    for (_, run, _) in ALL.iter().filter(|(name, ..)| names.contains(name)) {
        run(quick, &mut report);
    }
    match serde_json::to_string(&report) {
        Ok(line) => println!("{line}"),
        Err(e) => {
            eprintln!("{e}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn in_child(name: &str, quick: bool) -> Result<Report, String> {
    let mut command = Command::new(std::env::current_exe().map_err(|e| e.to_string())?);
    command.args(["--child", name]).args(quick.then_some("--quick")).stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = command.output().map_err(|e| e.to_string())?;
    if !output.status.success() {
        return Err(output.status.to_string());
    }
    serde_json::from_slice(&output.stdout).map_err(|e| e.to_string())
}

/// Writes a file of `bench/` below cargo's target folder.
fn publish(file: &str, report: &Report, quick: bool) -> std::io::Result<PathBuf> {
    std::fs::create_dir_all(folder())?;
    let path = folder().join(file);
    std::fs::write(&path, format!("{:#}\n", report.json(quick)))?;
    Ok(path)
}

/// `bench/` below cargo's target folder.
fn folder() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap_or(Path::new("target")).join("bench")
}
