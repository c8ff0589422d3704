//! Single rules, with literal times.

use std::time::Duration;

use super::super::{Config, Got, JitterBuffer, Put};
use super::relay::{Load, Packet, check, marks, run, send, words};

const HZ: u32 = 16_000;
const FRAME: usize = 320;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

#[test]
fn the_beginning_is_whole_and_soon() {
    let signal = marks(FRAME * 10);
    for phase in [0, 1, 6_000, 13_000, 19_999] {
        let packets = send(HZ, signal.len(), &[20], 7, 7);
        let run = run(Config::new(HZ), packets, &signal, 20, phase);
        let delay = run.stats.silence_samples as usize;
        assert_eq!(run.out[delay..delay + signal.len()], signal, "phase {phase}: {:?}", run.stats);
        // 20 ms and 2 in hand, from the tick that saw the first packet.
        assert_eq!(delay, FRAME * 11 / 10, "phase {phase}");
    }
}

#[test]
fn before_the_first_packet_there_is_silence() {
    let mut buffer = JitterBuffer::new(Config::new(HZ));
    let mut frame = [1; FRAME];
    for i in 0..10 {
        assert_eq!(buffer.get(ms(20 * i), &mut frame), Got::Silence);
        assert_eq!(frame, [0; FRAME]);
    }
    assert_eq!(buffer.stats().silence_samples, 3200);
    check(&buffer.stats());
}

#[test]
fn a_packet_before_the_first_is_heard_before_it() {
    let signal = marks(FRAME * 6);
    let mut packets = send(HZ, signal.len(), &[20], 50, 1000);
    packets[0].at = 10_000;
    packets[1].at = 5_000;
    let run = run(Config::new(HZ), packets, &signal, 20, 20_000);
    let delay = run.stats.silence_samples as usize;
    assert_eq!(run.out[delay..delay + signal.len()], signal, "{:?}", run.stats);
    assert_eq!((run.stats.late, run.stats.lost), (0, 0));
}

/// Two seconds of speech, two of silence without packets, two of speech.
fn pause(noise: Option<u8>) -> (Vec<i16>, Vec<u16>, Vec<Packet>) {
    let (signal, said) = words(HZ, 20);
    let packets = send(HZ, signal.len(), &[20], 10, 50);
    let half = packets.len() / 2;
    let mut all = Vec::new();
    let mut sequence = 10;
    for (i, packet) in packets.into_iter().enumerate() {
        if i == half
            && let Some(level) = noise
        {
            for k in 0..4_u32 {
                let timestamp = packet.timestamp + k * 8_000;
                let at = packet.at + u64::from(k) * 500_000;
                all.push(Packet { at, sequence, timestamp, load: Load::Noise(level) });
                sequence += 1;
            }
        }
        let later = if i < half { 0 } else { 2 * HZ };
        all.push(Packet {
            at: packet.at + u64::from(later) * 1_000_000 / u64::from(HZ),
            sequence,
            timestamp: packet.timestamp + later,
            ..packet
        });
        sequence += 1;
    }
    (signal, said.iter().map(|w| w.n).collect(), all)
}

#[test]
fn a_silent_sender_is_silent() {
    for phase in [0, 4_000, 11_000] {
        let (signal, said, packets) = pause(None);
        let run = run(Config::new(HZ), packets, &signal, 20, phase);
        assert_eq!(run.words(), said, "{:?}", run.stats);
        let stats = run.stats;
        assert_eq!((stats.concealed_samples, stats.lost, stats.late, stats.resyncs), (0, 0, 0, 0), "{stats:?}");
        assert_eq!((stats.inserted_samples, stats.removed_samples), (0, 0), "{stats:?}");
        assert_eq!(stats.played_samples, stats.received_samples, "{stats:?}");
        assert!(run.got[110..180].iter().all(|g| *g == Got::Silence), "{:?}", run.got);
    }
}

