//! What is committed of scripts of results, one row for each.

use super::*;
use crate::provider::test_config::{config, language};

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn ledger(code: &str, policy: &str) -> Ledger {
    let mut ledger = Ledger::new(config(&[("ledger.policy", policy)]).ledger);
    ledger.speaks(language(code));
    ledger
}

/// A result without words, of a span that begins at 0 and ends at this millisecond.
fn text(end: u64, text: &str) -> Transcript {
    Transcript { text: text.into(), words: vec![], start: ms(0), end: ms(end), language: None }
}

/// A result whose words (those between spaces) have these times; the text is that of all of them.
fn timed(end: u64, text: &str, times: &[(u64, u64)]) -> Transcript {
    let word = |(word, (start, end)): (&str, &(u64, u64))| Word {
        text: word.into(),
        start: ms(*start),
        end: ms(*end),
        confidence: 0.9,
    };
    let words: Vec<Word> = text.split(' ').zip(times).map(word).collect();
    assert_eq!(words.len(), times.len(), "{text}");
    Transcript { text: text.into(), words, start: ms(0), end: ms(end), language: None }
}

/// Words of 200 ms with 100 ms between them, from 100 ms on.
/// One word is enough.
fn short_clauses() -> Ledger {
    let mut ledger = ledger("en", "clause");
    ledger.config.min_words = 1;
    ledger
}

fn paced(end: u64, text: &str) -> Transcript {
    let times: Vec<(u64, u64)> = (0..text.split(' ').count() as u64).map(|i| (100 + i * 300, 300 + i * 300)).collect();
    timed(end, text, &times)
}

fn interim(t: Transcript) -> SttEvent {
    SttEvent::Interim(t)
}

fn last(transcript: Transcript) -> SttEvent {
    SttEvent::Final { transcript, speech_final: true }
}

/// A cut: more of the turn follows.
fn part(transcript: Transcript) -> SttEvent {
    SttEvent::Final { transcript, speech_final: false }
}

fn show(commits: &[Commit]) -> String {
    commits.iter().map(|c| format!("{} [{}]", c.text, c.why)).collect::<Vec<_>>().join(" | ")
}

/// Plays (millisecond, report, what is committed); `None` for a report is a tick.
fn play(name: &str, mut ledger: Ledger, script: Vec<(u64, Option<SttEvent>, &str)>) -> Ledger {
    for (row, (at, event, want)) in script.into_iter().enumerate() {
        let commits = match &event {
            Some(event) => ledger.hear(ms(at), event),
            None => ledger.tick(ms(at)),
        };
        assert_eq!(show(&commits), want, "{name}, row {row}");
        for commit in &commits {
            assert!(commit.start <= commit.end && !commit.text.is_empty(), "{name}, row {row}: {commit:?}");
        }
    }
    ledger
}

