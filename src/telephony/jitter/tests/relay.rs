//! A sender, a bad network, and an ear.

use std::collections::HashMap;
use std::time::Duration;

use super::super::{Config, Got, JitterBuffer, JitterStats, Put};
use crate::codec::{self, Decoder, Heard, Token};

/// xorshift64*.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    pub fn percent(&mut self, percent: u64) -> bool {
        self.below(1000) < percent * 10
    }
}

/// What a packet carries.
#[derive(Clone)]
pub enum Load {
    /// A piece of the signal: from, length.
    Audio(usize, usize),
    Noise(u8),
    Other,
    /// The stream goes on under another SSRC after this.
    Restart,
}

#[derive(Clone)]
pub struct Packet {
    /// Arrival in microseconds.
    pub at: u64,
    pub sequence: u64,
    pub timestamp: u32,
    pub load: Load,
}

/// The signal in packets of the given lengths in turn, each arriving when its first sample is `at` its place.
pub fn send(hz: u32, signal: usize, ptimes: &[usize], sequence: u64, timestamp: u32) -> Vec<Packet> {
    let mut packets = Vec::new();
    let mut from = 0;
    for (i, ptime) in ptimes.iter().cycle().enumerate() {
        let len = ptime * hz as usize / 1000;
        if from + len > signal {
            break;
        }
        packets.push(Packet {
            at: from as u64 * 1_000_000 / u64::from(hz),
            sequence: sequence + i as u64,
            timestamp: timestamp.wrapping_add(from as u32),
            load: Load::Audio(from, len),
        });
        from += len;
    }
    packets
}

/// What came out.
pub struct Run {
    pub hz: u32,
    pub out: Vec<i16>,
    pub got: Vec<Got>,
    pub puts: Vec<(usize, usize, Put)>,
    pub stats: JitterStats,
    /// After each frame.
    pub depth_ms: Vec<f64>,
}

/// Both identities of the counters.
pub fn check(stats: &JitterStats) {
    let s = stats;
    assert_eq!(
        s.output_samples,
        s.played_samples + s.concealed_samples + s.inserted_samples + s.silence_samples + s.pending_samples,
        "what went out: {s:?}"
    );
    assert_eq!(
        s.received_samples,
        s.played_samples
            + s.removed_samples
            + s.late_samples
            + s.overflow_samples
            + s.duplicate_samples
            + s.queued_samples,
        "what came in: {s:?}"
    );
}

/// Ticks every `frame_ms`, the first at `phase` microseconds, for half a second after the last packet.
pub fn run(config: Config, mut packets: Vec<Packet>, signal: &[i16], frame_ms: u64, phase: u64) -> Run {
    packets.sort_by_key(|p| p.at);
    let end = packets.last().map_or(0, |p| p.at) + 500_000;
    let mut buffer = JitterBuffer::new(config);
    let mut frame = vec![0; (u64::from(config.hz) * frame_ms / 1000) as usize];
    let mut run = Run {
        hz: config.hz,
        out: Vec::new(),
        got: Vec::new(),
        puts: Vec::new(),
        stats: buffer.stats(),
        depth_ms: Vec::new(),
    };
    let mut waiting = packets.into_iter().peekable();
    let mut now = phase;
    while now < end {
        let time = Duration::from_micros(now);
        while let Some(p) = waiting.next_if(|p| p.at <= now) {
            match p.load {
                Load::Audio(from, len) => {
                    let put = buffer.put(time, p.sequence, p.timestamp, &signal[from..from + len]);
                    run.puts.push((from, len, put));
                }
                Load::Noise(level) => buffer.comfort_noise(time, p.sequence, p.timestamp, level),
                Load::Other => buffer.not_audio(p.sequence),
                Load::Restart => buffer.restart(),
            }
            check(&buffer.stats());
        }
        run.got.push(buffer.get(time, &mut frame));
        run.out.extend_from_slice(&frame);
        run.stats = buffer.stats();
        check(&run.stats);
        assert!(run.stats.depth_ms <= f64::from(config.max_ms) + 1e-6, "too deep: {:?}", run.stats);
        run.depth_ms.push(run.stats.depth_ms);
        now += frame_ms * 1000;
    }
    run
}

/// A word: its number and where it lies in the signal.
pub struct Word {
    pub n: u16,
    pub from: usize,
    pub to: usize,
}

/// Coded speech of so many words.
pub fn words(hz: u32, count: u16) -> (Vec<i16>, Vec<Word>) {
    let mut signal = Vec::new();
    let mut words = Vec::new();
    for i in 0..count {
        let n = i * 37 % codec::WORDS;
        let from = signal.len();
        codec::encode(Token { lang: 0, n }, hz, -10.0, &mut signal);
        words.push(Word { n, from, to: signal.len() });
        codec::silence(codec::GAP_S, hz, &mut signal);
    }
    (signal, words)
}

/// A signal that is different everywhere, so that each sample's place can be told from it.
pub fn marks(len: usize) -> Vec<i16> {
    let mut random = Random::new(99);
    (0..len).map(|_| (random.below(16_000) as i16) - 8_000).collect()
}

impl Run {
    /// The words that were heard, in order.
    pub fn words(&self) -> Vec<u16> {
        let mut decoder = Decoder::new(self.hz);
        let mut heard = decoder.feed(&self.out);
        heard.extend(decoder.finish());
        heard.iter().filter_map(|h| if let Heard::Word { token, .. } = h { Some(token.n) } else { None }).collect()
    }

    /// For a signal of [`marks`]: for every sample of the signal how often it was heard as it was. What was heard is in order:
    /// outside of concealments it goes back by no more than was inserted on purpose.
    pub fn heard(&self, signal: &[i16]) -> Vec<u8> {
        const KEY: usize = 5;
        let places: HashMap<&[i16], usize> = signal.windows(KEY).enumerate().map(|(i, w)| (w, i)).collect();
        let mut heard = vec![0_u8; signal.len()];
        let mut last = None;
        let mut back = 0;
        let frame = self.out.len() / self.got.len();
        for (i, window) in self.out.windows(KEY).enumerate() {
            let Some(&place) = places.get(window) else { continue };
            heard[place] += 1;
            if self.got[i / frame] == Got::Concealed || self.got[(i + KEY) / frame] == Got::Concealed {
                continue;
            }
            if let Some(last) = last.filter(|last| place <= *last) {
                back += last - place + 1;
            }
            last = Some(place);
        }
        assert!(back as u64 <= self.stats.inserted_samples, "out of order by {back} samples: {:?}", self.stats);
        heard
    }
}
