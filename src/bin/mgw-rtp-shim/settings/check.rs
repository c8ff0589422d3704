//! From the file's table to [`Settings`]: everything that can be wrong is told at once.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use mgw::config::{Config, Secret};
use mgw::telephony::codec::Codec;
use mgw::telephony::outgoing::Send;

use super::file::{self, Shim};
use super::{ARI_PASSWORD_ENV, Ari, Extension, Http, Settings, TOKEN_ENV};

/// Says in which line of which file something stands.
pub struct Origin<'t> {
    file: &'t str,
    text: &'t str,
}

impl<'t> Origin<'t> {
    pub fn new(file: &'t str, text: &'t str) -> Self {
        Origin { file, text }
    }

    /// `file:line: message` for a byte offset.
    pub fn at(&self, offset: usize, message: &str) -> String {
        let line = self.text.bytes().take(offset).filter(|b| *b == b'\n').count() + 1;
        format!("{}:{line}: {message}", self.file)
    }
}

/// The extensions of a file that names none: the classic ones.
const CLASSIC: [(&str, &str, Option<u16>); 4] =
    [("7777", "7777", Some(17_000)), ("8888", "8888", Some(18_000)), ("7000", "7777", None), ("7001", "8888", None)];

/// UUIDs of the sample dialplan for 7000 and 7001. They are no secret: what protects the port is loopback.
const CLASSIC_UUIDS: [(&str, &str); 2] =
    [("6f0f1c9a-3d64-4f0e-9f63-52a1c2f97000", "7000"), ("6f0f1c9a-3d64-4f0e-9f63-52a1c2f97001", "7001")];

/// The library gives up last words after this time.
const MOST_DRAIN_S: u64 = 20;

/// Checks a table against itself and against the library's settings.
///
/// # Errors
/// One sentence for each mistake.
pub fn check(shim: Shim, library: Config, env: &dyn Fn(&str) -> Option<String>) -> Result<Settings, Vec<String>> {
    let mut wrong = Vec::new();
    let ari = shim.ari.enabled.then(|| ari(&shim.ari, env, &mut wrong)).flatten();
    let http =
        Http { listen: shim.http.listen, token: secret(&shim.http.token, TOKEN_ENV, env, "http.token", &mut wrong) };
    let mut uuids = shim.audiosocket.uuids.clone();
    let mut table = shim.extension.clone();
    if table.is_empty() {
        table = CLASSIC
            .map(|(name, profile, port)| {
                (name.to_owned(), file::Extension { profile: Some(profile.to_owned()), port, ..Default::default() })
            })
            .into();
    }
    if uuids.is_empty() {
        uuids = CLASSIC_UUIDS
            .iter()
            .filter(|(_, extension)| table.contains_key(*extension))
            .map(|(uuid, extension)| ((*uuid).to_owned(), (*extension).to_owned()))
            .collect();
    }
    let extensions: BTreeMap<String, Extension> = table
        .iter()
        .filter_map(|(name, ask)| {
            let made = extension(name, ask, &shim, &library);
            made.map_err(|e| wrong.push(e)).ok().map(|made| (name.clone(), made))
        })
        .collect();
    // What every caller would run into is told before the first one calls: a key that is missing, most often.
    let mut sessions: Vec<String> = extensions
        .values()
        .filter_map(|e| library.session(&e.profile, &e.options, env).err())
        .flat_map(|e| e.to_string().lines().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    sessions.sort();
    sessions.dedup();
    wrong.extend(sessions);
    for (uuid, name) in &uuids {
        if uuid::Uuid::parse_str(uuid).is_err() {
            wrong.push(format!("shim.audiosocket.uuids: \"{uuid}\" is not a UUID such as {}", CLASSIC_UUIDS[0].0));
        }
        if !table.contains_key(name) {
            wrong.push(format!("shim.audiosocket.uuids: there is no [shim.extension.{name}]"));
        }
    }
    ranges(&shim, &library, &mut wrong);
    listeners(&shim, &mut wrong);
    for pair in &shim.pairs {
        if pair[0] == pair[1] {
            wrong.push(format!("shim.pairs: \"{}\" cannot be paired with itself", pair[0]));
        }
        for name in pair.iter().filter(|name| !library.profile_names().any(|p| p == name.as_str())) {
            wrong.push(format!("shim.pairs: there is no [profile.{name}]"));
        }
    }
    if !wrong.is_empty() {
        return Err(wrong);
    }
    let audiosocket = shim.audiosocket.enabled.then_some(file::AudioSocket { uuids, ..shim.audiosocket });
    Ok(Settings {
        library,
        max_legs: shim.max_legs,
        allow_remote: shim.allow_remote,
        pairs: shim.pairs,
        partner_gone: shim.partner_gone,
        alone_after: (shim.alone_after_s > 0).then(|| Duration::from_secs(shim.alone_after_s)),
        drain: Duration::from_secs(shim.drain_s),
        stop: Duration::from_secs(shim.stop_s),
        relay_dtmf: shim.relay_dtmf,
        ari,
        rtp: shim.rtp,
        audiosocket,
        http,
        extensions,
    })
}

fn secret(
    given: &str,
    variable: &str,
    env: &dyn Fn(&str) -> Option<String>,
    key: &str,
    wrong: &mut Vec<String>,
) -> Option<Secret> {
    let text = env(variable).filter(|v| !v.trim().is_empty()).unwrap_or_else(|| given.to_owned());
    if text.is_empty() {
        return None;
    }
    Secret::parse(&text).map_err(|why| wrong.push(format!("shim.{key} (or {variable}) {why}"))).ok()
}

fn ari(ask: &file::Ari, env: &dyn Fn(&str) -> Option<String>, wrong: &mut Vec<String>) -> Option<Ari> {
    let before = wrong.len();
    let password = secret(&ask.password, ARI_PASSWORD_ENV, env, "ari.password", wrong);
    if password.is_none() && wrong.len() == before {
        wrong.push(format!(
            "shim.ari.password is missing: set it, or {ARI_PASSWORD_ENV}, to the password of [{}] in ari.conf \
             (or shim.ari.enabled = false to go without ARI)",
            ask.username
        ));
    }
    let url = url::Url::parse(ask.url.trim_end_matches('/'))
        .ok()
        .filter(|u| matches!(u.scheme(), "http" | "https") && u.username().is_empty() && u.query().is_none());
    if url.is_none() {
        wrong.push("shim.ari.url must be such as http://127.0.0.1:8088, without a user, password or query".into());
    }
    let plain = |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b));
    for (key, name) in [("username", &ask.username), ("app", &ask.app)] {
        if !plain(name) {
            wrong.push(format!("shim.ari.{key} = \"{name}\" must be letters, digits, '_', '-' or '.'"));
        }
    }
    if ask.timeout_ms < 100 {
        wrong.push("shim.ari.timeout_ms must be 100 or more".into());
    }
    (wrong.len() == before).then_some(())?;
    Some(Ari {
        url: url?,
        username: ask.username.clone(),
        password: password?,
        app: ask.app.clone(),
        timeout: Duration::from_millis(ask.timeout_ms),
    })
}

