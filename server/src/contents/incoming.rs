//! A content on its way in: written aside and hashed while it comes, then synced. It has no name yet.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use shared::ids::ContentHash;
use tempfile::{NamedTempFile, TempPath};
use tokio::task;

use crate::contents::error::ContentsError;
use crate::contents::space::Space;

/// How much of an upload is gathered before it is hashed and written. From a measurement elsewhere: beyond a quarter of
/// a mebibyte larger writes gain nothing.
const WRITE_BYTES: usize = 256 * 1024;

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
    space: Arc<Space>,
    blake3: blake3::Hasher,
    sha256: Sha256,
    size_bytes: u64,
}

/// A whole content on stable storage, still under a temporary name. Dropping it removes it.
#[derive(Debug)]
pub struct Received {
    /// Where its bytes are until they have their final name.
    pub(super) temporary: TempPath,
    /// BLAKE3 hash of its bytes.
    pub hash: ContentHash,
    /// SHA-256 hash of its bytes.
    pub sha256: [u8; 32],
    /// Its size in bytes.
    pub size_bytes: u64,
}

impl Incoming {
    /// One of at most `bytes_max` bytes, as long as there is `space`, in a temporary file in the folder `temporary`.
    pub(super) async fn begin(temporary: PathBuf, bytes_max: u64, space: Arc<Space>) -> Result<Self, ContentsError> {
        let make = move || NamedTempFile::new_in(temporary).map_err(ContentsError::io("make a temporary file"));
        let written = Written {
            file: blocking(make).await?,
            space,
            blake3: blake3::Hasher::new(),
            sha256: Sha256::new(),
            size_bytes: 0,
        };
        Ok(Self { written: Some(written), gathered: Vec::new(), gathered_bytes: 0, taken_bytes: 0, bytes_max })
    }

    /// Takes the next piece; waits while a full buffer is written. Not to be used again when the future was dropped.
    ///
    /// # Errors
    /// When the content is larger than allowed, there is no room left for it, or the disk fails.
    pub async fn write(&mut self, piece: Bytes) -> Result<(), ContentsError> {
        self.taken_bytes = self.taken_bytes.saturating_add(u64::try_from(piece.len()).unwrap_or(u64::MAX));
        if self.taken_bytes > self.bytes_max {
            return Err(ContentsError::TooLarge { bytes_max: self.bytes_max });
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
    pub async fn finish(mut self) -> Result<Received, ContentsError> {
        self.flush().await?;
        let written = self.written.take().ok_or(ContentsError::Interrupted)?;
        blocking(move || written.finish()).await
    }

    async fn flush(&mut self) -> Result<(), ContentsError> {
        let mut written = self.written.take().ok_or(ContentsError::Interrupted)?;
        let pieces = std::mem::take(&mut self.gathered);
        self.gathered_bytes = 0;
        let written = blocking(move || written.add_all(&pieces).map(|()| written)).await?;
        self.written = Some(written);
        Ok(())
    }
}

impl Written {
    fn add_all(&mut self, pieces: &[Bytes]) -> Result<(), ContentsError> {
        self.space.check(pieces.iter().map(|piece| u64::try_from(piece.len()).unwrap_or(u64::MAX)).sum())?;
        pieces.iter().try_for_each(|piece| self.add(piece))
    }

    fn add(&mut self, piece: &[u8]) -> Result<(), ContentsError> {
        self.blake3.update(piece);
        self.sha256.update(piece);
        self.size_bytes = self.size_bytes.saturating_add(u64::try_from(piece.len()).unwrap_or(u64::MAX));
        self.file.as_file_mut().write_all(piece).map_err(ContentsError::io("write a content"))
    }

    fn finish(self) -> Result<Received, ContentsError> {
        self.file.as_file().sync_all().map_err(ContentsError::io("sync a content"))?;
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
    work: impl FnOnce() -> Result<T, ContentsError> + Send + 'static,
) -> Result<T, ContentsError> {
    task::spawn_blocking(work).await.map_err(|_panicked| ContentsError::Interrupted)?
}
