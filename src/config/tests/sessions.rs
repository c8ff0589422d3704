//! Sessions: precedence, secrets, refusals and live keys.

use std::time::Duration;

use super::*;

const SECRET: &str = "sk_0123456789abcdef0123456789abcdef";

#[test]
fn options_beat_profile_beats_global_beats_default() {
    let all = "deepgram.endpointing_ms = 200\n";
    let of_profile = "deepgram.endpointing_ms = 100\n";
    let option = [("deepgram.endpointing_ms", "50")];
    for (global, profile, option, wanted) in [
        ("", "", &[][..], 300),
        (all, "", &[][..], 200),
        (all, of_profile, &[][..], 100),
        ("", of_profile, &option[..], 50),
        (all, of_profile, &option[..], 50),
    ] {
        let config = toml(&format!("{global}[profile.p]\nlanguage = \"en\"\n{profile}"));
        let session = config.session("p", &options(option), &keys).expect("valid");
        assert_eq!(session.deepgram.endpointing, Duration::from_millis(wanted));
    }
    let mut config = toml("rate.in = 8000\n[profile.p]\nlanguage = \"en\"");
    config.set("rate.in", "48000").expect("later settings win");
    assert_eq!(config.session("p", &Config::new(), &keys).map(|s| s.rate_in), Ok(48000));
}

#[test]
fn secrets_come_from_the_strongest_place() {
    // Bits: option, profile, env of the profile, global, env.
    for given in 0..32_u8 {
        let has = |bit: u8| given & (1 << bit) != 0;
        let mut config =
            toml("[profile.sip-8888]\nlanguage = \"es\"\ndeepgram.api_key = \"d\"\nelevenlabs.api_key = \"e\"");
        let mut session = Config::new();
        if has(0) {
            session.set("deepl.api_key", "of-option").expect("valid");
        }
        if has(1) {
            config.set("profile.sip-8888.deepl.api_key", "of-profile").expect("valid");
        }
        if has(3) {
            config.set("deepl.api_key", "of-all").expect("valid");
        }
        let env = |name: &str| match name {
            "DEEPL_API_KEY_SIP_8888" if has(2) => Some("of-env-of-profile\n".to_owned()),
            "DEEPL_API_KEY" if has(4) => Some("of-env".to_owned()),
            "DEEPL_API_KEY_SIP_8888" => Some(String::new()),
            _ => None,
        };
        let wanted = ["of-option", "of-profile", "of-env-of-profile", "of-all", "of-env"];
        let wanted = (0..5).find(|bit| has(*bit)).map(|bit| wanted[usize::from(bit)]);
        let found = config.session("sip-8888", &session, &env);
        match (found, wanted) {
            (Ok(found), Some(wanted)) => {
                assert_eq!(found.deepl.api_key.expose(), wanted, "{given:05b}")
            }
            (Err(error), None) => {
                assert_eq!(error.kind, ErrorKind::Missing);
                assert!(error.message.contains("DEEPL_API_KEY_SIP_8888 or DEEPL_API_KEY"), "{error}");
            }
            (found, wanted) => panic!("{given:05b}: {found:?}, not {wanted:?}"),
        }
    }
}

