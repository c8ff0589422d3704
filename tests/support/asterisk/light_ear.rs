//! The ear of a light phone: RTP packets as a recording.

use std::time::{Duration, Instant};

use super::light::State;
use super::light_sip::L16;
use super::phones::RATE;

/// A timestamp that is so many seconds from where the clock is belongs to another time line.
const JUMP: i64 = 2;

/// Puts packets where their timestamps say.
#[derive(Default)]
pub(super) struct Ear {
    begin: Option<Instant>,
    /// Source and payload type, its first timestamp, and where that lies in the recording.
    source: Option<((u32, u8), u32, usize)>,
    /// Arrival beyond what the timestamp says, of the fastest packet, in seconds.
    fastest: f64,
}

impl Ear {
    pub(super) fn place(&mut self, packet: &[u8], state: &mut State) {
        let number = |at: usize| u32::from_be_bytes([packet[at], packet[at + 1], packet[at + 2], packet[at + 3]]);
        // A sample at 8 kHz is two of ours.
        let wide = packet[1] & 0x7f == L16;
        let (timestamp, source) = (number(4), (number(8), packet[1] & 0x7f));
        let begin = *self.begin.get_or_insert_with(Instant::now);
        state.packets += 1;
        let now = (begin.elapsed().as_secs_f64() * f64::from(RATE)) as usize;
        let scale = if wide { 1 } else { 2 };
        let offset = |first: u32| i64::from(timestamp.wrapping_sub(first) as i32) * scale;
        let (first, base) = match self.source {
            // Asterisk takes the timestamps over from whoever speaks: a jump is another speaker, not another time.
            Some((known, first, base))
                if known == source && (base as i64 + offset(first) - now as i64).abs() < JUMP * i64::from(RATE) =>
            {
                (first, base)
            }
            _ => {
                // A new source has a new clock: it begins now, behind what was there.
                let base = now.max(state.heard.len());
                self.source = Some((source, timestamp, base));
                (timestamp, base)
            }
        };
        // Signed: a packet that overtook the first one is before it, and an hour ahead is no packet of this call.
        let Ok(at) = usize::try_from(base as i64 + offset(first)) else { return };
        if at > state.heard.len() + 3600 * RATE as usize {
            return;
        }
        let transit = begin.elapsed().as_secs_f64() - at as f64 / f64::from(RATE);
        self.fastest = self.fastest.min(transit);
        state.came.note(Duration::from_secs_f64(transit - self.fastest));
        let line: Vec<i16> = packet[12..].chunks_exact(2).map(|b| i16::from_be_bytes([b[0], b[1]])).collect();
        let samples = if wide { line } else { doubled(&line) };
        let end = at + samples.len();
        if state.heard.len() < end {
            state.heard.resize(end, 0);
        }
        state.heard[at..end].iter_mut().zip(samples).for_each(|(to, from)| *to = from);
    }
}

/// Twice as many samples, those between by their neighbours' mean.
fn doubled(samples: &[i16]) -> Vec<i16> {
    let next = |i: usize| i32::from(samples[(i + 1).min(samples.len() - 1)]);
    let between = |i: usize| ((i32::from(samples[i]) + next(i)) / 2) as i16;
    (0..samples.len()).flat_map(|i| [samples[i], between(i)]).collect()
}