fn extension(name: &str, ask: &file::Extension, shim: &Shim, library: &Config) -> Result<Extension, String> {
    let profile = ask.profile.clone().unwrap_or_else(|| name.to_owned());
    if !library.profile_names().any(|p| p == profile) {
        return Err(format!("shim.extension.{name}: there is no [profile.{profile}]"));
    }
    let format = ask.format.as_ref().unwrap_or(&shim.rtp.format);
    let codec = Codec::from_format(format)
        .ok_or_else(|| format!("shim.extension.{name}: format \"{format}\" is not one of slin16, slin, ulaw, alaw"))?;
    let send = match &ask.send {
        None => Send::answer_to(codec),
        Some(send) => Send::from_format(send).ok_or_else(|| {
            format!("shim.extension.{name}: send = \"{send}\" is not one of slin16, slin, ulaw, alaw, g722")
        })?,
    };
    if let Some(port) = ask.port
        && (port % 2 != 0 || port < 1024)
    {
        return Err(format!("shim.extension.{name}: port = {port} must be an even number from 1024 up"));
    }
    let mut options = Config::new();
    let mut stack: Vec<(String, &toml::Value)> = ask.options.iter().map(|(k, v)| (k.clone(), v)).collect();
    while let Some((key, value)) = stack.pop() {
        let text = match value {
            toml::Value::Table(inner) => {
                stack.extend(inner.iter().map(|(k, v)| (format!("{key}.{k}"), v)));
                continue;
            }
            toml::Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        options.set(&key, &text).map_err(|e| format!("shim.extension.{name}.options: {e}"))?;
    }
    Ok(Extension {
        name: name.to_owned(),
        profile,
        port: ask.port,
        codec,
        send,
        announcement: ask.announcement.clone(),
        options,
    })
}

fn ranges(shim: &Shim, library: &Config, wrong: &mut Vec<String>) {
    let [first, last] = shim.rtp.ports;
    if first < 1024 || last <= first {
        wrong.push(format!(
            "shim.rtp.ports = [{first}, {last}] must be two ports from 1024 up, the first below the last"
        ));
    }
    if Codec::from_format(&shim.rtp.format).is_none() {
        wrong.push(format!("shim.rtp.format = \"{}\" is not one of slin16, slin, ulaw, alaw", shim.rtp.format));
    }
    let [least, most] = shim.rtp.jitter_ms;
    if least < 10 || most > 2000 || most < least + 40 {
        wrong.push(
            "shim.rtp.jitter_ms must be two numbers from 10 to 2000, the second at least 40 above the first".into(),
        );
    }
    if shim.max_legs == 0 || shim.max_legs > 16_384 {
        wrong.push("shim.max_legs must be from 1 to 16384".into());
    }
    let sessions = library.gateway().map_or(usize::MAX, |g| g.max_sessions);
    if shim.max_legs > sessions {
        wrong.push(format!("shim.max_legs = {} is more than max_sessions = {sessions}: raise that too", shim.max_legs));
    }
    if shim.drain_s > MOST_DRAIN_S {
        wrong.push(format!("shim.drain_s must be at most {MOST_DRAIN_S}, which is as long as the library waits"));
    }
    if shim.audiosocket.max_per_peer == 0 {
        wrong.push("shim.audiosocket.max_per_peer must be 1 or more".into());
    }
}

/// Nothing of this is encrypted or, RTP and AudioSocket, even authenticated: beyond loopback only on request.
fn listeners(shim: &Shim, wrong: &mut Vec<String>) {
    let local = |ip: IpAddr| ip.is_loopback();
    let mut places = vec![("rtp.bind", shim.rtp.bind), ("http.listen", shim.http.listen.ip())];
    if shim.audiosocket.enabled {
        places.push(("audiosocket.listen", shim.audiosocket.listen.ip()));
    }
    for (key, ip) in places {
        if !local(ip) && !shim.allow_remote {
            wrong.push(format!(
                "shim.{key}: {ip} can be reached from other machines, and nothing there is encrypted; \
                 use 127.0.0.1, or set shim.allow_remote = true"
            ));
        }
    }
    if shim.rtp.bind.is_unspecified() {
        wrong.push("shim.rtp.bind must be one address, since Asterisk is told to send there".into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(shim: &str) -> Result<Settings, Vec<String>> {
        let mut library = Config::new();
        library.load_toml("[profile.7777]\nlanguage='en'\n[profile.8888]\nlanguage='es'", None).expect("profiles");
        let file: file::File = toml::from_str(shim).map_err(|e| vec![e.message().to_owned()])?;
        check(file.shim, library, &|name| (name != TOKEN_ENV).then(|| "secret".to_owned()))
    }

    #[test]
    fn an_empty_file_is_the_classic_set_up() {
        let settings = load("").expect("defaults");
        assert_eq!(settings.extensions.keys().collect::<Vec<_>>(), ["7000", "7001", "7777", "8888"]);
        assert_eq!(settings.extensions["7777"].port, Some(17_000));
        assert_eq!(settings.extensions["7001"].profile, "8888");
        assert_eq!(settings.audiosocket.expect("on").uuids.len(), 2);
        assert!(settings.http.token.is_none());
    }

    #[test]
    fn a_key_that_is_missing_is_told_before_the_first_call() {
        let mut library = Config::new();
        library.load_toml("[profile.7777]\nlanguage='en'\n[profile.8888]\nlanguage='es'", None).expect("profiles");
        let env = |name: &str| (name == ARI_PASSWORD_ENV).then(|| "secret".to_owned());
        let errors = check(Shim::default(), library, &env).expect_err("no keys");
        assert!(errors.iter().any(|e| e.contains("DEEPGRAM_API_KEY")), "{errors:?}");
    }

    #[test]
    fn mistakes_are_told_with_what_to_do() {
        for (text, wanted) in [
            ("[shim]\nmax_leg = 1", "unknown field `max_leg`"),
            ("[shim.rtp]\nbind = '0.0.0.0'", "shim.rtp.bind: 0.0.0.0 can be reached from other machines"),
            ("[shim.http]\nlisten = '192.0.2.1:80'", "shim.http.listen: 192.0.2.1 can be reached"),
            ("[shim]\nallow_remote = true\n[shim.rtp]\nbind = '0.0.0.0'", "shim.rtp.bind must be one address"),
            ("[shim.rtp]\nports = [5, 4]", "shim.rtp.ports = [5, 4] must be two ports"),
            ("[shim.rtp]\nformat = 'opus'", "shim.rtp.format = \"opus\" is not one of slin16"),
            ("[shim.rtp]\njitter_ms = [20, 30]", "shim.rtp.jitter_ms must be two numbers"),
            ("[shim.extension.9999]\n", "shim.extension.9999: there is no [profile.9999]"),
            ("[shim.extension.7777]\nport = 17001", "shim.extension.7777: port = 17001 must be an even number"),
            ("[shim.extension.7777]\nformat = 'gsm'", "shim.extension.7777: format \"gsm\""),
            ("[shim.extension.7777.options]\nlangage = 'en'", "shim.extension.7777.options: unknown key"),
            ("[shim.audiosocket.uuids]\nx = '7000'", "shim.audiosocket.uuids: \"x\" is not a UUID"),
            ("[shim]\npairs = [['7777', '9']]", "shim.pairs: there is no [profile.9]"),
            ("[shim.ari]\nurl = 'http://u:p@h'", "shim.ari.url must be such as"),
            ("[shim.ari]\nusername = 'a b'", "shim.ari.username = \"a b\" must be letters"),
            ("[shim]\nmax_legs = 0", "shim.max_legs must be from 1"),
            ("[shim]\nmax_legs = 1025", "shim.max_legs = 1025 is more than max_sessions = 1024"),
        ] {
            let errors = load(text).expect_err(text);
            assert!(errors.iter().any(|e| e.starts_with(wanted)), "{text}\n  {errors:?}\n  {wanted}");
        }
    }

    fn leaves(value: &toml::Value, prefix: &str, out: &mut Vec<String>) {
        match value {
            toml::Value::Table(table) => {
                for (key, value) in table {
                    leaves(value, &if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") }, out);
                }
            }
            _ => out.push(prefix.to_owned()),
        }
    }

    #[test]
    fn the_sample_shows_the_defaults_and_the_page_every_key() {
        let sample = include_str!("../../../../examples/asterisk/mgw.toml");
        let page = include_str!("../../../../docs/asterisk.md");
        let mut library = Config::new();
        library.load_toml(sample, None).expect("the sample's library settings");
        let shown = sample.lines().map(|l| l.strip_prefix('#').filter(|rest| rest.contains(" = ")).unwrap_or(l));
        let shown: file::File =
            toml::from_str(&shown.collect::<Vec<_>>().join("\n")).expect("the sample, all keys shown");
        let ari = file::Ari { password: "secret".into(), ..shown.shim.ari };
        let shown = Shim { ari, ..shown.shim };
        let plain = Shim { ari: file::Ari { password: "secret".into(), ..Default::default() }, ..Default::default() };
        let text = |settings: Settings| format!("{settings:?}");
        let resolved = |shim: Shim| {
            text(check(shim, library.clone(), &|name| name.ends_with("_API_KEY").then(|| "key".into())).expect("right"))
        };
        assert_eq!(resolved(shown), resolved(plain), "the sample's commented lines are the defaults");

        let mut keys = Vec::new();
        leaves(&toml::Value::try_from(Shim::default()).expect("TOML"), "", &mut keys);
        let extension = file::Extension {
            profile: Some(String::new()),
            port: Some(2),
            format: Some(String::new()),
            send: Some(String::new()),
            announcement: Some(String::new()),
            options: [("x".to_owned(), toml::Value::Boolean(true))].into(),
        };
        leaves(&toml::Value::try_from(extension).expect("TOML"), "extension.NAME", &mut keys);
        for key in keys {
            let key = key.trim_end_matches(".x");
            let known = page.contains(&format!("| `{key}` |"));
            assert!(known, "docs/asterisk.md has no row for `{key}`");
        }
    }

    #[test]
    fn session_options_of_an_extension_reach_the_library() {
        let settings = load("[shim.extension.7777.options]\ntts.voice = 'abc'\nplayout.max_s = 9").expect("options");
        let options = &settings.extensions["7777"].options;
        let session = settings.library.session("7777", options, &|_| Some("key".into())).expect("session");
        assert_eq!(session.playout.max, Duration::from_secs(9));
    }
}
