//! Every flag of every command, found in clap's own description: a new one is held to the same without being named here.

use std::ffi::OsString;
use std::io::Write;
use std::net::TcpListener;
use std::process::Command;

use clap::builder::PossibleValue;
use clap::{Arg, ArgAction, CommandFactory};
use server::cli::Cli;
use server::config::{self, ConfigError};
use tempfile::NamedTempFile;

use crate::support::ports::free_ports;

/// Values other than the default, for flags that no number is good for.
const SAMPLES: [(&str, &str); 18] = [
    ("advertise", "127.0.0.1:9"),
    ("allowed-host", "other.example"),
    ("amqp-url", "amqp://me:secret@other.example:5673/%2f"),
    ("base-path", "/other"),
    ("ca-file", "other.pem"),
    ("cluster", "other"),
    ("config", "other.toml"),
    ("data-dir", "elsewhere"),
    ("host", "127.0.0.2"),
    ("inject", "track_a:1"),
    ("peer", "127.0.0.1:9"),
    ("port", "9009"),
    ("procs", "3"),
    ("queue", "other"),
    ("scenario", "chaos"),
    ("seed", "7"),
    ("since", "2026-11-28T06:00:00Z"),
    ("url", "http://other.example"),
];
/// Flags that mean nothing without others.
const COMPANIONS: [(&str, [&str; 2]); 2] =
    [("new-identity", ["--data-dir", "elsewhere"]), ("no-bridge", ["--amqp-url", "amqp://other.example"])];
/// A file doesn't name another one.
const NOT_IN_A_FILE: &str = "config";
const YES: [&str; 6] = ["1", "true", "yes", "on", "TRUE", "On"];
const NO: [&str; 5] = ["0", "false", "no", "off", "No"];

/// One flag of one command.
struct Flag {
    /// The words of the command.
    command: Vec<String>,
    /// What else the command needs.
    others: Vec<String>,
    arg: Arg,
    /// Whether all commands have it.
    global: bool,
}

impl Flag {
    fn name(&self) -> &str {
        self.arg.get_long().unwrap_or(self.arg.get_id().as_str())
    }

    fn whole_name(&self) -> String {
        format!("{} --{}", self.command.join(" "), self.name())
    }

    fn variable(&self) -> &str {
        self.arg.get_env().unwrap_or_default().to_str().unwrap()
    }

    fn is_switch(&self) -> bool {
        matches!(self.arg.get_action(), ArgAction::SetTrue)
    }

    /// A value other than the default.
    fn sample(&self) -> String {
        let default = self.arg.get_default_values().first().map(|value| value.to_str().unwrap());
        let others = self.arg.get_possible_values();
        let other = others.iter().map(PossibleValue::get_name).rfind(|value| Some(*value) != default);
        let more = || Some((default?.parse::<u64>().ok()? + 1).to_string());
        let known = || SAMPLES.iter().find(|(name, _)| *name == self.name()).map(|(_, value)| (*value).to_owned());
        if self.is_switch() {
            return "true".to_owned();
        }
        let sample = other.map(str::to_owned).or_else(more).or_else(known);
        sample.unwrap_or_else(|| panic!("{}: give it a value in SAMPLES", self.whole_name()))
    }

    /// The flag itself with a value.
    fn words(&self, value: &str) -> Vec<String> {
        match self.arg.get_long() {
            Some(name) if self.is_switch() => vec![format!("--{name}")],
            Some(name) => vec![format!("--{name}={value}")],
            None => vec![value.to_owned()],
        }
    }

    fn read(&self, words: &[String], variable: Option<&str>) -> Result<String, ConfigError> {
        let all = ["grapevine".to_owned()].into_iter().chain(self.command.clone()).chain(self.others.clone());
        let all = all.chain(words.iter().cloned()).map(OsString::from);
        let value = |name: &str| variable.filter(|_| name == self.variable()).map(OsString::from);
        let cli = config::read(all, value)?.cli;
        Ok(format!("{:?} {:?}", cli.log_format, cli.command))
    }

    fn read_with_file(&self, value: &str) -> Result<String, ConfigError> {
        let mut file = NamedTempFile::new().unwrap();
        let table = if self.global { String::new() } else { format!("[{}]\n", self.command.join(".")) };
        writeln!(file, "{table}{} = {value:?}", self.name()).unwrap();
        self.read(&["--config".to_owned(), file.path().to_str().unwrap().to_owned()], None)
    }
}

