# JavaScript: one module, NAME.js, put together with the QuickJS engine. The file package-lock.json
# beside it says which one.

recipe_install() {
    local folder="$TOOLS/javascript"
    if ! cmp -s "$PLUGINS/$1/package-lock.json" "$folder/installed.json"; then
        say "installing componentize-qjs"
        mkdir -p "$folder"
        cp "$PLUGINS/$1/package.json" "$PLUGINS/$1/package-lock.json" "$folder"
        # Not `npm ci`: it refuses the lock file, as some of the package's variants for other
        # systems were never published. `npm install` takes the versions and hashes from it, too.
        (cd "$folder" && npm install --loglevel=error --no-audit --no-fund >/dev/null)
        cp "$PLUGINS/$1/package-lock.json" "$folder/installed.json"
    fi
    componentize="$folder/node_modules/.bin/componentize-qjs"
}

# No WASI, and no async: the host offers neither.
recipe_build() { # NAME OUT
    "$componentize" --wit "$WIT" --world "$(world "$1")" --js "$PLUGINS/$1/$1.js" \
        --sync --stub-wasi --opt-size --output "$2" >/dev/null
}

recipe_versions() {
    echo "componentize-qjs $(node -p 'require(process.argv[1]).version' \
        "$TOOLS/javascript/node_modules/componentize-qjs/package.json")"
}
