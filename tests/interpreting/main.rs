//! Interpreting, in virtual time: hours of talk, and what the ears heard of it, word by word.
//!
//! `MGW_TEST_MINUTES` is how long the talk is (20): `make soak` has it last an hour. With `MGW_TEST_REPORT` set every test
//! prints what it measured.

mod harness;
mod talk;
mod turns;

#[path = "../support/mod.rs"]
mod support;
#[path = "../support/virtual_call/mod.rs"]
mod virtual_call;

use std::time::Duration;

use mgw::engine::SessionId;
use virtual_call::{Verdict, VirtualCall};

const S: Duration = Duration::from_secs(1);

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// How long people talk.
fn length() -> Duration {
    let minutes = std::env::var("MGW_TEST_MINUTES").ok().map(|n| n.parse().expect("MGW_TEST_MINUTES is a number"));
    Duration::from_secs(60) * minutes.unwrap_or(20)
}

/// What is asked of the lags, in milliseconds; the slope is per minute of talk.
#[derive(Clone, Copy)]
struct Limits {
    p99: f64,
    max: f64,
    slope: f64,
}

/// One interim a second.
const V1: Limits = Limits { p99: 3500.0, max: 4500.0, slope: 10.0 };
/// Four interims a second.
const FLUX: Limits = Limits { p99: 3000.0, max: 4000.0, slope: 10.0 };

/// Every word of `speaker` was heard whole, once and in order by `listener`, and in time.
fn demand(name: &str, call: &mut VirtualCall, speaker: SessionId, listener: SessionId, limits: Limits) -> Verdict {
    let v = call.verdict(speaker, listener);
    if std::env::var_os("MGW_TEST_REPORT").is_some() {
        eprintln!("{name}: {v}\n    {}", call.stats(speaker)["measures"]);
    }
    let close = v.quantile(0.99) <= limits.p99 && v.max() <= limits.max && v.slope().abs() <= limits.slope;
    assert!(v.is_whole() && close, "{name}: {v}\n{}", call.story(speaker, &v));
    v
}
