//! One ear of many in a long test: cheap to ask whether it is done, exact about what it missed.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::support::asterisk::LightPhone;
use crate::support::asterisk::phones::RATE;
use crate::support::codec::{Decoder, Heard};
use crate::support::live::sentence;

/// Samples that are not looked at before the end: a packet may still be put there.
const UNSETTLED: usize = RATE as usize / 5;

/// Decodes a recording while it grows, each sample once.
pub struct Progress {
    decoder: Decoder,
    fed: usize,
    words: usize,
}

impl Progress {
    pub fn new() -> Progress {
        Progress { decoder: Decoder::new(RATE), fed: 0, words: 0 }
    }

    /// Whole words that the phone has heard by now, all but the newest fifth of a second.
    pub fn words(&mut self, phone: &LightPhone) -> usize {
        let new = phone.heard_from(self.fed);
        let new = &new[..new.len().saturating_sub(UNSETTLED)];
        self.fed += new.len();
        let heard = self.decoder.feed(new);
        self.words += heard.iter().filter(|h| matches!(h, Heard::Word { .. })).count();
        self.words
    }
}

/// A word to be heard, and when its original was said, in seconds since that phone began to speak.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    pub language: &'static str,
    pub number: u16,
    pub said_s: f64,
}

/// What is wrong with a recording; none when it holds every wanted word once, whole, in order, and no other.
pub fn faults(wanted: &[Wanted], samples: &[i16]) -> Option<String> {
    let mut decoder = Decoder::new(RATE);
    let mut events = decoder.feed(samples);
    events.extend(decoder.finish());
    let (mut order, mut heard) = (Vec::new(), BTreeMap::<_, Vec<f64>>::new());
    let mut told = Vec::new();
    for event in events {
        match event {
            Heard::Word { token, start, .. } => {
                order.push((token.language(), token.n));
                heard.entry((token.language(), token.n)).or_default().push(start);
            }
            Heard::Damaged { start, end } => told.push(format!("damaged sound at {start:.2} to {end:.2} s")),
        }
    }
    let right: Vec<_> = wanted.iter().map(|w| (w.language, w.number)).collect();
    for Wanted { language, number, said_s } in wanted {
        match heard.remove(&(*language, *number)).as_deref() {
            None => told.push(format!("{language} {number} (said at {said_s:.2} s) is missing")),
            Some([_]) => {}
            Some(times) => told.push(format!("{language} {number} was heard {} times, at {times:.2?} s", times.len())),
        }
    }
    for ((language, number), times) in heard {
        told.push(format!("{language} {number} at {times:.2?} s was not said"));
    }
    if told.is_empty() && order != right {
        told.push(format!("the order is wrong: {order:?}"));
    }
    (!told.is_empty()).then(|| told.join("; "))
}

fn wanted() -> Vec<Wanted> {
    (0..4).map(|n| Wanted { language: "en", number: n, said_s: f64::from(n) }).collect()
}

fn judge(words: &[u16]) -> Option<String> {
    faults(&wanted(), &sentence("en", words.iter().copied(), RATE, Duration::from_millis(500)))
}

#[test]
fn only_every_word_once_in_order_is_right() {
    assert_eq!(judge(&[0, 1, 2, 3]), None);
    for (words, told) in [
        (&[0, 1, 3][..], "en 2 (said at 2.00 s) is missing"),
        (&[0, 1, 2, 2, 3], "en 2 was heard 2 times, at [0.36, 0.54] s"),
        (&[0, 1, 2, 3, 9], "en 9 at [0.72] s was not said"),
        (&[0, 2, 1, 3], "the order is wrong"),
    ] {
        let said = judge(words).expect("a fault");
        assert!(said.starts_with(told), "{said}");
    }
    let mut hole = sentence("en", 0..4, RATE, Duration::from_millis(500));
    hole.drain(RATE as usize * 40 / 100..RATE as usize * 42 / 100);
    let said = faults(&wanted(), &hole).expect("a fault");
    assert!(said.contains("damaged sound at 0.") && said.contains("en 2 (said at 2.00 s) is missing"), "{said}");
}
