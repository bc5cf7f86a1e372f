//! Contents on disk: one file each, named by its BLAKE3 hash. Written aside, synced, then renamed, so that under a
//! hash there is the whole content or nothing. Who refers to a content is the catalogue's business.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use shared::ids::ContentHash;
use tempfile::{NamedTempFile, TempPath};
use tokio::task;

use crate::store::error::StoreError;

/// How much of an upload is gathered before it is hashed and written. From a measurement elsewhere: beyond a quarter of
/// a mebibyte larger writes gain nothing.
const WRITE_BYTES: usize = 256 * 1024;

/// The folder of contents.
#[derive(Debug, Clone)]
pub struct Contents {
    dir: PathBuf,
    temporary: PathBuf,
}

impl Contents {
    /// The contents in `dir`, which is made where it doesn't exist. Blocks.
    ///
    /// # Errors
    /// When the folder can't be made.
    pub fn open(dir: PathBuf) -> Result<Self, StoreError> {
        let temporary = dir.join("tmp");
        fs::create_dir_all(&temporary).map_err(StoreError::io("make the folder of contents"))?;
        sync_dir(&dir)?;
        Ok(Self { dir, temporary })
    }

    /// Where the content `hash` is, if it is here.
    pub fn path(&self, hash: ContentHash) -> PathBuf {
        self.dir.join(hash.to_string())
    }

    /// Begins to take a content of at most `bytes_max` bytes.
    ///
    /// # Errors
    /// When no temporary file can be made.
    pub async fn receive(&self, bytes_max: u64) -> Result<Incoming, StoreError> {
        let temporary = self.temporary.clone();
        let file =
            blocking(move || NamedTempFile::new_in(temporary).map_err(StoreError::io("make a temporary file"))).await?;
        let written = Written { file, blake3: blake3::Hasher::new(), sha256: Sha256::new(), size_bytes: 0 };
        Ok(Incoming { written: Some(written), gathered: Vec::new(), gathered_bytes: 0, taken_bytes: 0, bytes_max })
    }

    /// Gives a received content its final name. Blocks until that is on stable storage.
    ///
    /// # Errors
    /// When the disk fails; then the content is gone.
    pub fn keep(&self, received: Received) -> Result<(), StoreError> {
        let path = self.path(received.hash);
        if !path.exists() {
            let failed = StoreError::io("name a content");
            received.temporary.persist(path).map_err(|error| failed(error.error))?;
            sync_dir(&self.dir)?;
        }
        Ok(())
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

    /// Removes what a crash left: temporary files, and contents that `is_used` doesn't know. Blocks.
    ///
    /// # Errors
    /// When the disk or `is_used` fails.
    pub fn recover(&self, is_used: impl Fn(ContentHash) -> Result<bool, StoreError>) -> Result<u64, StoreError> {
        let failed = |error| StoreError::io("read the folder of contents")(error);
        let mut removed = 0;
        for entry in fs::read_dir(&self.temporary).map_err(failed)? {
            fs::remove_file(entry.map_err(failed)?.path()).map_err(StoreError::io("remove a temporary file"))?;
            removed += 1;
        }
        for entry in fs::read_dir(&self.dir).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            // What isn't named by a hash isn't ours.
            let Some(hash) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
            if !is_used(hash)? {
                self.forget(hash)?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// Whether a file can be made. Blocks.
    ///
    /// # Errors
    /// When it can't.
    pub fn check(&self) -> Result<(), StoreError> {
        tempfile::tempfile_in(&self.temporary).map(drop).map_err(StoreError::io("make a temporary file"))
    }
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
        let written =
            blocking(move || pieces.iter().try_for_each(|piece| written.add(piece)).map(|()| written)).await?;
        self.written = Some(written);
        Ok(())
    }
}

impl Written {
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