#[test]
fn clauses_of_languages() {
    // (name, language, two equal interims, what is committed at the second one, what the final result adds)
    let long = 60_000;
    for (name, code, heard, want, rest) in [
        ("a full stop inside", "en", "I see. We will", "I see.", "We will go"),
        ("none at the end of what is heard", "en", "I see we will.", "", "I see we will. go"),
        ("a comma", "en", "Well, we will", "Well,", "we will go"),
        ("a title", "en", "ask Dr. Smith about", "", "ask Dr. Smith about go"),
        ("a decimal", "en", "it is 3.5 miles", "", "it is 3.5 miles go"),
        ("a conjunction", "en", "we went home early because it rained", "we went home early", "because it rained go"),
        ("one with too little before it", "en", "cats and dogs are", "", "cats and dogs are go"),
        ("one inside a number", "en", "it costs two hundred and five of", "", "it costs two hundred and five of go"),
        ("the last word may become another one", "en", "we all went home an", "", "we all went home an go"),
        ("Spanish opens its questions", "es", "vamos ya ¿qué hora es", "vamos ya", "¿qué hora es go"),
        ("Spanish", "es-MX", "yo no sé nada pero voy a", "yo no sé nada", "pero voy a go"),
        ("German", "de", "am 3. Mai komme ich gern, wenn es", "am 3. Mai komme ich gern,", "wenn es go"),
        ("a German ordinal alone", "de", "am 3. Mai komme", "", "am 3. Mai komme go"),
        ("Russian", "ru", "я вчера был дома потому что", "я вчера был дома", "потому что go"),
        ("Arabic", "ar", "نعم، أنا هنا", "نعم،", "أنا هنا go"),
        ("Hindi", "hi", "यह अच्छा है। मैं जाता", "यह अच्छा है।", "मैं जाता go"),
        ("Japanese", "ja", "今日は、いい天気", "今日は、", "いい天気 go"),
        ("Chinese", "zh", "你好。我是医生", "你好。", "我是医生 go"),
        (
            "no language is known",
            "th",
            "we went home early because it rained",
            "",
            "we went home early because it rained go",
        ),
    ] {
        let mut ledger = ledger(code, "clause");
        ledger.config.max_wait = ms(long);
        assert!(ledger.hear(ms(3000), &interim(text(3000, heard))).is_empty(), "{name}");
        let commits: Vec<String> =
            ledger.hear(ms(3100), &interim(text(3100, heard))).into_iter().map(|c| c.text).collect();
        assert_eq!(commits.join("|"), want, "{name}");
        let commits: Vec<String> =
            ledger.hear(ms(4000), &last(text(4000, &format!("{heard} go")))).into_iter().map(|c| c.text).collect();
        assert_eq!(commits.join("|"), rest, "{name}");
        assert_eq!(ledger.revised(), 0, "{name}");
    }
}

