//! Contents on disk: one file each, named by its BLAKE3 hash. Written aside, synced, then renamed, so that under a
//! hash there is the whole content or nothing. What a content belongs to, and whether it is used, whoever keeps it knows.
//!
//! Nothing but temporary files is removed unless it is told to be forgotten. What nobody uses is moved to the folder
//! `lost`, and comes back when somebody does again.

pub mod error;
pub mod fault;
pub mod incoming;
pub mod outgoing;
pub mod space;

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use shared::ids::ContentHash;
use tracing::{info, warn};

use crate::contents::error::ContentsError;
use crate::contents::fault::Fault;
use crate::contents::incoming::{Incoming, Received};
use crate::contents::outgoing::{Outgoing, Wanted};
use crate::contents::space::Claim;

/// Where what nobody uses is kept, below the folder of contents.
pub const LOST: &str = "lost";
/// Where temporary files are, below the folder of contents.
pub const TEMPORARY: &str = "tmp";

/// The folder of contents.
#[derive(Debug, Clone)]
pub struct Contents {
    dir: PathBuf,
    temporary: PathBuf,
}

/// Contents that nobody uses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lost {
    /// How many.
    pub count: u64,
    /// How many bytes they have.
    pub bytes: u64,
}

impl Contents {
    /// The contents in `dir`, which is made where it doesn't exist. Blocks.
    ///
    /// # Errors
    /// When the folder can't be made.
    pub fn open(dir: PathBuf) -> Result<Self, ContentsError> {
        let contents = Self::at(dir);
        fs::create_dir_all(&contents.temporary).map_err(ContentsError::io("make the folder of contents"))?;
        sync_dir(&contents.dir)?;
        Ok(contents)
    }

    /// The contents in `dir`, which may be there or not: only to look at them and to move them.
    pub fn at(dir: PathBuf) -> Self {
        let temporary = dir.join(TEMPORARY);
        Self { dir, temporary }
    }

    /// Where the content `hash` is, if it is here.
    pub fn path(&self, hash: ContentHash) -> PathBuf {
        self.dir.join(hash.to_string())
    }

    /// Begins to take a content of at most `bytes_max` bytes, for which `claim` has the room.
    ///
    /// # Errors
    /// When no temporary file can be made.
    pub async fn receive(&self, bytes_max: u64, claim: Arc<Claim>) -> Result<Incoming, ContentsError> {
        Incoming::begin(self.temporary.clone(), bytes_max, claim).await
    }

    /// Opens a content, or a part of it, for reading. A small one is checked by then, a larger one while it is read (see
    /// [`outgoing`]).
    ///
    /// # Errors
    /// [`ContentsError::Bad`] when it isn't what it was when it came, or that the disk failed.
    pub async fn read(&self, wanted: Wanted) -> Result<Outgoing, ContentsError> {
        Outgoing::open(self.path(wanted.hash), wanted).await
    }

    /// Gives a received content its final name. It takes the place of one that is there already: of what has just come
    /// the bytes are known to be right, of what has lain there they aren't. Blocks until that is on stable storage.
    ///
    /// # Errors
    /// When the disk fails; then the content is gone.
    pub fn keep(&self, received: Received) -> Result<(), ContentsError> {
        let path = self.path(received.hash);
        if let Some(found) = fs::metadata(&path).ok().filter(|found| found.len() != received.size_bytes) {
            let (found, expected) = (found.len(), received.size_bytes);
            warn!(content = %received.hash, "a content had {found} bytes instead of {expected}; it has come anew");
        }
        received.temporary.persist(path).map_err(|error| ContentsError::io("name a content")(error.error))?;
        sync_dir(&self.dir)
    }

    /// Forgets the content `hash`; it's no error when it isn't here. Blocks.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn forget(&self, hash: ContentHash) -> Result<(), ContentsError> {
        match fs::remove_file(self.path(hash)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(ContentsError::io("remove a content")(error)),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Whether any content is here, be it lost. Blocks.
    ///
    /// # Errors
    /// When the folder can't be read.
    pub fn has_any(&self) -> Result<bool, ContentsError> {
        Ok(hashes_in(&self.dir)?.next().is_some() || entries(&self.dir.join(LOST))?.next().is_some())
    }

    /// When the content `hash` got its name, in milliseconds since 1970, if it is here. Blocks.
    pub fn named_ms(&self, hash: ContentHash) -> Option<u64> {
        let found = fs::metadata(self.path(hash)).ok()?;
        u64::try_from(found.ctime().saturating_mul(1000).saturating_add(found.ctime_nsec() / 1_000_000)).ok()
    }

    /// What can be told from outside to be wrong with a content of `size_bytes` bytes. Blocks.
    pub fn fault(&self, hash: ContentHash, size_bytes: u64) -> Option<Fault> {
        match fs::metadata(self.path(hash)) {
            Ok(found) if found.len() == size_bytes => None,
            Ok(found) => Some(Fault::Length { found: found.len(), expected: size_bytes }),
            Err(error) => (error.kind() == io::ErrorKind::NotFound).then_some(Fault::Missing),
        }
    }

    /// Removes temporary files, moves to `lost` what `is_used` doesn't know, and back what it knows. What can't be moved
    /// stays where it is. Blocks.
    ///
    /// # Errors
    /// When the folders can't be read, or `is_used` fails.
    pub fn tidy<E: From<ContentsError>>(&self, is_used: impl Fn(ContentHash) -> Result<bool, E>) -> Result<(), E> {
        for entry in fs::read_dir(&self.temporary).map_err(UNREADABLE)? {
            fs::remove_file(entry.map_err(UNREADABLE)?.path()).map_err(ContentsError::io("remove a temporary file"))?;
        }
        let lost = self.dir.join(LOST);
        let (mut found, mut missed) = (0, 0);
        for hash in hashes_in(&lost)? {
            let hash = hash?;
            if is_used(hash)? && !self.path(hash).exists() && moved(&lost.join(hash.to_string()), &self.path(hash)) {
                found += 1;
            }
        }
        for hash in hashes_in(&self.dir)? {
            let hash = hash?;
            if !is_used(hash)? && self.set_aside(hash, LOST) {
                missed += 1;
            }
        }
        if found > 0 {
            info!(contents = found, "contents of files were in {}; they are back", lost.display());
        }
        if missed > 0 {
            warn!(contents = missed, "contents that no file has were moved to {}", lost.display());
        }
        if found + missed > 0 {
            sync_dir(&self.dir)?;
        }
        Ok(())
    }

    /// Moves a content to the folder `below`, under its own name, or one with a number where that is taken. Whether it
    /// did; else a log line says why not. Blocks.
    pub fn set_aside(&self, hash: ContentHash, below: &str) -> bool {
        let folder = self.dir.join(below);
        if let Err(error) = fs::create_dir_all(&folder) {
            warn!(%error, "can't make {}", folder.display());
            return false;
        }
        moved(&self.path(hash), &free_name(&folder.join(hash.to_string())))
    }

    /// What is in the folder `lost`. Blocks.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn lost(&self) -> Result<Lost, ContentsError> {
        let mut lost = Lost::default();
        for entry in entries(&self.dir.join(LOST))? {
            lost.count += 1;
            lost.bytes += entry?.metadata().map_or(0, |found| found.len());
        }
        Ok(lost)
    }

