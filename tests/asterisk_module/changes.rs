//! What happens to calls: transfers, hold, parking, queues, conferences, spies, codecs, silence, sudden ends.

use crate::host::*;
use crate::support::asterisk::measure::amplitude;
use crate::support::asterisk::phones::RATE;
use crate::support::asterisk::{Asterisk, LightPhone};
use crate::support::leg::hear;
use crate::support::live::sentence;
use crate::support::{Cloud, wait_for};

/// Threads and descriptors of Asterisk.
fn held(gateway: &Asterisk) -> (usize, usize) {
    let count = |what| std::fs::read_dir(format!("/proc/{}/{what}", gateway.pid())).expect("it runs").count();
    (count("task"), count("fd"))
}

/// Repeats a scene; behind each nothing is left, and behind the last no more threads and descriptors than behind the
/// first (Asterisk itself starts some on its first call).
fn scene(play: impl Fn(&Asterisk, &Cloud, usize)) {
    let cloud = Cloud::start("");
    let gateway = gateway(&cloud);
    let mut first = None;
    for round in 0..rounds() {
        play(&gateway, &cloud, round);
        wait_empty(&gateway);
        first.get_or_insert_with(|| held(&gateway));
    }
    let (threads, descriptors) = first.expect("a round");
    wait_for("no more threads and descriptors than before", 60 * S, || {
        let now = held(&gateway);
        // Thread pools of Asterisk breathe by a few.
        now.0 <= threads + 4 && now.1 <= descriptors + 4
    });
    let log = gateway.log();
    let ours = |line: &str| {
        ["mgw_", "app_mgw", "app_media_gateway", "func_translate", "func_mgw"]
            .iter()
            .any(|f| line.contains(&format!("] {f}")))
    };
    let fault = |line: &&str| line.contains("FRACK") || line.contains("ERROR[") && ours(line);
    let faults: Vec<&str> = log.lines().filter(fault).collect();
    assert!(faults.is_empty(), "{faults:#?}");
}

fn wait_music(phone: &LightPhone) {
    wait_for("music", 30 * S, || amplitude(&hears_for(phone, S / 2), RATE, MUSIC_HZ) > 1000.0);
}

#[test]
fn a_blind_transfer_by_the_callee_brings_another_callee() {
    scene(|gateway, _, _| {
        let (a, b) = pair(gateway, 0);
        wait_state(gateway, "active");
        converse(&a, &b, 0);
        let c = waiting(gateway, 1);
        b.transfer("4201");
        b.hang_up();
        wait_for("the new peer", 30 * S, || sessions(gateway) == 2 && states(gateway) == ["active"]);
        converse(&a, &c, 100);
        a.hang_up();
        c.wait_gone();
    });
}

/// Of a callee behind a Local channel nobody but that channel is in the bridge, whoever talks through it.
#[test]
fn another_callee_behind_a_local_channel_is_recognised_anew() {
    scene(|gateway, _, _| {
        let (b, c) = (waiting(gateway, 0), waiting(gateway, 1));
        let a = LightPhone::call(gateway, "4980", &[]);
        wait_state(gateway, "active");
        let channel = hooked(gateway);
        let far = || {
            let name = [("Channel", channel.as_str()), ("Variable", "MGW(session,far)")];
            gateway.action("Getvar", &name).remove("Value").filter(|value| !value.is_empty())
        };
        converse(&a, &b, 0);
        let first = far().expect("a session");
        b.hang_up();
        wait_for("a session of the second callee", 30 * S, || far().is_some_and(|now| now != first));
        wait_state(gateway, "active");
        converse(&a, &c, 100);
        a.hang_up();
        c.wait_gone();
    });
}