#[test]
fn secrets_are_in_no_output() {
    let config = toml(&format!("deepl.api_key = \"{SECRET}\"\n[profile.p]\nlanguage = \"en\""));
    let session = config.session("p", &Config::new(), &|_| Some(SECRET.to_owned())).expect("valid");
    assert_eq!(session.deepl.api_key.expose(), SECRET);
    for shown in [format!("{config:?}"), format!("{config:#?}"), format!("{session:?}")] {
        assert!(shown.contains("***") && !shown.contains(SECRET), "{shown}");
    }
    for text in [
        format!("deepl.api_kye = \"{SECRET}\""),
        format!("deepl.api_key = [\"{SECRET}\"]"),
        format!("deepl.api_key = \"{SECRET} {SECRET}\""),
        format!("deepl.api_key = \"{SECRET}\\u0007\""),
        format!("deepl.api_key = \"{SECRET}"),
        format!("deepl.api_key = {SECRET}"),
        format!("deepl.region = \"{SECRET}\""),
        format!("deepl.glossary_id = \"{SECRET}{SECRET}\""),
        format!("deepl.base_url = \"https://{SECRET}@host\""),
        format!("deepgram.keyterm = [\"{SECRET}{SECRET}{SECRET}{SECRET}\"]"),
        format!("language = \"{SECRET}\""),
        format!("rate.in = \"{SECRET}\""),
    ] {
        let error = Config::new().load_toml(&text, Some("mgw.toml")).expect_err(&text);
        assert!(!format!("{error} {error:?}").contains(SECRET), "{text}: {error:?}");
    }
    for text in [format!("{{\"deepl.api_key\": \"{SECRET}"), format!("{{\"deepl\": {{\"api_key\": {SECRET}}}}}")] {
        let error = Config::new().load_json(&text).expect_err(&text);
        assert!(!format!("{error} {error:?}").contains(SECRET), "{text}: {error:?}");
    }
    let bare = toml("[profile.p]\nlanguage = \"en\"");
    let error = bare.session("p", &Config::new(), &|_| Some(format!("{SECRET} x"))).expect_err("white space");
    assert!(error.message.starts_with("environment variable DEEPGRAM_API_KEY_P has white space"), "{error}");
    assert!(!error.to_string().contains(SECRET));
}

#[test]
fn sessions_that_cannot_work_are_refused() {
    let language = "language = \"en\"";
    for (text, profile, option, kind, wanted) in [
        (language, "8889", None, ErrorKind::UnknownProfile, "unknown profile \"8889\"; did you mean \"8888\"?"),
        (language, "zz", None, ErrorKind::UnknownProfile, "unknown profile \"zz\"; there are 8888"),
        ("", "8888", None, ErrorKind::Missing, "language is not given; set \"profile.8888.language\""),
        ("id = \"x\"", "8888", None, ErrorKind::WrongPlace, "mgw.toml:2: id names one session"),
        (
            "language = \"et\"",
            "8888",
            None,
            ErrorKind::Unsupported,
            "hears = \"et\": tts provider elevenlabs or elevenlabs_http cannot speak Estonian",
        ),
        (language, "8888", Some(("hears", "he")), ErrorKind::Unsupported, "hears = \"he\": tts provider"),
        (language, "8888", Some(("max_sessions", "3")), ErrorKind::WrongPlace, "max_sessions is for the whole"),
        (language, "8888", Some(("profile.a.language", "en")), ErrorKind::WrongPlace, "\"profile.a\" cannot stand"),
        (
            language,
            "8888",
            Some(("playout.lead_min_ms", "400")),
            ErrorKind::BadValue,
            "playout.lead_min_ms = 400 is more than playout.lead_max_ms = 300",
        ),
        (
            "language = \"en\"\ndeepl.region = \"us\"",
            "8888",
            Some(("deepl.base_url", "https://x")),
            ErrorKind::BadValue,
            "deepl.base_url and deepl.region are both given",
        ),
        (
            language,
            "8888",
            Some(("flux.eager_eot_threshold", "0.75")),
            ErrorKind::BadValue,
            "flux.eager_eot_threshold is more than",
        ),
        (
            "language = \"sv\"",
            "8888",
            Some(("stt.provider", "flux")),
            ErrorKind::Unsupported,
            "mgw.toml:2: language = \"sv\": stt provider flux",
        ),
        (
            "language = \"fr\"",
            "8888",
            Some(("tts.provider", "aura")),
            ErrorKind::Unsupported,
            "hears = \"fr\": tts provider aura",
        ),
        (
            "language = \"en\"\ntts.provider = \"aura\"",
            "8888",
            Some(("tts.sample_rate", "22050")),
            ErrorKind::BadValue,
            "tts.sample_rate = 22050: tts provider aura does not give that rate; 0 chooses one that fits",
        ),
        (
            "language = \"en\"\ntts.sample_rate = \"44100\"",
            "8888",
            Some(("tts.provider", "aura")),
            ErrorKind::BadValue,
            "mgw.toml:3: tts.sample_rate = 44100: tts provider aura",
        ),
    ] {
        let config = toml(&format!("[profile.8888]\n{text}"));
        let option: Vec<_> = option.into_iter().collect();
        let error = config.session(profile, &options(&option), &keys).expect_err(wanted);
        assert_eq!(error.kind, kind, "{error}");
        assert!(error.to_string().starts_with(wanted), "{error}\n{wanted}");
    }
    for (providers, rate) in
        [("aura", "0"), ("aura", "48000"), ("aura,elevenlabs", "22050"), ("elevenlabs_http", "44100")]
    {
        let config = toml("[profile.p]\nlanguage = \"en\"");
        let session = config.session("p", &options(&[("tts.provider", providers), ("tts.sample_rate", rate)]), &keys);
        assert_eq!(session.map(|s| s.language.code()), Ok("en"), "{providers} {rate}");
    }
    // What cannot be heard may still be spoken.
    let config = toml("[profile.p]\nlanguage = \"et\"\nhears = \"en\"");
    assert_eq!(config.session("p", &Config::new(), &keys).map(|s| s.language.code()), Ok("et"));
    let error = Config::new().session("p", &Config::new(), &no_env).expect_err("no profiles");
    assert_eq!(error.to_string(), "unknown profile \"p\"; there are no profiles");
}

