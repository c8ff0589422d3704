//! Whatever comes, however it is pulled: nothing lost, doubled, reordered, and every sample accounted for.

use proptest::prelude::*;

use super::*;

/// A segment of a script.
#[derive(Clone, Debug)]
struct Plan {
    /// Coded words in it, with so much silence before, behind and in the middle (ms).
    words: usize,
    silence: (u64, u64, u64),
    /// Milliseconds that it took to say, the pause before it, and after how long the next one is committed.
    speech: u64,
    pause: u64,
    next: u64,
    /// Its audio comes in chunks of so many milliseconds, with so many rounds of 10 ms between.
    chunk: u64,
    rounds: u64,
    rate: u32,
    voice: bool,
}

fn plans() -> impl Strategy<Value = Vec<Plan>> {
    let one = (
        0usize..7,
        (0u64..400, 0u64..400, 0u64..500),
        300u64..2500,
        0u64..800,
        0u64..1500,
        (10u64..900, 0u64..12),
        prop::sample::select(vec![8000u32, 16_000, 24_000]),
        any::<bool>(),
    )
        .prop_map(|(words, silence, speech, pause, next, (chunk, rounds), rate, voice)| Plan {
            words,
            silence,
            speech,
            pause,
            next,
            chunk,
            rounds,
            rate,
            voice,
        });
    prop::collection::vec(one, 1..9)
}

impl Plan {
    fn audio(&self, first: u16) -> Vec<i16> {
        let (before, behind, middle) = self.silence;
        let half = self.words / 2;
        [
            silence(before, self.rate),
            words(first, half, self.rate),
            silence(middle, self.rate),
            words(first + half as u16, self.words - half, self.rate),
            silence(behind, self.rate),
        ]
        .concat()
    }
}

