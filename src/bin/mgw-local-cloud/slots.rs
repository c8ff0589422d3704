//! Requests that a service carries out at once, which vendors limit.

use crate::app::App;
use std::sync::Arc;

/// One of them; it is over when this is dropped.
pub struct Slot(Arc<App>, &'static str);

impl Slot {
    /// Takes a slot of a service that has `most` (0: any number), if one is free.
    pub fn take(app: &Arc<App>, service: &'static str, most: u64) -> Option<Slot> {
        app.stats.with(|n| {
            let busy = n.busy.entry(service).or_default();
            if most > 0 && *busy >= most {
                return None;
            }
            *busy += 1;
            Some(())
        })?;
        Some(Slot(app.clone(), service))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.stats.with(|n| {
            let busy = n.busy.entry(self.1).or_default();
            *busy = busy.saturating_sub(1);
        });
    }
}
