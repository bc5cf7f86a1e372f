//! A simulated host: its node, its disk, its address.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use crate::gossip::catalogue::Catalogue;
use crate::gossip::io::{JournalSeq, LinkId};
use crate::gossip::node::Node;
use crate::ids::{FileId, PeerId, Version};
use crate::time::Instant;
use crate::wire::update::FileUpdate;

/// A host between one start and the next: what is under way to a former life is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Life {
    /// Which host.
    pub host: usize,
    /// Its how many-th start.
    pub start: u32,
}

/// A place where a node may run.
#[derive(Debug, Default)]
pub struct Host {
    /// What runs there.
    pub node: Option<Box<Node>>,
    /// How often it was started.
    pub starts: u32,
    /// The links that it hasn't closed.
    pub links: BTreeSet<LinkId>,
    /// What survives a kill.
    pub disk: Catalogue,
    /// What is on its way to the disk.
    pub uncommitted: Vec<(JournalSeq, Arc<FileUpdate>)>,
    /// The versions that its node has told to be applied, since its start.
    pub applied: BTreeMap<FileId, Version>,
    /// Which side of a partition it is on; packets only travel within one.
    pub side: u8,
    /// Stopped, as by SIGSTOP: what comes waits.
    pub paused: bool,
    /// When its node is to be woken.
    pub wake_at: Option<Instant>,
}

/// Simulated hosts listen at 10.0.0.0 upwards: an address is a number.
pub fn addr(host: usize) -> SocketAddr {
    let number = 0x0a00_0000 + u32::try_from(host).unwrap_or(u32::MAX >> 1);
    SocketAddr::from((number.to_be_bytes(), 9001))
}

/// The host at an address; beyond all hosts where there is none.
pub fn host_at(addr: SocketAddr) -> usize {
    match addr {
        SocketAddr::V4(v4) => usize::try_from(v4.ip().to_bits().wrapping_sub(0x0a00_0000)).unwrap_or(usize::MAX),
        SocketAddr::V6(_) => usize::MAX,
    }
}

/// Who runs at a host: a hash, as ids of real peers are.
pub fn peer_id(host: usize) -> PeerId {
    PeerId(*blake3::hash(&u64::try_from(host).unwrap_or(u64::MAX).to_be_bytes()).as_bytes())
}
