//! What goes wrong, and what callers then have: a clear message for the operator, and a call that goes on.

use std::path::PathBuf;

use crate::host::*;
use crate::native::succeed;
use crate::support::asterisk::phones::RATE;
use crate::support::asterisk::{Asterisk, LightPhone};
use crate::support::leg::hear;
use crate::support::{Cloud, temp_file, wait_for};

/// Says a sentence each way until each has heard the other's own voice, word for word. It goes through the jitter of this
/// machine without the vendors' patience, so a busy one may damage a word: three attempts.
fn converse_untranslated(a: &LightPhone, b: &LightPhone, first: u16) {
    let mut heard = Vec::new();
    for _ in 0..3 {
        let (from_a, from_b) = (a.heard().len(), b.heard().len());
        a.say(&talk("en", first, 1));
        b.say(&talk("es", first + 500, 1));
        a.wait_said_all();
        b.wait_said_all();
        std::thread::sleep(S);
        let ears = [hear(&a.heard_from(from_a), RATE), hear(&b.heard_from(from_b), RATE)];
        let wanted = [("es", first + 500), ("en", first)].map(|(l, n)| (n..n + 5).map(|n| (l, n)).collect::<Vec<_>>());
        if ears.iter().zip(&wanted).all(|(ear, wanted)| ear.damaged == 0 && ear.words == *wanted) {
            return;
        }
        heard.push(ears.map(|ear| (ear.words, ear.damaged)));
    }
    panic!("no attempt was whole: {heard:?}");
}

fn status(gateway: &Asterisk) -> String {
    gateway.action("Getvar", &[("Variable", "STATUS")]).remove("Value").unwrap_or_default()
}

fn hang_up(a: &LightPhone, b: &LightPhone) {
    a.hang_up();
    b.wait_gone();
}

#[test]
fn a_reload_is_for_new_calls_and_a_mistake_in_it_changes_nothing() {
    let cloud = Cloud::start("");
    let gateway = gateway(&cloud);
    let (a, b) = pair(&gateway, 0);
    wait_state(&gateway, "active");
    converse(&a, &b, 0);
    gateway.configure("mgw.conf", &conf(&cloud, "tts.vioce = x", ""));
    assert!(!gateway.rx("module reload app_mgw.so").contains("reloaded successfully"));
    wait_for("the mistake with its line", 10 * S, || {
        gateway.log().lines().any(|l| l.contains("ERROR") && l.contains("mgw.conf:10:") && l.contains("tts.voice"))
    });
    converse(&a, &b, 10);
    gateway.configure("mgw.conf", &conf(&cloud, "original = full", "[9999]\nlanguage = fr"));
    let told = gateway.rx("module reload app_mgw.so");
    assert!(told.contains("reloaded successfully"), "{told}");
    assert!(gateway.rx("mgw show settings").contains("profile.9999.language"));
    // The call that is there keeps its settings: nothing of the original is under it.
    converse(&a, &b, 20);
    hang_up(&a, &b);
    wait_empty(&gateway);
}

#[test]
fn an_unreadable_configuration_is_a_mistake_and_what_was_in_force_stays() {
    let cloud = Cloud::start("");
    let gateway = gateway(&cloud);
    gateway.make_unreadable("mgw.conf");
    assert!(!gateway.rx("module reload app_mgw.so").contains("reloaded successfully"));
    wait_for("a word about it", 10 * S, || {
        gateway.log().lines().any(|l| l.contains("ERROR") && l.contains("mgw.conf is there, but cannot be read: "))
    });
    let shown = gateway.rx("mgw show settings");
    assert!(shown.contains("profile.8888.language") && !shown.contains("not running"), "{shown}");
    let (a, b) = pair(&gateway, 0);
    wait_state(&gateway, "active");
    converse(&a, &b, 0);
    hang_up(&a, &b);
    wait_empty(&gateway);
    // Without the file it is defaults, as ever.
    gateway.remove_configuration("mgw.conf");
    let told = gateway.rx("module reload app_mgw.so");
    assert!(told.contains("reloaded successfully"), "{told}");
    assert!(!gateway.rx("mgw show settings").contains("profile.8888.language"));
}

