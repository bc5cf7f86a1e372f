//! The command blocks of the README, as a new user meets them: run as they stand, but for ports, addresses and folders,
//! which are this test's own. Two kinds are only checked, because they take minutes: `make` (that it has the target) and
//! `grapevine bench` (that it takes the flags).

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use server::log_lines::Line;
use tempfile::TempDir;

use crate::support::ports::free_ports;
use crate::support::process::{Process, applied, forwarded};
use crate::support::rabbit::Rabbit;

/// Which section has how many blocks, so that none is added without being tried below.
const SECTIONS: [(&str, usize); 7] = [
    ("Start", 2),
    ("Use", 2),
    ("Separate processes, with RabbitMQ", 1),
    ("Beside peers of the original", 1),
    ("Several machines", 1),
    ("The data directory", 1),
    ("Try the overlay", 1),
];
/// Before each block: a call that is refused fails, and `make` only says what it would do.
const PRELUDE: &str = r#"
set -euo pipefail
curl() { command curl --fail-with-body --show-error "$@"; }
make() { command make --dry-run -C "$ROOT" "$@"; }
"#;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn read(file: &str) -> String {
    std::fs::read_to_string(root().join(file)).unwrap()
}

/// Each block of shell commands, with the section that it stands in.
fn blocks() -> Vec<(String, String)> {
    let readme = read("README.md");
    let sections = readme.split("\n## ").skip(1).map(|section| section.split_once('\n').unwrap());
    let blocks = sections.flat_map(|(name, text)| {
        text.split("```sh\n").skip(1).map(move |rest| (name.to_owned(), rest.split("```").next().unwrap().to_owned()))
    });
    blocks.collect()
}

fn blocks_of(section: &str) -> Vec<String> {
    blocks().into_iter().filter(|(name, _)| name == section).map(|(_, block)| block).collect()
}

/// The words of each command of a block, what follows a `#` left out.
fn commands(block: &str) -> Vec<Vec<String>> {
    let lines = block.lines().map(|line| line.split('#').next().unwrap().split_whitespace().map(str::to_owned));
    lines.map(Iterator::collect::<Vec<_>>).filter(|words: &Vec<String>| !words.is_empty()).collect()
}

/// Starts a command that goes on until it is stopped; with some more words.
fn start(command: &[String], more: &[&str]) -> Process {
    let words: Vec<&str> = command.iter().map(String::as_str).chain(more.iter().copied()).collect();
    assert_eq!(words[0], "grapevine");
    Process::start(&words[1..])
}

/// A folder as a user's: with the README, and `grapevine` in the `PATH`.
struct Desk(TempDir);

