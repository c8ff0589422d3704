"""The conversation as it happens: plain lines, and on a terminal colours and a line that moves."""

import json
import os
import selectors
import shutil
import time
from pathlib import Path

from . import wav

REFRESH_S = 0.1
METER = " ▁▂▃▄▅▆▇█"
COLOURS = {"7777": "\x1b[36m", "8888": "\x1b[33m"}
BOLD, DIM, RED, OFF = "\x1b[1m", "\x1b[2m", "\x1b[31m", "\x1b[0m"


def parsed(lines):
    """Events among lines; one that was cut short is left out."""
    for line in lines:
        try:
            yield json.loads(line)
        except ValueError:
            continue


class Events:
    """Events from a pipe, one JSON object a line. Reads the descriptor itself, so nothing hides in a buffer."""

    def __init__(self, pipe):
        self.fd = pipe.fileno()
        self.rest = b""
        self.ready = selectors.DefaultSelector()
        self.ready.register(self.fd, selectors.EVENT_READ)

    def read(self, seconds):
        """The events that came within `seconds` (maybe none), or None at the end."""
        if not self.ready.select(seconds):
            return []
        data = os.read(self.fd, 1 << 16)
        if not data:
            return None
        *lines, self.rest = (self.rest + data).split(b"\n")
        return list(parsed(lines))


def clock(seconds):
    """12.34 -> 0:12.3"""
    tenths = round(max(seconds, 0) * 10)
    return f"{tenths // 600}:{tenths // 10 % 60:02}.{tenths % 10}"


