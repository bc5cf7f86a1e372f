//! A simulated host: its node, its disk, its address.

use std::net::SocketAddr;

use crate::gossip::catalogue::Catalogue;
use crate::gossip::io::Ticket;
use crate::gossip::node::Node;
use crate::ids::PeerId;
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
    pub node: Option<Node>,
    /// How often it was started.
    pub starts: u32,
    /// What survives a kill.
    pub disk: Catalogue,
    /// What is on its way to the disk.
    pub uncommitted: Vec<(Ticket, FileUpdate)>,
    /// Cut off from all others.
    pub isolated: bool,
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

/// Who runs at a host.
pub fn peer_id(host: usize) -> PeerId {
    let mut id = [0; 32];
    for (byte, value) in id.iter_mut().zip(host.to_be_bytes()) {
        *byte = value;
    }
    PeerId(id)
}
