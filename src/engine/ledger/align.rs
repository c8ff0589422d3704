//! Which words of a new result are those of an older one: the part that is the same, and where what was committed ends.
//!
//! Numbers are known by their words, not by their value: of several numbers in a row, with no other word between them and
//! no times, it may be taken for wrong which ones digits stand for.

use std::ops::Range;
use std::time::Duration;

use super::tables::is_number;
use super::words::Token;

/// Pieces that one result writes as one word and another as several.
const MOST_PIECES: usize = 4;
/// Words of a number that another result writes in digits.
const LONGEST_NUMBER: usize = 8;
/// A new result does not shift what is committed by more words than this.
const BAND: usize = 40;
/// Costs: a word that is there once; another way to write the same; a word that is replaced by an unlike one.
const GAP: f32 = 1.0;
const REWRITTEN: f32 = 0.05;
const UNLIKE: f32 = 0.9;
/// Of a word that committed time says was heard before.
const GAP_IN_TIME: f32 = 0.6;
/// Of a word that is missing at the end of a result which does not reach so far, or may still get it.
const BEYOND: f32 = 0.05;
const NOT_YET: f32 = 0.4;
/// A word that lies so far on the wrong side of committed time is as unlikely as one that is missing.
const FAR: Duration = Duration::from_millis(150);
const FARTHEST: f32 = 2.0;

/// Marks in `new` which of its first words are the same as in `old`, the result before it (both without what is
/// committed): they have been seen once more. Gives how many.
pub(super) fn agree(code: &str, old: &[Token], new: &mut [Token], keep_times: bool) -> usize {
    let (mut i, mut j) = (0, 0);
    while i < old.len() && j < new.len() {
        let Some((a, b)) = same(code, &old[i..], &new[j..]) else { break };
        let seen = old[i..i + a].iter().map(|t| t.seen).min().unwrap_or(0) + 1;
        let (start, end) = (old[i].start, old[i + a - 1].end);
        let step = end.saturating_sub(start) / b.max(1) as u32;
        for (n, token) in (0u32..).zip(&mut new[j..j + b]) {
            token.seen = seen;
            if keep_times {
                (token.start, token.end) = (start + step * n, start + step * (n + 1));
            }
        }
        (i, j) = (i + a, j + b);
    }
    j
}

/// How many of the first words of each are the same, however they are written.
fn same(code: &str, old: &[Token], new: &[Token]) -> Option<(usize, usize)> {
    if old[0].norm == new[0].norm {
        return Some((1, 1));
    }
    for pieces in 2..=MOST_PIECES {
        if joined(old, pieces, &new[0].norm) {
            return Some((pieces, 1));
        }
        if joined(new, pieces, &old[0].norm) {
            return Some((1, pieces));
        }
    }
    // Numbers in digits and in letters, once both are over.
    let length = |tokens: &[Token]| tokens.iter().take_while(|t| is_number(code, &t.norm)).count();
    let (a, b) = (length(old), length(new));
    let over = a > 0 && b > 0 && a < old.len() && b < new.len();
    (over && digits(&old[..a]) != digits(&new[..b])).then_some((a, b))
}

/// Whether the first `pieces` tokens make this word together.
fn joined(tokens: &[Token], pieces: usize, word: &str) -> bool {
    let mut rest = word;
    let Some(tokens) = tokens.get(..pieces) else { return false };
    tokens.iter().all(|t| rest.strip_prefix(t.norm.as_str()).map(|left| rest = left).is_some()) && rest.is_empty()
}

/// What is known about times when committed words are looked for.
pub(super) struct Times {
    /// Session time up to which words are committed, where the new result has times of words.
    pub committed_to: Option<Duration>,
    /// Up to here the new result tells what was said.
    pub end: Duration,
}

/// Where committed words are in a new result.
#[derive(Debug, PartialEq)]
pub(super) struct Found {
    /// So many of its first words are committed.
    pub fresh: usize,
    /// Of these, what was counted as revised (by now or before).
    pub revised: Vec<bool>,
    /// So many of the committed words are in it; those behind it may still come.
    pub used: usize,
    /// Words that have changed since they were committed, not counted before.
    pub changes: u64,
}

