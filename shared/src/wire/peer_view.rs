//! What the event stream tells of one peer.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Error;

use crate::ids::PeerId;
use crate::wire::event::PeerState;
use crate::wire::members::Members;

/// A peer as last heard of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
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

impl<'de> Deserialize<'de> for PeerView {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Members::read(deserializer, view)
    }
}

fn view(members: &mut Members) -> Result<PeerView, Error> {
    Ok(PeerView {
        addr: members.take("addr")?,
        state: members.take("state")?,
        files: members.take("files")?,
        neighbours: members.take("neighbours")?,
    })
}
