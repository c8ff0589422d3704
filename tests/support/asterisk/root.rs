//! An Asterisk on disk, as `scripts/asterisk.sh` has made or found it, and how it is run from there.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use super::super::temp_file;

/// Version that tests run, where they do not say which.
pub const USUAL: u8 = 22;
/// The oldest one.
pub const OLDEST: u8 = 16;

pub struct Root {
    pub path: PathBuf,
    pub modules: PathBuf,
    linker: PathBuf,
    /// Folders of shared libraries, separated by colons.
    libraries: String,
}

impl Root {
    /// Of Asterisk 22 or 16.
    pub fn of(version: u8) -> &'static Root {
        static NEW: OnceLock<Root> = OnceLock::new();
        static OLD: OnceLock<Root> = OnceLock::new();
        if version == OLDEST { OLD.get_or_init(Root::old) } else { NEW.get_or_init(Root::new) }
    }

    /// With its own C library, which is newer than ours.
    fn new() -> Root {
        let path = fetch(USUAL);
        let lib = path.join("usr/lib").join(triplet());
        let linker = linker(&lib);
        Root { modules: lib.join("asterisk/modules"), linker, libraries: lib.display().to_string(), path }
    }

    /// With the C library of this machine, because that of Debian 11 is older than what our library was linked with. On
    /// a Debian 11 the library is built against its own.
    fn old() -> Root {
        let path = fetch(OLDEST);
        let host = Path::new("/lib").join(triplet());
        let own = temp_file("glibc").with_file_name("glibc");
        fs::create_dir(&own).expect("folder");
        let parts = ["c", "m", "pthread", "dl", "rt", "resolv", "util", "anl", "nss_files", "nss_dns", "gcc_s"];
        for entry in fs::read_dir(&host).expect("the libraries of this machine") {
            let name = entry.expect("entry").file_name();
            let text = name.to_string_lossy();
            if parts.iter().any(|part| text.starts_with(&format!("lib{part}.so.")))
                || text.starts_with("libstdc++.so.6")
            {
                symlink(host.join(&name), own.join(&name)).expect("link");
            }
        }
        let folders =
            [own, path.join("usr/lib"), path.join("usr/lib").join(triplet()), path.join("lib").join(triplet())];
        let libraries: Vec<String> = folders.iter().map(|f| f.display().to_string()).collect();
        let linker = linker(&host);
        Root { modules: path.join("usr/lib/asterisk/modules"), linker, libraries: libraries.join(":"), path }
    }

    /// The beginning of a command line that runs its Asterisk.
    pub fn command(&self) -> Vec<PathBuf> {
        let mut line: Vec<PathBuf> = vec![self.linker.clone(), "--library-path".into(), self.libraries.clone().into()];
        line.extend(["--argv0".into(), "asterisk".into(), self.path.join("usr/sbin/asterisk")]);
        line
    }

    /// Its libraries' folder.
    pub fn lib(&self) -> PathBuf {
        self.path.join("usr/lib").join(triplet())
    }
}

fn fetch(version: u8) -> PathBuf {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/asterisk.sh");
    let mut command = Command::new(script);
    let output = command.arg(version.to_string()).stderr(Stdio::inherit()).output().expect("scripts/asterisk.sh runs");
    assert!(output.status.success(), "scripts/asterisk.sh failed: see above");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    PathBuf::from(text.lines().last().expect("the root's path on the last line"))
}

/// The dynamic linker among libraries.
fn linker(lib: &Path) -> PathBuf {
    fs::read_dir(lib)
        .unwrap_or_else(|e| panic!("{}: {e}", lib.display()))
        .filter_map(|e| Some(e.ok()?.path()))
        .find(|p| p.file_name().and_then(|n| n.to_str()).is_some_and(|n| n.starts_with("ld-linux")))
        .expect("a dynamic linker")
}

fn triplet() -> String {
    format!("{}-linux-gnu", std::env::consts::ARCH)
}
