# What build.sh, check.sh and table.sh have in common: where things are, which sources a component is
# of, and how toolchains are installed.

PLUGINS=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
TOOLS=${MILLSTREAM_TOOLS:-$HOME/.cache/millstream-tools}
mkdir -p "$TOOLS/target"
TOOLS=$(cd "$TOOLS" && pwd)
MILLSTREAM=${CARGO_TARGET_DIR:-$PLUGINS/../target}/debug/millstream

say() {
    echo "plugins: $*" >&2
}

all_plugins() {
    (cd "$PLUGINS" && printf '%s\n' */plugin.toml | sed 's#/.*##')
}

# Those whose component is too large to be committed.
large_plugins() {
    local name
    for name in $(all_plugins); do
        ! is_large "$name" || echo "$name"
    done
}

committed_plugins() {
    local name
    for name in $(all_plugins); do
        is_large "$name" || echo "$name"
    done
}

is_large() { # NAME
    case $(language "$1") in
    go | python) true ;;
    *) false ;;
    esac
}

# The plugins named, or those that a command gives; a name that is none ends the script.
chosen_plugins() { # COMMAND NAME...
    local command=$1 name
    shift
    for name in "$@"; do
        language "$name" >/dev/null
        echo "$name"
    done
    [ $# -gt 0 ] || "$command"
}

language() { # NAME
    field "$1" language
}

field() { # NAME FIELD: what plugin.toml says
    sed -n "s/^$2 = \"\(.*\)\"/\1/p" "$PLUGINS/$1/plugin.toml" 2>/dev/null | grep . || {
        say "there is no plugin $1; there are:" $(all_plugins)
        exit 2
    }
}

sha256() { # FILE
    sha256sum "$1" | cut -d' ' -f1
}

# One hash over whatever makes the component what it is: its sources, the part of the contract that
# it has to do with, without its comments, the bindings, the recipe and, where cargo has a part in
# it, the versions of all crates.
sources_hash() { # NAME
    local language kind
    language=$(language "$1")
    kind=$(field "$1" kind)
    (
        cd "$PLUGINS/.."
        {
            find "plugins/$1" -type f ! -path '*/tests/*' ! -path '*/gen/*' ! -path '*/build/*' \
                ! -path '*/lib/*' ! -path '*/node_modules/*' ! -name '*.wasm' \
                ! -name component.lock ! -name plugin.toml
            echo "plugins/recipes/$language.sh"
            case $language in
            rust)
                printf '%s\n' plugins/Cargo.toml plugins/Cargo.lock
                ! grep -q '"../sdk"' "plugins/$1/Cargo.toml" || find plugins/sdk -type f
                ;;
            c | cpp) echo src/cli/plugin/build/bindings/millstream.h ;;
            zig) echo src/cli/plugin/build/bindings/millstream.zig ;;
            assemblyscript) printf 'src/cli/plugin/build/bindings/%s.as.ts\n' millstream entry ;;
            esac
        } | LC_ALL=C sort | xargs sha256sum
        LC_ALL=C grep -hv '^ *//' wit/{types,config,context,logging}.wit "wit/$(interface "$kind").wit"
        echo "$kind"
    ) | sha256sum | cut -d' ' -f1
}

interface() { # KIND
    case $1 in
    filter) echo filter ;;
    transform) echo transformer ;;
    route) echo router ;;
    esac
}

locked() { # NAME WHAT: what component.lock records
    sed -n "s/^$2 *//p" "$PLUGINS/$1/component.lock"
}

build_millstream() {
    [ -x "$MILLSTREAM" ] || say "building millstream (some minutes)"
    cargo build --quiet --locked --manifest-path "$PLUGINS/../Cargo.toml" --bin millstream
}

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

# Python packages into a folder, unless it has just these.
pip_install() { # FOLDER PACKAGE...
    local folder=$1
    shift
    [ "$(cat "$folder/installed.txt" 2>/dev/null)" != "$*" ] || return 0
    say "installing $*"
    rm -rf "$folder"
    python3 -m pip install --quiet --no-deps --disable-pip-version-check \
        --root-user-action=ignore --target "$folder" "$@"
    echo "$*" >"$folder/installed.txt"
}

# What a plugin's package-lock.json names, into a folder of its own among the tools.
npm_install() { # NAME
    local folder="$TOOLS/npm-$1"
    if ! cmp -s "$PLUGINS/$1/package-lock.json" "$folder/installed.json"; then
        say "installing what $1/package-lock.json names"
        rm -rf "$folder"
        mkdir -p "$folder"
        cp "$PLUGINS/$1/package.json" "$PLUGINS/$1/package-lock.json" "$folder"
        # Not `npm ci`: it refuses the lock file, as some of the packages' variants for other
        # systems were never published. `npm install` takes the versions and hashes from it, too.
        (cd "$folder" && npm install --loglevel=error --no-audit --no-fund >/dev/null)
        cp "$PLUGINS/$1/package-lock.json" "$folder/installed.json"
    fi
    export PATH="$folder/node_modules/.bin:$PATH"
}

npm_versions() { # NAME PACKAGE...
    local name=$1 package versions=()
    shift
    for package in "$@"; do
        versions+=("$package $(node -p 'require(process.argv[1]).version' \
            "$TOOLS/npm-$name/node_modules/$package/package.json")")
    done
    (IFS=, && echo "${versions[*]}" | sed 's/,/, /g')
}

# What `millstream plugin new` writes, built, for each kind in FOLDER/LANGUAGE-KIND; then calls
# FUNCTION LANGUAGE. Each language in a shell of its own: recipes change the path.
with_each_language() { # FOLDER FUNCTION
    local name language kind
    for name in $(all_plugins); do
        language=$(language "$name")
        [ ! -d "$1/$language-filter" ] || continue
        (
            source "$PLUGINS/recipes/$language.sh"
            recipe_install "$name"
            for kind in filter transform route; do
                "$MILLSTREAM" plugin new "$language-$kind" --language "$language" --kind "$kind" \
                    --folder "$1/$language-$kind" >/dev/null
                "$MILLSTREAM" plugin build "$1/$language-$kind" >&2
            done
            "$2" "$language"
        )
    done
}
