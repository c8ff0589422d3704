//! Counts the bytes of a stage and knows at which of them a fault is due.

use crate::scenario::{Fault, On, Stage};

/// Bytes carried over all connections of one stage since the scenario was set, both directions.
pub struct Meter {
    total: u64,
    plan: Vec<Planned>,
}

struct Planned {
    at: u64,
    /// How many firings are left.
    left: u64,
    fault: Fault,
}

impl Meter {
    /// Nothing carried yet.
    pub fn new(stage: Stage, faults: &[Fault]) -> Meter {
        let plan = faults.iter().filter(|f| f.stage == stage && f.on == On::Byte).map(|f| Planned {
            at: f.at,
            left: if f.count == 0 { u64::MAX } else { f.count },
            fault: f.clone(),
        });
        Meter { total: 0, plan: plan.collect() }
    }

    /// Bytes carried.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Bytes that may still be carried before a fault is due; none at all if one is.
    pub fn room(&self) -> usize {
        let next = self.plan.iter().map(|p| p.at).min();
        next.map_or(usize::MAX, |at| usize::try_from(at.saturating_sub(self.total)).unwrap_or(usize::MAX))
    }

    /// Counts bytes.
    pub fn add(&mut self, bytes: usize) {
        self.total += bytes as u64;
    }

    /// Takes the first fault that is due, and the byte it was due at.
    pub fn due(&mut self) -> Option<(Fault, u64)> {
        let (i, _) = self.plan.iter().enumerate().filter(|(_, p)| p.at <= self.total).min_by_key(|(_, p)| p.at)?;
        let planned = &mut self.plan[i];
        let (fault, at) = (planned.fault.clone(), planned.at);
        planned.left -= 1;
        planned.at += fault.every;
        if planned.left == 0 {
            self.plan.remove(i);
        }
        Some((fault, at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Scenario;

    #[test]
    fn faults_are_due_at_their_bytes() {
        let text = r#"
            fault = [
              { stage = "stt", on = "byte", at = 100, count = 2, every = 50, kind = "reset" },
              { stage = "stt", on = "byte", at = 120, kind = "fin" },
              { stage = "mt", on = "byte", at = 1, kind = "fin" },
            ]
        "#;
        let mut meter = Meter::new(Stage::Stt, &Scenario::parse(text).unwrap().fault);
        assert_eq!(meter.room(), 100);
        meter.add(99);
        assert!(meter.due().is_none() && meter.room() == 1);
        meter.add(1);
        assert_eq!(meter.due().unwrap().1, 100);
        assert_eq!(meter.room(), 20);
        meter.add(60);
        assert_eq!((meter.room(), meter.due().unwrap().1, meter.due().unwrap().1), (0, 120, 150));
        assert!(meter.due().is_none() && meter.room() == usize::MAX && meter.total() == 160);
    }
}
