//! What a change demands of the version that it replaces, decided in the transaction of the change.

use shared::ids::Version;

use crate::store::error::StoreError;

/// Some versions of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Versions {
    /// Each that there is.
    Any,
    /// These; none when empty.
    OneOf(Vec<Version>),
}

impl Versions {
    /// Whether `version` is one of them.
    pub fn contains(&self, version: Version) -> bool {
        match self {
            Self::Any => true,
            Self::OneOf(versions) => versions.contains(&version),
        }
    }
}

/// Which versions a change may replace: one of `these` that is none of `others`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Precondition {
    /// The file must be at one of these.
    pub these: Versions,
    /// The file must not be at one of these.
    pub others: Versions,
}

impl Precondition {
    /// Whichever version there is.
    pub const ANY: Self = Self { these: Versions::Any, others: Versions::OneOf(Vec::new()) };

    /// Whether a file at `current` may be changed.
    ///
    /// # Errors
    /// When it may not.
    pub fn check(&self, current: Version) -> Result<(), StoreError> {
        let holds = self.these.contains(current) && !self.others.contains(current);
        if holds { Ok(()) } else { Err(StoreError::VersionMismatch { current }) }
    }
}
