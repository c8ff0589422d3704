//! One row per kind of bad network. In each: what was said is heard in order, nothing twice, and what arrived in time is heard.

use super::super::{Config, Got, Put};
use super::relay::{Load, Packet, Random, Run, marks, run, send, words};

const HZ: u32 = 16_000;
const SECOND: u64 = 1_000_000;

/// What the network does to packets that are sorted by their arrival.
type Network = fn(&mut Vec<Packet>, &mut Random);

struct Row {
    name: &'static str,
    network: Network,
    ptimes: &'static [usize],
    /// Words that may be damaged beside those whose packets were lost (while the buffer learns, or cut by a stall).
    spare: usize,
    /// Deepest that the buffer may be in the last second, in milliseconds.
    settled_ms: f64,
}

fn lose(percent: u64, packets: &mut Vec<Packet>, random: &mut Random) {
    let mut n = 0;
    packets.retain(|_| {
        n += 1;
        n < 10 || !random.percent(percent)
    });
}

/// Every twentieth packet comes after the next `by`.
fn swap(by: usize, packets: &mut [Packet]) {
    for i in (20..packets.len() - by).step_by(20) {
        packets[i].at = packets[i + by].at + 1;
    }
}

const ROWS: &[Row] = &[
    Row { name: "clean", network: |_, _| (), ptimes: &[20], spare: 0, settled_ms: 30.0 },
    Row { name: "1 % loss", network: |p, r| lose(1, p, r), ptimes: &[20], spare: 0, settled_ms: 30.0 },
    Row { name: "5 % loss", network: |p, r| lose(5, p, r), ptimes: &[20], spare: 0, settled_ms: 30.0 },
    Row { name: "20 % loss", network: |p, r| lose(20, p, r), ptimes: &[20], spare: 0, settled_ms: 30.0 },
    Row {
        name: "bursts of 200 ms lost",
        network: |p, _| p.retain(|p| p.at % (3 * SECOND) < 28 * SECOND / 10),
        ptimes: &[20],
        spare: 0,
        settled_ms: 30.0,
    },
    Row { name: "adjacent swapped", network: |p, _| swap(1, p), ptimes: &[20], spare: 0, settled_ms: 70.0 },
    Row { name: "swapped by three", network: |p, _| swap(3, p), ptimes: &[20], spare: 2, settled_ms: 110.0 },
    Row {
        name: "duplicates",
        network: |p, r| {
            for i in 0..p.len() {
                let twin = Packet { at: p[i].at + r.below(60_000), ..p[i].clone() };
                p.push(twin);
            }
        },
        ptimes: &[20],
        spare: 0,
        settled_ms: 30.0,
    },
    Row {
        name: "50 ms jitter",
        network: |p, r| p.iter_mut().for_each(|p| p.at += r.below(50_000)),
        ptimes: &[20],
        spare: 3,
        settled_ms: 100.0,
    },
    Row {
        name: "stalls of 300 ms, then a burst",
        network: |p, _| {
            for packet in p {
                let into = packet.at % (20 * SECOND);
                if (SECOND / 2..SECOND / 2 + 300_000).contains(&into) {
                    packet.at += SECOND / 2 + 300_000 - into;
                }
            }
        },
        ptimes: &[20],
        spare: 3,
        // Eight seconds after a stall the delay was shed again.
        settled_ms: 40.0,
    },
    Row { name: "10 ms packets", network: |_, _| (), ptimes: &[10], spare: 0, settled_ms: 30.0 },
    Row { name: "30 ms packets", network: |_, _| (), ptimes: &[30], spare: 0, settled_ms: 50.0 },
    Row { name: "60 ms packets", network: |_, _| (), ptimes: &[60], spare: 0, settled_ms: 70.0 },
    Row { name: "mixed packets", network: |_, _| (), ptimes: &[20, 10, 30, 5, 20], spare: 0, settled_ms: 55.0 },
    Row {
        name: "mixed packets, 5 % loss, 20 ms jitter",
        network: |p, r| {
            lose(5, p, r);
            p.iter_mut().for_each(|p| p.at += r.below(20_000));
        },
        ptimes: &[20, 10, 30],
        spare: 2,
        settled_ms: 75.0,
    },
];

fn through(row: &Row, signal: &[i16], seed: u64, phase: u64) -> Run {
    // Both numbers wrap on the way.
    let mut packets = send(HZ, signal.len(), row.ptimes, 0xFFFF - 100, u32::MAX - 3 * HZ);
    (row.network)(&mut packets, &mut Random::new(seed));
    run(Config::new(HZ), packets, signal, 20, phase)
}

/// Whether a stretch of the signal reached the buffer in time.
fn arrived(run: &Run, from: usize, to: usize) -> bool {
    let there: usize = run
        .puts
        .iter()
        .filter(|(_, _, put)| *put == Put::Queued)
        .map(|(at, len, _)| (at + len).min(to).saturating_sub(from.max(*at)))
        .sum();
    there == to - from
}

