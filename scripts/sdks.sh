#!/usr/bin/env bash
# The vendors' own Python SDKs in a venv of their own in the user's cache, with the versions pinned in
# tests/vendor_sdks/requirements.txt; a changed pin or Python makes it anew. Prints the path of its Python.
# Usage: scripts/sdks.sh; needs python3 and python3-venv to make it.
set -euo pipefail
cd "$(dirname "$0")/.."

pins=tests/vendor_sdks/requirements.txt
venv="${XDG_CACHE_HOME:-$HOME/.cache}/mgw/sdks"
stamp=$({ python3 -c 'import sys; print(sys.version, sys.executable)'; cat "$pins"; } | sha256sum)
made() { [ "$(cat "$venv/ready" 2>/dev/null)" = "$stamp" ]; }
if ! made; then
    mkdir -p "$(dirname "$venv")"
    exec 9>"$venv.lock"
    flock 9
    if ! made; then
        rm -rf "$venv"
        python3 -m venv "$venv" >&2
        # All that is needed is pinned, so nothing else may be wanted.
        "$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps --only-binary :all: -r "$pins" >&2
        "$venv/bin/pip" --disable-pip-version-check check >&2
        echo "$stamp" >"$venv/ready"
    fi
    exec 9>&-
fi
echo "$venv/bin/python"
