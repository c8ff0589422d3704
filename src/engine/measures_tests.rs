//! Each measure against values that were worked out by hand.

use super::*;

fn piece(said: (f64, f64), heard: (f64, f64), words: (usize, usize)) -> Piece {
    let span = |(start, end)| Span { start, end };
    Piece { said: span(said), heard: span(heard), source_words: words.0, target_words: words.1 }
}

fn close(got: f64, want: f64, what: &str) {
    assert!((got - want).abs() < 1e-6, "{what}: {got}, not {want}");
}

#[test]
fn lags_of_words_go_by_their_place() {
    // Four words in 1000 ms, heard in 2000 ms that begin 500 ms after the last: said ends at 250 500 750 1000, heard at
    // 2000 2500 3000 3500.
    let lags: Vec<f64> = piece((0.0, 1000.0), (1500.0, 3500.0), (4, 7)).word_lags().collect();
    assert_eq!(lags, [1750.0, 2000.0, 2250.0, 2500.0]);
    // Played faster than it was said: the lag falls.
    let lags: Vec<f64> = piece((0.0, 1000.0), (2000.0, 2500.0), (2, 2)).word_lags().collect();
    assert_eq!(lags, [1750.0, 1500.0]);
}

#[test]
fn measures_by_hand() {
    // (pieces, StartOffset, EndOffset, LAAL, ATD)
    type Row = (&'static str, Vec<Piece>, f64, f64, f64, f64);
    let rows: Vec<Row> = vec![
        (
            // Delays of the three words 400, 600, 800 of 900 ms; evenly they would come every 300.
            // LAAL: (400 + (600 - 300) + (800 - 600)) / 3. ATD: tokens end at 700 1000 for 300 600, both 400 late.
            "heard while it is said",
            vec![piece((0.0, 900.0), (400.0, 1000.0), (3, 3))],
            400.0,
            100.0,
            300.0,
            400.0,
        ),
        (
            // The first word comes when all has been said: its delay is the answer.
            // ATD: tokens end at 1800 2100 2400 for 300 600 900.
            "heard behind it",
            vec![piece((0.0, 900.0), (1500.0, 2400.0), (3, 3))],
            1500.0,
            1500.0,
            1500.0,
            1500.0,
        ),
        (
            // Six words for three do not make it look quicker: evenly every 150. Delays 300, 400, 500, 600, 700, 800:
            // (300 + 250 + 200 + 150 + 100 + 50) / 6. ATD: tokens 600 900 for 300 600.
            "more words than were said",
            vec![piece((0.0, 900.0), (300.0, 900.0), (3, 6))],
            300.0,
            0.0,
            175.0,
            300.0,
        ),
        (
            // 2 + 2 words in 1200 ms: evenly every 300. Delays 500, 650, 1100, 1400 from the turn's beginning, and the
            // last of them is the first that is not below 1200: 500, 350, 500, 500.
            // ATD: tokens end at 800 | 1400 1700 in the ear, and stand for 300 | 600 900: the first segment's sound is
            // one token only.
            "two segments",
            vec![piece((0.0, 600.0), (500.0, 800.0), (2, 2)), piece((600.0, 1200.0), (1100.0, 1700.0), (2, 2))],
            500.0,
            500.0,
            (500.0 + 350.0 + 500.0 + 500.0) / 4.0,
            (500.0 + 800.0 + 800.0) / 3.0,
        ),
        (
            // The first segment's translation is a token too long: the surplus stands for its last token, and the next
            // segment's tokens for its own.
            "a translation that is longer",
            vec![piece((0.0, 300.0), (1000.0, 1600.0), (1, 2)), piece((300.0, 900.0), (1600.0, 2200.0), (2, 2))],
            1000.0,
            1300.0,
            // Delays 1000: 900 has been said.
            1000.0,
            // 1300 1600 | 1900 2200 against 300 300 | 600 900.
            (1000.0 + 1300.0 + 1300.0 + 1300.0) / 4.0,
        ),
    ];
    for (name, pieces, start, end, lagging, delay) in rows {
        close(start_offset(&pieces), start, name);
        close(end_offset(&pieces), end, name);
        close(laal(&pieces), lagging, name);
        close(atd(&pieces), delay, name);
    }
    for nothing in [start_offset(&[]), end_offset(&[]), laal(&[]), atd(&[])] {
        close(nothing, 0.0, "nothing");
    }
}

#[test]
fn a_segment_by_itself() {
    let marks = Marks {
        speech_start_ms: Some(1000.0),
        speech_end_ms: Some(1900.0),
        playout_start_ms: Some(1400.0),
        playout_end_ms: Some(2000.0),
        ..Marks::default()
    };
    let piece = Piece::of(&marks, "one two, three", "uno dos tres").expect("all four times");
    assert_eq!((piece.source_words, piece.target_words), (3, 3));
    let m = piece.measures();
    // Words end at 1300 1600 1900 in the mouth, at 1600 1800 2000 in the ear.
    assert_eq!((m.words, m.word_lag_mean_ms, m.word_lag_max_ms), (3, 200.0, 300.0));
    assert_eq!((m.start_offset_ms, m.end_offset_ms, m.laal_ms, m.atd_ms), (400.0, 100.0, 300.0, 400.0));
    assert_eq!(Piece::of(&Marks { playout_start_ms: None, ..marks }, "one", "uno"), None);
}

#[test]
fn words_of_all_scripts() {
    for (text, words) in [
        ("", 0),
        ("  ... !", 0),
        ("one", 1),
        ("Don't stop, well-known friend.", 4),
        ("¿qué tal?", 2),
        ("1,000.5 euros", 2),
        ("你好吗", 3),
        ("これはABC です", 6),
        ("Привет, мир", 2),
    ] {
        assert_eq!(words_in(text), words, "{text}");
    }
}

#[test]
fn quantiles_are_near_enough() {
    let mut lags = Lags::default();
    assert_eq!((lags.quantile(0.5), lags.max()), (0.0, 0.0));
    // 1 to 10,000 ms, in an order of no meaning.
    for i in 0..10_000u32 {
        lags.add(f64::from(i * 7919 % 10_000 + 1));
    }
    assert_eq!((lags.count(), lags.max()), (10_000, 10_000.0));
    for (q, want) in [(0.05, 500.0), (0.5, 5000.0), (0.95, 9500.0), (0.99, 9900.0)] {
        let got = lags.quantile(q);
        assert!((got / want - 1.0).abs() < 0.03, "{q}: {got}");
    }
    // What is out of all bounds is kept, and does no harm.
    for wild in [-5.0, 1e9, f64::NAN] {
        lags.add(wild);
    }
    assert_eq!((lags.count(), lags.max()), (10_003, 1e9));
    assert!(lags.quantile(1.0) > 100_000.0);
}

#[test]
fn an_account_measures_turn_by_turn() {
    let (ear, other) = (SessionId(2), SessionId(3));
    let mut account = Account::default();
    // Two turns of two segments of 500 ms, 2 s apart: StartOffset 1000 and 3000, EndOffset 1500 and 3500.
    for (from, late) in [(0.0, 1000.0), (3000.0, 3000.0)] {
        for (begins, more) in [(0.0, 0.0), (500.0, 500.0)] {
            let said = (from + begins, from + begins + 500.0);
            account.heard(ear, piece(said, (said.0 + late + more, said.1 + late + more), (5, 5)), 1.0);
        }
    }
    let told = account.json(0, None);
    assert_eq!((&told["turns"], &told["words"]), (&json!(2.0), &json!(20)));
    assert_eq!((&told["start_offset_ms"], &told["end_offset_ms"]), (&json!(2000.0), &json!(2500.0)));
    assert_eq!(told["word_lag_ms"]["max"], 3500.0);
    assert_eq!((&told["revision_rate"], &told["speculation_hit_rate"]), (&json!(0.0), &Value::Null));
    account.committed("one two, three");
    account.committed("four");
    let revised = account.json(1, Some(0.75));
    assert_eq!((&revised["committed_words"], &revised["revision_rate"]), (&json!(4), &json!(0.25)));
    assert_eq!(revised["speculation_hit_rate"], 0.75);
    assert_eq!(told["mean_stretch"], 1.0);
    // Another ear's turn is its own.
    account.heard(other, piece((0.0, 500.0), (8000.0, 8500.0), (5, 5)), 1.0);
    let told = account.json(0, None);
    assert_eq!((&told["turns"], &told["start_offset_ms"]), (&json!(3.0), &json!(4000.0)));
    // Talk that never ends is measured minute by minute, in bounded memory.
    for i in 0..20_000u32 {
        let said = (f64::from(i) * 500.0, f64::from(i) * 500.0 + 500.0);
        account.heard(ear, piece(said, (said.0 + 900.0, said.1 + 900.0), (3, 3)), 1.0);
    }
    assert!(account.open.values().all(|open| open.len() <= MOST_PIECES));
    assert!(account.json(0, None)["turns"].as_f64() > Some(150.0));
    for ear in 100..300 {
        account.heard(SessionId(ear), piece((0.0, 500.0), (900.0, 1400.0), (3, 3)), 1.0);
    }
    assert!(account.open.len() <= MOST_EARS);
}

/// A second at 1.2 times its speed and three at their own: 4.2 s of sound were heard in 4 s.
#[test]
fn stretch_counts_by_length() {
    let mut account = Account::default();
    assert_eq!(account.json(0, None)["mean_stretch"], 1.0);
    account.heard(SessionId(2), piece((0.0, 1000.0), (2000.0, 3000.0), (5, 5)), 1.2);
    account.heard(SessionId(2), piece((1000.0, 4000.0), (3000.0, 6000.0), (15, 15)), 1.0);
    assert_eq!(account.json(0, None)["mean_stretch"], 1.05);
}
