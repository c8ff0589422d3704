//! ARI's REST interface, as far as we need it. Every request has one deadline, and all together have a limited number
//! of connections: Asterisk's HTTP server takes 100 (`sessionlimit` in http.conf).

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use reqwest::{Method, StatusCode, Url, header};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use super::event::{Channel, field, list};
use crate::settings::Ari;

/// Requests at one time; more wait.
const CONCURRENT: usize = 32;
/// Shorter than Asterisk's `session_keep_alive` (15 s), so that a request hardly ever meets a closing connection.
const POOL_IDLE: Duration = Duration::from_secs(10);
/// A list of 10,000 channels has about 5 MB.
const BODY_MOST: usize = 16 << 20;
/// Longest event.
const MESSAGE_MOST: usize = 1 << 20;

/// The events websocket.
pub type Events = WebSocketStream<reqwest::Upgraded>;

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// No connection, or it broke.
    Unreachable(String),
    /// No answer in time; Asterisk may still do what was asked.
    Timeout(String),
    /// Asterisk refuses our user or password, or lets the user only read.
    Unauthorised(String),
    /// There is no such channel, bridge, ... or, with HTML instead of Asterisk's message, no ARI at all.
    NotFound(String),
    /// Another status, with Asterisk's message.
    Refused { status: u16, message: String },
    /// An answer that makes no sense.
    Garbage(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Unreachable(text)
            | Error::Timeout(text)
            | Error::Unauthorised(text)
            | Error::NotFound(text)
            | Error::Garbage(text) => f.write_str(text),
            Error::Refused { status, message } => write!(f, "Asterisk refuses with status {status}: {message}"),
        }
    }
}

/// A bridge and the ids of the channels in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bridge {
    pub id: String,
    pub channels: Vec<String>,
}

/// Figures of all requests.
#[derive(Debug, Default)]
pub struct Requests {
    pub made: AtomicU64,
    /// Those that got no answer or an error, "not found" left out: an object that is gone already is no failure.
    pub failed: AtomicU64,
}

/// Why a channel is hung up, as its phone is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    Normal,
    Busy,
    Congestion,
    /// No such number.
    Unallocated,
}

impl Reason {
    fn name(self) -> &'static str {
        match self {
            Reason::Normal => "normal",
            Reason::Busy => "busy",
            Reason::Congestion => "congestion",
            Reason::Unallocated => "unallocated",
        }
    }
}

/// A channel to be dialled into our application.
#[derive(Clone, Debug)]
pub struct Originate<'a> {
    pub channel_id: &'a str,
    /// Such as `PJSIP/1001`.
    pub endpoint: &'a str,
    pub app_args: &'a str,
    pub caller_id: &'a str,
    pub ring_for: Duration,
    pub variables: &'a [(&'a str, &'a str)],
}

/// The client.
pub struct Rest {
    http: reqwest::Client,
    settings: Ari,
    slots: Semaphore,
    requests: Arc<Requests>,
}

impl Rest {
    /// Connects to nothing yet.
    ///
    /// # Errors
    /// What the TLS library says (only for `https`).
    pub fn new(settings: &Ari, requests: Arc<Requests>) -> Result<Rest, String> {
        // For tests, which do not go through `main`.
        #[cfg(feature = "tls-rustls")]
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            // No proxy from the environment and no redirects: the password goes to the configured host only.
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .http1_only()
            .tcp_nodelay(true)
            .connect_timeout(settings.timeout)
            .pool_idle_timeout(POOL_IDLE)
            .pool_max_idle_per_host(CONCURRENT)
            .build()
            .map_err(|e| format!("ARI's client cannot be set up: {e}"))?;
        Ok(Rest { http, settings: settings.clone(), slots: Semaphore::new(CONCURRENT), requests })
    }

    /// Asterisk's version.
    pub async fn version(&self) -> Result<String, Error> {
        let info = self.get(&["asterisk", "info"], &[("only", "system")]).await?;
        Ok(field(&info["system"], "version"))
    }

