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
    /// How many files it knows; deleted ones don't count. Absent where a peer that this server doesn't run hasn't told
    /// anything: then its neighbours aren't known either.
    pub files: Option<u32>,
    /// Its neighbours, as it sees them itself. Of two that this server doesn't run: as the one says that told last.
    pub neighbours: BTreeSet<PeerId>,
}

impl PeerView {
    /// A peer that this server doesn't run; nothing is known of it but where it listens.
    pub(super) fn elsewhere(addr: SocketAddr) -> Self {
        Self { addr, state: PeerState::Unknown, files: None, neighbours: BTreeSet::new() }
    }
}
