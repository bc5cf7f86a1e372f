//! Contents on disk: one file each, named by its BLAKE3 hash. Written aside, synced, then renamed, so that under a
//! hash there is the whole content or nothing. Who refers to a content is the catalogue's business.
//!
//! Nothing but temporary files is removed unless the catalogue says that it was forgotten. What nobody refers to is moved
//! to the folder `lost`, and comes back when somebody does again.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use shared::ids::ContentHash;
use tempfile::{NamedTempFile, TempPath};
use tokio::task;
use tracing::{info, warn};

use crate::store::error::StoreError;
use crate::store::faults::Fault;
use crate::store::space::Claim;

/// How much of an upload is gathered before it is hashed and written. From a measurement elsewhere: beyond a quarter of
/// a mebibyte larger writes gain nothing.
const WRITE_BYTES: usize = 256 * 1024;

/// Where what nobody refers to is kept, below the folder of contents.
pub const LOST: &str = "lost";
/// Where temporary files are, below the folder of contents.
pub const TEMPORARY: &str = "tmp";

/// The folder of contents.
#[derive(Debug, Clone)]
pub struct Contents {
    dir: PathBuf,
    temporary: PathBuf,
}

/// Contents that nobody refers to.
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
    pub fn open(dir: PathBuf) -> Result<Self, StoreError> {
        let contents = Self::at(dir);
        fs::create_dir_all(&contents.temporary).map_err(StoreError::io("make the folder of contents"))?;
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
    pub async fn receive(&self, bytes_max: u64, claim: Arc<Claim>) -> Result<Incoming, StoreError> {
        let temporary = self.temporary.clone();
        let file =
            blocking(move || NamedTempFile::new_in(temporary).map_err(StoreError::io("make a temporary file"))).await?;
        let written = Written { file, claim, blake3: blake3::Hasher::new(), sha256: Sha256::new(), size_bytes: 0 };
        Ok(Incoming { written: Some(written), gathered: Vec::new(), gathered_bytes: 0, taken_bytes: 0, bytes_max })
    }

    /// Gives a received content its final name. It takes the place of one that is there already: of what has just come
    /// the bytes are known to be right, of what has lain there they aren't. Blocks until that is on stable storage.
    ///
    /// # Errors
    /// When the disk fails; then the content is gone.
    pub fn keep(&self, received: Received) -> Result<(), StoreError> {
        let path = self.path(received.hash);
        if let Some(found) = fs::metadata(&path).ok().filter(|found| found.len() != received.size_bytes) {
            let (found, expected) = (found.len(), received.size_bytes);
            warn!(content = %received.hash, "a content had {found} bytes instead of {expected}; it has come anew");
        }
        received.temporary.persist(path).map_err(|error| StoreError::io("name a content")(error.error))?;
        sync_dir(&self.dir)
    }

    /// Forgets the content `hash`; it's no error when it isn't here. Blocks.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn forget(&self, hash: ContentHash) -> Result<(), StoreError> {
        match fs::remove_file(self.path(hash)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StoreError::io("remove a content")(error)),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Whether any content is here, be it lost. Blocks.
    ///
    /// # Errors
    /// When the folder can't be read.
    pub fn has_any(&self) -> Result<bool, StoreError> {
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
    pub fn tidy(&self, is_used: impl Fn(ContentHash) -> Result<bool, StoreError>) -> Result<(), StoreError> {
        for entry in fs::read_dir(&self.temporary).map_err(UNREADABLE)? {
            fs::remove_file(entry.map_err(UNREADABLE)?.path()).map_err(StoreError::io("remove a temporary file"))?;
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
        if found + missed > 0 { sync_dir(&self.dir) } else { Ok(()) }
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
    pub fn lost(&self) -> Result<Lost, StoreError> {
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
    pub fn check(&self) -> Result<(), StoreError> {
        tempfile::tempfile_in(&self.temporary).map(drop).map_err(StoreError::io("make a temporary file"))
    }
}

const UNREADABLE: fn(io::Error) -> StoreError =
    |source| StoreError::Io { doing: "read the folder of contents", source };

/// What is in a folder; nothing where there is none.
fn entries(dir: &Path) -> Result<impl Iterator<Item = Result<fs::DirEntry, StoreError>>, StoreError> {
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
pub fn hashes_in(dir: &Path) -> Result<impl Iterator<Item = Result<ContentHash, StoreError>>, StoreError> {
    let hash = |entry: Result<fs::DirEntry, StoreError>| match entry {
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

fn sync_dir(dir: &Path) -> Result<(), StoreError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(StoreError::io("sync the folder of contents"))
}

/// A content on its way in. Dropping it removes what has come so far.
#[derive(Debug)]
pub struct Incoming {
    /// Away while a piece is being written; lost when that was interrupted.
    written: Option<Written>,
    gathered: Vec<Bytes>,
    gathered_bytes: usize,
    taken_bytes: u64,
    bytes_max: u64,
}

#[derive(Debug)]
struct Written {
    file: NamedTempFile,
    claim: Arc<Claim>,
    blake3: blake3::Hasher,
    sha256: Sha256,
    size_bytes: u64,
}

/// A whole content on stable storage, still under a temporary name. Dropping it removes it.
#[derive(Debug)]
pub struct Received {
    temporary: TempPath,
    /// BLAKE3 hash of its bytes.
    pub hash: ContentHash,
    /// SHA-256 hash of its bytes.
    pub sha256: [u8; 32],
    /// Its size in bytes.
    pub size_bytes: u64,
}

impl Incoming {
    /// Takes the next piece; waits while a full buffer is written. Not to be used again when the future was dropped.
    ///
    /// # Errors
    /// When the content is larger than allowed or the disk fails.
    pub async fn write(&mut self, piece: Bytes) -> Result<(), StoreError> {
        self.taken_bytes = self.taken_bytes.saturating_add(u64::try_from(piece.len()).unwrap_or(u64::MAX));
        if self.taken_bytes > self.bytes_max {
            return Err(StoreError::TooLarge { bytes_max: self.bytes_max });
        }
        self.gathered_bytes += piece.len();
        self.gathered.push(piece);
        if self.gathered_bytes < WRITE_BYTES {
            return Ok(());
        }
        self.flush().await
    }

    /// Syncs the content, whose last piece has come.
    ///
    /// # Errors
    /// When the disk fails.
    pub async fn finish(mut self) -> Result<Received, StoreError> {
        self.flush().await?;
        let written = self.written.take().ok_or(StoreError::Interrupted)?;
        blocking(move || written.finish()).await
    }

    async fn flush(&mut self) -> Result<(), StoreError> {
        let mut written = self.written.take().ok_or(StoreError::Interrupted)?;
        let pieces = std::mem::take(&mut self.gathered);
        self.gathered_bytes = 0;
        let written = blocking(move || written.add_all(&pieces).map(|()| written)).await?;
        self.written = Some(written);
        Ok(())
    }
}

impl Written {
    fn add_all(&mut self, pieces: &[Bytes]) -> Result<(), StoreError> {
        self.claim.spend(pieces.iter().map(|piece| u64::try_from(piece.len()).unwrap_or(u64::MAX)).sum())?;
        pieces.iter().try_for_each(|piece| self.add(piece))
    }

    fn add(&mut self, piece: &[u8]) -> Result<(), StoreError> {
        self.blake3.update(piece);
        self.sha256.update(piece);
        self.size_bytes = self.size_bytes.saturating_add(u64::try_from(piece.len()).unwrap_or(u64::MAX));
        self.file.as_file_mut().write_all(piece).map_err(StoreError::io("write a content"))
    }

    fn finish(self) -> Result<Received, StoreError> {
        self.file.as_file().sync_all().map_err(StoreError::io("sync a content"))?;
        Ok(Received {
            temporary: self.file.into_temp_path(),
            hash: ContentHash(*self.blake3.finalize().as_bytes()),
            sha256: self.sha256.finalize().into(),
            size_bytes: self.size_bytes,
        })
    }
}

/// Does blocking work off the runtime's threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    task::spawn_blocking(work).await.map_err(|_panicked| StoreError::Interrupted)?
}