#[test]
fn every_word_that_arrived_is_heard() {
    let (signal, said) = words(HZ, 320);
    for row in ROWS {
        for (seed, phase) in [(1, 0), (2, 7_300)] {
            let run = through(row, &signal, seed, phase);
            let heard = run.words();
            let name = format!("{}, seed {seed}: {:?}", row.name, run.stats);
            let mut rest = said.iter();
            for word in &heard {
                assert!(rest.any(|w| w.n == *word), "word {word} out of order or twice: {name}");
            }
            // The end of a concealment fades into the first milliseconds of what follows it.
            let whole = said.iter().filter(|w| arrived(&run, w.from.saturating_sub(HZ as usize / 50), w.to));
            let missing: Vec<u16> = whole.map(|w| w.n).filter(|n| !heard.contains(n)).collect();
            assert!(missing.len() <= row.spare, "words {missing:?} not heard: {name}");
            let settled = run.depth_ms[run.depth_ms.len() - 75..].iter().fold(0.0_f64, |a, b| a.max(*b));
            assert!(settled <= row.settled_ms, "{settled} ms deep at the end: {name}");
            assert_eq!(run.stats.resyncs + run.stats.overflow, 0, "{name}");
            let swapped = row.name.contains("swapped") || row.name.contains("jitter");
            assert_eq!(run.stats.reordered > 0, swapped, "{name}");
            let doubled = if row.name == "duplicates" { run.stats.received / 2 } else { 0 };
            assert_eq!(run.stats.duplicates, doubled, "{name}");
        }
    }
}

#[test]
fn every_sample_that_arrived_is_heard_once() {
    let signal = marks(20 * HZ as usize);
    for row in ROWS {
        let run = through(row, &signal, 4, 5_000);
        let heard = run.heard(&signal);
        let name = format!("{}: {:?}", row.name, run.stats);
        let twice = heard.iter().filter(|n| **n > 1).count() as u64;
        // A concealment repeats what was heard.
        let made_up = run.stats.inserted_samples + run.stats.concealed_samples + run.stats.pending_samples;
        assert!(twice <= made_up, "{twice} samples twice: {name}");
        let mut silent = 0;
        for (from, len, put) in &run.puts {
            // Up to 10 ms of a packet behind a concealment fade in, and five samples are needed to tell a place.
            let edge = HZ as usize / 100 + 5;
            let rest = (from + edge.min(len / 2)..from + len - 5).filter(|i| heard[*i] == 0).count();
            silent += if *put == Put::Queued { rest } else { 0 };
        }
        // Where a piece was taken out or repeated, up to its own length is blended.
        let blended = 2 * (run.stats.removed_samples + run.stats.inserted_samples) as usize;
        assert!(silent <= blended, "{silent} samples that arrived were not heard, {blended} may be: {name}");
    }
}

#[test]
fn loss_is_concealed_and_counted() {
    let (signal, _) = words(HZ, 320);
    for row in ROWS.iter().filter(|r| r.name.contains("los") && r.ptimes.len() == 1) {
        let mut packets = send(HZ, signal.len(), row.ptimes, 0, 0);
        let sent = packets.len();
        (row.network)(&mut packets, &mut Random::new(8));
        // Losses at the very end cannot be seen.
        let last = packets.last().map_or(0, |p| p.sequence) + 1;
        let lost = last - packets.len() as u64;
        assert!(lost > 0 && sent as u64 >= last);
        let run = run(Config::new(HZ), packets, &signal, 20, 0);
        assert_eq!(run.stats.lost, lost, "{}: {:?}", row.name, run.stats);
        assert_eq!(run.stats.concealed_samples, lost * u64::from(HZ) / 50, "{}: {:?}", row.name, run.stats);
        assert_eq!((run.stats.inserted_samples, run.stats.removed_samples, run.stats.late), (0, 0, 0), "{}", row.name);
        assert!(run.got.contains(&Got::Concealed));
    }
}

#[test]
fn a_stall_is_played_late_and_its_delay_is_shed() {
    let row = ROWS.iter().find(|r| r.name.starts_with("stalls")).expect("the row");
    let (signal, _) = words(HZ, 320);
    let run = through(row, &signal, 1, 0);
    let stats = run.stats;
    assert_eq!((stats.late, stats.lost, stats.overflow), (0, 0, 0), "{stats:?}");
    assert_eq!(stats.underruns, 3, "{stats:?}");
    let net = stats.inserted_samples.abs_diff(stats.removed_samples);
    assert!(net <= u64::from(HZ) / 50, "{stats:?}");
    let deepest = run.depth_ms.iter().fold(0.0_f64, |a, b| a.max(*b));
    assert!((280.0..350.0).contains(&deepest), "{deepest}");
}

#[test]
fn load_that_is_no_audio_is_not_missed() {
    let signal = marks(2 * HZ as usize);
    let mut packets = send(HZ, signal.len(), &[20], 0, 0);
    for packet in packets.iter_mut().skip(40).take(10) {
        packet.load = Load::Other;
    }
    let run = run(Config::new(HZ), packets, &signal, 20, 0);
    assert_eq!((run.stats.lost, run.stats.resyncs), (0, 0), "{:?}", run.stats);
    assert_eq!(run.stats.played_samples, 90 * 320, "{:?}", run.stats);
    assert_eq!(run.stats.concealed_samples, 0, "{:?}", run.stats);
}
