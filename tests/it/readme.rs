//! Every command of the README, as a newcomer types it, from the root of the checkout.
//!
//! The two that build are CI's own steps; the others run here, in order, with the binary on the
//! path and a broker's ports taken from the environment.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::util::{lines, millstream, run, signal, stdout, succeeded, wait};

fn readme() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    std::fs::read_to_string(path).unwrap()
}

/// The contents of the fenced blocks of a language.
pub(crate) fn blocks(readme: &str, language: &str) -> Vec<String> {
    let opening = format!("```{language}");
    let mut blocks = Vec::new();
    let mut lines = readme.lines();
    while lines.by_ref().any(|line| line == opening) {
        let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        blocks.push(block.join("\n"));
    }
    blocks
}

struct Serving(Child);

impl Drop for Serving {
    fn drop(&mut self) {
        // Either fails only when it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_first_command_prints_what_the_readme_shows() {
    let readme = readme();
    let command = blocks(&readme, "sh").remove(0);
    let args = command.strip_prefix("cargo run -- ").unwrap();
    let args: Vec<&str> = args.split_whitespace().collect();
    let printed = succeeded(&run(&args));
    let shown = blocks(&readme, "text").remove(0);
    // Ports, time and the places of keyless records differ from run to run.
    let counts = |text: &str| -> Vec<String> {
        let table = text.lines().skip_while(|line| !line.trim_start().starts_with("pipeline"));
        table.take_while(|line| !line.contains("through in")).map(str::to_owned).collect()
    };
    assert!(counts(&shown).len() > 8, "{shown}");
    assert_eq!(counts(&printed), counts(&shown));
}

#[test]
fn every_command_does_what_it_says() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["examples", "plugins"] {
        let target = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
        std::os::unix::fs::symlink(target, folder.path().join(name)).unwrap();
    }
    let commands: Vec<String> =
        blocks(&readme(), "sh").iter().flat_map(|b| b.lines()).map(str::to_owned).collect();
    let [first, test, serve, clients @ ..] = &commands[..] else { panic!("{commands:?}") };
    assert!(first.starts_with("cargo run -- dev "));
    assert_eq!(test, "cargo test");

    let here = |command: &str| -> Command {
        let mut words = command.split_whitespace();
        assert_eq!(words.next(), Some("millstream"), "{command}");
        let mut program = millstream();
        program.args(words).current_dir(folder.path());
        program
    };
    let mut serving = here(serve);
    serving.env("MILLSTREAM_KAFKA", "127.0.0.1:0").env("MILLSTREAM_HTTP", "127.0.0.1:0");
    let mut serving = Serving(serving.stdout(Stdio::piped()).spawn().unwrap());
    let printed = lines(serving.0.stdout.take().unwrap());
    let http = loop {
        let line = printed.recv().unwrap();
        if let Some(url) = line.strip_prefix("http ") {
            break url.trim().to_owned();
        }
    };
    assert!(clients.len() >= 5, "{clients:?}");
    for command in clients {
        let output = here(command).env("MILLSTREAM_SERVER", &http).output().unwrap();
        assert!(output.status.success(), "{command}: {output:?}");
        assert!(!stdout(&output).is_empty(), "{command} printed nothing");
    }
    signal(serving.0.id(), "TERM");
    assert!(wait(&mut serving.0).success());
}

#[test]
fn the_manifest_of_the_readme_is_a_good_one() {
    let folder = tempfile::tempdir().unwrap();
    let strong = Path::new(env!("CARGO_MANIFEST_DIR")).join("plugins/strong/strong.wasm");
    std::fs::copy(strong, folder.path().join("strong.wasm")).unwrap();
    let manifest = folder.path().join("readme.toml");
    std::fs::write(&manifest, blocks(&readme(), "toml").remove(0)).unwrap();
    succeeded(&run(&["dev", manifest.to_str().unwrap(), "--once"]));
}
