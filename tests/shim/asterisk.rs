//! The shim on a real Asterisk 22 with phones over SIP and RTP.

use std::time::{Duration, Instant};

use crate::support::asterisk::measure::{level_dbfs, longest_gap_s, share_above, tone};
pub use crate::support::asterisk::phones::{RATE, words};
use crate::support::asterisk::{AriApp, Asterisk, Codec, LightPhone, Phones};
use crate::support::leg::hear;
use crate::support::live::{sentence, text};
use crate::support::shim::{Shim, config};
use crate::support::{Cloud, wait_for};
use crate::trouble::{bridge_of, channel};

pub const S: Duration = Duration::from_secs(1);

/// A shim for this Asterisk, with what `more` says in the shim's own tables. Extensions come last.
pub fn shim_for(gateway: &Asterisk, cloud: &Cloud, top: &str, more: &str) -> Shim {
    let shim = Shim::start(settings(gateway, cloud, top, more));
    wait_for("the shim's connection to Asterisk", 30 * S, || shim.is_ready());
    shim
}

pub fn settings(gateway: &Asterisk, cloud: &Cloud, top: &str, more: &str) -> std::path::PathBuf {
    let ports = gateway.shim_ports();
    let (http, audiosocket) = (gateway.http_port(), gateway.audiosocket_port());
    let text = format!(
        "[shim.ari]\nurl = \"http://127.0.0.1:{http}\"\npassword = \"change-me\"\n{more}\n[shim]\n{top}\n\
         {}",
        if more.contains("[shim.extension") { "" } else { EXTENSIONS }
    );
    let file = config(cloud, [ports.start, ports.end - 1], &text);
    let text = std::fs::read_to_string(&file).expect("settings");
    let text = text.replace(
        "[shim.audiosocket]\nlisten = \"127.0.0.1:0\"",
        &format!("[shim.audiosocket]\nlisten = \"127.0.0.1:{audiosocket}\""),
    );
    std::fs::write(&file, text).expect("settings");
    file
}

/// Without the classic fixed ports: many shims run on one machine at once.
const EXTENSIONS: &str = "[shim.extension.7777]\n[shim.extension.8888]\n[shim.extension.7000]\nprofile = \"7777\"\n\
                          [shim.extension.7001]\nprofile = \"8888\"\n";

/// Sentences of five words, each followed by a pause, behind a second of silence.
pub fn talk(language: &str, first: u16, sentences: u16) -> Vec<i16> {
    let mut all = vec![0; RATE as usize];
    for n in 0..sentences {
        all.extend(sentence(language, first + 5 * n..first + 5 * n + 5, RATE, Duration::from_millis(900)));
    }
    all
}

/// Waits until an ear has heard so many words.
pub fn wait_words(what: &str, count: usize, heard: impl Fn() -> Vec<i16>) {
    wait_for(what, 60 * S, || hear(&heard(), RATE).words.len() >= count);
}

/// Nothing is left: no channel or bridge in Asterisk, no leg in the shim.
pub fn wait_empty(gateway: &Asterisk, shim: &Shim) {
    gateway.wait_empty(40 * S);
    wait_for("a shim without legs", 40 * S, || shim.metric("mgw_shim_legs") == 0.0 && shim.calls().is_empty());
    assert_eq!(shim.metric("mgw_sessions"), 0.0);
}

#[test]
fn two_phones_hear_every_word_whatever_their_codec() {
    let gateway = Asterisk::gateway();
    let cloud = Cloud::start("");
    let shim = shim_for(&gateway, &cloud, "", "");
    let phones = Phones::new(&gateway);
    for (one, other) in [(Codec::L16, Codec::L16), (Codec::Ulaw, Codec::G722)] {
        let a = phones.call_from("1001", "7777", one, &[]);
        let b = phones.call_from("1002", "8888", other, &[]);
        a.wait_up();
        b.wait_up();
        shim.wait_calls(2);
        a.say(&talk("en", 0, 3));
        b.say(&talk("es", 2000, 3));
        wait_words("15 words at 7777", 15, || a.heard());
        wait_words("15 words at 8888", 15, || b.heard());
        // Whatever may come twice would come now.
        std::thread::sleep(2 * S);
        let at = Instant::now();
        let heard_a = a.hang_up();
        b.wait_gone();
        let after = at.elapsed();
        let heard_b = b.recorded();
        assert_eq!(words(&heard_a, "en"), (2000..2015).collect::<Vec<_>>(), "{one:?}");
        assert_eq!(words(&heard_b, "es"), (0..15).collect::<Vec<_>>(), "{other:?}");
        for heard in [&heard_a, &heard_b] {
            let level = level_dbfs(heard, RATE).expect("speech");
            assert!((-23.0..=-17.0).contains(&level), "{level} dBFS");
        }
        assert!(after < 10 * S, "the other was hung up after {after:?}");
        wait_empty(&gateway, &shim);
    }
    assert_eq!(cloud.stats()["violations"], serde_json::json!([]));
}

