#!/usr/bin/env bash
# PESQ of pairs of raw files (mono, signed 16 bit little endian): wide-band (ITU-T P.862.2) at 16 kHz, narrow-band (P.862.1)
# at 8 kHz.
# Usage: scripts/pesq.sh [16000|8000] < lines of "original degraded"; prints one score a line.   (default: 16000)
# Keeps the Python package in a venv of its own; needs python3, python3-venv, python3-dev and gcc to make it.
set -euo pipefail

hz=${1:-16000}
case $hz in
    16000) band=wb ;;
    8000) band=nb ;;
    *) echo "pesq.sh: unknown rate '$hz': use 16000 or 8000" >&2; exit 2 ;;
esac
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
    print("%.4f" % pesq(int(sys.argv[1]), original, degraded, sys.argv[2]), flush=True)
' "$hz" "$band"