def short(path):
    """A path as one would type it here."""
    try:
        return str(Path(path).resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


class Plain:
    """Lines for a file, a pipe or a log."""

    def __init__(self, out):
        self.out = out
        self.other = {"7777": "8888", "8888": "7777"}
        self.names = {}

    def print(self, text=""):
        print(text, file=self.out, flush=True)

    def paint(self, text, *_):
        return text

    def note(self, text):
        self.print(self.paint(text, DIM))

    def fail(self, why):
        self.end()
        self.print(self.paint(f"demo: {why}", RED))

    def call(self, said):
        self.sound = {leg: wav.read(path) for leg, path in said.items()}
        self.print()

    def tick(self):
        """Nothing has come for a moment."""

    def end(self):
        """The call is over."""

    def take(self, e):
        kind, who = e["type"], e["profile"]
        self.names[e["id"]] = who
        if kind == "transcript" and e["final"]:
            rate, samples = self.sound[who]
            piece = samples[int(e["start_ms"] * rate / 1000):int(e["end_ms"] * rate / 1000)]
            level = wav.level(wav.blocks(rate, piece))
            detail = "" if level is None else f"{level:.0f} dBFS"
            self.line(e["start_ms"], who, "says ", e["text"], detail)
        elif kind == "segment_done":
            stages = ", ".join(f"{stage} {ms / 1000:.1f}" for stage, ms in sorted(
                e["stages_ms"].items(), key=lambda s: ("stt", "mt", "tts").index(s[0])))
            cut = "" if e["complete"] else "; cut off"
            self.line(e["marks"]["playout_start_ms"], self.names.get(e["listener_id"], "?"), "hears", e["text"],
                      f"lag {e['lag_ms'] / 1000:.1f} s ({stages}){cut}")
        elif kind == "segment_lost":
            self.line(e["start_ms"], who, "lost ", e.get("source_text") or "speech", f"{e['stage']}: {e['reason']}", RED)
        elif kind == "fail_open":
            self.line(e["time_ms"], who, "hears", "the original voice" if e["active"] else "translations again", e["reason"])
        elif kind == "provider" and e["state"] == "down":
            self.line(e["time_ms"], who, "miss ", e["provider"], e.get("message") or e.get("code") or "down", RED)
        elif kind == "error":
            self.line(e["time_ms"], who, "error", e["code"], e["message"], RED)

    def line(self, ms, who, verb, text, detail, colour=None):
        indent = "" if who == "7777" else "  "
        head = self.paint(f"{clock(ms / 1000):>7}  ", DIM)
        what = self.paint(f"{indent}{who} {verb}", colour or COLOURS.get(who, ""))
        self.print(f"{head}{what} {text:<{50 - len(indent)}} {self.paint(detail, DIM)}".rstrip())

    def table(self, result, out):
        self.print()
        self.print(self.paint("             segments  lag median  longest   hear  translate  speak   said      heard", BOLD))
        for leg, other in self.other.items():
            d, s, h = result["directions"][leg], result["speakers"][leg], result["speakers"][other]
            number = lambda v, unit="s": "-" if v is None else f"{v:.1f} {unit}"  # noqa: E731
            secs = lambda v: number(None if v is None else v / 1000)  # noqa: E731
            self.print(f"{leg} to {other} {d['heard']:>4} of {d['committed']:<3}{secs(d['lag_median_ms']):>9} {secs(d['lag_max_ms']):>9}"
                       f" {secs(d['stages_ms']['stt']):>7} {secs(d['stages_ms']['mt']):>9} {secs(d['stages_ms']['tts']):>7}"
                       f" {number(s['said_dbfs'], 'dBFS'):>11} {number(h['heard_dbfs'], 'dBFS'):>10}")
        self.print("lag: from the end of a sentence in the speaker's mouth to its end in the listener's ear")
        if result["first_word_s"] is not None:
            self.print(f"first translated word {result['first_word_s']:.1f} s after the start of this script")
        self.print()
        for name, what in (("7777-heard.wav", "what 7777 heard"), ("8888-heard.wav", "what 8888 heard"),
                           ("conversation.svg", "the picture"), ("report.json", "all figures")):
            self.print(f"{what:<16} {short(out / name)}")


class Terminal(Plain):
    """Colours, and at the bottom a line with both speakers' levels and the words as they are recognised."""

    def __init__(self, out):
        super().__init__(out)
        self.zero = None
        self.saying = ("", "")

    def print(self, text=""):
        super().print("\r\x1b[K" + text)

    def paint(self, text, colour=""):
        return f"{colour}{text}{OFF}"

    def take(self, e):
        if self.zero is None:
            self.zero = time.monotonic() - e["time_ms"] / 1000
        if e["type"] == "transcript":
            self.saying = ("", "") if e["final"] else (e["profile"], e["text"])
        elif e["type"] == "translation":
            self.saying = (self.other.get(e["profile"], "?"), f"… {e['text']}")
        elif e["type"] == "segment_done":
            self.saying = ("", "")
        super().take(e)
        self.tick()

    def tick(self):
        if self.zero is None:
            return
        now = time.monotonic() - self.zero
        meters = "  ".join(self.paint(f"{leg} {self.meter(leg, now)}", COLOURS[leg]) for leg in self.other)
        who, text = self.saying
        room = max(shutil.get_terminal_size().columns - 36, 10)
        words = f"{who}: {text[-room:]}" if who else ""
        self.out.write(f"\r\x1b[K{clock(now):>7}  {meters}  {self.paint(words, DIM)}")
        self.out.flush()

    def meter(self, leg, now):
        rate, samples = self.sound[leg]
        at = int(now * rate)
        powers = wav.blocks(rate, samples[max(at - rate // 10, 0):max(at, 0)])
        level = wav.dbfs(max(powers, default=0))
        return METER[min(max(int((level + 55) / 5.5), 0), len(METER) - 1)]

    def end(self):
        self.out.write("\r\x1b[K")
        self.out.flush()


def view(out, plain):
    """The view that fits where the output goes."""
    fancy = not plain and out.isatty() and os.environ.get("TERM", "dumb") != "dumb" and "NO_COLOR" not in os.environ
    return Terminal(out) if fancy else Plain(out)
