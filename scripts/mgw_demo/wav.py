"""WAV files (16-bit mono) and how loud they are."""

import array
import math
import struct
import sys
from operator import mul

from .children import Failed

FULL_SCALE = 32768.0
# Mean square of -50 dBFS: what is below is a pause. The same border as `mgw-local-cloud recognise` has.
PAUSE_POWER = 104.0 * 104.0
BLOCK_S = 0.01
# Pauses shorter than this are inside of speech.
JOIN_S = 0.4


def read(path):
    """Rate in Hz and samples; Failed with the reason if that cannot be."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise Failed(f"{path}: {error.strerror}") from error
    if data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        raise Failed(f"{path} is not a WAV file")
    at, rate = 12, None
    while at + 8 <= len(data):
        kind, size = data[at:at + 4], struct.unpack_from("<I", data, at + 4)[0]
        if kind == b"fmt " and at + 24 <= len(data):
            code, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", data, at + 8)
            if code not in (1, 0xFFFE) or channels != 1 or bits != 16:
                raise Failed(f"{path} is not 16-bit mono; make it so: ffmpeg -i {path.name} -ac 1 -ar 16000 "
                             "-c:a pcm_s16le new.wav")
        elif kind == b"data" and rate:
            samples = array.array("h", data[at + 8:at + 8 + min(size, len(data) - at - 8) // 2 * 2])
            if sys.byteorder == "big":
                samples.byteswap()
            if samples:
                return rate, samples
            break
        at += 8 + size + size % 2
    raise Failed(f"{path} has no sound in it")


def blocks(rate, samples):
    """Mean squares of blocks of BLOCK_S seconds."""
    n = max(1, int(rate * BLOCK_S))
    return [sum(map(mul, piece, piece)) / len(piece)
            for piece in (samples[i:i + n] for i in range(0, len(samples), n))]


def dbfs(power):
    """Decibels below full scale of a mean square."""
    return round(10 * math.log10(max(power, 1e-3) / FULL_SCALE ** 2), 1)


def level(powers):
    """Level of what is speech among blocks, in dBFS; None if all is silence."""
    loud = [p for p in powers if p > PAUSE_POWER]
    return dbfs(sum(loud) / len(loud)) if loud else None


def speech(powers, join_s=JOIN_S):
    """Spans [start, end] of speech in seconds; shorter pauses than `join_s` are part of it."""
    spans = []
    for i, power in enumerate(powers):
        if power <= PAUSE_POWER:
            continue
        start, end = i * BLOCK_S, (i + 1) * BLOCK_S
        if spans and start - spans[-1][1] <= join_s:
            spans[-1][1] = end
        else:
            spans.append([start, end])
    return [[round(a, 2), round(b, 2)] for a, b in spans]


def longest_pause(powers):
    """Longest pause between two sounds, in seconds."""
    spans = speech(powers, 0)
    return round(max((b[0] - a[1] for a, b in zip(spans, spans[1:])), default=0.0), 2)
