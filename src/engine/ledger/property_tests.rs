//! Random talk through random recognisers: whatever they guess, revise and reformat, each word is committed once.

use proptest::prelude::*;

use super::align::distance;
use super::*;
use crate::provider::test_config::{config, language};

const TICK: u64 = 10;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// How the recogniser tells of times.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Times {
    Told,
    /// Words, spread evenly over the span.
    Spread,
    /// No words.
    None,
}

/// What the recogniser gets wrong, and how often (per mille of the words of an interim result).
#[derive(Clone, Copy, Debug)]
struct Faults {
    /// Case and punctuation change.
    format: u32,
    /// A number of two words is written in digits, or not.
    digits: u32,
    /// One of the last words is another one. What is already committed may be among them.
    revise: u32,
    /// How many of the last words that may be; 1: the one that is being spoken.
    depth: usize,
    /// Word times move by so many milliseconds.
    jitter: u64,
}

/// A script: who speaks how, and what the recogniser makes of it.
#[derive(Clone, Debug)]
struct Script {
    code: &'static str,
    /// (word of the vocabulary, its length, the pause behind it)
    words: Vec<(usize, u64, u64)>,
    times: Times,
    /// Milliseconds between interim results, and how long one is on its way.
    interval: u64,
    delay: u64,
    /// Final results come after so many words.
    finals: Vec<usize>,
    /// They cover so many words less than the interim results before them.
    short: usize,
    faults: Faults,
    policy: &'static str,
    seed: u64,
}

/// A small generator: the same script gives the same talk.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides.max(1)
    }

    fn hits(&mut self, per_mille: u32) -> bool {
        self.roll(1000) < u64::from(per_mille)
    }
}

/// A word that was said.
#[derive(Clone, Debug)]
struct Said {
    text: String,
    start: u64,
    end: u64,
}

const ENGLISH: &[&str] = &[
    "we",
    "saw",
    "the",
    "old",
    "house",
    "and",
    "but",
    "because",
    "twenty",
    "three",
    "forty",
    "seven",
    "dogs",
    "went",
    "home",
    "doctor",
    "Smith",
    "no",
    "yes",
    "it",
    "rained",
    "international",
    "river",
    "which",
    "said",
    "so",
];
const JAPANESE: &[&str] = &["今日", "は", "天気", "が", "いい", "ので", "散歩", "します", "東京", "に", "人", "、"];

/// One result: what a recogniser writes for these words.
fn result(script: &Script, said: &[Said], from: u64, to: u64, settled: bool, dice: &mut Dice) -> Transcript {
    let japanese = script.code == "ja";
    let faults = script.faults;
    let mut words: Vec<Word> = Vec::new();
    let mut skip = false;
    for (i, word) in said.iter().enumerate() {
        if std::mem::take(&mut skip) {
            continue;
        }
        let (mut text, mut end) = (word.text.clone(), word.end);
        // With depth 1 it is right about a word that it has heard to its end.
        let over = faults.depth == 1 && word.end + 250 < to;
        let last = said.len() - i <= faults.depth && !settled && !over;
        if last && dice.hits(faults.revise) {
            let other = |dice: &mut Dice| char::from_u32(0x6000 + dice.roll(4000) as u32).unwrap_or('猫');
            text = match japanese {
                true => text.chars().map(|_| other(dice)).collect(),
                false => (0..6).map(|_| char::from(b'a' + dice.roll(26) as u8)).collect(),
            };
        } else if let Some(next) = said.get(i + 1)
            && let (Some(tens), Some(ones)) = (tens(&text), ones(&next.text))
            && dice.hits(faults.digits)
        {
            (text, end, skip) = ((tens + ones).to_string(), next.end, true);
        } else if text == "doctor" && dice.hits(faults.format) {
            text = "Dr.".into();
        }
        if !japanese && dice.hits(faults.format) {
            text = match dice.roll(4) {
                0 => text.to_uppercase(),
                1 => format!("{text},"),
                2 => format!("{text}."),
                _ => format!("\u{201c}{text}\u{201d}"),
            };
        }
        let mut moved = |at: u64| (at + dice.roll(2 * faults.jitter + 1)).saturating_sub(faults.jitter).max(from);
        let (start, end) = (moved(word.start), moved(end));
        words.push(Word { text, start: ms(start), end: ms(end.max(start)), confidence: 0.9 });
    }
    let text = words.iter().map(|w| w.text.as_str()).collect::<Vec<_>>().join(if japanese { "" } else { " " });
    match script.times {
        Times::Told => {}
        Times::None => words.clear(),
        Times::Spread => {
            let step = ms(to - from) / words.len().max(1) as u32;
            for (i, word) in (0u32..).zip(&mut words) {
                (word.start, word.end) = (ms(from) + step * i, ms(from) + step * (i + 1));
            }
        }
    }
    Transcript { text, words, start: ms(from), end: ms(to), language: None }
}