#[test]
fn scripts_in_english() {
    let some = Some;
    let clause = || ledger("en", "clause");
    play(
        "a pause between words, and one at the end",
        clause(),
        vec![
            (1000, some(interim(timed(1000, "go home", &[(100, 300), (700, 950)]))), ""),
            (1200, some(interim(timed(1200, "go home", &[(100, 300), (700, 950)]))), "go [clause, 2 stable interims]"),
            (
                1450,
                some(interim(timed(1450, "go home", &[(100, 300), (700, 950)]))),
                "home [clause, 3 stable interims]",
            ),
            (1500, some(last(timed(1500, "Go home.", &[(100, 300), (700, 950)]))), ""),
        ],
    );
    play(
        "what changes is not committed before it is the same twice",
        clause(),
        vec![
            (1000, some(interim(paced(1000, "I see. or"))), ""),
            (1300, some(interim(paced(1300, "Icy. of course"))), ""),
            (1600, some(interim(paced(1600, "I see. Of course we"))), ""),
            (1700, some(interim(paced(1700, "i see of course, we"))), "i see of course, [clause, 2 stable interims]"),
            (1900, some(last(paced(1900, "I see. Of course, we do."))), "we do. [end of turn]"),
        ],
    );
    let ledger = play(
        "overdue words: the stable ones, a second later what is known but the last",
        short_clauses(),
        vec![
            (1000, some(interim(paced(1000, "one day the"))), ""),
            (1900, some(interim(paced(1900, "one day the cat went to"))), ""),
            (2090, None, ""),
            (2100, None, "one day the [overdue]"),
            (3500, None, ""),
            (4000, None, "cat went [overdue]"),
            (4100, some(interim(paced(4100, "one day the cat went to the red house now"))), "to [overdue]"),
            (9000, None, "the red house now [overdue]"),
            (9100, some(last(paced(9000, "One day, the cat went to the red house now."))), ""),
        ],
    );
    assert_eq!((ledger.revised(), ledger.repeated(), ledger.interims()), (0, 0, 3));
    play(
        "overdue: the last word too, once it is over",
        clause(),
        vec![
            (1000, some(interim(timed(1000, "stop it", &[(100, 300), (400, 690)]))), ""),
            (3000, None, ""),
            (3100, None, "stop it [overdue]"),
        ],
    );
    let ledger = play(
        "a later revision is counted and not spoken",
        clause(),
        vec![
            (1000, some(interim(paced(1000, "wreck a nice, beach"))), ""),
            (1300, some(interim(paced(1300, "wreck a nice, beach to"))), "wreck a nice, [clause, 2 stable interims]"),
            (1600, some(interim(paced(1600, "recognise a nice speech today"))), ""),
            (1900, some(last(paced(1900, "Recognise a nice speech today."))), "speech today. [end of turn]"),
        ],
    );
    assert_eq!(ledger.revised(), 1);
    play(
        "a number is not cut, and may change its form",
        clause(),
        vec![
            (1900, some(interim(paced(1900, "I have twenty three dogs, you"))), ""),
            (
                2000,
                some(interim(paced(2000, "I have twenty three dogs, you"))),
                "I have twenty three dogs, [clause, 2 stable interims]",
            ),
            (
                2300,
                some(last(timed(
                    2300,
                    "I have 23 dogs. You see?",
                    &[(100, 300), (400, 600), (700, 1200), (1300, 1500), (1600, 1800), (1900, 2100)],
                ))),
                "You see? [end of turn]",
            ),
        ],
    );
    play(
        "digits and letters are the same to it",
        clause(),
        vec![
            (1900, some(interim(text(1900, "I have twenty three dogs, you"))), ""),
            (2000, some(interim(text(2000, "I have 23 dogs, you"))), "I have 23 dogs, [clause, 2 stable interims]"),
            (2300, some(interim(text(2300, "i have twenty-three dogs you see, all"))), ""),
            (2400, some(last(text(2400, "I have twenty three dogs. You see, all."))), "You see, all. [end of turn]"),
        ],
    );
    let ledger = play(
        "twice the same word, times that move",
        clause(),
        vec![
            (1000, some(interim(timed(1000, "no, no, I", &[(100, 300), (500, 700), (800, 990)]))), ""),
            (
                1200,
                some(interim(timed(1200, "no, no, I", &[(100, 300), (500, 700), (800, 990)]))),
                "no, no, [clause, 2 stable interims]",
            ),
            (
                1400,
                some(interim(timed(1400, "No. No. I do", &[(130, 330), (640, 860), (900, 1000), (1100, 1300)]))),
                "",
            ),
            (
                1600,
                some(last(timed(1600, "No. No. I do.", &[(130, 330), (640, 860), (900, 1000), (1100, 1300)]))),
                "I do. [end of turn]",
            ),
        ],
    );
    assert_eq!(ledger.revised(), 0);
}

#[test]
fn results_without_times() {
    let clause = || ledger("en", "clause");
    play("a turn that grows, with words that are spread evenly over it", clause(), {
        let turn = |end: u64, text: &str| {
            let count = text.split(' ').count() as u64;
            let times: Vec<(u64, u64)> = (0..count).map(|i| (end * i / count, end * (i + 1) / count)).collect();
            timed(end, text, &times)
        };
        vec![
            (1000, Some(interim(turn(1000, "hello there"))), ""),
            (1250, Some(interim(turn(1250, "hello there, how"))), "hello there, [clause, 2 stable interims]"),
            (1500, Some(interim(turn(1500, "hello there, how are"))), ""),
            (1750, Some(SttEvent::EagerEnd(turn(1750, "Hello there, how are you?"))), ""),
            (
                2000,
                Some(SttEvent::Resumed(turn(2000, "Hello there, how are you, my"))),
                "how are you, [clause, 2 stable interims]",
            ),
            (4000, Some(last(turn(4000, "Hello there, how are you, my friend?"))), "my friend? [end of turn]"),
            (4100, Some(interim(Transcript { start: ms(4000), ..turn(5000, "I am hello there") })), ""),
        ]
    });
    let ledger = play(
        "a pause shows when nothing is added",
        clause(),
        vec![
            (1000, Some(interim(text(1000, "yes we can"))), ""),
            (1250, Some(interim(text(1250, "yes we can"))), ""),
            (1500, Some(interim(text(1500, "yes we can"))), "yes we can [clause, 3 stable interims]"),
            (1750, Some(last(text(1750, "Yes, we can."))), ""),
        ],
    );
    assert_eq!(ledger.revised(), 0);
    let ledger = play(
        "words that are replaced, joined and left out after they were committed",
        clause(),
        vec![
            (1700, Some(interim(text(1700, "their web site is down today, so I"))), ""),
            (
                2100,
                Some(interim(text(1800, "their web site is down today, so I"))),
                "their web site is down today, [clause, 2 stable interims]",
            ),
            (2300, Some(interim(text(2300, "there website is down today so I am"))), ""),
            (2500, Some(last(text(2500, "There website is today. So I am late."))), "So I am late. [end of turn]"),
        ],
    );
    assert_eq!(ledger.revised(), 2, "there, down");
    let ledger = play(
        "a result that is shorter for once",
        clause(),
        vec![
            (1000, Some(interim(text(1000, "red green, blue"))), ""),
            (1100, Some(interim(text(1100, "red green, blue"))), "red green, [clause, 2 stable interims]"),
            (1200, Some(interim(text(1200, "red"))), ""),
            (1300, Some(interim(text(1300, "red green blue white"))), ""),
            (1500, Some(last(text(1500, "Red, green, blue, white."))), "blue, white. [end of turn]"),
        ],
    );
    assert_eq!(ledger.revised(), 0);
}

