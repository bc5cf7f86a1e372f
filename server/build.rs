//! Lists the files of the built dashboard for `src/http/ui.rs`, which has them in it.

use std::path::Path;
use std::{env, fs, io};

/// Where `scripts/web-build.sh` puts the dashboard.
const DASHBOARD: &str = "../web/dist";
/// Served until the dashboard has been built, so that the server can be built without it.
const PLACEHOLDER: &str = "<!doctype html><meta charset=utf-8><title>Grapevine</title>
<p>The dashboard isn't built: run <code>make build</code>. The API is described at <a href=../docs/>/docs</a>.
";

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed={DASHBOARD}");
    let index = Path::new(DASHBOARD).join("index.html");
    if !index.exists() {
        fs::create_dir_all(DASHBOARD)?;
        fs::write(index, PLACEHOLDER)?;
    }
    let folder = Path::new(DASHBOARD).canonicalize()?;
    let mut list = String::from("&[\n");
    for entry in fs::read_dir(&folder)? {
        let name = entry?.file_name();
        if let Some(name) = name.to_str().filter(|name| is_page(name)) {
            list += &file(&folder, name);
        }
    }
    list.push(']');
    let out = env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("cargo names no OUT_DIR"))?;
    fs::write(Path::new(&out).join("dashboard.rs"), list)
}

/// Neither hidden nor a compressed form of another file.
fn is_page(name: &str) -> bool {
    let is_compressed = Path::new(name).extension().is_some_and(|extension| extension == "br" || extension == "gz");
    !name.starts_with('.') && !is_compressed
}

/// One file as a Rust expression: as it is, and in the compressed forms that are there.
fn file(folder: &Path, name: &str) -> String {
    let form = |extension: &str| {
        let path = folder.join(format!("{name}{extension}"));
        if path.exists() { format!("include_bytes!({:?})", path.display().to_string()) } else { "&[]".to_owned() }
    };
    format!("File {{ name: {name:?}, plain: {}, brotli: {}, gzip: {} }},\n", form(""), form(".br"), form(".gz"))
}
