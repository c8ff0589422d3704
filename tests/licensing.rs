//! The licences of what is linked into libmgw.so are those that docs/licensing.md names.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// Licences under which a crate may be linked without a word in the documentation.
const FREE: &[&str] = &["MIT", "ISC", "BSD-2-Clause", "BSD-3-Clause", "Zlib", "0BSD", "Unicode-3.0", "Unlicense"];

/// (crate, licence expression) of everything linked with these features.
fn linked(features: &str) -> BTreeSet<(String, String)> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--locked", "--no-default-features", "--features", features])
        .args(["-e", "normal", "--prefix", "none", "--format", "{p}|{l}"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo tree");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| line.split_once('|'))
        .map(|(package, licence)| {
            let name = package.split(' ').next().unwrap_or_default();
            (name.to_owned(), licence.replace(" (*)", "").trim().to_owned())
        })
        .collect()
}

/// True if the expression can be met without Apache-2.0.
fn is_free(expression: &str) -> bool {
    let any = |part: &str| {
        part.trim_matches(['(', ')', ' ']).split(" OR ").flat_map(|p| p.split('/')).any(|l| FREE.contains(&l.trim()))
    };
    expression.split(" AND ").all(any)
}

#[test]
fn expressions_are_understood() {
    for (expression, free) in [
        ("MIT OR Apache-2.0", true),
        ("MIT/Apache-2.0", true),
        ("Apache-2.0", false),
        ("Apache-2.0 AND ISC", false),
        ("(MIT OR Apache-2.0) AND Unicode-3.0", true),
        ("GPL-3.0", false),
        ("", false),
    ] {
        assert_eq!(is_free(expression), free, "{expression}");
    }
}

#[test]
fn the_documentation_names_every_crate_that_is_apache_only_and_no_other() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/licensing.md");
    let page = std::fs::read_to_string(page).expect("docs/licensing.md");
    let named: BTreeSet<String> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next().map(str::to_owned))
        .filter(|name| !name.contains('/'))
        .collect();
    let mut found = BTreeSet::new();
    for features in ["tls-rustls", "tls-openssl"] {
        for (name, licence) in linked(features) {
            if !is_free(&licence) {
                assert!(licence.contains("Apache-2.0"), "{name} is under {licence}: may it be linked?");
                found.insert(name);
            }
        }
    }
    assert_eq!(found, named, "docs/licensing.md (right) against what is linked (left)");
}
