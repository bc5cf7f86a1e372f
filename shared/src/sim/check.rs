//! The promises that a run is held to.

use std::time::Duration;

use crate::gossip::catalogue::Catalogue;
use crate::ids::{FileId, Version};
use crate::wire::update::FileUpdate;

/// A broken promise.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// A peer's catalogue went back.
    #[error("host {host} went back from version {from} to {to} of {file}")]
    WentBack {
        /// Where.
        host: usize,
        /// Which file.
        file: FileId,
        /// The version before.
        from: Version,
        /// The version after.
        to: Version,
    },
    /// A peer knows what nobody published.
    #[error("host {host} knows {file} v{version}, which nobody published")]
    Invented {
        /// Where.
        host: usize,
        /// Which file.
        file: FileId,
        /// Which version.
        version: Version,
    },
    /// Two peers that can reach each other don't know the same.
    #[error("hosts {a} and {b} are in one overlay and differ after {after:?}")]
    Diverged {
        /// One.
        a: usize,
        /// The other.
        b: usize,
        /// How long after the end of the faults.
        after: Duration,
    },
    /// Two peers of which one knows the other's address never came together.
    #[error("host {a} knows the address of host {b}, yet they are in different overlays after {after:?}")]
    Apart {
        /// One.
        a: usize,
        /// The other.
        b: usize,
        /// How long after the end of the faults.
        after: Duration,
    },
}

/// What one step did to a host's catalogue: nothing went back, and nothing came in that nobody published.
///
/// # Errors
/// The promise that the step broke.
pub fn safety(host: usize, before: &Catalogue, after: &Catalogue, published: &[FileUpdate]) -> Result<(), Violation> {
    for update in after.iter().filter(|update| before.get(&update.file) != Some(update)) {
        if !published.contains(update) {
            return Err(Violation::Invented { host, file: update.file.clone(), version: update.version });
        }
    }
    for update in before.iter() {
        let now = after.get(&update.file).filter(|now| now.rank() >= update.rank());
        if now.is_none() {
            let to = after.get(&update.file).map_or(Version::FIRST, |now| now.version);
            return Err(Violation::WentBack { host, file: update.file.clone(), from: update.version, to });
        }
    }
    Ok(())
}
