#!/usr/bin/env bash
# Builds the six components of this folder, which are committed: WORLD-KIND.wasm. Records in
# sources.lock what they were built of.
# build.sh --hash    prints that, and builds nothing
set -euo pipefail
unset RUSTC RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_TARGET
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$here/../common.sh"
source "$PLUGINS/recipes/rust.sh"

sources() {
    cd "$PLUGINS/.."
    find plugins/yardstick/guest plugins/sdk plugins/recipes/rust.sh plugins/Cargo.{toml,lock} wit \
        -type f ! -path '*/gen/*' | LC_ALL=C sort | xargs sha256sum | sha256sum | cut -d' ' -f1
}

if [ "${1:-}" = --hash ]; then
    sources
    exit
fi
build_millstream
recipe_install yardstick
for world in typed packed; do
    for step in filter:filter transform:transformer route:router; do
        kind=${step#*:}
        "$MILLSTREAM" plugin build "$here/guest" --kind "${step%:*}" \
            --out "$here/$world-$kind.wasm" -- --features "$world,$kind" >/dev/null
        printf '%-20s %9d bytes\n' "$world-$kind" "$(wc -c <"$here/$world-$kind.wasm")"
    done
done
sources >"$here/sources.lock"
