//! The open links of a node, and who is at their other ends.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::gossip::io::LinkId;
use crate::ids::PeerId;
use crate::time::Instant;

/// One open connection.
#[derive(Debug, Clone)]
pub struct Link {
    /// The other end, as the socket tells it.
    pub remote: SocketAddr,
    /// The address that this node dialled; absent when the other side dialled.
    pub dialled: Option<SocketAddr>,
    /// When it opened.
    pub opened: Instant,
    /// When something was last heard on it.
    pub heard: Instant,
    /// Who is there.
    pub role: Role,
}

/// Who is at the other end of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It hasn't said hello yet.
    Stranger,
    /// A peer with which changes are exchanged.
    Neighbour {
        /// Who.
        peer: PeerId,
        /// Where it listens.
        addr: SocketAddr,
    },
    /// It submits changes and gets no others.
    Client,
}

/// All open links; at most one of them is with each neighbour.
#[derive(Debug, Default)]
pub struct Links {
    open: BTreeMap<LinkId, Link>,
    neighbours: BTreeMap<PeerId, LinkId>,
}

impl Links {
    /// How many are open.
    pub fn count(&self) -> usize {
        self.open.len()
    }

    /// A new one, with a stranger.
    pub fn open(&mut self, id: LinkId, remote: SocketAddr, dialled: Option<SocketAddr>, now: Instant) {
        self.open.insert(id, Link { remote, dialled, opened: now, heard: now, role: Role::Stranger });
    }

    /// One link.
    pub fn get(&self, id: LinkId) -> Option<&Link> {
        self.open.get(&id)
    }

    /// Something was heard on a link. Says whether the link is open.
    pub fn heard(&mut self, id: LinkId, now: Instant) -> bool {
        let link = self.open.get_mut(&id);
        link.map(|link| link.heard = now).is_some()
    }

    /// The other end of a link is known now. A former link with the same neighbour must have been closed.
    pub fn identify(&mut self, id: LinkId, role: Role) {
        if let Some(link) = self.open.get_mut(&id) {
            link.role = role;
        }
        if let Role::Neighbour { peer, .. } = role {
            self.neighbours.insert(peer, id);
        }
    }

    /// Takes a link out.
    pub fn close(&mut self, id: LinkId) -> Option<Link> {
        let link = self.open.remove(&id)?;
        if let Role::Neighbour { peer, .. } = link.role {
            self.neighbours.remove(&peer);
        }
        Some(link)
    }

    /// The link with a neighbour.
    pub fn with(&self, peer: PeerId) -> Option<LinkId> {
        self.neighbours.get(&peer).copied()
    }

    /// The links with neighbours.
    pub fn neighbours(&self) -> impl ExactSizeIterator<Item = LinkId> {
        self.neighbours.values().copied()
    }

    /// All links.
    pub fn iter(&self) -> impl Iterator<Item = (LinkId, &Link)> {
        self.open.iter().map(|(id, link)| (*id, link))
    }

    /// Nothing could be heard for `pause`, since this node itself was held up: it counts for no link.
    pub fn forgive(&mut self, pause: std::time::Duration) {
        for link in self.open.values_mut() {
            link.heard = link.heard + pause;
            link.opened = link.opened + pause;
        }
    }
}
