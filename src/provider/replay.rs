//! What of a lost connection's audio must be recognised again.
//!
//! A recogniser that dies has answered up to some point. Everything behind it was heard by nobody and is played to
//! another connection: the gap. Words must not be cut in two where the gap ends and the live stream goes on, so the
//! gap takes in what is said next, up to the first pause; the ledger drops what both have heard.

use std::collections::VecDeque;
use std::time::Duration;

use super::stream_clock::samples_to_time;
use crate::engine::level::is_quiet;

/// Audio kept for an answer that does not come; what is older cannot be recognised again.
pub const KEPT: Duration = Duration::from_secs(10);
/// A pause between words is at least so long.
const PAUSE: Duration = Duration::from_millis(120);
/// Who speaks without a pause is cut here; the word there may come twice or not at all.
const LONGEST_TAIL: Duration = Duration::from_secs(3);
/// Quiet kept before the first word of a gap: a word may begin quietly.
const LEAD_IN: Duration = Duration::from_millis(300);
/// Pieces that follow each other are kept as one up to this length: a host may push a millisecond at a time.
const PIECE: Duration = Duration::from_millis(100);
/// Levels are looked at in blocks of this length.
const BLOCK: Duration = Duration::from_millis(20);

/// A stretch of samples and the session time of the first one.
pub type Piece = (Duration, Vec<i16>);

/// Audio that was sent and not answered for.
#[derive(Debug)]
pub struct Unanswered {
    rate: u32,
    pieces: VecDeque<Piece>,
    samples: u64,
}

impl Unanswered {
    /// Nothing yet; audio will have `rate` Hz.
    pub fn new(rate: u32) -> Self {
        Self { rate: rate.max(1), pieces: VecDeque::new(), samples: 0 }
    }

    /// Takes note of audio that was sent. Gives the span of what had to be let go of for it, if it had.
    pub fn sent(&mut self, at: Duration, samples: Vec<i16>) -> Option<(Duration, Duration)> {
        self.samples += samples.len() as u64;
        if let Some(separate) = self.join(at, samples) {
            self.pieces.push_back((at, separate));
        }
        let mut gone: Option<(Duration, Duration)> = None;
        while samples_to_time(self.samples, self.rate) > KEPT {
            let (at, samples) = self.pieces.pop_front()?;
            self.samples -= samples.len() as u64;
            let end = at + samples_to_time(samples.len() as u64, self.rate);
            gone = Some((gone.map_or(at, |(start, _)| start), end));
        }
        gone
    }

    /// Puts audio to the last piece, if it follows that to the sample; gives it back otherwise.
    fn join(&mut self, at: Duration, samples: Vec<i16>) -> Option<Vec<i16>> {
        let most = samples_to_time(1, self.rate).max(Duration::from_nanos(1));
        let Some((begun, last)) = self.pieces.back_mut() else { return Some(samples) };
        let end = *begun + samples_to_time(last.len() as u64, self.rate);
        let length = last.len() + samples.len();
        if end.abs_diff(at) >= most || samples_to_time(length as u64, self.rate) > PIECE {
            return Some(samples);
        }
        if last.capacity() < length {
            let full = (PIECE.as_millis() as usize * self.rate as usize / 1000).max(length);
            last.reserve_exact(full - last.len());
        }
        last.extend(samples);
        None
    }

    /// The recogniser has answered for everything up to `until`.
    pub fn answered(&mut self, until: Duration) {
        while let Some((at, samples)) = self.pieces.front_mut() {
            let length = samples_to_time(samples.len() as u64, self.rate);
            if *at + length <= until {
                self.samples -= samples.len() as u64;
                self.pieces.pop_front();
                continue;
            }
            if *at < until {
                let nanos = (until - *at).as_nanos() * u128::from(self.rate);
                let count = ((nanos / 1_000_000_000) as usize).min(samples.len());
                samples.drain(..count);
                self.samples -= count as u64;
                *at += samples_to_time(count as u64, self.rate);
            }
            break;
        }
    }

    /// Takes everything out, in order.
    pub fn take(&mut self) -> Vec<Piece> {
        self.samples = 0;
        std::mem::take(&mut self.pieces).into()
    }

    /// Session time at which the last of it ends.
    pub fn end(&self) -> Option<Duration> {
        self.pieces.back().map(|(at, samples)| *at + samples_to_time(samples.len() as u64, self.rate))
    }

    /// Somebody speaks in what is not answered for.
    pub fn has_speech(&self) -> bool {
        self.pieces.iter().any(|(_, samples)| loud_block(samples, self.rate).is_some())
    }
}

/// What is to be recognised again of `pieces`: from shortly before the first sound on. Empty if all of it is quiet.
pub fn worth_replaying(pieces: Vec<Piece>, rate: u32) -> Vec<Piece> {
    let first = pieces
        .iter()
        .find_map(|(at, samples)| loud_block(samples, rate).map(|index| *at + samples_to_time(index as u64, rate)));
    let Some(first) = first else { return Vec::new() };
    let mut kept = Unanswered { rate: rate.max(1), pieces: pieces.into(), samples: 0 };
    kept.samples = kept.pieces.iter().map(|(_, samples)| samples.len() as u64).sum();
    kept.answered(first.saturating_sub(LEAD_IN));
    kept.take()
}

fn block(rate: u32) -> usize {
    (u64::from(rate) * BLOCK.as_millis() as u64 / 1000).max(1) as usize
}

/// Index of the first sample of the first block that is not quiet.
fn loud_block(samples: &[i16], rate: u32) -> Option<usize> {
    let size = block(rate);
    samples.chunks(size).position(|block| !is_quiet(block)).map(|index| index * size)
}

