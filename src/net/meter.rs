//! What is sent to vendors, and so paid for: counted for each session and for the gateway, with a limit for both.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::config::Budget;
use crate::provider::{ErrorClass, Stage, StageError};

/// What was spent so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// Audio sent to recognisers, replays included.
    pub stt: Duration,
    /// Characters (Unicode code points) sent to translators, repetitions included.
    pub mt_chars: u64,
    /// Characters (Unicode code points) sent to synthesisers, repetitions included.
    pub tts_chars: u64,
}

/// A meter with its budget; what one counts counts for the one above it too.
#[derive(Debug, Default)]
pub struct Meter {
    stt_us: AtomicU64,
    mt_chars: AtomicU64,
    tts_chars: AtomicU64,
    budget: Budget,
    above: Option<Arc<Meter>>,
}

impl Meter {
    /// The meter of a gateway.
    pub fn new(budget: Budget) -> Self {
        Self { budget, ..Self::default() }
    }

    /// The meter of a session.
    pub fn within(budget: Budget, above: Arc<Meter>) -> Self {
        Self { budget, above: Some(above), ..Self::default() }
    }

    /// Counts audio for a recogniser.
    pub fn stt(&self, audio: Duration) {
        self.add(|m| &m.stt_us, audio.as_micros() as u64);
    }

    /// Counts characters for a translator.
    pub fn mt(&self, text: &str) {
        self.add(|m| &m.mt_chars, text.chars().count() as u64);
    }

    /// Counts characters for a synthesiser.
    pub fn tts(&self, text: &str) {
        self.add(|m| &m.tts_chars, text.chars().count() as u64);
    }

    fn add(&self, which: impl Fn(&Self) -> &AtomicU64, amount: u64) {
        which(self).fetch_add(amount, Ordering::Relaxed);
        if let Some(above) = &self.above {
            above.add(which, amount);
        }
    }

    /// What was spent so far.
    pub fn spent(&self) -> Spent {
        Spent {
            stt: Duration::from_micros(self.stt_us.load(Ordering::Relaxed)),
            mt_chars: self.mt_chars.load(Ordering::Relaxed),
            tts_chars: self.tts_chars.load(Ordering::Relaxed),
        }
    }

    /// Whether more may be spent for a stage.
    ///
    /// # Errors
    /// `ProviderOut` with the code `budget`, naming the key that says so.
    pub fn check(&self, stage: Stage) -> Result<(), StageError> {
        let spent = self.spent();
        let (full, unit) = match stage {
            Stage::Stt => (self.budget.stt.is_some_and(|most| spent.stt >= most), "stt_s"),
            Stage::Mt => (self.budget.mt_chars.is_some_and(|most| spent.mt_chars >= most), "mt_chars"),
            Stage::Tts => (self.budget.tts_chars.is_some_and(|most| spent.tts_chars >= most), "tts_chars"),
        };
        if full {
            let section = if self.above.is_some() { "budget" } else { "total_budget" };
            let message = format!("The budget {section}.{unit} is used up.");
            return Err(StageError::new(ErrorClass::ProviderOut, "budget", message));
        }
        self.above.as_ref().map_or(Ok(()), |above| above.check(stage))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_spent_counts_above_too_and_ends_at_the_budget() {
        let total = Arc::new(Meter::new(Budget { mt_chars: Some(10), ..Budget::default() }));
        let budget = Budget { stt: Some(Duration::from_secs(1)), tts_chars: Some(4), ..Budget::default() };
        let (a, b) = (Meter::within(budget, total.clone()), Meter::within(Budget::default(), total.clone()));
        a.stt(Duration::from_millis(999));
        a.mt("señor");
        b.mt("four");
        assert_eq!(total.spent(), Spent { stt: Duration::from_millis(999), mt_chars: 9, tts_chars: 0 });
        assert_eq!(a.check(Stage::Stt), Ok(()));
        a.stt(Duration::from_millis(1));
        a.tts("four");
        let code = |m: &Meter, stage| m.check(stage).err().map(|e| (e.code, e.message));
        let told = |key: &str| Some(("budget".to_owned(), format!("The budget {key} is used up.")));
        assert_eq!(code(&a, Stage::Stt), told("budget.stt_s"));
        assert_eq!(code(&a, Stage::Tts), told("budget.tts_chars"));
        assert_eq!((code(&b, Stage::Stt), code(&b, Stage::Tts)), (None, None), "another session goes on");
        b.mt("x");
        assert_eq!(code(&b, Stage::Mt), told("total_budget.mt_chars"));
        assert_eq!(code(&a, Stage::Mt), told("total_budget.mt_chars"));
    }
}
