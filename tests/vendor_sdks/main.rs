//! The vendors' own Python SDKs talk to the local cloud, so that it is not merely our opinion of their protocols.
//!
//! Each test is a script of checks beside this file. SDKs parse leniently, so the scripts also compare raw messages
//! with the vendors' specifications, field by field (tables.py).

#[path = "../support/mod.rs"]
mod support;

use std::path::Path;
use std::process::{Command, Stdio};
use support::{Cloud, temp_file};

/// Keys that the cloud accepts; the scripts know them.
const KEYS: [&str; 4] = ["deepgram=dg-key", "deepl=dl-key", "elevenlabs=el-key", "openai=oa-key"];

/// Python with the SDKs; made if it is not there.
fn python() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let made =
        Command::new(root.join("scripts/sdks.sh")).stderr(Stdio::inherit()).output().expect("scripts/sdks.sh runs");
    assert!(made.status.success(), "scripts/sdks.sh could not install the SDKs: {}", made.status);
    String::from_utf8(made.stdout).expect("UTF-8").trim().to_owned()
}

/// Runs a script against a cloud of its own; every check that it declares must have run and passed.
fn run(script: &str) {
    let keys: Vec<&str> = KEYS.iter().flat_map(|key| ["--api-key", key]).collect();
    let cloud = Cloud::start_with("", &keys);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vendor_sdks").join(script);
    let declared = std::fs::read_to_string(&path).expect("script").lines().filter(|line| *line == "@check").count();
    let folder = temp_file(script);
    std::fs::create_dir_all(&folder).expect("folder for the script's files");
    let output = Command::new(python())
        // No compiled files among the sources.
        .arg("-B")
        .arg(&path)
        .arg(cloud.address.to_string())
        .arg(env!("CARGO_BIN_EXE_mgw-local-cloud"))
        .arg(&folder)
        // Nothing but the cloud is to be reached, and no key or proxy of the user's to be used.
        .env_clear()
        .env("NO_PROXY", "*")
        .output()
        .expect("Python starts");
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{script}\n{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{script}: {}", output.status);
    assert!(declared > 0, "{script} has no checks");
    assert_eq!(said.lines().last(), Some(format!("{declared} of {declared} checks passed").as_str()), "{script}");
}

#[test]
fn deepgram_listen() {
    run("deepgram_listen.py");
}

#[test]
fn deepgram_flux() {
    run("deepgram_flux.py");
}

#[test]
fn deepgram_speak() {
    run("deepgram_speak.py");
}

#[test]
fn deepl() {
    run("deepl_text.py");
}

#[test]
fn elevenlabs() {
    run("elevenlabs_speech.py");
}

#[test]
fn openai() {
    run("openai_chat.py");
}
