//! What a peer tells all others of itself.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::ids::PeerId;
use crate::wire::broadcast::Source;

/// A peer's state at one moment. The record with the larger `(started, source, serial)` replaces the other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Who.
    pub peer: PeerId,
    /// Its present life.
    pub source: Source,
    /// When that life began, in milliseconds since 1970 by its own clock.
    pub started: u64,
    /// Its place among the records of this life, from 1.
    pub serial: u64,
    /// Where it listens.
    pub addr: SocketAddr,
    /// Whether this is its last: it has left.
    pub left: bool,
    /// Its neighbours; by the first 8 bytes of their ids.
    pub active: Box<[u64]>,
    /// How many more it knows.
    pub passive: u16,
    /// How many files it knows.
    pub files: u32,
    /// Changes that it applied in this life.
    pub applied: u64,
    /// Broadcasts that came to it twice or more in this life.
    pub duplicates: u64,
    /// The part of its time in which it was late for its own deadlines, in thousandths.
    pub load: u16,
    /// Its software's version.
    pub version: Box<str>,
}
