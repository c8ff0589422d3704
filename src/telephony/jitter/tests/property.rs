//! Any script of arrivals: no panic, every frame filled, counters that add up, bounded depth.

use std::time::Duration;

use proptest::prelude::*;

use super::super::{Config, JitterBuffer};
use super::relay::check;

#[derive(Clone, Debug)]
enum Step {
    Put { number: i64, time: i64, len: usize },
    Noise { number: i64, time: i64, level: u8 },
    Other { number: i64 },
    Restart,
    Get { len: usize },
    Pass { micros: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    let number = prop_oneof![8 => -4_i64..6, 1 => -100_i64..100, 1 => any::<i64>()];
    let time = prop_oneof![8 => -4_i64..6, 1 => -1000_i64..1000, 1 => any::<i64>()];
    let len = prop_oneof![8 => Just(160_usize), 4 => 0_usize..500, 1 => 0_usize..9000];
    prop_oneof![
        8 => (number.clone(), time.clone(), len).prop_map(|(number, time, len)| Step::Put { number, time, len }),
        1 => (number.clone(), time, any::<u8>()).prop_map(|(number, time, level)| Step::Noise { number, time, level }),
        1 => number.prop_map(|number| Step::Other { number }),
        1 => Just(Step::Restart),
        8 => prop_oneof![6 => Just(160_usize), 2 => 0_usize..2000, 1 => 0_usize..20_000].prop_map(|len| Step::Get { len }),
        4 => prop_oneof![6 => Just(20_000_u64), 2 => 0_u64..500_000, 1 => 0_u64..100_000_000_000]
            .prop_map(|micros| Step::Pass { micros }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_script_holds(
        hz in prop_oneof![Just(8_000_u32), Just(16_000), Just(48_000)],
        min_ms in 0_u32..500,
        max_ms in 0_u32..1000,
        paced in any::<bool>(),
        steps in prop::collection::vec(step(), 1..300),
    ) {
        let mut buffer = JitterBuffer::new(Config { hz, min_ms, max_ms });
        let mut now = Duration::ZERO;
        let (mut sequence, mut timestamp) = (1000_i64, 0_i64);
        let mut asked = 0;
        let audio: Vec<i16> = (0..20_000_i32).map(|i| (i * 7919 % 65_536 - 32_768) as i16).collect();
        for step in steps {
            match step {
                Step::Put { number, time, len } => {
                    let s = sequence.wrapping_add(number) as u64;
                    let t = timestamp.wrapping_add(time.wrapping_mul(160)) as u32;
                    buffer.put(now, s, t, &audio[..len]);
                    sequence += 1;
                    timestamp += 160;
                }
                Step::Noise { number, time, level } => {
                    let t = timestamp.wrapping_add(time.wrapping_mul(160)) as u32;
                    buffer.comfort_noise(now, sequence.wrapping_add(number) as u64, t, level);
                }
                Step::Other { number } => buffer.not_audio(sequence.wrapping_add(number) as u64),
                Step::Restart => buffer.restart(),
                Step::Get { len } => {
                    // What is not written would show.
                    let mut out = vec![12_345_i16; len];
                    buffer.get(now, &mut out);
                    asked += len as u64;
                    if paced {
                        now += Duration::from_micros(len as u64 * 1_000_000 / u64::from(hz));
                    }
                }
                Step::Pass { micros } => now += Duration::from_micros(micros),
            }
            let stats = buffer.stats();
            check(&stats);
            prop_assert_eq!(stats.output_samples, asked);
            prop_assert!(stats.depth_ms <= f64::from(max_ms.max(60)) + 0.1, "{:?}", stats);
        }
    }
}