/// Plays a script; `event` is asked at every round.
fn play(desk: &mut Desk, plans: &[Plan], mut event: impl FnMut(&mut Desk)) -> Vec<Vec<i16>> {
    // (segment, its chunks to come, when the next one comes)
    let mut coming: Vec<(u64, VecDeque<Vec<i16>>, u64, u64)> = Vec::new();
    let (mut first, mut at, mut all) = (0, 0, Vec::new());
    let mut round = 0;
    let mut todo = plans.iter().enumerate().peekable();
    loop {
        while let Some((i, plan)) = todo.next_if(|_| at <= round) {
            let audio = plan.audio(first);
            first += plan.words as u16;
            let now = desk.now.as_millis() as u64;
            let voice = if plan.voice { A } else { B };
            let id = i as u64 + 1;
            desk.push(id, voice, (now.saturating_sub(plan.speech), now), plan.pause, plan.rate);
            let step = (plan.chunk * u64::from(plan.rate) / 1000) as usize;
            let chunks = audio.chunks(step.max(1)).map(<[i16]>::to_vec).collect();
            coming.push((id, chunks, round + 1, plan.rounds));
            all.push(audio);
            at = round + plan.next / 10;
        }
        for (id, chunks, due, rounds) in &mut coming {
            if *due == round {
                let chunk = chunks.pop_front().unwrap_or_default();
                desk.audio(*id, &chunk, chunks.is_empty());
                *due = if chunks.is_empty() { u64::MAX } else { round + *rounds };
                // More than one in a round.
                while *rounds == 0 && *due != u64::MAX {
                    let chunk = chunks.pop_front().unwrap_or_default();
                    desk.audio(*id, &chunk, chunks.is_empty());
                    *due = if chunks.is_empty() { u64::MAX } else { round };
                }
            }
        }
        event(desk);
        desk.round();
        round += 1;
        let done = coming.len() == plans.len() && coming.iter().all(|(_, _, due, _)| *due == u64::MAX);
        if done && desk.playout.segments().next().is_none() {
            return all;
        }
        assert!(round < 30_000, "the queue does not empty");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_word_is_heard_once_in_order_and_every_sample_is_accounted_for(
        plans in plans(),
        hz in prop::sample::select(vec![8000u32, 16_000, 48_000]),
        normalise: bool,
        fastest in prop::sample::select(vec![1.0f32, 1.05, 1.25]),
    ) {
        let mut desk = Desk::new(hz);
        desk.playout.configure(fastest, normalise);
        let audio = play(&mut desk, &plans, |_| {});
        let order: Vec<u64> = desk.ended.iter().map(|h| h.segment.0).collect();
        prop_assert_eq!(order, (1..=plans.len() as u64).collect::<Vec<_>>());
        let mut length = 0.0;
        for (heard, audio) in desk.ended.iter().zip(&audio) {
            prop_assert!(heard.complete);
            accounted(heard, audio.len(), hz, false);
            prop_assert!(heard.treatment.speed() <= f64::from(fastest) * 1.02);
            length += heard.length.as_secs_f64();
        }
        prop_assert!((length - desk.spoken as f64 / f64::from(hz)).abs() < 1e-3, "what was heard is what was written");
        let (whole, damaged) = decoded(&desk.heard, hz);
        let count: usize = plans.iter().map(|p| p.words).sum();
        let numbers: Vec<u16> = whole.iter().map(|(n, _)| *n).collect();
        let dry = desk.playout.ran_dry() + desk.playout.starved();
        // A word in whose middle the synthesiser paused is torn, but none is lost to anything else.
        prop_assert!(dry > 0 || (damaged == 0 && numbers == (0..count as u16).collect::<Vec<_>>()), "{numbers:?} of {count}");
        prop_assert!(numbers.is_sorted());
    }

    /// A synthesiser at three times real time that gives its audio in pieces of any size: no hole in any word, whatever
    /// is done on the way.
    #[test]
    fn what_comes_in_time_has_no_holes(
        crumbs in prop::collection::vec(3u64..60, 1..12),
        first in 0u16..4000,
        late in 0u64..2,
        hz in prop::sample::select(vec![8000u32, 16_000, 48_000]),
        rate in prop::sample::select(vec![8000u32, 16_000, 24_000]),
        speech in prop::sample::select(vec![300u64, 860, 1500]),
    ) {
        let mut desk = Desk::new(hz);
        desk.playout.configure(1.25, true);
        desk.run(10 * late);
        let mut all = 0;
        for id in 1..=4u64 {
            let audio = words(first + all, 5, rate);
            all += 5;
            let now = desk.now.as_millis() as u64;
            desk.push(id, A, (now, now + speech), 40, rate);
            let (mut given, mut come) = (0, 0);
            let mut sizes = crumbs.iter().cycle();
            let mut next = *sizes.next().unwrap_or(&1);
            while given < audio.len() {
                come += 30;
                while come >= next && given < audio.len() {
                    let until = audio.len().min(given + (next * u64::from(rate) / 1000) as usize);
                    desk.audio(id, &audio[given..until], until == audio.len());
                    (given, come) = (until, come - next);
                    next = *sizes.next().unwrap_or(&1);
                }
                desk.round();
            }
            desk.run(if id % 2 == 0 { 900 } else { 0 });
        }
        desk.run(4000);
        let (whole, damaged) = decoded(&desk.heard, hz);
        let numbers: Vec<u16> = whole.iter().map(|(n, _)| *n - first).collect();
        prop_assert_eq!((numbers, damaged), ((0..20).collect::<Vec<_>>(), 0));
        prop_assert_eq!((desk.playout.ran_dry(), desk.playout.starved()), (0, 0));
    }

    #[test]
    fn flushes_and_changes_of_rate_lose_nothing_else(
        plans in plans(),
        events in prop::collection::vec((0u64..400, 0usize..5), 1..6),
    ) {
        let mut desk = Desk::new(8000);
        let mut round = 0;
        let mut cut = 0;
        let mut changed = Vec::new();
        let lengths = play(&mut desk, &plans, |desk| {
            for (_, what) in events.iter().filter(|(at, _)| *at == round) {
                match what {
                    0 => {
                        cut += desk.playout.segments().count();
                        desk.flush();
                    }
                    n => {
                        desk.set_rate([8000, 16_000, 44_100, 48_000][n - 1]);
                        changed.extend(desk.playout.segments());
                    }
                }
            }
            round += 1;
        });
        let mut seen: Vec<u64> = desk.ended.iter().map(|h| h.segment.0).collect();
        let flushed: Vec<&Heard> = desk.ended.iter().filter(|h| !h.complete).collect();
        prop_assert_eq!(flushed.len(), cut);
        seen.sort_unstable();
        prop_assert_eq!(seen, (1..=plans.len() as u64).collect::<Vec<_>>(), "each ends once");
        for heard in desk.ended.iter().filter(|h| h.complete && !changed.contains(&h.segment)) {
            let hz = (1..=4).map(|n| [8000, 16_000, 44_100, 48_000][n - 1]);
            let t = &heard.treatment;
            prop_assert_eq!(t.trimmed + t.cut + t.stretched.0, t.taken);
            prop_assert_eq!(t.taken as usize, lengths[heard.segment.0 as usize - 1].len());
            // At one of the rates.
            let fits = |hz: u32| heard.length == span((t.stretched.1 * u64::from(hz)).div_ceil(u64::from(t.rate.max(1))), hz);
            prop_assert!(hz.into_iter().any(fits), "{:?}", heard);
        }
    }
}
