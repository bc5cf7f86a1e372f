//! How broadcasts are named: by their source, and their number there.

use serde::{Deserialize, Serialize};

/// One life of a peer, from start to stop: a random number that stands for (origin, incarnation).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Source(pub u64);

/// Names one broadcast for ever: its source, and its place among that source's broadcasts, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MessageId {
    /// Who sent it first.
    pub source: Source,
    /// Its number there.
    pub seq: u64,
}

/// Consecutive broadcasts of one source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct IdRange {
    /// The source.
    pub source: Source,
    /// The first of them.
    pub first: u64,
    /// The last of them.
    pub last: u64,
}

impl IdRange {
    /// Whether a number is in it.
    pub fn has(&self, seq: u64) -> bool {
        (self.first..=self.last).contains(&seq)
    }
}

/// An announcement of broadcasts that the receiver may have missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announced {
    /// Which.
    pub range: IdRange,
    /// Over how many links the last of them came to the sender.
    pub hops: u16,
}
