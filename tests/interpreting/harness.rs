//! The measuring itself: what it is sure to notice.

use std::time::Duration;

use crate::support::codec::{self, Token};
use crate::virtual_call::ear::{Ear, HeardWord};
use crate::virtual_call::judge::{Lag, Verdict, judge};
use crate::virtual_call::script::{Mouth, NUMBERS, Said, Script};
use crate::virtual_call::stages::{self, Longer};
use crate::virtual_call::{Manner, RATE, Recogniser, Stages, VirtualCall};
use mgw::engine::Ring;
use mgw::provider::SttEvent;

use crate::{S, ms};

/// The words of a script as an ear hears them that is `lag` behind.
fn hearings(script: &Script, lag: Duration) -> Vec<HeardWord> {
    let heard = |w: &Said| HeardWord {
        token: Token::new("es", w.token.n).expect("a word"),
        start: w.start + lag,
        end: w.end + lag,
    };
    script.looked_for().map(heard).collect()
}

fn verdict(script: &Script, heard: &[HeardWord]) -> Verdict {
    judge(script, Duration::ZERO, "es", heard, 0, |_| true)
}

#[test]
fn every_fault_is_noticed() {
    // More words than there are numbers.
    let script = Script::new(3).talk("en", S, 800 * S);
    let whole = hearings(&script, ms(2500));
    assert!(whole.len() > usize::from(NUMBERS) + 200);
    let v = verdict(&script, &whole);
    assert!(v.is_whole(), "{v}");
    assert!((v.quantile(0.01) - 2500.0).abs() < 0.01 && (v.max() - 2500.0).abs() < 0.01 && v.slope().abs() < 0.01);

    let change = |f: &dyn Fn(&mut Vec<HeardWord>)| {
        let mut heard = whole.clone();
        f(&mut heard);
        let v = verdict(&script, &heard);
        (v.lost.clone(), v.doubled, v.reordered, v.strange)
    };
    for at in [0, 1, 777, usize::from(NUMBERS) + 1, whole.len() - 1] {
        assert_eq!(
            change(&|h| {
                h.remove(at);
            }),
            (vec![at], 0, 0, 0),
            "one is lost"
        );
        assert_eq!(change(&|h| h.insert(at, h[at])), (vec![], 1, 0, 0), "one comes twice");
        assert_eq!(change(&|h| h[at].token = Token::new("en", h[at].token.n).expect("a word")), (vec![at], 0, 0, 1));
    }
    for at in [1, 777, usize::from(NUMBERS) + 1] {
        assert_eq!(change(&|h| h.swap(at, at + 1)), (vec![], 0, 1, 0), "two in the wrong order");
    }
    assert_eq!(
        change(&|h| {
            h.drain(100..180);
        }),
        ((100..180).collect(), 0, 0, 0),
        "many are lost"
    );
    assert_eq!(change(&|h| h.extend_from_within(50..90)), (vec![], 40, 0, 0), "all comes again");

    // 30 ms more in every minute.
    let mut late = whole.clone();
    for word in &mut late {
        word.end += (word.end - ms(2500)).mul_f64(0.030 / 60.0);
    }
    let slope = verdict(&script, &late).slope();
    assert!((slope - 30.0).abs() < 0.1, "{slope}");
}

#[test]
fn lags_are_those_of_the_sound() {
    // An ear that is played the mouth's own sound, 1.3 s later, in rings of the engine's kind.
    let script = Script::new(5).talk("en", ms(400), 20 * S);
    let mut mouth = Mouth::new(RATE);
    let mut ear = Ear::new(RATE);
    let frame = RATE as usize / 50;
    for i in 0..1300u32 {
        if i >= 65 {
            ear.play(Ring::Speech, mouth.frame(&script, frame));
        }
        ear.pull(i * ms(20), frame);
    }
    let (heard, damaged) = ear.heard();
    let v = judge(&script, Duration::ZERO, "en", heard, damaged.len(), |_| true);
    assert!(v.is_whole(), "{v}");
    // The decoder's grid is 2.5 ms.
    assert!(v.lags.iter().map(Lag::ms).all(|lag| (lag - 1300.0).abs() < 4.0), "{v}");
}

