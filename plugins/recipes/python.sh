# Python: CPython and the plugin in one component. What the plugin imports is named by its
# requirements.txt, and lies in lib/ beside the source.

recipe_install() { # NAME
    if [ ! -x "$TOOLS/python/bin/componentize-py" ]; then
        say "installing componentize-py"
        python3 -m venv "$TOOLS/python"
        "$TOOLS/python/bin/pip" install --quiet --disable-pip-version-check componentize-py==0.25.1
    fi
    export PATH="$TOOLS/python/bin:$PATH"
    local needs="$PLUGINS/$1/requirements.txt"
    [ ! -f "$needs" ] || pip_install "$PLUGINS/$1/lib" $(cat "$needs")
}

recipe_versions() {
    "$TOOLS/python/bin/pip" --disable-pip-version-check freeze | sed -n 's/^componentize-py==/& /;s/==//p'
}
