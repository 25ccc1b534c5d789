# WebAssembly's text format: `millstream` reads it itself.

recipe_install() {
    :
}

recipe_versions() {
    echo "millstream"
}
