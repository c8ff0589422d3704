//! Makes the C header in OUT_DIR and gives the shared library its SONAME.
//!
//! Reads this package's own files only and writes to OUT_DIR only: a build needs no network and no write
//! access to the sources. `tests/exports.rs` compares the result with `include/mgw.h`.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// The status codes, from the library's own source, so that header and library cannot differ.
#[allow(dead_code)]
#[path = "src/status.rs"]
mod status;

/// What the header declares, in its order. Files without modules of their own, or cbindgen would follow those.
const SOURCES: [&str; 5] =
    ["src/ffi/base.rs", "src/ffi/config.rs", "src/ffi/gateway.rs", "src/ffi/session.rs", "src/ffi/frames.rs"];

fn main() {
    let package = PathBuf::from(variable("CARGO_MANIFEST_DIR"));
    let out = PathBuf::from(variable("OUT_DIR"));
    for file in SOURCES.into_iter().chain(["build.rs", "src/status.rs", "cbindgen.toml", "Cargo.toml"]) {
        println!("cargo::rerun-if-changed={file}");
    }

    let abi = abi_version(&package.join("Cargo.toml"));
    println!("cargo::rustc-env=MGW_ABI_VERSION={abi}");
    if variable("CARGO_CFG_TARGET_OS") == "linux" {
        println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libmgw.so.{abi}");
        // A Rust library with threads that ran cannot be unmapped safely; this makes it explicit.
        println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
    }

    let mut config = cbindgen::Config::from_file(package.join("cbindgen.toml")).expect("cbindgen.toml");
    config.after_includes = Some(versions(&abi) + &statuses());
    let mut header = cbindgen::Builder::new().with_config(config);
    for source in SOURCES {
        header = header.with_src(package.join(source));
    }
    let mut text = Vec::new();
    header.generate().expect("src/ffi is not what cbindgen understands").write(&mut text);
    fs::write(out.join("mgw.h"), text).expect("OUT_DIR is writable");
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("cargo sets {name}"))
}

/// `abi-version` of `[package.metadata.mgw]`.
fn abi_version(manifest: &Path) -> String {
    let text = fs::read_to_string(manifest).expect("Cargo.toml");
    let line = text.lines().find_map(|line| line.strip_prefix("abi-version = ")).expect("abi-version in Cargo.toml");
    let number: u32 = line.trim().parse().expect("abi-version is a number");
    number.to_string()
}

fn versions(abi: &str) -> String {
    let mut text =
        String::from("\n/* The version of this header; compare with mgw_version() and mgw_abi_version(). */\n");
    for part in ["MAJOR", "MINOR", "PATCH"] {
        let _ = writeln!(text, "#define MGW_VERSION_{part} {}", variable(&format!("CARGO_PKG_VERSION_{part}")));
    }
    let _ = writeln!(text, "#define MGW_VERSION_STRING \"{}\"", variable("CARGO_PKG_VERSION"));
    let _ = writeln!(text, "#define MGW_ABI_VERSION {abi}");
    text
}

fn statuses() -> String {
    let mut text = String::from("\n/**\n * What functions return, as mgw_status.\n */\nenum mgw_status_code {\n");
    let last = status::Status::ALL.len() - 1;
    for (i, &code) in status::Status::ALL.iter().enumerate() {
        let comma = if i == last { "" } else { "," };
        let _ = writeln!(text, "  /** {} */\n  {} = {}{comma}", code.doc(), c_name(code), code as i32);
    }
    text + "};"
}

/// `ErrBufferTooShort` is `MGW_ERR_BUFFER_TOO_SHORT` in C.
fn c_name(code: status::Status) -> String {
    let mut name = String::from("MGW");
    for c in format!("{code:?}").chars() {
        if c.is_ascii_uppercase() {
            name.push('_');
        }
        name.push(c.to_ascii_uppercase());
    }
    name
}
