//! `grapevine bench gossip` as a person runs it, with few peers and for a short time.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::app::eventually;

/// Some words, and what keeps every run short.
fn bench(words: &str) -> Output {
    let short = "--nodes 4 --rest 0 --idle 0.1 --rounds 2 --burst 50 --versions 300 --stop 0.5 --busy 1 --json";
    Command::new(env!("CARGO_BIN_EXE_grapevine"))
        .args(["bench", "gossip"])
        .args(short.split(' ').chain(words.split(' ')))
        .env_remove("RUST_LOG")
        .output()
        .unwrap()
}

fn figures(words: &str) -> Value {
    let output = bench(words);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn both_systems_are_measured_and_nothing_is_lost() {
    let figures = figures("--phases idle,alone,streams");
    for system in ["baseline", "grapevine"] {
        assert_eq!(figures[system]["lost"], 0, "{figures:#}");
        assert_eq!(figures[system]["burst"]["updates"], 50);
    }
    for ratio in ["last_delivery_p50", "saturation", "cpu_per_delivery"] {
        assert!(figures["ratio"][ratio].as_f64().unwrap() > 0.0, "{ratio}: {figures:#}");
    }
}

#[test]
fn a_newcomer_and_an_outdated_peer_get_what_they_lack() {
    let figures = figures("--phases newcomer,difference,versions --files 1000");
    assert_eq!(figures["baseline"], Value::Null);
    let ours = &figures["grapevine"];
    assert_eq!(ours["lost"], 0, "{figures:#}");
    assert_eq!(ours["newcomer"]["files"], 1000);
    let bytes = |phase: &str| ours[phase]["bytes"].as_f64().unwrap();
    assert!(bytes("difference") < bytes("newcomer") / 2.0, "{figures:#}");
}

/// Whether the tests themselves run in a network namespace of their own, where a split would be made.
fn only_loopback() -> bool {
    std::fs::read_to_string("/proc/self/net/dev").unwrap().lines().filter(|line| line.contains(':')).count() == 1
}

#[test]
fn the_network_is_split_only_in_a_namespace_of_its_own() {
    if only_loopback() {
        return;
    }
    let output = bench("--phases split");
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("the network can't be split") && said.lines().count() == 1, "{said}");
}

/// What a process has open for the bench that has a place in a file system.
fn files_of(process: &Path) -> Vec<PathBuf> {
    let links = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
    let files = links.filter_map(|link| fs::read_link(link.path()).ok());
    let named = files.filter(|file| file.to_string_lossy().contains("grapevine-bench"));
    named.filter(|file| !file.to_string_lossy().starts_with("/memfd:")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_run_leaves_neither_files_nor_processes() {
    let mut run = Command::new(env!("CARGO_BIN_EXE_grapevine"))
        .args("bench gossip --nodes 4 --phases idle --rest 0 --idle 600".split(' '))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let pid = Pid::from_child(&run);
    let own = PathBuf::from(format!("/proc/{}", pid.as_raw_nonzero()));
    let mut lines = BufReader::new(run.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("baseline")), "it has begun");
    let children = || -> Vec<PathBuf> {
        let tasks = fs::read_dir(own.join("task")).into_iter().flatten().flatten();
        let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok()).collect::<String>();
        lists.split_whitespace().map(|pid| format!("/proc/{pid}").into()).collect()
    };
    eventually("four processes run", async || children().len() == 4).await;
    let family = [vec![own.clone()], children()].concat();
    for process in &family {
        assert_eq!(files_of(process), [""; 0].map(PathBuf::from), "{}", process.display());
    }
    kill_process(pid, Signal::INT).unwrap();
    run.wait().unwrap();
    eventually("nobody is left", async || family.iter().all(|process| !process.exists())).await;
}