#[test]
fn a_hole_in_a_word_is_damage() {
    let mut ear = Ear::new(RATE);
    let mut sound = Vec::new();
    for n in 0..20 {
        codec::encode(Token::new("es", n).expect("a word"), RATE, -14.0, &mut sound);
        codec::silence(codec::GAP_S, RATE, &mut sound);
    }
    // The fourth word lacks 20 ms in its middle.
    let at = (3.0 * 0.18 + 0.06) * f64::from(RATE);
    sound.drain(at as usize..at as usize + RATE as usize / 50);
    for (i, frame) in sound.chunks(RATE as usize / 50).enumerate() {
        ear.play(Ring::Speech, frame.to_vec());
        ear.pull(i as u32 * ms(20), RATE as usize / 50);
    }
    let (heard, damaged) = ear.heard();
    assert_eq!(heard.len(), 19);
    assert_eq!(damaged.len(), 1, "{damaged:?}");
}

#[test]
fn translations_are_longer_and_keep_what_is_written() {
    let text = |words: &[u16]| words.iter().map(|n| Token::new("en", *n).expect("a word").text()).collect::<Vec<_>>();
    let said = text(&[3, 4]);
    let sentence = format!("And {} {}, hello", said[0], said[1]);
    let (three, four) = (Token::new("es", 3).expect("a word").text(), Token::new("es", 4).expect("a word").text());
    assert_eq!(stages::translate(&sentence, "es", Longer::Not), format!("Y {three} {four}, [hello]"));
    let filler = stages::filler(4).text();
    assert_eq!(stages::translate(&sentence, "es", Longer::Fillers), format!("Y {three} {four} {filler}, [hello]"));
}

/// What a recogniser says, whoever asks how often: finals hold every word once, in order; interims err.
#[test]
fn recognisers_say_every_word_in_the_end() {
    let script = Script::new(9).talk("en", S, 60 * S).sentence("en", 65 * S, 7).sentence("en", 70 * S, 5);
    let end = script.end() + 6 * S;
    for manner in [Manner::v1(), Manner::flux()] {
        let times = manner.word_times;
        let mut recogniser = Recogniser::new(manner.clone(), "en", Duration::ZERO, &script);
        let (mut finals, mut interims, mut wrong, mut eager) = (Vec::new(), 0, 0, 0);
        let mut at = Duration::ZERO;
        while at < end {
            at += ms(20);
            for (decided, event) in recogniser.hear(at, &script) {
                assert!(decided <= at);
                match event {
                    SttEvent::Final { transcript, .. } => {
                        assert!(transcript.words.iter().all(|w| w.end <= decided), "it knows what was said only");
                        finals.extend(transcript.words);
                    }
                    SttEvent::Interim(transcript) => {
                        interims += 1;
                        let known = |w: &str| script.words.iter().any(|s| w.eq_ignore_ascii_case(&s.bare));
                        let bare = |w: &str| w.trim_matches(['.', ',']).to_owned();
                        wrong += usize::from(transcript.words.iter().any(|w| !known(&bare(&w.text))));
                    }
                    SttEvent::EagerEnd(_) => eager += 1,
                    _ => {}
                }
            }
        }
        let said: Vec<String> = script.words.iter().map(|w| w.bare.clone()).collect();
        let heard: Vec<String> = finals.iter().map(|w| w.text.trim_matches(['.', ',']).to_lowercase()).collect();
        assert_eq!(heard, said, "{:?}", manner.kind);
        let expected = (end.as_millis() / manner.interim.as_millis()) as usize;
        assert!(interims > expected * 3 / 4 && interims <= expected, "{interims} of {expected}");
        assert!(wrong * 5 > interims, "{wrong} of {interims} interims err");
        assert_eq!(eager > 0, manner.provider() == "flux");
        assert!(times && finals.iter().zip(&script.words).all(|(w, s)| w.start == s.start && w.end == s.end));
    }
}

/// What the engine did before it had a ledger for interims: a known quantity to hold the whole harness against.
#[test]
fn a_call_that_waits_for_finals() {
    let stages = Stages { longer: Longer::Not, padding: (Duration::ZERO, Duration::ZERO), ..Stages::default() };
    let mut call = VirtualCall::new(Manner::v1(), stages);
    let more = [("ledger.policy", "final"), ("speculation.mode", "off"), ("playout.stretch_max", "1")];
    let script = (0..40u32).fold(Script::new(1), |s, i| s.sentence("en", S + i * 6 * S, 6));
    let a = call.join("en", &more, script);
    let b = call.join("es", &more, Script::default());
    call.run_to_the_end();
    let v = call.verdict(a, b);
    assert!(v.is_whole(), "{v}");
    // The sentence itself (six words, five gaps) 1040, endpointing 300, message 150, translation 100, first audio 288,
    // the rest of the first word at three times real time (47 at most: a word is given when its end is there), and up to
    // 20 ms until the next pull; the same for all its words.
    let (least, most) = (v.quantile(0.001), v.max());
    assert!(least >= 1876.0 && most < 1945.0, "{v}");
}
