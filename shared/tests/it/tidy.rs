//! What a reader relies on and no other tool checks: imports point one way, and every file says what it holds.

use std::fs;
use std::path::{Path, PathBuf};

/// The longest file that needs no reason, in lines. A longer one says in its head why it is one idea.
const LONG: usize = 400;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn rust_files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            found.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

fn all_files() -> Vec<PathBuf> {
    let folders = [
        "shared/src",
        "shared/tests",
        "shared/fuzz/targets",
        "server/src",
        "server/tests",
        "simulator/src",
        "web/src",
        "web/tests",
    ];
    let there = folders.map(|folder| root().join(folder)).into_iter().filter(|folder| folder.exists());
    there.flat_map(|folder| rust_files(&folder)).collect()
}

/// Where imports point one way, each with its layers and their modules, from ARCHITECTURE.md: a crate (`server`) or a
/// module of one (`server/http`).
fn rooms() -> Vec<(String, Vec<Vec<String>>)> {
    let text = fs::read_to_string(root().join("docs/ARCHITECTURE.md")).unwrap();
    let block = text.split("```layers\n").nth(1).unwrap().split("```").next().unwrap();
    let names = |layer: &str| layer.split(',').map(|name| name.trim().to_owned()).collect();
    let rooms = block.lines().map(|line| line.split_once(':').unwrap());
    rooms.map(|(room, layers)| (room.to_owned(), layers.split('<').map(names).collect())).collect()
}

fn level(layers: &[Vec<String>], module: &str) -> Option<usize> {
    layers.iter().position(|layer| layer.iter().any(|name| name == module))
}

/// What a file imports from `prefix`, by the first name behind it; its tests left out.
fn imports(text: &str, prefix: &str) -> Vec<String> {
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    let code: String = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let mut names = Vec::new();
    for part in code.split(prefix).skip(1) {
        if let Some(group) = part.strip_prefix('{') {
            let inside = group.split('}').next().unwrap_or_default();
            names.extend(inside.split(',').map(|name| first_word(name.trim())));
        } else {
            names.push(first_word(part));
        }
    }
    names
}

fn first_word(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

#[test]
fn imports_point_one_way() {
    let mut wrong = Vec::new();
    let rooms = rooms();
    let named = [
        "shared",
        "server",
        "web",
        "shared/content",
        "shared/gossip",
        "shared/wire",
        "server/http",
        "server/peer",
        "server/store",
        "server/bench",
    ];
    assert!(named.iter().all(|name| rooms.iter().any(|(room, _)| room == name)));
    for (room, layers) in rooms {
        let (crate_name, module) = room.split_once('/').map_or((&*room, None), |(name, module)| (name, Some(module)));
        let prefix = module.map_or("crate::".to_owned(), |module| format!("crate::{module}::"));
        let src = root().join(crate_name).join("src").join(module.unwrap_or_default());
        for path in rust_files(&src) {
            let inside = path.strip_prefix(&src).unwrap();
            let own_name = inside.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs").to_owned();
            if ["lib", "main"].contains(&own_name.as_str()) {
                continue;
            }
            let Some(own) = level(&layers, &own_name) else {
                wrong.push(format!("{room}: {own_name} has no layer"));
                continue;
            };
            for name in imports(&fs::read_to_string(&path).unwrap(), &prefix) {
                // What a module's own file declares has no layer: all in it may use that.
                let other = level(&layers, &name);
                let is_above = other.map_or(module.is_none(), |other| other >= own);
                if name != own_name && is_above {
                    wrong.push(format!("{room}: {} may not import {name}", inside.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn who_speaks_to_peers_has_one_way_to_them() {
    let speaks = |path: &Path| {
        let inside = path.strip_prefix(root().join("server/src")).unwrap();
        let part = inside.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs").to_owned();
        ["peer", "bridge", "client", "contact", "swarm"].contains(&part.as_str())
    };
    let others: Vec<_> = rust_files(&root().join("server/src"))
        .into_iter()
        .filter(|path| speaks(path))
        .filter(|path| {
            let text = fs::read_to_string(path).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            ["TcpStream", "dial::connect", "listener.accept()"].iter().any(|way| code.contains(way))
        })
        .collect();
    assert!(others.is_empty(), "connections that server/src/connection.rs doesn't know of, in {others:#?}");
}

#[test]
fn what_leaves_a_process_is_in_wire() {
    // The formats, the ids in them, and the reports of `--json`.
    let may = ["shared/src/wire", "shared/src/ids", "shared/src/stamp", "shared/src/sim/", "server/src/bench"];
    let others = all_files().into_iter().filter(|path| {
        let place = path.strip_prefix(root()).unwrap().to_str().unwrap();
        place.contains("/src/") && !may.iter().any(|begin| place.starts_with(begin))
    });
    let serialized = others.filter(|path| {
        let text = fs::read_to_string(path).unwrap();
        text.lines().any(|line| line.trim_start().starts_with("#[derive(") && line.contains("Serialize"))
    });
    assert_eq!(serialized.collect::<Vec<_>>(), Vec::<PathBuf>::new());
}

#[test]
fn every_file_says_what_it_holds() {
    let silent: Vec<_> =
        all_files().into_iter().filter(|path| !fs::read_to_string(path).unwrap().starts_with("//! ")).collect();
    assert!(silent.is_empty(), "no `//!` at the top of {silent:#?}");
}

#[test]
fn a_long_file_has_a_reason() {
    let unexplained: Vec<_> = all_files()
        .into_iter()
        .map(|path| (fs::read_to_string(&path).unwrap(), path))
        .filter(|(text, _)| {
            let code = text.split("#[cfg(test)]\nmod").next().unwrap_or_default();
            code.lines().count() > LONG && !text.contains("//! Long because")
        })
        .map(|(_, path)| path)
        .collect();
    assert!(unexplained.is_empty(), "over {LONG} lines without `//! Long because …`: {unexplained:#?}");
}
