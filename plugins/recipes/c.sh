# C: Zig has clang and wasi-libc in it.
source "$PLUGINS/recipes/zig.sh"
