//! What the drivers count, for metrics.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)+) => {
        /// Counters since the runtime began; each only grows.
        #[derive(Debug, Default)]
        pub struct Counters { $(pub(super) $name: AtomicU64,)+ }

        impl Counters {
            /// Name and value of every counter.
            pub fn values(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name.load(Ordering::Relaxed)),)+]
            }
        }
    };
}

counters! {
    /// Connections asked for.
    connects,
    /// Connections refused or not made.
    connect_failures,
    /// Connections lost after they were open.
    drops,
    /// Provider messages of a type that is not known.
    unknown_messages,
    /// Provider messages that could not be read.
    malformed_messages,
    /// Gaps of lost recogniser connections that were recognised again.
    replays,
    /// Audio bytes sent to recognisers.
    stt_bytes,
    /// Translation requests that were sent a second time.
    mt_retries,
    /// Translations that failed.
    mt_failures,
    /// Texts given to a synthesiser (the same or the next one) a second time.
    tts_retries,
    /// Texts whose alignment contradicted them, so that they could not have been taken up again in their middle.
    tts_bad_alignments,
    /// Segments that could not be spoken.
    tts_failures,
    /// Tasks that panicked.
    panics,
}

/// Adds one.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