#[test]
fn wide_band_passes_where_both_speak_one_language() {
    let gateway = Asterisk::gateway_with("exten => 7743,1,Stasis(mgw,7777,room-42)\n");
    let cloud = Cloud::start("");
    let shim = shim_for(&gateway, &cloud, "", "");
    let wide: Vec<i16> =
        tone(1000.0, 2000.0, 2.0, RATE).iter().zip(tone(6000.0, 2000.0, 2.0, RATE)).map(|(a, b)| a + b).collect();
    let said = [vec![0; RATE as usize], wide, vec![0; RATE as usize]].concat();
    let (a, b) = (LightPhone::call(&gateway, "7742", &[]), LightPhone::call(&gateway, "7743", &[]));
    a.wait_up();
    b.wait_up();
    shim.wait_calls(2);
    a.say(&said);
    a.wait_said_all();
    std::thread::sleep(S);
    let heard = b.hang_up();
    let share = share_above(&heard, RATE, 4000.0);
    assert!((0.35..0.65).contains(&share), "half of the energy lies above 4 kHz, heard was {share}");
    let (there, here) = (level_dbfs(&said, RATE).expect("sound"), level_dbfs(&heard, RATE).expect("sound"));
    assert!((there - here).abs() < 1.5, "said at {there} dBFS, heard at {here}");
    assert!(longest_gap_s(&heard, RATE) < 0.03, "a hole in a steady tone");
    a.hang_up();
    wait_empty(&gateway, &shim);
}

#[test]
fn whoever_hangs_up_in_mid_speech_is_still_heard_and_leaves_nothing() {
    let gateway = Asterisk::gateway();
    let cloud = Cloud::start("");
    let shim = shim_for(&gateway, &cloud, "", "");
    let watcher = AriApp::connect(&gateway, "watcher");
    let all = "/applications/watcher/subscription?eventSource=channel:,bridge:";
    assert_eq!(gateway.ari("POST", all, "").0, 200, "a subscription to all events");
    for leaver in ["7777", "8888"] {
        let (stays, language, foreign) = if leaver == "7777" { ("8888", "en", "es") } else { ("7777", "es", "en") };
        let a = LightPhone::call(&gateway, leaver, &[]);
        let b = LightPhone::call(&gateway, stays, &[]);
        a.wait_up();
        b.wait_up();
        shim.wait_calls(2);
        let (id, _) = channel(&gateway, leaver);
        let (bridge, media) = bridge_of(&gateway, &id).expect("in its bridge");
        a.say(&talk(language, 100, 1)[..(RATE as f64 * 1.95) as usize]);
        a.wait_said_all();
        // From the word to the phone on, SIP included; told by events, which cost a busy machine less than looking.
        let at = Instant::now();
        a.hang_up();
        watcher.wait("BridgeDestroyed", |e| e["bridge"]["id"] == bridge.as_str());
        for channel in media.iter().chain([&id]) {
            watcher.wait("ChannelDestroyed", |e| e["channel"]["id"] == channel.as_str());
        }
        let gone_after = at.elapsed();
        println!("channels went after {gone_after:?}");
        assert!(gone_after < Duration::from_millis(1500), "channels went after {gone_after:?}");
        // What the other needs is all that stays.
        wait_for("the end of the leaver's channels", 5 * S, || gateway.leftovers().len() <= 3);
        wait_words("the last sentence", 5, || b.heard());
        b.wait_gone();
        assert_eq!(words(&b.heard(), foreign), (100..105).collect::<Vec<_>>());
        wait_empty(&gateway, &shim);
    }
}

