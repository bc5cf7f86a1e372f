//! What a call of the store can fail with.

use std::path::PathBuf;

use shared::ids::Version;

use crate::contents::error::ContentsError;
use crate::db::DbError;

/// Why the store did nothing.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database failed.
    #[error("the database failed")]
    Db(#[from] DbError),
    /// A content can't be kept or given.
    #[error(transparent)]
    Contents(#[from] ContentsError),
    /// There is no catalogue, but what only one can explain.
    #[error(
        "there is no catalogue {} beside {beside}: put it back, or say --new-catalogue to begin a new one (what is \
         there is kept in contents/lost)", path.display()
    )]
    NoCatalogue {
        /// Where it should be.
        path: PathBuf,
        /// What is there.
        beside: &'static str,
    },
    /// There is the catalogue's file without anything in it, and what only a catalogue can explain.
    #[error(
        "the catalogue {} is empty beside {beside}: all that it knew was in its log, which is missing. Put the log or a copy \
         of the catalogue back, or say --new-catalogue to begin a new one (what is there is kept in contents/lost)",
        path.display()
    )]
    EmptyCatalogue {
        /// Where it is.
        path: PathBuf,
        /// What is there.
        beside: &'static str,
    },
    /// The catalogue isn't what was written.
    #[error(
        "the catalogue {} is damaged ({why}); nothing was changed: put back a copy of it, contents that it doesn't know \
         are kept", path.display()
    )]
    DamagedCatalogue {
        /// Where it is.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The catalogue is of a version that isn't known yet.
    #[error(
        "the catalogue {} was written by a newer grapevine (its schema is of version {found}, this one knows {known}); \
         nothing was changed: start the newer one, or put back a copy from before", path.display()
    )]
    NewerCatalogue {
        /// Where it is.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The newest that this build knows.
        known: u32,
    },
    /// No random bytes for this host's id.
    #[error("no random bytes for this host's id")]
    Random(#[source] getrandom::Error),
    /// A step in the middle of it didn't end.
    #[error("the work was interrupted")]
    Interrupted,
    /// There is no such file, or it isn't the user's to see.
    #[error("there is no such file")]
    NotFound,
    /// The user may see the file, and only its owner may do this.
    #[error("only the file's owner may do this")]
    NotOwner,
    /// The file isn't at the version that the change was meant for.
    #[error("the file is at version {current}")]
    VersionMismatch {
        /// The version it is at.
        current: Version,
    },
    /// The file has as many versions as can be counted.
    #[error("the file can have no more versions")]
    NoMoreVersions,
    /// Files are being published again already.
    #[error("files are being published again already, or too many events wait for the broker; try again later")]
    Republishing,
    /// The key of an upload was used for another one.
    #[error("this key was used for another upload")]
    KeyReused,
    /// What was made under the key of an upload is deleted.
    #[error("what was made under this key has been deleted since")]
    KeySpent,
    /// A file can't be shared with its owner.
    #[error("a file can't be shared with its owner")]
    SharedWithOwner,
}

impl StoreError {
    /// Whether there is no room on the disk.
    pub fn is_disk_full(&self) -> bool {
        match self {
            Self::Db(error) => error.is_disk_full(),
            Self::Contents(error) => error.is_disk_full(),
            Self::NoCatalogue { .. }
            | Self::EmptyCatalogue { .. }
            | Self::DamagedCatalogue { .. }
            | Self::NewerCatalogue { .. }
            | Self::Random(_)
            | Self::Interrupted
            | Self::NotFound
            | Self::NotOwner
            | Self::VersionMismatch { .. }
            | Self::NoMoreVersions
            | Self::Republishing
            | Self::KeyReused
            | Self::KeySpent
            | Self::SharedWithOwner => false,
        }
    }
}
