//! What can be wrong with a content.

use std::fmt;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;

/// What is wrong with a content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It isn't there.
    Missing,
    /// It has another length than it had.
    Length {
        /// The length it has, in bytes.
        found: u64,
        /// The length it had, in bytes.
        expected: u64,
    },
    /// Something else has its name: a folder, a link, a pipe.
    NotAFile,
    /// Its bytes don't match its hash.
    Bytes {
        /// The file that was read: by now another one may have its name.
        read: Inode,
    },
}

/// Which file it is, whatever its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inode {
    device: u64,
    number: u64,
}

impl Inode {
    /// That of a file of which this is known.
    pub fn of(file: &Metadata) -> Self {
        Self { device: file.dev(), number: file.ino() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("it isn't on the disk"),
            Self::Length { found, expected } => write!(f, "it has {found} bytes instead of {expected}"),
            Self::NotAFile => f.write_str("it isn't a file"),
            Self::Bytes { .. } => f.write_str("its bytes don't match its hash"),
        }
    }
}
