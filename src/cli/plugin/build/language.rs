//! The languages that a plugin can be built from here.

use std::fmt;

use clap::ValueEnum;
use serde::Deserialize;

/// A language with a build of its own. Any other that makes components does as well, without
/// `plugin build`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::cli::plugin) enum Language {
    Rust,
    Go,
    #[value(name = "javascript")]
    JavaScript,
    #[value(name = "typescript")]
    TypeScript,
    Python,
    C,
    Cpp,
    Zig,
    #[value(name = "assemblyscript")]
    AssemblyScript,
    Wat,
}

impl Language {
    /// The word in `plugin.toml` and on the command line.
    pub(in crate::cli::plugin) fn as_str(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::Go => "go",
            Self::JavaScript => "javascript",
            Self::TypeScript => "typescript",
            Self::Python => "python",
            Self::C => "c",
            Self::Cpp => "cpp",
            Self::Zig => "zig",
            Self::AssemblyScript => "assemblyscript",
            Self::Wat => "wat",
        }
    }

    /// The ending of a source file.
    pub(in crate::cli::plugin) fn extension(self) -> &'static str {
        match self {
            Self::Rust => "rs",
            Self::Go => "go",
            Self::JavaScript => "js",
            Self::TypeScript | Self::AssemblyScript => "ts",
            Self::Python => "py",
            Self::C => "c",
            Self::Cpp => "cpp",
            Self::Zig => "zig",
            Self::Wat => "wat",
        }
    }

    /// The plugin's main source file in its folder.
    pub(in crate::cli::plugin) fn source(self, name: &str) -> String {
        match self {
            Self::Rust => "src/lib.rs".to_owned(),
            // A module, whose name is an identifier.
            Self::Python => format!("{}.py", name.replace('-', "_")),
            _ => format!("{name}.{}", self.extension()),
        }
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_language_has_one_name() {
        for language in Language::value_variants() {
            let value = language.to_possible_value().unwrap();
            assert_eq!(value.get_name(), language.as_str());
            let text = format!("l = \"{language}\"");
            let read: std::collections::BTreeMap<String, Language> = toml::from_str(&text).unwrap();
            assert_eq!(read["l"], *language);
        }
    }
}