#[test]
fn urls_follow_region_kind_of_key_and_setting() {
    for (settings, deepgram, deepl, elevenlabs) in [
        (
            &[("deepl.api_key", "k")][..],
            "https://api.deepgram.com/x",
            "https://api.deepl.com/x",
            "https://api.elevenlabs.io/x",
        ),
        (
            &[("deepl.api_key", "k:fx"), ("deepgram.region", "eu"), ("elevenlabs.region", "eu")][..],
            "https://api.eu.deepgram.com/x",
            "https://api-free.deepl.com/x",
            "https://api.eu.residency.elevenlabs.io/x",
        ),
        (
            &[("deepl.region", "jp"), ("deepgram.base_url", "ws://127.0.0.1:9/dg"), ("elevenlabs.base_url", "")][..],
            "http://127.0.0.1:9/dg/x",
            "https://api-jp.deepl.com/x",
            "https://api.elevenlabs.io/x",
        ),
    ] {
        let config = toml("elevenlabs.base_url = \"\"\n[profile.p]\nlanguage = \"en\"");
        let session = config.session("p", &options(settings), &keys).expect("valid");
        assert_eq!(session.deepgram.base_url.http("/x"), deepgram);
        assert_eq!(session.deepl.base_url.http("/x"), deepl);
        assert_eq!(session.elevenlabs.base_url.http("/x"), elevenlabs);
    }
}

