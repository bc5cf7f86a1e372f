//! `grapevine ... | head`: who reads the output leaves before the end, and the command ends without a word.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use server::log_lines::Line;

use crate::support::app::App;

/// How long a command may take to notice. Generous: the tests share two cores.
const PATIENCE: Duration = Duration::from_mins(1);

fn grapevine(words: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_grapevine"));
    command.args(words.split(' ')).env_clear().stdin(Stdio::null()).stderr(Stdio::piped());
    command
}

/// A pipe that nobody reads, from the first write on.
fn unread() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

/// Waits for the end, and gives the exit code and what was said meanwhile.
fn end_of(child: Child, words: &str) -> (Option<i32>, String) {
    let pid = Pid::from_child(&child);
    let (ended, end) = mpsc::channel();
    std::thread::spawn(move || ended.send(child.wait_with_output().unwrap()));
    let output = end.recv_timeout(PATIENCE).unwrap_or_else(|_| {
        kill_process(pid, Signal::KILL).unwrap();
        panic!("`grapevine {words}` goes on although nobody reads");
    });
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_that_prints_ends_quietly_when_nobody_reads_any_longer() {
    let app = App::start().await;
    let commands = [
        "--help".to_owned(),
        "--version".to_owned(),
        "serve --help".to_owned(),
        "concurrency --pace 1 --race-ms 1".to_owned(),
        "concurrency --pace 1 --race-ms 1 --json".to_owned(),
        "simulate --peers 4 --runs 1000000".to_owned(),
        "simulate --peers 4 --runs 1000000 --json".to_owned(),
        format!("watch {}", app.url("")),
        format!("watch {} --json", app.url("")),
        "bench gossip --nodes 2 --rest 600".to_owned(),
        "bench gossip --nodes 2 --phases idle --rest 0 --idle 0.1 --json".to_owned(),
    ];
    for words in commands {
        let child = grapevine(&words).stdout(unread()).spawn().unwrap();
        assert_eq!(end_of(child, &words), (Some(0), String::new()), "{words}");
    }
}

#[test]
fn a_command_goes_on_until_its_reader_leaves() {
    let words = "simulate --peers 4 --runs 1000000 --json";
    let mut child = grapevine(words).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for _ in 0..3 {
        assert!(lines.next().unwrap().unwrap().starts_with('{'));
    }
    drop(lines);
    assert_eq!(end_of(child, words), (Some(0), String::new()));
}

#[test]
fn what_cant_be_said_about_wrong_flags_is_no_panic() {
    for words in ["serve --peers 60", "server", "serve --config nowhere.toml"] {
        let child = grapevine(words).stdout(unread()).stderr(unread()).spawn().unwrap();
        assert_eq!(end_of(child, words).0, Some(2), "{words}");
    }
}

#[test]
fn a_server_whose_log_nobody_reads_any_longer_stops_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let words = format!("serve --port 0 --peer-port 0 --peers 2 --data-dir {}", dir.path().display());
    let mut child = grapevine(&words).stdout(Stdio::null()).spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
    let ready = Line::Ready(None).to_string();
    assert!(log.any(|line| line.unwrap().contains(&ready)));
    drop(log);
    // It has nothing to say until somebody uploads; that it stops is something.
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(end_of(child, &words).0, Some(0));
    // One that can't say anything at all doesn't wait for that.
    let child = grapevine(&words).stdout(Stdio::null()).stderr(unread()).spawn().unwrap();
    assert_ne!(end_of(child, &words).0, Some(101));
}