/// All flags but those of hidden commands; the global ones once.
fn flags() -> Vec<Flag> {
    let mut flags = Vec::new();
    let root = Cli::command();
    for arg in root.get_arguments().filter(|arg| arg.is_global_set()) {
        flags.push(Flag { command: vec!["watch".to_owned()], others: vec![], arg: arg.clone(), global: true });
    }
    collect(&root, &[], &mut flags);
    flags
}

fn collect(command: &clap::Command, words: &[String], flags: &mut Vec<Flag>) {
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        let words: Vec<String> = words.iter().cloned().chain([below.get_name().to_owned()]).collect();
        let own = || {
            below.get_arguments().cloned().map(|arg| Flag {
                command: words.clone(),
                others: vec![],
                arg,
                global: false,
            })
        };
        let required: Vec<Flag> = own().filter(|flag| flag.arg.is_required_set()).collect();
        flags.extend(own().map(|mut flag| {
            let needed = required.iter().filter(|other| other.name() != flag.name());
            flag.others = needed.flat_map(|other| other.words(&other.sample())).collect();
            let companions = COMPANIONS.iter().find(|(name, _)| *name == flag.name());
            flag.others.extend(companions.iter().flat_map(|(_, words)| words.map(str::to_owned)));
            flag
        }));
        collect(below, &words, flags);
    }
}

#[test]
fn every_flag_has_a_help_and_a_variable_of_its_own_name() {
    let flags = flags();
    assert!(flags.len() > 50, "the flags aren't found");
    for flag in flags {
        let name = flag.whole_name();
        assert!(flag.arg.get_help().is_some_and(|help| !help.to_string().trim().is_empty()), "{name} has no help");
        let spelled = flag.name().to_uppercase().replace('-', "_");
        let names = [format!("GRAPEVINE_{spelled}"), format!("GRAPEVINE_{}_{spelled}", flag.command[0].to_uppercase())];
        assert!(names.iter().any(|name| name == flag.variable()), "{name} has the variable {:?}", flag.variable());
    }
}

#[test]
fn every_flag_can_be_given_by_its_variable_and_in_the_file() {
    for flag in flags().iter().filter(|flag| flag.name() != NOT_IN_A_FILE) {
        let (name, sample) = (flag.whole_name(), flag.sample());
        let given = flag.read(&flag.words(&sample), None).unwrap_or_else(|error| panic!("{name} {sample}: {error}"));
        let unless = flag.read(&[], None).ok();
        assert_ne!(Some(&given), unless.as_ref(), "{name} changes nothing");
        let by_variable = flag.read(&[], Some(&sample)).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(by_variable, given, "{name} by its variable");
        let by_file = flag.read_with_file(&sample).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(by_file, given, "{name} in the file");
        assert_eq!(flag.read(&[], Some("")).ok(), unless, "{name}: an empty variable is none");
    }
}

#[test]
fn every_switch_knows_yes_and_no() {
    for flag in flags().iter().filter(|flag| flag.is_switch()) {
        let name = flag.whole_name();
        let (on, off) = (flag.read(&flag.words(""), None).unwrap(), flag.read(&[], None).unwrap());
        for yes in YES {
            assert_eq!(flag.read(&[], Some(yes)).unwrap(), on, "{name}: {yes}");
            assert_eq!(flag.read_with_file(yes).unwrap(), on, "{name}: {yes}");
        }
        for no in NO {
            assert_eq!(flag.read(&[], Some(no)).unwrap(), off, "{name}: {no}");
            assert_eq!(flag.read_with_file(no).unwrap(), off, "{name}: {no}");
        }
        let refusal = flag.read(&[], Some("maybe")).unwrap_err().to_string();
        assert!(refusal.contains(flag.variable()), "{name}: {refusal}");
    }
}

#[test]
fn every_number_is_refused_when_it_is_none_or_beyond_all_limits() {
    for flag in flags().iter().filter(|flag| flag.sample().parse::<u64>().is_ok()) {
        for wrong in ["-1", "many", "", "99999999999999999999999999"] {
            let refusal = flag.read(&flag.words(wrong), None).unwrap_err().to_string();
            assert!(!refusal.contains('\n') && refusal.contains(flag.name()), "{}: {refusal}", flag.whole_name());
        }
    }
}

