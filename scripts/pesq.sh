#!/usr/bin/env bash
# Wide-band PESQ (ITU-T P.862.2) of pairs of raw files (mono, 16 kHz, signed 16 bit little endian).
# Usage: scripts/pesq.sh < lines of "original degraded"; prints one score a line.
# Keeps the Python package in a venv of its own; needs python3, python3-venv, python3-dev and gcc to make it.
set -euo pipefail

venv="${XDG_CACHE_HOME:-$HOME/.cache}/mgw/pesq"
if [ ! -e "$venv/ready" ]; then
    mkdir -p "$(dirname "$venv")"
    exec 9>"$venv.lock"
    flock 9
    if [ ! -e "$venv/ready" ]; then
        rm -rf "$venv"
        python3 -m venv "$venv" >&2
        # The package's build needs numpy, and says so only by failing.
        "$venv/bin/pip" install --quiet --disable-pip-version-check numpy pesq >&2
        touch "$venv/ready"
    fi
    exec 9>&-
fi
exec "$venv/bin/python" -c '
import sys
import numpy
from pesq import pesq

for line in sys.stdin:
    original, degraded = (numpy.fromfile(path, dtype="<i2") for path in line.split())
    print("%.4f" % pesq(16000, original, degraded, "wb"), flush=True)
'
