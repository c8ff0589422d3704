//! `mgw-local-cloud`: Deepgram, DeepL, ElevenLabs and others on loopback, as strict as the vendors and with scripted timing and faults.
//!
//! `serve` (the default) runs the services on one port; `talk` makes a WAV file of coded speech; `ear` tells what one says.

mod app;
mod coded;
mod conn;
mod deepgram;
mod deepl;
mod echo;
mod elevenlabs;
mod engine;
mod fault;
// The file, not the library: the emulator stays independent of what it tests, and one G.711 is enough.
#[path = "../../telephony/g711.rs"]
mod g711;
mod libretranslate;
mod offline;
mod openai;
mod scenario;
mod server;
mod slots;
mod speech;
mod stats;
mod tls;
mod tools;

use app::App;
use clap::{Args, Parser, Subcommand, ValueEnum};
use engine::Engine;
use scenario::Scenario;
use std::collections::HashMap;
use std::future::pending;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use tokio::net::TcpListener;

/// Services with keys of their own.
const SERVICES: [&str; 5] = ["deepgram", "deepl", "elevenlabs", "openai", "libretranslate"];

#[derive(Parser, Debug)]
#[command(
    version,
    about = "The cloud services on loopback, with scripted timing and faults",
    args_conflicts_with_subcommands = true
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: Serve,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Runs the services (the default).
    Serve(Serve),
    /// Writes coded speech into a WAV file and prints what it says as JSON.
    Talk(tools::Talk),
    /// Writes the demo's two speakers, english.wav and spanish.wav, by the offline engine's voices.
    DemoVoices {
        /// Folder for the two files.
        folder: PathBuf,
    },
    /// Prints what real speech in a WAV file says, by the offline recogniser, as JSON.
    Recognise {
        /// `en` or `es`.
        #[arg(long, default_value = "en")]
        language: String,
        /// WAV file, mono, 16 bit.
        input: PathBuf,
    },
    /// Prints what a WAV file says as JSON.
    Ear {
        /// WAV file, 16 bit.
        input: PathBuf,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum EngineName {
    /// Coded speech: exact words by tones.
    Coded,
    /// Real offline models.
    Offline,
}

#[derive(Args, Debug)]
struct Serve {
    /// Loopback address and port; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// What hears, translates and speaks.
    #[arg(long, value_enum, default_value = "coded")]
    engine: EngineName,
    /// Scenario file (TOML): latencies, pacing, faults.
    #[arg(long)]
    scenario: Option<PathBuf>,
    /// Accepts this key only, as SERVICE=KEY with deepgram, deepl, elevenlabs, openai or libretranslate; may be repeated.
    #[arg(long, value_name = "SERVICE=KEY")]
    api_key: Vec<String>,
    /// Speaks TLS with a certificate of a test authority made at start.
    #[arg(long)]
    tls: bool,
    /// Writes the test authority's certificate (PEM) here before the port is announced.
    #[arg(long, requires = "tls")]
    ca_out: Option<PathBuf>,
    /// Makes the server's certificate one that a client must refuse.
    #[arg(long, value_enum, requires = "tls")]
    tls_fault: Option<tls::TlsFault>,
    /// Recognition streams at once with the offline engine (default: what this machine's cores carry).
    #[arg(long)]
    streams: Option<usize>,
    /// Ends when standard input does.
    #[arg(long)]
    exit_with_parent: bool,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        Some(Command::Talk(ask)) => tools::talk(&ask).map(|v| print_line(&v.to_string())).map_err(|e| e.to_string()),
        Some(Command::Ear { input }) => {
            tools::ear(&input).map(|v| print_line(&v.to_string())).map_err(|e| e.to_string())
        }
        Some(Command::DemoVoices { folder }) => offline::OfflineEngine::new()
            .and_then(|engine| offline::write_conversation(&engine, &folder))
            .map_err(|e| e.message),
        Some(Command::Recognise { language, input }) => {
            tools::recognise(&language, &input).map(|v| print_line(&v.to_string())).map_err(|e| e.to_string())
        }
        Some(Command::Serve(ask)) => run(&ask),
        None => run(&cli.serve),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            eprintln!("mgw-local-cloud: {text}");
            ExitCode::from(2)
        }
    }
}