/// Looks for the pause at which a gap may end.
#[derive(Debug, Default)]
pub struct Tail {
    quiet: Duration,
    length: Duration,
}

impl Tail {
    /// Audio that follows in the live stream, `rate` Hz; true once the gap may end behind it.
    pub fn feed(&mut self, samples: &[i16], rate: u32) -> bool {
        for block in samples.chunks(block(rate)) {
            let length = samples_to_time(block.len() as u64, rate);
            self.length += length;
            self.quiet = if is_quiet(block) { self.quiet + length } else { Duration::ZERO };
        }
        self.quiet >= PAUSE || self.length >= LONGEST_TAIL
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RATE: u32 = 8000;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    fn sound(length: u64, value: i16) -> Vec<i16> {
        vec![value; (length * 8) as usize]
    }

    #[test]
    fn answers_take_away_and_the_oldest_goes_first() {
        let mut kept = Unanswered::new(RATE);
        for i in 0..10 {
            assert_eq!(kept.sent(ms(i * 1000), sound(1000, i as i16)), None);
        }
        assert_eq!(kept.sent(ms(10_000), sound(500, 10)), Some((ms(0), ms(1000))));
        kept.answered(ms(2500));
        let left = kept.take();
        assert_eq!((left[0].0, left[0].1.len()), (ms(2500), 4000));
        assert_eq!(left.last().map(|(at, samples)| (*at, samples.len())), Some((ms(10_000), 4000)));
        assert!(kept.take().is_empty());
    }

    #[test]
    fn what_comes_in_small_pieces_is_kept_in_few() {
        for (rate, length) in [(8000, 8), (16_000, 1), (12_000, 5)] {
            let mut kept = Unanswered::new(rate);
            let count = u64::from(rate) * 10 / length;
            for n in 0..count {
                assert_eq!(kept.sent(samples_to_time(n * length, rate), vec![n as i16; length as usize]), None);
            }
            let pieces = kept.take();
            assert!(pieces.len() <= 101, "{rate} Hz: {} pieces", pieces.len());
            let mut at = 0;
            for (begin, samples) in pieces {
                assert_eq!(begin, samples_to_time(at, rate));
                assert!(samples.capacity() as u64 <= u64::from(rate) / 10);
                assert!((at..).zip(samples.iter()).all(|(n, sample)| *sample == (n / length) as i16));
                at += samples.len() as u64;
            }
            assert_eq!(at, count * length);
        }
    }

    #[test]
    fn pieces_with_time_between_them_stay_apart() {
        let mut kept = Unanswered::new(RATE);
        for (at, value) in [(0, 1), (10, 2), (30, 3), (40, 4), (45, 5)] {
            kept.sent(ms(at), sound(10, value));
        }
        let left: Vec<_> = kept.take().into_iter().map(|(at, samples)| (at, samples.len() / 8)).collect();
        assert_eq!(left, [(ms(0), 20), (ms(30), 20), (ms(45), 10)]);
    }

    #[test]
    fn a_replay_begins_before_the_first_sound_and_silence_needs_none() {
        let pieces = vec![(ms(0), sound(2000, 3)), (ms(2000), sound(500, 9000)), (ms(2500), sound(500, 0))];
        let replayed = worth_replaying(pieces.clone(), RATE);
        assert_eq!(replayed[0].0, ms(1700));
        assert_eq!(replayed.len(), 3);
        assert!(worth_replaying(pieces[..1].to_vec(), RATE).is_empty());
        assert!(worth_replaying(Vec::new(), RATE).is_empty());
    }

    #[test]
    fn a_gap_ends_in_a_pause_or_after_its_longest_time() {
        let mut tail = Tail::default();
        assert!(!tail.feed(&sound(400, 9000), RATE));
        assert!(!tail.feed(&sound(100, 0), RATE), "a plosive is no pause");
        assert!(!tail.feed(&sound(100, 9000), RATE));
        assert!(tail.feed(&sound(120, 0), RATE));
        let mut endless = Tail::default();
        assert!(!endless.feed(&sound(2900, 9000), RATE));
        assert!(endless.feed(&sound(100, 9000), RATE));
    }

    proptest! {
        /// Whatever is sent and answered: what is kept is exactly what was sent behind the last answer.
        #[test]
        fn exactly_what_is_not_answered_is_kept(
            steps in prop::collection::vec((1u64..400, 0u64..500), 1..60),
        ) {
            let mut kept = Unanswered::new(RATE);
            let (mut sent, mut answered) = (0u64, 0u64);
            let mut gone = 0;
            for (length, answer) in steps {
                let from = sent * 8;
                let samples = (from..from + length * 8).map(|n| (n % 30_000) as i16).collect();
                if let Some((_, end)) = kept.sent(ms(sent), samples) {
                    gone = end.as_millis() as u64;
                }
                sent += length;
                answered = (answered + answer).min(sent);
                kept.answered(ms(answered));
            }
            let from = answered.max(gone) * 8;
            let pieces = kept.take();
            let mut next = answered.max(gone) * 8;
            for (at, samples) in &pieces {
                prop_assert_eq!(*at, samples_to_time(next, RATE));
                next += samples.len() as u64;
            }
            let left: Vec<i16> = pieces.into_iter().flat_map(|(_, samples)| samples).collect();
            let want: Vec<i16> = (from..sent * 8).map(|n| (n % 30_000) as i16).collect();
            prop_assert_eq!(left, want);
        }
    }
}
