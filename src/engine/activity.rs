//! When a session spoke, and how much of it the recogniser has not answered for.

use std::collections::VecDeque;
use std::time::Duration;

/// Loud blocks closer than this belong together.
const JOIN: Duration = Duration::from_millis(300);
/// What is shorter is the edge of a word that was answered for, or a click.
const WORTH_TELLING: Duration = Duration::from_millis(100);
/// Spans kept; the oldest go first (minutes of speech that nobody answered for).
const SPANS: usize = 256;

/// The loud spans of a session's time line that no final result has covered yet.
#[derive(Clone, Debug, Default)]
pub struct Activity {
    spans: VecDeque<(Duration, Duration)>,
}

impl Activity {
    /// Notes a loud block.
    pub fn loud(&mut self, start: Duration, end: Duration) {
        match self.spans.back_mut() {
            Some(last) if start <= last.1 + JOIN => last.1 = end.max(last.1),
            _ => {
                if self.spans.len() == SPANS {
                    self.spans.pop_front();
                }
                self.spans.push_back((start, end));
            }
        }
    }

    /// The recogniser has answered for everything up to here.
    pub fn answered(&mut self, to: Duration) {
        self.spans.retain_mut(|span| {
            span.0 = span.0.max(to);
            span.1 > span.0
        });
    }

    /// What was said between two times was answered for, or has been reported lost.
    pub fn settled(&mut self, start: Duration, end: Duration) {
        if end <= start {
            return;
        }
        let rest = |&(from, to): &(Duration, Duration)| [(from, to.min(start)), (from.max(end), to)];
        self.spans = self.spans.iter().flat_map(rest).filter(|(from, to)| to > from).collect();
    }

    /// From the first to the last of what was said between two times and not answered for; `None` for a pause.
    pub fn within(&self, start: Duration, end: Duration) -> Option<(Duration, Duration)> {
        let clipped = |&(from, to): &(Duration, Duration)| (from.max(start), to.min(end));
        let mut inside = self.spans.iter().map(clipped).filter(|(from, to)| *to > *from + WORTH_TELLING);
        let first = inside.next()?;
        Some((first.0, inside.next_back().unwrap_or(first).1))
    }

    /// All that was said and not answered for.
    pub fn unanswered(&self) -> Option<(Duration, Duration)> {
        self.within(Duration::ZERO, Duration::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn pauses_are_no_loss_and_answers_take_away() {
        let mut activity = Activity::default();
        for (start, end) in [(1000, 1020), (1020, 1400), (1500, 1800), (5000, 5400)] {
            activity.loud(ms(start), ms(end));
        }
        // (asked from, to, told)
        for (from, to, told) in [
            (0, 900, None),
            (0, 1300, Some((1000, 1300))),
            (0, 9000, Some((1000, 5400))),
            (2000, 4900, None),
            (2000, 9000, Some((5000, 5400))),
            (1750, 4000, None),
        ] {
            let want = told.map(|(a, b)| (ms(a), ms(b)));
            assert_eq!(activity.within(ms(from), ms(to)), want, "{from} to {to}");
        }
        activity.settled(ms(1100), ms(1200));
        assert_eq!(activity.within(ms(1050), ms(1250)), None, "what is left of it is too short to tell");
        assert_eq!(activity.unanswered(), Some((ms(1200), ms(5400))));
        activity.answered(ms(1750));
        assert_eq!(activity.unanswered(), Some((ms(5000), ms(5400))));
        activity.answered(ms(6000));
        assert_eq!(activity.unanswered(), None);
    }
}
