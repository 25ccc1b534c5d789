# TypeScript: checked by its compiler, made one module by esbuild, put together with the QuickJS
# engine. The file package-lock.json beside it says which ones.

recipe_install() {
    npm_install "$1"
}

recipe_versions() { # NAME
    npm_versions "$1" componentize-qjs typescript esbuild
}
