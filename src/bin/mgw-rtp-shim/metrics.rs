//! Figures in Prometheus' text format.

/// A figure: name without its prefix, `counter` or `gauge`, help (may be empty), value.
pub type Row<'a> = (&'a str, &'a str, &'a str, u64);

/// Appends figures whose names begin with `prefix`.
pub fn append(text: &mut String, prefix: &str, rows: &[Row<'_>]) {
    for (name, kind, help, value) in rows {
        if !help.is_empty() {
            text.push_str(&format!("# HELP {prefix}{name} {help}\n"));
        }
        text.push_str(&format!("# TYPE {prefix}{name} {kind}\n{prefix}{name} {value}\n"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_their_type_and_help() {
        let mut text = String::new();
        append(&mut text, "mgw_x_", &[("a", "gauge", "How many.", 3), ("b", "counter", "", 0)]);
        assert_eq!(
            text,
            "# HELP mgw_x_a How many.\n# TYPE mgw_x_a gauge\nmgw_x_a 3\n# TYPE mgw_x_b counter\nmgw_x_b 0\n"
        );
    }
}
