//! The committed documentation and sample file are what the table of keys says.

use std::path::Path;

use mgw::config::{Config, KEYS, Language, docs};

fn committed(name: &str, generated: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, generated).expect("the file can be written");
    }
    std::fs::read_to_string(&path).unwrap_or_default()
}

fn assert_same(name: &str, generated: &str) {
    let committed = committed(name, generated);
    let differs = committed.lines().zip(generated.lines()).position(|(a, b)| a != b);
    assert!(
        committed == generated,
        "{name} is not what src/config/keys.rs says (first difference: line {:?}); \
         run: UPDATE_DOCS=1 cargo test --test config_docs",
        differs.map(|line| line + 1)
    );
}

#[test]
fn the_documentation_is_that_of_the_table() {
    let generated = docs::markdown();
    assert_same("docs/configuration.md", &generated);
    for key in KEYS {
        assert!(generated.contains(&format!("| `{}` |", key.name)), "{} is not documented", key.name);
    }
}

#[test]
fn the_sample_is_that_of_the_table_and_loads() {
    assert_same("mgw.toml.sample", &docs::sample());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("mgw.toml.sample");
    let mut config = Config::new();
    config.load_file(&path).expect("the sample is valid");
    assert_eq!(config.profile_names().collect::<Vec<_>>(), ["7777", "8888"]);
    let env = |name: &str| (!name.ends_with("_7777") && !name.ends_with("_8888")).then(|| "key".to_owned());
    for (profile, language) in [("7777", "en"), ("8888", "es")] {
        let session = config.session(profile, &Config::new(), &env).expect("the profile is complete");
        assert_eq!(session.language, Language::parse(language).expect("known"));
        assert_eq!(session.hears, session.language);
    }
    config.gateway().expect("gateway");
}

#[test]
fn every_line_of_the_sample_can_be_uncommented() {
    let all: String = docs::sample()
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(rest) if rest.starts_with(|c: char| c.is_ascii_lowercase()) => rest,
            _ => line,
        })
        .map(|line| if line.starts_with("deepl.api_key = \"a") { "deepl.api_key = \"k\"" } else { line })
        .fold(String::new(), |text, line| text + line + "\n");
    let mut config = Config::new();
    config.load_toml(&all, Some("mgw.toml.sample")).expect("every default shown is valid");
    for key in KEYS.iter().filter(|key| key.name != "label.*" && key.name != "id") {
        assert!(all.contains(&format!("\n{} = ", key.name)), "{} is not in the sample", key.name);
    }
}
