//! Where the Debian packages keep what the engine needs, and what of it is missing.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use crate::engine::{EngineError, EngineErrorKind};

/// Where to look. `Places::default()` is a Debian system; a test or another system may point elsewhere.
#[derive(Debug, Clone)]
pub struct Places {
    /// Folder of `libpocketsphinx.so.3`; `None` asks the system's loader.
    pub libraries: Option<PathBuf>,
    /// Folder of the English acoustic model, language model and dictionary.
    pub model: PathBuf,
    /// Folder of Apertium's `.mode` files.
    pub modes: PathBuf,
    /// Folders of programs.
    pub programs: Vec<PathBuf>,
}

impl Default for Places {
    fn default() -> Self {
        let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into());
        Self {
            libraries: None,
            model: "/usr/share/pocketsphinx/model/en-us".into(),
            modes: "/usr/share/apertium/modes".into(),
            programs: std::env::split_paths(&path).collect(),
        }
    }
}

impl Places {
    /// The full path of a program.
    pub fn program(&self, name: &str) -> Option<PathBuf> {
        self.programs.iter().map(|folder| folder.join(name)).find(|path| path.is_file())
    }

    /// The full path of a program, or an error that names its package.
    pub fn need(&self, name: &str, package: &'static str) -> Result<PathBuf, EngineError> {
        self.program(name).ok_or_else(|| unavailable(&[(name.into(), package)]))
    }

    /// A file of the English model.
    pub fn model_file(&self, name: &str) -> PathBuf {
        self.model.join(name)
    }

    /// All that is missing but the libraries: what, and the Debian package that has it.
    pub fn missing(&self) -> Vec<(String, &'static str)> {
        let models = ["en-us/mdef", "en-us.lm.bin", "cmudict-en-us.dict"];
        let modes = ["eng-spa.mode", "spa-eng.mode"];
        let programs = [
            ("apertium-transfer", "apertium"),
            ("lt-proc", "apertium"),
            ("lrx-proc", "apertium-eng-spa"),
            ("flite", "flite"),
            ("espeak-ng", "espeak-ng"),
        ];
        let gone = |path: &Path| !path.is_file();
        let model = models.iter().map(|n| (self.model.join(n), "pocketsphinx-en-us"));
        let mode = modes.iter().map(|n| (self.modes.join(n), "apertium-eng-spa"));
        let mut missing: Vec<(String, &'static str)> = model
            .chain(mode)
            .filter(|(path, _)| gone(path))
            .map(|(path, package)| (path.display().to_string(), package))
            .collect();
        missing.extend(
            programs
                .iter()
                .filter(|(name, _)| self.program(name).is_none())
                .map(|(name, package)| ((*name).to_owned(), *package)),
        );
        missing
    }
}

/// The error for missing things, with the command that installs all of them.
pub fn unavailable(missing: &[(String, &'static str)]) -> EngineError {
    let things: Vec<String> =
        missing.iter().map(|(what, package)| format!("{what} (Debian package {package})")).collect();
    let mut packages: Vec<&str> = missing.iter().map(|(_, package)| *package).collect();
    packages.sort_unstable();
    packages.dedup();
    error(
        EngineErrorKind::Unavailable,
        format!("missing: {}; install it: apt-get install {}", things.join(", "), packages.join(" ")),
    )
}

/// An engine error.
pub fn error(kind: EngineErrorKind, message: impl Into<String>) -> EngineError {
    EngineError { kind, message: message.into() }
}

/// Runs a program to its end and returns its standard output; kills it after `limit`.
pub fn run(command: &mut Command, limit: Duration) -> Result<Vec<u8>, EngineError> {
    let name = command.get_program().to_string_lossy().into_owned();
    let failed = |why: String| error(EngineErrorKind::Unavailable, format!("{name}: {why}"));
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|e| failed(e.to_string()))?;
    let (sender, receiver) = mpsc::sync_channel(1);
    let output = child.stdout.take();
    let reader = std::thread::Builder::new().name("offline-output".into()).spawn(move || {
        let mut bytes = Vec::new();
        let read = output.map_or(Ok(0), |mut pipe| pipe.read_to_end(&mut bytes));
        // A send fails only when the wait below has given up.
        let _ = sender.send(read.map(|_| bytes));
    });
    let answer = match reader {
        Ok(_) => receiver.recv_timeout(limit).map_err(|_| failed("took too long".into())),
        Err(e) => Err(failed(e.to_string())),
    };
    if answer.is_err() {
        // It may have ended by itself in between, which is as good.
        let _ = child.kill();
    }
    let status = child.wait().map_err(|e| failed(e.to_string()))?;
    let bytes = answer?.map_err(|e| failed(e.to_string()))?;
    if status.success() { Ok(bytes) } else { Err(failed(format!("ended with {status}"))) }
}
