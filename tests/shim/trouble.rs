//! What operators, other clients and bad moments do to calls, on a real Asterisk 22.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::asterisk::{S, settings, shim_for, talk, wait_empty, wait_words, words};
use crate::support::asterisk::{Asterisk, LightPhone};
use crate::support::shim::Shim;
use crate::support::{Cloud, wait_for};

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_default().to_owned()
}

/// Id and name of the channel that came to our application with these arguments.
pub fn channel(gateway: &Asterisk, args: &str) -> (String, String) {
    let (_, channels) = gateway.ari("GET", "/channels", "");
    let all = channels.as_array().expect("channels");
    let ours = |c: &&Value| c["dialplan"]["app_data"] == format!("mgw,{args}");
    let found = all.iter().find(ours).unwrap_or_else(|| panic!("no mgw,{args} in {channels:#}"));
    (text(found, "id"), text(found, "name"))
}

/// The bridge in which a channel is, and who else is in it.
pub fn bridge_of(gateway: &Asterisk, channel: &str) -> Option<(String, Vec<String>)> {
    let (_, bridges) = gateway.ari("GET", "/bridges", "");
    bridges.as_array()?.iter().find_map(|bridge| {
        let inside: Vec<String> =
            bridge["channels"].as_array()?.iter().filter_map(|c| Some(c.as_str()?.into())).collect();
        let others = inside.iter().filter(|id| *id != channel).cloned().collect();
        inside.iter().any(|id| id == channel).then(|| (text(bridge, "id"), others))
    })
}

fn two_calls(gateway: &Asterisk, shim: &Shim) -> (LightPhone, LightPhone) {
    let (a, b) = (LightPhone::call(gateway, "7777", &[]), LightPhone::call(gateway, "8888", &[]));
    a.wait_up();
    b.wait_up();
    shim.wait_calls(2);
    (a, b)
}

#[test]
fn a_redirected_caller_is_served_again() {
    let gateway = Asterisk::gateway();
    let cloud = Cloud::start("");
    let shim = shim_for(&gateway, &cloud, "", "");
    let (a, b) = two_calls(&gateway, &shim);
    a.say(&talk("en", 0, 1));
    wait_words("the first sentence", 5, || b.heard());
    let (id, name) = channel(&gateway, "7777");
    for (round, first) in [(1, 100), (2, 200)] {
        // The second time from the room to the same room.
        gateway.rx(&format!("channel redirect {name} mgw,7742,1"));
        wait_for("the new call", 30 * S, || shim.metric("mgw_shim_ari_calls_taken") == f64::from(2 * round + 1));
        let c = LightPhone::call(&gateway, "8842", &[]);
        c.wait_up();
        wait_for("both in the room", 30 * S, || {
            shim.calls().iter().filter(|call| call["room"] == "room-42").count() == 2
        });
        a.say(&talk("en", first, 1));
        wait_words("the sentence in the other room", 5, || c.heard());
        assert_eq!(words(&c.hang_up(), "es"), (first..first + 5).collect::<Vec<_>>());
        wait_for("the end of the other's call", 30 * S, || {
            shim.calls().iter().filter(|call| call["room"] == "room-42").count() == 1
        });
        assert!(a.is_up() && shim.calls().iter().any(|call| call["id"] == id.as_str()), "in the table under its name");
    }
    b.wait_gone();
    a.hang_up();
    wait_empty(&gateway, &shim);
}

