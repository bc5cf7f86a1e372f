//! What the event stream tells of one peer.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::ids::PeerId;
use crate::wire::event::PeerState;

/// A peer as last heard of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerView {
    /// Where it listens.
    pub addr: SocketAddr,
    /// Whether it runs.
    pub state: PeerState,
    /// How many files it knows; deleted ones don't count.
    pub files: u32,
    /// Its neighbours, as it sees them itself.
    pub neighbours: BTreeSet<PeerId>,
}
