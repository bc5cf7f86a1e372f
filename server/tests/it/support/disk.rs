//! A small disk of a test's own: a tmpfs in a mount namespace that ends with the test, whatever becomes of it.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Set in the process that has the disk, to where it is.
const DISK: &str = "GRAPEVINE_TEST_DISK";

/// Runs the test with this name again, in a process that has a disk of `mib` MiB, and passes on what it says. There,
/// gives where the disk is. Where this machine doesn't allow that it is said, and is a failure in CI.
pub(crate) fn small_disk(test: &str, mib: u32) -> Option<PathBuf> {
    if let Some(dir) = std::env::var_os(DISK) {
        return Some(dir.into());
    }
    let Some(unshare) = own_mounts() else {
        assert!(std::env::var_os("CI").is_none(), "{test} needs a mount namespace, and mustn't be skipped in CI");
        eprintln!("SKIPPED {test}: this process may not mount a small disk in a namespace of its own");
        return None;
    };
    let dir = tempfile::tempdir().unwrap();
    let script = format!("mount -t tmpfs -o size={mib}m tmpfs \"${DISK}\" && exec \"$@\"");
    let done = Command::new("unshare")
        .args(unshare)
        .args(["sh", "-c", &script, "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(DISK, dir.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{said}");
    eprintln!("{said}");
    None
}

/// How this machine lets a process have mounts of its own, if it does.
fn own_mounts() -> Option<&'static [&'static str]> {
    let ways: [&[&str]; 2] = [&["--mount"], &["--mount", "--map-root-user"]];
    let works = |way: &&&[&str]| {
        let tried = Command::new("unshare").args(**way).args(["mount", "-t", "tmpfs", "tmpfs", "/tmp"]).output();
        tried.is_ok_and(|done| done.status.success())
    };
    ways.iter().find(works).copied()
}

/// Fills a disk to its last byte with a file, which is removed when this is dropped.
pub(crate) struct Full(PathBuf);

impl Full {
    pub(crate) fn fill(dir: &Path) -> Self {
        let path = dir.join("full");
        let mut file = File::create(&path).unwrap();
        for size in [1 << 20, 4096, 1] {
            let piece = vec![1; size];
            while file.write_all(&piece).is_ok() {}
        }
        Self(path)
    }
}

impl Drop for Full {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).unwrap();
    }
}
