#!/usr/bin/env bash
# Builds plugins from source: build.sh [--into DIR] [NAME...], all of them if none is named.
#
# Installs the toolchains, in fixed versions: into $MILLSTREAM_TOOLS, by default
# ~/.cache/millstream-tools, and Debian's packages where they belong. Then `millstream plugin build`
# does what it does for everybody. Writes NAME/NAME.wasm and, of a component that is committed,
# NAME/component.lock; with --into only DIR/NAME.wasm.
set -euo pipefail
unset RUSTC RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_TARGET
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

write_lock() { # NAME
    cat >"$PLUGINS/$1/component.lock" <<LOCK
# Written by plugins/build.sh, compared by plugins/check.sh: the sha-256 of the sources and of the
# component that was made of them, and by what.
sources   $(sources_hash "$1")
component $(sha256 "$PLUGINS/$1/$1.wasm")
toolchain $(recipe_versions "$1")
LOCK
}

build() ( # NAME: in a shell of its own, since recipes have the same names in them
    name=$1
    source "$PLUGINS/recipes/$(language "$name").sh"
    recipe_install "$name"
    out="${into:-$PLUGINS/$name}/$name.wasm"
    "$MILLSTREAM" plugin build "$PLUGINS/$name" --out "$out" >/dev/null
    [ -n "$into" ] || is_large "$name" || write_lock "$name"
    printf '%-10s %-14s %9d bytes  %s\n' "$name" "$(language "$name")" \
        "$(wc -c <"$out")" "$(recipe_versions "$name")"
)

into=
if [ "${1:-}" = --into ]; then
    mkdir -p "${2:?--into needs a folder}"
    into=$(cd "$2" && pwd)
    shift 2
fi
names=$(chosen_plugins all_plugins "$@")
build_millstream
for name in $names; do
    build "$name"
done