impl Desk {
    fn new() -> Self {
        let desk = Self(tempfile::tempdir().unwrap());
        std::fs::create_dir(desk.path("bin")).unwrap();
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_grapevine"), desk.path("bin/grapevine")).unwrap();
        std::fs::copy(root().join("README.md"), desk.path("README.md")).unwrap();
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Runs a block to its end.
    fn runs(&self, block: &str) -> String {
        let path = format!("{}:{}", self.path("bin").display(), std::env::var("PATH").unwrap());
        let mut bash = Command::new("bash");
        bash.args(["-c", &format!("{PRELUDE}{block}")]).current_dir(self.0.path());
        bash.env("PATH", path).env("HOME", self.0.path()).env("ROOT", root()).env_remove("MAKEFLAGS");
        let done = bash.output().unwrap();
        let said = String::from_utf8_lossy(&done.stdout).into_owned();
        assert!(done.status.success(), "{block}\n{said}\n{}", String::from_utf8_lossy(&done.stderr));
        said
    }
}

#[test]
fn every_command_block_is_tried_here() {
    let mut found: Vec<(String, usize)> = Vec::new();
    for (section, _) in blocks() {
        match found.last_mut() {
            Some((last, count)) if *last == section => *count += 1,
            _ => found.push((section, 1)),
        }
    }
    assert_eq!(found, SECTIONS.map(|(section, count)| (section.to_owned(), count)));
}

#[test]
fn what_make_is_asked_for_is_there() {
    let desk = Desk::new();
    for block in blocks_of("Start") {
        desk.runs(&block);
    }
}

#[test]
fn a_file_is_uploaded_downloaded_replaced_shared_and_deleted_as_told() {
    let (desk, [port]) = (Desk::new(), free_ports());
    let data = desk.path("grapevine-data").display().to_string();
    let server = ["serve", "--port", &port.to_string(), "--peers", "2", "--peer-port", "0", "--data-dir", &data];
    let server = Process::start(&server);
    server.says(Line::Ready(None));
    for block in blocks_of("Use") {
        desk.runs(&block.replace("localhost:8000", &format!("localhost:{port}")));
    }
    assert_eq!(std::fs::read_to_string(desk.path("copy.md")).unwrap(), read("README.md"));
    server.says_all(&["[Bridge] forwarded event: ", "[P2P] event applied "]);
}

#[tokio::test(flavor = "multi_thread")]
async fn separate_processes_bring_an_upload_to_every_peer() {
    let (desk, rabbit) = (Desk::new(), Rabbit::start().await);
    let ports: [u16; 4] = free_ports();
    let mut block = blocks_of("Separate processes, with RabbitMQ").pop().unwrap();
    for (told, port) in ["9101", "9102", "9103", "8100"].into_iter().zip(ports) {
        block = block.replace(told, &port.to_string());
    }
    let block = block
        .replace("amqp://guest:guest@127.0.0.1:5672/%2f", &rabbit.url())
        .replace("separate-data", desk.path("separate-data").to_str().unwrap());
    let processes: Vec<Process> = commands(&block).iter().map(|command| start(command, &[])).collect();
    processes[4].says(Line::Ready(None));
    let upload =
        r#"curl -s http://localhost:8000/files -H "X-User-Id: alice" -F "uploaded=@README.md" | cut -d '"' -f 4"#;
    let file = desk.runs(&upload.replace("8000", &ports[3].to_string()));
    for peer in &processes[..3] {
        peer.says(applied("track_a"));
        peer.says(applied(file.trim()));
    }
    processes[3].says(forwarded(file.trim()));
    processes[2].says(Line::Learned(SocketAddr::from(([127, 0, 0, 1], ports[0]))));
}

#[test]
fn a_line_of_json_is_taken_as_from_the_original() {
    let (desk, [port]) = (Desk::new(), free_ports());
    let peer = Process::start(&["peer", "--port", &port.to_string()]);
    peer.says(Line::Listening(SocketAddr::from(([127, 0, 0, 1], port))));
    desk.runs(&blocks_of("Beside peers of the original")[0].replace("9001", &port.to_string()));
    peer.says(applied("track_b"));
}

#[test]
fn a_peer_on_another_machine_joins_through_the_server() {
    let (desk, [port]) = (Desk::new(), free_ports());
    let block = blocks_of("Several machines").pop().unwrap();
    let block = block
        .replace("10.0.0.1", "127.0.0.1")
        .replace("10.0.0.2", "127.0.0.2")
        .replace("9001", &port.to_string())
        .replace("/var/lib/grapevine", desk.path("peer").to_str().unwrap());
    let [server, peer] = commands(&block).try_into().unwrap();
    let data = desk.path("data").display().to_string();
    let own = ["--port", "0", "--peers", "1", "--peer-port", &port.to_string(), "--data-dir", &data];
    let server = start(&server, &own);
    server.says(Line::Ready(None));
    let peer = start(&peer, &[]);
    peer.says(Line::Connected(SocketAddr::from(([127, 0, 0, 1], port))));
    server.says(Line::Connected(SocketAddr::from(([127, 0, 0, 2], port))));
}

#[test]
fn the_data_directory_is_looked_after_as_told() {
    let desk = Desk::new();
    let data = desk.path("grapevine-data").display().to_string();
    let server = Process::start(&["serve", "--port", "0", "--peers", "1", "--peer-port", "0", "--data-dir", &data]);
    let line = server.says(server::log_lines::Line::Ready(None));
    let url = line.split_once("open ").unwrap().1.split_whitespace().next().unwrap();
    let block = blocks_of("The data directory").pop().unwrap();
    let (running, stopped): (Vec<&str>, Vec<&str>) = block.lines().partition(|line| line.contains("republish"));
    let said = desk.runs(&running.join("\n").replace("republish", &format!("republish {url}")));
    assert_eq!(said, "0 versions are being published again\n");
    assert!(server.terminate().success());
    assert!(desk.runs(&stopped.join("\n")).contains("0 faults"));
}

#[test]
fn the_overlay_can_be_tried() {
    let desk = Desk::new();
    let block = blocks_of("Try the overlay").pop().unwrap();
    let (long, short): (Vec<&str>, Vec<&str>) = block.lines().partition(|line| line.starts_with("grapevine bench"));
    assert!(desk.runs(&short.join("\n")).contains("partition"));
    for command in commands(&long.join("\n")) {
        let read = server::config::read(command.iter().map(OsString::from), |_| None);
        assert!(read.is_ok(), "{command:?}: {}", read.unwrap_err());
    }
}

#[test]
fn the_configuration_file_that_is_shown_is_understood() {
    let install = read("docs/INSTALL.md");
    let (_, rest) = install.split_once("```toml\n").unwrap();
    let desk = Desk::new();
    std::fs::write(desk.path("grapevine.toml"), rest.split("```").next().unwrap()).unwrap();
    let file = desk.path("grapevine.toml");
    let words = ["grapevine".as_ref(), "--config".as_ref(), file.as_os_str(), "serve".as_ref()];
    assert!(server::config::read(words.map(std::ffi::OsStr::to_owned), |_| None).is_ok());
}
