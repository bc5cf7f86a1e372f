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

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use shared::ids::ContentHash;
use tracing::{info, warn};

use crate::contents::error::ContentsError;
use crate::contents::fault::{Fault, Inode};
use crate::contents::incoming::{Incoming, Received};
use crate::contents::outgoing::{Outgoing, Wanted};
use crate::contents::space::Space;

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
        contents.make()?;
        Ok(contents)
    }

    /// The contents in `dir`, which may be there or not: to look at them and to move them. They can be added to after
    /// [`Contents::make`].
    pub fn at(dir: PathBuf) -> Self {
        let temporary = dir.join(TEMPORARY);
        Self { dir, temporary }
    }

    /// Makes the folders where they aren't; what is in their place is moved aside. Blocks.
    ///
    /// # Errors
    /// When a folder can't be made.
    pub fn make(&self) -> Result<(), ContentsError> {
        fs::create_dir_all(&self.dir).map_err(ContentsError::folder(&self.dir))?;
        for folder in [&self.temporary, &self.dir.join(LOST)] {
            clear_way(folder).map_err(ContentsError::folder(folder))?;
        }
        fs::create_dir_all(&self.temporary).map_err(ContentsError::folder(&self.temporary))?;
        sync_dir(&self.dir)
    }

    /// Where the content `hash` is, if it is here.
    pub fn path(&self, hash: ContentHash) -> PathBuf {
        self.dir.join(hash.to_string())
    }

    /// Begins to take a content of at most `bytes_max` bytes, as long as there is `space`.
    ///
    /// # Errors
    /// When no temporary file can be made.
    pub async fn receive(&self, bytes_max: u64, space: Arc<Space>) -> Result<Incoming, ContentsError> {
        Incoming::begin(self.temporary.clone(), bytes_max, space).await
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
    /// the bytes are known to be right, of what has lain there they aren't. What isn't a file at all goes to the folder
    /// `lost`. Blocks until that is on stable storage.
    ///
    /// # Errors
    /// When the disk fails; then the content is gone.
    pub fn keep(&self, received: Received) -> Result<(), ContentsError> {
        let path = self.path(received.hash);
        if let Some(fault) = self.fault(received.hash, received.size_bytes).filter(|fault| *fault != Fault::Missing) {
            warn!(content = %received.hash, "a content was damaged: {fault}; it has come anew");
            if fault == Fault::NotAFile {
                self.move_to(received.hash, LOST).map_err(ContentsError::io("move away what has a content's name"))?;
            }
        }
        received.temporary.persist(path).map_err(|error| ContentsError::io("name a content")(error.error))?;
        sync_dir(&self.dir)
    }

    /// Forgets the content `hash`; it's no error when it isn't here. What isn't a file goes to the folder `lost`. Blocks.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn forget(&self, hash: ContentHash) -> Result<(), ContentsError> {
        let path = self.path(hash);
        let is_file = fs::symlink_metadata(&path).map_or(true, |found| found.is_file());
        let gone = if is_file { fs::remove_file(path) } else { self.move_to(hash, LOST) };
        match gone {
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
        let found = fs::symlink_metadata(self.path(hash)).ok()?;
        u64::try_from(found.ctime().saturating_mul(1000).saturating_add(found.ctime_nsec() / 1_000_000)).ok()
    }

    /// What can be told from outside to be wrong with a content of `size_bytes` bytes. Blocks.
    pub fn fault(&self, hash: ContentHash, size_bytes: u64) -> Option<Fault> {
        match fs::symlink_metadata(self.path(hash)) {
            Ok(found) if !found.is_file() => Some(Fault::NotAFile),
            Ok(found) if found.len() == size_bytes => None,
            Ok(found) => Some(Fault::Length { found: found.len(), expected: size_bytes }),
            Err(error) => (error.kind() == io::ErrorKind::NotFound).then_some(Fault::Missing),
        }
    }

    /// Whether `fault`, which a content of `size_bytes` bytes had when it was read, is still so: it may have come anew
    /// since. Blocks.
    pub fn still_has(&self, fault: Fault, hash: ContentHash, size_bytes: u64) -> bool {
        match fault {
            Fault::Missing | Fault::Length { .. } | Fault::NotAFile => self.fault(hash, size_bytes).is_some(),
            Fault::Bytes { read } => {
                fs::symlink_metadata(self.path(hash)).map_or(true, |found| Inode::of(&found) == read)
            }
        }
    }

    /// Removes temporary files, moves to `lost` what `is_used` doesn't know, and back what it knows. What can't be removed
    /// or moved stays where it is. Blocks.
    ///
    /// # Errors
    /// When the folders can't be read, or `is_used` fails.
    pub fn tidy<E: From<ContentsError>>(&self, is_used: impl Fn(ContentHash) -> Result<bool, E>) -> Result<(), E> {
        for entry in entries(&self.temporary)? {
            let path = entry?.path();
            if let Err(error) = fs::remove_file(&path) {
                warn!(%error, "can't remove {}: it isn't a temporary file of grapevine", path.display());
            }
        }
        let lost = self.dir.join(LOST);
        let (mut found, mut missed) = (0, 0);
        for hash in hashes_in(&lost)? {
            let hash = hash?;
            let (from, to) = (lost.join(hash.to_string()), self.path(hash));
            let can_be = fs::symlink_metadata(&from).is_ok_and(|found| found.is_file()) && is_free(&to);
            if can_be && is_used(hash)? && moved(&from, &to) {
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
        let done = self.move_to(hash, below);
        if let Err(error) = &done {
            warn!(%error, "can't move {} to {}", self.path(hash).display(), self.dir.join(below).display());
        }
        done.is_ok()
    }

    fn move_to(&self, hash: ContentHash, below: &str) -> io::Result<()> {
        let folder = self.dir.join(below);
        clear_way(&folder)?;
        fs::create_dir_all(&folder)?;
        fs::rename(self.path(hash), free_name(&folder.join(hash.to_string())))
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

/// Opens the file at `path`, which must be one: whatever else is there is neither followed nor waited for. Blocks.
///
/// # Errors
/// [`ContentsError::Bad`] when there is none, or that it can't be opened.
pub fn open_file(path: &Path) -> Result<(File, Metadata), ContentsError> {
    let opened = rustix::fs::open(path, OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty());
    let file = File::from(opened.map_err(|error| match error {
        Errno::NOENT => ContentsError::Bad(Fault::Missing),
        // A link, or a socket.
        Errno::LOOP | Errno::NXIO => ContentsError::Bad(Fault::NotAFile),
        _ => ContentsError::io("open a content")(error.into()),
    })?);
    let found = file.metadata().map_err(ContentsError::io("read a content"))?;
    if found.is_file() { Ok((file, found)) } else { Err(ContentsError::Bad(Fault::NotAFile)) }
}

/// Moves away what isn't a folder and is where one belongs. Blocks.
///
/// # Errors
/// When it can't be moved.
pub fn clear_way(folder: &Path) -> io::Result<()> {
    if fs::metadata(folder).is_ok_and(|found| !found.is_dir()) {
        let aside = free_name(folder);
        fs::rename(folder, &aside)?;
        warn!("{} wasn't a folder; it is {} now", folder.display(), aside.display());
    }
    Ok(())
}

/// What is in a folder; nothing where there is none.
fn entries(dir: &Path) -> Result<impl Iterator<Item = Result<fs::DirEntry, ContentsError>>, ContentsError> {
    let entries = match fs::read_dir(dir) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => None,
        read => Some(read.map_err(ContentsError::folder(dir))?),
    };
    let dir = dir.to_owned();
    Ok(entries.into_iter().flatten().map(move |entry| entry.map_err(ContentsError::folder(&dir))))
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
    names.find(|name| is_free(name)).unwrap_or_else(|| path.to_owned())
}

fn is_free(path: &Path) -> bool {
    fs::symlink_metadata(path).is_err()
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

    async fn receive(contents: &Contents, bytes: &'static [u8]) -> Received {
        let space = Arc::new(Space::open(&contents.dir, 0));
        let mut incoming = contents.receive(1000, space).await.unwrap();
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
