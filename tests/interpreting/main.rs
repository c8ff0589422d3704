//! Interpreting, in virtual time: hours of talk, and what the ears heard of it, word by word.

mod harness;
#[path = "../support/mod.rs"]
mod support;

use std::time::Duration;

use support::virtual_call::{Manner, Script, Stages, VirtualCall};

const S: Duration = Duration::from_secs(1);

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

#[test]
fn try_it() {
    let t = std::time::Instant::now();
    for manner in [Manner::v1(), Manner::flux()] {
        let mut call = VirtualCall::new(manner, Stages::default());
        let a = call.join("en", &[], Script::new(1).talk("en", S, 600 * S));
        let b = call.join("es", &[], Script::default());
        call.run_to_the_end();
        eprintln!("{:?} {}", t.elapsed(), call.verdict(a, b));
        eprintln!("{:?} {}", t.elapsed(), call.stats(a));
        eprintln!("{:?}", call.losses().len());
    }
}
