//! For trying the offline engine: writes the demo's two WAV files into the folder named by the first argument.
#![warn(missing_docs)]
mod engine;
#[allow(dead_code, unused_imports, reason = "the servers that use all of it are merged later")]
mod offline;

fn main() {
    let folder = std::env::args().nth(1).unwrap_or_else(|| ".".into());
    let made = offline::OfflineEngine::new()
        .and_then(|engine| offline::write_conversation(&engine, std::path::Path::new(&folder)));
    if let Err(why) = made {
        eprintln!("{}", why.message);
        std::process::exit(1);
    }
}
