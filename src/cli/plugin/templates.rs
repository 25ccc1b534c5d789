//! What `plugin new` writes: one small plugin of each kind in each language. The kinds do the same
//! in all of them, so that they pass the same test.

use super::build::Language;
use super::project::Kind;

type File = (&'static str, &'static str);

/// The files of every plugin, by their paths in its folder.
pub(super) const COMMON: [File; 3] = [
    ("plugin.toml", include_str!("templates/plugin.toml")),
    (".gitignore", include_str!("templates/gitignore")),
    ("tests/input.ndjson", include_str!("templates/tests/input.ndjson")),
];

/// What is to come of the test's records.
pub(super) fn expect(kind: Kind) -> &'static str {
    match kind {
        Kind::Filter => include_str!("templates/tests/filter.ndjson"),
        Kind::Transform => include_str!("templates/tests/transform.ndjson"),
        Kind::Route => include_str!("templates/tests/route.ndjson"),
    }
}

/// The end of `plugin.toml`: the configuration in the test.
pub(super) fn config(kind: Kind) -> &'static str {
    match kind {
        Kind::Filter => "\nconfig = { contains = \"error\" }\n",
        Kind::Transform | Kind::Route => "\n",
    }
}

/// What a language's compiler wants beside the source.
pub(super) fn beside(language: Language) -> &'static [File] {
    match language {
        Language::Rust => &[("Cargo.toml", include_str!("templates/rust/Cargo.toml.in"))],
        Language::Go => &[("go.mod", include_str!("templates/go/go.mod"))],
        Language::JavaScript => {
            &[("package.json", include_str!("templates/javascript/package.json"))]
        }
        Language::TypeScript => &[
            ("package.json", include_str!("templates/typescript/package.json")),
            ("tsconfig.json", include_str!("templates/typescript/tsconfig.json")),
        ],
        Language::Python => {
            &[("requirements.txt", include_str!("templates/python/requirements.txt"))]
        }
        Language::AssemblyScript => &[
            ("package.json", include_str!("templates/assemblyscript/package.json")),
            ("tsconfig.json", include_str!("templates/assemblyscript/tsconfig.json")),
        ],
        Language::C | Language::Cpp | Language::Zig | Language::Wat => &[],
    }
}

/// The source.
pub(super) fn source(language: Language, kind: Kind) -> &'static str {
    let [filter, transform, route] = match language {
        Language::Rust => [
            include_str!("templates/rust/filter.rs"),
            include_str!("templates/rust/transform.rs"),
            include_str!("templates/rust/route.rs"),
        ],
        Language::Go => [
            include_str!("templates/go/filter.go"),
            include_str!("templates/go/transform.go"),
            include_str!("templates/go/route.go"),
        ],
        Language::JavaScript => [
            include_str!("templates/javascript/filter.js"),
            include_str!("templates/javascript/transform.js"),
            include_str!("templates/javascript/route.js"),
        ],
        Language::TypeScript => [
            include_str!("templates/typescript/filter.ts"),
            include_str!("templates/typescript/transform.ts"),
            include_str!("templates/typescript/route.ts"),
        ],
        Language::Python => [
            include_str!("templates/python/filter.py"),
            include_str!("templates/python/transform.py"),
            include_str!("templates/python/route.py"),
        ],
        Language::C => [
            include_str!("templates/c/filter.c"),
            include_str!("templates/c/transform.c"),
            include_str!("templates/c/route.c"),
        ],
        Language::Cpp => [
            include_str!("templates/cpp/filter.cpp"),
            include_str!("templates/cpp/transform.cpp"),
            include_str!("templates/cpp/route.cpp"),
        ],
        Language::Zig => [
            include_str!("templates/zig/filter.zig"),
            include_str!("templates/zig/transform.zig"),
            include_str!("templates/zig/route.zig"),
        ],
        Language::AssemblyScript => [
            include_str!("templates/assemblyscript/filter.ts"),
            include_str!("templates/assemblyscript/transform.ts"),
            include_str!("templates/assemblyscript/route.ts"),
        ],
        Language::Wat => [
            include_str!("templates/wat/filter.wat"),
            include_str!("templates/wat/transform.wat"),
            include_str!("templates/wat/route.wat"),
        ],
    };
    match kind {
        Kind::Filter => filter,
        Kind::Transform => transform,
        Kind::Route => route,
    }
}
