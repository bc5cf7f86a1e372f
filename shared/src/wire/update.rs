//! What a peer knows of one file: the unit that is merged, gossiped and stored.

use serde::{Deserialize, Serialize};

use crate::ids::{ContentHash, FileId, PeerId, UserId, Version};
use crate::stamp::Stamp;

/// One version of one file. Which of two wins is decided by [`FileUpdate::rank`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileUpdate {
    /// The file.
    pub file: FileId,
    /// Its version.
    pub version: Version,
    /// When the change was made, by its maker's clock.
    pub stamp: Stamp,
    /// Where the change was made.
    pub origin: PeerId,
    /// The file's name: data, never a path.
    pub name: String,
    /// Its owner; absent for a version that was injected by hand.
    pub owner: Option<UserId>,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// Its content; absent for an injected version and for a tombstone.
    pub content: Option<ContentHash>,
    /// Whether this version says that the file is gone.
    pub deleted: bool,
}

/// The longest file name, in bytes. A guess: what common file systems allow, four times over.
pub const MAX_NAME_BYTES: usize = 1024;

impl FileUpdate {
    /// A version that was named by hand and has no content.
    pub fn injected(file: FileId, version: Version, stamp: Stamp, origin: PeerId) -> Self {
        let name = file.as_str().to_owned();
        Self { file, version, stamp, origin, name, owner: None, size_bytes: 0, content: None, deleted: false }
    }

    /// The order in which versions of one file replace each other: `(version, stamp, origin)` as the design says, then
    /// every other field, so that the order is total even between updates that no honest peer would make.
    pub fn rank(&self) -> impl Ord + '_ {
        (
            (self.version, self.stamp, self.origin),
            (self.deleted, self.content, self.size_bytes, &self.name, &self.owner),
        )
    }
}
