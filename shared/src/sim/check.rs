//! The promises that a run is held to.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::gossip::node::Node;
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

/// What a node told that it applied is what it knows now, somebody published it, and its version didn't go back.
///
/// # Errors
/// The promise that the step broke.
pub fn applied(
    host: usize,
    node: &Node,
    file: &FileId,
    before: Option<Version>,
    published: &BTreeMap<(FileId, Version), Vec<FileUpdate>>,
) -> Result<Option<Arc<FileUpdate>>, Violation> {
    let Some(now) = node.catalogue().of_file(file) else { return Ok(None) };
    let version = now.version;
    let known = published.get(&(file.clone(), version)).is_some_and(|updates| updates.contains(now));
    if !known {
        return Err(Violation::Invented { host, file: file.clone(), version });
    }
    match before.filter(|before| *before > version) {
        Some(from) => Err(Violation::WentBack { host, file: file.clone(), from, to: version }),
        None => Ok(Some(now.clone())),
    }
}
