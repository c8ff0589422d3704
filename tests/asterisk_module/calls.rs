//! Rooms and translated calls as they should be.

use crate::host::{S, conf, gateway, talk, wait_empty, wait_state, wait_words, words};
use crate::support::Cloud;
use crate::support::asterisk::{Codec, LightPhone, Phones};

#[test]
fn two_phones_meet_by_their_profiles_and_hear_every_word() {
    let cloud = Cloud::start("");
    let gateway = gateway(&cloud);
    let phones = Phones::new(&gateway);
    for (one, other) in [(Codec::L16, Codec::L16), (Codec::Ulaw, Codec::G722)] {
        let a = phones.call_from("1001", "7701", one, &[]);
        let b = phones.call_from("1002", "8801", other, &[]);
        a.wait_up();
        b.wait_up();
        a.say(&talk("en", 0, 3));
        b.say(&talk("es", 2000, 3));
        wait_words("15 words at 7777", 15, || a.heard());
        wait_words("15 words at 8888", 15, || b.heard());
        std::thread::sleep(2 * S);
        assert_eq!(words(&a.hang_up(), "en"), (2000..2015).collect::<Vec<_>>(), "{one:?}");
        assert_eq!(words(&b.hang_up(), "es"), (0..15).collect::<Vec<_>>(), "{other:?}");
        wait_empty(&gateway);
    }
    assert_eq!(cloud.stats()["violations"], serde_json::json!([]));
}

#[test]
fn an_ordinary_call_is_translated_both_ways() {
    let cloud = Cloud::start("");
    let gateway = gateway(&cloud);
    let phones = Phones::new(&gateway);
    let b = phones.answer("1002", &[]);
    let a = phones.call_from("1001", "1000", Codec::L16, &[]);
    a.wait_up();
    b.wait_up();
    wait_state(&gateway, "active");
    a.say(&talk("en", 0, 3));
    b.say(&talk("es", 2000, 3));
    wait_words("15 words at the caller", 15, || a.heard());
    wait_words("15 words at the callee", 15, || b.heard());
    std::thread::sleep(2 * S);
    let heard = a.hang_up();
    b.wait_gone();
    assert_eq!(words(&heard, "en"), (2000..2015).collect::<Vec<_>>());
    assert_eq!(words(&b.recorded(), "es"), (0..15).collect::<Vec<_>>());
    wait_empty(&gateway);
}
