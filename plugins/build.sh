#!/usr/bin/env bash
# Builds plugins from source: build.sh [--into DIR] [NAME...], all of them if none is named.
#
# Writes NAME/NAME.wasm and NAME/component.lock, which are committed; with --into only
# DIR/NAME.wasm. What is needed and not there is installed: into $MILLSTREAM_TOOLS, by default
# ~/.cache/millstream-tools, and Debian's packages where they belong.
set -euo pipefail
unset RUSTC RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_TARGET
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

apt_install() { # PACKAGE...
    dpkg -s "$@" >/dev/null 2>&1 && return
    command -v apt-get >/dev/null || {
        say "missing: the Debian packages $* (or rustup's target wasm32-unknown-unknown)"
        exit 1
    }
    say "installing $*"
    local root=()
    [ "$(id -u)" = 0 ] || root=(sudo)
    "${root[@]}" apt-get update -qq
    DEBIAN_FRONTEND=noninteractive "${root[@]}" apt-get install -y -qq --no-install-recommends \
        "$@" >/dev/null
}

install_mkcomponent() {
    [ -x "$TOOLS/target/debug/mkcomponent" ] || say "building mkcomponent (half a minute)"
    cargo build --quiet --locked --manifest-path "$PLUGINS/Cargo.toml" \
        --target-dir "$TOOLS/target" --package mkcomponent
    MKCOMPONENT="$TOOLS/target/debug/mkcomponent"
}

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
    recipe_build "$name" "$out"
    [ -n "$into" ] || write_lock "$name"
    printf '%-10s %-11s %9d bytes  %s\n' "$name" "$(language "$name")" \
        "$(wc -c <"$out")" "$(recipe_versions "$name")"
)

into=
if [ "${1:-}" = --into ]; then
    mkdir -p "${2:?--into needs a folder}"
    into=$(cd "$2" && pwd)
    shift 2
fi
names=$(chosen_plugins "$@")
for name in $names; do
    build "$name"
done
