//! What the scripts change on a machine, and how it is undone; in folders of their own, with stand-ins for the commands
//! that would change this one.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// The overrides are lines of a file, as `rustup override list` prints them; other calls are noted.
const RUSTUP: &str = r#"#!/bin/sh
overrides=$HOME/overrides
case "$1 $2" in
    "override list") cat "$overrides" ;;
    "override unset") grep -Fv "$4	" "$overrides" >"$overrides.new"; mv "$overrides.new" "$overrides" ;;
    *) echo "rustup $*" >>"$HOME/calls" ;;
esac
"#;
/// Nothing is removed that isn't this test's.
const RM: &str = "#!/bin/sh\necho \"rm $*\" >>\"$HOME/calls\"\n";

/// Says of two crates that it compiles them, waits until that has been noted, prints what was, and fails.
const CARGO: &str = r#"#!/bin/bash
printf '   Compiling serde v1.0.0\n    Building [==>      ] 3/9: serde, syn(build.rs)      \r' >&2
for _ in {1..600}; do [ -s "$GRAPEVINE_STAGES/the server" ] && break; sleep 0.1; done
cat "$GRAPEVINE_STAGES/the server"
printf '   Compiling server v0.1.0\nerror[E0425]: cannot find value `y`\n\n  --> src/main.rs:1:38\n' >&2
exit 101
"#;

const SUDO: &str = "#!/bin/sh\nexec \"$@\"\n";

/// A machine with checkouts, of which all have the override.
struct Machine(TempDir);

impl Machine {
    fn with_checkouts(names: &[&str]) -> Self {
        let machine = Self(tempfile::tempdir().unwrap());
        let overrides: Vec<String> =
            names.iter().map(|name| format!("{}\tdebian-web\n", machine.checkout(name).display())).collect();
        std::fs::write(machine.0.path().join("overrides"), overrides.concat()).unwrap();
        for (name, text) in [("rustup", RUSTUP), ("rm", RM), ("sudo", SUDO)] {
            let bin = machine.0.path().join(".cargo/bin");
            std::fs::create_dir_all(&bin).unwrap();
            std::fs::write(bin.join(name), text).unwrap();
            std::fs::set_permissions(bin.join(name), Permissions::from_mode(0o755)).unwrap();
        }
        machine
    }

    fn checkout(&self, name: &str) -> PathBuf {
        let scripts = self.0.path().join(name).join("scripts");
        std::fs::create_dir_all(&scripts).unwrap();
        for script in ["say.sh", "wasm-setup.sh"] {
            std::fs::copy(root().join("scripts").join(script), scripts.join(script)).unwrap();
        }
        self.0.path().join(name)
    }

    fn setup(&self, checkout: &str, word: &str) -> Output {
        let home = self.0.path();
        let path = format!("{}:{}", home.join(".cargo/bin").display(), std::env::var("PATH").unwrap());
        let mut command = Command::new(home.join(checkout).join("scripts/wasm-setup.sh"));
        for variable in ["CARGO_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"] {
            command.env_remove(variable);
        }
        command.arg(word).env("HOME", home).env("PATH", path).output().unwrap()
    }

    fn reads(&self, file: &str) -> String {
        std::fs::read_to_string(self.0.path().join(file)).unwrap_or_default()
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[test]
fn an_undo_in_one_checkout_leaves_the_others_what_they_use() {
    let machine = Machine::with_checkouts(&["one", "two with spaces"]);
    let refused = machine.setup("one", "--undo-all");
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("two with spaces"), "{refused:?}");
    assert_eq!(machine.reads("overrides").lines().count(), 2, "nothing was done");

    assert!(machine.setup("one", "--undo").status.success());
    let left = machine.reads("overrides");
    assert!(left.lines().count() == 1 && left.contains("two with spaces"), "{left}");
    assert_eq!(machine.reads("calls"), "", "what both share is still there");

    assert!(machine.setup("two with spaces", "--undo-all").status.success());
    assert_eq!(machine.reads("overrides"), "");
    assert!(machine.reads("calls").contains("rustup toolchain uninstall debian-web"));
}

#[test]
fn what_is_installed_can_be_uninstalled() {
    let (built, machine) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let make = |target: &str| {
        let destination = format!("DESTDIR={}", machine.path().display());
        let words = [target, "PREFIX=/opt/grape vine", &destination];
        Command::new("make").current_dir(root()).args(words).env("CARGO_TARGET_DIR", built.path()).output().unwrap()
    };
    let early = make("install");
    assert!(!early.status.success() && String::from_utf8_lossy(&early.stderr).contains("run make build first"));
    std::fs::create_dir(built.path().join("release")).unwrap();
    std::fs::copy(env!("CARGO_BIN_EXE_grapevine"), built.path().join("release/grapevine")).unwrap();
    assert!(make("install").status.success());
    let installed = machine.path().join("opt/grape vine/bin/grapevine");
    let version = Command::new(&installed).arg("--version").output().unwrap();
    assert!(String::from_utf8_lossy(&version.stdout).starts_with("grapevine "));
    assert!(make("uninstall").status.success());
    assert!(!installed.exists());
}

#[test]
fn how_far_a_build_is_is_noted_and_what_is_wrong_is_shown_in_full() {
    let dir = tempfile::tempdir().unwrap();
    let cargo = dir.path().join("cargo");
    std::fs::write(&cargo, CARGO).unwrap();
    std::fs::set_permissions(&cargo, Permissions::from_mode(0o755)).unwrap();
    let script = r#"set -euo pipefail; . scripts/say.sh; . scripts/progress.sh; counted "the server" "$1" build"#;
    let mut bash = Command::new("bash");
    bash.args(["-c", script, "bash"]).arg(&cargo).current_dir(root()).env_remove("GRAPEVINE_STAGES");
    let done = bash.output().unwrap();
    let said = String::from_utf8(done.stdout).unwrap();
    assert_eq!(said, "3 of 9 (serde)\nerror[E0425]: cannot find value `y`\n\n  --> src/main.rs:1:38\n");
    assert_eq!(done.status.code(), Some(101));
}

#[test]
fn what_is_run_is_built_soonest_and_what_is_installed_runs_fastest() {
    let told = |target: &str| {
        let mut make = Command::new("make");
        make.args(["--dry-run", "--no-print-directory", target]).current_dir(root()).env("CARGO_TARGET_DIR", "built");
        String::from_utf8(make.output().unwrap().stdout).unwrap()
    };
    assert_eq!(told("run"), "scripts/build.sh --quick\n\"built/quick/grapevine\" serve \n");
    assert_eq!(told("build"), "scripts/build.sh\n");
    assert!(told("install").contains("built/release/grapevine"));
}