/// Prints and flushes; a reader that has gone is no reason to panic.
fn print_line(text: &str) {
    let mut out = std::io::stdout();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

fn run(ask: &Serve) -> Result<(), String> {
    if !ask.listen.ip().is_loopback() {
        return Err(format!("{} is not a loopback address", ask.listen));
    }
    let scenario = match &ask.scenario {
        None => Scenario::default(),
        Some(path) => {
            let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
            Scenario::parse(&text).map_err(|e| format!("{}: {e}", path.display()))?
        }
    };
    let mut keys: HashMap<String, Vec<String>> = HashMap::new();
    for pair in &ask.api_key {
        match pair.split_once('=') {
            Some((service, key)) if SERVICES.contains(&service) && !key.is_empty() => {
                keys.entry(service.to_owned()).or_default().push(key.to_owned());
            }
            _ => return Err(format!("--api-key: want SERVICE=KEY with {}", SERVICES.join(", "))),
        }
    }
    let engine: Arc<dyn Engine> = match ask.engine {
        EngineName::Coded => Arc::new(
            coded::CodedEngine::new(scenario.seed, scenario.stt.revision_rate).revising(scenario.stt.revision_depth),
        ),
        EngineName::Offline => {
            let engine = match ask.streams {
                Some(streams) => offline::OfflineEngine::with(offline::Places::default(), streams),
                None => offline::OfflineEngine::new(),
            };
            let engine = engine.map_err(|e| e.message)?;
            eprintln!("mgw-local-cloud: Spanish is recognised from a book of call phrases only; English freely");
            Arc::new(engine)
        }
    };
    let app = Arc::new(App::new(engine, scenario, keys));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|e| e.to_string())?;
    let result = runtime.block_on(serve(ask, app));
    // Blocking work of an engine must not hold up the end.
    runtime.shutdown_background();
    result
}

async fn serve(ask: &Serve, app: Arc<App>) -> Result<(), String> {
    let signalled = end_signal().map_err(|e| e.to_string())?;
    let (tls, suffix) = if ask.tls {
        let (acceptor, ca) = tls::make(ask.tls_fault).map_err(|e| e.to_string())?;
        if let Some(path) = &ask.ca_out {
            std::fs::write(path, ca).map_err(|e| format!("{}: {e}", path.display()))?;
        }
        (Some(acceptor), " tls")
    } else {
        (None, "")
    };
    let listener = TcpListener::bind(ask.listen).await.map_err(|e| format!("cannot listen on {}: {e}", ask.listen))?;
    let address = listener.local_addr().map_err(|e| e.to_string())?;
    print_line(&format!("mgw-local-cloud listening on {address}{suffix}"));
    let parent = parent_gone(ask.exit_with_parent);
    let stop = async {
        tokio::select! {
            _ = signalled => {}
            () = parent => {}
        }
    };
    server::serve(listener, tls, app, stop).await;
    Ok(())
}

/// Ready at SIGINT or SIGTERM.
fn end_signal() -> std::io::Result<tokio::sync::oneshot::Receiver<()>> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM])?;
    let (sender, receiver) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        if signals.forever().next().is_some() {
            let _ = sender.send(());
        }
    });
    Ok(receiver)
}

/// Ready when standard input ends; never if that is not asked for.
async fn parent_gone(wanted: bool) {
    if !wanted {
        return pending().await;
    }
    let (gone, wait) = tokio::sync::oneshot::channel::<()>();
    // A plain thread: reading standard input cannot be cancelled and must not hold up the runtime.
    std::thread::spawn(move || {
        let mut buffer = [0; 256];
        while matches!(std::io::stdin().read(&mut buffer), Ok(n) if n > 0) {}
        drop(gone);
    });
    let _ = wait.await;
}