#[test]
fn scripts_without_spaces() {
    play(
        "Japanese without words: what is overdue is cut where kana end",
        ledger("ja", "clause"),
        vec![
            (1000, Some(interim(text(1000, "今日は天気"))), ""),
            (2000, Some(interim(text(2000, "今日は天気がいいので"))), ""),
            (2400, None, "今日は [overdue]"),
            (
                2500,
                Some(last(text(2500, "今日は天気がいいので、散歩します。"))),
                "天気がいいので、散歩します。 [end of turn]",
            ),
        ],
    );
    let words = |end, text: &str, words: &[(&str, u64, u64)]| {
        let word = |(text, start, end): &(&str, u64, u64)| Word {
            text: (*text).into(),
            start: ms(*start),
            end: ms(*end),
            confidence: 0.9,
        };
        Transcript { words: words.iter().map(word).collect(), ..self::text(end, text) }
    };
    let ledger = play(
        "words that are divided in another way each time",
        ledger("ja", "agreement"),
        vec![
            (
                1000,
                Some(interim(words(1000, "東京都に", &[("東京", 100, 500), ("都", 500, 700), ("に", 700, 900)]))),
                "",
            ),
            (
                1300,
                Some(interim(words(
                    1300,
                    "東京都に住",
                    &[("東", 100, 300), ("京都", 300, 700), ("に", 700, 900), ("住", 900, 1200)],
                ))),
                "東京都に [agreement, 2 interims]",
            ),
            (
                1600,
                Some(last(words(
                    1600,
                    "東京都に住む。",
                    &[("東京都", 100, 700), ("に", 700, 900), ("住む", 900, 1400)],
                ))),
                "住む。 [end of turn]",
            ),
        ],
    );
    assert_eq!(ledger.revised(), 0);
    play(
        "Thai is cut between its words where they are marked, and nowhere else",
        self::ledger("th", "agreement"),
        vec![
            (1000, Some(interim(text(1000, "ฉันไปโรงเรียน"))), ""),
            (3000, Some(interim(text(3000, "ฉันไปโรงเรียนทุกวัน"))), ""),
            (
                3100,
                Some(last(words(3100, "ฉันไปโรงเรียน", &[("ฉัน", 100, 500), ("ไป", 500, 900), ("โรงเรียน", 900, 1900)]))),
                "ฉันไปโรงเรียน [end of turn]",
            ),
        ],
    );
}

