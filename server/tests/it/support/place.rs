//! A place where a store is kept, and what befalls such places: whoever keeps stores otherwise than in a folder gives
//! one, and runs the same promises in it.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use server::hub::Hub;
use server::store::{Store, StoreConfig};
use shared::ids::ContentHash;
use tempfile::TempDir;

/// Set in a process that writes to a store until it is killed, to where the store is.
const PLACE: &str = "GRAPEVINE_TEST_STORE";
/// Before what such a process says; the rest of its words are the test harness's.
const SAYS: &str = "done: ";

/// Where one store is kept.
pub(crate) trait Place {
    /// A new one, with nothing in it.
    fn new() -> Self;

    /// The one of this name, which another process has made.
    fn named(name: OsString) -> Self;

    /// Its name for another process.
    fn name(&self) -> &OsStr;

    /// Opens the store, which is open nowhere else.
    async fn open(&self) -> Store;

    /// Whether a content is where it would be given from.
    fn holds(&self, content: ContentHash) -> bool;

    /// How many contents are on their way.
    fn on_their_way(&self) -> usize;

    /// Puts a content where it would be, as a crash does before anything refers to it.
    fn put(&self, bytes: &[u8]);

    /// A content is lost.
    fn lose(&self, content: ContentHash);

    /// A content loses its second half.
    fn cut(&self, content: ContentHash);

    /// A byte of a content isn't what it was.
    fn damage(&self, content: ContentHash);
}

/// A folder on the disk: `SQLite`'s catalogue, and files.
pub(crate) struct Folder {
    dir: PathBuf,
    /// Removed with it.
    _own: Option<TempDir>,
}

impl Folder {
    fn path(&self, content: ContentHash) -> PathBuf {
        self.dir.join("contents").join(content.to_string())
    }

    fn change(&self, content: ContentHash, change: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = fs::read(self.path(content)).unwrap();
        change(&mut bytes);
        fs::write(self.path(content), bytes).unwrap();
    }
}

impl Place for Folder {
    fn new() -> Self {
        let own = tempfile::tempdir().unwrap();
        Self { dir: own.path().to_owned(), _own: Some(own) }
    }

    fn named(name: OsString) -> Self {
        Self { dir: name.into(), _own: None }
    }

    fn name(&self) -> &OsStr {
        self.dir.as_os_str()
    }

    async fn open(&self) -> Store {
        Store::open(&self.dir, StoreConfig::default(), Hub::new(10, true)).await.unwrap()
    }

    fn holds(&self, content: ContentHash) -> bool {
        self.path(content).exists()
    }

    fn on_their_way(&self) -> usize {
        fs::read_dir(self.dir.join("contents/tmp")).unwrap().count()
    }

    fn put(&self, bytes: &[u8]) {
        fs::write(self.path(ContentHash(*blake3::hash(bytes).as_bytes())), bytes).unwrap();
    }

    fn lose(&self, content: ContentHash) {
        fs::remove_file(self.path(content)).unwrap();
    }

    fn cut(&self, content: ContentHash) {
        self.change(content, |bytes| bytes.truncate(bytes.len() / 2));
    }

    fn damage(&self, content: ContentHash) {
        self.change(content, |bytes| bytes[0] ^= 1);
    }
}

/// In a process that is to write until it is killed: where.
pub(crate) fn to_write_to<P: Place>() -> Option<P> {
    std::env::var_os(PLACE).map(P::named)
}

/// Says, in such a process, that something is done.
pub(crate) fn say(done: &str) {
    // A line at once, which a kill can't cut.
    println!("\n{SAYS}{done}");
}

/// Runs the test with this name in a process of its own, in which [`to_write_to`] gives `place`, and kills it when it
/// has said `count` times that something is done. Returns all that it said.
pub(crate) fn write_and_be_killed(place: &impl Place, test: &str, count: usize) -> Vec<String> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(PLACE, place.name())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut done = Vec::new();
    for line in lines {
        done.extend(line.strip_prefix(SAYS).map(str::to_owned));
        if done.len() == count {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    assert!(done.len() >= count, "it ended before it was killed: {done:?}");
    done
}
