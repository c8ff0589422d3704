//! Base URLs of the vendors: what may be given, and which host a region stands for.

use std::fmt;

use url::{Host, Url};

use super::choices::{DeepgramRegion, DeeplRegion, ElevenlabsRegion};

/// Where a vendor's service is reached: scheme, host, port and perhaps a path to put before the
/// service's own. Encrypted, except to this host itself; holds no credentials.
#[derive(Clone, PartialEq, Eq)]
pub struct BaseUrl(Url);

impl BaseUrl {
    /// Checks a base URL; `https`, `wss`, and to a loopback host also `http` and `ws`.
    ///
    /// # Errors
    /// Why not, without the URL, which may hold credentials.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let url = Url::parse(text.trim()).map_err(|_| "is not a URL such as https://host:port")?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err("must not have a user or password in it");
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err("must not have a query or fragment (\"?\", \"#\") in it");
        }
        match (url.scheme(), loopback(&url)) {
            (_, None) => Err("has no host"),
            ("https" | "wss", _) | ("http" | "ws", Some(true)) => Ok(Self(url)),
            ("http" | "ws", Some(false)) => {
                Err("must begin with https:// or wss://; without TLS only a loopback host is allowed")
            }
            _ => Err("must begin with https:// or wss://"),
        }
    }

    /// The URL for HTTP requests to `path` (which begins with `/`).
    pub fn http(&self, path: &str) -> String {
        self.join(if self.is_tls() { "https" } else { "http" }, path)
    }

    /// The URL for a WebSocket at `path` (which begins with `/`).
    pub fn websocket(&self, path: &str) -> String {
        self.join(if self.is_tls() { "wss" } else { "ws" }, path)
    }

    /// Whether the connection is encrypted.
    pub fn is_tls(&self) -> bool {
        matches!(self.0.scheme(), "https" | "wss")
    }

    /// Whether it is on this host itself.
    pub fn is_loopback(&self) -> bool {
        loopback(&self.0) == Some(true)
    }

    /// The host, as TLS and the `Host` header want it (IPv6 in brackets).
    pub fn host(&self) -> &str {
        self.0.host_str().unwrap_or_default()
    }

    /// The port, given or that of the scheme.
    pub fn port(&self) -> u16 {
        self.0.port().unwrap_or(if self.is_tls() { 443 } else { 80 })
    }

    fn join(&self, scheme: &str, path: &str) -> String {
        let port = self.0.port().map(|port| format!(":{port}")).unwrap_or_default();
        format!("{scheme}://{}{port}{}{path}", self.host(), self.0.path().trim_end_matches('/'))
    }
}

impl fmt::Debug for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

fn loopback(url: &Url) -> Option<bool> {
    Some(match url.host()? {
        Host::Domain(name) => name == "localhost",
        Host::Ipv4(ip) => ip.is_loopback(),
        Host::Ipv6(ip) => ip.is_loopback(),
    })
}

impl DeepgramRegion {
    /// Base URL of the region.
    pub fn base_url(self) -> &'static str {
        match self {
            Self::Default => "https://api.deepgram.com",
            Self::Eu => "https://api.eu.deepgram.com",
            Self::Au => "https://api.au.deepgram.com",
            Self::In => "https://api.in.deepgram.com",
        }
    }
}

impl DeeplRegion {
    /// Base URL of the region. Keys of the free plan end in `:fx` and have a host of their own.
    pub fn base_url(self, free_key: bool) -> &'static str {
        match self {
            Self::Default if free_key => "https://api-free.deepl.com",
            Self::Default => "https://api.deepl.com",
            Self::Us => "https://api-us.deepl.com",
            Self::Jp => "https://api-jp.deepl.com",
        }
    }
}

impl ElevenlabsRegion {
    /// Base URL of the region.
    pub fn base_url(self) -> &'static str {
        match self {
            Self::Default => "https://api.elevenlabs.io",
            Self::Us => "https://api.us.elevenlabs.io",
            Self::Eu => "https://api.eu.residency.elevenlabs.io",
            Self::In => "https://api.in.residency.elevenlabs.io",
            Self::Sg => "https://api.sg.residency.elevenlabs.io",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_safe_urls_are_taken() {
        for (text, ok) in [
            ("https://api.deepgram.com", true),
            ("wss://dg.example:8443/prefix/", true),
            ("http://127.0.0.1:8080", true),
            ("ws://localhost:1", true),
            ("http://[::1]:9", true),
            ("http://127.9.9.9", true),
            ("http://10.0.0.1", false),
            ("http://localhost.example", false),
            ("ws://api.deepgram.com", false),
            ("ftp://127.0.0.1", false),
            ("https://user@host", false),
            ("https://user:hunter2@host", false),
            ("https://host/?key=hunter2", false),
            ("https://host/#hunter2", false),
            ("https://", false),
            ("api.deepgram.com", false),
            ("mailto:a@b", false),
        ] {
            match BaseUrl::parse(text) {
                Ok(_) => assert!(ok, "{text} was taken"),
                Err(why) => assert!(!ok && !why.contains("hunter2"), "{text}: {why}"),
            }
        }
    }

    #[test]
    fn paths_are_joined_for_both_transports() {
        for (base, http, websocket) in [
            ("https://h", "https://h/v1/x", "wss://h/v1/x"),
            ("wss://h:8443/p/", "https://h:8443/p/v1/x", "wss://h:8443/p/v1/x"),
            ("ws://127.0.0.1:9", "http://127.0.0.1:9/v1/x", "ws://127.0.0.1:9/v1/x"),
            ("http://[::1]:9/", "http://[::1]:9/v1/x", "ws://[::1]:9/v1/x"),
        ] {
            let url = BaseUrl::parse(base).expect(base);
            assert_eq!(url.http("/v1/x"), http);
            assert_eq!(url.websocket("/v1/x"), websocket);
        }
    }

    #[test]
    fn every_region_has_a_valid_url() {
        let deepgram = [DeepgramRegion::Default, DeepgramRegion::Eu, DeepgramRegion::Au, DeepgramRegion::In];
        let deepl = [DeeplRegion::Default, DeeplRegion::Us, DeeplRegion::Jp];
        let eleven = [
            ElevenlabsRegion::Default,
            ElevenlabsRegion::Us,
            ElevenlabsRegion::Eu,
            ElevenlabsRegion::In,
            ElevenlabsRegion::Sg,
        ];
        let urls = deepgram
            .map(DeepgramRegion::base_url)
            .into_iter()
            .chain(deepl.into_iter().flat_map(|r| [r.base_url(true), r.base_url(false)]))
            .chain(eleven.map(ElevenlabsRegion::base_url));
        for url in urls {
            assert!(BaseUrl::parse(url).is_ok_and(|url| url.is_tls()), "{url}");
        }
    }
}
