# Zig, which is also a compiler of C and C++ with their libraries. It comes as a Python package.

zig_package=ziglang==0.17.1

recipe_install() {
    pip_install "$TOOLS/zig" "$zig_package"
    export PATH="$TOOLS/zig/ziglang:$PATH"
    export ZIG_LOCAL_CACHE_DIR="$TOOLS/target/zig" ZIG_GLOBAL_CACHE_DIR="$TOOLS/target/zig"
}

recipe_versions() {
    echo "zig $(zig version)"
}