/// What the caller said to the first callee is still in translation or becomes a voice when the second one is there.
#[test]
fn what_was_said_to_one_callee_is_not_spoken_to_the_next() {
    let cloud = Cloud::start("[mt]\nlatency_ms = 800\n[tts]\nfirst_audio_ms = 1500\n");
    let gateway = gateway(&cloud);
    let events = gateway.listen();
    let c = waiting(&gateway, 1);
    let (a, b) = pair(&gateway, 0);
    wait_state(&gateway, "active");
    let channel = hooked(&gateway);
    let get = |name: &str| gateway.action("Getvar", &[("Channel", &channel), ("Variable", name)]).remove("Value");
    let first = get("MGW_ROOM");
    set(&gateway, &channel, "MGW(gain.original_db,far)", "-40");
    a.say(&talk("en", 0, 1));
    wait_for("the sentence", 30 * S, || events.events("MGWTranscript").iter().any(|e| e["Final"] == "yes"));
    b.transfer("4201");
    b.hang_up();
    let callee = partner(&gateway, 1).expect("a channel");
    wait_for("the next callee", 30 * S, || gateway.rx("mgw show calls").contains(&callee));
    wait_state(&gateway, "active");
    assert_eq!((get("MGW(room)"), get("MGW_ROOM")), (first.clone(), first));
    assert_eq!(get("MGW(room,far)"), get("MGW_ROOM"));
    a.say(&talk("en", 100, 1));
    wait_words("the second sentence", 5, || c.heard());
    std::thread::sleep(2 * S);
    assert_eq!(words(&c.heard(), "es"), (100..105).collect::<Vec<_>>());
    a.hang_up();
    c.wait_gone();
    wait_empty(&gateway);
}

#[test]
fn a_blind_transfer_by_the_hooked_caller_moves_translation_to_the_callee() {
    scene(|gateway, _, _| {
        let events = gateway.listen();
        let (a, b) = pair(gateway, 0);
        wait_state(gateway, "active");
        converse(&a, &b, 0);
        let (c, callee) = (waiting(gateway, 1), partner(gateway, 0).expect("a channel"));
        a.transfer("4201");
        a.hang_up();
        wait_for("translation at the callee", 30 * S, || states(gateway) == ["active"] && hooked(gateway) == callee);
        // Whoever the caller passed the call on to speaks the caller's language.
        converse(&c, &b, 100);
        b.hang_up();
        c.wait_gone();
        assert!(events.events("MGWTranslate").iter().any(|e| e["State"] == "moved"));
    });
}

/// The callee goes on by the dialplan and talks to somebody later: an ordinary end, and no transfer.
#[test]
fn a_callee_that_goes_on_alone_after_the_caller_s_hang_up_is_not_translated() {
    scene(|gateway, _, _| {
        let events = gateway.listen();
        let b = waiting(gateway, 0);
        let c = waiting(gateway, 1);
        let a = LightPhone::call(gateway, "4970", &[]);
        a.wait_up();
        wait_state(gateway, "active");
        converse(&a, &b, 0);
        a.hang_up();
        let bridges = || gateway.rx("bridge show all").lines().count() - 1;
        wait_for("the end of the call", 30 * S, || bridges() == 0);
        wait_for("the next talk", 30 * S, || bridges() == 1);
        std::thread::sleep(2 * S);
        assert_eq!((states(gateway), sessions(gateway)), (vec![], 0));
        let from = c.heard().len();
        b.say(&talk("es", 100, 1));
        wait_words("the original", 5, || c.heard_from(from));
        assert_eq!(words(&c.heard_from(from), "es"), (100..105).collect::<Vec<_>>());
        b.hang_up();
        c.wait_gone();
        let told = events.events("MGWTranslate");
        assert!(told.iter().all(|e| e["State"] != "moved" && e["State"] != "lost"), "{told:?}");
    });
}

#[test]
fn an_attended_transfer_by_either_side_keeps_translation() {
    scene(|gateway, _, round| {
        let (a, b) = pair(gateway, 0);
        wait_state(gateway, "active");
        converse(&a, &b, 0);
        let c = waiting(gateway, 1);
        // The one who transfers asks the third party first, by a second call.
        let second = LightPhone::call(gateway, "4201", &[]);
        second.wait_up();
        wait_for("the second call", 30 * S, || gateway.rx("bridge show all").lines().count() == 3);
        let leaver = if round % 2 == 0 { &a } else { &b };
        leaver.transfer_to("4201", &second);
        leaver.hang_up();
        second.hang_up();
        let (one, other) = if round % 2 == 0 { (&c, &b) } else { (&a, &c) };
        wait_for("translation for the two that are left", 30 * S, || {
            states(gateway) == ["active"] && sessions(gateway) == 2
        });
        converse(one, other, 100);
        one.hang_up();
        other.wait_gone();
    });
}