fn tens(word: &str) -> Option<u64> {
    [("twenty", 20), ("forty", 40)].into_iter().find_map(|(known, n)| (known == word).then_some(n))
}

fn ones(word: &str) -> Option<u64> {
    [("three", 3), ("seven", 7)].into_iter().find_map(|(known, n)| (known == word).then_some(n))
}

/// A final result that ends here would end inside a number, which nobody can tell from one that is written otherwise.
fn splits(said: &[Said], at: usize) -> bool {
    at < said.len() && is_number(&said[at - 1]) && is_number(&said[at])
}

fn is_number(word: &Said) -> bool {
    tens(&word.text).or(ones(&word.text)).is_some()
}

/// Letters as they are compared, numbers in digits: what is left is what must be the same.
fn plain(texts: &[String], code: &str, numbers: bool) -> Vec<String> {
    let text = texts.join(" ");
    if code == "ja" {
        return text.chars().filter(|c| c.is_alphanumeric()).map(String::from).collect();
    }
    let bare = |w: &str| w.chars().filter(|c| c.is_alphanumeric()).collect::<String>().to_lowercase();
    let words: Vec<String> = text.split_whitespace().map(bare).filter(|w| !w.is_empty()).collect();
    let mut plain: Vec<String> = Vec::new();
    let mut skip = false;
    for (i, word) in words.iter().enumerate() {
        if std::mem::take(&mut skip) {
            continue;
        }
        match (tens(word), words.get(i + 1).and_then(|next| ones(next))) {
            (Some(tens), Some(ones)) if numbers => {
                plain.push((tens + ones).to_string());
                skip = true;
            }
            _ if word == "doctor" => plain.push("dr".into()),
            _ => plain.push(word.clone()),
        }
    }
    plain
}

/// What came of a script.
struct Outcome {
    commits: Vec<(u64, Commit)>,
    truth: Vec<Said>,
    revised: u64,
}

/// Plays a script in virtual time, with a tick every 10 ms.
fn play(script: &Script) -> Outcome {
    let mut dice = Dice(script.seed);
    let mut ledger = Ledger::new(config(&[("ledger.policy", script.policy)]).ledger);
    ledger.speaks(language(script.code));
    let vocabulary = if script.code == "ja" { JAPANESE } else { ENGLISH };
    let mut truth: Vec<Said> = Vec::new();
    let mut at = 200;
    for &(word, length, pause) in &script.words {
        let mut text: String = vocabulary[word % vocabulary.len()].into();
        // Of several numbers in a row nobody can tell which of them digits stand for.
        let goes_on = |last: &Said| tens(&last.text).is_some() && ones(&text).is_some();
        if tens(&text).or(ones(&text)).is_some() && truth.last().is_some_and(|last| is_number(last) && !goes_on(last)) {
            text = "we".into();
        }
        // A number that is said with a pause in it is two numbers.
        let pause = if tens(&text).is_some() { pause.min(100) } else { pause };
        truth.push(Said { text, start: at, end: at + length });
        at += length + pause;
    }
    // (when it is heard, what) in order
    let mut events: Vec<(u64, SttEvent)> = Vec::new();
    let (mut from, mut first, mut next_interim) = (0, 0, script.interval);
    let mut cuts: Vec<usize> = Vec::new();
    let mut count = 0;
    for cut in script.finals.iter().cycle() {
        count += cut;
        while count < truth.len() && splits(&truth, count) {
            count += 1;
        }
        if count >= truth.len() {
            break;
        }
        cuts.push(count);
    }
    cuts.push(truth.len());
    for cut in cuts {
        let over = cut == truth.len();
        let reach = truth[cut - 1].end + 300;
        while next_interim < reach {
            let known = truth.iter().take_while(|w| w.end <= next_interim).count();
            if known > first {
                let t = result(script, &truth[first..known], from, next_interim, false, &mut dice);
                events.push((next_interim + script.delay, SttEvent::Interim(t)));
            }
            next_interim += script.interval;
        }
        // A final result may end before the last words of which interim results have told.
        let short = if over { 0 } else { script.short.min(cut - first - 1) };
        let end = (first + 1..=cut - short).rev().find(|end| !splits(&truth, *end)).unwrap_or(cut);
        let to = if over { reach } else { (truth[end - 1].end + 10).min(truth[end].start) };
        let transcript = result(script, &truth[first..end], from, to, true, &mut dice);
        events.push((reach + script.delay, SttEvent::Final { transcript, speech_final: over }));
        (from, first) = (to, end);
    }
    let mut commits = Vec::new();
    let mut now = 0;
    for (when, event) in events {
        while now < when {
            now += TICK;
            commits.extend(ledger.tick(ms(now)).into_iter().map(|c| (now, c)));
        }
        commits.extend(ledger.hear(ms(when), &event).into_iter().map(|c| (when, c)));
    }
    Outcome { commits, truth, revised: ledger.revised() }
}

fn texts(outcome: &Outcome) -> Vec<String> {
    outcome.commits.iter().map(|(_, c)| c.text.clone()).collect()
}

