//! The oldest Asterisk that the module is for: built against its headers, run in it.

use crate::host::*;
use crate::support::asterisk::root::OLDEST;
use crate::support::asterisk::{LightPhone, Root};
use crate::support::{Cloud, wait_for};

#[test]
fn asterisk_16_translates_a_call_and_a_room() {
    let cloud = Cloud::start("");
    let built = build(&Root::of(OLDEST).path);
    let gateway = gateway_of(OLDEST, &conf(&cloud, "", ""), &built, &[], &[]);
    assert!(gateway.rx("core show version").contains("Asterisk 16"));
    assert!(gateway.rx("core show application MediaGateway").contains("room in which everybody hears"));
    let (a, b) = pair(&gateway, 0);
    wait_state(&gateway, "active");
    converse(&a, &b, 0);
    b.hold(true);
    wait_state(&gateway, "held");
    b.hold(false);
    wait_state(&gateway, "active");
    let c = waiting(&gateway, 1);
    a.transfer("4201");
    a.hang_up();
    wait_for("translation at the callee", 30 * S, || sessions(&gateway) == 2 && states(&gateway) == ["active"]);
    converse(&c, &b, 100);
    b.hang_up();
    c.wait_gone();
    let (x, y) = (LightPhone::call(&gateway, "7701", &[]), LightPhone::call(&gateway, "8801", &[]));
    x.wait_up();
    y.wait_up();
    wait_for("two sessions", 20 * S, || sessions(&gateway) == 2);
    converse(&x, &y, 200);
    x.hang_up();
    y.hang_up();
    wait_empty(&gateway);
    let told = gateway.rx("module unload app_mgw.so");
    assert!(told.contains("Unloaded app_mgw.so"), "{told}");
}
