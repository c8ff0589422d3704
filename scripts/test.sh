#!/usr/bin/env bash
# Runs all tests, in groups that the machine's cores can carry. Those that talk in real time mostly wait, so what computes
# runs beside them and gives way; a real Asterisk with forty phones wants the machine to itself.
set -uo pipefail
cd "$(dirname "$0")/.."
# With it set, Rust's own panic hook looks symbols up on the media thread for a second, and the tests that make a room
# panic would measure that. Hosts should not set it either (docs/architecture.md).
export RUST_BACKTRACE=0
features=local-cloud,rtp-shim,fault-injection
logs=target/test-logs
mkdir -p "$logs"

# A real Asterisk, in the user's cache; the tests would fetch it themselves, but then its time would be theirs.
scripts/asterisk.sh >"$logs/asterisk.log" || exit 1
# The oldest one that the module is for.
scripts/asterisk.sh 16 >"$logs/asterisk-16.log" || exit 1
# The vendors' own SDKs, likewise.
scripts/sdks.sh >"$logs/sdks.log" || exit 1
cargo test --quiet --features "$features" --no-run || exit 1
# The other TLS implementation must at least compile; a run of it is part of `make soak`.
cargo check --quiet --lib --no-default-features --features tls-openssl || exit 1

failed=0
pids=()
beside() { # beside NAME ARGUMENTS-OF-CARGO-TEST…: in the background; `settle` waits and shows what it said
    local name=$1
    shift
    ${behind:-} cargo test --features "$features" --no-fail-fast "$@" >"$logs/$name.log" 2>&1 &
    pids+=("$!:$name")
}
settle() {
    for entry in "${pids[@]}"; do
        wait "${entry%%:*}" || failed=1
        cat "$logs/${entry#*:}.log"
    done
    pids=()
}
run() { # run NAME TEST-ARGUMENTS…: one test program, with nothing beside it but what is there already
    local name=$1
    shift
    cargo test --features "$features" --test "$name" -- "$@" || failed=1
}

# They talk in real time and need little of the processor.
talking=(conversation echo events flight_recorder lifecycle local_cloud)
long=(c_example demo monologue)
later=(concealment stretch asterisk_lab asterisk_module shim outages)
others=()
for file in tests/*.rs tests/*/main.rs; do
    name=$(basename "$file" .rs)
    [ "$name" = main ] && name=$(basename "$(dirname "$file")")
    case " ${talking[*]} ${long[*]} ${later[*]} " in *" $name "*) ;; *) others+=(--test "$name") ;; esac
done
for name in "${long[@]}"; do
    beside "$name" --test "$name"
done
# What computes gives way to what keeps time.
behind="nice -n 19" beside computing --lib --bins "${others[@]}"
for name in "${talking[@]}"; do
    run "$name" --test-threads=4
done
settle

# Hundreds of calls whose vendors fail: one test after the other.
run outages --test-threads=1
# One Asterisk each, with telephones that must keep time.
run asterisk_lab --test-threads=4
run shim --skip load:: --test-threads=4
run asterisk_module --skip load:: --skip memcheck:: --test-threads=5
run asterisk_module --test-threads=1 load:: memcheck::
# Nothing beside them: their phones are threads of the test, which must keep time.
run shim load:: --test-threads=1

beside concealment --test concealment
beside stretch --test stretch
scripts/fuzz.sh 10 || failed=1
settle
exit $failed
