//! Counters for Prometheus: labels of profile, language pair and provider, never of sessions.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};

use crate::event::EventKind;

/// Upper bounds of the lag histogram in seconds; interpreters follow 2 to 3 s behind, beyond 4 s one loses the thread.
const LAG_BUCKETS: [f64; 10] = [0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 6.0, 10.0, 20.0];

/// Name, type and help of every counter.
const COUNTERS: &[(&str, &str)] = &[
    ("mgw_sessions_opened_total", "Sessions that joined a room."),
    ("mgw_segments_committed_total", "Segments that were translated."),
    ("mgw_segments_heard_total", "Segments heard to their end, once per listener."),
    ("mgw_segments_lost_total", "Segments or spans of speech reported lost, by the stage that lost them."),
    ("mgw_provider_state_total", "Changes of provider connections, by the state entered."),
    ("mgw_fail_open_total", "Times a listener got the original voice because translation was down."),
    ("mgw_audio_dropped_milliseconds_total", "Audio that was dropped, by stage."),
    ("mgw_listener_absent_total", "Times a session stopped pulling."),
    ("mgw_errors_total", "Faults inside mgw, by code."),
];

#[derive(Default)]
struct Histogram {
    counts: [u64; LAG_BUCKETS.len()],
    sum: f64,
    count: u64,
}

#[derive(Default)]
struct Inner {
    counters: BTreeMap<(&'static str, String), f64>,
    lags: BTreeMap<String, Histogram>,
}

/// A gateway's counters.
#[derive(Default)]
pub struct Metrics {
    inner: Mutex<Inner>,
}

/// A number that is read when metrics are asked for: name, help, value.
pub type Gauge = (&'static str, &'static str, f64);

impl Metrics {
    /// Counts what an event tells, for a session of `profile`.
    pub fn observe(&self, profile: &str, kind: &EventKind) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let label = |more: &[(&str, &str)]| {
            let mut text = format!("profile=\"{}\"", escape(profile));
            for (name, value) in more {
                let _ = write!(text, ",{name}=\"{}\"", escape(value));
            }
            text
        };
        let mut count = |name: &'static str, labels: String, n: f64| {
            *inner.counters.entry((name, labels)).or_default() += n;
        };
        match kind {
            EventKind::Joined { .. } => count("mgw_sessions_opened_total", label(&[]), 1.0),
            EventKind::Translation { source, target, .. } => {
                count("mgw_segments_committed_total", label(&[("pair", &format!("{source}-{target}"))]), 1.0);
            }
            EventKind::SegmentDone { target, lag_ms, .. } => {
                let labels = label(&[("target", target)]);
                count("mgw_segments_heard_total", labels.clone(), 1.0);
                let histogram = inner.lags.entry(labels).or_default();
                let lag = lag_ms / 1000.0;
                histogram.sum += lag;
                histogram.count += 1;
                for (slot, bound) in histogram.counts.iter_mut().zip(LAG_BUCKETS) {
                    *slot += u64::from(lag <= bound);
                }
            }
            EventKind::SegmentLost { stage, .. } => {
                count("mgw_segments_lost_total", label(&[("stage", stage)]), 1.0);
            }
            EventKind::Provider { stage, provider, state, .. } => {
                let labels = label(&[("stage", stage), ("provider", provider), ("state", state)]);
                count("mgw_provider_state_total", labels, 1.0);
            }
            EventKind::FailOpen { active: true, .. } => count("mgw_fail_open_total", label(&[]), 1.0),
            EventKind::AudioDropped { stage, dropped_ms, .. } => {
                count("mgw_audio_dropped_milliseconds_total", label(&[("stage", stage)]), *dropped_ms);
            }
            EventKind::ListenerAbsent { .. } => count("mgw_listener_absent_total", label(&[]), 1.0),
            EventKind::Error { code, .. } => count("mgw_errors_total", label(&[("code", code)]), 1.0),
            _ => {}
        }
    }

    /// All of it in Prometheus' text format 0.0.4, with `gauges` read by the caller.
    pub fn text(&self, gauges: &[Gauge]) -> String {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let mut out = String::new();
        for (name, help, value) in gauges {
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}");
        }
        for (name, help) in COUNTERS {
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} counter");
            for ((_, labels), value) in inner.counters.iter().filter(|((n, _), _)| n == name) {
                let _ = writeln!(out, "{name}{{{labels}}} {value}");
            }
        }
        let name = "mgw_segment_lag_seconds";
        let help = "Lag of a segment's last word, from the speaker's mouth to the listener's ear.";
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} histogram");
        for (labels, histogram) in &inner.lags {
            for (bound, n) in LAG_BUCKETS.iter().zip(histogram.counts) {
                let _ = writeln!(out, "{name}_bucket{{{labels},le=\"{bound}\"}} {n}");
            }
            let _ = writeln!(out, "{name}_bucket{{{labels},le=\"+Inf\"}} {}", histogram.count);
            let _ = writeln!(out, "{name}_sum{{{labels}}} {}", histogram.sum);
            let _ = writeln!(out, "{name}_count{{{labels}}} {}", histogram.count);
        }
        out
    }
}

/// A label's value as Prometheus wants it.
fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_by_profile_and_stage_in_the_text_format() {
        let metrics = Metrics::default();
        let lost = EventKind::SegmentLost {
            segment: None,
            listener: None,
            target: None,
            stage: "stt",
            reason: "x".into(),
            source_text: Some("secret words".into()),
            start_ms: 0.0,
            end_ms: 1.0,
        };
        metrics.observe("77\"77", &lost);
        metrics.observe("77\"77", &lost);
        let text = metrics.text(&[("mgw_sessions", "Sessions now.", 3.0)]);
        assert!(text.contains("mgw_segments_lost_total{profile=\"77\\\"77\",stage=\"stt\"} 2\n"), "{text}");
        assert!(text.contains("# TYPE mgw_sessions gauge\nmgw_sessions 3\n"));
        assert!(!text.contains("secret"), "what was said is in no metric");
        for line in text.lines().filter(|l| !l.starts_with('#')) {
            let value = line.rsplit(' ').next().unwrap_or_default();
            assert!(value.parse::<f64>().is_ok(), "{line}");
        }
    }
}
