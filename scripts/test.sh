#!/usr/bin/env bash
# Runs all tests. Those that talk in real time mostly wait, so they run beside the others.
set -uo pipefail
cd "$(dirname "$0")/.."
# With it set, Rust's own panic hook looks symbols up on the media thread for a second, and the tests that make a room
# panic would measure that. Hosts should not set it either (docs/architecture.md).
export RUST_BACKTRACE=0
features=local-cloud,fault-injection,telephony
logs=target/test-logs
mkdir -p "$logs"

cargo test --quiet --features "$features" --no-run || exit 1
# The other TLS implementation must at least compile; a run of it is part of `make soak`.
cargo check --quiet --lib --no-default-features --features tls-openssl || exit 1

failed=0
pids=()
for slow in c_example demo; do
    cargo test --features "$features" --test "$slow" >"$logs/$slow.log" 2>&1 &
    pids+=("$!:$slow")
done
quick=()
for file in tests/*.rs tests/*/main.rs; do
    name=$(basename "$file" .rs)
    [ "$name" = main ] && name=$(basename "$(dirname "$file")")
    case $name in c_example | demo) ;; *) quick+=(--test "$name") ;; esac
done
cargo test --features "$features" --no-fail-fast --lib --bins "${quick[@]}" || failed=1
for entry in "${pids[@]}"; do
    wait "${entry%%:*}" || failed=1
    cat "$logs/${entry#*:}.log"
done
exit $failed
