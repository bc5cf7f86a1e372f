//! What can be wrong with a content.

use std::fmt;

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
    /// Its bytes don't match its hash.
    Bytes,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("it isn't on the disk"),
            Self::Length { found, expected } => write!(f, "it has {found} bytes instead of {expected}"),
            Self::Bytes => f.write_str("its bytes don't match its hash"),
        }
    }
}
