#!/usr/bin/env bash
# Builds the six components of this folder, which are committed: WORLD-KIND.wasm.
set -euo pipefail
unset RUSTC RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_TARGET
cd "$(dirname "${BASH_SOURCE[0]}")"
source ../common.sh
source ../install.sh
source ../recipes/rust.sh

recipe_install yardstick
for world in typed packed; do
    for kind in filter transformer router; do
        rust_features="$world,$kind" recipe_build yardstick "$world-$kind.wasm"
        printf '%-20s %9d bytes\n' "$world-$kind" "$(wc -c <"$world-$kind.wasm")"
    done
done
