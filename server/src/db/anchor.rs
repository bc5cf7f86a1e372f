//! Whether files are still those that were opened. Somebody may move, replace or remove one under a running process, which
//! then goes on with a file that has no name any more: whatever it writes there is gone when it ends.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Files, as they were when they were opened.
#[derive(Debug, Clone, Default)]
pub struct Anchor {
    files: Vec<(PathBuf, Inode)>,
}

/// Which file it is: its device and its number there.
type Inode = (u64, u64);

impl Anchor {
    /// Those of `paths` that are there now. Blocks.
    pub fn of(paths: impl IntoIterator<Item = PathBuf>) -> Self {
        let found = paths.into_iter().filter_map(|path| inode(&path).ok().map(|inode| (path, inode)));
        Self { files: found.collect() }
    }

    /// The first that isn't there any more, or is another one. Blocks.
    pub fn displaced(&self) -> Option<&Path> {
        let is_displaced = |(path, was): &&(PathBuf, Inode)| match inode(path) {
            Ok(is) => is != *was,
            // A disk that doesn't answer says nothing of the file.
            Err(error) => matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory),
        };
        self.files.iter().find(is_displaced).map(|(path, _)| &**path)
    }
}

fn inode(path: &Path) -> io::Result<Inode> {
    fs::metadata(path).map(|found| (found.dev(), found.ino()))
}
