# JavaScript: one module, put together with the QuickJS engine. The file package-lock.json beside it
# says which one.

recipe_install() {
    npm_install "$1"
}

recipe_versions() { # NAME
    npm_versions "$1" componentize-qjs
}
