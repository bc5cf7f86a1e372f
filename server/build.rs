//! Packs the built dashboard into the binary.

use std::path::Path;
use std::{fs, io};

/// Where `scripts/web-build.sh` puts the dashboard.
const DASHBOARD: &str = "../web/dist";
/// Served until the dashboard has been built, so that the server can be built without it.
const PLACEHOLDER: &str = "<!doctype html><meta charset=utf-8><title>Grapevine</title>
<p>The dashboard isn't built: run <code>make build</code>. The API is described at <a href=../docs/>/docs</a>.
";

fn main() -> io::Result<()> {
    let index = Path::new(DASHBOARD).join("index.html");
    if !index.exists() {
        fs::create_dir_all(DASHBOARD)?;
        fs::write(index, PLACEHOLDER)?;
    }
    memory_serve::load_directory(DASHBOARD);
    Ok(())
}