#[test]
fn calls_survive_a_killed_shim_and_are_swept_after_a_killed_asterisk() {
    let mut gateway = Asterisk::gateway();
    let cloud = Cloud::start("");
    let file = settings(&gateway, &cloud, "", "");
    let shim = Shim::start(file.clone());
    wait_for("the shim's connection to Asterisk", 30 * S, || shim.is_ready());
    let (a, b) = (LightPhone::call(&gateway, "7777", &[]), LightPhone::call(&gateway, "8888", &[]));
    a.wait_up();
    b.wait_up();
    shim.wait_calls(2);
    a.say(&talk("en", 0, 1));
    wait_words("the first sentence", 5, || b.heard());

    shim.kill();
    let shim = Shim::start(file);
    shim.wait_calls(2);
    assert_eq!(shim.metric("mgw_shim_ari_calls_adopted"), 2.0);
    a.say(&talk("en", 10, 1));
    b.say(&talk("es", 2000, 1));
    wait_words("a sentence after the restart of the shim", 10, || b.heard());
    wait_words("the answer", 5, || a.heard());
    // Caller, external media and bridge of each, and nothing of the former run.
    wait_for("only what two calls need", 10 * S, || gateway.leftovers().len() == 6);

    gateway.kill();
    // Phones that nobody has told go on sending, and after its restart Asterisk may give their ports to other calls.
    drop((a, b));
    wait_for("the loss to be noticed", 30 * S, || !shim.is_ready());
    gateway.restart();
    wait_for("a new connection", 30 * S, || shim.is_ready());
    wait_empty(&gateway, &shim);
    let (a, b) = (LightPhone::call(&gateway, "7777", &[]), LightPhone::call(&gateway, "8888", &[]));
    a.wait_up();
    b.wait_up();
    shim.wait_calls(2);
    a.say(&talk("en", 20, 1));
    wait_words("a sentence after the restart of Asterisk", 5, || b.heard());
    assert_eq!(words(&b.heard(), "es"), (20..25).collect::<Vec<_>>());
    a.hang_up();
    b.hang_up();
    wait_empty(&gateway, &shim);
}

#[test]
fn a_stalled_asterisk_is_noticed_and_the_call_goes_on_behind_it() {
    let gateway = Asterisk::gateway();
    let cloud = Cloud::start("");
    let shim = shim_for(&gateway, &cloud, "", "");
    let (a, b) = (LightPhone::call(&gateway, "7777", &[]), LightPhone::call(&gateway, "8888", &[]));
    a.wait_up();
    b.wait_up();
    shim.wait_calls(2);
    let stopped = gateway.stopped();
    wait_for("the stall to be noticed", 30 * S, || !shim.is_ready());
    drop(stopped);
    wait_for("the connection to come back", 30 * S, || shim.is_ready());
    assert_eq!(shim.calls().len(), 2, "the calls are still there");
    a.say(&talk("en", 0, 2));
    wait_words("ten words", 10, || b.heard());
    assert_eq!(words(&b.heard(), "es"), (0..10).collect::<Vec<_>>());
    a.hang_up();
    b.hang_up();
    wait_empty(&gateway, &shim);
}

/// An Asterisk that wakes up finds the end of the old connection and the new one at the same moment, and the one may take
/// the application from the other.
#[test]
fn callers_are_taken_after_connections_that_end_and_begin_at_once() {
    let gateway = Asterisk::gateway();
    let cloud = Cloud::start("");
    let mut shim = shim_for(&gateway, &cloud, "", "");
    for _ in 0..3 {
        let stopped = gateway.stopped();
        shim = Shim::start(shim.kill());
        // Its attempts to connect wait in Asterisk's queue.
        std::thread::sleep(S);
        drop(stopped);
        wait_for("the connection to come back", 30 * S, || shim.is_ready());
        wait_for("a caller to be taken", 40 * S, || {
            let phone = LightPhone::call(&gateway, "7777", &[]);
            wait_for("an answer or a refusal", 30 * S, || phone.is_up() || phone.is_gone());
            let taken = phone.is_up();
            phone.hang_up();
            taken
        });
        wait_empty(&gateway, &shim);
    }
    // Longer than an event may take that was asked for a second after the connection.
    let before = shim.metric("mgw_shim_ari_reconnects");
    std::thread::sleep(10 * S);
    assert_eq!(shim.metric("mgw_shim_ari_reconnects"), before, "events come: {}", shim.log());
}

