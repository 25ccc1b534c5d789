# What build.sh and check.sh have in common: where things are, and which sources a component is of.

PLUGINS=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
WIT=$(cd "$PLUGINS/../wit" && pwd)
TOOLS=${MILLSTREAM_TOOLS:-$HOME/.cache/millstream-tools}
mkdir -p "$TOOLS/target"
TOOLS=$(cd "$TOOLS" && pwd)

say() {
    echo "plugins: $*" >&2
}

all_plugins() {
    awk '!/^#/ && NF { print $1 }' "$PLUGINS/components.txt"
}

# The plugins named, or all; a name that is none ends the script.
chosen_plugins() { # NAME...
    local name
    for name in "$@"; do
        language "$name" >/dev/null
        echo "$name"
    done
    [ $# -gt 0 ] || all_plugins
}

language() { # NAME
    column "$1" 2
}

world() { # NAME
    column "$1" 3
}

column() { # NAME COLUMN
    awk -v name="$1" -v column="$2" '$1 == name { print $column; found = 1 } END { exit !found }' \
        "$PLUGINS/components.txt" || {
        say "there is no plugin $1; there are:" $(all_plugins)
        exit 2
    }
}

sha256() { # FILE
    sha256sum "$1" | cut -d' ' -f1
}

# One hash over whatever makes the component what it is: its sources, the contract without its
# comments, the recipe and, where cargo has a part in it, the tool and the versions of all crates.
sources_hash() { # NAME
    local language
    language=$(language "$1")
    (
        cd "$PLUGINS/.."
        {
            find "plugins/$1" -type f ! -name '*.wasm' ! -name component.lock
            echo "plugins/recipes/$language.sh"
            [ "$language" = javascript ] ||
                find plugins/mkcomponent plugins/Cargo.toml plugins/Cargo.lock -type f
        } | LC_ALL=C sort | xargs sha256sum
        LC_ALL=C grep -hv '^ *//' wit/*.wit
        world "$1"
    ) | sha256sum | cut -d' ' -f1
}

locked() { # NAME WHAT: what component.lock records
    sed -n "s/^$2 *//p" "$PLUGINS/$1/component.lock"
}