#[test]
fn agreement_and_final() {
    let mut three = ledger("en", "agreement");
    three.config.agreement = 3;
    play(
        "three results agree",
        three,
        vec![
            (1000, Some(interim(paced(1000, "a red cat sat"))), ""),
            (1250, Some(interim(paced(1250, "a red cat sat on"))), ""),
            (1500, Some(interim(paced(1500, "a red hat sat on"))), "a red [agreement, 3 interims]"),
            (1750, Some(interim(paced(1750, "a red cat sat on the"))), ""),
            (2000, Some(last(paced(2000, "a red cat sat on the mat"))), "cat sat on the mat [end of turn]"),
        ],
    );
    let ledger = play(
        "only what is final",
        ledger("en", "final"),
        vec![
            (1000, Some(interim(paced(1000, "I see. You"))), ""),
            (1100, Some(interim(paced(1100, "I see. You"))), ""),
            (9000, None, ""),
            (9000, Some(part(paced(1500, "I see. You know"))), "I see. You know [final]"),
        ],
    );
    assert_eq!(ledger.ahead(), None);
}

#[test]
fn a_final_result_that_covers_less_than_what_was_committed() {
    let later = |end: u64, text: &str, from: u64| {
        let mut t = paced(end, text);
        t.start = ms(from);
        t.words = t.words.into_iter().map(|w| Word { start: w.start + ms(from), end: w.end + ms(from), ..w }).collect();
        t
    };
    let ledger = play(
        "with times",
        ledger("en", "clause"),
        vec![
            (1900, Some(interim(paced(1900, "red green blue white, black pink"))), ""),
            (
                2000,
                Some(interim(paced(2000, "red green blue white, black pink"))),
                "red green blue white, [clause, 2 stable interims]",
            ),
            (2100, Some(part(paced(650, "red green"))), ""),
            (2300, Some(interim(later(2300, "blue white black pink grey", 600))), ""),
            (2500, Some(last(later(2500, "blue, white, black, pink, grey.", 600))), "black, pink, grey. [end of turn]"),
        ],
    );
    assert_eq!((ledger.revised(), ledger.ahead()), (0, None));
    let ledger = play(
        "without",
        self::ledger("en", "clause"),
        vec![
            (1900, Some(interim(text(1900, "red green blue white, black pink"))), ""),
            (
                2000,
                Some(interim(text(2000, "red green blue white, black pink"))),
                "red green blue white, [clause, 2 stable interims]",
            ),
            (2100, Some(part(text(650, "Red, green."))), ""),
            (2300, Some(interim(Transcript { start: ms(650), ..text(2300, "blue white black pink grey") })), ""),
            (
                2500,
                Some(last(Transcript { start: ms(650), ..text(2500, "Blue, white, black, pink, grey.") })),
                "black, pink, grey. [end of turn]",
            ),
        ],
    );
    assert_eq!(ledger.revised(), 0);
}

#[test]
fn the_tail_is_what_a_commit_would_have() {
    let mut ledger = ledger("en", "clause");
    assert_eq!(ledger.tail(), None);
    ledger.hear(ms(1500), &interim(paced(1500, "Well, I know")));
    let tail = |ledger: &Ledger| ledger.tail().map(|t| (t.text, t.start, t.end, t.stable));
    assert_eq!(tail(&ledger), Some(("Well, I know".into(), ms(100), ms(900), false)));
    ledger.hear(ms(1600), &interim(paced(1000, "Well, I know")));
    assert_eq!(tail(&ledger), Some(("I know".into(), ms(400), ms(900), true)));
    ledger.hear(ms(1700), &interim(paced(1300, "Well, I know him")));
    assert_eq!(tail(&ledger), Some(("I know him".into(), ms(400), ms(1200), false)));
    assert!(ledger.hear(ms(1800), &SttEvent::EagerEnd(paced(1800, "Well, I know her."))).is_empty());
    assert_eq!(tail(&ledger), Some(("I know her.".into(), ms(400), ms(1200), true)));
    let commits = ledger.hear(ms(1900), &last(paced(1900, "Well, I know her.")));
    assert_eq!(show(&commits), "I know her. [end of turn]");
    assert_eq!((commits[0].start, commits[0].end, commits[0].words.len()), (ms(400), ms(1200), 3));
    assert_eq!(ledger.tail(), None);
}

