//! Peers on two machines of two networks, each with an address of both families: network namespaces of the test's own,
//! joined by virtual cables. They end with the processes that hold them.

use std::process::{Child, Command, Stdio};

use crate::support::process::Process;

/// A machine: a process that does nothing in a network namespace of its own.
struct Machine(Child);

impl Machine {
    /// `None` where this process may not make one.
    fn new() -> Option<Self> {
        let mut holder = Command::new("unshare");
        holder.args(["--net", "sh", "-c", "ip link set lo up && echo up && exec sleep 600"]);
        let mut child = holder.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().ok()?;
        let mut said = String::new();
        let mut output = std::io::BufReader::new(child.stdout.take()?);
        std::io::BufRead::read_line(&mut output, &mut said).ok()?;
        let machine = Self(child);
        (said == "up\n").then_some(machine)
    }

    fn pid(&self) -> String {
        self.0.id().to_string()
    }

    /// What runs a command on it.
    fn enter(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.pid(), "--net", "--", program]);
        command
    }

    fn ip(&self, words: &str) {
        let done = self.enter("ip").args(words.split(' ')).status().unwrap();
        assert!(done.success(), "ip {words}");
    }

    fn start(&self, words: &[&str]) -> Process {
        let mut command = self.enter("env");
        // Links between the peers of one process are told at this level only.
        command.args(["RUST_LOG=info,server::peer=debug", env!("CARGO_BIN_EXE_grapevine")]);
        Process::start_by(command, words)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Two machines, with two cables between them. `None` where that isn't allowed, which a machine of CI must.
fn two_machines(test: &str) -> Option<[Machine; 2]> {
    let Some(machines) = Machine::new().zip(Machine::new()) else {
        assert!(std::env::var_os("CI").is_none(), "CI must be allowed network namespaces, and have iproute2");
        eprintln!("SKIPPED {test}: this process may not make network namespaces");
        return None;
    };
    let machines = [machines.0, machines.1];
    for cable in 0..2 {
        let [one, other] = [machines[0].pid(), machines[1].pid()];
        let words = format!("link add cable{cable} netns {one} type veth peer name cable{cable} netns {other}");
        assert!(Command::new("ip").args(words.split(' ')).status().unwrap().success(), "ip {words}");
        for (host, machine) in (1..).zip(&machines) {
            machine.ip(&format!("address add 10.77.{cable}.{host}/24 dev cable{cable}"));
            machine.ip(&format!("address add fd77:{cable}::{host}/64 dev cable{cable} nodad"));
            machine.ip(&format!("link set cable{cable} up"));
        }
    }
    Some(machines)
}

/// A server whose peers listen everywhere on one machine, and two such peers on the other, of which the first knows one
/// address of the server and the second only its brother's.
fn news_goes_round(machines: &[Machine; 2], everywhere: &str, loopback: &str, server: &str) {
    let (data, allow) = (tempfile::tempdir().unwrap(), "--allow-unauthenticated");
    let path = data.path().to_str().unwrap();
    let words = ["serve", "--host", everywhere, allow, "--port", "8000", "--peer-port", "9001", "--data-dir", path];
    let here = machines[0].start(&words);
    here.says("Grapevine is ready");
    here.says_times("[P2P] connected", 8, crate::support::process::PATIENCE);
    let peer = |port: &str, contact: &str, file: &str| {
        machines[1].start(&["peer", "--host", everywhere, allow, "--port", port, "--peer", contact, "--inject", file])
    };
    let first = peer("9001", &format!("{server}:9001"), "first:1");
    first.says(format!("[P2P] connected {server}:9001"));
    let second = peer("9002", &format!("{loopback}:9001"), "second:1");
    for file in ["first", "second"] {
        here.says_times(format!("[P2P] event applied {file} -> v1"), 5, crate::support::process::PATIENCE);
    }
    // Whom nobody told it of but by way of other machines' neighbours.
    second.says(format!("[P2P] connected {server}:"));
    assert_eq!(second.count(format!("[P2P] connected {loopback}:9003")), 0, "that is another machine's");
    // All links with the first's machine are gone; the second goes on alone.
    first.kill();
    let third = peer("9003", &format!("{loopback}:9002"), "third:1");
    here.says_times("[P2P] event applied third -> v1", 5, crate::support::process::PATIENCE);
    third.says("[P2P] event applied first -> v1");
}

#[test]
fn peers_that_listen_everywhere_find_each_other_across_machines_of_two_networks() {
    let Some(machines) = two_machines("peers_that_listen_everywhere_find_each_other_across_machines_of_two_networks")
    else {
        return;
    };
    news_goes_round(&machines, "0.0.0.0", "127.0.0.1", "10.77.0.1");
    news_goes_round(&machines, "::", "[::1]", "[fd77:1::1]");
}