#[test]
fn the_sound_of_a_call_is_made_again_as_often_as_it_breaks() {
    let gateway = Asterisk::gateway();
    let cloud = Cloud::start("");
    // No leg more than these two: the new one needs no permission of its own.
    let shim = shim_for(&gateway, &cloud, "max_legs = 2", "");
    let (a, b) = two_calls(&gateway, &shim);
    let (id, _) = channel(&gateway, "8888");
    for round in 1..=2 {
        let (bridge, others) = bridge_of(&gateway, &id).expect("in its bridge");
        let begin = Instant::now();
        // Once it is hung up, once it is only taken out of the bridge.
        if round == 1 {
            gateway.ari("DELETE", &format!("/channels/{}", others[0]), "");
        } else {
            gateway.ari("POST", &format!("/bridges/{bridge}/removeChannel?channel={}", others[0]), "");
        }
        let mended = || bridge_of(&gateway, &id).is_some_and(|(_, now)| !now.is_empty() && now != others);
        wait_for("other external media", 30 * S, mended);
        println!("round {round}: {} ms without sound", begin.elapsed().as_millis());
        wait_for("the count", 10 * S, || shim.metric("mgw_shim_ari_media_renewed") == f64::from(round));
        a.say(&talk("en", 100, 1));
        wait_words("a sentence after the break", 5 * round as usize, || b.heard());
        b.say(&talk("es", 2000, 1));
        wait_words("the answer", 5 * round as usize, || a.heard());
        wait_for("what two calls need, and no more", 20 * S, || gateway.leftovers().len() == 6);
    }
    assert_eq!((shim.metric("mgw_shim_legs"), shim.metric("mgw_shim_legs_refused")), (2.0, 0.0));
    a.hang_up();
    b.wait_gone();
    wait_empty(&gateway, &shim);
}

/// Only the control is away: ARI refuses the shim for more than the minute after which calls used to be given up.
#[test]
fn calls_go_on_while_the_control_is_away_and_what_was_missed_is_made_good() {
    let gateway = Asterisk::gateway();
    let cloud = Cloud::start("");
    let shim = shim_for(&gateway, &cloud, "", "");
    let (a, b) = two_calls(&gateway, &shim);
    let (_, name) = channel(&gateway, "8888");
    let file = gateway.folder().join("etc/ari.conf");
    let good = std::fs::read_to_string(&file).expect("ari.conf");
    std::fs::write(&file, good.replace("change-me", "changed")).expect("ari.conf");
    gateway.rx("module reload res_ari.so");
    let stopped = gateway.stopped();
    wait_for("the loss", 30 * S, || !shim.is_ready());
    drop(stopped);
    let refused = || shim.ask("GET", "/ready", None, None).1.contains("password");
    wait_for("the refusal", 30 * S, refused);
    std::thread::sleep(75 * S);
    assert!(refused(), "still");
    assert_eq!(shim.calls().len(), 2, "both are heard, so neither is given up");
    a.say(&talk("en", 0, 1));
    wait_words("a sentence meanwhile", 5, || b.heard());
    b.say(&talk("es", 2000, 1));
    wait_words("the answer", 5, || a.heard());

    // One goes elsewhere, and the shim is not told.
    gateway.rx(&format!("channel redirect {name} mgw,9000,1"));
    std::fs::write(&file, good).expect("ari.conf");
    gateway.rx("module reload res_ari.so");
    wait_for("the connection", 30 * S, || shim.is_ready());
    a.wait_gone();
    assert!(b.is_up(), "it is not ours to hang up");
    wait_for("only the one that went elsewhere", 30 * S, || gateway.leftovers().len() == 1);
    b.hang_up();
    wait_empty(&gateway, &shim);
}

#[test]
fn nobody_is_left_behind_when_the_shim_stops() {
    let gateway = Asterisk::gateway();
    let cloud = Cloud::start("");
    for round in 0..3 {
        let shim = Shim::start(settings(&gateway, &cloud, "", ""));
        wait_for("the shim's connection to Asterisk", 30 * S, || shim.is_ready());
        let mut phones = Vec::new();
        for n in 0..20 {
            if n == 4 + 2 * round {
                shim.signal("TERM");
            }
            phones.push(LightPhone::call(&gateway, "7777", &[]));
            std::thread::sleep(Duration::from_millis(15));
        }
        // Those who were taken before.
        phones.iter().filter(|phone| phone.is_up()).for_each(|phone| drop(phone.hang_up()));
        let log = shim.log.clone();
        let ended = {
            let phones = &phones;
            std::thread::scope(|scope| {
                let hang_up = scope.spawn(|| {
                    wait_for("every call's end", 60 * S, || {
                        phones.iter().filter(|phone| phone.is_up()).for_each(|phone| drop(phone.hang_up()));
                        phones.iter().all(LightPhone::is_gone)
                    });
                });
                let ended = shim.wait_end(40 * S);
                hang_up.join().expect("no panic");
                ended
            })
        };
        assert!(ended, "{}", std::fs::read_to_string(log).unwrap_or_default());
        gateway.wait_empty(40 * S);
    }
}