#[test]
fn nothing_is_committed_without_a_word() {
    play(
        "punctuation alone",
        ledger("en", "clause"),
        vec![
            (1000, Some(interim(text(1000, "..."))), ""),
            (1000, Some(interim(text(1000, "..."))), ""),
            (5000, None, ""),
            (5000, Some(last(text(5000, "…"))), ""),
            (5000, Some(last(text(5000, " "))), ""),
        ],
    );
}

#[test]
fn a_lost_connection() {
    let mut ledger = ledger("en", "clause");
    ledger.hear(ms(1500), &interim(paced(1500, "we came, we saw it")));
    let commits = ledger.hear(ms(1600), &interim(paced(1600, "we came, we saw it")));
    assert_eq!(show(&commits), "we came, [clause, 2 stable interims]");
    assert_eq!(ledger.ahead(), Some((ms(0), ms(600))));
    // It is heard again: nothing of it comes twice, nothing behind it comes before it.
    let script = vec![
        (1700, Some(SttEvent::Replaying { start: ms(0), end: ms(2500) }), ""),
        (3000, Some(interim(Transcript { start: ms(2400), ..text(3000, "now what") })), ""),
        (9000, None, ""),
        (3100, Some(last(timed(3100, "us now", &[(2300, 2550), (2700, 3000)]))), ""),
        (
            3200,
            Some(SttEvent::Recovered(timed(
                1250,
                "We came. We saw",
                &[(120, 310), (430, 640), (700, 900), (1000, 1200)],
            ))),
            "We saw [recovered]",
        ),
        (
            3300,
            Some(SttEvent::Recovered(Transcript {
                start: ms(1250),
                ..timed(2500, "it us", &[(1300, 1500), (2300, 2500)])
            })),
            "it us [recovered]",
        ),
        (3300, Some(SttEvent::Replayed { start: ms(0), end: ms(2500) }), "now [end of turn]"),
    ];
    let mut ledger = play("replayed", ledger, script);
    assert_eq!((ledger.revised(), ledger.ahead()), (0, None));
    // It is not: what is known of it is committed, but for what may be half a word.
    let at = |end, words: &str| {
        let mut t = paced(end, words);
        t.start = ms(10_000);
        t.end += ms(10_000);
        t.words =
            t.words.into_iter().map(|w| Word { start: w.start + ms(10_000), end: w.end + ms(10_000), ..w }).collect();
        t
    };
    ledger.hear(ms(11_000), &interim(at(1000, "so it goes")));
    let commits = ledger.hear(ms(11_200), &SttEvent::Lost { start: ms(10_000), end: ms(11_500) });
    assert_eq!(show(&commits), "so it [interrupted]");
    assert_eq!(ledger.ahead(), Some((ms(10_000), ms(10_600))));
    assert_eq!(ledger.tail(), None);
    assert!(
        ledger.hear(ms(12_000), &interim(Transcript { start: ms(11_500), ..text(12_000, "it goes on") })).is_empty()
    );
    assert_eq!(ledger.tail().map(|t| t.text), Some("it goes on".into()));
    ledger.forget_replays();
    assert_eq!((ledger.tail(), ledger.ahead()), (None, None));
}

fn finals() -> Ledger {
    Ledger::new(config(&[("ledger.policy", "final")]).ledger)
}

fn heard(words: &[(&str, u64, u64)], is_final: bool) -> SttEvent {
    let words: Vec<Word> = words
        .iter()
        .map(|&(text, start, end)| Word { text: text.into(), start: ms(start), end: ms(end), confidence: 0.9 })
        .collect();
    let transcript = Transcript {
        text: words.iter().map(|w| w.text.as_str()).collect::<Vec<_>>().join(" "),
        start: words.first().map_or(ms(0), |w| w.start),
        end: words.last().map_or(ms(0), |w| w.end),
        words,
        language: None,
    };
    if is_final { SttEvent::Final { transcript, speech_final: true } } else { SttEvent::Interim(transcript) }
}

