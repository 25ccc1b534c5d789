//! Finding and calling the compilers of other languages.

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context;

/// A program of a toolchain, and what to say when it is missing.
pub(super) struct Tool {
    /// Its names; the first that is there is taken.
    pub(super) names: &'static [&'static str],
    /// How to get it.
    pub(super) install: &'static str,
}

impl Tool {
    /// The program, from a `node_modules` or `.venv` of the folder or above it, or from the path.
    pub(super) fn find(&self, folder: &Path) -> anyhow::Result<PathBuf> {
        let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
        let above = folder.ancestors().flat_map(|above| {
            [above.join("node_modules/.bin"), above.join(".venv/bin"), above.join(".venv/Scripts")]
        });
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders: Vec<PathBuf> = above.chain(std::env::split_paths(&path)).collect();
        let endings: &[&str] = if cfg!(windows) { &[".exe", ".cmd"] } else { &[""] };
        let mut found = self.names.iter().flat_map(|name| {
            let folders = &folders;
            let file = move |ending| folders.iter().map(move |f| f.join(format!("{name}{ending}")));
            endings.iter().flat_map(file)
        });
        found.find(|file| file.is_file()).with_context(|| {
            format!("{} is not installed; {}", self.names.join(" or "), self.install)
        })
    }

    /// A call of it in a folder.
    pub(super) fn command(&self, folder: &Path) -> anyhow::Result<Command> {
        let mut command = Command::new(self.find(folder)?);
        command.current_dir(folder).stdin(Stdio::null());
        Ok(command)
    }
}

/// Runs a compiler; what it prints is shown if it fails.
pub(super) fn run(command: &mut Command) -> anyhow::Result<Vec<u8>> {
    let name = Path::new(command.get_program()).file_name().unwrap_or_default().to_owned();
    let name = name.to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("{name} cannot be run"))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = [&output.stdout[..], &output.stderr].concat();
    anyhow::bail!("{name} failed ({}):\n{}", output.status, String::from_utf8_lossy(&said).trim())
}

/// Installs what the `package.json` of a folder names, unless it is there or a folder above has it.
pub(super) fn npm_install(folder: &Path, tool: &Tool) -> anyhow::Result<()> {
    if tool.find(folder).is_ok() || !folder.join("package.json").exists() {
        return Ok(());
    }
    let npm = Tool { names: &["npm"], install: "it comes with Node.js, https://nodejs.org" };
    tracing::info!("npm installs what {} names", folder.join("package.json").display());
    let args = ["install", "--loglevel=error", "--no-audit", "--no-fund"];
    run(npm.command(folder)?.args(args)).map(drop)
}

/// Makes a folder; one that is there already will do.
pub(super) fn folder(path: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(path).with_context(|| format!("cannot make {}", path.display()))
}

/// Reads what a compiler should have left.
pub(super) fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| match path.exists() {
        true => format!("cannot read {}", path.display()),
        false => format!("the compiler left no {}", path.display()),
    })
}

/// Writes a file, unless it holds the same already: compilers look at its time.
pub(super) fn write(path: &Path, contents: impl AsRef<[u8]>) -> anyhow::Result<()> {
    let contents = contents.as_ref();
    match std::fs::read(path) {
        Ok(there) if there == contents => return Ok(()),
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot read {}", path.display()));
        }
        _ => {}
    }
    if let Some(parent) = path.parent() {
        folder(parent)?;
    }
    std::fs::write(path, contents).with_context(|| format!("cannot write {}", path.display()))
}

/// An argument of the form `-Wname=path`.
pub(super) fn joined(flag: &str, path: &Path) -> std::ffi::OsString {
    let mut argument = OsStr::new(flag).to_owned();
    argument.push(path);
    argument
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_told_with_how_to_get_it() {
        let tool = Tool { names: &["no-such-compiler", "nor-this"], install: "see its page" };
        let error = tool.find(Path::new(".")).unwrap_err().to_string();
        assert_eq!(error, "no-such-compiler or nor-this is not installed; see its page");
    }

    #[test]
    fn a_failure_shows_what_the_compiler_said() {
        let mut command = Command::new("sh");
        let error = run(command.args(["-c", "echo wrong; exit 3"])).unwrap_err().to_string();
        assert!(error.starts_with("sh failed (exit status: 3):\nwrong"), "{error}");
    }
}
