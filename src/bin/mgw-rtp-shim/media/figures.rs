//! What a leg tells about itself: published by the clock thread once a second, read by `/calls` and `/metrics`.

use serde::Serialize;

/// Mean square of full scale, for levels in dBFS (0 dBFS is a full-scale square wave).
const FULL_SCALE: f64 = 32_768.0 * 32_768.0;
/// Level told for digital silence.
const FLOOR_DB: f64 = -96.0;

/// Figures of one leg. Counters are of the whole leg, levels of the last second.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Figures {
    /// `slin16`, `ulaw` and so on.
    pub format: &'static str,
    /// Where the peer is, as Asterisk named it.
    #[serde(serialize_with = "text")]
    pub peer: std::sync::Arc<str>,
    pub local_port: u16,
    pub frames_in: u64,
    pub frames_out: u64,
    /// Frames that the system did not take, for example because the peer does not read.
    pub frames_not_sent: u64,
    /// Seconds since the last packet or message came; absent before the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub silent_s: Option<f64>,
    /// Mean level of the last second in dBFS.
    pub level_in_dbfs: f64,
    pub level_out_dbfs: f64,
    pub dtmf_digits: u64,
    /// Only of legs over RTP.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub rtp: Option<RtpFigures>,
}

fn text<S: serde::Serializer>(text: &str, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(text)
}

/// What only RTP has.
#[derive(Clone, Debug, Default, Serialize)]
pub struct RtpFigures {
    pub packets_lost: u64,
    pub packets_duplicate: u64,
    pub packets_reordered: u64,
    pub packets_late: u64,
    /// Not RTP, of another payload type, of another SSRC, or against RFC 3550's rules.
    pub packets_rejected: u64,
    /// From other addresses than the peer's; the kernel drops them.
    pub strangers: u64,
    /// RFC 3550 A.8.
    pub jitter_ms: f64,
    pub buffer_ms: f64,
    pub buffer_target_ms: f64,
    pub concealed_ms: f64,
    pub inserted_ms: f64,
    pub removed_ms: f64,
    pub source_restarts: u64,
    /// From RTCP, where the peer speaks it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub round_trip_ms: Option<f64>,
}

/// Mean level since it was last asked.
#[derive(Debug, Default)]
pub struct Level {
    sum: f64,
    samples: u64,
}

impl Level {
    pub fn add(&mut self, samples: &[i16]) {
        // A square fits 32 bits, and products of 32 bits are what vector units have.
        let sum: i64 = samples.iter().map(|&s| i64::from(i32::from(s) * i32::from(s))).sum();
        self.sum += sum as f64;
        self.samples += samples.len() as u64;
    }

    /// In dBFS; begins anew.
    pub fn take(&mut self) -> f64 {
        let mean = if self.samples == 0 { 0.0 } else { self.sum / self.samples as f64 };
        *self = Level::default();
        if mean <= 0.0 { FLOOR_DB } else { (10.0 * (mean / FULL_SCALE).log10()).max(FLOOR_DB) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_in_dbfs_and_begin_anew() {
        let mut level = Level::default();
        level.add(&[i16::MIN; 320]);
        assert!(level.take().abs() < 0.01);
        level.add(&[3277, -3277]);
        assert!((level.take() + 20.0).abs() < 0.01);
        assert_eq!(level.take(), FLOOR_DB);
        level.add(&[0; 5]);
        assert_eq!(level.take(), FLOOR_DB);
    }
}
