#!/usr/bin/env bash
# Do the committed components still match their sources, and does every language still work?
#
# check.sh                       compares hashes with what component.lock records; builds nothing
# check.sh --rebuild [NAME...]   also rebuilds those named, or all that are committed, and runs the
#                                same records through the rebuilt components and the committed ones
# check.sh --large               builds those that are too large to be committed, tests them, and
#                                runs the pipeline of ten languages
# check.sh --new                 makes, builds and tests what `millstream plugin new` writes: each
#                                kind in each language
#
# The second is needed since toolchains do not build the same bytes twice. The last two must be
# through in $MILLSTREAM_BUDGET seconds each, by default 600.
set -euo pipefail
unset RUSTC RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_TARGET
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
budget=${MILLSTREAM_BUDGET:-600}

same() { # NAME WHAT FOUND ADVICE
    local recorded
    recorded=$(locked "$1" "$2")
    [ "$3" = "$recorded" ] && return
    say "$1: the hash of the $2 is $3, but component.lock records ${recorded:-none}; $4"
    failed=1
}

match_sources() {
    local name failed=
    for name in $(committed_plugins); do
        [ -f "$PLUGINS/$name/component.lock" ] || {
            say "$name: there is no component.lock; run plugins/build.sh $name"
            failed=1
            continue
        }
        same "$name" sources "$(sources_hash "$name")" "run plugins/build.sh $name and commit"
        same "$name" component "$(sha256 "$PLUGINS/$name/$name.wasm")" \
            "it was not made by plugins/build.sh"
    done
    [ "$("$PLUGINS/yardstick/build.sh" --hash)" = "$(cat "$PLUGINS/yardstick/sources.lock")" ] || {
        say "yardstick: its components are of other sources; run plugins/yardstick/build.sh and commit"
        failed=1
    }
    [ -z "$failed" ] || exit 1
    say "the committed components match their sources:" $(committed_plugins)
}

rebuild() { # NAME...
    local rebuilt
    rebuilt=$(folder)
    "$PLUGINS/build.sh" --into "$rebuilt" $(chosen_plugins committed_plugins "$@")
    MILLSTREAM_REBUILT="$rebuilt" ignored_test \
        components::rebuilt_components_behave_like_the_committed_ones
}

build_large() {
    local name
    "$PLUGINS/build.sh" $(large_plugins)
    for name in $(large_plugins); do
        "$MILLSTREAM" plugin test "$PLUGINS/$name"
    done
    ignored_test languages::a_pipeline_of_ten_languages
}

try_new() {
    made=$(folder)
    build_millstream
    with_each_language "$made" try_language
    try_rust_on_wasi "$scratch/rust-wasi"
    "$MILLSTREAM" plugin bench --time-ms 200 "$made"/*
}

try_language() { # LANGUAGE
    local kind expected fixtures=$PLUGINS/../tests/fixtures/plugins
    for kind in filter transform route; do
        "$MILLSTREAM" plugin test "$made/$1-$kind" >/dev/null
    done
    expected=$fixtures/records-shouted.ndjson
    if [ "$1" = rust ]; then
        # Its SDK keeps the record without a value, which the others send as it was.
        sed '2s/.*/{"line":2,"outcome":"keep"}/' "$expected" >"$scratch/kept.ndjson"
        expected=$scratch/kept.ndjson
    fi
    # Every part of a record goes in and comes out of every language's bindings.
    "$MILLSTREAM" plugin test "$made/$1-transform" --records \
        --input "$fixtures/records.ndjson" --expect "$expected"
}

# Rust's standard library on WASI 0.2: clocks, random numbers, output; no file, no argument.
try_rust_on_wasi() { # FOLDER
    local target=wasm32-wasip2
    [ -d "$(rustc --print sysroot)/lib/rustlib/$target" ] ||
        timeout 120 rustup target add $target >/dev/null 2>&1 || {
        say "rust on WASI: not tried, rustup does not get $target"
        return
    }
    "$MILLSTREAM" plugin new asks --language rust --kind transform --folder "$1" >/dev/null
    cp "$PLUGINS/../tests/fixtures/plugins/rust-wasi.rs" "$1/src/lib.rs"
    sed -i 's/^kind = .*/&\nwasi = true/' "$1/plugin.toml"
    echo 'asked' >"$1/tests/input.ndjson"
    echo '{"line":1,"outcome":"emit","records":[{"timestamp":0,"value":"asked true true 2 0 false"}]}' \
        >"$1/tests/expect.ndjson"
    "$MILLSTREAM" plugin build "$1" >&2
    "$MILLSTREAM" plugin test "$1"
}

ignored_test() { # NAME
    (cd "$PLUGINS/.." && cargo test --quiet --test it -- --ignored --exact "$1")
}

folder() {
    mktemp -d -p "$scratch"
}

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
case ${1:-} in
'') match_sources ;;
--rebuild) match_sources && rebuild "${@:2}" ;;
--large) build_large ;;
--new) try_new ;;
*) say "not understood: $1" && exit 2 ;;
esac
if [ "${1:-}" = --large ] || [ "${1:-}" = --new ]; then
    say "$1 took $SECONDS seconds, $budget are allowed"
    [ "$SECONDS" -le "$budget" ]
fi
