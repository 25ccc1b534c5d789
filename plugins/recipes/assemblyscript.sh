# AssemblyScript. The file package-lock.json beside the source says which one.

recipe_install() {
    npm_install "$1"
}

recipe_versions() { # NAME
    npm_versions "$1" assemblyscript
}
