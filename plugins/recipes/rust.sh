# Rust: a crate of the workspace beside this folder, built for wasm32-unknown-unknown, which has no
# WASI at all. wit-bindgen leaves the world in the module.
#
# The target's standard library is rustup's if it is installed (`rustup target add
# wasm32-unknown-unknown`). Else it is built once from Debian's sources by Debian's compiler: only
# a compiler and a library of one version go together.

rust_target=wasm32-unknown-unknown

recipe_install() {
    local flags
    flags=$(remapped_paths)
    if [ -d "$(rustc --print sysroot)/lib/rustlib/$rust_target" ]; then
        RUSTC=$(rustup which rustc 2>/dev/null || command -v rustc)
    else
        apt_install rustc-web rust-web-src
        RUSTC=/usr/bin/rustc
        # The linker comes with rustup's host toolchain; Debian's compiler has none of its own.
        export PATH="$PATH:$(rustc --print sysroot)/lib/rustlib/$(host_triple)/bin"
        local sysroot
        sysroot="$TOOLS/rust-$("$RUSTC" -V | tr -c 'A-Za-z0-9.\n' - | cut -c1-40)"
        [ -d "$sysroot/lib" ] || build_std "$sysroot"
        flags="$flags --sysroot=$sysroot"
    fi
    export RUSTC CARGO_TARGET_DIR="$TOOLS/target"
    export CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS=$flags
}

recipe_versions() {
    "$RUSTC" -V
}

# The standard library as a sysroot, with bitcode in it for link-time optimisation.
build_std() { # SYSROOT
    say "building Rust's standard library for $rust_target, once (a minute)"
    local work="$TOOLS/std" libraries="$1.new/lib/rustlib/$rust_target/lib"
    rm -rf "$work" "$1.new"
    mkdir -p "$work/src" "$libraries"
    touch "$work/src/lib.rs"
    cat >"$work/Cargo.toml" <<'TOML'
[package]
name = "libs"
edition = "2024"

[profile.release]
panic = "abort"
TOML
    # Both settings that follow make the compiler take what is otherwise for nightly ones only.
    (cd "$work" && RUSTFLAGS="-Cembed-bitcode=yes $(remapped_paths)" RUSTC="$RUSTC" \
        RUSTC_BOOTSTRAP=1 cargo build --quiet --release --target $rust_target \
        -Zbuild-std=std,panic_abort,panic_unwind)
    cp "$work/target/$rust_target/release/deps/"*.rlib "$libraries"
    rm -rf "$libraries"/liblibs-*.rlib "$work"
    mv "$1.new" "$1"
}

# Panic messages name source files: not by where they lie on this machine.
remapped_paths() {
    local folder
    for folder in "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/; do
        printf -- '--remap-path-prefix=%s=crates ' "${folder%/}"
    done
    printf -- '--remap-path-prefix=%s=plugins' "$PLUGINS"
}

host_triple() {
    rustc -vV | sed -n 's/^host: //p'
}
