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
