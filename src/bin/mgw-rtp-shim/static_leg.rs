//! RTP legs without Asterisk's control interface: whoever has the token names the peer.

use std::net::SocketAddr;
use std::sync::Arc;

use serde::Deserialize;

use crate::attend::{attend, part};
use crate::calls::Transport;
use crate::media::{MediaError, Peer, Who};
use crate::shim::Shim;

/// What `POST /legs` takes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ask {
    pub extension: String,
    /// Where the peer sends from and listens. Nothing is ever learnt from packets.
    pub peer: SocketAddr,
    #[serde(default)]
    pub room: Option<String>,
}

/// Opens a leg; it lasts until somebody hangs it up.
///
/// # Errors
/// Whether it is for want of room, and a sentence.
pub fn open(shim: &Arc<Shim>, ask: Ask) -> Result<(String, SocketAddr), (bool, String)> {
    let refuse = |e: MediaError| (matches!(e, MediaError::Busy(_)), e.to_string());
    if shim.closing.is_cancelled() {
        return Err((true, "the shim is stopping".into()));
    }
    let extension = shim.settings.need_extension(&ask.extension).map_err(|why| (false, why))?.clone();
    if !ask.peer.ip().is_loopback() && !shim.settings.allow_remote {
        return Err((false, "the peer is beyond loopback: set shim.allow_remote = true if that is meant".into()));
    }
    let permit = shim.media.admit().map_err(refuse)?;
    let port = shim.media.reserve(extension.port).map_err(refuse)?;
    let address = port.address;
    let mut member = shim.rooms.join(&extension.profile, ask.room.as_deref());
    let id = format!("rtp-{}", uuid::Uuid::new_v4());
    let who = Who { id: id.clone(), extension: extension.clone(), room: member.room().to_owned() };
    let mut leg = match shim.media.rtp_leg(permit, port, ask.peer, Peer::Any, who.clone()) {
        Ok(leg) => leg,
        Err(e) => {
            // Whoever waits there for a partner goes on waiting.
            member.withdraw();
            return Err(refuse(e));
        }
    };
    let row = shim.calls.add(who, Transport::Rtp, leg.control().clone());
    let shim = shim.clone();
    let tasks = shim.tasks.clone();
    tasks.spawn(async move {
        let over = attend(&shim, &mut leg, &mut member, &row, &extension).await;
        drop(row);
        part(&shim, leg, member, over).await;
    });
    Ok((id, address))
}
