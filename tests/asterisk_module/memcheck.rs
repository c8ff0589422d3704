//! A translated call and a room in an Asterisk under valgrind's memcheck.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::host::*;
use crate::native::succeed;
use crate::support::asterisk::root::USUAL;
use crate::support::asterisk::{LightPhone, Root};
use crate::support::{Cloud, temp_file, wait_for};

/// Debug information of the root's C library where valgrind looks for it: it knows the names in the stripped files, but
/// not our root.
fn debug_information(root: &Root, folder: &Path) -> PathBuf {
    let extra = folder.join("debug");
    let place = PathBuf::from(format!("{}{}", extra.display(), root.lib().display()));
    fs::create_dir_all(&place).expect("folder");
    for name in ["ld-linux-x86-64.so.2", "libc.so.6", "libm.so.6"] {
        let file = root.lib().join(name);
        let notes = succeed(Command::new("readelf").arg("-n").arg(&file));
        let id = notes.split("Build ID: ").nth(1).and_then(|r| r.split_whitespace().next()).expect("a build id");
        // Debian's debug link is the name of the file below .build-id.
        let name = format!("{}.debug", &id[2..]);
        let target = root.path.join("usr/lib/debug/.build-id").join(&id[..2]).join(&name);
        assert!(target.exists(), "{} is missing", target.display());
        symlink(target, place.join(name)).expect("link");
    }
    extra
}

/// Modules that a call needs, by the beginning of their names; with all of them Asterisk starts for minutes.
const NEEDED: [&str; 22] = [
    "app_mgw",
    "app_stasis",
    "bridge_",
    "chan_pjsip",
    "codec_resample",
    "codec_ulaw",
    "func_",
    "pbx_config",
    "res_ari.",
    "res_ari_asterisk",
    "res_ari_model",
    "res_crypto",
    "res_geolocation",
    "res_http_websocket",
    "res_pjproject",
    "res_pjsip",
    "res_rtp_asterisk",
    "res_sorcery",
    "res_stasis.",
    "res_statsd",
    "res_timing_timerfd",
    "res_websocket_client",
];

fn few_modules(root: &Root) -> String {
    let names = fs::read_dir(&root.modules).expect("modules").filter_map(|e| e.ok()?.file_name().into_string().ok());
    let others = names.filter(|name| !NEEDED.iter().any(|begin| name.starts_with(begin)));
    let lines: Vec<String> = others.map(|name| format!("noload = {name}\n")).collect();
    format!("[modules]\nautoload = yes\n{}", lines.concat())
}

#[test]
fn memcheck_finds_nothing_that_is_ours() {
    let root = Root::of(USUAL);
    let folder = temp_file("memcheck").parent().expect("folder").to_owned();
    let log = folder.join("memcheck.log");
    let extra = debug_information(root, &folder);
    let libexec = root.path.join("usr/libexec/valgrind");
    let tool = fs::read_dir(&libexec).expect("valgrind").filter_map(|e| Some(e.ok()?.path())).find(|p| {
        p.file_name()
            .and_then(|n| n.to_str())
            .is_some_and(|n| n.starts_with("memcheck-amd64") || n.starts_with("memcheck-arm64"))
    });
    let under = [
        "env".to_owned(),
        format!("VALGRIND_LIB={}", libexec.display()),
        format!("VALGRIND_LAUNCHER={}", root.path.join("usr/bin/valgrind").display()),
        tool.expect("memcheck").display().to_string(),
        "--tool=memcheck".to_owned(),
        "--leak-check=full".to_owned(),
        "--show-leak-kinds=definite".to_owned(),
        "--keep-debuginfo=yes".to_owned(),
        "--num-callers=40".to_owned(),
        "--fair-sched=yes".to_owned(),
        format!("--extra-debuginfo-path={}", extra.display()),
        format!("--log-file={}", log.display()),
    ];
    let under: Vec<&str> = under.iter().map(String::as_str).collect();
    let cloud = Cloud::start("");
    let gateway = gateway_of(USUAL, &conf(&cloud, "", ""), module(), &under, &[("modules.conf", &few_modules(root))]);
    let events = gateway.listen();
    let (a, b) = pair(&gateway, 0);
    wait_for("a translated call", 120 * S, || states(&gateway) == ["active"]);
    a.say(&talk("en", 0, 3));
    b.say(&talk("es", 500, 3));
    // Words are for the other tests: nothing keeps time here.
    wait_for("translations both ways", 180 * S, || {
        let sides: std::collections::BTreeSet<String> =
            events.events("MGWTranslation").iter().map(|e| e["Source"].clone()).collect();
        sides.len() == 2
    });
    let room = [LightPhone::call(&gateway, "7701", &[]), LightPhone::call(&gateway, "8801", &[])];
    room.iter().for_each(LightPhone::wait_up);
    wait_for("four sessions", 120 * S, || sessions(&gateway) == 4);
    gateway.rx("module reload app_mgw.so");
    for phone in [&a, &room[0]] {
        phone.hang_up();
    }
    b.wait_gone();
    room[1].hang_up();
    wait_for("no session", 120 * S, || sessions(&gateway) == 0);
    wait_for("no use", 60 * S, || uses(&gateway) == "0");
    let told = gateway.rx("module unload app_mgw.so");
    assert!(told.contains("Unloaded app_mgw.so"), "{told}");
    gateway.rx("core stop now");
    let read = || fs::read_to_string(&log).unwrap_or_default();
    wait_for("valgrind's summary", 180 * S, || read().contains("ERROR SUMMARY"));
    let text = read();
    // A report is the lines between two that are empty but for the number of the process.
    let number = format!("=={}== ", gateway.pid());
    let lines = text.lines().map(|l| l.strip_prefix(number.trim_end()).unwrap_or(l).trim());
    let reports: Vec<String> = lines.fold(vec![String::new()], |mut all, line| {
        if line.is_empty() {
            all.push(String::new())
        } else {
            all.last_mut().expect("one").push_str(&format!("{line}\n"))
        }
        all
    });
    // Rust is the library's alone.
    let names = ["app_mgw", "libmgw", "(mgw_", "(app_media_gateway", "(func_translate", "(func_mgw", ".rs:"];
    let is_ours = |r: &&String| r.contains("at 0x") && names.iter().any(|name| r.contains(name));
    let ours: Vec<&String> = reports.iter().filter(is_ours).collect();
    let summary = text.lines().rev().find(|l| l.contains("ERROR SUMMARY")).unwrap_or_default();
    println!("{summary}; {} reports, {} of them ours", reports.len(), ours.len());
    assert!(ours.is_empty(), "{}", ours.iter().map(|r| r.as_str()).collect::<Vec<_>>().join("\n"));
}
