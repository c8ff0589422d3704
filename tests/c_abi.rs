//! The C ABI as C sees it: the programs in `tests/c` are compiled against `include/mgw.h` and run.
//!
//! Each of them prints what it finds wrong and ends with 1, or prints "ok". Since mgw never prints by
//! itself, "ok" must be all there is.
#![cfg(target_os = "linux")]

mod native;

use std::path::PathBuf;
use std::process::Command;

use native::{library, named, package, run, succeed, told};

const STRICT: [&str; 5] = ["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-g"];

/// A folder of the test's own, empty.
fn scratch(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("c_abi").join(name);
    if folder.exists() {
        std::fs::remove_dir_all(&folder).expect("remove an earlier run's files");
    }
    std::fs::create_dir_all(&folder).expect("make a folder");
    folder
}

/// Puts the library into a folder under the names that linker and loader look for.
fn place_library(folder: &std::path::Path) {
    let soname = format!("libmgw.so.{}", mgw_abi());
    for name in ["libmgw.so", soname.as_str()] {
        std::os::unix::fs::symlink(library(), folder.join(name)).expect("link");
    }
}

/// The library's ABI number, asked through the safe side of the same crate.
fn mgw_abi() -> u32 {
    mgw::ffi::mgw_abi_version()
}

fn compiler(cpp: bool) -> Command {
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let mut build = cc::Build::new();
    build.cargo_metadata(false).opt_level(1).target(&target).host(&target);
    build.cpp(cpp).get_compiler().to_command()
}

/// Compiles `tests/c/<name>.c`, linked with the library. Returns the program.
fn compiled(name: &str, test: &str, cpp: bool) -> (PathBuf, PathBuf) {
    let folder = scratch(test);
    place_library(&folder);
    let program = folder.join(name);
    let source = package().join("tests/c").join(format!("{name}.c"));
    let mut command = compiler(cpp);
    if cpp {
        command.args(["-x", "c++", "-std=c++11"]);
    } else {
        command.arg("-std=c99");
    }
    command.args(STRICT).arg("-I").arg(package().join("include")).arg(source);
    if cpp {
        // Libraries are not C++ sources.
        command.args(["-x", "none"]);
    }
    command.arg("-o").arg(&program).arg("-L").arg(&folder).args(["-lmgw", "-ldl", "-pthread"]);
    command.arg(format!("-Wl,-rpath,{}", folder.display()));
    let output = run(&mut command);
    assert!(output.status.success(), "{}\n{}", named(&command), told(&output));
    assert!(output.stderr.is_empty(), "warnings: {}", told(&output));
    (program, folder)
}

/// Runs a program, which must say "ok" and nothing else.
fn check(program: &std::path::Path, args: &[&std::ffi::OsStr]) {
    let output = run(Command::new(program).args(args));
    assert!(output.status.success(), "{}\n{}", output.status, told(&output));
    assert_eq!(told(&output), "ok\n");
}

#[test]
fn the_header_is_strict_c99_and_may_be_included_twice() {
    check(&compiled("header", "header-c", false).0, &[]);
}

#[test]
fn the_header_is_cpp_as_well() {
    check(&compiled("header", "header-cpp", true).0, &[]);
}

#[test]
fn every_bad_input_has_its_status_and_a_text() {
    let (program, folder) = compiled("bad_input", "bad_input", false);
    check(&program, &[folder.as_os_str()]);
}

#[test]
fn two_threads_on_one_side_are_told_busy() {
    check(&compiled("busy", "busy", false).0, &[]);
}

#[test]
fn frames_neither_allocate_nor_enter_the_kernel() {
    check(&compiled("realtime", "realtime", false).0, &[]);
}

#[test]
fn a_forked_child_is_refused_and_the_parent_goes_on() {
    check(&compiled("fork", "fork", false).0, &[]);
}

#[test]
fn the_library_can_be_loaded_and_unloaded_again_and_again() {
    // Not linked with the library: it comes by dlopen only.
    let folder = scratch("reload");
    let program = folder.join("reload");
    let mut command = compiler(false);
    command.arg("-std=c99").args(STRICT).arg("-I").arg(package().join("include"));
    command.arg(package().join("tests/c/reload.c")).arg("-o").arg(&program).arg("-ldl");
    let output = run(&mut command);
    assert!(output.status.success(), "{}\n{}", named(&command), told(&output));
    check(&program, &[library().as_os_str()]);
}

#[test]
fn the_log_comes_from_one_library_thread_until_it_is_silenced() {
    check(&compiled("log", "log", false).0, &[]);
}

#[test]
fn the_examples_build_by_pkg_config() {
    let folder = scratch("examples");
    place_library(&folder);
    let template = std::fs::read_to_string(package().join("mgw.pc.in")).expect("mgw.pc.in");
    let include = package().join("include");
    let filled = template
        .replace("@PREFIX@", &folder.display().to_string())
        .replace("@LIBDIR@", &folder.display().to_string())
        .replace("@INCLUDEDIR@", &include.display().to_string())
        .replace("@VERSION@", env!("CARGO_PKG_VERSION"));
    assert!(!filled.contains('@'), "a field of mgw.pc.in is not filled in:\n{filled}");
    std::fs::write(folder.join("mgw.pc"), filled).expect("mgw.pc");
    // Own variables only: the outer make's flags are not meant for this one.
    succeed(
        Command::new("make")
            .arg("-C")
            .arg(package().join("c-examples"))
            .arg(format!("OUT={}", folder.display()))
            .env("PKG_CONFIG_PATH", &folder)
            .env_remove("MAKEFLAGS"),
    );
    for program in ["translate_call", "two_threads"] {
        let output = run(&mut Command::new(folder.join(program)));
        assert_eq!(output.status.code(), Some(2), "{}", told(&output));
        assert!(told(&output).starts_with(&format!("usage: {program}")), "{}", told(&output));
    }
    // A mistake is told plainly, by the library's own sentence.
    let wav = folder.join("a.wav");
    std::fs::write(&wav, one_second_wav()).expect("a.wav");
    let config = folder.join("mgw.toml");
    std::fs::write(&config, "max_sesions = 3\n").expect("mgw.toml");
    let heard = folder.join("heard.wav");
    let output = run(Command::new(folder.join("translate_call")).args([&config, &wav, &wav, &heard, &heard]));
    assert_eq!(output.status.code(), Some(1));
    assert!(told(&output).contains("max_sessions"), "{}", told(&output));
    assert!(!heard.exists());
}

/// 16-bit mono silence at 8 kHz.
fn one_second_wav() -> Vec<u8> {
    let mut wav = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0".to_vec();
    wav.extend(8000u32.to_le_bytes());
    wav.extend(16000u32.to_le_bytes());
    wav.extend([2, 0, 16, 0]);
    wav.extend(b"data");
    wav.extend(16000u32.to_le_bytes());
    wav.resize(wav.len() + 16000, 0);
    wav
}