#[test]
fn on_hold_music_passes_untouched_and_talk_goes_on_behind_it() {
    scene(|gateway, _, _| {
        let (a, b) = pair(gateway, 0);
        wait_state(gateway, "active");
        converse(&a, &b, 0);
        for (n, (holder, held)) in [(&a, &b), (&b, &a)].into_iter().enumerate() {
            holder.hold(true);
            wait_state(gateway, "held");
            wait_music(held);
            let music = hears_for(held, 2 * S);
            let level = amplitude(&music, RATE, MUSIC_HZ);
            assert!((2700.0..3300.0).contains(&level), "music at {level}");
            holder.hold(false);
            wait_state(gateway, "active");
            converse(&a, &b, 100 + 100 * n as u16);
        }
        a.hang_up();
        b.wait_gone();
    });
}

#[test]
fn a_parked_caller_hears_music_and_then_whoever_takes_the_call() {
    scene(|gateway, _, _| {
        let (a, b) = pair(gateway, 0);
        wait_state(gateway, "active");
        converse(&a, &b, 0);
        let parked = gateway.action("Park", &[("Channel", &hooked(gateway)), ("Parkinglot", "default")]);
        assert_eq!(parked["Response"], "Success", "{parked:?}");
        wait_state(gateway, "waiting");
        wait_music(&a);
        b.hang_up();
        let c = LightPhone::call(gateway, "4301", &[]);
        c.wait_up();
        wait_state(gateway, "active");
        converse(&a, &c, 100);
        c.hang_up();
        a.hang_up();
    });
}

#[test]
fn a_queue_s_music_passes_and_its_agent_is_translated() {
    scene(|gateway, _, _| {
        let c = waiting(gateway, 1);
        let a = LightPhone::call(gateway, "4400", &[]);
        a.wait_up();
        wait_music(&a);
        assert_eq!(states(gateway), ["waiting"]);
        wait_state(gateway, "active");
        converse(&a, &c, 0);
        a.hang_up();
        c.hang_up();
    });
}

#[test]
fn with_three_it_is_suspended_and_with_two_it_goes_on() {
    scene(|gateway, _, _| {
        let events = gateway.listen();
        let (a, b) = pair(gateway, 0);
        wait_state(gateway, "active");
        converse(&a, &b, 0);
        let c = LightPhone::call(gateway, "4800", &[]);
        c.wait_up();
        wait_state(gateway, "suspended");
        original_passes(&a, &[&b], "en", 100);
        c.hang_up();
        wait_state(gateway, "active");
        converse(&a, &b, 200);
        a.hang_up();
        b.wait_gone();
        let told = events.events("MGWTranslate");
        assert!(told.iter().any(|e| e["State"] == "suspended" && e["Reason"].contains("three")), "{told:?}");
    });
}

#[test]
fn a_conference_hears_the_original_and_leaves_nothing() {
    scene(|gateway, _, _| {
        let b = LightPhone::call(gateway, "4501", &[]);
        let c = LightPhone::call(gateway, "4501", &[]);
        let a = LightPhone::call(gateway, "4500", &[]);
        for phone in [&a, &b, &c] {
            phone.wait_up();
        }
        wait_state(gateway, "suspended");
        original_passes(&a, &[&b, &c], "en", 0);
        for phone in [&a, &b, &c] {
            phone.hang_up();
        }
    });
}

#[test]
fn recordings_and_spies_on_the_hooked_channel_have_the_originals() {
    scene(|gateway, _, _| {
        let b = waiting(gateway, 0);
        let a = LightPhone::call(gateway, "4600", &[]);
        a.wait_up();
        wait_state(gateway, "active");
        let name = hooked(gateway);
        gateway.action("Setvar", &[("Variable", "SPIED"), ("Value", &name)]);
        let spy = LightPhone::call(gateway, "4700", &[]);
        spy.wait_up();
        wait_for("the spy", 30 * S, || gateway.rx("core show channels concise").contains("ChanSpy"));
        a.say(&talk("en", 0, 1));
        wait_words("the caller's sentence", 5, || b.heard());
        b.say(&talk("es", 500, 1));
        wait_words("the callee's sentence", 5, || a.heard());
        let spied = spy.hang_up();
        a.hang_up();
        b.wait_gone();
        wait_empty(gateway);
        // Which words are theirs is the question here; that Asterisk's recorder keeps each of them is not our doing.
        let (read, write) = (recorded(gateway, "read.sln16"), recorded(gateway, "write.sln16"));
        mostly(&spied, &[("en", 0), ("es", 500)]);
        mostly(&read, &[("en", 0)]);
        mostly(&write, &[("es", 500)]);
    });
}

