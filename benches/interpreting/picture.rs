//! The figures as pictures: SVG that is legible on light and on dark paper.

use std::fmt::Write as _;

/// One way's time to its first word after a turn, in milliseconds.
pub struct Bar<'a> {
    pub name: &'a str,
    pub median: f64,
    pub p95: f64,
}

/// Colours of the ways, on light and on dark paper.
const COLOURS: [(&str, &str); 6] = [
    ("#8c959f", "#768390"),
    ("#bc4c00", "#f0883e"),
    ("#bf8700", "#d4a72c"),
    ("#0969da", "#4493f8"),
    ("#1a7f37", "#3fb950"),
    ("#8250df", "#a371f7"),
];
const WIDTH: f64 = 960.0;
const LEFT: f64 = 170.0;
const RIGHT: f64 = 930.0;

fn head(title: &str, height: f64) -> String {
    let (mut light, mut dark) = (String::new(), String::new());
    for (i, (day, night)) in COLOURS.iter().enumerate() {
        let _ = write!(light, " .way{i} {{ fill: {day}; stroke: {day} }}");
        let _ = write!(dark, " .way{i} {{ fill: {night}; stroke: {night} }}");
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" role=\"img\">
<title>{title}</title>
<style>
  .paper {{ fill: #ffffff }} .ink {{ fill: #1f2328 }} .dim {{ fill: #636c76 }} .rule {{ stroke: #d1d9e0 }}{light}
  .late {{ opacity: .35; stroke: none }} .bar {{ stroke: none }} .line {{ fill: none; stroke-width: 2 }}
  text {{ font-family: system-ui, 'Segoe UI', Roboto, 'Helvetica Neue', 'DejaVu Sans', sans-serif; font-size: 13px; stroke: none }}
  .title {{ font-size: 17px; font-weight: 600 }} .small {{ font-size: 11px }} .end {{ text-anchor: end }} .mid {{ text-anchor: middle }}
  @media (prefers-color-scheme: dark) {{
    .paper {{ fill: #0d1117 }} .ink {{ fill: #e6edf3 }} .dim {{ fill: #9198a1 }} .rule {{ stroke: #3d444d }}{dark}
  }}
</style>
<rect class=\"paper\" width=\"100%\" height=\"100%\" rx=\"8\"/>
<text x=\"24\" y=\"34\" class=\"ink title\">{title}</text>
"
    )
}

/// How far apart lines of a scale are: 1, 2 or 5 times a power of ten, at most ten of them.
fn step(range: f64) -> f64 {
    let power = 10f64.powf((range / 10.0).max(1e-9).log10().floor());
    [1.0, 2.0, 5.0, 10.0].iter().map(|n| n * power).find(|step| range / step <= 10.0).unwrap_or(range)
}

/// A bar for each way's median, and a pale one to its p95.
pub fn turns(bars: &[Bar<'_>]) -> String {
    let most = bars.iter().map(|b| b.p95).fold(1.0, f64::max);
    let least = bars.iter().map(|b| b.median.min(b.p95)).fold(0.0, f64::min);
    let place = |ms: f64| LEFT + (ms - least) / (most - least) * (RIGHT - LEFT - 110.0);
    let height = 100.0 + 44.0 * bars.len() as f64;
    let mut svg = head("After a short turn: from the last word to the first translated word", height);
    let each = step(most - least);
    let mut at = (least / each).ceil() * each;
    while at <= most {
        let x = place(at);
        let bottom = height - 34.0;
        let _ = writeln!(svg, "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"52\" y2=\"{bottom}\" class=\"rule\"/>");
        let _ =
            writeln!(svg, "<text x=\"{x:.1}\" y=\"{:.1}\" class=\"dim small mid\">{at:.0} ms</text>", height - 16.0);
        at += each;
    }
    for (i, bar) in bars.iter().enumerate() {
        let y = 64.0 + 44.0 * i as f64;
        let from = place(0.0_f64.max(least));
        let span = |ms: f64| (place(ms).min(from), (place(ms) - from).abs());
        let ((x, width), (late_x, late)) = (span(bar.median), span(bar.p95));
        let colour = i % COLOURS.len();
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" class=\"ink end\">{}</text>
<rect x=\"{late_x:.1}\" y=\"{y:.1}\" width=\"{late:.1}\" height=\"24\" class=\"way{colour} late\"/>
<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"24\" class=\"way{colour} bar\"/>
<text x=\"{:.1}\" y=\"{:.1}\" class=\"ink small\">{:.0} ms, p95 {:.0}</text>",
            LEFT - 12.0,
            y + 17.0,
            escape(bar.name),
            (late_x + late).max(x + width) + 6.0,
            y + 16.0,
            bar.median,
            bar.p95,
        );
    }
    svg + "</svg>\n"
}

/// Each way's lag, word by word, along half a minute of talk: (second it was said, seconds until it was heard).
pub fn monologue(recogniser: &str, lines: &[(&str, Vec<(f64, f64)>)]) -> String {
    const HEIGHT: f64 = 440.0;
    const TOP: f64 = 60.0;
    const BOTTOM: f64 = 390.0;
    let points = || lines.iter().flat_map(|(_, line)| line);
    let (longest, most) = points().fold((1.0_f64, 1.0_f64), |(t, lag), p| (t.max(p.0), lag.max(p.1)));
    // One way may be ten times as late as another: the picture is of those that follow.
    let most = most.min(12.0);
    let left = 64.0;
    let x = |t: f64| left + t / longest * (740.0 - left);
    let y = |lag: f64| BOTTOM - lag / most * (BOTTOM - TOP);
    let mut svg = head(&format!("Half a minute without a pause ({recogniser}): how late each word is heard"), HEIGHT);
    let each = step(most);
    let mut at = 0.0;
    while at <= most {
        let line = y(at);
        let _ = writeln!(svg, "<line x1=\"{left}\" x2=\"740\" y1=\"{line:.1}\" y2=\"{line:.1}\" class=\"rule\"/>");
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" class=\"dim small end\">{at} s</text>",
            left - 8.0,
            line + 4.0
        );
        at += each;
    }
    for t in [0.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0] {
        if t <= longest + 1.0 {
            let _ = writeln!(
                svg,
                "<text x=\"{:.1}\" y=\"{:.1}\" class=\"dim small mid\">{t:.0} s</text>",
                x(t.min(longest)),
                BOTTOM + 20.0
            );
        }
    }
    let _ = writeln!(svg, "<text x=\"{left}\" y=\"{:.1}\" class=\"dim small\">when it was said</text>", BOTTOM + 38.0);
    for (i, (name, line)) in lines.iter().enumerate() {
        // What is beyond the picture is left to the legend.
        let seen = line.iter().filter(|p| p.1 <= most);
        let path: Vec<String> = seen.map(|(t, lag)| format!("{:.1},{:.1}", x(*t), y(*lag))).collect();
        let colour = i % COLOURS.len();
        let _ =
            writeln!(svg, "<polyline points=\"{}\" class=\"way{colour} line\" style=\"fill: none\"/>", path.join(" "));
        let row = TOP + 16.0 + 30.0 * i as f64;
        let mut lags: Vec<f64> = line.iter().map(|p| p.1).collect();
        let median = crate::stat::quantile(&mut lags, 0.5);
        let _ = writeln!(
            svg,
            "<rect x=\"760\" y=\"{:.1}\" width=\"14\" height=\"14\" class=\"way{colour} bar\"/>
<text x=\"782\" y=\"{row:.1}\" class=\"ink\">{}</text>
<text x=\"782\" y=\"{:.1}\" class=\"dim small\">median {median:.1} s</text>",
            row - 12.0,
            escape(name),
            row + 13.0,
        );
    }
    svg + "</svg>\n"
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
