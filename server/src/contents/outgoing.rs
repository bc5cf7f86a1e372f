//! A content on its way out. A whole one is hashed while it goes, and its last block only goes when the hash is right:
//! whoever gets all of it has the right bytes, and who doesn't sees a connection that broke off. A part can't be checked
//! without reading the whole content: that is done where it isn't large. Of a part of a large one only the length is
//! known to be right.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures_util::{Stream, stream};
use shared::ids::ContentHash;
use tokio::task::{self, JoinHandle};

use crate::contents::error::ContentsError;
use crate::contents::fault::{Fault, Inode};
use crate::contents::open_file;

/// How much is read and hashed at once. Twice as much is held for each download: a guess between memory and the hops
/// from thread to thread.
const BLOCK_BYTES: u64 = 128 * 1024;

/// Up to this size a content is read and hashed before a part of it is sent: some milliseconds.
const CHECKED_PART_BYTES: u64 = 4 * 1024 * 1024;

/// What to read.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// What it hashes to.
    pub hash: ContentHash,
    /// How many bytes it has.
    pub size_bytes: u64,
    /// The part of it.
    pub part: Range<u64>,
}

/// A content, or a part of it, whose first block is read.
#[derive(Debug)]
pub struct Outgoing {
    /// The next block; absent after the last.
    ahead: Option<Ahead>,
}

#[derive(Debug)]
enum Ahead {
    /// Read, with what the rest is read from.
    Here(Reading),
    /// Being read.
    Coming(JoinHandle<Result<Reading, ContentsError>>),
}

/// A block, and where the next ones come from.
#[derive(Debug)]
struct Reading {
    block: Bytes,
    source: Source,
}

#[derive(Debug)]
struct Source {
    file: File,
    inode: Inode,
    size_bytes: u64,
    left_bytes: u64,
    /// For a whole content.
    check: Option<(Box<blake3::Hasher>, ContentHash)>,
}

impl Outgoing {
    /// Opens the content at `path` and reads its first block; a small one is checked by then.
    pub(super) async fn open(path: PathBuf, wanted: Wanted) -> Result<Self, ContentsError> {
        let first = task::spawn_blocking(move || Source::open(&path, &wanted)?.read()).await;
        Ok(Self { ahead: Some(Ahead::Here(first.map_err(|_panicked| ContentsError::Interrupted)??)) })
    }

    /// Its blocks. After an error, of which `report` hears, nothing comes.
    pub fn into_blocks(
        self,
        report: impl Fn(&ContentsError) + Send + 'static,
    ) -> impl Stream<Item = Result<Bytes, ContentsError>> + Send {
        stream::unfold((self, report), async |(mut outgoing, report)| {
            let block = outgoing.next().await?;
            Some((block.inspect_err(&report), (outgoing, report)))
        })
    }

    async fn next(&mut self) -> Option<Result<Bytes, ContentsError>> {
        let read = match self.ahead.take()? {
            Ahead::Here(first) => Ok(first),
            Ahead::Coming(reading) => reading.await.unwrap_or(Err(ContentsError::Interrupted)),
        };
        let Reading { block, source } = match read {
            Ok(reading) => reading,
            Err(error) => return Some(Err(error)),
        };
        if source.left_bytes > 0 {
            self.ahead = Some(Ahead::Coming(task::spawn_blocking(move || source.read())));
        }
        Some(Ok(block))
    }
}

impl Source {
    fn open(path: &Path, wanted: &Wanted) -> Result<Self, ContentsError> {
        let (mut file, found) = open_file(path)?;
        let (inode, expected) = (Inode::of(&found), wanted.size_bytes);
        if found.len() != expected {
            return Err(ContentsError::Bad(Fault::Length { found: found.len(), expected }));
        }
        let unreadable = ContentsError::io("read a content");
        let is_whole = wanted.part == (0..expected);
        if !is_whole && expected <= CHECKED_PART_BYTES {
            let mut hasher = blake3::Hasher::new();
            hasher.update_reader(&file).map_err(unreadable)?;
            if hasher.finalize().as_bytes() != &wanted.hash.0 {
                return Err(ContentsError::Bad(Fault::Bytes { read: inode }));
            }
        }
        let check = is_whole.then(|| (Box::default(), wanted.hash));
        file.seek(SeekFrom::Start(wanted.part.start)).map_err(unreadable)?;
        let left_bytes = wanted.part.end.saturating_sub(wanted.part.start);
        Ok(Self { file, inode, size_bytes: expected, left_bytes, check })
    }

    fn read(mut self) -> Result<Reading, ContentsError> {
        let wanted = self.left_bytes.min(BLOCK_BYTES);
        let mut block = Vec::with_capacity(usize::try_from(wanted).unwrap_or_default());
        (&self.file).take(wanted).read_to_end(&mut block).map_err(ContentsError::io("read a content"))?;
        if u64::try_from(block.len()).unwrap_or(u64::MAX) < wanted {
            let found = self.file.metadata().map_or(0, |now| now.len());
            return Err(ContentsError::Bad(Fault::Length { found, expected: self.size_bytes }));
        }
        self.left_bytes -= wanted;
        if let Some((hasher, hash)) = &mut self.check {
            hasher.update(&block);
            if self.left_bytes == 0 && hasher.finalize().as_bytes() != &hash.0 {
                return Err(ContentsError::Bad(Fault::Bytes { read: self.inode }));
            }
        }
        Ok(Reading { block: block.into(), source: self })
    }
}