#[test]
fn comfort_noise_has_the_announced_level() {
    let (signal, said, packets) = pause(Some(50));
    let run = run(Config::new(HZ), packets, &signal, 20, 0);
    assert_eq!(run.words(), said, "{:?}", run.stats);
    assert_eq!((run.stats.concealed_samples, run.stats.lost, run.stats.resyncs), (0, 0, 0), "{:?}", run.stats);
    assert!(run.got[100..185].iter().all(|g| *g == Got::Noise), "{:?}", run.got);
    let noise = &run.out[100 * FRAME..185 * FRAME];
    let power = noise.iter().map(|s| f64::from(*s).powi(2)).sum::<f64>() / noise.len() as f64;
    let level = 10.0 * (power / 32768.0_f64.powi(2)).log10();
    assert!((level + 50.0).abs() < 0.5, "{level} dBov");
}

#[test]
fn a_sender_that_restarts_is_played_on() {
    let (signal, said) = words(HZ, 30);
    let said: Vec<u16> = said.iter().map(|w| w.n).collect();
    // Another time scale under the same numbers, forwards and backwards, and another source with other numbers.
    for (timestamp, sequence, restart) in
        [(3_000_000_000_u32, 0, false), (0, 0, false), (90_000, 0, false), (77, 40_000, true), (50_000, 0, true)]
    {
        let mut packets = send(HZ, signal.len(), &[20], 100, 50_000);
        let half = packets.len() / 2;
        let at = packets[half].at;
        for packet in &mut packets[half..] {
            packet.timestamp = packet.timestamp.wrapping_add(timestamp);
            packet.sequence += sequence;
            if timestamp == 0 && !restart {
                packet.timestamp = packet.timestamp.wrapping_sub(100_000);
            }
        }
        if restart {
            packets.insert(half, Packet { at, sequence: 0, timestamp: 0, load: Load::Restart });
        }
        let run = run(Config::new(HZ), packets, &signal, 20, 3_000);
        let stats = run.stats;
        assert_eq!(stats.resyncs, 1, "{timestamp}: {stats:?}");
        assert_eq!(stats.played_samples, stats.received_samples, "{timestamp}: {stats:?}");
        assert_eq!((stats.concealed_samples, stats.lost), (0, 0), "{timestamp}: {stats:?}");
        let heard = run.words();
        // The wait for the delay may part one word.
        let missing = said.iter().filter(|n| !heard.contains(n)).count();
        assert!(missing <= 1, "{timestamp}: {missing} words missing: {stats:?}");
    }
}

#[test]
fn late_double_and_too_much() {
    let mut buffer = JitterBuffer::new(Config::new(HZ));
    let mut frame = [0; FRAME];
    assert_eq!(buffer.put(ms(0), 0, 0, &[9; FRAME]), Put::Queued);
    assert_eq!(buffer.put(ms(0), 0, 0, &[9; FRAME]), Put::Duplicate);
    assert_eq!(buffer.put(ms(0), 2, 640, &[9; FRAME]), Put::Queued);
    for i in 0..5 {
        buffer.get(ms(20 * i), &mut frame);
    }
    assert_eq!(buffer.put(ms(100), 1, 320, &[9; FRAME]), Put::Late);
    let stats = buffer.stats();
    assert_eq!((stats.late, stats.duplicates, stats.lost), (1, 1, 1), "{stats:?}");
    assert_eq!((stats.concealed_samples, stats.played_samples), (320, 640), "{stats:?}");
    check(&stats);
    let mut puts = Vec::new();
    for i in 3..40 {
        puts.push(buffer.put(ms(100), i, i as u32 * 320, &[9; FRAME]));
        check(&buffer.stats());
    }
    assert!(puts[..20].iter().all(|p| *p == Put::Queued), "{puts:?}");
    assert!(puts[20..].iter().all(|p| *p == Put::Overflow), "{puts:?}");
    let stats = buffer.stats();
    assert_eq!((stats.overflow, stats.overflow_samples), (17, 17 * 320), "{stats:?}");
    assert_eq!(buffer.put(ms(100), 99, 99 * 320, &[0; 100_000]), Put::Overflow);
    check(&buffer.stats());
}
