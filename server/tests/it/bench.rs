//! `grapevine bench gossip` as a person runs it, with few peers and for a short time.

use std::process::{Command, Output};

use serde_json::Value;

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
    for system in ["floor", "grapevine"] {
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
    assert_eq!(figures["floor"], Value::Null);
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
