//! What the tests of the C side share: the library as built, the compiler, programs that must not hang.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// The package's own folder.
pub fn package() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// libmgw.so of this build: cargo makes it next to this very test program, with the same features.
pub fn library() -> PathBuf {
    let program = std::env::current_exe().expect("this program's path");
    let library = program.with_file_name("libmgw.so");
    assert!(library.is_file(), "{} is missing: the cdylib was not built", library.display());
    library
}

/// Runs a program to its end; one that takes longer than a minute is ended and fails the test.
pub fn run(command: &mut Command) -> Output {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error}", named(command)));
    let deadline = Instant::now() + Duration::from_secs(60);
    while child.try_wait().expect("wait").is_none() {
        if Instant::now() > deadline {
            child.kill().expect("kill");
            let output = child.wait_with_output().expect("output");
            panic!("{} hangs: {}", named(command), told(&output));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    child.wait_with_output().expect("output")
}

/// As [`run`], and it must succeed. Returns what it wrote.
pub fn succeed(command: &mut Command) -> String {
    let output = run(command);
    assert!(output.status.success(), "{}: {}\n{}", named(command), output.status, told(&output));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// A command as messages show it: without the environment, which is nobody's business.
pub fn named(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// Both streams of a program, for messages.
pub fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}
