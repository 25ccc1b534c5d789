#!/usr/bin/env bash
# Prints the table of languages in docs/plugins.md: what `millstream plugin bench` measures of each
# plugin, and by what it was built. Those that are not committed must have been built.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

toolchain() ( # NAME
    name=$1
    if is_large "$name"; then
        source "$PLUGINS/recipes/$(language "$name").sh"
        recipe_install "$name"
        recipe_versions "$name"
    else
        locked "$name" toolchain | sed 's/ (.*//'
    fi
)

MILLSTREAM=${CARGO_TARGET_DIR:-$PLUGINS/../target}/release/millstream
cargo build --quiet --locked --release --manifest-path "$PLUGINS/../Cargo.toml" --bin millstream
echo '| plugin | language | toolchain | component | a record of | takes | memory |'
echo '| --- | --- | --- | --: | --: | --: | --: |'
for name in $(all_plugins); do
    "$MILLSTREAM" plugin bench --json "$PLUGINS/$name" | head -1 |
        TOOLCHAIN=$(toolchain "$name") python3 -c '
import json, os, sys
m = json.load(sys.stdin)
size = m["component_bytes"]
size = f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.1f} kB"
time, memory = m["ns_per_record"] / 1e3, m["memory_bytes"] / 2**20
cells = [m["plugin"], m["language"], os.environ["TOOLCHAIN"], size, "%d B" % m["value_bytes"],
         f"{time:.1f} µs", f"{memory:.1f} MiB"]
print("|", " | ".join(cells), "|")'
done