#[test]
fn a_wrong_password_is_told_and_the_shim_goes_on() {
    let gateway = Asterisk::gateway();
    let cloud = Cloud::start("");
    let file = settings(&gateway, &cloud, "", "");
    let text = std::fs::read_to_string(&file).expect("settings").replace("change-me", "canary-password-7f3a");
    std::fs::write(&file, text).expect("settings");
    let shim = Shim::start(file);
    wait_for("the refusal", 20 * S, || shim.log().contains("ARI"));
    let (status, body) = shim.ask("GET", "/ready", None, None);
    assert_eq!(status, 503);
    wait_for("the reason", 10 * S, || shim.ask("GET", "/ready", None, None).1.contains("password"));
    assert!(body.contains("ARI"), "{body}");
    assert_eq!(shim.ask("GET", "/health", None, None).0, 200);
    let everything = shim.log() + &shim.ask("GET", "/ready", None, None).1 + &shim.ask("GET", "/metrics", None, None).1;
    assert!(!everything.contains("canary-password"), "the password is told somewhere");
}

#[test]
fn callers_beyond_the_limits_hear_busy_and_fixed_ports_serve_one() {
    let gateway = Asterisk::gateway();
    let cloud = Cloud::start("");
    let fixed = gateway.shim_ports().end - 2;
    let more = format!("[shim.extension.7777]\nport = {fixed}\n[shim.extension.8888]\n");
    let shim = shim_for(&gateway, &cloud, "max_legs = 3", &more);
    let first = LightPhone::call(&gateway, "7777", &[]);
    first.wait_up();
    shim.wait_calls(1);
    let second = LightPhone::call(&gateway, "7777", &[]);
    second.wait_up();
    shim.wait_calls(2);
    let ports: Vec<u64> = shim.calls().iter().filter_map(|c| c["media"]["leg"]["local_port"].as_u64()).collect();
    assert_eq!(ports.iter().filter(|p| **p == u64::from(fixed)).count(), 1, "{ports:?}");
    // The first is not disturbed by the second.
    let partner = LightPhone::call(&gateway, "8888", &[]);
    partner.wait_up();
    shim.wait_calls(3);
    first.say(&talk("en", 0, 1));
    wait_words("the first's sentence", 5, || partner.heard());
    let fourth = LightPhone::call(&gateway, "8888", &[]);
    fourth.wait_gone();
    assert_eq!(fourth.status(), 486, "busy here");
    assert!(shim.metric("mgw_shim_legs_refused") >= 1.0);
    for phone in [&first, &second, &partner] {
        phone.hang_up();
    }
    wait_empty(&gateway, &shim);
}

#[test]
fn a_lone_caller_hears_a_cue_and_is_told() {
    let gateway = Asterisk::gateway();
    let cloud = Cloud::start("");
    let announcement = text("en", [700, 701, 702]);
    let more = format!(
        "[shim.extension.7777]\nannouncement = \"{announcement}\"\n[shim.extension.7777.options]\nalone.cue = \"tone\"\n\
         [shim.extension.8888]\n"
    );
    let shim = shim_for(&gateway, &cloud, "alone_after_s = 3", &more);
    let a = LightPhone::call(&gateway, "7777", &[]);
    a.wait_up();
    wait_for("a cue", 10 * S, || level_dbfs(&a.heard(), RATE).is_some());
    wait_for("the announcement", 30 * S, || {
        let heard: Vec<u16> = hear(&a.heard(), RATE).words.iter().map(|(_, n)| *n).collect();
        heard == [700, 701, 702]
    });
    let b = LightPhone::call(&gateway, "8888", &[]);
    b.wait_up();
    shim.wait_calls(2);
    a.say(&talk("en", 0, 1));
    wait_words("the conversation", 5, || b.heard());
    a.hang_up();
    b.hang_up();
    wait_empty(&gateway, &shim);
}

