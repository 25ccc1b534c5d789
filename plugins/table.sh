#!/usr/bin/env bash
# Prints the tables of docs/plugins.md: what `millstream plugin bench` measures of what `millstream
# plugin new` writes, which is the same in all languages, and of each example. Needs all toolchains,
# and installs them.
set -euo pipefail
unset RUSTC RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_TARGET
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
MILLSTREAM=${CARGO_TARGET_DIR:-$PLUGINS/../target}/release/millstream

# A row of each line of `plugin bench --json`.
examples_row() { # TOOLCHAIN
    TOOLCHAIN=$1 python3 -c '
import json, os, sys
m = json.loads(sys.stdin.readline())
size = m["component_bytes"]
size = f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.1f} kB"
cells = [m["plugin"], m["language"], os.environ["TOOLCHAIN"], size, "%d B" % m["value_bytes"],
         "%.1f µs" % (m["ns_per_record"] / 1e3), "%.1f MiB" % (m["memory_bytes"] / 2**20)]
print("|", " | ".join(cells), "|")'
}

examples() {
    local name
    echo '| plugin | language | toolchain | component | a record of | takes | memory |'
    echo '| --- | --- | --- | --: | --: | --: | --: |'
    for name in $(all_plugins); do
        (
            source "$PLUGINS/recipes/$(language "$name").sh"
            recipe_install "$name"
            [ -f "$PLUGINS/$name/$name.wasm" ] || "$PLUGINS/build.sh" "$name" >&2
            "$MILLSTREAM" plugin bench --json "$PLUGINS/$name" |
                examples_row "$(recipe_versions "$name" | sed 's/ (.*//')"
        )
    done
}

same_work() {
    made=$(mktemp -d)
    echo '| language | filter | transformer | router | component | memory |'
    echo '| --- | --: | --: | --: | --: | --: |'
    with_each_language "$made" same_row
    rm -rf "$made"
}

# Components and not folders are measured, so that all get the records that bench has of its own.
same_row() { # LANGUAGE
    local kind
    for kind in filter transform route; do
        "$MILLSTREAM" plugin bench --json --config contains=nowhere \
            "$made/$1-$kind/$1-$kind.wasm" | head -1
    done | MILLSTREAM_LANGUAGE=$1 python3 -c '
import json, os, sys
kinds = [json.loads(line) for line in sys.stdin]
size = kinds[0]["component_bytes"]
size = f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.1f} kB"
cells = [os.environ["MILLSTREAM_LANGUAGE"], *("%.1f µs" % (k["ns_per_record"] / 1e3) for k in kinds),
         size, "%.1f MiB" % max(k["memory_bytes"] / 2**20 for k in kinds)]
print("|", " | ".join(cells), "|")'
}

cargo build --quiet --locked --release --manifest-path "$PLUGINS/../Cargo.toml" --bin millstream
same_work
echo
examples
