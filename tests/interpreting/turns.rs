//! Conversations: people who wait for each other, and one who changes the language.

use std::time::Duration;

use crate::virtual_call::chance::Chance;
use crate::virtual_call::{Manner, Script, Stages, VirtualCall};
use crate::{FLUX, Limits, S, V1, demand, length, ms};

/// Two scripts that take turns of 3 to 15 s, with breaths of half a second in them and a second and a half between them.
fn conversation() -> (Script, Script) {
    let mut chance = Chance::new(7);
    let (mut a, mut b) = (Script::new(1), Script::new(2));
    let mut at = S;
    let mut first = true;
    while at < length() {
        let turn = at + chance.between(3 * S, 15 * S);
        let (script, language) = if first { (&mut a, "en") } else { (&mut b, "es") };
        while at < turn {
            *script = std::mem::take(script).talk(language, at, chance.between(ms(500), 5 * S));
            at = script.end() + chance.between(ms(350), ms(700));
        }
        at += chance.between(S, 2 * S);
        first = !first;
    }
    (a, b)
}

#[test]
fn turn_taking() {
    // Turns end with less than a clause more often: the last word may wait for its confirmation.
    let v1 = Limits { p99: V1.p99 + 150.0, ..V1 };
    for (name, manner, limits) in [("v1", Manner::v1(), v1), ("flux", Manner::flux(), FLUX)] {
        let (said_a, said_b) = conversation();
        let mut call = VirtualCall::new(manner, Stages::default());
        let a = call.join("en", &[], said_a);
        let b = call.join("es", &[], said_b);
        call.run_to_the_end();
        demand(&format!("{name}, turns, to B"), &mut call, a, b, limits);
        demand(&format!("{name}, turns, to A"), &mut call, b, a, limits);
        assert!(call.losses().is_empty(), "{:?}", call.losses());
    }
}

/// Somebody goes on in German after two seconds, and later in English again; the host says so in the pause.
#[test]
fn a_speaker_who_changes_the_language() {
    for (name, manner, limits) in [("v1", Manner::v1(), V1), ("flux", Manner::flux(), FLUX)] {
        let mut script = Script::new(3);
        let mut changes: Vec<(Duration, &str)> = Vec::new();
        for language in ["en", "de", "en", "de"] {
            let from = script.end() + 2 * S;
            changes.push((from - ms(500), language));
            script = script.talk(language, from, 40 * S);
        }
        let mut call = VirtualCall::new(manner, Stages::default());
        let a = call.join("en", &[], script);
        let b = call.join("es", &[], Script::default());
        for (at, language) in changes {
            call.run(at.saturating_sub(call.now));
            call.set(a, "language", language);
        }
        call.run_to_the_end();
        demand(&format!("{name}, languages"), &mut call, a, b, limits);
        assert!(call.losses().is_empty(), "{:?}", call.losses());
    }
}
