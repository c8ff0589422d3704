//! Loading: refusals with their place, and three ways to one result.

use super::*;

#[test]
fn bad_toml_is_refused_with_place_and_nearest_key() {
    for (text, wanted) in [
        ("\n\nplayout.max_sec = 3", "mgw.toml:3: unknown key \"playout.max_sec\"; did you mean \"playout.max_s\"?"),
        ("[playout]\nmax_sec = 3", "mgw.toml:2: unknown key \"playout.max_sec\"; did you mean \"playout.max_s\"?"),
        (
            "[rate]\n\nin = 16001",
            "mgw.toml:3: rate.in = 16001 is not one of 8000, 12000, 16000, 24000, 32000, 44100, 48000, 96000, 192000",
        ),
        (
            "[profile.8888]\nlangage = \"es\"",
            "mgw.toml:2: unknown key \"profile.8888.langage\"; did you mean \"profile.8888.language\"?",
        ),
        (
            "[profiles.8888]\nlanguage = \"es\"",
            "mgw.toml:2: unknown key \"profiles.8888.language\"; did you mean \"profile.8888.language\"?",
        ),
        (
            "[profile.8888]\nlanguage = \"ess\"",
            "mgw.toml:2: profile.8888.language = \"ess\" is not a known language code; did you mean \"es\"?",
        ),
        (
            "[profile.1]\nmax_sessions = 3",
            "mgw.toml:2: max_sessions is for the whole gateway; it cannot stand in a profile",
        ),
        (
            "[profile]\n8888 = 1",
            "mgw.toml:2: \"profile.8888\" is a profile; set one of its keys, such as \"profile.8888.language\"",
        ),
        (
            "[profile.\"a/b\"]\nlanguage = \"en\"",
            "mgw.toml:2: \"profile.a/b.language\": a profile's name has 1 to 64 letters, digits, '_' or '-'",
        ),
        ("tls = 1", "mgw.toml:1: \"tls\" is a section; its keys are tls.ca_file"),
        ("fail_open = 2026-01-01", "mgw.toml:1: fail_open cannot be a date"),
        ("[[deepl]]\nregion = \"us\"", "mgw.toml:1: \"deepl\" is a section; its keys are deepl.api_key, "),
        ("[deepgrm]\n", "mgw.toml:1: unknown key \"deepgrm\"; the nearest is "),
        ("fail_open = \"perhaps\"", "mgw.toml:1: fail_open = \"perhaps\" is not true or false"),
        ("deepgram.keyterm = [1]", "mgw.toml:1: deepgram.keyterm cannot be a list of anything but texts"),
        ("playout.max_s = 601", "mgw.toml:1: playout.max_s = 601 is not a whole number from 2 to 600"),
        (
            "deepl.region = \"uss\"",
            "mgw.toml:1: deepl.region = \"uss\" is not one of default, us, jp; did you mean \"us\"?",
        ),
        ("a = 1\nb = 2", "mgw.toml:1: unknown key \"a\"; the nearest is "),
        ("fail_open = true\nfail_open = false", "mgw.toml:2: not TOML: duplicate key"),
        ("x = [", "mgw.toml:1: not TOML: "),
    ] {
        let mut config = Config::new();
        let error = config.load_toml(text, Some("mgw.toml")).expect_err(text);
        assert!(error.to_string().starts_with(wanted), "{text}\n  {error}\n  {wanted}");
        assert!(config.global.is_empty() && config.profiles.is_empty(), "{text} left something");
    }
}

#[test]
fn a_table_of_the_host_program_is_left_to_it() {
    let mut config = Config::new();
    config.load_toml("[shim.ari]\npassword = 1\n[profile.1]\nlanguage = \"en\"", None).expect("TOML");
    assert_eq!(config.profile_names().collect::<Vec<_>>(), ["1"]);
    // Only as a table and only at the top.
    assert!(config.load_toml("shim = 1", None).is_err());
    assert!(config.load_toml("[profile.1.shim]\nx = 1", None).is_err());
}

#[test]
fn bad_json_is_refused_with_its_line() {
    for (text, wanted) in [
        (
            "{\n \"playout\": {\n  \"max_sec\": 3}}",
            "line 3: unknown key \"playout.max_sec\"; did you mean \"playout.max_s\"?",
        ),
        ("{\"rate.in\":\n 16001}", "line 1: rate.in = 16001 is not one of 8000"),
        ("{\"id\": \"a\",\n\"id\": \"b\"}", "line 2: \"id\" is given twice"),
        ("{\"id\": null}", "line 1: id cannot be null"),
        ("{\"id\": [\"a\"]}", "line 1: id cannot be a list"),
        (
            "{\"deepgram\": {\"keyterm\": [\"a\", {\"b\": [1]}]}}",
            "line 1: deepgram.keyterm cannot be a list of anything but texts",
        ),
        ("{\"absent_after_ms\": 1e99}", "line 1: absent_after_ms = 1e99 is not a whole number"),
        ("\n[1]", "line 2: the settings must be a JSON object"),
        ("{\n\"id\": }", "line 2: not JSON: expected value"),
        ("{} x", "line 1: not JSON: trailing characters"),
    ] {
        let error = Config::new().load_json(text).expect_err(text);
        assert!(error.to_string().starts_with(wanted), "{text}\n  {error}\n  {wanted}");
    }
}

#[test]
fn all_mistakes_of_a_load_are_told() {
    let error = Config::new().load_toml("a = 1\nfail_open = 2\nid = \"x\"\nb = 3", None).expect_err("three mistakes");
    assert_eq!(error.line, Some(1));
    assert_eq!(error.others.iter().map(|e| e.line).collect::<Vec<_>>(), [Some(2), Some(4)]);
    assert!(error.to_string().ends_with("(and 2 more)"), "{error}");
}