    /// Whether a module is loaded and runs.
    pub async fn module_runs(&self, module: &str) -> Result<bool, Error> {
        match self.get(&["asterisk", "modules", module], &[]).await {
            Ok(value) => Ok(field(&value, "status") == "Running"),
            Err(Error::NotFound(_)) => Ok(false),
            // Asterisk answers 409 for a module that it does not have loaded.
            Err(Error::Refused { status: 409, .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether an application is registered: some client is connected for it, or was and left calls in it.
    pub async fn app_exists(&self, app: &str) -> Result<bool, Error> {
        match self.get(&["applications", app], &[]).await {
            Ok(_) => Ok(true),
            Err(Error::NotFound(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Ids of the channels whose events our application gets.
    pub async fn subscribed(&self) -> Result<Vec<String>, Error> {
        let app = self.get(&["applications", &self.settings.app], &[]).await?;
        Ok(list(&app["channel_ids"]))
    }

    /// Has a channel's events sent to our application.
    pub async fn subscribe(&self, channel: &str) -> Result<(), Error> {
        let source = format!("channel:{channel}");
        let path = ["applications", &self.settings.app, "subscription"];
        self.send(Method::POST, &path, &[("eventSource", &source)], None).await.map(drop)
    }

    /// Has an event of this name sent to our application.
    pub async fn user_event(&self, name: &str) -> Result<(), Error> {
        let query = [("application", self.settings.app.as_str())];
        self.send(Method::POST, &["events", "user", name], &query, None).await.map(drop)
    }

    /// All channels of Asterisk.
    pub async fn channels(&self) -> Result<Vec<Channel>, Error> {
        let all = self.get(&["channels"], &[]).await?;
        Ok(all.as_array().ok_or_else(|| garbage("a list of channels"))?.iter().map(Channel::read).collect())
    }

    /// All bridges of Asterisk.
    pub async fn bridges(&self) -> Result<Vec<Bridge>, Error> {
        let all = self.get(&["bridges"], &[]).await?;
        let read = |b: &Value| Bridge { id: field(b, "id"), channels: list(&b["channels"]) };
        Ok(all.as_array().ok_or_else(|| garbage("a list of bridges"))?.iter().map(read).collect())
    }

    /// Ids of the channels in a bridge.
    pub async fn in_bridge(&self, id: &str) -> Result<Vec<String>, Error> {
        Ok(list(&self.get(&["bridges", id], &[]).await?["channels"]))
    }

    /// A variable's value; empty if it is not set.
    pub async fn variable(&self, channel: &str, name: &str) -> Result<String, Error> {
        match self.get(&["channels", channel, "variable"], &[("variable", name)]).await {
            Ok(value) => Ok(field(&value, "value")),
            // Asterisk says the same of a variable and of a channel that it does not have.
            Err(Error::NotFound(_)) => Ok(String::new()),
            Err(error) => Err(error),
        }
    }

    pub async fn set_variable(&self, channel: &str, name: &str, value: &str) -> Result<(), Error> {
        self.post(&["channels", channel, "variable"], Some(json!({ "variable": name, "value": value }))).await
    }

    /// Lets the caller hear that it rings.
    pub async fn ring(&self, channel: &str) -> Result<(), Error> {
        self.post(&["channels", channel, "ring"], None).await
    }

    pub async fn answer(&self, channel: &str) -> Result<(), Error> {
        self.post(&["channels", channel, "answer"], None).await
    }

    /// Presses a key towards a channel's phone.
    pub async fn send_dtmf(&self, channel: &str, digit: char) -> Result<(), Error> {
        let body = json!({ "dtmf": digit.to_string() });
        self.post(&["channels", channel, "dtmf"], Some(body)).await
    }

    /// Hangs a channel up; one that is gone already is no error.
    pub async fn hang_up(&self, channel: &str, reason: Reason) -> Result<(), Error> {
        gone_is_fine(self.send(Method::DELETE, &["channels", channel], &[("reason", reason.name())], None).await)
    }

    /// Makes a mixing bridge.
    pub async fn create_bridge(&self, id: &str) -> Result<(), Error> {
        self.post(&["bridges"], Some(json!({ "bridgeId": id, "type": "mixing", "name": "mgw" }))).await
    }

    /// Ends a bridge; one that is gone already is no error.
    pub async fn destroy_bridge(&self, id: &str) -> Result<(), Error> {
        gone_is_fine(self.send(Method::DELETE, &["bridges", id], &[], None).await)
    }

    /// Puts channels into a bridge.
    pub async fn add_channels(&self, bridge: &str, channels: &[&str]) -> Result<(), Error> {
        self.post(&["bridges", bridge, "addChannel"], Some(json!({ "channel": channels }))).await
    }

    /// Makes an external media channel that sends RTP to `host`; gives where it wants ours.
    pub async fn external_media(&self, id: &str, host: SocketAddr, format: &str) -> Result<SocketAddr, Error> {
        let body = json!({
            "app": self.settings.app,
            "channelId": id,
            "external_host": host.to_string(),
            "format": format,
        });
        let made = self.send(Method::POST, &["channels", "externalMedia"], &[], Some(body)).await?;
        let made = Channel::read(&made);
        let address: Option<IpAddr> = made.rtp_address.trim_matches(['[', ']']).parse().ok();
        match (address.filter(|ip| !ip.is_unspecified()), made.rtp_port.parse()) {
            (Some(ip), Ok(port)) if port != 0 => Ok((ip, port).into()),
            _ => Err(Error::Garbage(format!(
                "Asterisk does not say where its external media channel listens (UNICASTRTP_LOCAL_ADDRESS \"{}\", \
                 UNICASTRTP_LOCAL_PORT \"{}\"): chan_rtp must be loaded",
                made.rtp_address, made.rtp_port
            ))),
        }
    }

    /// Dials a channel into our application.
    pub async fn originate(&self, ask: &Originate<'_>) -> Result<(), Error> {
        let variables: serde_json::Map<String, Value> =
            ask.variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect();
        let body = json!({
            "endpoint": ask.endpoint,
            "app": self.settings.app,
            "appArgs": ask.app_args,
            "channelId": ask.channel_id,
            "callerId": ask.caller_id,
            "timeout": ask.ring_for.as_secs(),
            "variables": variables,
        });
        self.post(&["channels"], Some(body)).await
    }

    /// Opens the events websocket, which registers our application.
    pub async fn events(&self) -> Result<Events, Error> {
        let deadline = self.settings.timeout;
        let opened = timeout(deadline, self.open_events()).await;
        opened.unwrap_or_else(|_| Err(self.timed_out())).inspect_err(|_| self.count_failure())
    }

    async fn open_events(&self) -> Result<Events, Error> {
        self.requests.made.fetch_add(1, Ordering::Relaxed);
        let key = generate_key();
        let url = self.url(&["events"], &[("app", &self.settings.app), ("subscribeAll", "false")])?;
        let request = self
            .http
            .get(url)
            .basic_auth(&self.settings.username, Some(self.settings.password.expose()))
            .header(header::CONNECTION, "Upgrade")
            .header(header::UPGRADE, "websocket")
            .header(header::SEC_WEBSOCKET_VERSION, "13")
            .header(header::SEC_WEBSOCKET_KEY, &key);
        let response = request.send().await.map_err(|e| self.broken(&e))?;
        let status = response.status();
        if status != StatusCode::SWITCHING_PROTOCOLS {
            let body = read(response).await.unwrap_or_default();
            return Err(if status.is_success() { garbage("a websocket") } else { self.refusal(status, &body) });
        }
        let accept = response.headers().get(header::SEC_WEBSOCKET_ACCEPT);
        if accept.is_none_or(|accept| accept.as_bytes() != derive_accept_key(key.as_bytes()).as_bytes()) {
            return Err(garbage("a websocket"));
        }
        let stream = response.upgrade().await.map_err(|e| self.broken(&e))?;
        let limits = WebSocketConfig::default().max_message_size(Some(MESSAGE_MOST)).max_frame_size(Some(MESSAGE_MOST));
        Ok(WebSocketStream::from_raw_socket(stream, Role::Client, Some(limits)).await)
    }

    async fn get(&self, path: &[&str], query: &[(&str, &str)]) -> Result<Value, Error> {
        self.send(Method::GET, path, query, None).await
    }

    async fn post(&self, path: &[&str], body: Option<Value>) -> Result<(), Error> {
        self.send(Method::POST, path, &[], body).await.map(drop)
    }

    /// One request; an empty answer is `Null`.
    async fn send(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, &str)],
        body: Option<Value>,
    ) -> Result<Value, Error> {
        self.requests.made.fetch_add(1, Ordering::Relaxed);
        let url = self.url(path, query)?;
        let answer = timeout(self.settings.timeout, async {
            // Never closed, so this waits only for its turn.
            let _slot = self.slots.acquire().await;
            let mut request = self
                .http
                .request(method, url)
                .basic_auth(&self.settings.username, Some(self.settings.password.expose()));
            if let Some(body) = body {
                request = request.json(&body);
            }
            let response = request.send().await.map_err(|e| self.broken(&e))?;
            let status = response.status();
            let body =
                read(response).await.map_err(|e| e.map_or_else(|| garbage("a short answer"), |e| self.broken(&e)))?;
            if !status.is_success() {
                return Err(self.refusal(status, &body));
            }
            if body.is_empty() {
                return Ok(Value::Null);
            }
            serde_json::from_slice(&body).map_err(|_| garbage("JSON"))
        });
        let answer = answer.await.unwrap_or_else(|_| Err(self.timed_out()));
        answer.inspect_err(|error| {
            if !matches!(error, Error::NotFound(_)) {
                self.count_failure();
            }
        })
    }

    fn count_failure(&self) {
        self.requests.failed.fetch_add(1, Ordering::Relaxed);
    }

    fn url(&self, path: &[&str], query: &[(&str, &str)]) -> Result<Url, Error> {
        let mut url = self.settings.url.clone();
        // `Url` would drop a segment of dots, and the request would go to something else.
        if path.iter().any(|part| part.is_empty() || part.bytes().all(|b| b == b'.')) {
            return Err(Error::NotFound("such an id cannot exist".into()));
        }
        url.path_segments_mut()
            .map_err(|()| Error::Unreachable("shim.ari.url cannot be used".into()))?
            .pop_if_empty()
            .push("ari")
            .extend(path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Ok(url)
    }

    fn refusal(&self, status: StatusCode, body: &[u8]) -> Error {
        let value: Option<Value> = serde_json::from_slice(body).ok();
        let message = value.as_ref().map(|v| field(v, "message") + &field(v, "error")).filter(|text| !text.is_empty());
        let (url, user) = (&self.settings.url, &self.settings.username);
        match (status, message) {
            (StatusCode::UNAUTHORIZED, _) => Error::Unauthorised(format!(
                "ARI at {url} refuses user \"{user}\": set shim.ari.password (or {}) to the password of [{user}] in \
                 ari.conf",
                crate::settings::ARI_PASSWORD_ENV
            )),
            (StatusCode::FORBIDDEN, _) => Error::Unauthorised(format!(
                "ARI at {url} lets user \"{user}\" only read: set read_only = no under [{user}] in ari.conf"
            )),
            (StatusCode::NOT_FOUND, Some(message)) => Error::NotFound(message),
            (StatusCode::NOT_FOUND, None) => Error::NotFound(format!(
                "there is no ARI at {url}: set enabled = yes in ari.conf and load res_ari, or correct shim.ari.url \
                 (with the prefix of http.conf, if that has one)"
            )),
            (_, message) => Error::Refused {
                status: status.as_u16(),
                message: message.unwrap_or_else(|| status.canonical_reason().unwrap_or("unknown").to_owned()),
            },
        }
    }

    fn timed_out(&self) -> Error {
        let (url, time) = (&self.settings.url, self.settings.timeout.as_millis());
        Error::Timeout(format!("ARI at {url} gave no answer within {time} ms"))
    }

    fn broken(&self, error: &reqwest::Error) -> Error {
        // The innermost cause says most, and has no address with a query in it.
        let mut cause: &dyn std::error::Error = error;
        while let Some(inner) = cause.source() {
            cause = inner;
        }
        let url = &self.settings.url;
        let hint = if error.is_connect() { ": is Asterisk running, with enabled = yes in http.conf?" } else { "" };
        Error::Unreachable(format!("no connection to ARI at {url} ({cause}){hint}"))
    }
}

fn garbage(wanted: &str) -> Error {
    Error::Garbage(format!("the answer is not {wanted}: what listens at shim.ari.url is not Asterisk's ARI"))
}

fn gone_is_fine(answer: Result<Value, Error>) -> Result<(), Error> {
    match answer {
        Ok(_) | Err(Error::NotFound(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

/// A whole body; `Err(None)` if it is too long.
async fn read(mut response: reqwest::Response) -> Result<Vec<u8>, Option<reqwest::Error>> {
    let mut body = Vec::new();
    while let Some(part) = response.chunk().await.map_err(Some)? {
        if body.len() + part.len() > BODY_MOST {
            return Err(None);
        }
        body.extend_from_slice(&part);
    }
    Ok(body)
}