/// Finds what was committed in a new result: the alignment that changes least and fits times best.
pub(super) fn find(code: &str, committed: &[Token], new: &[Token], times: &Times) -> Found {
    let prefix = committed.iter().zip(new).take_while(|(a, b)| a.norm == b.norm).count();
    if prefix == committed.len() {
        let revised = committed.iter().map(|t| t.revised).collect();
        return Found { fresh: prefix, revised, used: prefix, changes: 0 };
    }
    // Words in front of all that is committed here: the result before had them too.
    let first = committed.first().map_or(Duration::ZERO, |t| t.start);
    let skip = match times.committed_to {
        Some(_) if prefix == 0 => new.iter().take_while(|t| t.middle() < first).count(),
        _ => 0,
    };
    let front = prefix + skip;
    let (a, b) = (&committed[prefix..], &new[front..]);
    let b_len = b.len().min(a.len() + BAND);
    let mut grid = Grid::new(a.len(), b_len);
    for i in 0..=a.len() {
        for j in grid.columns(i) {
            grid.fill(code, a, b, i, j, times);
        }
    }
    let (i, j) = grid.end(a, b, times);
    let mut found = Found { fresh: front + j, revised: vec![false; skip], used: prefix + i, changes: 0 };
    found.revised.extend(committed[..prefix].iter().map(|t| t.revised));
    let mut path = Vec::new();
    let (mut i, mut j) = (i, j);
    while (i, j) != (0, 0) {
        let (di, dj, kind) = grid.step(i, j);
        path.push((i - di..i, dj, kind));
        (i, j) = (i - di, j - dj);
    }
    for (old, count, kind) in path.into_iter().rev() {
        let known = a[old.clone()].iter().filter(|t| t.revised).count();
        let changed = kind == Kind::Changed;
        if changed {
            found.changes += (old.len().max(count) - known.min(old.len())) as u64;
        }
        found.revised.extend(std::iter::repeat_n(changed || known > 0, count));
    }
    found
}

/// What a step of the alignment means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Same,
    Changed,
}

/// The costs of aligning the first `i` of one list with the first `j` of the other, near the diagonal.
struct Grid {
    rows: usize,
    columns: usize,
    cells: Vec<(f32, u8, u8, Kind)>,
}

const WIDTH: usize = 2 * BAND + 1;

impl Grid {
    fn new(rows: usize, columns: usize) -> Self {
        Grid { rows, columns, cells: vec![(f32::INFINITY, 0, 0, Kind::Same); (rows + 1) * WIDTH] }
    }

    fn columns(&self, i: usize) -> std::ops::RangeInclusive<usize> {
        i.saturating_sub(BAND)..=(i + BAND).min(self.columns)
    }

    fn at(&self, i: usize, j: usize) -> Option<usize> {
        (self.columns(i).contains(&j) && i <= self.rows).then(|| i * WIDTH + j + BAND - i)
    }

    fn cost(&self, i: usize, j: usize) -> f32 {
        self.at(i, j).map_or(f32::INFINITY, |at| self.cells[at].0)
    }

    fn step(&self, i: usize, j: usize) -> (usize, usize, Kind) {
        match self.at(i, j).map(|at| self.cells[at]) {
            Some((_, di, dj, kind)) if (di, dj) != (0, 0) => (di.into(), dj.into(), kind),
            _ => (i.min(1), j.min(1), Kind::Changed),
        }
    }

    fn fill(&mut self, code: &str, a: &[Token], b: &[Token], i: usize, j: usize, times: &Times) {
        let mut best = (f32::INFINITY, 0, 0, Kind::Same);
        if (i, j) == (0, 0) {
            best.0 = 0.0;
        }
        let mut offer = |grid: &Self, di: usize, dj: usize, cost: f32, kind: Kind| {
            let cost = grid.cost(i - di, j - dj) + cost;
            if cost < best.0 {
                best = (cost, di as u8, dj as u8, kind);
            }
        };
        if i > 0 && j > 0 {
            let (x, y) = (&a[i - 1], &b[j - 1]);
            let (p, q) = (zone(code, a, i), zone(code, b, j));
            if p > 0 && q > 0 && digits(&a[i - p..i]) != digits(&b[j - q..j]) {
                offer(self, p, q, REWRITTEN, Kind::Same);
            }
            if x.norm == y.norm {
                offer(self, 1, 1, 0.0, Kind::Same);
            } else {
                offer(self, 1, 1, unlike(&x.norm, &y.norm), Kind::Changed);
                for n in 2..=MOST_PIECES {
                    if n <= i && joined(&a[i - n..], n, &y.norm) {
                        offer(self, n, 1, REWRITTEN, Kind::Same);
                    }
                    if n <= j && joined(&b[j - n..], n, &x.norm) {
                        offer(self, 1, n, REWRITTEN, Kind::Same);
                    }
                }
                if y.has_digits() && !x.has_digits() {
                    for n in 1..=LONGEST_NUMBER.min(i) {
                        let (cost, kind) = number(code, (a, i - n..i), (b, j - 1..j));
                        offer(self, n, 1, cost, kind);
                    }
                }
                if x.has_digits() && !y.has_digits() {
                    for n in 1..=LONGEST_NUMBER.min(j) {
                        let (cost, kind) = number(code, (b, j - n..j), (a, i - 1..i));
                        offer(self, 1, n, cost, kind);
                    }
                }
            }
        }
        if i > 0 {
            offer(self, 1, 0, GAP, Kind::Changed);
        }
        if j > 0 {
            let in_time = times.committed_to.is_some_and(|to| b[j - 1].middle() < to);
            offer(self, 0, 1, if in_time { GAP_IN_TIME } else { GAP }, Kind::Changed);
        }
        if let Some(at) = self.at(i, j) {
            self.cells[at] = best;
        }
    }

