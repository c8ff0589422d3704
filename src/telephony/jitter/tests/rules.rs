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

/// A vowel of 125 to 160 Hz without any pause.
pub fn vowel(seconds: usize) -> Vec<i16> {
    let mut phase = 0.0_f64;
    (0..seconds * HZ as usize)
        .map(|i| {
            let t = i as f64 / f64::from(HZ);
            phase += (142.0 + 18.0 * (t * 2.0).sin()) / f64::from(HZ) * std::f64::consts::TAU;
            (1..12).map(|k| (phase * f64::from(k)).sin() * 4000.0 / f64::from(k)).sum::<f64>() as i16
        })
        .collect()
}

/// Largest bend (second difference) of a stretch.
fn roughness(samples: &[i16]) -> i32 {
    samples.windows(3).map(|w| (i32::from(w[0]) - 2 * i32::from(w[1]) + i32::from(w[2])).abs()).max().unwrap_or(0)
}

#[test]
fn without_pauses_delay_is_shed_by_single_periods() {
    let signal = vowel(25);
    let mut packets = send(HZ, signal.len(), &[20], 0, 0);
    for packet in packets.iter_mut().filter(|p| (2_000_000..2_200_000).contains(&p.at)) {
        packet.at = 2_200_000;
    }
    let run = run(Config::new(HZ), packets, &signal, 20, 0);
    let stats = run.stats;
    assert_eq!((stats.underruns, stats.lost, stats.late), (1, 0, 0), "{stats:?}");
    // Ten seconds after the stall it begins; at most a tenth of the speech is taken.
    let left = stats.inserted_samples - stats.removed_samples;
    assert!(left <= u64::from(HZ) / 50, "{stats:?}");
    let depth = |second: usize| run.depth_ms[second * 50];
    assert!(depth(9) > 180.0 && depth(20) < 40.0, "{} {}", depth(9), depth(20));
    for second in 10..20 {
        assert!(depth(second) - depth(second + 1) <= 100.0, "{:?}", &run.depth_ms);
    }
    let smooth = roughness(&signal);
    let shed = &run.out[9 * HZ as usize..24 * HZ as usize];
    assert!(roughness(shed) <= smooth * 3 / 2, "{} instead of {smooth}", roughness(shed));
}

#[test]
fn without_pauses_time_is_gained_by_single_periods() {
    // The sender's clock is 0.3 % slow.
    let signal = vowel(20);
    let mut packets = send(HZ, signal.len(), &[20], 0, 0);
    for packet in &mut packets {
        packet.at += packet.at * 3 / 1000;
    }
    let run = run(Config::new(HZ), packets, &signal, 20, 0);
    let stats = run.stats;
    assert_eq!(
        (stats.underruns, stats.concealed_samples, stats.late, stats.removed_samples),
        (0, 0, 0, 0),
        "{stats:?}"
    );
    let lacking = 20 * u64::from(HZ) * 3 / 1000;
    assert!(stats.inserted_samples.abs_diff(lacking) <= u64::from(HZ) / 50, "{stats:?}");
    let smooth = roughness(&signal);
    let played = &run.out[HZ as usize..19 * HZ as usize];
    assert!(roughness(played) <= smooth * 3 / 2, "{} instead of {smooth}", roughness(played));
}

#[test]
fn a_stall_beyond_the_bound_drops_the_oldest_and_a_larger_bound_nothing() {
    for (max_ms, whole) in [(400, false), (2_000, true)] {
        let (signal, said) = words(HZ, 240);
        let mut packets = send(HZ, signal.len(), &[20], 0, 0);
        for packet in packets.iter_mut().filter(|p| (2_000_000..3_500_000).contains(&p.at)) {
            packet.at = 3_500_000;
        }
        let run = run(Config { max_ms, ..Config::new(HZ) }, packets, &signal, 20, 0);
        let stats = run.stats;
        assert_eq!(stats.overflow > 0, !whole, "{stats:?}");
        // Of 1500 ms the oldest 1100 go.
        let gone = u64::from(HZ) * 11 / 10;
        assert!(stats.overflow_samples.abs_diff(if whole { 0 } else { gone }) <= 640, "{stats:?}");
        let heard = run.words();
        let missing = said.iter().filter(|w| !heard.contains(&w.n)).count();
        assert!(missing <= if whole { 1 } else { 9 }, "{missing} words missing: {stats:?}");
        let last = run.depth_ms[run.depth_ms.len() - 75];
        assert!(last <= 40.0, "{last} ms deep at the end: {stats:?}");
    }
}

#[test]
fn a_longer_way_is_followed() {
    // From the third second on every packet is 600 ms later, which is more than the buffer holds.
    let (signal, said) = words(HZ, 200);
    let mut packets = send(HZ, signal.len(), &[20], 0, 0);
    packets.iter_mut().filter(|p| p.at >= 3_000_000).for_each(|p| p.at += 600_000);
    let run = run(Config::new(HZ), packets, &signal, 20, 0);
    let stats = run.stats;
    // The stream comes back without any delay in hand, which is gained soon.
    assert!(stats.underruns <= 2 && stats.inserted_samples <= u64::from(HZ) * 64 / 100, "{stats:?}");
    assert_eq!((stats.late, stats.lost, stats.overflow), (0, 0, 0), "{stats:?}");
    let heard = run.words();
    let missing = said.iter().filter(|w| !heard.contains(&w.n)).count();
    assert!(missing <= 2, "{missing} words missing: {stats:?}");
}

#[test]
fn a_reader_that_pauses_finds_everything() {
    // 200 ms without a tick, then the ticks that were missed all at once.
    let (signal, said) = words(HZ, 100);
    let mut buffer = JitterBuffer::new(Config::new(HZ));
    let mut out = Vec::new();
    let mut frame = [0; FRAME];
    for (i, samples) in signal.chunks_exact(FRAME).enumerate() {
        let i = i as u64;
        let pause = (150..160).contains(&i);
        // The time of receipt is the kernel's.
        buffer.put(ms(20 * i), i, i as u32 * FRAME as u32, samples);
        let ticks = if pause {
            0
        } else if i == 160 {
            11
        } else {
            1
        };
        for _ in 0..ticks {
            buffer.get(ms(20 * i), &mut frame);
            out.extend_from_slice(&frame);
        }
    }
    let stats = buffer.stats();
    check(&stats);
    let delay = stats.silence_samples as usize;
    assert_eq!((stats.concealed_samples, stats.inserted_samples, stats.late), (0, 0, 0), "{stats:?}");
    assert_eq!(stats.removed_samples, 0, "{stats:?}");
    assert_eq!(out[delay..], signal[..out.len() - delay], "{} words", said.len());
}
