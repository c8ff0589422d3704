//! What is measured on the round trip through Asterisk: the form of its packets, and a tone.

use std::f64::consts::TAU;

use mgw::telephony::rtp::Packet;

/// The probe's tone.
pub const TONE_HZ: f64 = 1000.0;
/// Its level in dBFS, against a full-scale square wave as everywhere here.
pub const TONE_DBFS: f64 = -20.0;

/// A tone of `count` samples from sample `from` on.
pub fn tone(hz: u32, from: usize, count: usize) -> Vec<i16> {
    // The power of a sine is half that of its peak squared.
    let peak = 32_768.0 * 10f64.powf(TONE_DBFS / 20.0) * 2f64.sqrt();
    (from..from + count).map(|n| (peak * (TAU * TONE_HZ * n as f64 / f64::from(hz)).sin()).round() as i16).collect()
}

/// Level of the tone alone in dBFS (Goertzel), and of everything.
pub fn levels(samples: &[i16], hz: u32) -> (f64, f64) {
    let n = samples.len().max(1) as f64;
    let w = TAU * TONE_HZ / f64::from(hz);
    let (mut s1, mut s2, mut power) = (0.0, 0.0, 0.0);
    for &sample in samples {
        let x = f64::from(sample) / 32_768.0;
        let s0 = x + 2.0 * w.cos() * s1 - s2;
        (s2, s1) = (s1, s0);
        power += x * x;
    }
    let tone = 2.0 * (s1 * s1 + s2 * s2 - 2.0 * w.cos() * s1 * s2) / (n * n);
    let db = |p: f64| 10.0 * p.max(1e-10).log10();
    (db(tone), db(power / n))
}

/// The form of a stream, as its packets show it.
#[derive(Debug, Default)]
pub struct Form {
    pub packets: usize,
    pub payload_type: Option<u8>,
    pub payload_bytes: Option<usize>,
    pub step: Option<u32>,
    /// Packets that differ from the first in type or size, or leave the sequence.
    pub odd: usize,
    last: Option<(u16, u32)>,
}

impl Form {
    pub fn take(&mut self, packet: &Packet<'_>) {
        self.packets += 1;
        let (kind, bytes) = (packet.payload_type, packet.payload.len());
        self.odd += usize::from(*self.payload_type.get_or_insert(kind) != kind);
        self.odd += usize::from(*self.payload_bytes.get_or_insert(bytes) != bytes);
        if let Some((sequence, timestamp)) = self.last {
            self.odd += usize::from(packet.sequence != sequence.wrapping_add(1));
            self.step.get_or_insert(packet.timestamp.wrapping_sub(timestamp));
        }
        self.last = Some((packet.sequence, packet.timestamp));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tone_has_its_level_and_noise_has_not() {
        let (tone_level, all) = levels(&tone(8000, 0, 8000), 8000);
        assert!((tone_level - TONE_DBFS).abs() < 0.1 && (all - TONE_DBFS).abs() < 0.1, "{tone_level} {all}");
        // Swapped bytes are loud, but hardly a tone.
        let swapped: Vec<i16> = tone(16_000, 0, 16_000).iter().map(|s| s.swap_bytes()).collect();
        let (tone_level, all) = levels(&swapped, 16_000);
        assert!(all > -12.0 && tone_level < all - 2.0, "{tone_level} {all}");
    }

    #[test]
    fn the_form_of_a_stream_is_seen() {
        let mut form = Form::default();
        for n in 0..5u16 {
            let timestamp = u32::from(n) * 320;
            form.take(&Packet {
                payload_type: 118,
                marker: false,
                sequence: n,
                timestamp,
                ssrc: 1,
                payload: &[0; 640],
            });
        }
        assert_eq!((form.payload_type, form.payload_bytes, form.step, form.odd), (Some(118), Some(640), Some(320), 0));
        form.take(&Packet { payload_type: 0, marker: false, sequence: 9, timestamp: 0, ssrc: 1, payload: &[0; 160] });
        assert_eq!(form.odd, 3);
    }
}