    /// Whether a file can be made. Blocks.
    ///
    /// # Errors
    /// When it can't.
    pub fn check(&self) -> Result<(), ContentsError> {
        tempfile::tempfile_in(&self.temporary).map(drop).map_err(ContentsError::io("make a temporary file"))
    }
}

const UNREADABLE: fn(io::Error) -> ContentsError =
    |source| ContentsError::Io { doing: "read the folder of contents", source };

/// What is in a folder; nothing where there is none.
fn entries(dir: &Path) -> Result<impl Iterator<Item = Result<fs::DirEntry, ContentsError>>, ContentsError> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        read => Some(read.map_err(UNREADABLE)?),
    };
    Ok(entries.into_iter().flatten().map(|entry| entry.map_err(UNREADABLE)))
}

/// The contents in a folder. What isn't named by a hash isn't one.
///
/// # Errors
/// When the folder can't be read.
pub fn hashes_in(dir: &Path) -> Result<impl Iterator<Item = Result<ContentHash, ContentsError>>, ContentsError> {
    let hash = |entry: Result<fs::DirEntry, ContentsError>| match entry {
        Ok(entry) => entry.file_name().to_str().and_then(|name| name.parse().ok()).map(Ok),
        Err(error) => Some(Err(error)),
    };
    Ok(entries(dir)?.filter_map(hash))
}

/// `path`, or what it is with the first number that makes it free.
pub fn free_name(path: &Path) -> PathBuf {
    let numbered = (1..).map(|number: u64| PathBuf::from(format!("{}.{number}", path.display())));
    let mut names = std::iter::once(path.to_owned()).chain(numbered);
    names.find(|name| !name.exists()).unwrap_or_else(|| path.to_owned())
}

fn moved(from: &Path, to: &Path) -> bool {
    let done = fs::rename(from, to);
    if let Err(error) = &done {
        warn!(%error, "can't move {} to {}", from.display(), to.display());
    }
    done.is_ok()
}

fn sync_dir(dir: &Path) -> Result<(), ContentsError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(ContentsError::io("sync the folder of contents"))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures_util::StreamExt as _;

    use super::*;
    use crate::contents::space::Space;

    async fn receive(contents: &Contents, bytes: &'static [u8]) -> Received {
        let space = Arc::new(Space::open(&contents.dir, 0));
        let claim = Arc::new(space.claim(0).unwrap());
        let mut incoming = contents.receive(1000, claim).await.unwrap();
        incoming.write(Bytes::from_static(bytes)).await.unwrap();
        incoming.finish().await.unwrap()
    }

    async fn read(contents: &Contents, hash: ContentHash) -> Result<Vec<u8>, ContentsError> {
        let outgoing = contents.read(Wanted { hash, size_bytes: 3, part: 0..3 }).await?;
        let blocks: Vec<_> = outgoing.into_blocks(|_error| ()).collect().await;
        Ok(blocks.into_iter().collect::<Result<Vec<_>, _>>()?.concat())
    }

    #[tokio::test]
    async fn contents_come_stay_and_go_without_a_catalogue() {
        let dir = tempfile::tempdir().unwrap();
        let contents = Contents::open(dir.path().join("contents")).unwrap();
        let (kept, dropped) = (receive(&contents, b"one").await, receive(&contents, b"two").await);
        let (hash, other) = (kept.hash, dropped.hash);
        contents.keep(kept).unwrap();
        drop(dropped);
        assert_eq!(read(&contents, hash).await.unwrap(), b"one");
        assert!(matches!(read(&contents, other).await, Err(ContentsError::Bad(Fault::Missing))));
        // Who doesn't know it any more finds it again, and who forgets it doesn't.
        contents.tidy(|_| Ok::<_, ContentsError>(false)).unwrap();
        assert_eq!(
            (contents.fault(hash, 3), contents.lost().unwrap()),
            (Some(Fault::Missing), Lost { count: 1, bytes: 3 })
        );
        contents.tidy(|_| Ok::<_, ContentsError>(true)).unwrap();
        assert_eq!((contents.fault(hash, 3), contents.lost().unwrap()), (None, Lost::default()));
        contents.forget(hash).unwrap();
        assert!(!contents.has_any().unwrap());
    }
}