#[test]
fn large_texts_of_mistakes_are_refused_quickly() {
    let keys: Vec<String> = (0..40_000).map(|i| format!("\"unknown{i}\": 1")).collect();
    let error = Config::new().load_json(&format!("{{{}}}", keys.join(","))).expect_err("unknown keys");
    assert_eq!(error.others.len(), 19);
    let error = Config::new().load_toml(&format!("{} = 1", "k".repeat(1_000_000)), None).expect_err("long");
    assert!(error.to_string().len() < 200, "{error}");
    assert_eq!(Config::new().load_json(&" ".repeat(2 << 20)).map_err(|e| e.kind), Err(ErrorKind::File));
}

#[test]
fn hostile_nesting_is_refused() {
    let deep = format!("{}id = 1", "[a]\n".to_owned() + &"a.".repeat(5000));
    let arrays = format!("id = {}{}", "[".repeat(20_000), "]".repeat(20_000));
    for text in [deep, arrays] {
        assert!(Config::new().load_toml(&text, None).is_err());
    }
    for text in ["{\"a\":".repeat(100_000), "[".repeat(100_000)] {
        assert!(Config::new().load_json(&text).is_err());
    }
    let nested = format!("{}1{}", "{\"a\":".repeat(20), "}".repeat(20));
    let error = Config::new().load_json(&nested).expect_err("too deep");
    assert!(error.message.contains("nested too deep"), "{error}");
}

#[test]
fn toml_json_and_key_value_meet() {
    let from_toml = toml("rate.in = 8000\n[label]\nqueue = 'ab'");
    let mut from_json = Config::new();
    from_json.load_json("{\"rate\": {\"in\": 8000}, \"label.queue\": \"a\\u0062\"}").expect("valid");
    let by_hand = options(&[("rate.in", "8000"), ("label.queue", "ab")]);
    for config in [&from_toml, &from_json, &by_hand] {
        assert_eq!(config.global["rate.in"].value, Value::Int(8000));
        assert_eq!(config.global["label.queue"].value, Value::Text("ab".to_owned()));
    }
    let mut lists = toml("deepgram.keyterm = [\"Zürich\", \"mgw\"]");
    let list = Value::List(vec!["Zürich".to_owned(), "mgw".to_owned()]);
    assert_eq!(lists.global["deepgram.keyterm"].value, list);
    lists.load_json("{\"deepgram\": {\"keyterm\": [\"Z\\u00fcrich\", \"mgw\"]}}").expect("valid");
    assert_eq!(lists.global["deepgram.keyterm"].value, list);
}

#[test]
fn files_are_read_by_their_kind_or_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let (toml, json, big) = (dir.path().join("a.toml"), dir.path().join("a.json"), dir.path().join("b.toml"));
    std::fs::write(&toml, "\u{feff}[profile.a]\nlanguage = \"en\"\n").expect("written");
    std::fs::write(&json, "{\"profile\": {\"b\": {}}}").expect("written");
    std::fs::write(&big, "#".repeat(2 << 20)).expect("written");
    let mut config = Config::new();
    config.load_file(&toml).expect("TOML");
    config.load_file(&json).expect("JSON");
    assert_eq!(config.profile_names().collect::<Vec<_>>(), ["a", "b"]);
    for path in [big, dir.path().join("none.toml"), dir.path().to_path_buf()] {
        let error = config.load_file(&path).expect_err("no such settings");
        assert_eq!(error.kind, ErrorKind::File);
        assert_eq!(error.file, Some(path.display().to_string().as_str().into()));
    }
}

proptest::proptest! {
    #[test]
    fn no_text_makes_a_load_panic(
        cut in 0..3000_usize,
        end in 0..3000_usize,
        junk in "[\\[\\]{}\",:.=# \n\\\\a-dü0-9]{0,24}",
    ) {
        let json = r#"{"profile": {"7777": {"language": "en", "label": {"a\"\\": "ü"}}},
            "deepgram": {"keyterm": ["a", "\u00fc]"], "region": "eu"}, "rate.in": 8000, "fail_open": true}"#;
        for text in [json.to_owned(), docs::sample()] {
            let chars: Vec<char> = text.chars().collect();
            let (cut, end) = (cut % chars.len(), end % chars.len());
            let mutated: String = chars[..cut].iter().copied().chain(junk.chars()).chain(chars[end..].iter().copied()).collect();
            for load in [Config::load_json, |config: &mut Config, text: &str| config.load_toml(text, None)] {
                let mut config = Config::new();
                if load(&mut config, &mutated).is_err() {
                    proptest::prop_assert!(config.global.is_empty() && config.profiles.is_empty());
                }
            }
        }
    }

    #[test]
    fn json_is_walked_as_serde_reads_it(id in "\\PC{0,128}", items in proptest::collection::vec("[^\\pC,]{1,9}", 0..5)) {
        let items: Vec<String> = items.iter().map(|item| item.trim().to_owned()).filter(|item| !item.is_empty()).collect();
        let value = serde_json::json!({"id": id, "deepgram": {"keyterm": items}, "rate": {"out": 8000}});
        for text in [value.to_string(), format!("{value:#}")] {
            let mut config = Config::new();
            if let Err(error) = config.load_json(&text) {
                return Err(proptest::test_runner::TestCaseError::fail(error.to_string()));
            }
            let kept = if id.is_empty() { Value::Unset } else { Value::Text(id.clone()) };
            proptest::prop_assert_eq!(&config.global["id"].value, &kept);
            proptest::prop_assert_eq!(&config.global["deepgram.keyterm"].value, &Value::List(items.clone()));
        }
    }
}
