//! The contract as this binary carries it, and bindings to it for languages without a generator of
//! their own. They are written to the plugin's folder, anew with each build.

use super::language::Language;
use super::sdk;
use super::tools::write as write_file;
use crate::cli::plugin::project::{Kind, Project};

/// The files of `wit/`.
pub(super) const WIT: &[(&str, &str)] = &[
    ("config.wit", include_str!("../../../../wit/config.wit")),
    ("context.wit", include_str!("../../../../wit/context.wit")),
    ("filter.wit", include_str!("../../../../wit/filter.wit")),
    ("logging.wit", include_str!("../../../../wit/logging.wit")),
    ("processor.wit", include_str!("../../../../wit/processor.wit")),
    ("router.wit", include_str!("../../../../wit/router.wit")),
    ("transformer.wit", include_str!("../../../../wit/transformer.wit")),
    ("types.wit", include_str!("../../../../wit/types.wit")),
];

/// Writes what the plugin's source includes or imports to `gen/`.
pub(in crate::cli::plugin) fn write(project: &Project) -> anyhow::Result<()> {
    let about = &project.plugin;
    for (name, text) in files(about.language, about.kind, &about.name) {
        write_file(&project.folder.join("gen").join(name), text)?;
    }
    Ok(())
}

/// The files of a language, by their paths in `gen/`.
fn files(language: Language, kind: Kind, name: &str) -> Vec<(String, String)> {
    let file = |name: &str, text: &str| (name.to_owned(), text.to_owned());
    match language {
        Language::Rust => sdk::files(),
        Language::Python | Language::JavaScript => wit(),
        Language::TypeScript => {
            let types = file("millstream.d.ts", include_str!("bindings/millstream.d.ts"));
            wit().into_iter().chain([types]).collect()
        }
        Language::C | Language::Cpp => {
            let define = format!("#define MILLSTREAM_{}\n", kind.as_str().to_uppercase());
            let text = define + include_str!("bindings/millstream.h");
            vec![("millstream.h".to_owned(), text)]
        }
        Language::Zig => vec![file("millstream.zig", include_str!("bindings/millstream.zig"))],
        Language::Go => {
            let kind = match kind {
                Kind::Filter => include_str!("bindings/filter.go"),
                Kind::Transform => include_str!("bindings/transform.go"),
                Kind::Route => include_str!("bindings/route.go"),
            };
            let both = include_str!("bindings/millstream.go");
            vec![file("millstream.go", both), file("kind.go", kind)]
        }
        Language::AssemblyScript => {
            let (function, results) = match kind {
                Kind::Filter => ("keep", "keeps"),
                Kind::Transform => ("transform", "emits"),
                Kind::Route => ("route", "routes"),
            };
            let entry = include_str!("bindings/entry.as.ts")
                .replace("FUNCTION", function)
                .replace("RESULTS", results)
                .replace("SOURCE", name);
            let both = include_str!("bindings/millstream.as.ts");
            vec![file("millstream.ts", both), ("entry.ts".to_owned(), entry)]
        }
        Language::Wat => Vec::new(),
    }
}

/// The contract itself, for generators.
fn wit() -> Vec<(String, String)> {
    WIT.iter().map(|(name, text)| (format!("wit/{name}"), (*text).to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_contract_is_all_of_the_folder() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/wit");
        let mut there: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.ends_with(".wit"))
            .collect();
        there.sort();
        let carried: Vec<&str> = WIT.iter().map(|(name, _)| *name).collect();
        assert_eq!(there, carried);
    }
}
