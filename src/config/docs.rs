//! Writes `docs/configuration.md` and `mgw.toml.sample` from the table of keys.

use std::fmt::Write;

use super::keys::{DEFAULT_VOICE, KEYS, Key, Kind, Scope};
use super::languages::Language;
use super::resolve::env_name;

const INTRO: &str = "\
<!-- Generated from src/config/keys.rs: UPDATE_DOCS=1 cargo test --test config_docs -->
# Configuration

One table of keys, three ways in:

| way | example |
|---|---|
| a TOML file (`mgw_config_load_file`) | `deepgram.region = \"eu\"`, or `region = \"eu\"` under `[deepgram]` |
| JSON text (`mgw_config_load_json`, or a file ending in `.json`) | `{\"deepgram\": {\"region\": \"eu\"}}` or `{\"deepgram.region\": \"eu\"}` |
| key and value (`mgw_config_set`) | `mgw_config_set(cfg, \"deepgram.region\", \"eu\", err, sizeof err)` |

What is set later replaces what was set earlier. A file or text with a mistake in it changes nothing;
the message names file, line, key, and the nearest right one:
`mgw.toml:14: unknown key \"playout.max_sec\"; did you mean \"playout.max_s\"?`
`mgw.toml.sample` has every key with its default.

## Profiles

A session starts from a profile, such as `7777`: the table `[profile.7777]` in TOML, keys beginning with
`profile.7777.` elsewhere. A profile's name has 1 to 64 letters, digits, `_` or `-`.
Every session key may be given in three places; the first in this list counts:

1. as an option of the one session (`mgw_session_new`),
2. in its profile,
3. for all sessions, outside of any profile,
4. otherwise the default below.

Gateway keys are given outside of profiles only. A text key, a URL or an optional number given as `\"\"` is not set, which
takes back what a weaker place gives.

## Secrets

Vendors' keys may come from the environment, also one per profile: the variable ends in `_` and the
profile's name, in capitals, with `_` for everything but letters and digits. The first that is given counts:

";

const REGIONS: &str = "
A key is never printed or logged, whole or in part, and messages about a bad one do not quote it.
Keys with white space or control characters in them are refused.

## Privacy

`deepgram.mip_opt_out`, `elevenlabs.enable_logging` and the three `….region` keys say what vendors may keep
and where they process it. A region and a base URL of the same vendor cannot both be given. Base URLs are
`https` or `wss`; `http` and `ws` only to a loopback host. They hold no user, password or query.
What people say is never logged; it leaves the library in events, and in flight records (`recorder.folder`) if they are
wanted: those hold what was said and heard and are readable by their owner only.
";

const LANGUAGES: &str = "
## Languages

The code for `language` and `hears`, and what each vendor is sent. Case does not matter. To be spoken, a
language needs Deepgram and DeepL (from); to be heard, DeepL (into) and ElevenLabs. A session whose language
a stage cannot do is refused. Codes that differ only in the region (`en-US`, `en-GB`) need no translation
between them.

| code | language | Deepgram | DeepL from | DeepL into | ElevenLabs |
|---|---|---|---|---|---|
";

/// The text of `docs/configuration.md`.
pub fn markdown() -> String {
    let mut out = String::from(INTRO);
    // Writing to a String cannot fail, so the results are of no interest.
    let secrets = KEYS.iter().filter(|key| key.kind == Kind::Secret);
    out.push_str("| | ");
    let names: Vec<&str> = secrets.map(|key| key.name).collect();
    for name in &names {
        let _ = write!(out, "`{name}` | ");
    }
    out.truncate(out.trim_end().len());
    out.push_str("\n|---|");
    out.push_str(&"---|".repeat(names.len()));
    let row = |out: &mut String, number: u8, cell: &dyn Fn(&str) -> String| {
        let _ = write!(out, "\n| {number} |");
        for name in &names {
            let _ = write!(out, " {} |", cell(name));
        }
    };
    row(&mut out, 1, &|_| "option of the session".to_owned());
    row(&mut out, 2, &|_| "in the profile".to_owned());
    row(&mut out, 3, &|name| format!("`{}_8888`", env_name(name)));
    row(&mut out, 4, &|_| "for all sessions".to_owned());
    row(&mut out, 5, &|name| format!("`{}`", env_name(name)));
    out.push('\n');
    out.push_str(REGIONS);

    out.push_str("\n## Gateway keys\n\nRead when the gateway is made.\n");
    table(&mut out, Scope::Gateway, |_| true);
    out.push_str("\n## Session keys\n\nRead when a session is made; *live* ones can also be changed in mid-call (`mgw_session_set`).\n");
    let vendor = |key: &Key| matches!(key.section(), "deepgram" | "deepl" | "elevenlabs");
    table(&mut out, Scope::Session, |key| !vendor(key));
    for (section, title) in [("deepgram", "Deepgram"), ("deepl", "DeepL"), ("elevenlabs", "ElevenLabs")] {
        let _ = write!(out, "\n### {title}\n");
        table(&mut out, Scope::Session, |key| key.section() == section);
    }

    out.push_str(LANGUAGES);
    for language in Language::all() {
        let vendors = [language.deepgram(), language.deepl_source(), language.deepl_target(), language.elevenlabs()];
        let cells: Vec<&str> = vendors.iter().map(|code| code.unwrap_or("–")).collect();
        let _ = writeln!(out, "| `{}` | {} | {} |", language.code(), language.name(), cells.join(" | "));
    }
    out
}

