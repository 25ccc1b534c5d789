#!/usr/bin/env bash
# Do the committed components still match their sources?
#
# check.sh                       compares hashes with what component.lock records; builds nothing
# check.sh --rebuild [NAME...]   also rebuilds those named, or all, and runs the same records
#                                through the rebuilt components and the committed ones
#
# The second is needed since toolchains do not build the same bytes twice.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

same() { # NAME WHAT FOUND ADVICE
    local recorded
    recorded=$(locked "$1" "$2")
    [ "$3" = "$recorded" ] && return
    say "$1: the hash of the $2 is $3, but component.lock records ${recorded:-none}; $4"
    failed=1
}

failed=
for name in $(all_plugins); do
    [ -f "$PLUGINS/$name/component.lock" ] || {
        say "$name: there is no component.lock; run plugins/build.sh $name"
        failed=1
        continue
    }
    same "$name" sources "$(sources_hash "$name")" "run plugins/build.sh $name and commit"
    same "$name" component "$(sha256 "$PLUGINS/$name/$name.wasm")" \
        "it was not made by plugins/build.sh"
done
[ -z "$failed" ] || exit 1
say "the committed components match their sources:" $(all_plugins)

[ "${1:-}" = --rebuild ] || exit 0
shift
rebuilt=$(mktemp -d)
trap 'rm -rf "$rebuilt"' EXIT
"$PLUGINS/build.sh" --into "$rebuilt" "$@"
cd "$PLUGINS/.."
MILLSTREAM_REBUILT="$rebuilt" cargo test --quiet --test it -- --ignored --exact \
    components::rebuilt_components_behave_like_the_committed_ones