/// A recording has words of these sentences, nearly all of them, and no others.
fn mostly(recording: &[i16], sentences: &[(&str, u16)]) {
    let words = hear(recording, RATE).words;
    let of = |language: &str, first: u16| {
        words.iter().filter(|(l, n)| *l == language && (first..first + 5).contains(n)).count()
    };
    let counts: Vec<usize> = sentences.iter().map(|(language, first)| of(language, *first)).collect();
    assert!(
        counts.iter().all(|n| (3..=5).contains(n)) && counts.iter().sum::<usize>() == words.len(),
        "{sentences:?}: {words:?}"
    );
}

/// The recipe of the module's README: TRANSLATE on a Local channel in between, recordings on the outer ones.
#[test]
fn the_translated_call_is_recorded_on_the_outer_channels() {
    scene(|gateway, _, _| {
        let b = waiting(gateway, 0);
        let heard = spool(gateway).join("callee-heard.sln16");
        let options = format!("t({})", heard.display());
        let fields =
            [("Channel", &partner(gateway, 0).expect("a channel")), ("File", &String::new()), ("options", &options)];
        let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let reply = gateway.action("MixMonitor", &fields);
        assert_eq!(reply["Response"], "Success", "{reply:?}");
        let a = LightPhone::call(gateway, "4902", &[]);
        a.wait_up();
        wait_state(gateway, "active");
        assert!(hooked(gateway).starts_with("Local/4903@mgw"));
        converse(&a, &b, 0);
        a.hang_up();
        b.hang_up();
        wait_empty(gateway);
        mostly(&recorded(gateway, "caller-heard.sln16"), &[("en", 500)]);
        mostly(&recorded(gateway, "caller-said.sln16"), &[("en", 0)]);
        mostly(&recorded(gateway, "callee-heard.sln16"), &[("es", 0)]);
    });
}

#[test]
fn a_whisper_to_the_hooked_channel_is_taken_for_the_callee_s_speech() {
    scene(|gateway, _, _| {
        let (a, b) = pair(gateway, 0);
        wait_state(gateway, "active");
        gateway.action("Setvar", &[("Variable", "SPIED"), ("Value", &hooked(gateway))]);
        let spy = LightPhone::call(gateway, "4701", &[]);
        spy.wait_up();
        wait_for("the spy", 30 * S, || gateway.rx("core show channels concise").contains("ChanSpy"));
        std::thread::sleep(S);
        spy.say(&talk("es", 700, 1));
        wait_words("the whisper, translated", 5, || a.heard());
        assert_eq!(words(&a.heard(), "en"), (700..705).collect::<Vec<_>>());
        spy.hang_up();
        a.hang_up();
        b.wait_gone();
    });
}

#[test]
fn codecs_change_in_mid_call() {
    scene(|gateway, _, _| {
        let (a, b) = pair(gateway, 0);
        wait_state(gateway, "active");
        converse(&a, &b, 0);
        for (n, (phone, narrow)) in [(&a, true), (&b, true), (&a, false), (&b, false)].into_iter().enumerate() {
            phone.narrow(narrow);
            std::thread::sleep(S);
            converse(&a, &b, 100 + 10 * n as u16);
        }
        a.hang_up();
        b.wait_gone();
    });
}

