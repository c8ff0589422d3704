//! Rooms and translated calls as they should be.

use crate::host::*;
use crate::support::asterisk::measure::{amplitude, level_dbfs, tone};
use crate::support::asterisk::phones::RATE;
use crate::support::asterisk::root::USUAL;
use crate::support::asterisk::{Codec, LightPhone, Phones, Root};
use crate::support::{Cloud, wait_for};

#[test]
fn two_phones_meet_by_their_profiles_and_hear_every_word() {
    let cloud = Cloud::start("");
    let gateway = gateway(&cloud);
    let phones = Phones::new(&gateway);
    for (one, other) in [(Codec::L16, Codec::L16), (Codec::Ulaw, Codec::G722)] {
        thrice(|| {
            let a = phones.call_from("1001", "7701", one, &[]);
            let b = phones.call_from("1002", "8801", other, &[]);
            a.wait_up();
            b.wait_up();
            wait_for("two sessions", 20 * S, || sessions(&gateway) == 2);
            a.say(&talk("en", 0, 3));
            b.say(&talk("es", 2000, 3));
            a.wait_said_all();
            b.wait_said_all();
            std::thread::sleep(4 * S);
            let fault_a = fault(&a.hang_up(), "en", 2000..2015);
            // The last words of the one who left were heard; now the room has ended for the other.
            wait_for("the end of the room", 30 * S, || status(&gateway, "1002").starts_with("ROOMEND/pair-"));
            let fault_b = fault(&b.hang_up(), "es", 0..15);
            wait_empty(&gateway);
            gateway.action("Setvar", &[("Variable", "STATUS_1002"), ("Value", "")]);
            fault_a.or(fault_b).map(|fault| format!("{one:?}, {other:?}: {fault}"))
        });
    }
    assert_eq!(cloud.stats()["violations"], serde_json::json!([]));
}

/// How the application ended for a caller: status and room.
fn status(gateway: &crate::support::asterisk::Asterisk, caller: &str) -> String {
    gateway.action("Getvar", &[("Variable", &format!("STATUS_{caller}"))]).remove("Value").unwrap_or_default()
}

#[test]
fn a_named_room_is_left_by_a_key_and_its_last_member_may_go() {
    let cloud = Cloud::start("");
    let gateway = gateway(&cloud);
    let phones = Phones::new(&gateway);
    let a = phones.call_from("1001", "7702", Codec::Ulaw, &[]);
    let b = phones.call_from("1002", "8802", Codec::L16, &[]);
    a.wait_up();
    b.wait_up();
    wait_for("two in the room", 30 * S, || sessions(&gateway) == 2);
    let rooms = gateway.rx("mgw show rooms");
    let line = rooms.lines().find(|line| line.starts_with("room-7")).unwrap_or_else(|| panic!("no room-7 in {rooms}"));
    assert!(line.contains("PJSIP/1001-") && line.contains("(en)") && line.contains("(es)"), "{line}");
    a.say(&talk("en", 0, 1));
    wait_words("a sentence", 5, || b.heard());
    a.send_dtmf("1#");
    wait_for("the end by a key", 30 * S, || status(&gateway, "1001") == "KEY/room-7");
    wait_for("the end of the room", 30 * S, || status(&gateway, "1002") == "ROOMEND/room-7");
    a.hang_up();
    assert_eq!(words(&b.hang_up(), "es"), (0..5).collect::<Vec<_>>());
    wait_empty(&gateway);
}

#[test]
fn an_ordinary_call_is_translated_both_ways() {
    let cloud = Cloud::start("");
    let gateway = gateway(&cloud);
    let phones = Phones::new(&gateway);
    for codec in [Codec::L16, Codec::Ulaw, Codec::G722] {
        thrice(|| {
            let b = phones.answer("1002", &[]);
            let a = phones.call_from("1001", "1000", codec, &[]);
            a.wait_up();
            b.wait_up();
            wait_state(&gateway, "active");
            a.say(&talk("en", 0, 2));
            b.say(&talk("es", 2000, 2));
            a.wait_said_all();
            b.wait_said_all();
            std::thread::sleep(4 * S);
            let fault_a = fault(&a.hang_up(), "en", 2000..2010);
            b.wait_gone();
            let fault_b = fault(&b.recorded(), "es", 0..10);
            wait_empty(&gateway);
            fault_a.or(fault_b).map(|fault| format!("{codec:?}: {fault}"))
        });
    }
}