fn truth(outcome: &Outcome) -> Vec<String> {
    outcome.truth.iter().map(|w| w.text.clone()).collect()
}

/// Scripts whose recogniser revises up to `depth` of the last words.
fn scripts(depth: std::ops::RangeInclusive<usize>) -> impl Strategy<Value = Script> {
    let words = prop::collection::vec((0usize..100, 60u64..500, prop_oneof![4 => 0u64..120, 1 => 250u64..900]), 1..60);
    let faults = (
        prop_oneof![Just(0u32), 0u32..400],
        prop_oneof![Just(0u32), 0u32..500],
        prop_oneof![Just(0u32), 0u32..700],
        depth,
        0u64..30,
    )
        .prop_map(|(format, digits, revise, depth, jitter)| {
            // The half of a number that was taken for another word is lost when the whole comes in digits.
            let digits = if depth > 1 && revise > 0 { 0 } else { digits };
            Faults { format, digits, revise, depth, jitter }
        });
    let times = prop_oneof![Just(Times::Told), Just(Times::Spread), Just(Times::None)];
    let policy = prop_oneof![3 => Just("clause"), 2 => Just("agreement"), 1 => Just("final")];
    (
        (prop_oneof![3 => Just("en"), 1 => Just("ja")], words, times, policy, faults),
        (
            prop_oneof![Just(1000u64), Just(250), 100u64..1500],
            0u64..300,
            prop::collection::vec(2usize..20, 1..4),
            0usize..3,
            any::<u64>(),
        ),
    )
        .prop_map(|((code, words, times, policy, faults), (interval, delay, finals, short, seed))| Script {
            code,
            words,
            times,
            interval,
            delay,
            finals,
            short,
            faults,
            policy,
            seed,
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    /// The recogniser revises the word that is being spoken only: what is committed is what was said, word for word.
    #[test]
    fn every_word_once_and_in_order(script in scripts(1..=1)) {
        let outcome = play(&script);
        prop_assert_eq!(plain(&texts(&outcome), script.code, true), plain(&truth(&outcome), script.code, true));
        prop_assert_eq!(outcome.revised, 0);
    }

    /// It revises what is committed, too: that is counted, never spoken again, and loses nothing else.
    #[test]
    fn what_is_revised_is_counted(script in scripts(1..=6)) {
        let outcome = play(&script);
        let apart = {
            let numbers = script.faults.digits > 0;
            distance(&plain(&texts(&outcome), script.code, numbers), &plain(&truth(&outcome), script.code, numbers))
        };
        prop_assert!(apart as u64 <= outcome.revised, "{} apart, {} counted: {:?}", apart, outcome.revised, texts(&outcome));
        if script.faults.revise == 0 {
            prop_assert_eq!(outcome.revised, 0);
        }
    }

    /// A commit is whole words in the order of time, and none waits for longer than it may.
    #[test]
    fn commits_are_whole_words_in_time(script in scripts(1..=1)) {
        let outcome = play(&script);
        let mut at = Duration::ZERO;
        let jitter = ms(2 * script.faults.jitter);
        for (when, commit) in &outcome.commits {
            prop_assert!(commit.start + jitter + ms(1) >= at, "{:?} begins before {:?}", commit, at);
            prop_assert!(commit.end >= commit.start);
            prop_assert!(commit.end <= ms(*when) + jitter);
            at = commit.end;
            let spelt: String = commit.words.iter().map(|w| w.text.as_str()).collect();
            let bare = |text: &str| text.chars().filter(|c| c.is_alphanumeric()).collect::<String>();
            if !commit.words.is_empty() {
                prop_assert_eq!(bare(&spelt), bare(&commit.text));
            }
        }
        if script.code == "en" && script.policy != "final" && script.faults.digits == 0 {
            let mut said = outcome.truth.iter();
            for (when, commit) in &outcome.commits {
                for word in plain(std::slice::from_ref(&commit.text), "", false).iter() {
                    // Numbers in one commit are joined: only those that were said as one are.
                    let Some(truth) = said.next() else { break };
                    let spelt = plain(std::slice::from_ref(&truth.text), "", false);
                    if spelt.first() != Some(word) {
                        said.next();
                    }
                    // It is due 3 s after its beginning (2 s where two results agree), or with the result after the one that it was the last word of.
                    // A number is not cut as long as that can be waited for.
                    let number = tens(word).or(ones(word)).is_some() || word.starts_with(|c: char| c.is_ascii_digit());
                    let guessed = if number { 2000 } else { 0 };
                    let guessed = guessed + if script.times == Times::Told { script.faults.jitter } else { 2 * script.interval + 1000 };
                    let due = (truth.start + 3000 + guessed).max(truth.end + 2 * script.interval + script.delay + 300);
                    prop_assert!(*when <= due + 2 * TICK, "{} said at {} came at {}", word, truth.start, when);
                }
            }
        }
    }
}
