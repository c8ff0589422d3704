//! The AudioSocket server: Asterisk connects, says a UUID, and the UUID says whose call it is.
//!
//! AudioSocket has no authentication. A UUID must be known: from the settings (any number of calls, for the dialplan's
//! fixed ones) or registered beforehand over the control interface (one call, within [`REGISTERED_FOR`]).

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mgw::telephony::audiosocket::{Message, Reader};
use serde::Deserialize;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::attend::{Over, attend, part};
use crate::calls::Transport;
use crate::media::{Permit, Who};
use crate::settings::Settings;
use crate::shim::Shim;

/// Time in which a connection must say who it is. Asterisk does so with its first write.
const FIRST_MESSAGE: Duration = Duration::from_secs(2);
/// How long a registered UUID waits for its call.
const REGISTERED_FOR: Duration = Duration::from_secs(120);
/// Most UUIDs that wait for their calls.
const MAX_REGISTERED: usize = 10_000;
/// Most connections that have not said who they are. Asterisk says so at once, so they are hardly ever more than a few.
const MAX_UNKNOWN: usize = 256;

/// A whole hang-up message.
const HANGUP: [u8; 3] = [0, 0, 0];

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
    busy: AtomicU64,
    crowded: AtomicU64,
    silent: AtomicU64,
    unknown: AtomicU64,
}

#[derive(Default)]
struct Peers {
    /// Calls of each address.
    calls: HashMap<IpAddr, usize>,
    /// Connections that have not said who they are, oldest first.
    unknown: VecDeque<(u64, CancellationToken)>,
    next: u64,
}

/// A connection that counts until dropped: first among those that have not said who they are, then among its peer's calls.
struct Place {
    shim: Arc<Shim>,
    peer: IpAddr,
    number: u64,
    /// Cancelled when it has to make room for another.
    out: CancellationToken,
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
        settings.need_extension(&ask.extension)?;
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

    /// Told at the first and then ever more rarely: whoever floods the port must not flood the log.
    fn count_crowded(&self) {
        let before = self.crowded.fetch_add(1, Ordering::Relaxed);
        if (before + 1).is_power_of_two() {
            tracing::warn!(
                so_far = before + 1,
                "AudioSocket: {MAX_UNKNOWN} connections have not said who they are; the oldest is closed"
            );
        }
    }

    /// Counters in Prometheus' text format.
    pub fn metrics(&self) -> String {
        let mut text = String::new();
        let rows = [
            ("accepted", &self.accepted),
            ("refused_busy", &self.busy),
            ("closed_for_room", &self.crowded),
            ("refused_silent", &self.silent),
            ("refused_unknown_uuid", &self.unknown),
        ]
        .map(|(name, counter)| (name, "counter", "", counter.load(Ordering::Relaxed)));
        crate::metrics::append(&mut text, "mgw_shim_audiosocket_", &rows);
        text
    }
}

impl Place {
    /// Always to be had: where too many are silent, the oldest of them makes room, so that they cannot shut callers out.
    fn take(shim: &Arc<Shim>, peer: IpAddr) -> Place {
        let mut peers = lock(&shim.audiosocket.peers);
        if peers.unknown.len() >= MAX_UNKNOWN
            && let Some((_, oldest)) = peers.unknown.pop_front()
        {
            oldest.cancel();
            shim.audiosocket.count_crowded();
        }
        let (number, out) = (peers.next, CancellationToken::new());
        peers.next += 1;
        peers.unknown.push_back((number, out.clone()));
        Place { shim: shim.clone(), peer, number, out, known: false }
    }

    /// It has said who it is. False: its peer has as many calls as it may.
    fn becomes_call(&mut self, most: usize) -> bool {
        let mut peers = lock(&self.shim.audiosocket.peers);
        let calls = peers.calls.entry(self.peer).or_default();
        if *calls >= most {
            return false;
        }
        *calls += 1;
        peers.unknown.retain(|(number, _)| *number != self.number);
        self.known = true;
        true
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut peers = lock(&self.shim.audiosocket.peers);
        if !self.known {
            peers.unknown.retain(|(number, _)| *number != self.number);
        } else if let Some(calls) = peers.calls.get_mut(&self.peer) {
            *calls -= 1;
            if *calls == 0 {
                peers.calls.remove(&self.peer);
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
        let place = Place::take(&shim, peer.ip());
        let shim = shim.clone();
        shim.clone().tasks.spawn(async move {
            if let Err(why) = connection(&shim, stream, place, max_per_peer).await {
                tracing::debug!(%peer, "AudioSocket connection refused: {why}");
            }
        });
    }
}

async fn connection(
    shim: &Arc<Shim>,
    mut stream: TcpStream,
    mut place: Place,
    max_per_peer: usize,
) -> Result<(), String> {
    let registry = &shim.audiosocket;
    let out = place.out.clone();
    let first = tokio::select! {
        first = tokio::time::timeout(FIRST_MESSAGE, first_message(&mut stream)) => first,
        () = out.cancelled() => return Err("it has to make room".into()),
    };
    let silent = |why: String| {
        registry.silent.fetch_add(1, Ordering::Relaxed);
        why
    };
    let (uuid, rest) =
        first.map_err(|_| silent(format!("no UUID within {} s", FIRST_MESSAGE.as_secs())))?.map_err(silent)?;
    let busy = |why: String| {
        registry.busy.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(%uuid, "an AudioSocket call is refused: {why}");
        // AudioSocket has no busy; after a hang-up the dialplan goes on behind AudioSocket(), after a mere end it does not.
        let _ = stream.try_write(&HANGUP);
        why
    };
    if shim.closing.is_cancelled() {
        return Err(busy("the shim is stopping".into()));
    }
    // Before the UUID is looked up: a registered one is good for another try.
    let permit: Permit = shim.media.admit().map_err(|e| busy(e.to_string()))?;
    if !place.becomes_call(max_per_peer) {
        return Err(busy(format!("{max_per_peer} calls of one address (shim.audiosocket.max_per_peer)")));
    }
    let Some((name, room)) = registry.take(&shim.settings, uuid) else {
        registry.unknown.fetch_add(1, Ordering::Relaxed);
        let why = format!(
            "UUID {uuid} is not in shim.audiosocket.uuids and was not registered (POST /audiosocket) in the last {} s",
            REGISTERED_FOR.as_secs()
        );
        tracing::warn!("{why}");
        let _ = stream.try_write(&HANGUP);
        return Err(why);
    };
    let extension = shim.settings.extension(&name).cloned().ok_or_else(|| format!("no extension \"{name}\""))?;
    let mut member = shim.rooms.join(&extension.profile, room.as_deref());
    let id = format!("as-{uuid}-{}", registry.accepted.fetch_add(1, Ordering::Relaxed) + 1);
    let who = Who { id, extension: extension.clone(), room: member.room().to_owned() };
    let stream = stream.into_std().map_err(|e| e.to_string())?;
    let mut leg = match shim.media.audiosocket_leg(permit, stream, &rest, who.clone()) {
        Ok(leg) => leg,
        Err(e) => {
            // Whoever waits there for a partner goes on waiting.
            member.withdraw();
            tracing::warn!("{e}");
            return Err(e.to_string());
        }
    };
    let row = shim.calls.add(who, Transport::AudioSocket, leg.control().clone());
    tracing::info!(id = row.id(), room = member.room(), extension = name, "AudioSocket call");
    let over: Over = attend(shim, &mut leg, &mut member, &row, &extension).await;
    tracing::info!(id = row.id(), ?over, "AudioSocket call is over");
    drop(row);
    part(shim, leg, member, over).await;
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
