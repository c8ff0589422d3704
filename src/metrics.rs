//! Counters for Prometheus: labels of profile, language pair and provider, never of sessions.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};

use crate::engine::measures::Piece;
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

/// Name and help of every histogram; all have the same bounds, in seconds.
const HISTOGRAMS: &[(&str, &str)] = &[
    (
        "mgw_segment_lag_seconds",
        "Lag of a segment's last word, from the speaker's mouth to the listener's ear (EndOffset).",
    ),
    (
        "mgw_start_offset_seconds",
        "From the beginning of a segment in the speaker's mouth to its beginning in the listener's ear.",
    ),
    ("mgw_word_lag_seconds", "Lag of each word, by its place in its segment (ear-voice span)."),
    ("mgw_laal_seconds", "Length-adaptive average lagging of segments."),
    ("mgw_atd_seconds", "Average token delay of segments."),
];

#[derive(Default)]
struct Histogram {
    counts: [u64; LAG_BUCKETS.len()],
    sum: f64,
    count: u64,
}

impl Histogram {
    fn add(&mut self, seconds: f64) {
        self.sum += seconds;
        self.count += 1;
        for (slot, bound) in self.counts.iter_mut().zip(LAG_BUCKETS) {
            *slot += u64::from(seconds <= bound);
        }
    }
}

#[derive(Default)]
struct Inner {
    counters: BTreeMap<(&'static str, String), f64>,
    histograms: BTreeMap<(&'static str, String), Histogram>,
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
            EventKind::SegmentDone { target, lag_ms, marks, source_text, text, measures, .. } => {
                let labels = label(&[("target", target)]);
                count("mgw_segments_heard_total", labels.clone(), 1.0);
                let mut add = |name: &'static str, ms: f64| {
                    inner.histograms.entry((name, labels.clone())).or_default().add(ms / 1000.0);
                };
                add("mgw_segment_lag_seconds", *lag_ms);
                if let Some(measures) = measures {
                    add("mgw_start_offset_seconds", measures.start_offset_ms);
                    add("mgw_laal_seconds", measures.laal_ms);
                    add("mgw_atd_seconds", measures.atd_ms);
                    let lags = Piece::of(marks, source_text, text).into_iter().flat_map(Piece::word_lags);
                    lags.for_each(|lag| add("mgw_word_lag_seconds", lag));
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
        for (name, help) in HISTOGRAMS {
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} histogram");
            for ((_, labels), histogram) in inner.histograms.iter().filter(|((n, _), _)| n == name) {
                for (bound, n) in LAG_BUCKETS.iter().zip(histogram.counts) {
                    let _ = writeln!(out, "{name}_bucket{{{labels},le=\"{bound}\"}} {n}");
                }
                let _ = writeln!(out, "{name}_bucket{{{labels},le=\"+Inf\"}} {}", histogram.count);
                let _ = writeln!(out, "{name}_sum{{{labels}}} {}", histogram.sum);
                let _ = writeln!(out, "{name}_count{{{labels}}} {}", histogram.count);
            }
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

    #[test]
    fn every_word_is_in_its_histogram() {
        let metrics = Metrics::default();
        let marks = crate::event::Marks {
            speech_start_ms: Some(0.0),
            speech_end_ms: Some(800.0),
            playout_start_ms: Some(1500.0),
            playout_end_ms: Some(3100.0),
            ..Default::default()
        };
        let (source_text, text) = ("secret words they said".to_owned(), "palabras".to_owned());
        let measures = Piece::of(&marks, &source_text, &text).map(|piece| Box::new(piece.measures()));
        metrics.observe(
            "7777",
            &EventKind::SegmentDone {
                segment: 1,
                listener: 2,
                listener_id: String::new(),
                target: "es".into(),
                source_text,
                text,
                start_ms: 0.0,
                end_ms: 800.0,
                lag_ms: 2300.0,
                heard_ms: 1600.0,
                complete: true,
                commit: "final".into(),
                marks,
                stages_ms: BTreeMap::new(),
                measures,
                playout: Box::new(crate::event::Played {
                    stretch: 1.0,
                    pause_cut_ms: 0.0,
                    trimmed_ms: 0.0,
                    gain_db: 0.0,
                }),
            },
        );
        let text = metrics.text(&[]);
        // The four words' lags are 1700, 1900, 2100, 2300 ms.
        for line in [
            "mgw_word_lag_seconds_bucket{profile=\"7777\",target=\"es\",le=\"1.5\"} 0",
            "mgw_word_lag_seconds_bucket{profile=\"7777\",target=\"es\",le=\"2\"} 2",
            "mgw_word_lag_seconds_count{profile=\"7777\",target=\"es\"} 4",
            "mgw_segment_lag_seconds_sum{profile=\"7777\",target=\"es\"} 2.3",
            "mgw_start_offset_seconds_sum{profile=\"7777\",target=\"es\"} 1.5",
            "mgw_laal_seconds_count{profile=\"7777\",target=\"es\"} 1",
            "mgw_atd_seconds_count{profile=\"7777\",target=\"es\"} 1",
        ] {
            assert!(text.contains(&format!("{line}\n")), "{line}\n{text}");
        }
        assert!(!text.contains("secret"));
    }
}
