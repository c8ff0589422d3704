//! Whether a provider may be asked now: a circuit that opens after failures, lets one probe through, and closes
//! when that succeeds (M. Nygard, "Release It!", 2007).
//!
//! Time is an argument. One circuit stands for one account of a provider; all sessions share it.

use std::time::Duration;

use super::{ErrorClass, StageError};

/// So many passing failures in a row open the circuit; fewer may be one bad connection.
const FAILURES: u32 = 3;
/// Passing failures further apart than this do not add up.
const WINDOW: Duration = Duration::from_secs(10);
/// First and longest time for which passing failures keep it open.
const OPEN_FIRST: Duration = Duration::from_secs(1);
const OPEN_MOST: Duration = Duration::from_secs(30);
/// First and longest time after an error that only a person or the next billing period can end.
const OUT_FIRST: Duration = Duration::from_secs(30);
const OUT_MOST: Duration = Duration::from_secs(300);
/// A probe that has not reported by then was forgotten (its session ended); another one may go.
const PROBE_LOST: Duration = Duration::from_secs(15);
/// Who asks while a probe is under way is told to ask again after so long: it usually reports soon.
const PROBE_WAIT: Duration = Duration::from_millis(250);

/// May the provider be asked?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Yes.
    Closed,
    /// Yes, by this one asker: what becomes of it decides for all. It must report.
    Probe,
    /// Not before so much time has passed.
    Open(Duration),
}

/// The state of one provider's account.
#[derive(Clone, Debug, Default)]
pub struct Circuit {
    /// Passing failures in a row, and when the last was.
    failures: u32,
    last: Duration,
    /// Open until then.
    until: Option<Duration>,
    /// How often it opened in a row without a success between.
    openings: u32,
    /// When a probe was let through that has not reported yet.
    probe: Option<Duration>,
    error: Option<StageError>,
}

impl Circuit {
    /// Whether it may be asked at `now`; a `Probe` is given to one asker only.
    pub fn ask(&mut self, now: Duration) -> Admission {
        match self.until {
            None => Admission::Closed,
            Some(until) if now < until => Admission::Open(until - now),
            Some(_) => match self.probe {
                Some(since) if now < since + PROBE_LOST => Admission::Open((since + PROBE_LOST - now).min(PROBE_WAIT)),
                _ => {
                    self.probe = Some(now);
                    Admission::Probe
                }
            },
        }
    }

    /// Whether it is open or being probed; asks for nothing.
    pub fn is_open(&self) -> bool {
        self.until.is_some()
    }

    /// How long until it may be asked again.
    pub fn opens_in(&self, now: Duration) -> Duration {
        self.until.map_or(Duration::ZERO, |until| until.saturating_sub(now))
    }

    /// Why it was opened last, while it is open.
    pub fn error(&self) -> Option<&StageError> {
        self.error.as_ref().filter(|_| self.until.is_some())
    }

    /// The probe was given up before anything became of it: another one may go at once.
    pub fn released(&mut self) {
        self.probe = None;
    }

    /// The provider has served.
    pub fn succeeded(&mut self) {
        *self = Circuit::default();
    }