/// Runs `grapevine` in an empty directory, in which it must leave nothing, and gives the one line that it says.
fn refusal(words: &[&str]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_grapevine"));
    let done = command.args(words).env_clear().current_dir(dir.path()).output().unwrap();
    let said = String::from_utf8(done.stderr).unwrap();
    assert_eq!(done.status.code(), Some(2), "{words:?}: {said}");
    assert_eq!((said.lines().count(), done.stdout.len()), (1, 0), "{words:?}: {said}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "{words:?} has begun something");
    said
}

#[test]
fn wrong_flags_and_combinations_are_refused_in_one_line_before_anything_starts() {
    let long = "x".repeat(256);
    let cluster = &long[..65];
    for (words, named) in [
        ("serve --peers 60", "--max-peers 32"),
        ("serve --peers 4097 --max-peers 4097", "4096"),
        ("serve --amqp-url http://me:secret@broker", "--amqp-url"),
        ("serve --no-bridge", "--amqp-url"),
        ("serve --port 9003", "--peer-port"),
        ("serve --peer-port 65533", "no port 65537"),
        ("serve --host 0.0.0.0", "--allow-unauthenticated"),
        ("serve --max-upload-bytes 0", "--max-upload-bytes"),
        ("serve --disk-reserve-bytes 18446744073709551615", "--disk-reserve-bytes"),
        (&format!("serve --cluster {cluster}"), "at most 64"),
        (&format!("peer --port 9001 --cluster {cluster}"), "at most 64"),
        (&format!("bridge --peer 127.0.0.1:9 --cluster {cluster}"), "at most 64"),
        (&format!("bridge --peer 127.0.0.1:9 --queue {long}"), "255"),
        ("bridge --peer 127.0.0.1:9 --amqp-url amqp:", "--amqp-url"),
        ("bridge", "--peer"),
        ("peer", "--port"),
        ("peer --port 9001 --new-identity", "--data-dir"),
        ("peer --port 65536", "65535"),
        ("peer --port 9001 --host 0.0.0.0", "--allow-unauthenticated"),
        ("peer --port 9001 --inject track_a:0", "--inject"),
        ("concurrency --permits 9", "1..=8"),
        ("concurrency --race-ms 2001", "1..=2000"),
        ("simulate --scenario other", "one-sender"),
        ("simulate --runs 0", "--runs"),
        ("bench gossip --rest 90000", "--rest"),
        ("bench gossip --kill 100", "1..=99"),
        ("bench gossip --phases idle,other", "possible values"),
        ("watch ftp://other.example", "ftp://other.example"),
        ("serve --prot 1", "--port"),
        ("server", "serve"),
        ("serve --config nowhere.toml", "nowhere.toml"),
    ] {
        let said = refusal(&words.split(' ').collect::<Vec<_>>());
        assert!(said.starts_with("grapevine: error: "), "{words}: {said}");
        assert!(said.contains(named) && !said.contains("secret"), "{words}: {said}");
    }
}

#[test]
fn a_port_that_somebody_else_has_is_refused_before_anything_starts() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let port = address.port().to_string();
    for words in [["serve", "--port", &port], ["peer", "--port", &port]] {
        let said = refusal(&words);
        assert!(said.contains(&format!("can't listen on {address}")), "{said}");
        assert!(said.contains("--port names another port"), "{said}");
    }
}

#[test]
fn watching_where_no_server_is_ends_at_once_with_one_line() {
    let [port] = free_ports();
    let url = format!("http://127.0.0.1:{port}");
    let done = Command::new(env!("CARGO_BIN_EXE_grapevine")).args(["watch", &url]).output().unwrap();
    let said = String::from_utf8(done.stderr).unwrap();
    assert_eq!(done.status.code(), Some(1), "{said}");
    assert!(said.contains("is a server running there?") && said.lines().count() == 1, "{said}");
}

#[test]
fn what_all_commands_have_comes_last_in_the_help() {
    for command in [&["serve"][..], &["watch"], &["bench", "gossip"]] {
        let help = Command::new(env!("CARGO_BIN_EXE_grapevine")).args(command).arg("--help").output().unwrap();
        let help = String::from_utf8(help.stdout).unwrap();
        let (_, last) = help.split_once("Options of every command:").unwrap();
        assert!(last.contains("--config") && last.contains("--log-format"), "{help}");
        let flags: Vec<&str> = last.lines().filter(|line| line.trim_start().starts_with("--")).collect();
        assert_eq!(flags.len(), 2, "{flags:?}");
    }
}
