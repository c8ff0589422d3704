//! What all parts of a running shim share.

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::calls::Calls;
use crate::media::Media;
use crate::rooms::Rooms;
use crate::settings::Settings;

/// One running shim.
pub struct Shim {
    pub settings: Settings,
    pub media: Media,
    pub rooms: Rooms,
    pub calls: Calls,
    /// State of the connection to Asterisk, for `/ready`, `/metrics` and `doctor`.
    pub ari: crate::ari::Status,
    pub audiosocket: crate::audiosocket::Registry,
    /// Every task of a call is tracked here; stopping waits for them.
    pub tasks: TaskTracker,
    /// No more calls are taken; running ones go on.
    pub closing: CancellationToken,
    /// Running calls are ended now.
    pub ending: CancellationToken,
}