#[test]
fn it_goes_off_and_on_in_mid_call_and_tells_what_happens() {
    let cloud = Cloud::start("");
    let gateway = gateway(&cloud);
    let events = gateway.listen();
    let (a, b) = pair(&gateway, 0);
    wait_state(&gateway, "active");
    converse(&a, &b, 0);
    let channel = hooked(&gateway);
    let get = |name: &str| {
        let reply = gateway.action("Getvar", &[("Channel", &channel), ("Variable", name)]);
        reply.get("Value").cloned().unwrap_or_default()
    };
    assert_eq!((get("MGW_STATUS").as_str(), get("TRANSLATE()").as_str()), ("ON", "active"));
    assert_eq!((get("MGW(room)"), get("MGW(language,far)")), (get("MGW_ROOM"), "es".into()));
    wait_for("a segment's figures", 20 * S, || get("MGW(heard)") == "1" && get("MGW(lag_ms,far)") != "0");
    assert_eq!(get("MGW(said,far)"), "1");

    set(&gateway, &channel, "TRANSLATE()", "off");
    assert_eq!((get("MGW_STATUS").as_str(), get("TRANSLATE()").as_str()), ("OFF", "off"));
    wait_for("no session", 10 * S, || sessions(&gateway) == 0);
    let from = b.heard().len();
    a.say(&talk("en", 100, 1));
    wait_words("the original", 5, || b.heard_from(from));
    assert_eq!(words(&b.heard_from(from), "en"), (100..105).collect::<Vec<_>>());

    set(&gateway, &channel, "TRANSLATE(en,es)", "on");
    wait_state(&gateway, "active");
    converse(&a, &b, 200);
    a.hang_up();
    b.wait_gone();
    wait_empty(&gateway);

    let texts: Vec<_> = events.events("MGWTranscript").iter().filter(|e| e["Final"] == "yes").cloned().collect();
    assert_eq!(texts.len(), 4, "{texts:?}");
    assert!(texts.iter().any(|e| e["Channel"] == channel && !e["Text"].is_empty() && e["Profile"] == "translate"));
    assert_eq!(events.events("MGWTranslation").len(), 4);
    assert_eq!(events.events("MGWSegmentDone").len(), 4);
    // Between the hang-up and the end of the hook it may have been seen waiting.
    let states = events.events("MGWTranslate").into_iter().map(|e| e["State"].clone());
    let states: Vec<String> = states.filter(|state| state != "waiting").collect();
    assert_eq!(states, ["active", "off", "active", "off"]);
}

#[test]
fn the_original_lies_under_the_translation_at_its_level() {
    let cloud = Cloud::start("");
    let gateway = gateway(&cloud);
    let (a, b) = pair(&gateway, 0);
    wait_state(&gateway, "active");
    let channel = hooked(&gateway);
    let heard = |b: &LightPhone| amplitude(&hears_for(b, 2 * S)[RATE as usize..], RATE, 1000.0);
    a.say(&tone(1000.0, 8000.0, 6.0, RATE));
    std::thread::sleep(S);
    assert!(heard(&b) < 10.0, "nothing of the original without being asked: {}", heard(&b));
    a.wait_said_all();
    set(&gateway, &channel, "MGW(original,far)", "full");
    set(&gateway, &channel, "MGW(gain.original_db,far)", "-12");
    a.say(&tone(1000.0, 8000.0, 6.0, RATE));
    std::thread::sleep(S);
    let level = 20.0 * (heard(&b) / 8000.0).log10();
    assert!((level + 12.0).abs() < 1.0, "{level} dB instead of -12");
    a.wait_said_all();
    converse_under(&a, &b);
    a.hang_up();
    b.wait_gone();
    wait_empty(&gateway);
}

/// The translation is whole with the original under it.
fn converse_under(a: &LightPhone, b: &LightPhone) {
    let from = b.heard().len();
    a.say(&talk("en", 300, 1));
    let spanish = || {
        let report = crate::support::leg::hear(&b.heard_from(from), RATE);
        report.words.iter().filter(|(l, _)| *l == "es").map(|(_, n)| *n).collect::<Vec<_>>()
    };
    wait_for("the translation", 60 * S, || spanish().len() >= 5);
    assert_eq!(spanish(), (300..305).collect::<Vec<_>>());
}

#[test]
fn what_is_nobody_s_speech_passes_untouched() {
    let cloud = Cloud::start("");
    let gateway = gateway(&cloud);
    let mut levels = Vec::new();
    // Early media of the callee, once without and once with translation.
    for extension in ["4900", "4950"] {
        let a = LightPhone::call(&gateway, extension, &talk("en", 0, 1));
        a.wait_up();
        wait_for("the tone", 30 * S, || level_dbfs(&a.heard(), RATE).is_some());
        let heard = hears_for(&a, 3 * S);
        levels.push(amplitude(&heard[RATE as usize..], RATE, 1000.0));
        if extension == "4950" {
            assert_eq!(states(&gateway), ["waiting"]);
        }
        a.hang_up();
        wait_empty(&gateway);
    }
    assert!(levels[0] > 500.0 && (levels[0] - levels[1]).abs() < 0.05 * levels[0], "{levels:?}");
    assert_eq!(cloud.stats()["violations"], serde_json::json!([]));
}

/// A Local channel has answered, but nobody speaks behind it.
#[test]
fn music_behind_a_local_channel_is_heard_as_it_is() {
    let cloud = Cloud::start("");
    let gateway = gateway(&cloud);
    let a = LightPhone::call(&gateway, "4960", &[]);
    a.wait_up();
    wait_state(&gateway, "held");
    wait_for("music", 30 * S, || amplitude(&hears_for(&a, S / 2), RATE, MUSIC_HZ) > 1000.0);
    let level = amplitude(&hears_for(&a, 3 * S), RATE, MUSIC_HZ);
    assert!((2700.0..3300.0).contains(&level), "music at {level}");
    assert_eq!(states(&gateway), ["held"]);
    a.hang_up();
    wait_empty(&gateway);
}

