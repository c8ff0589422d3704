//! What connections are made with: TLS settings and HTTP clients, made once per `tls.ca_file` and shared.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use super::runtime::lock;
use super::tls::{Tls, bad_tls};
use super::transport::CONNECT_DEADLINE;
use crate::provider::StageError;

/// Most settings kept; a `tls.ca_file` that is replaced again and again must not fill the memory.
const MAX_CACHED: usize = 16;
/// Idle connections are kept longer than people pause; a peer that closes earlier costs one retry.
const POOL_IDLE: Duration = Duration::from_secs(300);
/// Shows that an HTTP/2 connection still lives, and how long the answer may take. There is one such connection for a
/// vendor, not one for a session.
const HTTP2_PING: Duration = Duration::from_secs(10);
const HTTP2_PONG: Duration = Duration::from_secs(3);

/// TLS settings and the HTTP clients over them.
pub(super) struct Dialer {
    /// For websockets.
    pub(super) tls: Tls,
    /// Keeps connections open and uses them again.
    pub(super) pooled: reqwest::Client,
    /// Makes a connection for each request: for the second try when a kept one turned out to be dead.
    pub(super) fresh: reqwest::Client,
}

/// What makes one setting different from another: the file and when it was written.
type Key = (Option<PathBuf>, Option<SystemTime>);

/// The dialers made so far.
#[derive(Default)]
pub(super) struct DialerStore {
    made: Mutex<HashMap<Key, Arc<Dialer>>>,
}

impl DialerStore {
    /// The dialer that trusts the system's authorities and those of `ca_file`.
    ///
    /// Reading certificates takes milliseconds, so it is done off the worker threads, and once.
    pub(super) async fn get(&self, ca_file: Option<&Path>) -> Result<Arc<Dialer>, StageError> {
        let file = ca_file.map(Path::to_path_buf);
        let written = file.as_ref().and_then(|path| std::fs::metadata(path).and_then(|meta| meta.modified()).ok());
        let key = (file.clone(), written);
        if let Some(dialer) = lock(&self.made).get(&key) {
            return Ok(Arc::clone(dialer));
        }
        let made = tokio::task::spawn_blocking(move || make(file.as_deref()))
            .await
            .map_err(|_| bad_tls("The certificates could not be read."))??;
        let mut store = lock(&self.made);
        if store.len() >= MAX_CACHED {
            store.clear();
        }
        // Two that began at the same moment must share one pool.
        Ok(Arc::clone(store.entry(key).or_insert_with(|| Arc::new(made))))
    }
}

fn make(ca_file: Option<&Path>) -> Result<Dialer, StageError> {
    let tls = Tls::load(ca_file)?;
    let build = |keep: bool| {
        // No proxy from the environment and no redirects: a key goes to the configured host only.
        let builder = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .tcp_nodelay(true)
            .connect_timeout(CONNECT_DEADLINE)
            .pool_idle_timeout(POOL_IDLE)
            .pool_max_idle_per_host(if keep { 8 } else { 0 })
            .http2_keep_alive_interval(HTTP2_PING)
            .http2_keep_alive_timeout(HTTP2_PONG)
            .http2_keep_alive_while_idle(keep);
        tls.http(builder).build().map_err(|error| bad_tls(format!("HTTP cannot be set up: {error}")))
    };
    Ok(Dialer { pooled: build(true)?, fresh: build(false)?, tls })
}
