//! The AudioSocket server: Asterisk connects, says a UUID, and the UUID says whose call it is.
//!
//! AudioSocket has no authentication. A UUID must be known: from the settings (any number of calls, for the dialplan's
//! fixed ones) or registered beforehand over the control interface (one call, within [`REGISTERED_FOR`]).

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mgw::telephony::audiosocket::{Message, Reader};
use serde::Deserialize;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use uuid::Uuid;

use crate::attend::{Over, attend, part};
use crate::calls::Transport;
use crate::media::{MediaError, Permit, Who};
use crate::settings::Settings;
use crate::shim::Shim;

/// Time in which a connection must say who it is. Asterisk does so with its first write.
const FIRST_MESSAGE: Duration = Duration::from_secs(2);
/// How long a registered UUID waits for its call.
const REGISTERED_FOR: Duration = Duration::from_secs(120);
/// Most UUIDs that wait for their calls.
const MAX_REGISTERED: usize = 10_000;
/// Most connections of all addresses that have not said who they are.
const MAX_UNKNOWN: usize = 1000;

/// What `POST /audiosocket` takes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registration {
    /// Not given: made up.
    #[serde(default)]
    pub uuid: Option<Uuid>,
    pub extension: String,
    #[serde(default)]
    pub room: Option<String>,
}

struct Expected {
    extension: String,
    room: Option<String>,
    until: Instant,
}

/// UUIDs that are expected, and what came instead.
#[derive(Default)]
pub struct Registry {
    expected: Mutex<HashMap<Uuid, Expected>>,
    peers: Mutex<Peers>,
    accepted: AtomicU64,
    too_many: AtomicU64,
    silent: AtomicU64,
    unknown: AtomicU64,
}

#[derive(Default)]
struct Peers {
    connections: HashMap<IpAddr, usize>,
    /// Connections that have not said who they are.
    unknown: usize,
}

/// A connection that counts against its peer's share until dropped.
struct Place {
    shim: Arc<Shim>,
    peer: IpAddr,
    known: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Entries are put in and taken out whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Registry {
    /// Expects a call with this UUID, once.
    ///
    /// # Errors
    /// No such extension, or too many wait.
    pub fn register(&self, settings: &Settings, ask: Registration) -> Result<Uuid, String> {
        if settings.extension(&ask.extension).is_none() {
            let names = settings.extension_names();
            return Err(format!("there is no extension \"{}\"; configured are {names}", ask.extension));
        }
        let now = Instant::now();
        let mut expected = lock(&self.expected);
        expected.retain(|_, e| e.until > now);
        if expected.len() >= MAX_REGISTERED {
            return Err(format!("{MAX_REGISTERED} registered UUIDs wait for their calls already"));
        }
        let uuid = ask.uuid.unwrap_or_else(Uuid::new_v4);
        expected.insert(uuid, Expected { extension: ask.extension, room: ask.room, until: now + REGISTERED_FOR });
        Ok(uuid)
    }

    /// Whose call a UUID is: its extension and room. A registered one is used up.
    fn take(&self, settings: &Settings, uuid: Uuid) -> Option<(String, Option<String>)> {
        if let Some(e) = lock(&self.expected).remove(&uuid)
            && e.until > Instant::now()
        {
            return Some((e.extension, e.room));
        }
        let fixed = &settings.audiosocket.as_ref()?.uuids;
        let found = fixed.iter().find(|(text, _)| Uuid::parse_str(text) == Ok(uuid))?;
        Some((found.1.clone(), None))
    }

    /// Counters in Prometheus' text format.
    pub fn metrics(&self) -> String {
        let mut text = String::new();
        for (name, counter) in [
            ("accepted", &self.accepted),
            ("refused_too_many", &self.too_many),
            ("refused_silent", &self.silent),
            ("refused_unknown_uuid", &self.unknown),
        ] {
            let value = counter.load(Ordering::Relaxed);
            text.push_str(&format!(
                "# TYPE mgw_shim_audiosocket_{name} counter\nmgw_shim_audiosocket_{name} {value}\n"
            ));
        }
        text
    }
}

impl Place {
    fn take(shim: &Arc<Shim>, peer: IpAddr, most: usize) -> Option<Place> {
        let mut peers = lock(&shim.audiosocket.peers);
        let mine = peers.connections.get(&peer).copied().unwrap_or(0);
        if mine >= most || peers.unknown >= MAX_UNKNOWN {
            return None;
        }
        peers.connections.insert(peer, mine + 1);
        peers.unknown += 1;
        Some(Place { shim: shim.clone(), peer, known: false })
    }

