# C++: Zig has clang and libc++ in it.
source "$PLUGINS/recipes/zig.sh"