#[test]
fn it_is_unloaded_only_without_calls_and_loads_again() {
    let cloud = Cloud::start("");
    let gateway = gateway(&cloud);
    for round in 0..rounds() as u16 {
        let (a, b) = pair(&gateway, 0);
        wait_state(&gateway, "active");
        let room = LightPhone::call(&gateway, "7701", &[]);
        room.wait_up();
        wait_for("three sessions", 10 * S, || sessions(&gateway) == 3);
        gateway.rx("module unload app_mgw.so");
        assert_ne!(uses(&gateway), "0");
        converse(&a, &b, 10 * round);
        room.hang_up();
        hang_up(&a, &b);
        wait_empty(&gateway);
        let threads = |name: &str| {
            let tasks = std::fs::read_dir(format!("/proc/{}/task", gateway.pid())).expect("it runs");
            let names = tasks.filter_map(|t| std::fs::read_to_string(t.ok()?.path().join("comm")).ok());
            names.filter(|n| n.starts_with(name)).count()
        };
        assert!(threads("mgw-") > 0);
        let told = gateway.rx("module unload app_mgw.so");
        assert!(told.contains("Unloaded app_mgw.so"), "{told}");
        wait_for("the end of the library's threads", 10 * S, || threads("mgw-") == 0);
        assert!(gateway.rx("core show application MediaGateway").contains("not registered"));
        let told = gateway.rx("module load app_mgw.so");
        assert!(told.contains("Loaded app_mgw.so"), "{told}");
    }
    let (a, b) = pair(&gateway, 0);
    wait_state(&gateway, "active");
    converse(&a, &b, 500);
    hang_up(&a, &b);
    wait_empty(&gateway);
}

#[test]
fn with_a_broken_configuration_calls_go_on_and_a_reload_heals_it() {
    let cloud = Cloud::start("");
    let broken = conf(&cloud, "", "[9999]\nlanguag = fr");
    let gateway = gateway_with(&broken, module());
    let line = broken.lines().position(|l| l.starts_with("languag ")).expect("the mistake") + 1;
    let log = gateway.log();
    let place = format!("mgw.conf:{line}: [9999] languag:");
    assert!(log.lines().any(|l| l.contains("ERROR") && l.contains(&place) && l.contains("language")), "{log}");
    assert!(gateway.rx("mgw show settings").contains("not running"));
    let (a, b) = pair(&gateway, 0);
    assert_eq!(status(&gateway), "FAILED");
    converse_untranslated(&a, &b, 0);
    hang_up(&a, &b);
    // The application tells the dialplan, which goes on.
    let room = LightPhone::call(&gateway, "7701", &[]);
    room.wait_up();
    wait_for("the dialplan behind it", 10 * S, || {
        gateway.log().contains("STATUS_light)=FAILED/") || gateway.log().contains("=FAILED/")
    });
    room.hang_up();
    gateway.configure("mgw.conf", &conf(&cloud, "", ""));
    assert!(gateway.rx("module reload app_mgw.so").contains("reloaded successfully"));
    let (a, b) = pair(&gateway, 0);
    wait_state(&gateway, "active");
    converse(&a, &b, 100);
    hang_up(&a, &b);
    wait_empty(&gateway);
}

#[test]
fn without_the_library_asterisk_says_so_and_calls_go_on() {
    let cloud = Cloud::start("");
    // A module whose library is not where it was.
    let folder = temp_file("moved").parent().expect("folder").to_owned();
    let copy: PathBuf = folder.join("out");
    std::fs::create_dir(&copy).expect("folder");
    let objects = std::fs::read_dir(module()).expect("the build").filter_map(|e| Some(e.ok()?.path()));
    let objects: Vec<_> = objects.filter(|p| p.extension().is_some_and(|e| e == "o")).collect();
    let lib = module().parent().expect("folder");
    let mut link = std::process::Command::new("cc");
    link.args(["-shared", "-o"]).arg(copy.join("app_mgw.so")).args(objects).arg("-L").arg(lib).arg("-lmgw");
    succeed(&mut link);
    let gateway = gateway_with(&conf(&cloud, "", ""), &copy);
    let log = gateway.log();
    assert!(log.lines().any(|l| l.contains("app_mgw.so") && l.contains("libmgw.so.0: cannot open")), "{log}");
    let (a, b) = pair(&gateway, 0);
    converse_untranslated(&a, &b, 0);
    hang_up(&a, &b);
    gateway.wait_empty(40 * S);
}

