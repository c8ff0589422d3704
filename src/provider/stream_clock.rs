//! Where a recogniser's times lie in session time.
//!
//! A vendor's clock counts the samples sent on one connection and begins at zero on each. The driver
//! may leave audio out (nothing to send while a session is alone, or a loss) or put some in (silence
//! that keeps a connection open), so the way back is piecewise: a list of stretches that were sent
//! without a break, each with its place on both clocks.

use std::collections::VecDeque;
use std::time::Duration;

/// A sample's place may differ by this much from where the stretch puts it before a new one begins;
/// it is compared with the stretch's beginning, so errors do not add up.
const TOLERANCE: Duration = Duration::from_millis(1);
/// Most stretches kept; words older than that many breaks will not come back.
const MAX_PIECES: usize = 1024;

#[derive(Clone, Copy, Debug)]
struct Piece {
    /// First sample, counted on the connection.
    position: u64,
    /// Samples.
    count: u64,
    /// Session time of the first sample.
    at: Duration,
}

/// One connection's clock.
#[derive(Clone, Debug)]
pub struct StreamClock {
    rate: u32,
    sent: u64,
    pieces: VecDeque<Piece>,
}

/// Duration of `count` samples at `rate` Hz, rounded down to nanoseconds.
pub fn samples_to_time(count: u64, rate: u32) -> Duration {
    let nanos = u128::from(count) * 1_000_000_000 / u128::from(rate.max(1));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

impl StreamClock {
    /// The clock of a new connection that carries audio of `rate` Hz.
    pub fn new(rate: u32) -> Self {
        Self { rate: rate.max(1), sent: 0, pieces: VecDeque::new() }
    }

    /// `count` samples whose first lies at session time `at` have just been sent.
    pub fn sent(&mut self, at: Duration, count: u64) {
        if count == 0 {
            return;
        }
        let rate = self.rate;
        match self.pieces.back_mut() {
            Some(last)
                if last.position + last.count == self.sent
                    && (last.at + samples_to_time(last.count, rate)).abs_diff(at) <= TOLERANCE =>
            {
                last.count += count;
            }
            _ => {
                if self.pieces.len() == MAX_PIECES {
                    self.pieces.pop_front();
                }
                self.pieces.push_back(Piece { position: self.sent, count, at });
            }
        }
        self.sent += count;
    }

    /// `count` samples that belong to no session time (filler) have just been sent.
    pub fn filler(&mut self, count: u64) {
        self.sent += count;
    }

    /// Hz.
    pub fn rate(&self) -> u32 {
        self.rate
    }

    /// Samples sent on this connection so far.
    pub fn samples(&self) -> u64 {
        self.sent
    }

    /// Session time of something that begins `seconds` into the stream.
    ///
    /// Any number is taken; what lies outside of what was sent is moved to its nearest end.
    pub fn start(&self, seconds: f64) -> Duration {
        let sample = self.sample(seconds);
        // The last stretch that has begun by then; at its very end the next one counts.
        let index = self.pieces.partition_point(|piece| piece.position <= sample);
        let Some(piece) = index.checked_sub(1).and_then(|index| self.pieces.get(index)) else {
            return self.pieces.front().map_or(Duration::ZERO, |piece| piece.at);
        };
        let offset = sample - piece.position;
        match self.pieces.get(index) {
            Some(next) if offset >= piece.count => next.at,
            _ => piece.at + samples_to_time(offset.min(piece.count), self.rate),
        }
    }

    /// Session time of something that ends `seconds` into the stream; as [`start`](Self::start), but
    /// an end on the border of two stretches belongs to the earlier one.
    pub fn end(&self, seconds: f64) -> Duration {
        let sample = self.sample(seconds);
        let index = self.pieces.partition_point(|piece| piece.position < sample);
        match index.checked_sub(1).and_then(|index| self.pieces.get(index)) {
            Some(piece) => piece.at + samples_to_time((sample - piece.position).min(piece.count), self.rate),
            None => self.pieces.front().map_or(Duration::ZERO, |piece| piece.at),
        }
    }

    /// Start and end of a span; never reversed.
    pub fn span(&self, start: f64, end: f64) -> (Duration, Duration) {
        let from = self.start(start);
        (from, self.end(end).max(from))
    }

    /// A float `as` integer saturates and makes NaN zero, so no vendor's number can do harm.
    fn sample(&self, seconds: f64) -> u64 {
        ((seconds * f64::from(self.rate)).round() as u64).min(self.sent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn times_are_mapped_piece_by_piece() {
        let mut clock = StreamClock::new(16000);
        assert_eq!(clock.start(1.0), Duration::ZERO);
        clock.filler(1600); // 0.0-0.1 on the connection: nobody said it
        clock.sent(ms(10_000), 16_000); // 0.1-1.1
        clock.sent(ms(11_000), 16_000); // 1.1-2.1, the same stretch
        clock.sent(ms(20_000), 16_000); // 2.1-3.1, after a break
        for (seconds, start, end) in [
            (0.05, 10_000, 10_000),
            (0.1, 10_000, 10_000),
            (0.6, 10_500, 10_500),
            (1.1, 11_000, 11_000),
            (2.1, 20_000, 12_000),
            (2.6, 20_500, 20_500),
            (99.0, 21_000, 21_000),
            (f64::NAN, 10_000, 10_000),
            (f64::INFINITY, 21_000, 21_000),
            (-1e300, 10_000, 10_000),
        ] {
            assert_eq!(clock.start(seconds), ms(start), "start {seconds}");
            assert_eq!(clock.end(seconds), ms(end), "end {seconds}");
        }
        assert_eq!(clock.pieces.len(), 2);
        assert_eq!(clock.span(3.0, 0.5), (ms(20_900), ms(20_900)));
    }

    #[test]
    fn many_breaks_take_bounded_memory() {
        let mut clock = StreamClock::new(8000);
        for i in 0..10_000u64 {
            clock.sent(ms(i * 100), 80);
        }
        assert_eq!(clock.pieces.len(), MAX_PIECES);
        assert_eq!(clock.end(f64::MAX), ms(999_910));
        assert_eq!(clock.start(0.0), ms((10_000 - MAX_PIECES as u64) * 100));
    }

    proptest! {
        /// Every sample sent is found again where it was said, whatever was left out or put in between.
        #[test]
        fn every_sample_is_found_again(
            rate in prop::sample::select(vec![8000u32, 16_000, 24_000, 44_100, 48_000]),
            moves in prop::collection::vec((0u64..3, 1u64..4000, 2u64..5000), 1..60),
        ) {
            let mut clock = StreamClock::new(rate);
            let mut said = Duration::ZERO;
            let mut truth: Vec<(u64, Duration)> = Vec::new();
            for (kind, count, gap) in moves {
                match kind {
                    0 => clock.filler(count),
                    kind => {
                        if kind == 2 {
                            said += ms(gap);
                        }
                        truth.push((clock.samples(), said));
                        clock.sent(said, count);
                        said += samples_to_time(count, rate);
                    }
                }
            }
            for (position, at) in truth {
                let found = clock.start(position as f64 / f64::from(rate));
                prop_assert!(found.abs_diff(at) <= TOLERANCE, "{found:?} for {at:?}");
            }
        }

        /// Later on the connection is never earlier in the session, and nothing lies beyond what was said.
        #[test]
        fn time_does_not_run_backwards(
            moves in prop::collection::vec((any::<bool>(), 1u64..4000, 0u64..3000), 1..40),
            mut queries in prop::collection::vec(any::<f64>(), 2..20),
        ) {
            let mut clock = StreamClock::new(16_000);
            let mut said = Duration::ZERO;
            for (filler, count, gap) in moves {
                if filler {
                    clock.filler(count);
                } else {
                    said += ms(gap);
                    clock.sent(said, count);
                    said += samples_to_time(count, 16_000);
                }
            }
            queries.retain(|query| !query.is_nan());
            queries.sort_by(f64::total_cmp);
            for pair in queries.windows(2) {
                prop_assert!(clock.start(pair[0]) <= clock.start(pair[1]));
                prop_assert!(clock.end(pair[0]) <= clock.end(pair[1]));
                prop_assert!(clock.start(pair[1]) <= said + TOLERANCE && clock.end(pair[1]) <= said + TOLERANCE);
            }
        }
    }
}