#[test]
fn the_console_explains_everything() {
    let cloud = Cloud::start("");
    let gateway = gateway(&cloud);
    let shown = gateway.rx("core show application MediaGateway");
    assert!(shown.contains("room in which everybody hears everybody") && shown.contains("MGW_STATUS"), "{shown}");
    let shown = gateway.rx("core show function TRANSLATE");
    assert!(shown.contains("Translates an ordinary call") && shown.contains("suspended"), "{shown}");
    assert!(gateway.rx("core show function MGW").contains("Live values of a translated call"));
    let shown = gateway.rx("mgw show settings");
    assert!(shown.contains("profile.8888.language") && shown.contains("(set)"), "{shown}");
    assert!(!shown.contains("dg-test-key"), "a key is shown");
    let (a, b) = pair(&gateway, 0);
    wait_state(&gateway, "active");
    let list = gateway.rx("mgw show sessions");
    let id =
        list.lines().nth(1).and_then(|l| l.split_whitespace().next()).unwrap_or_else(|| panic!("{list}")).to_owned();
    let shown = gateway.rx(&format!("mgw show session {id}"));
    assert!(shown.contains("frames_in") && shown.trim_start().starts_with('{'), "{shown}");
    assert!(gateway.rx("mgw show session 1").contains("There is no session 1"));
    assert!(gateway.rx("mgw measure on").contains("measuring is on"));
    wait_for("measured callbacks", 20 * S, || gateway.rx("mgw show calls").contains("p99"));
    assert!(gateway.rx("mgw measure off").contains("measuring is off"));
    assert!(gateway.rx("mgw debug on").contains("debug is on"));
    a.say(&talk("en", 0, 1));
    wait_words("a sentence", 5, || b.heard());
    wait_for("what a developer wants to know", 20 * S, || gateway.log().contains("mgw::"));
    assert!(gateway.rx("mgw debug off").contains("debug is off"));
    let log = gateway.log();
    assert!(!log.contains("dg-test-key") && !log.contains("el-test-key"), "a key is in the log");
    a.hang_up();
    b.wait_gone();
    wait_empty(&gateway);
}

#[test]
fn the_samples_are_good() {
    let read =
        |name: &str| std::fs::read_to_string(crate::native::package().join("asterisk-module").join(name)).expect(name);
    let conf = read("mgw.conf.sample").replace(";deepgram.api_key =", "deepgram.api_key = dg-test-key");
    let dialplan = read("extensions.conf.sample");
    let gateway = gateway_of(USUAL, &conf, module(), &[], &[("extensions.conf", &dialplan)]);
    let shown = gateway.rx("mgw show settings");
    assert!(
        shown.contains("running") && !shown.contains("not running") && shown.contains("profile.8888.language"),
        "{shown}"
    );
    let shown = gateway.rx("dialplan show mgw-sample");
    let lines = dialplan.lines().skip_while(|l| *l != "[mgw-sample]").take_while(|l| *l != "[mgw-sample-inner]");
    let wanted = lines.filter(|l| l.starts_with("exten") || l.starts_with(" same")).count();
    assert!(
        shown.contains(&format!("({wanted} priorities)")) || shown.contains(&format!("{wanted} priorities")),
        "{wanted}: {shown}"
    );
    let log = gateway.log();
    let complaints: Vec<&str> = log.lines().filter(|l| l.contains("pbx_config") && !l.contains("VERBOSE")).collect();
    assert!(complaints.is_empty(), "{complaints:#?}");
}

#[test]
fn it_is_installed_and_settings_that_are_there_stay() {
    let workshop = workshop(&Root::of(USUAL).path);
    let place = workshop.join("place");
    let destination = format!("DESTDIR={}", place.display());
    let install = || make(&workshop, &["install", &destination, "MODULES=/modules", "CONFIG=/etc", "DOCS=/docs"]);
    install();
    let sample = crate::native::package().join("asterisk-module/mgw.conf.sample");
    let [conf, sample] = [place.join("etc/mgw.conf"), sample].map(|path| std::fs::read(path).expect("settings"));
    assert_eq!(conf, sample);
    assert!(place.join("modules/app_mgw.so").exists());
    let manual = std::fs::read_to_string(place.join("docs/app_mgw-en_US.xml")).expect("the manual");
    for name in ["<function name=\"TRANSLATE\"", "<application name=\"MediaGateway\"", "<function name=\"MGW\""] {
        assert!(manual.contains(name), "{name}");
    }
    std::fs::write(place.join("etc/mgw.conf"), "; mine").expect("settings");
    install();
    assert_eq!(std::fs::read(place.join("etc/mgw.conf")).expect("settings"), b"; mine");
}
