#!/usr/bin/env bash
# Every fault at its full size, but for the fuzz targets (fuzz/run.sh): docs/faults.md says what each
# run is. The real process is the release build. Takes about an hour on two cores, 11 GiB of memory,
# and root for the disk that is really full. What each run printed stays in target/faults. A variable
# that is set already, MILLSTREAM_KILLS=5, makes that run as small.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
cargo build --release && cargo test --no-run || exit 1
export MILLSTREAM_BINARY=$PWD/target/release/millstream
logs=target/faults
mkdir -p "$logs"
status=0

export RUST_BACKTRACE=0
export MILLSTREAM_IMAGES=${MILLSTREAM_IMAGES:-100000}
export MILLSTREAM_KILLS=${MILLSTREAM_KILLS:-1000}
export MILLSTREAM_BACKUPS=${MILLSTREAM_BACKUPS:-1000}
export MILLSTREAM_STUCK_SECONDS=${MILLSTREAM_STUCK_SECONDS:-600}

# The name of a run, and cargo's arguments.
run() {
    local name=$1
    shift
    printf '\n== %s (%s s)\n' "$name" "$SECONDS"
    cargo test "$@" --nocapture > "$logs/$name" 2> "$logs/$name.stderr" || status=1
    # A run that found no test to run has failed.
    grep -q '^test result: ok. [1-9]' "$logs/$name" || status=1
    grep -v '^$\|^running\|has been running for' "$logs/$name"
}

run images --lib all_images -- --ignored
run damaged-copies --lib all_damaged_copies -- --ignored
run every-write --lib every_write_that -- --ignored
run kills --test it kills --
run backups --test it crash::backup --
run full-disk --test it full_disk --
run stuck-consumer --test it a_stuck --
run bad-clients --test it latency:: -- --ignored
run bad-plugins --test it bad_plugins -- --ignored
run compile-bombs --test it compile_bombs -- --ignored
exit "$status"