#[test]
fn a_phone_that_sends_nothing_hears_all_the_same_and_speaks_again_after_20_s() {
    let quiet = |first: u16, gateway: &Asterisk, caller: bool| {
        let (a, b) = pair(gateway, 0);
        wait_state(gateway, "active");
        let (silent, other, from, to) = if caller { (&a, &b, "es", "en") } else { (&b, &a, "en", "es") };
        // Its last packet leaves before the translation of what it said is heard: that has to be driven.
        let spoken = sentence(from, first..first + 5, RATE, S / 10);
        let back = if caller { "en" } else { "es" };
        silent.say(&sentence(back, first + 10..first + 15, RATE, S / 10));
        silent.wait_said_all();
        silent.mute(true);
        wait_words("what the silent one said last", 5, || other.heard());
        assert_eq!(words(&other.heard(), from), (first + 10..first + 15).collect::<Vec<_>>());
        // It hears while it sends nothing.
        other.say(&spoken);
        wait_words("speech to the silent one", 5, || silent.heard());
        std::thread::sleep(20 * S);
        assert_eq!(words(&silent.heard(), to), (first..first + 5).collect::<Vec<_>>());
        silent.mute(false);
        converse(&a, &b, first + 100);
        // Nothing played faster than it was said: the ear has as much sound as time has passed. A machine that holds
        // packets up may spoil one measurement.
        thrice(|| {
            let (heard, from) = (other.heard().len(), std::time::Instant::now());
            std::thread::sleep(5 * S);
            let ratio = (other.heard().len() - heard) as f64 / (from.elapsed().as_secs_f64() * f64::from(RATE));
            (!(0.97..1.03).contains(&ratio)).then(|| format!("{ratio} times the speed"))
        });
        a.hang_up();
        b.wait_gone();
    };
    scene(|gateway, _, round| quiet(0, gateway, round % 2 == 0));
}

/// `Bridge()` takes the waiting channel over by a masquerade: the hook has to go with it.
#[test]
fn the_hook_follows_its_channel_through_a_masquerade() {
    scene(|gateway, _, _| {
        let b = waiting_by(gateway, 0, || LightPhone::call(gateway, "6000", &[]));
        assert_eq!(states(gateway), ["waiting"]);
        let a = LightPhone::call(gateway, "4200", &[]);
        a.wait_up();
        wait_state(gateway, "active");
        converse(&a, &b, 0);
        a.hang_up();
        b.hang_up();
    });
}

#[test]
fn a_call_with_direct_media_is_taken_in_and_given_back() {
    scene(|gateway, _, _| {
        let b = waiting_by(gateway, 0, || LightPhone::call_direct(gateway, "4000"));
        let a = LightPhone::call_direct(gateway, "4200");
        a.wait_up();
        let native = || gateway.rx("bridge show all").contains("native_rtp");
        wait_for("direct media", 30 * S, || native() && a.peer() == b.own() && b.peer() == a.own());
        let channel = gateway.rx("core show channels concise");
        let channel =
            channel.lines().find(|l| l.contains("!4200!")).and_then(|l| l.split('!').next()).expect("a channel");
        set(gateway, channel, "TRANSLATE(en,es)", "on");
        wait_state(gateway, "active");
        wait_for("media through the gateway", 30 * S, || !native() && a.peer() != b.own() && b.peer() != a.own());
        converse(&a, &b, 0);
        set(gateway, channel, "TRANSLATE()", "off");
        wait_for("direct media again", 30 * S, || native() && a.peer() == b.own() && b.peer() == a.own());
        a.hang_up();
        b.hang_up();
    });
}

#[test]
fn both_hang_up_at_once_in_mid_speech() {
    scene(|gateway, _, _| {
        let (a, b) = pair(gateway, 0);
        wait_state(gateway, "active");
        a.say(&talk("en", 0, 3));
        b.say(&talk("es", 500, 3));
        wait_words("the first words", 2, || a.heard());
        std::thread::scope(|scope| {
            scope.spawn(|| a.hang_up());
            scope.spawn(|| b.hang_up());
        });
    });
}

#[test]
fn everything_is_hung_up_in_mid_speech() {
    scene(|gateway, _, _| {
        let pairs: Vec<_> = (0..4).map(|n| pair(gateway, n)).collect();
        wait_for("four calls", 30 * S, || states(gateway) == ["active"; 4]);
        let room = [LightPhone::call(gateway, "7701", &[]), LightPhone::call(gateway, "8801", &[])];
        room.iter().for_each(LightPhone::wait_up);
        for (a, b) in &pairs {
            a.say(&talk("en", 0, 3));
            b.say(&talk("es", 500, 3));
        }
        room[0].say(&talk("en", 0, 3));
        wait_words("the first words", 2, || pairs[0].0.heard());
        gateway.rx("channel request hangup all");
        for (a, b) in &pairs {
            a.wait_gone();
            b.wait_gone();
        }
        room.iter().for_each(LightPhone::wait_gone);
    });
}
