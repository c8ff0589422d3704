//! The sound of the legs: ports, sockets, the clock thread, and the library's sessions behind them.

use std::net::SocketAddr;
use std::sync::Arc;

use mgw::engine::{LeaveMode, SessionId};

use crate::settings::{Extension, Settings};

/// Whose leg it is.
#[derive(Clone, Debug)]
pub struct Who {
    /// Session id in events and `/calls`; unique, such as the Asterisk channel's id.
    pub id: String,
    pub extension: Extension,
    pub room: String,
}

/// Why a leg cannot be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MediaError {
    /// As many legs as allowed, or no port left: the caller hears busy.
    Busy(String),
    /// Anything else, for people.
    Failed(String),
}

/// What a leg tells whoever looks after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LegEvent {
    /// A DTMF digit, once.
    Dtmf(char),
    /// The transport is at its end (AudioSocket hung up, socket error); nothing follows.
    Ended,
}

/// Permission for one leg; counts against `max_legs` until dropped.
pub struct Permit(());

/// A bound RTP port; nothing is received on it until a leg is made of it.
pub struct Reserved {
    /// What Asterisk is told as `external_host`.
    pub address: SocketAddr,
}

/// All media of one shim.
pub struct Media {}

impl Media {
    /// Starts the library and the clock thread.
    ///
    /// # Errors
    /// What the system or the library refuses.
    pub fn start(_settings: &Settings) -> Result<Media, String> {
        todo!()
    }

    /// Lets one more leg in, or says busy.
    pub fn admit(&self) -> Result<Permit, MediaError> {
        todo!()
    }

    /// Binds a port: `preferred` if it is free, else one of the range.
    pub fn reserve(&self, _preferred: Option<u16>) -> Result<Reserved, MediaError> {
        todo!()
    }

    /// Opens a session and connects it to `peer`, the address that ARI named; silence is sent from now on.
    pub fn rtp_leg(&self, _permit: Permit, _port: Reserved, _peer: SocketAddr, _who: Who) -> Result<Leg, MediaError> {
        todo!()
    }
}

/// A running leg. Dropping it ends it at once; [`Leg::close`] lets its last words be heard.
pub struct Leg {
    control: LegControl,
}

/// What others may do with a leg; cheap to clone, harmless after its end.
#[derive(Clone)]
pub struct LegControl {
    inner: Arc<SessionId>,
}

impl Leg {
    pub fn control(&self) -> &LegControl {
        &self.control
    }

    /// The next event; after [`LegEvent::Ended`] it waits for ever.
    pub async fn event(&mut self) -> LegEvent {
        todo!()
    }

    /// Closes the leg's port and its session; returns when its last words were heard (mode drain), at the latest
    /// after `shim.drain_s`.
    pub async fn close(self, _mode: LeaveMode) {
        todo!()
    }
}

impl LegControl {
    /// Speaks a text into this ear, in the language it hears.
    pub fn say(&self, _text: &str) {
        todo!()
    }

    /// Tells the library that this phone sent a digit.
    pub fn report_dtmf(&self, _digit: char) {
        todo!()
    }

    /// Sends a DTMF digit to this phone.
    pub fn send_dtmf(&self, _digit: char) {
        todo!()
    }

    /// Figures for `/calls`.
    pub fn snapshot(&self) -> serde_json::Value {
        serde_json::json!({ "session": self.inner.0 })
    }
}
