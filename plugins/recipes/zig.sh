# Zig: NAME.zig for wasm32-freestanding, which has no WASI. The compiler comes as a Python package;
# the file requirements.txt beside the source says which one.

recipe_install() {
    install_mkcomponent
    zig_folder="$TOOLS/zig"
    if ! cmp -s "$PLUGINS/$1/requirements.txt" "$zig_folder/installed.txt"; then
        say "installing Zig"
        rm -rf "$zig_folder"
        python3 -m pip install --quiet --no-deps --disable-pip-version-check \
            --root-user-action=ignore --target "$zig_folder" -r "$PLUGINS/$1/requirements.txt"
        cp "$PLUGINS/$1/requirements.txt" "$zig_folder/installed.txt"
    fi
}

recipe_build() { # NAME OUT
    local core="$TOOLS/target/$1.core.wasm"
    zig build-exe -target wasm32-freestanding -OReleaseSafe -fno-entry -rdynamic -fstrip \
        --stack 65536 --cache-dir "$TOOLS/target/zig" --global-cache-dir "$TOOLS/target/zig" \
        --name "$1" -femit-bin="$core" "$PLUGINS/$1/$1.zig"
    "$MKCOMPONENT" "$core" "$2" "$WIT" "$(world "$1")"
}

recipe_versions() {
    echo "zig $(zig version)"
}

zig() {
    "$zig_folder/ziglang/zig" "$@"
}
