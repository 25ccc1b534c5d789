//! Makes a component of a core module: what a language's own toolchain leaves undone when it knows
//! nothing of components.
//!
//! `mkcomponent CORE OUT` for a module that carries its world already, as wit-bindgen leaves it;
//! `mkcomponent CORE OUT WIT WORLD` for one that does not: the world is read from the folder WIT.

use std::path::Path;
use std::{env, fs};

use anyhow::{Context, Result, bail};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (core, out, world) = match arguments[..] {
        [core, out] => (core, out, None),
        [core, out, wit, world] => (core, out, Some((wit, world))),
        _ => bail!("usage: mkcomponent CORE OUT [WIT WORLD]"),
    };
    let mut module = fs::read(core).with_context(|| format!("cannot read {core}"))?;
    if let Some((wit, world)) = world {
        embed(&mut module, wit, world)?;
    }
    let component = ComponentEncoder::default().validate(true).module(&module)?.encode()?;
    fs::write(out, component).with_context(|| format!("cannot write {out}"))
}

/// Puts the world into the module, as a custom section.
fn embed(module: &mut Vec<u8>, wit: &str, world: &str) -> Result<()> {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_path(Path::new(wit))?;
    let world = resolve.select_world(&[package], Some(world))?;
    embed_component_metadata(module, &resolve, world, StringEncoding::UTF8, false)
}
