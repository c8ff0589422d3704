//! The process around a shim: log, runtime, signals, systemd.

use std::process::ExitCode;
use std::sync::Arc;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tracing::Level;

use crate::settings::Settings;
use crate::shim::Shim;

/// Threads of the runtime: it only controls, media have their own threads.
const THREADS: usize = 2;

/// Serves until SIGTERM or SIGINT; a second one ends running calls.
pub fn run(settings: Settings, exit_with_parent: bool) -> ExitCode {
    start_log();
    match serve(settings, exit_with_parent) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            tracing::error!("{why}");
            ExitCode::FAILURE
        }
    }
}

/// Our own records and the library's go to standard error, as systemd wants them.
fn start_log() {
    let level = std::env::var("MGW_LOG").ok().and_then(|text| text.parse().ok()).unwrap_or(Level::INFO);
    // Under systemd the journal has its own times.
    let journal = std::env::var_os("JOURNAL_STREAM").is_some();
    let log = tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr).with_ansi(false);
    if journal {
        log.without_time().init()
    } else {
        log.init()
    }
    let sink = |level: Level, target: &std::ffi::CStr, text: &std::ffi::CStr| {
        let (target, text) = (target.to_string_lossy(), text.to_string_lossy());
        match level {
            Level::ERROR => tracing::error!(%target, "{text}"),
            Level::WARN => tracing::warn!(%target, "{text}"),
            Level::INFO => tracing::info!(%target, "{text}"),
            _ => tracing::debug!(%target, "{text}"),
        }
    };
    if let Err(e) = mgw::log::set(Some(level), Some(Box::new(sink))) {
        tracing::warn!("the library's log cannot be had: {e}");
    }
}

fn serve(settings: Settings, exit_with_parent: bool) -> Result<(), String> {
    // Before the runtime exists, so that no thread of it takes the signals.
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP]).map_err(|e| format!("no signal handler: {e}"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .thread_name("mgw-shim")
        .enable_all()
        .build()
        .map_err(|e| format!("no runtime: {e}"))?;
    let stop = settings.stop;
    let shim = Shim::new(settings)?;
    let watched = shim.clone();
    std::thread::Builder::new()
        .name("mgw-signals".into())
        .spawn(move || watch_signals(&mut signals, &watched))
        .map_err(|e| format!("no thread for signals: {e}"))?;
    if exit_with_parent {
        let shim = shim.clone();
        std::thread::spawn(move || {
            // Nothing is ever sent; the end of the pipe is the end of the parent.
            let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
            shim.closing.cancel();
            shim.ending.cancel();
        });
    }
    if let Err(why) = runtime.block_on(shim.run()) {
        tracing::error!("{why}");
        // Not by way of the destructors, which would take calls down that a successor can take up.
        std::process::exit(1);
    }
    // What was said by those who are gone may still be on its way to nobody.
    if let Err(e) = shim.media.shutdown(stop.min(std::time::Duration::from_secs(5))) {
        tracing::warn!("{e}");
    }
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    tracing::info!("stopped");
    Ok(())
}

fn watch_signals(signals: &mut Signals, shim: &Arc<Shim>) {
    for signal in signals.forever() {
        if signal == SIGHUP {
            tracing::info!("SIGHUP: settings are read at start only; restart to change them, running calls may finish");
        } else if shim.closing.is_cancelled() {
            shim.ending.cancel();
        } else {
            let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
            shim.closing.cancel();
        }
    }
}
