//! What the shared library shows the world: its names, its SONAME, its header.
#![cfg(target_os = "linux")]

mod native;

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use native::{library, package, succeed};

/// As build.rs made it.
const GENERATED: &str = include_str!(concat!(env!("OUT_DIR"), "/mgw.h"));

/// The functions that a header declares, with the comment before each.
fn documented(header: &str) -> BTreeMap<String, String> {
    let mut functions = BTreeMap::new();
    let (mut comment, mut inside) = (String::new(), false);
    for line in header.lines() {
        if line.trim_start().starts_with("/*") {
            comment.clear();
            inside = true;
        }
        if inside {
            comment.push_str(line);
            inside = !line.contains("*/");
            continue;
        }
        // `const char *mgw_version(void);` and the first line of longer ones.
        let Some((before, _)) = line.split_once('(') else {
            continue;
        };
        let name = before.rsplit([' ', '*']).next().unwrap_or_default();
        if name.starts_with("mgw_") && !line.starts_with("typedef") {
            let before = functions.insert(name.to_owned(), std::mem::take(&mut comment));
            assert_eq!(before, None, "{name} is declared twice");
        }
    }
    functions
}

/// Names of the functions that a header declares.
fn declared(header: &str) -> BTreeSet<String> {
    documented(header).into_keys().collect()
}

fn source(path: &str) -> String {
    std::fs::read_to_string(package().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The value of a `#define`.
fn defined(name: &str) -> &'static str {
    let prefix = format!("#define {name} ");
    let line = GENERATED.lines().find_map(|line| line.strip_prefix(&prefix));
    line.unwrap_or_else(|| panic!("{name} is not defined"))
}

#[test]
fn the_committed_header_is_the_generated_one() {
    let path = package().join("include/mgw.h");
    if std::env::var_os("UPDATE_HEADER").is_some() {
        std::fs::write(&path, GENERATED).expect("include/mgw.h is writable");
    }
    let committed = source("include/mgw.h");
    let differs = committed.lines().zip(GENERATED.lines()).position(|(ours, new)| ours != new);
    assert!(
        committed == GENERATED,
        "include/mgw.h is stale from line {}: UPDATE_HEADER=1 cargo test --test exports rewrites it",
        differs.map_or(committed.lines().count().min(GENERATED.lines().count()), |line| line) + 1
    );
}

#[test]
fn the_library_exports_exactly_what_the_header_declares() {
    let nm = succeed(Command::new("nm").args(["-D", "--defined-only"]).arg(library()));
    let exported: BTreeSet<String> =
        nm.lines().filter_map(|line| line.split_whitespace().last()).map(str::to_owned).collect();
    // Faults on purpose, for tests of hosts: in no header, and only where they were asked for.
    let (faults, exported): (BTreeSet<String>, BTreeSet<String>) =
        exported.into_iter().partition(|name| name.starts_with("mgw_inject_"));
    assert_eq!(faults.is_empty(), !cfg!(feature = "fault-injection"), "{faults:?}");
    let declared = declared(GENERATED);
    assert!(declared.contains("mgw_push_frame") && declared.contains("mgw_version"));
    assert_eq!(exported, declared);
}

#[test]
fn every_exported_function_is_in_the_header_s_sources_once() {
    let mut found = Vec::new();
    for file in ["base", "config", "gateway", "session", "frames"] {
        let text = source(&format!("src/ffi/{file}.rs"));
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            if line.contains("#[unsafe(no_mangle)]") {
                let signature = lines.next().unwrap_or_default();
                let name = signature.split("fn ").nth(1).and_then(|rest| rest.split('(').next());
                found.push(name.unwrap_or_default().to_owned());
            }
        }
    }
    found.sort();
    assert_eq!(found, declared(GENERATED).into_iter().collect::<Vec<_>>());
}

#[test]
fn every_function_says_who_may_call_it_and_what_it_returns() {
    for (name, comment) in documented(GENERATED) {
        for part in ["Thread:", "Blocks:", "Returns:"] {
            assert!(comment.contains(part), "{name} does not say \"{part}\"");
        }
    }
}

#[test]
fn the_tests_of_bad_input_and_fork_leave_no_function_out() {
    // These three are plain texts and numbers, good in a forked child as well.
    let texts = ["mgw_version", "mgw_abi_version", "mgw_status_str"];
    for file in ["tests/c/bad_input.c", "tests/c/fork.c"] {
        let text = source(file);
        for name in declared(GENERATED).iter().filter(|name| !texts.contains(&name.as_str())) {
            assert!(text.contains(&format!("{name}(")), "{file} does not call {name}");
        }
    }
}

#[test]
fn the_header_s_versions_are_the_package_s() {
    assert_eq!(defined("MGW_VERSION_STRING"), format!("\"{}\"", env!("CARGO_PKG_VERSION")));
    let parts = ["MAJOR", "MINOR", "PATCH"].map(|part| defined(&format!("MGW_VERSION_{part}")));
    let numbers = env!("CARGO_PKG_VERSION").split(['-', '+']).next().unwrap_or_default();
    assert_eq!(parts.join("."), numbers);
    let manifest = source("Cargo.toml");
    let abi = manifest.lines().find_map(|line| line.strip_prefix("abi-version = "));
    assert_eq!(Some(defined("MGW_ABI_VERSION")), abi.map(str::trim));
}

#[test]
fn the_library_has_a_soname_and_stays_mapped() {
    let dynamic = succeed(Command::new("readelf").args(["-d", "-W"]).arg(library()).env("LC_ALL", "C"));
    let soname = format!("[libmgw.so.{}]", defined("MGW_ABI_VERSION"));
    assert!(dynamic.contains("(SONAME)") && dynamic.contains(&soname), "{dynamic}");
    let flags = dynamic.lines().find(|line| line.contains("(FLAGS_1)"));
    assert!(flags.is_some_and(|flags| flags.contains("NODELETE")), "{dynamic}");
}