#[test]
fn digits_reach_the_other_phone_if_that_is_wanted() {
    let gateway = Asterisk::gateway();
    let cloud = Cloud::start("");
    let shim = shim_for(&gateway, &cloud, "relay_dtmf = true", "");
    let phones = Phones::new(&gateway);
    let a = phones.call_from("1001", "7777", Codec::Ulaw, &[]);
    let b = phones.call_from("1002", "8888", Codec::Ulaw, &[]);
    a.wait_up();
    b.wait_up();
    shim.wait_calls(2);
    a.send_dtmf("5#");
    wait_for("the digits at the other phone", 20 * S, || b.dtmf() == "5#");
    assert_eq!(a.dtmf(), "", "nothing comes back");
    a.hang_up();
    b.hang_up();
    wait_empty(&gateway, &shim);
}

#[test]
fn the_shim_calls_people_and_connects_them() {
    let gateway = Asterisk::gateway();
    let cloud = Cloud::start("");
    let shim = shim_for(&gateway, &cloud, "", "");
    let phones = Phones::new(&gateway);
    let a = phones.answer("1001", &[]);
    let b = phones.answer("1002", &[]);
    let dial = |legs: &[&str]| {
        let mut file = std::fs::read_to_string(&shim.config).expect("settings");
        file = file.replace("listen = \"127.0.0.1:0\"\ntoken", &format!("listen = \"{}\"\ntoken", shim.control));
        let path = crate::support::temp_file("call.toml");
        std::fs::write(&path, file).expect("settings");
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_mgw-rtp-shim"))
            .args(["call", "--config"])
            .arg(path)
            .args(legs)
            .output()
            .expect("mgw-rtp-shim call");
        (
            output.status.success(),
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr),
        )
    };
    let (good, said) = dial(&["7777=PJSIP/1001", "8888=PJSIP/1002"]);
    assert!(good, "{said}");
    a.wait_up();
    b.wait_up();
    shim.wait_calls(2);
    a.say(&talk("en", 0, 1));
    b.say(&talk("es", 2000, 1));
    wait_words("the sentence at 1002", 5, || b.heard());
    wait_words("the sentence at 1001", 5, || a.heard());
    a.hang_up();
    b.hang_up();
    wait_empty(&gateway, &shim);
    // Nobody waits for this call, so the phones are busy; the one that would answer is not left hanging.
    let (good, said) = dial(&["7777=PJSIP/1001", "8888=PJSIP/1002"]);
    assert!(!good, "{said}");
    assert!(said.to_lowercase().contains("busy"), "{said}");
    wait_empty(&gateway, &shim);
}

#[test]
fn the_doctor_finds_nothing_wrong_with_the_sample_set_up() {
    let gateway = Asterisk::gateway();
    let cloud = Cloud::start_with("", &["--api-key", "deepl=dl-test-key"]);
    let file = settings(&gateway, &cloud, "", "");
    let doctor = |file: &std::path::Path| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_mgw-rtp-shim"))
            .args(["doctor", "--config"])
            .arg(file)
            .output()
            .expect("doctor");
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (good, said) = doctor(&file);
    assert!(good, "{said}");
    for wanted in ["payload type 118, 640 bytes, timestamp step 320", "g722 is heard", "providers of 7777 and 8888"] {
        assert!(said.contains(wanted), "no \"{wanted}\" in:\n{said}");
    }
    assert!(gateway.leftovers().is_empty(), "{:?}", gateway.leftovers());
    for (name, change, wanted) in [
        ("password", ("change-me", "wrong"), "FAIL  ARI at"),
        ("send", ("[shim.extension.7777]\n", "[shim.extension.7777]\nsend = \"slin16\"\n"), "is not heard"),
        ("key", ("dl-test-key", "refused"), "FAIL  providers of 7777 and 8888"),
    ] {
        let text = std::fs::read_to_string(&file).expect("settings");
        assert!(text.contains(change.0), "{name}");
        let other = crate::support::temp_file("doctor.toml");
        std::fs::write(&other, text.replace(change.0, change.1)).expect("settings");
        let (good, said) = doctor(&other);
        assert!(!good && said.contains(wanted), "{name}: no \"{wanted}\" in:\n{said}");
        let fix = said.lines().skip_while(|l| !l.contains(wanted)).nth(1).unwrap_or_default();
        assert!(fix.trim_start().starts_with("-> "), "{name}: the finding ends with its fix:\n{said}");
    }
}
