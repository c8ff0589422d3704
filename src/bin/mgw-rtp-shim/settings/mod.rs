//! Settings of the shim: the `[shim]` table of the file that also holds the library's settings.

mod check;
mod file;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use mgw::config::{Config, Language, Secret};
use mgw::telephony::codec::Codec;
use mgw::telephony::outgoing::Send;

pub use check::{Origin, check};
pub use file::{AudioSocket, PartnerGone, Rtp};

/// Names of the environment that are stronger than the file.
pub const ARI_PASSWORD_ENV: &str = "MGW_ARI_PASSWORD";
/// The token of the control interface.
pub const TOKEN_ENV: &str = "MGW_SHIM_TOKEN";

/// Checked settings.
#[derive(Debug)]
pub struct Settings {
    /// The library's own settings, profiles included.
    pub library: Config,
    pub max_legs: usize,
    pub allow_remote: bool,
    pub pairs: Vec<[String; 2]>,
    pub partner_gone: PartnerGone,
    /// `None`: never told.
    pub alone_after: Option<Duration>,
    pub drain: Duration,
    pub stop: Duration,
    pub relay_dtmf: bool,
    /// `None`: not used.
    pub ari: Option<Ari>,
    pub rtp: Rtp,
    /// `None`: not used.
    pub audiosocket: Option<AudioSocket>,
    pub http: Http,
    pub extensions: BTreeMap<String, Extension>,
}

/// Where ARI is and how we log in.
#[derive(Clone, Debug)]
pub struct Ari {
    /// Such as `http://127.0.0.1:8088`, without `/ari` and without a slash at the end.
    pub url: url::Url,
    pub username: String,
    pub password: Secret,
    /// Name of the Stasis application.
    pub app: String,
    pub timeout: Duration,
}

#[derive(Clone, Debug)]
pub struct Http {
    pub listen: std::net::SocketAddr,
    /// `None`: nothing may be changed.
    pub token: Option<Secret>,
}

/// What a caller gets who comes to a number.
#[derive(Clone, Debug)]
pub struct Extension {
    pub name: String,
    pub profile: String,
    /// RTP port of the first caller.
    pub port: Option<u16>,
    pub codec: Codec,
    /// What is sent back.
    pub send: Send,
    /// `None`: the shim's own text for the language, if it has one.
    pub announcement: Option<String>,
    pub options: Config,
}

impl Settings {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// All mistakes found, one sentence each, with file and line where there is one; never with a secret in it.
    pub fn load(path: &Path) -> Result<Settings, Vec<String>> {
        let mut library = Config::new();
        // A caller that is alone must not take the line for dead; the file may say otherwise.
        library.set("alone.cue", "tone").map_err(|e| vec![e.to_string()])?;
        library.load_file(path).map_err(|e| e.to_string().lines().map(str::to_owned).collect::<Vec<_>>())?;
        let text = std::fs::read_to_string(path).map_err(|e| vec![format!("{}: {e}", path.display())])?;
        let name = path.display().to_string();
        let origin = Origin::new(&name, &text);
        let file: file::File = toml::from_str(&text).map_err(|e| {
            // Not its Display, which quotes the line, and the line may hold a secret.
            vec![origin.at(e.span().map_or(0, |s| s.start), &without_value(e.message()))]
        })?;
        check(file.shim, library, &|name| std::env::var(name).ok())
    }

    /// The language that callers to an extension hear.
    pub fn hears(&self, extension: &Extension) -> Option<Language> {
        // Vendors' keys do not matter here, but without any the session would be refused.
        let session = self.library.session(&extension.profile, &extension.options, &|_| Some("none".into()));
        session.ok().map(|s| s.hears)
    }

    /// Names of all extensions, for people.
    pub fn extension_names(&self) -> String {
        self.extensions.keys().map(String::as_str).collect::<Vec<_>>().join(", ")
    }

    /// The same for those who ask over the control interface.
    ///
    /// # Errors
    /// There is none of this name; tells which there are.
    pub fn need_extension(&self, name: &str) -> Result<&Extension, String> {
        let names = || self.extension_names();
        self.extension(name).ok_or_else(|| format!("there is no extension \"{name}\"; configured are {}", names()))
    }

    /// The extension that callers name, in `Stasis(mgw,NAME)` or a registration.
    pub fn extension(&self, name: &str) -> Option<&Extension> {
        self.extensions.get(name)
    }
}

/// A message about a wrong type without the value, which may be a secret: `password = 1234` lacks its quotation marks.
fn without_value(message: &str) -> String {
    match (message.starts_with("invalid "), message.find('`'), message.rfind('`')) {
        (true, Some(from), Some(to)) if from < to => format!("{}…{}", &message[..from], &message[to + 1..]),
        _ => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_without_quotation_marks_is_not_told() {
        let error = toml::from_str::<file::File>("[shim.ari]\npassword = 12345678").expect_err("a number");
        let told = without_value(error.message());
        assert!(!told.contains("12345678") && told.contains("expected a string"), "{told}");
        assert_eq!(without_value("unknown field `max_leg`"), "unknown field `max_leg`");
    }
}
