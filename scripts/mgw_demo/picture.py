"""The conversation as an SVG: time runs downwards, each phone has a line, what is said on one is heard on the other."""

from xml.sax.saxutils import escape

WIDTH, TOP, FOOT = 960, 96, 58
LEFT, RIGHT, BAR = 398, 562, 14  # the two phones' lines, and the width of a bar
PER_SECOND = 13.0
LINE = 15          # least distance of two texts
LETTERS = 50       # what fits beside a line

STYLE = """
  .paper { fill: #ffffff } .ink { fill: #1f2328 } .dim { fill: #636c76 } .rule { stroke: #d1d9e0 }
  .a { fill: #0969da } .b { fill: #bc4c00 } .a-heard { fill: #0969da; opacity: .35 } .b-heard { fill: #bc4c00; opacity: .35 }
  .way-a { fill: #0969da; opacity: .10 } .way-b { fill: #bc4c00; opacity: .10 } .lost { fill: #cf222e }
  text { font-family: system-ui, 'Segoe UI', Roboto, 'Helvetica Neue', 'DejaVu Sans', sans-serif; font-size: 13px }
  .title { font-size: 17px; font-weight: 600 } .small { font-size: 11px } .heard { font-style: italic }
  @media (prefers-color-scheme: dark) {
    .paper { fill: #0d1117 } .ink { fill: #e6edf3 } .dim { fill: #9198a1 } .rule { stroke: #3d444d }
    .a, .a-heard, .way-a { fill: #4493f8 } .b, .b-heard, .way-b { fill: #f0883e } .lost { fill: #f85149 }
    .way-a, .way-b { opacity: .16 }
  }
"""


def cut(text):
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text if len(text) <= LETTERS else text[:LETTERS - 1] + "…"


class Sheet:
    """Collects elements; keeps texts of a side from covering each other."""

    def __init__(self):
        self.under, self.over, self.texts = [], [], []

    def text(self, x, y, words, style, anchor="start"):
        self.over.append(f'<text x="{x:.0f}" y="{y:.1f}" class="{style}" text-anchor="{anchor}">{escape(words)}</text>')

    def beside(self, side, middle, words, style):
        self.texts.append((side, middle, words, style))

    def place_texts(self):
        for side, x, anchor in (("7777", LEFT - BAR - 4, "end"), ("8888", RIGHT + BAR + 4, "start")):
            last = 0.0
            for _, middle, words, style in sorted((t for t in self.texts if t[0] == side), key=lambda t: t[1]):
                last = max(middle + 4.5, last + LINE)
                self.text(x, last, words, style, anchor)


def draw(result):
    """The picture of a report."""
    sheet = Sheet()
    y = lambda seconds: TOP + seconds * PER_SECOND  # noqa: E731
    ends = [s["heard_s"][1] for s in result["segments"] if s["heard_s"]] + [x["said_s"][1] for x in result["lost"]]
    last = max(ends, default=1.0) + 0.5
    for second in range(0, int(last) + 1, 5):
        sheet.under.append(f'<line x1="48" x2="{WIDTH - 16}" y1="{y(second):.1f}" y2="{y(second):.1f}" class="rule" '
                           'stroke-dasharray="2 4"/>')
        sheet.text(42, y(second) + 4, f"{second} s", "dim small", "end")
    for x in (LEFT, RIGHT):
        sheet.under.append(f'<line x1="{x}" x2="{x}" y1="{TOP - 8}" y2="{y(last):.1f}" class="rule"/>')
    for s in result["segments"]:
        mine = s["session"] == "7777"
        name, near, far = ("a", LEFT, RIGHT) if mine else ("b", RIGHT, LEFT)
        bar(sheet, near, y(s["said_s"][0]), y(s["said_s"][1]), name)
        sheet.beside(s["session"], (y(s["said_s"][0]) + y(s["said_s"][1])) / 2, cut(s["source_text"]), "ink")
        if not s["heard_s"]:
            continue
        bar(sheet, far, y(s["heard_s"][0]), y(s["heard_s"][1]), f"{name}-heard")
        sheet.beside(s["listener"], (y(s["heard_s"][0]) + y(s["heard_s"][1])) / 2, cut(s["translation"]), f"{name} heard")
        edge = BAR / 2 if mine else -BAR / 2
        points = [(near + edge, y(s["said_s"][0])), (near + edge, y(s["said_s"][1])),
                  (far - edge, y(s["heard_s"][1])), (far - edge, y(s["heard_s"][0]))]
        sheet.under.append(f'<polygon class="way-{name}" points="' + " ".join(f"{px:.0f},{py:.1f}" for px, py in points) + '"/>')
        sheet.text(far - 3 * edge, (y(s["heard_s"][0]) + y(s["heard_s"][1])) / 2 + 4, f"lag {s['lag_ms'] / 1000:.1f} s",
                   "dim small", "end" if mine else "start")
    for x in result["lost"]:
        near = LEFT if x["session"] == "7777" else RIGHT
        bar(sheet, near, y(x["said_s"][0]), y(x["said_s"][1]), "lost")
        sheet.beside(x["session"], (y(x["said_s"][0]) + y(x["said_s"][1])) / 2, cut(f"lost: {x['source_text'] or x['reason']}"), "lost")
    sheet.place_texts()
    sheet.text(WIDTH / 2, 30, "One call, two languages", "ink title", "middle")
    sheet.text(LEFT - BAR - 4, 58, "7777 speaks and hears English", "a", "end")
    sheet.text(RIGHT + BAR + 4, 58, "8888 speaks and hears Spanish", "b")
    lag = result["lag_ms"]
    foot = "full bar: said, light bar and italics: heard in the other language"
    if lag["median"] is not None:
        foot += f"; lag of the last word: median {lag['median'] / 1000:.1f} s, longest {lag['max'] / 1000:.1f} s"
    sheet.text(WIDTH / 2, y(last) + 26, foot, "dim small", "middle")
    if result["simulated_ms"]:
        sheet.text(WIDTH / 2, y(last) + 42, "engines of one machine, with the cloud services' delays: translation "
                   f"{result['simulated_ms']['mt'] / 1000:.1f} s, voice {result['simulated_ms']['tts'] / 1000:.1f} s",
                   "dim small", "middle")
    height = y(last) + FOOT
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" width="{WIDTH}" height="{height:.0f}" role="img">',
        "<title>Who says what, and when the other hears it in their own language</title>", f"<style>{STYLE}</style>",
        '<rect class="paper" width="100%" height="100%" rx="8"/>', *sheet.under, *sheet.over, "</svg>", ""])


def bar(sheet, x, top, bottom, style):
    sheet.over.append(f'<rect class="{style}" x="{x - BAR / 2:.0f}" y="{top:.1f}" width="{BAR}" height="{max(bottom - top, 2):.1f}" rx="3"/>')