#[test]
fn without_keys_calls_go_on_in_their_own_voices() {
    let cloud = Cloud::start("");
    let without: String =
        conf(&cloud, "", "").lines().filter(|l| !l.contains("api_key")).map(|l| format!("{l}\n")).collect();
    let gateway = gateway_with(&without, module());
    let (a, b) = pair(&gateway, 0);
    assert_eq!(status(&gateway), "FAILED");
    let log = gateway.log();
    assert!(log.lines().any(|l| l.contains("ERROR") && l.contains("TRANSLATE") && l.contains("api_key")), "{log}");
    converse_untranslated(&a, &b, 0);
    hang_up(&a, &b);
    wait_empty(&gateway);
}

#[test]
fn while_the_vendors_cannot_be_reached_the_original_voices_pass() {
    let cloud = Cloud::start("");
    // Nobody listens there.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port");
    let away = conf(&cloud, "", "").replace(&cloud.address.to_string(), &closed.to_string());
    let gateway = gateway_with(&away, module());
    let events = gateway.listen();
    let (a, b) = pair(&gateway, 0);
    wait_state(&gateway, "active");
    wait_for("the providers' end", 60 * S, || {
        events.events("MGWFailOpen").iter().filter(|e| e["Active"] == "yes").count() >= 2
    });
    assert!(!events.events("MGWProvider").is_empty());
    converse_untranslated(&a, &b, 0);
    hang_up(&a, &b);
    wait_empty(&gateway);
}

#[test]
fn a_panic_in_a_room_and_hung_media_threads_end_no_call() {
    let cloud = Cloud::start("");
    let gateway = gateway(&cloud);
    let (a, b) = pair(&gateway, 0);
    wait_state(&gateway, "active");
    converse(&a, &b, 0);
    let list = gateway.rx("mgw show sessions");
    let id = list.lines().nth(1).and_then(|l| l.split_whitespace().next()).expect("a session").to_owned();
    let told = gateway.rx(&format!("mgw inject panic {id}"));
    assert!(told.contains("done"), "{told}");
    wait_for("a word about it", 20 * S, || gateway.log().lines().any(|l| l.contains("ERROR") && l.contains("panic")));
    std::thread::sleep(2 * S);
    converse(&a, &b, 100);

    let room = [LightPhone::call(&gateway, "7701", &[]), LightPhone::call(&gateway, "8801", &[])];
    room.iter().for_each(LightPhone::wait_up);
    wait_for("four sessions", 20 * S, || sessions(&gateway) == 4);
    converse(&room[0], &room[1], 150);
    let told = gateway.rx("mgw inject hang 12000");
    assert!(told.contains("done"), "{told}");
    // After 25 pulls the originals pass, in rooms as well.
    let lifeless = || gateway.log().matches("the library shows no life").count();
    wait_for("a warning for each", 10 * S, || lifeless() >= 3);
    converse_untranslated(&a, &b, 200);
    converse_untranslated(&room[0], &room[1], 250);
    wait_for("a word about its return", 60 * S, || gateway.log().matches("the library is back").count() == 3);
    room.iter().for_each(|phone| drop(phone.hang_up()));
    wait_for("translation to come back", 60 * S, || {
        let from = b.heard().len();
        a.say(&talk("en", 300, 1));
        std::thread::sleep(5 * S);
        let report = hear(&b.heard_from(from), RATE);
        report.words.iter().filter(|(l, _)| *l == "es").count() == 5
    });
    hang_up(&a, &b);
    wait_empty(&gateway);
}
