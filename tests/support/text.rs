//! Texts as word lists, for what is recognised rather than decoded. A file of its own, so that a test that needs no
//! more can include it by `#[path]`.

/// Words without case and punctuation.
pub fn words(text: &str) -> Vec<String> {
    let plain: String = text.to_lowercase().replace(|c: char| !c.is_alphanumeric() && c != '\'', " ");
    plain.split_whitespace().map(str::to_owned).collect()
}

/// How many of `wanted` are in `heard`, in order (longest common subsequence).
pub fn in_order(wanted: &[String], heard: &[String]) -> usize {
    let mut row = vec![0; heard.len() + 1];
    for word in wanted {
        let mut diagonal = 0;
        for (i, other) in heard.iter().enumerate() {
            let above = row[i + 1];
            row[i + 1] = if word == other { diagonal + 1 } else { above.max(row[i]) };
            diagonal = above;
        }
    }
    row[heard.len()]
}
