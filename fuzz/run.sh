#!/usr/bin/env bash
# Runs each fuzz target for so many seconds, 60 unless told otherwise, and others only if they are
# named: `fuzz/run.sh 600 batch request`. Needs a nightly toolchain and cargo-fuzz. What a target
# crashes on is under `fuzz/artifacts`; what is new to it stays out of `fuzz/corpus` until somebody
# asks for it with `fuzz/run.sh --keep`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
# Without the address sanitizer: memory is counted by the targets themselves.
fuzz() { cargo +nightly fuzz "$@"; }

if [[ ${1:-} == --keep ]]; then
    for target in $(fuzz list); do
        rm -rf kept && mkdir -p kept "found/$target"
        fuzz run --sanitizer none "$target" kept "found/$target" "corpus/$target" -- \
            -set_cover_merge=1 -use_counters=0
        rm -rf "corpus/$target" && mv kept "corpus/$target"
    done
    exit
fi

seconds=${1:-60}
shift || true
targets=${*:-$(fuzz list)}
fuzz build --sanitizer none
for target in $targets; do
    printf '\n== %s, %s s\n' "$target" "$seconds"
    mkdir -p "found/$target"
    fuzz run --sanitizer none "$target" "found/$target" "corpus/$target" -- \
        -max_total_time="$seconds" -timeout=20 -rss_limit_mb=2048 -print_final_stats=1 2>&1 |
        grep -aE 'DONE|panicked|taken for|stat::number|ERROR' || true
    [[ -z $(ls "artifacts/$target" 2>/dev/null) ]]
done