#[test]
fn each_word_once() {
    // (report, is it final, what is committed)
    type Row = (&'static [(&'static str, u64, u64)], bool, Option<&'static str>);
    let script: &[Row] = &[
        (&[("hello", 100, 400)], false, None),
        (&[("hello", 100, 400), ("there", 450, 700)], true, Some("hello there")),
        (&[("hello", 100, 400), ("there", 450, 700)], true, None),
        (&[("there", 455, 710), ("friend", 720, 900)], true, Some("friend")),
        (&[], true, None),
        (&[("bye", 2000, 2200)], true, Some("bye")),
    ];
    let mut ledger = finals();
    for (i, (words, is_final, want)) in script.iter().enumerate() {
        let got: Vec<String> = ledger.hear(ms(0), &heard(words, *is_final)).into_iter().map(|c| c.text).collect();
        assert_eq!(got, want.iter().map(|text| text.to_string()).collect::<Vec<_>>(), "row {i}");
    }
    assert_eq!(ledger.repeated(), 3);
    assert_eq!(ledger.committed_to(), ms(2200));
}

#[test]
fn a_provider_without_word_times() {
    let mut ledger = finals();
    let report = |text: &str, start, end| SttEvent::Final {
        transcript: Transcript { text: text.into(), words: vec![], start: ms(start), end: ms(end), language: None },
        speech_final: true,
    };
    let texts = |commits: Vec<Commit>| commits.into_iter().map(|c| c.text).collect::<Vec<_>>();
    assert_eq!(texts(ledger.hear(ms(0), &report("one two", 0, 900))), ["one two"]);
    assert_eq!(texts(ledger.hear(ms(0), &report("one two", 0, 900))), [""; 0]);
    assert_eq!(texts(ledger.hear(ms(0), &report("three", 900, 1500))), ["three"]);
}

#[test]
fn what_is_replayed_comes_before_what_was_said_after_it() {
    let mut ledger = finals();
    let mut hear =
        |event: SttEvent| ledger.hear(ms(0), &event).into_iter().map(|c| c.text).collect::<Vec<_>>().join("|");
    let recovered = |words: &[(&str, u64, u64)]| match heard(words, true) {
        SttEvent::Final { transcript, .. } => SttEvent::Recovered(transcript),
        other => other,
    };
    let replaying = |start, end| SttEvent::Replaying { start: ms(start), end: ms(end) };
    let replayed = |start, end| SttEvent::Replayed { start: ms(start), end: ms(end) };
    // (report, what is committed)
    let script = [
        (heard(&[("one", 100, 400)], true), "one"),
        (replaying(500, 1500), ""),
        // The live stream began in the middle of "three", and hears a piece of it.
        (heard(&[("ree", 1500, 1600), ("four", 1800, 2100)], true), ""),
        (replaying(500, 1700), ""),
        (recovered(&[("two", 600, 900)]), "two"),
        (replaying(2500, 3000), ""),
        (recovered(&[("three", 1300, 1620)]), "three"),
        (heard(&[("six", 3100, 3400)], true), ""),
        (replayed(500, 1700), "four"),
        (recovered(&[("five", 2600, 2900)]), "five"),
        (replayed(2500, 3000), "six"),
        (heard(&[("seven", 3500, 3800)], true), "seven"),
    ];
    for (i, (report, want)) in script.into_iter().enumerate() {
        assert_eq!(hear(report), want, "row {i}");
    }
}

#[test]
fn a_flood_of_results_waits_no_longer() {
    let mut ledger = finals();
    ledger.hear(ms(0), &SttEvent::Replaying { start: ms(0), end: ms(1) });
    let mut committed = 0;
    for i in 0..=MOST_HELD as u64 {
        committed += ledger.hear(ms(0), &heard(&[("x", 10 + i * 10, 19 + i * 10)], true)).len();
    }
    assert_eq!(committed, MOST_HELD + 1);
}
