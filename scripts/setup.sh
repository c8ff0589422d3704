#!/usr/bin/env bash
# Installs the Debian packages that building, testing and the demo need; does nothing when all are there.
# Usage: scripts/setup.sh [build|demo|test|bench]   (default: test)
set -euo pipefail

build=(gcc g++ make pkg-config binutils ca-certificates)
speech=(libpocketsphinx3 pocketsphinx-en-us apertium apertium-eng-spa flite espeak-ng python3)
tests=(libssl-dev debootstrap debian-archive-keyring python3-venv python3-dev sonic soundstretch sox rubberband-cli)
beside=(rtpengine-daemon util-linux)
case "${1:-test}" in
    build) wanted=("${build[@]}") ;;
    demo) wanted=("${build[@]}" "${speech[@]}") ;;
    test) wanted=("${build[@]}" "${speech[@]}" "${tests[@]}") ;;
    bench) wanted=("${build[@]}" "${beside[@]}") ;;
    *) echo "setup.sh: unknown set '$1': use build, demo, test or bench" >&2; exit 2 ;;
esac

if ! command -v cargo >/dev/null; then
    echo "setup.sh: cargo is missing: install Rust (rustup) first" >&2
    exit 1
fi
if ! command -v dpkg-query >/dev/null; then
    echo "setup.sh: this is not Debian: install the counterparts of these packages by hand: ${wanted[*]}" >&2
    exit 1
fi
missing=()
for package in "${wanted[@]}"; do
    state=$(dpkg-query -W -f '${Status}' "$package" 2>/dev/null || true)
    [ "$state" = "install ok installed" ] || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0

root=()
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || { echo "setup.sh: become root or install sudo, then: apt-get install ${missing[*]}" >&2; exit 1; }
    root=(sudo)
fi
echo "installing: ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
"${root[@]}" apt-get update -qq || echo "setup.sh: apt-get update failed; trying with the lists at hand" >&2
if ! "${root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/tmp/mgw-setup.$$ 2>&1; then
    tail -5 "/tmp/mgw-setup.$$" >&2
    rm -f "/tmp/mgw-setup.$$"
    echo "setup.sh: could not install: ${missing[*]} (no network, or no such package?)" >&2
    exit 1
fi
rm -f "/tmp/mgw-setup.$$"
