"""What came of the call: collected from its events, measured in its recordings, written as report.json."""

import json
import statistics
import time

from . import wav
from .children import Failed

# A service that has not answered once by then will not.
PATIENCE_S = 8.0
LEGS = ("7777", "8888")


class Facts:
    """The events of a call, and when they came."""

    def __init__(self, script_began):
        self.script_began = script_began
        self.began_at = None  # monotonic; None: there was no call
        self.zero = None      # monotonic time of gateway time 0
        self.events = []
        self.names = {}       # session id -> profile
        self.simulated = None  # delays that the local cloud keeps on purpose; None: the real services
        self.ready = set()
        self.down = {}        # provider -> its complaint

    def call_began(self):
        self.began_at = time.monotonic()

    def take(self, e):
        zero = time.monotonic() - e["time_ms"] / 1000
        self.zero = zero if self.zero is None else min(zero, self.zero)
        self.names[e["id"]] = e["profile"]
        if e["type"] == "provider":
            if e["state"] == "ready":
                self.ready.add(e["stage"])
                self.down.pop(e["stage"], None)
            elif e["state"] == "down":
                self.down[e["stage"]] = e
        if not (e["type"] == "transcript" and not e["final"]):
            self.events.append(e)

    def of(self, kind):
        return [e for e in self.events if e["type"] == kind]

    def hopeless(self):
        """Why there is no use in going on: a service that has never been there refuses, or is not reached."""
        for stage, e in self.down.items():
            if stage in self.ready:
                continue
            final = "retry_in_ms" not in e
            if final or time.monotonic() - self.began_at > PATIENCE_S:
                return f"{e['provider']} cannot be used: {e.get('message') or e.get('code') or 'no answer'}"
        return None

    def base_ms(self):
        """Gateway time of the first frame of the recordings, which is the zero of session time."""
        offsets = [e["marks"]["speech_start_ms"] - e["start_ms"] for e in self.of("segment_done")]
        return statistics.median(offsets) if offsets else 0.0


def segment(facts, e, base):
    """A segment that was heard, with its places in the recordings in seconds."""
    marks, at = e["marks"], lambda mark: round((e["marks"][mark] - base) / 1000, 3)
    known = "playout_start_ms" in marks and "playout_end_ms" in marks
    return {
        "session": e["profile"], "listener": facts.names.get(e["listener_id"], e["listener_id"]), "segment": e["segment"],
        "source_text": e["source_text"], "translation": e["text"], "lag_ms": round(e["lag_ms"]),
        "stages_ms": {stage: round(e["stages_ms"][stage]) for stage in ("stt", "mt", "tts") if stage in e["stages_ms"]},
        "said_s": [round(e["start_ms"] / 1000, 3), round(e["end_ms"] / 1000, 3)],
        "heard_s": [at("playout_start_ms"), at("playout_end_ms")] if known else None,
        "complete": e["complete"],
    }


def measured(path):
    """Blocks' powers of a recording, none if there is no recording."""
    try:
        rate, samples = wav.read(path)
    except Failed:
        return []
    return wav.blocks(rate, samples)


def middle(values):
    return round(statistics.median(values)) if values else None


def make(facts, said, out, why, least):
    """The report. `why` is what went wrong, if anything did; each direction needs `least` segments to be well."""
    base = facts.base_ms()
    segments = sorted((segment(facts, e, base) for e in facts.of("segment_done")), key=lambda s: s["said_s"])
    lost = [{"session": e["profile"], "stage": e["stage"], "reason": e["reason"], "source_text": e.get("source_text"),
             "said_s": [round(e["start_ms"] / 1000, 3), round(e["end_ms"] / 1000, 3)]} for e in facts.of("segment_lost")]
    speakers, directions, pauses = {}, {}, []
    for leg, other in zip(LEGS, reversed(LEGS)):
        recorded = measured(out / f"{leg}-heard.wav")
        mine = [s for s in segments if s["session"] == leg]
        speakers[leg] = {
            "said": str(said[leg]), "said_dbfs": wav.level(measured(said[leg])),
            "heard": str(out / f"{leg}-heard.wav"), "heard_dbfs": wav.level(recorded),
            "heard_speech_s": wav.speech(recorded), "duration_s": round(len(recorded) * wav.BLOCK_S, 2),
            "transcript": [e["text"] for e in facts.of("transcript") if e["profile"] == leg],
        }
        directions[leg] = {
            "to": other, "heard": len(mine), "committed": len(mine) + sum(x["session"] == leg for x in lost),
            "lag_median_ms": middle([s["lag_ms"] for s in mine]), "lag_max_ms": max((s["lag_ms"] for s in mine), default=None),
            "stages_ms": {stage: middle([s["stages_ms"][stage] for s in mine if stage in s["stages_ms"]])
                          for stage in ("stt", "mt", "tts")},
        }
        for s in segments:
            if s["listener"] == leg and s["heard_s"]:
                start, end = (int(t / wav.BLOCK_S) for t in s["heard_s"])
                s["longest_pause_s"] = wav.longest_pause(recorded[max(start, 0):end])
                s["heard_dbfs"] = wav.level(recorded[max(start, 0):end])
                pauses.append(s["longest_pause_s"])
    if not why and lost:
        first = f"{lost[0]['stage']}: {lost[0]['reason']}"
        why = f"{len(lost)} segments were lost, the first at {first}" if len(lost) > 1 else f"a segment was lost at {first}"
    if not why and not all(s["complete"] for s in segments):
        why = "a segment was not heard to its end"
    if not why:
        few = [f"{leg} was heard in {d['heard']} segments" for leg, d in directions.items() if d["heard"] < least]
        why = f"{' and '.join(few)}, expected at least {least}" if few else None
    lags = [s["lag_ms"] for s in segments]
    starts = [e["marks"]["playout_start_ms"] for e in facts.of("segment_done") if "playout_start_ms" in e["marks"]]
    return {
        "ok": not why, "why": why, "simulated_ms": facts.simulated, "segments": segments, "lost": lost, "speakers": speakers, "directions": directions,
        "lag_ms": {"median": middle(lags), "max": max(lags, default=None)},
        "longest_pause_s": max(pauses, default=None),
        "first_word_s": round(facts.zero + min(starts) / 1000 - facts.script_began, 1) if starts else None,
    }


def write(result, path):
    path.write_text(json.dumps(result, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
