//! The `[shim]` table as it stands in the file. Everything has a default; unknown names are refused.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};

/// The whole file, as far as the shim reads it; the rest is the library's.
#[derive(Debug, Default, Deserialize)]
pub struct File {
    #[serde(default)]
    pub shim: Shim,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Shim {
    /// Most call legs at one time; one more hears busy.
    pub max_legs: usize,
    /// Whether anything may listen beyond loopback.
    pub allow_remote: bool,
    /// Profiles that are put together when a caller names no room, in order of arrival.
    pub pairs: Vec<[String; 2]>,
    /// What becomes of a caller whose partner has hung up.
    pub partner_gone: PartnerGone,
    /// A caller that is alone so long is told so; 0: never.
    pub alone_after_s: u64,
    /// Longest time in which the last words of somebody who hung up may still be heard.
    pub drain_s: u64,
    /// Longest time that running calls get when the shim is asked to stop.
    pub stop_s: u64,
    /// Whether a DTMF digit of one leg is sent to the others of its room.
    pub relay_dtmf: bool,
    pub ari: Ari,
    pub rtp: Rtp,
    pub audiosocket: AudioSocket,
    pub http: Http,
    pub extension: BTreeMap<String, Extension>,
}

impl Default for Shim {
    fn default() -> Self {
        Shim {
            max_legs: 500,
            allow_remote: false,
            pairs: vec![["7777".into(), "8888".into()]],
            partner_gone: PartnerGone::Hangup,
            alone_after_s: 20,
            drain_s: 20,
            stop_s: 120,
            relay_dtmf: false,
            ari: Ari::default(),
            rtp: Rtp::default(),
            audiosocket: AudioSocket::default(),
            http: Http::default(),
            extension: BTreeMap::new(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PartnerGone {
    /// The call is over once the last words were heard.
    Hangup,
    /// It waits for the next partner, as if it had just called.
    Wait,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ari {
    /// Without ARI only AudioSocket and legs from the control interface remain.
    pub enabled: bool,
    pub url: String,
    pub username: String,
    pub password: String,
    /// Name of the Stasis application.
    pub app: String,
    /// Deadline of one request.
    pub timeout_ms: u64,
}

impl Default for Ari {
    fn default() -> Self {
        Ari {
            enabled: true,
            url: "http://127.0.0.1:8088".into(),
            username: "mgw".into(),
            password: String::new(),
            app: "mgw".into(),
            timeout_ms: 5000,
        }
    }
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rtp {
    /// Address of our RTP ports, told to Asterisk as `external_host`.
    pub bind: IpAddr,
    /// First and last port of the range; even ports are RTP, the odd ones above them RTCP.
    pub ports: [u16; 2],
    /// Payload of extensions that name none: slin16, slin, ulaw or alaw.
    pub format: String,
    /// Least and most delay of the jitter buffer.
    pub jitter_ms: [u32; 2],
    /// Whether RTCP is answered where the peer speaks it.
    pub rtcp: bool,
}

impl Default for Rtp {
    fn default() -> Self {
        Rtp {
            bind: Ipv4Addr::LOCALHOST.into(),
            ports: [20_000, 23_999],
            format: "slin16".into(),
            jitter_ms: [20, 1000],
            rtcp: true,
        }
    }
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct AudioSocket {
    pub enabled: bool,
    pub listen: SocketAddr,
    /// UUIDs of the dialplan and their extensions; any number of calls may use them.
    pub uuids: BTreeMap<String, String>,
    /// Most calls of one address.
    pub max_per_peer: usize,
}

impl Default for AudioSocket {
    fn default() -> Self {
        AudioSocket {
            enabled: true,
            listen: (Ipv4Addr::LOCALHOST, 9092).into(),
            uuids: BTreeMap::new(),
            max_per_peer: 500,
        }
    }
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Http {
    pub listen: SocketAddr,
    /// Needed for everything that changes state; without one nothing can be changed.
    pub token: String,
}

impl Default for Http {
    fn default() -> Self {
        Http { listen: (Ipv4Addr::LOCALHOST, 8099).into(), token: String::new() }
    }
}

/// What a caller gets who comes to a number.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Extension {
    /// Profile of the session; not given: the extension's own name.
    pub profile: Option<String>,
    /// RTP port that the first caller gets, if it is free.
    pub port: Option<u16>,
    /// Payload asked of Asterisk; not given: `rtp.format`.
    pub format: Option<String>,
    /// Payload sent to the peer: slin16, slin, ulaw, alaw or g722. Not given: what Asterisk understands, which is g722
    /// where slin16 is received.
    pub send: Option<String>,
    /// Said to a caller that is alone for `alone_after_s`, in the language it hears.
    pub announcement: Option<String>,
    /// Options of the session, as `tts.voice` (any session key of the library).
    pub options: BTreeMap<String, toml::Value>,
}