#[test]
fn defaults_are_those_of_the_table_and_each_key_is_read() {
    let config = toml("[profile.p]\nlanguage = \"en\"");
    assert_eq!(config.gateway().map(|g| (g.max_sessions, g.media_threads, g.net_threads)), Ok((1024, 0, 2)));
    let plain = config.session("p", &Config::new(), &keys).expect("valid");
    assert_eq!((plain.rate_in, plain.rate_out, plain.fail_open), (16000, 16000, true));
    assert_eq!(plain.tts_voice, DEFAULT_VOICE);
    assert!(plain.deepgram.mip_opt_out && plain.elevenlabs.speed.is_none() && plain.tts_sample_rate.is_none());
    let gateway = config.gateway().expect("valid");
    let announced = toml("announcement.text = \"Hello.\"\n[profile.p]\nlanguage = \"en\"");
    let announced = |o: &Config| announced.session("p", o, &keys).expect("valid").announcement;
    for key in KEYS {
        // A second valid value of each kind: if the key is read at all, the typed settings differ.
        let other = match key.kind {
            Kind::Bool if key.default == "true" => "false".to_owned(),
            Kind::Bool => "true".to_owned(),
            Kind::Int { max, .. } => max.to_string(),
            Kind::Float { min, max, .. } if key.default == max.to_string() => min.to_string(),
            Kind::Float { max, .. } => max.to_string(),
            Kind::Rate => "8000".to_owned(),
            Kind::Choice(words) => words[words.len() - 1].to_owned(),
            Kind::Language => "de".to_owned(),
            Kind::Url => "https://other.example".to_owned(),
            Kind::Choices(words) => words.last().copied().unwrap_or_default().to_owned(),
            Kind::Text { .. } | Kind::Name { .. } | Kind::List { .. } | Kind::Secret => "other".to_owned(),
        };
        let name = key.name.replace('*', "x");
        let setting = [(name.as_str(), other.as_str())];
        let same = match key.scope {
            Scope::Gateway => options(&setting).gateway().expect("valid") == gateway,
            Scope::Session => match (key.name, config.session("p", &options(&setting), &keys)) {
                // The least lead may not be more than the most.
                ("playout.lead_min_ms", Err(error)) => error.kind != ErrorKind::BadValue,
                // Nor an early end of turn surer than the end.
                ("flux.eager_eot_threshold", Err(error)) => error.kind != ErrorKind::BadValue,
                // Counts with a text only.
                ("announcement.language", _) => announced(&options(&setting)) == announced(&Config::new()),
                (_, session) => session.expect("valid") == plain,
            },
        };
        let only_choice = matches!(key.kind, Kind::Choice([_]));
        assert_eq!(same, only_choice, "{} is not read", key.name);
    }
}

#[test]
fn labels_of_all_layers_meet() {
    let config = toml("label.a = \"1\"\nlabel.b = \"1\"\n[profile.p]\nlanguage = \"en\"\nlabel.b = \"2\"");
    let session = config.session("p", &options(&[("label.c", "3"), ("label.a", "")]), &keys).expect("valid");
    let labels: Vec<_> = session.labels.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(labels, [("b", "2"), ("c", "3")]);
    let mut many = Config::new();
    for i in 0..17 {
        many.set(&format!("label.l{i}"), "x").expect("valid");
    }
    assert!(config.session("p", &many, &keys).is_err());
}

#[test]
fn live_keys_change_and_others_say_when() {
    let config = toml("[profile.p]\nlanguage = \"en\"");
    let plain = config.session("p", &Config::new(), &keys).expect("valid");
    for (key, value, wanted) in [
        ("original", "full", Ok(())),
        ("gain.original_db", "-18", Ok(())),
        ("gain.translation_db", "3.5", Ok(())),
        ("gain.original_db", "99", Err("gain.original_db = 99 is not a number from -60 to 12")),
        ("gain.orignal_db", "1", Err("unknown key \"gain.orignal_db\"; did you mean \"gain.original_db\"?")),
        ("rate.in", "8000", Err("rate.in can only be set when a session is made, not in mid-call")),
        ("max_sessions", "1", Err("max_sessions can only be set when the gateway is made, not in mid-call")),
    ] {
        let mut session = plain.clone();
        let result = session.set_live(key, value).map_err(|error| error.to_string());
        assert_eq!(result, wanted.map_err(str::to_owned));
        assert_eq!(session == plain, result.is_err(), "{key}");
    }
    let mut session = plain.clone();
    session.set_live("language", "es").expect("live");
    assert_eq!((session.language.code(), session.hears), ("es", plain.hears));
    assert!(session.set_live("hears", "").is_err_and(|e| e.to_string().contains("needs a language")));
    for key in KEYS.iter().filter(|key| key.live && key.kind != Kind::Language) {
        plain.clone().set_live(key.name, key.default).expect(key.name);
    }
}
