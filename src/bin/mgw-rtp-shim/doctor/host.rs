//! This machine: descriptors, ports, the running shim.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::net::TcpListener;

use super::Report;
use crate::media::{MediaError, Ports};
use crate::settings::Settings;

/// Descriptors of a leg: three sockets, and three connections to providers.
const PER_LEG: u64 = 6;
/// Descriptors that are needed without a call.
const BASE: u64 = 100;

pub async fn examine(settings: &Settings, report: &mut Report) {
    let wanted = settings.max_legs as u64 * PER_LEG + BASE;
    match mgw::sys::fd_limit() {
        Some(limit) if limit < wanted => report.doubtful(
            format!("descriptors: {limit}, but {} legs may need {wanted}", settings.max_legs),
            format!("set LimitNOFILE={wanted} in the systemd unit (or ulimit -n), or lower shim.max_legs"),
        ),
        Some(limit) => report.good(format!("descriptors: {limit}")),
        None => report.good("descriptors: no limit"),
    }
    let running = is_running(settings).await;
    if running {
        report.good(format!("the shim runs: its control interface answers at {}", settings.http.listen));
    } else {
        listen("shim.http.listen", settings.http.listen, report).await;
        if let Some(ask) = &settings.audiosocket {
            listen("shim.audiosocket.listen", ask.listen, report).await;
        }
    }
    ports(settings, running, report);
    if settings.http.token.is_none() {
        report.doubtful(
            "no token: outbound calls and registered AudioSocket UUIDs are not possible",
            format!("set shim.http.token or {} if they are wanted", crate::settings::TOKEN_ENV),
        );
    }
}

async fn is_running(settings: &Settings) -> bool {
    let url = format!("http://{}/health", settings.http.listen);
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(2)).build();
    match client {
        Ok(client) => client.get(url).send().await.is_ok_and(|answer| answer.status().is_success()),
        Err(_) => false,
    }
}

async fn listen(key: &str, address: std::net::SocketAddr, report: &mut Report) {
    match TcpListener::bind(address).await {
        Ok(_) => report.good(format!("{key}: {address} is free")),
        Err(e) => report.bad(
            format!("{key}: {address} cannot be used: {e}"),
            "stop what uses it (ss -ltnp shows it), or choose another port",
        ),
    }
}

fn ports(settings: &Settings, running: bool, report: &mut Report) {
    let ports = Ports::new(settings.rtp.bind, settings.rtp.ports, settings.rtp.rtcp);
    let [first, last] = settings.rtp.ports;
    let pairs = usize::from((last - first) / 2 + 1);
    match ports.reserve(None) {
        Ok(_) => report.good(format!("RTP ports {first} to {last} on {}: {pairs} legs", settings.rtp.bind)),
        Err(MediaError::Busy(why)) => report.bad(why, "choose another range in shim.rtp.ports"),
        Err(MediaError::Failed(why)) => {
            report.bad(why, "shim.rtp.bind must be an address of this machine (ip addr shows them)");
        }
    }
    if pairs < settings.max_legs {
        report.doubtful(
            format!("{pairs} RTP ports for {} legs", settings.max_legs),
            "widen shim.rtp.ports, or lower shim.max_legs",
        );
    }
    let mut fixed: BTreeMap<u16, &str> = BTreeMap::new();
    for extension in settings.extensions.values() {
        let Some(port) = extension.port else { continue };
        if let Some(other) = fixed.insert(port, &extension.name) {
            report.doubtful(
                format!("extensions {other} and {} have the same port {port}", extension.name),
                "give each its own; the second caller gets one of the range",
            );
        } else if !running && ports.reserve(Some(port)).is_ok_and(|got| got.address.port() != port) {
            report.doubtful(
                format!("port {port} of extension {} is in use", extension.name),
                "stop what uses it (ss -lunp shows it); until then its callers get a port of the range",
            );
        }
    }
}