    /// The provider has failed; `random` in 0..1 spreads those who wait. True if this opened it (again).
    ///
    /// `BadRequest` says nothing about the provider. `Configuration` opens it like `ProviderOut`.
    pub fn failed(&mut self, now: Duration, error: &StageError, random: f64) -> bool {
        let probing = self.probe.take().is_some();
        let pause = match error.class {
            ErrorClass::BadRequest => {
                if probing {
                    self.succeeded();
                }
                return false;
            }
            ErrorClass::RetryLater(Some(pause)) => pause.max(Duration::from_millis(50)),
            ErrorClass::ProviderOut | ErrorClass::Configuration => {
                OUT_FIRST.saturating_mul(1 << self.openings.min(8)).min(OUT_MOST)
            }
            ErrorClass::RetryNow | ErrorClass::RetryLater(None) => {
                self.failures = if now.saturating_sub(self.last) > WINDOW { 1 } else { self.failures + 1 };
                self.last = now;
                if !probing && self.failures < FAILURES {
                    return false;
                }
                OPEN_FIRST.saturating_mul(1 << self.openings.min(8)).min(OPEN_MOST)
            }
        };
        // Several failures of requests that were under way together are one opening.
        if !probing && self.until.is_some_and(|until| now < until) {
            return false;
        }
        self.openings = self.openings.saturating_add(1);
        self.failures = 0;
        self.until = Some(now + pause.mul_f64(1.0 + 0.25 * random.clamp(0.0, 1.0)));
        self.error = Some(error.clone());
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn error(class: ErrorClass) -> StageError {
        StageError::new(class, "x", "x")
    }

    #[test]
    fn it_opens_probes_and_closes() {
        let mut circuit = Circuit::default();
        let broken = error(ErrorClass::RetryNow);
        for (i, opens) in [false, false, true].into_iter().enumerate() {
            assert_eq!(circuit.ask(at(i as u64)), Admission::Closed);
            assert_eq!(circuit.failed(at(i as u64), &broken, 0.0), opens, "failure {i}");
        }
        assert_eq!(circuit.ask(at(502)), Admission::Open(at(500)));
        assert_eq!((circuit.opens_in(at(502)), circuit.opens_in(at(2000))), (at(500), at(0)));
        assert_eq!(circuit.ask(at(1002)), Admission::Probe);
        assert!(matches!(circuit.ask(at(1003)), Admission::Open(_)), "one probe at a time");
        assert!(circuit.failed(at(1010), &broken, 0.0), "the probe failed");
        assert_eq!(circuit.ask(at(1010)), Admission::Open(at(2000)), "twice as long");
        assert_eq!(circuit.ask(at(3010)), Admission::Probe);
        circuit.succeeded();
        assert_eq!(circuit.ask(at(3011)), Admission::Closed);
        assert!(!circuit.is_open());
    }

    #[test]
    fn classes_keep_it_open_for_their_time() {
        // (class, opens at once, for at least, for at most)
        for (class, opens, least, most) in [
            (ErrorClass::RetryNow, false, 0, 0),
            (ErrorClass::RetryLater(None), false, 0, 0),
            (ErrorClass::RetryLater(Some(at(7000))), true, 7000, 8750),
            (ErrorClass::ProviderOut, true, 30_000, 37_500),
            (ErrorClass::Configuration, true, 30_000, 37_500),
            (ErrorClass::BadRequest, false, 0, 0),
        ] {
            for random in [0.0, 0.5, 1.0] {
                let mut circuit = Circuit::default();
                assert_eq!(circuit.failed(at(0), &error(class), random), opens, "{class:?}");
                match circuit.ask(at(0)) {
                    Admission::Open(pause) => assert!(opens && pause >= at(least) && pause <= at(most), "{class:?}"),
                    other => assert!(!opens && other == Admission::Closed, "{class:?}: {other:?}"),
                }
            }
        }
    }

    #[test]
    fn far_apart_failures_do_not_add_up_and_a_lost_probe_is_replaced() {
        let mut circuit = Circuit::default();
        let broken = error(ErrorClass::RetryNow);
        for i in 0..10 {
            assert!(!circuit.failed(at(i * 11_000), &broken, 0.0));
        }
        let mut circuit = Circuit::default();
        circuit.failed(at(0), &error(ErrorClass::ProviderOut), 0.0);
        assert_eq!(circuit.ask(at(30_000)), Admission::Probe);
        assert_eq!(circuit.ask(at(45_000)), Admission::Probe, "the first one never reported");
        assert!(!circuit.failed(at(45_001), &error(ErrorClass::BadRequest), 0.0), "it answered: it is there");
        assert_eq!(circuit.ask(at(45_002)), Admission::Closed);
    }
}
