//! Makes a page's script and module of what cargo built for wasm32-unknown-unknown.
//!
//! `bindgen <release|dev> <input.wasm> <output folder>` writes `web.js` and `web_bg.wasm`.

use anyhow::{Context as _, bail};
use wasm_bindgen_cli_support::Bindgen;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [profile, input, output] = arguments.as_slice() else {
        bail!("usage: bindgen <release|dev> <input.wasm> <output folder>");
    };
    let dev = match profile.as_str() {
        "dev" => true,
        "release" => false,
        other => bail!("unknown profile {other:?}"),
    };
    let mut bindgen = Bindgen::new();
    bindgen.input_path(input).out_name("web").web(true)?.typescript(false).omit_default_module_path(false);
    bindgen.keep_debug(dev).remove_name_section(!dev).remove_producers_section(!dev);
    bindgen.generate(output).with_context(|| format!("can't make a page of {input}"))
}
