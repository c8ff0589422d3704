//! `mgw-rtp-shim`: connects mgw to an Asterisk that nobody has to compile anything for.
//!
//! | to change | look at |
//! |---|---|
//! | settings | `settings/` |
//! | a call that comes from Asterisk | `ari/` |
//! | a call over AudioSocket, who may | `audiosocket` |
//! | who meets whom | `rooms` |
//! | what a caller hears alone, when a call is over | `attend` |
//! | ports, pacing, packets | `media/` |
//! | the control interface, metrics | `http`, `static_leg`, `metrics` |
//! | start and stop | `shim`, `serve` |
#![forbid(unsafe_code)]

mod ari;
mod attend;
mod audiosocket;
mod call_client;
mod calls;
mod doctor;
mod http;
mod media;
mod metrics;
mod rooms;
mod serve;
mod settings;
mod shim;
mod static_leg;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use settings::Settings;

#[derive(Parser, Debug)]
#[command(
    version,
    about = "Connects mgw to Asterisk: ARI and RTP, AudioSocket",
    args_conflicts_with_subcommands = true
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    file: File,
}

#[derive(Args, Clone, Debug)]
struct File {
    /// The file of settings; also MGW_CONFIG.
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Stops when standard input ends.
    #[arg(long, hide = true)]
    exit_with_parent: bool,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Takes calls until it is told to stop (the default).
    Serve(File),
    /// Says whether the file of settings is right.
    CheckConfig(File),
    /// Tries everything that a call needs, and says how to mend what does not work.
    Doctor(File),
    /// Has the running shim call people and connect them: `call 7777=PJSIP/1001 8888=PJSIP/1002`.
    Call {
        #[command(flatten)]
        file: File,
        /// EXTENSION=ENDPOINT, with the endpoint as in Asterisk's Dial().
        #[arg(required = true, value_name = "EXTENSION=ENDPOINT")]
        legs: Vec<String>,
        /// Room in which they meet; not given: one of their own.
        #[arg(long)]
        room: Option<String>,
    },
}

impl File {
    fn load(&self) -> Result<Settings, ExitCode> {
        let path = self
            .config
            .clone()
            .or_else(|| std::env::var_os("MGW_CONFIG").map(PathBuf::from))
            .unwrap_or_else(|| PathBuf::from("/etc/mgw/mgw.toml"));
        Settings::load(&path).map_err(|errors| {
            errors.iter().for_each(|e| eprintln!("mgw-rtp-shim: {e}"));
            ExitCode::from(2)
        })
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    // HTTP clients ask for the process's choice of cryptography, even for plain HTTP.
    #[cfg(feature = "tls-rustls")]
    let _ = rustls::crypto::ring::default_provider().install_default();
    let done = match cli.command.unwrap_or(Command::Serve(cli.file)) {
        Command::Serve(file) => file.load().map(|settings| serve::run(settings, file.exit_with_parent)),
        Command::CheckConfig(file) => file.load().map(|settings| {
            println!("the settings are right; extensions: {}", settings.extension_names());
            ExitCode::SUCCESS
        }),
        Command::Doctor(file) => file.load().map(doctor::run),
        Command::Call { file, legs, room } => file.load().map(|settings| call_client::run(&settings, &legs, room)),
    };
    done.unwrap_or_else(|code| code)
}