fn table(out: &mut String, scope: Scope, wanted: impl Fn(&Key) -> bool) {
    out.push_str("\n| key | takes | default | meaning |\n|---|---|---|---|\n");
    for key in KEYS.iter().filter(|key| key.scope == scope && wanted(key)) {
        let live = if key.live { " *Live.*" } else { "" };
        let unit = if key.unit.is_empty() { String::new() } else { format!(", in {}", key.unit) };
        let default = match key.default {
            "" => "–".to_owned(),
            given => format!("`{given}`"),
        };
        let _ = writeln!(out, "| `{}` | {}{unit} | {default} | {}{live} |", key.name, key.kind.wanted(), key.doc);
    }
}

const SAMPLE_INTRO: &str = "\
# Settings of mgw. docs/configuration.md explains them.
# Keys that are commented out show their defaults, or an example where there is none.
#
# Vendors' keys are best left to the environment: DEEPGRAM_API_KEY, DEEPL_API_KEY, ELEVENLABS_API_KEY,
# or for one profile DEEPL_API_KEY_8888. If they stand here, let nobody else read this file.
";

const SAMPLE_PROFILES: &str = r#"
# ---- Profiles: what a session starts from ------------------------------------
# Every key above that is not for the whole gateway may also stand in a profile.

# Callers to 7777 speak and hear English.
[profile.7777]
language = "en"
#tts.voice = "VOICE"

# Callers to 8888 speak and hear Spanish.
[profile.8888]
language = "es"
#tts.voice = "VOICE"
#deepl.api_key = "a key of its own; or DEEPL_API_KEY_8888"
"#;

/// The text of `mgw.toml.sample`.
pub fn sample() -> String {
    let mut out = String::from(SAMPLE_INTRO);
    for (scope, title) in [
        (Scope::Gateway, "# ---- The whole gateway --------------------------------------------------------"),
        (Scope::Session, "# ---- Every session, unless its profile or its options say otherwise ------------"),
    ] {
        let _ = write!(out, "\n{title}\n");
        for key in KEYS.iter().filter(|key| key.scope == scope) {
            let line = match key.name {
                "label.*" => "label.queue = \"sales\"".to_owned(),
                "language" | "hears" => format!("{} = \"en\"", key.name),
                // An id for all sessions would be refused.
                "id" => continue,
                name => format!("{name} = {}", toml_default(key)),
            };
            let unit = match key.unit {
                "" | "events" | "segments" | "characters" | "connections" | "requests" | "tokens" => String::new(),
                unit => format!(" In {unit}."),
            };
            let _ = write!(out, "\n# {}{unit}\n", key.doc);
            if matches!(
                key.kind,
                Kind::Choice([_, _, ..]) | Kind::Choices(_) | Kind::Rate | Kind::Int { .. } | Kind::Float { .. }
            ) {
                let takes = key.kind.wanted();
                let _ = writeln!(out, "# Takes {takes}.");
            }
            let _ = writeln!(out, "#{line}");
        }
    }
    out.push_str(&SAMPLE_PROFILES.replace("VOICE", DEFAULT_VOICE));
    out
}

fn toml_default(key: &Key) -> String {
    match key.kind {
        Kind::Bool | Kind::Int { .. } | Kind::Rate => key.default.to_owned(),
        Kind::Float { .. } if !key.default.is_empty() => key.default.to_owned(),
        Kind::List { .. } => "[]".to_owned(),
        _ => format!("\"{}\"", key.default),
    }
}
