//! What can fail with contents.

use std::io;
use std::path::{Path, PathBuf};

use crate::contents::fault::Fault;

/// Why a content was neither kept nor given.
#[derive(Debug, thiserror::Error)]
pub enum ContentsError {
    /// The disk failed.
    #[error("can't {doing}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// A folder can't be made or read.
    #[error("can't use the folder {}", path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The content can't be given.
    #[error("the content is missing or damaged: {0}")]
    Bad(Fault),
    /// There is only the room that is kept for other things.
    #[error("there is no room on the disk")]
    NoRoom,
    /// The content is larger than allowed.
    #[error("the content is larger than {bytes_max} bytes")]
    TooLarge {
        /// The limit in bytes.
        bytes_max: u64,
    },
    /// A step in the middle of it didn't end.
    #[error("the content was interrupted")]
    Interrupted,
}

impl ContentsError {
    /// Returns what was being done when the disk failed.
    pub fn io(doing: &'static str) -> impl FnOnce(io::Error) -> Self + Copy {
        move |source| Self::Io { doing, source }
    }

    /// Returns which folder it was.
    pub(super) fn folder(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Folder { path, source }
    }

    /// Whether there is no room on the disk.
    pub fn is_disk_full(&self) -> bool {
        match self {
            Self::Io { source, .. } | Self::Folder { source, .. } => {
                matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
            }
            Self::NoRoom => true,
            Self::Bad(_) | Self::TooLarge { .. } | Self::Interrupted => false,
        }
    }
}
