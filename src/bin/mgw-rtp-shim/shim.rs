//! What all parts of a running shim share, and its life: start, stop, end.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::calls::Calls;
use crate::media::Media;
use crate::rooms::Rooms;
use crate::settings::Settings;
use crate::{ari, audiosocket, http};

/// Time that ended calls get to clean up at Asterisk.
const CLEAN_UP: Duration = Duration::from_secs(5);

/// Time between two looks at the clock thread.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// One running shim.
pub struct Shim {
    pub settings: Settings,
    pub media: Media,
    pub rooms: Rooms,
    pub calls: Calls,
    /// State of the connection to Asterisk, for `/ready`, `/metrics` and `doctor`.
    pub ari: ari::Status,
    pub audiosocket: audiosocket::Registry,
    /// What `GET /calls` said last, and when.
    pub listed: tokio::sync::Mutex<Option<(std::time::Instant, serde_json::Value)>>,
    /// Every task of a call is tracked here; stopping waits for them.
    pub tasks: TaskTracker,
    /// No more calls are taken; running ones go on.
    pub closing: CancellationToken,
    /// Running calls are ended now.
    pub ending: CancellationToken,
}

impl Shim {
    /// Starts the library and the clock; listens to nobody yet.
    ///
    /// # Errors
    /// What the library or the system refuses.
    pub fn new(settings: Settings) -> Result<Arc<Shim>, String> {
        let media = Media::start(&settings)?;
        // Eight hexadecimal digits: names of rooms of an earlier run must not come again.
        let run = uuid::Uuid::new_v4().simple().to_string()[..8].to_owned();
        let rooms = Rooms::new(settings.pairs.clone(), settings.partner_gone, &format!("{run}-"));
        Ok(Arc::new(Shim {
            settings,
            media,
            rooms,
            calls: Calls::default(),
            ari: ari::Status::default(),
            audiosocket: audiosocket::Registry::default(),
            listed: tokio::sync::Mutex::default(),
            tasks: TaskTracker::new(),
            closing: CancellationToken::new(),
            ending: CancellationToken::new(),
        }))
    }

    /// Why calls cannot be taken just now; empty when they can.
    pub fn not_ready(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if self.closing.is_cancelled() {
            reasons.push("the shim is stopping".to_owned());
        }
        if self.settings.ari.is_some()
            && let Some(why) = self.ari.trouble()
        {
            reasons.push(format!("ARI: {why}"));
        }
        reasons
    }

    /// Runs until `closing` is cancelled and the calls are over, or `ending` is cancelled.
    ///
    /// # Errors
    /// An address cannot be listened on, or a part failed that no call can do without. Then the process must end at
    /// once, without touching what it has in Asterisk.
    pub async fn run(self: &Arc<Self>) -> Result<(), String> {
        let listen = async |what: &str, address: std::net::SocketAddr| {
            TcpListener::bind(address).await.map_err(|e| format!("{what}: cannot listen on {address}: {e}"))
        };
        let control = listen("shim.http.listen", self.settings.http.listen).await?;
        let socket = match &self.settings.audiosocket {
            Some(ask) => Some((listen("shim.audiosocket.listen", ask.listen).await?, ask.max_per_peer)),
            None => None,
        };
        let at = |listener: &TcpListener| listener.local_addr().map(|a| a.to_string()).unwrap_or_default();
        let audiosocket_at = socket.as_ref().map_or("off".to_owned(), |(listener, _)| at(listener));
        println!("mgw-rtp-shim listens: control {}, AudioSocket {audiosocket_at}", at(&control));
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
        // These serve running calls, so they live until the end and are not tracked as calls.
        let mut services = JoinSet::new();
        services.spawn(http::serve(control, self.clone()));
        if let Some((listener, max_per_peer)) = socket {
            services.spawn(audiosocket::serve(listener, self.clone(), max_per_peer));
        }
        if self.settings.ari.is_some() {
            services.spawn(ari::run(self.clone()));
        }
        if let Some(why) = self.watch_over(&mut services).await {
            // Nothing is hung up: systemd starts us again, and running calls are taken up from there.
            return Err(why);
        }
        tracing::info!(legs = self.calls.len(), "stopping: no more calls are taken");
        self.tasks.close();
        tokio::select! {
            () = self.tasks.wait() => {}
            () = tokio::time::sleep(self.settings.stop) => tracing::warn!("calls did not end in time"),
            () = self.ending.cancelled() => {}
        }
        self.ending.cancel();
        if tokio::time::timeout(CLEAN_UP, self.tasks.wait()).await.is_err() {
            tracing::warn!("calls did not clean up in time; the next start does it");
        }
        services.shutdown().await;
        Ok(())
    }

    /// Returns when the shim shall close, or with what has failed that no call can do without.
    async fn watch_over(&self, services: &mut JoinSet<()>) -> Option<String> {
        loop {
            tokio::select! {
                () = self.closing.cancelled() => return None,
                ended = services.join_next() => {
                    let how = ended.and_then(Result::err).map_or_else(|| "ended".to_owned(), |e| e.to_string());
                    return (!self.closing.is_cancelled()).then(|| format!("a service of the shim failed ({how})"));
                }
                () = tokio::time::sleep(LOOK_EVERY) => {
                    if !self.media.is_alive() {
                        return Some("the clock thread has ended".to_owned());
                    }
                }
            }
        }
    }
}
