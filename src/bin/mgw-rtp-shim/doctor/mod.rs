//! `mgw-rtp-shim doctor`: tries everything that a call needs; each finding ends with what to do about it.

mod asterisk;
mod host;
mod probe;
mod providers;

use std::process::ExitCode;

use crate::settings::Settings;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    Good,
    /// Works, but not as it should.
    Doubtful,
    /// Calls will not work.
    Bad,
}

/// What was found, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub mark: Mark,
    pub what: String,
    /// In one line; empty for what is good.
    pub fix: String,
}

/// Findings, told as they come.
#[derive(Default)]
pub struct Report {
    findings: Vec<Finding>,
}

impl Report {
    pub fn good(&mut self, what: impl Into<String>) {
        self.tell(Finding { mark: Mark::Good, what: what.into(), fix: String::new() });
    }

    pub fn doubtful(&mut self, what: impl Into<String>, fix: impl Into<String>) {
        self.tell(Finding { mark: Mark::Doubtful, what: what.into(), fix: fix.into() });
    }

    pub fn bad(&mut self, what: impl Into<String>, fix: impl Into<String>) {
        self.tell(Finding { mark: Mark::Bad, what: what.into(), fix: fix.into() });
    }

    fn tell(&mut self, finding: Finding) {
        let mark = match finding.mark {
            Mark::Good => "ok  ",
            Mark::Doubtful => "warn",
            Mark::Bad => "FAIL",
        };
        println!("{mark}  {}", finding.what);
        if !finding.fix.is_empty() {
            println!("      -> {}", finding.fix);
        }
        self.findings.push(finding);
    }

    fn count(&self, mark: Mark) -> usize {
        self.findings.iter().filter(|f| f.mark == mark).count()
    }
}

/// Tries everything; fails if a call would.
pub fn run(settings: Settings) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => {
            eprintln!("mgw-rtp-shim: no runtime: {e}");
            return ExitCode::FAILURE;
        }
    };
    let mut report = Report::default();
    report.good(format!("settings: extensions {}", settings.extension_names()));
    runtime.block_on(async {
        host::examine(&settings, &mut report).await;
        asterisk::examine(&settings, &mut report).await;
    });
    providers::examine(&settings, &mut report);
    let (bad, doubtful) = (report.count(Mark::Bad), report.count(Mark::Doubtful));
    println!("{bad} failed, {doubtful} doubtful, {} good", report.count(Mark::Good));
    if bad == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
