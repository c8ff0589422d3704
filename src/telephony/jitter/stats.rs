//! Counters.

/// What a jitter buffer has done since it was made. All samples are at the buffer's rate.
///
/// Two identities hold after every call:
///
/// ```text
/// output_samples   = played + concealed + inserted + silence + pending
/// received_samples = played + removed + late_samples + overflow_samples + duplicate_samples + queued
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct JitterStats {
    /// Audio packets that came.
    pub received: u64,
    /// Of them: too late to be heard, wholly or in part.
    pub late: u64,
    /// Came after one with a higher sequence number.
    pub reordered: u64,
    /// Held nothing that was not there already.
    pub duplicates: u64,
    /// Packets refused or cut because the buffer was full.
    pub overflow: u64,
    /// Packets whose number never came before their time was over.
    pub lost: u64,
    /// Times that nothing was there to be heard though the sender had not announced silence.
    pub underruns: u64,
    /// Times that the position was set anew (other time scale, other source).
    pub resyncs: u64,
    /// Samples in audio packets.
    pub received_samples: u64,
    /// Samples that came too late.
    pub late_samples: u64,
    /// Samples that were there already.
    pub duplicate_samples: u64,
    /// Samples that found no room, or made room.
    pub overflow_samples: u64,
    /// Samples taken out to shed delay.
    pub removed_samples: u64,
    /// Samples waiting.
    pub queued_samples: u64,
    /// Samples handed out.
    pub output_samples: u64,
    /// Of them: as received.
    pub played_samples: u64,
    /// In the place of samples that were lost.
    pub concealed_samples: u64,
    /// Between received samples, to gain time or because the stream stood still.
    pub inserted_samples: u64,
    /// Before the first packet and where the sender was silent.
    pub silence_samples: u64,
    /// Made up at the end of the stream; the next packet tells whether they are concealed, inserted or silence.
    pub pending_samples: u64,
    /// From the next sample to the end of the newest packet, in milliseconds.
    pub depth_ms: f64,
    /// Delay beyond the fastest packet that the arrivals of the last seconds ask for, in milliseconds.
    pub target_ms: f64,
    /// Delay beyond the fastest packet at which audio is heard (the least of the last half second), in milliseconds.
    pub delay_ms: f64,
    /// Interarrival jitter (RFC 3550 6.4.1) in milliseconds.
    pub jitter_ms: f64,
}
