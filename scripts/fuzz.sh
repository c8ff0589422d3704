#!/usr/bin/env bash
# Runs every fuzz target of fuzz/Cargo.toml for some seconds, one line each; fails when one finds a crash.
# Usage: scripts/fuzz.sh [seconds] [target ..]   (default: 10 seconds, all targets)
# What is found goes to target/fuzz/; the seeds in fuzz/corpus are only read.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-10}
case $seconds in '' | *[!0-9]* | 0) echo "fuzz.sh: seconds must be a number above 0, not '$seconds'" >&2; exit 2 ;; esac
shift || true
# The sanitizers need flags that a stable compiler takes only so.
export RUSTC_BOOTSTRAP=1
work=$PWD/target/fuzz
mkdir -p "$work"

tools=${XDG_CACHE_HOME:-$HOME/.cache}/mgw/tools
export PATH=$tools/bin:$PATH
if ! command -v cargo-fuzz >/dev/null; then
    echo "fuzz.sh: installing cargo-fuzz into $tools"
    if ! cargo install cargo-fuzz --locked --quiet --root "$tools" >"$work/install.log" 2>&1; then
        tail -20 "$work/install.log" >&2
        echo "fuzz.sh: could not install cargo-fuzz" >&2
        exit 1
    fi
fi

if ! cargo fuzz build --target-dir "$work/build" >"$work/build.log" 2>&1; then
    cat "$work/build.log" >&2
    echo "fuzz.sh: the targets do not build" >&2
    exit 1
fi
targets=("$@")
[ ${#targets[@]} -gt 0 ] || mapfile -t targets < <(cargo fuzz list)
[ ${#targets[@]} -gt 0 ] || { echo "fuzz.sh: no targets" >&2; exit 1; }

failed=0
for target in "${targets[@]}"; do
    if [ -z "$(ls -A "fuzz/corpus/$target" 2>/dev/null)" ]; then
        echo "$target: no seeds in fuzz/corpus/$target" >&2
        failed=1
        continue
    fi
    # A copy, as libFuzzer writes what it finds into the first folder.
    rm -rf "$work/corpus/$target"
    mkdir -p "$work/corpus/$target" "$work/artifacts/$target"
    cp "fuzz/corpus/$target"/* "$work/corpus/$target/"
    log=$work/$target.log
    if cargo fuzz run --target-dir "$work/build" "$target" "$work/corpus/$target" -- -max_total_time="$seconds" -timeout=5 \
        -max_len=4096 -artifact_prefix="$work/artifacts/$target/" -print_final_stats=1 >"$log" 2>&1; then
        executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
        rate=$(sed -n 's/^stat::average_exec_per_sec: *//p' "$log")
        # A run that executed nothing has tested nothing.
        if [ "${executions:-0}" -eq 0 ]; then
            echo "$target: no executions, see $log"
            failed=1
        else
            echo "$target: $executions executions, $rate per second, no crash"
        fi
    else
        echo "$target: FAILED, see $log and $work/artifacts/$target/"
        grep -m1 -A1 'panicked at' "$log" >&2 || tail -40 "$log" >&2
        failed=1
    fi
done
exit "$failed"
