//! Makes what a browser fetches of what cargo built for wasm32-unknown-unknown.
//!
//! `pack bind <release|dev> <name>.wasm <output folder>` writes `<name>.js` and `<name>_bg.wasm`.
//! `pack compress <file>...` writes `<file>.br` beside each, where that is smaller.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, bail};
use brotli::CompressorWriter;
use wasm_bindgen_cli_support::Bindgen;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["bind", "release", input, output] => bind(false, input, output),
        ["bind", "dev", input, output] => bind(true, input, output),
        ["compress", files @ ..] => files.iter().try_for_each(|file| compress(file)),
        _ => bail!("usage: pack bind <release|dev> <name>.wasm <output folder> | pack compress <file>..."),
    }
}

fn bind(dev: bool, input: &str, output: &str) -> anyhow::Result<()> {
    let mut bindgen = Bindgen::new();
    bindgen.input_path(input).web(true)?.typescript(false).omit_default_module_path(false);
    bindgen.keep_debug(dev);
    bindgen.generate(output).with_context(|| format!("can't make a page of {input}"))?;
    if dev { Ok(()) } else { strip(input, output) }
}

/// Takes comments and indentation out of the script. Nothing in it is a text of several lines.
fn strip(input: &str, output: &str) -> anyhow::Result<()> {
    let name = Path::new(input).file_stem().with_context(|| format!("{input} has no name"))?;
    let script = Path::new(output).join(name).with_extension("js");
    let text = fs::read_to_string(&script).with_context(|| format!("can't read {}", script.display()))?;
    let lines = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !["//", "/*", "*"].iter().any(|begin| line.starts_with(begin)));
    fs::write(&script, lines.collect::<Vec<_>>().join("\n") + "\n")
        .with_context(|| format!("can't write {}", script.display()))
}

/// As small as brotli can.
fn compress(file: &str) -> anyhow::Result<()> {
    let plain = fs::read(file).with_context(|| format!("can't read {file}"))?;
    let mut writer = CompressorWriter::new(Vec::new(), 4096, 11, 22);
    writer.write_all(&plain)?;
    let small = writer.into_inner();
    if small.len() < plain.len() {
        let file = format!("{file}.br");
        fs::write(&file, small).with_context(|| format!("can't write {file}"))?;
    }
    Ok(())
}