    /// Where committed words end in both.
    fn end(&self, a: &[Token], b: &[Token], times: &Times) -> (usize, usize) {
        let far = |d: Duration| (d.as_secs_f32() / FAR.as_secs_f32()).min(FARTHEST);
        let (late, early): (Vec<f32>, Vec<f32>) = b
            .iter()
            .map(|t| match times.committed_to {
                Some(to) => (far(t.middle().saturating_sub(to)), far(to.saturating_sub(t.middle()))),
                None => (0.0, 0.0),
            })
            .unzip();
        let cut = |j: usize| late[..j].iter().sum::<f32>() + early[j..].iter().sum::<f32>();
        // The length that was committed is the likeliest; then rather a word twice than none.
        let mut places: Vec<usize> = self.columns(self.rows).collect();
        places.sort_by_key(|j| (j.abs_diff(self.rows), *j));
        let mut best = (f32::INFINITY, (self.rows, self.columns));
        for j in places {
            let cost = self.cost(self.rows, j) + cut(j);
            if cost < best.0 {
                best = (cost, (self.rows, j));
            }
        }
        if self.columns == b.len() {
            let mut left = 0.0;
            for i in (0..self.rows).rev() {
                let beyond = times.committed_to.is_some() && a[i].middle() + FAR / 3 >= times.end;
                left += if beyond { BEYOND } else { NOT_YET };
                let cost = self.cost(i, self.columns) + left + cut(self.columns);
                if cost < best.0 {
                    best = (cost, (i, self.columns));
                }
            }
        }
        best.1
    }
}

/// The length of the number that ends in front of token `at`; 0 if none does.
fn zone(code: &str, tokens: &[Token], at: usize) -> usize {
    let is_part = |t: &Token| is_number(code, &t.norm);
    if tokens.get(at).is_some_and(is_part) {
        return 0;
    }
    tokens[..at].iter().rev().take_while(|t| is_part(t)).count().min(LONGEST_NUMBER)
}

fn digits(tokens: &[Token]) -> bool {
    tokens.iter().any(Token::has_digits)
}

/// The cost of taking words for digits: little for words of numbers and a unit with them, more where the number goes
/// on at either side.
fn number(code: &str, words: (&[Token], Range<usize>), in_digits: (&[Token], Range<usize>)) -> (f32, Kind) {
    if digits(&words.0[words.1.clone()]) {
        return (f32::INFINITY, Kind::Changed);
    }
    let goes_on = |(tokens, range): &(&[Token], Range<usize>)| {
        let before = range.start.checked_sub(1).and_then(|i| tokens.get(i));
        [before, tokens.get(range.end)].into_iter().flatten().filter(|t| is_number(code, &t.norm)).count()
    };
    let cut = goes_on(&words) + goes_on(&in_digits);
    let words = &words.0[words.1];
    let strange = words.iter().filter(|t| !is_number(code, &t.norm)).count();
    let kind = if strange < 2 && strange < words.len() { Kind::Same } else { Kind::Changed };
    (REWRITTEN + 0.6 * strange as f32 + 0.4 * cut as f32, kind)
}

/// Items to put in, leave out or change to make one list of the other (Levenshtein).
pub(super) fn distance<T: PartialEq>(a: &[T], b: &[T]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut before = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let changed = before + usize::from(x != y);
            before = row[j + 1];
            row[j + 1] = changed.min(before + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

/// The share of letters by which two words differ.
pub(in crate::engine) fn difference(a: &str, b: &str) -> f32 {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    distance(&a, &b) as f32 / a.len().max(b.len()).max(1) as f32
}

/// The cost of taking one word for another: by the letters that differ.
fn unlike(a: &str, b: &str) -> f32 {
    0.2 + (UNLIKE - 0.2) * difference(a, b)
}