    fn known(&mut self) {
        if !std::mem::replace(&mut self.known, true) {
            lock(&self.shim.audiosocket.peers).unknown -= 1;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.known();
        let mut peers = lock(&self.shim.audiosocket.peers);
        if let Some(n) = peers.connections.get_mut(&self.peer) {
            *n -= 1;
            if *n == 0 {
                peers.connections.remove(&self.peer);
            }
        }
    }
}

/// Takes connections until the shim closes.
pub async fn serve(listener: TcpListener, shim: Arc<Shim>, max_per_peer: usize) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shim.closing.cancelled() => return,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(e) => {
                // Out of descriptors, most likely: running calls need none.
                tracing::warn!("AudioSocket: {e}");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        match Place::take(&shim, peer.ip(), max_per_peer) {
            Some(place) => {
                let shim = shim.clone();
                shim.clone().tasks.spawn(async move {
                    if let Err(why) = connection(&shim, stream, place).await {
                        tracing::info!(%peer, "AudioSocket connection refused: {why}");
                    }
                });
            }
            None => {
                shim.audiosocket.too_many.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

async fn connection(shim: &Arc<Shim>, mut stream: TcpStream, mut place: Place) -> Result<(), String> {
    let registry = &shim.audiosocket;
    let (uuid, rest) = match tokio::time::timeout(FIRST_MESSAGE, first_message(&mut stream)).await {
        Ok(Ok(first)) => first,
        Ok(Err(why)) => {
            registry.silent.fetch_add(1, Ordering::Relaxed);
            return Err(why);
        }
        Err(_) => {
            registry.silent.fetch_add(1, Ordering::Relaxed);
            return Err(format!("no UUID within {} s", FIRST_MESSAGE.as_secs()));
        }
    };
    let Some((name, room)) = registry.take(&shim.settings, uuid) else {
        registry.unknown.fetch_add(1, Ordering::Relaxed);
        return Err(format!(
            "UUID {uuid} is not in shim.audiosocket.uuids and was not registered (POST /audiosocket) in the last {} s",
            REGISTERED_FOR.as_secs()
        ));
    };
    place.known();
    let extension = shim.settings.extension(&name).cloned().ok_or_else(|| format!("no extension \"{name}\""))?;
    let permit: Permit = shim.media.admit().map_err(|e| e.to_string())?;
    let mut member = shim.rooms.join(&extension.profile, room.as_deref());
    let id = format!("as-{uuid}-{}", registry.accepted.fetch_add(1, Ordering::Relaxed) + 1);
    let who = Who { id, extension: extension.clone(), room: member.room().to_owned() };
    let stream = stream.into_std().map_err(|e| e.to_string())?;
    let mut leg =
        shim.media.audiosocket_leg(permit, stream, &rest, who.clone()).map_err(|e: MediaError| e.to_string())?;
    let row = shim.calls.add(who, Transport::AudioSocket, leg.control().clone());
    tracing::info!(id = row.id(), room = member.room(), extension = name, "AudioSocket call");
    let over: Over = attend(shim, &mut leg, &mut member, &row, &extension).await;
    tracing::info!(id = row.id(), ?over, "AudioSocket call is over");
    drop(row);
    part(leg, member, over).await;
    drop(place);
    Ok(())
}

/// Reads until the UUID is there; returns it and what came behind it.
async fn first_message(stream: &mut TcpStream) -> Result<(Uuid, Vec<u8>), String> {
    // A UUID message has 19 bytes; whatever is behind it in the same segment is audio already.
    let mut seen = Vec::with_capacity(64);
    while seen.len() < 19 {
        let n = stream.read_buf(&mut seen).await.map_err(|e| e.to_string())?;
        if n == 0 {
            return Err("hung up before its UUID".into());
        }
    }
    let rest = seen.split_off(19);
    match Reader::new().next(&mut seen.as_slice()) {
        Ok(Some(Message::Uuid(bytes))) => Ok((Uuid::from_bytes(bytes), rest)),
        Err(e) => Err(e.to_string()),
        _ => Err("the first message is no UUID".into()),
    }
}
