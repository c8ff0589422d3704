//! Figures with goals, as a table, as JSON and as Markdown.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::Command;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// What a value shall be.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    AtMost(f64),
    AtLeast(f64),
    Below(f64),
}

/// One number.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Figure {
    pub name: String,
    pub value: f64,
    pub unit: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub goal: Option<Goal>,
    /// Present where there is a goal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ok: Option<bool>,
}

impl Figure {
    pub fn new(name: &str, value: f64, unit: &str) -> Figure {
        // Three decimals are more than any of these can be repeated to.
        Figure { name: name.into(), value: (value * 1e3).round() / 1e3, unit: unit.into(), goal: None, ok: None }
    }

    pub fn at_most(self, most: f64) -> Figure {
        let ok = self.value <= most;
        Figure { goal: Some(Goal::AtMost(most)), ok: Some(ok), ..self }
    }

    pub fn at_least(self, least: f64) -> Figure {
        let ok = self.value >= least;
        Figure { goal: Some(Goal::AtLeast(least)), ok: Some(ok), ..self }
    }

    pub fn below(self, limit: f64) -> Figure {
        let ok = self.value < limit;
        Figure { goal: Some(Goal::Below(limit)), ok: Some(ok), ..self }
    }

    fn cells(&self) -> [String; 4] {
        let goal = match self.goal {
            Some(Goal::AtMost(x)) => format!("at most {x}"),
            Some(Goal::AtLeast(x)) => format!("at least {x}"),
            Some(Goal::Below(x)) => format!("below {x}"),
            None => String::new(),
        };
        let verdict = self.ok.map_or("", |ok| if ok { "ok" } else { "short" });
        let value = if self.value.abs() >= 1000.0 { self.value.round() } else { self.value };
        [self.name.clone(), format!("{value} {}", self.unit), goal, verdict.to_owned()]
    }
}

/// What the measurements gave.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Report {
    pub figures: Vec<Figure>,
    /// How it was measured, a sentence or two each.
    pub notes: Vec<String>,
    /// Tables that stand behind the figures, by name.
    pub details: serde_json::Map<String, Value>,
    /// SVG, by file name.
    #[serde(default)]
    pub pictures: BTreeMap<String, String>,
    /// Measurements that did not come to an end.
    pub failed: Vec<String>,
}

impl Report {
    pub fn add(&mut self, figure: Figure) {
        self.figures.push(figure);
    }

    pub fn note(&mut self, text: &str) {
        self.notes.push(text.to_owned());
    }

    /// Nothing was measured.
    pub fn is_empty(&self) -> bool {
        self.figures.is_empty() && self.failed.is_empty()
    }

    pub fn append(&mut self, other: Report) {
        self.figures.extend(other.figures);
        self.notes.extend(other.notes);
        self.details.extend(other.details);
        self.pictures.extend(other.pictures);
        self.failed.extend(other.failed);
    }

    /// The whole as one object, with the machine it was measured on.
    pub fn json(&self, quick: bool) -> Value {
        json!({
            "mgw": env!("CARGO_PKG_VERSION"),
            "quick": quick,
            "machine": machine(),
            "figures": self.figures,
            "notes": self.notes,
            "details": self.details,
            "failed": self.failed,
        })
    }

    /// For a terminal.
    pub fn table(&self) -> String {
        let rows: Vec<_> = self.figures.iter().map(Figure::cells).collect();
        let width = |i: usize| rows.iter().map(|r| r[i].len()).max().unwrap_or(0);
        let (a, b, c) = (width(0), width(1), width(2));
        let mut text = String::new();
        for [name, value, goal, verdict] in &rows {
            let line = format!("{name:a$}  {value:>b$}  {goal:c$}  {verdict}");
            let _ = writeln!(text, "{}", line.trim_end());
        }
        text
    }

    /// For `docs/benchmarks.md`: the method, then this run.
    pub fn markdown(&self) -> String {
        let machine = machine();
        let say = |key: &str| machine[key].to_string().trim_matches('"').to_owned();
        let mut text = include_str!("method.md").to_owned();
        let _ = writeln!(
            text,
            "\n## The last run\n\n{}, {} cores, Linux {}, {}, load {} before; {}.\n\n| figure | value | goal | |\n|---|---|---|---|",
            say("cpu"),
            say("cores"),
            say("kernel"),
            say("rustc"),
            say("load"),
            say("date"),
        );
        for cells in self.figures.iter().map(Figure::cells) {
            let _ = writeln!(text, "| {} |", cells.join(" | "));
        }
        for (name, rows) in &self.details {
            let _ = write!(text, "\n`{name}`:\n\n{}", rows.as_array().map_or_else(String::new, |r| table_of(r)));
        }
        text.push_str("\nNotes of the run:\n\n");
        for note in &self.notes {
            let _ = writeln!(text, "- {note}.");
        }
        for name in &self.failed {
            let _ = writeln!(text, "- {name} did not come to an end.");
        }
        text
    }
}

/// A Markdown table of objects with the same keys.
fn table_of(rows: &[Value]) -> String {
    let Some(first) = rows.first().and_then(Value::as_object) else { return String::new() };
    let keys: Vec<&str> = first.keys().map(String::as_str).collect();
    let mut text = format!("| {} |\n|{}\n", keys.join(" | "), "---|".repeat(keys.len()));
    for row in rows {
        let cells: Vec<String> = keys.iter().map(|k| row[*k].to_string().trim_matches('"').to_owned()).collect();
        let _ = writeln!(text, "| {} |", cells.join(" | "));
    }
    text
}

/// What this was measured on.
fn machine() -> Value {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let output = |program: &str, argument: &str| {
        let output = Command::new(program).arg(argument).output();
        output.map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned()).unwrap_or_default()
    };
    let cpu = read("/proc/cpuinfo");
    let cpu = cpu.lines().find_map(|l| l.strip_prefix("model name")).unwrap_or("").trim_matches([' ', '\t', ':']);
    json!({
        "cpu": cpu,
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
        "rustc": output("rustc", "--version"),
        "date": output("date", "-I"),
        "load": read("/proc/loadavg").split_whitespace().next().unwrap_or(""),
    })
}
