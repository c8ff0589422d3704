//! Cuts and repetitions leave no step.

use super::super::Config;
use super::super::queue::{Entry, Kind, Queue};
use super::super::scale::Scaler;
use super::relay::{Random, run, send};
use super::rules::vowel;

fn queue(samples: &[i16]) -> Queue {
    let mut queue = Queue::new(4096, 16);
    let entry = Entry { sequence: 0, from: 0, to: samples.len() as i64, kind: Kind::Audio, start: false };
    assert_eq!(queue.insert(entry, samples), Ok(samples.len()));
    queue
}

/// The largest step between neighbours.
fn step(samples: &[i16]) -> u16 {
    samples.windows(2).map(|w| w[0].abs_diff(w[1])).max().unwrap_or(0)
}

#[test]
fn what_is_before_a_cut_fades_into_what_is_behind_it() {
    let signal: Vec<i16> = (0..1000_i32).map(|i| ((i - 330) * 200).clamp(0, 8000) as i16).collect();
    let mut queue = queue(&signal);
    Scaler::remove(&mut queue, 300, 100, 40);
    let mut heard = signal[..300].to_vec();
    heard.resize(900, 0);
    queue.read(400, &mut heard[300..]);
    assert!(step(&heard) <= 500, "{}", step(&heard));
    assert_eq!(heard[340..900], signal[440..1000]);
}

#[test]
fn what_is_repeated_begins_where_speech_was_about_to_go_on() {
    let signal: Vec<i16> = (0..1000).map(|i| i * 8).collect();
    let mut queue = queue(&signal);
    Scaler::insert(&mut queue, 500, &signal[..500], 100, 40);
    let mut heard = signal[..500].to_vec();
    heard.resize(1100, 0);
    queue.read(400, &mut heard[500..]);
    assert!(step(&heard) <= 40, "{}", step(&heard));
    assert_eq!(heard[540..600], signal[440..500]);
    assert_eq!(heard[600..], signal[500..]);
    assert_eq!(queue.received_in(400, 1000), 500, "what was heard of the packet is not heard again");
}

#[test]
fn a_hole_in_a_voice_sounds_like_the_voice() {
    let signal = vowel(10);
    let mut packets = send(16_000, signal.len(), &[20], 0, 0);
    let mut random = Random::new(3);
    let mut lost = Vec::new();
    packets.retain(|p| {
        let lose = p.at > 200_000 && p.at % 100_000 == 0 && random.percent(70);
        lost.extend(lose.then_some(p.timestamp as usize));
        !lose
    });
    let run = run(Config::new(16_000), packets, &signal, 20, 0);
    let delay = run.stats.silence_samples as usize;
    let (mut power, mut error) = (0.0, 0.0);
    for at in &lost {
        for (said, heard) in signal[*at..at + 320].iter().zip(&run.out[at + delay..]) {
            power += f64::from(*said).powi(2);
            error += (f64::from(*said) - f64::from(*heard)).powi(2);
        }
    }
    let db = 10.0 * (power / error).log10();
    assert!(lost.len() > 40 && db > 10.0, "{db:.1} dB in {} holes", lost.len());
}
