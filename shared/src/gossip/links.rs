//! The open links of a node, and who is at their other ends.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use crate::gossip::comparison::Comparison;
use crate::gossip::config::Limits;
use crate::gossip::failure_detector::FailureDetector;
use crate::gossip::io::LinkId;
use crate::ids::PeerId;
use crate::time::Instant;
use crate::wire::peer::{Incarnation, Partner, Purpose};

/// One open connection.
#[derive(Debug, Clone)]
pub struct Link {
    /// The other end, as the socket tells it.
    pub remote: SocketAddr,
    /// How this node dialled it; absent when the other side dialled.
    pub dialled: Option<Dialled>,
    /// When it opened.
    pub opened: Instant,
    /// Who is there.
    pub role: Role,
    /// Whether it is alive.
    pub detector: FailureDetector,
    /// What the other side says of its partner.
    pub partner: Partner,
    /// When catalogues are compared on it.
    pub comparison: Comparison,
    /// Which life of the other side it is, as far as it has said.
    pub life: Option<Incarnation>,
    /// Where the other side sees this node.
    pub sees: Option<SocketAddr>,
    /// Other addresses at which the same peer was met while this link is open.
    pub aliases: Vec<SocketAddr>,
    /// When somebody else first came with the same id.
    pub rivalled: Option<Instant>,
    quota: Quota,
}

/// An address that this node dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dialled {
    /// The address.
    pub addr: SocketAddr,
    /// What for.
    pub purpose: Purpose,
}

/// One of the active view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Neighbour {
    /// The link with it.
    pub link: LinkId,
    /// Who it is.
    pub peer: PeerId,
    /// Where it listens.
    pub addr: SocketAddr,
}

/// Whether a message may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It may.
    Admitted,
    /// There were too many.
    TooMany,
    /// The link is closed.
    Closed,
}

/// Who is at the other end of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It hasn't said hello yet.
    Stranger,
    /// It has said hello, and has still to say whether it wants this node as a neighbour.
    Asked {
        /// Who.
        peer: PeerId,
        /// Where it listens.
        addr: SocketAddr,
    },
    /// A peer of the active view.
    Neighbour {
        /// Who.
        peer: PeerId,
        /// Where it listens.
        addr: SocketAddr,
    },
    /// It submits changes and gets no others.
    Client,
    /// It was dialled as an original, which speaks first, and hasn't spoken yet.
    Expected {
        /// The address that was dialled.
        addr: SocketAddr,
    },
    /// An original, or its bridge: it speaks JSON lines.
    Original {
        /// The address that was dialled, to tell it what is known here; absent when the other side dialled, to tell.
        dialled: Option<SocketAddr>,
    },
}

impl Link {
    /// The address that this node dialled.
    pub fn dialled_addr(&self) -> Option<SocketAddr> {
        self.dialled.map(|dialled| dialled.addr)
    }

    /// What this node dialled it for.
    pub fn purpose(&self) -> Option<Purpose> {
        self.dialled.map(|dialled| dialled.purpose)
    }

    /// The address under which one side dialled the other, as far as is known: two links at once under different ones
    /// are with one peer that has several addresses.
    pub fn target(&self) -> Option<SocketAddr> {
        self.dialled_addr().or(self.sees)
    }
}

impl Role {
    /// The peer there, if it is one, and where it listens.
    pub fn peer(self) -> Option<(PeerId, SocketAddr)> {
        match self {
            Self::Asked { peer, addr } | Self::Neighbour { peer, addr } => Some((peer, addr)),
            Self::Stranger | Self::Client | Self::Expected { .. } | Self::Original { .. } => None,
        }
    }

    fn is_neighbour(self) -> bool {
        matches!(self, Self::Neighbour { .. })
    }
}

/// How many messages may still come: a bucket that fills with time (GCRA's virtual scheduling has the same effect).
#[derive(Debug, Clone)]
struct Quota {
    left: u64,
    filled: Instant,
}

impl Quota {
    fn take(&mut self, now: Instant, limits: &Limits) -> bool {
        let micros = u64::try_from((now - self.filled).as_micros()).unwrap_or(u64::MAX);
        let more = micros.saturating_mul(limits.messages_per_second) / 1_000_000;
        if more > 0 {
            self.left = self.left.saturating_add(more).min(limits.burst);
            self.filled = now;
        }
        let enough = self.left > 0;
        self.left = self.left.saturating_sub(1);
        enough
    }
}

/// All open links; at most one of them is with each peer.
#[derive(Debug)]
pub struct Links {
    limits: Limits,
    open: BTreeMap<LinkId, Link>,
    peers: BTreeMap<PeerId, LinkId>,
    /// How many of them are neighbours.
    active: usize,
}

impl Links {
    /// None yet; what others may do on them.
    pub fn new(limits: Limits) -> Self {
        Self { limits, open: BTreeMap::new(), peers: BTreeMap::new(), active: 0 }
    }

    /// Whether there are as many as may be, in all or with one address.
    pub fn are_too_many(&self, remote: SocketAddr) -> bool {
        let with_ip = || self.open.values().filter(|link| link.remote.ip() == remote.ip()).count();
        self.open.len() >= self.limits.links || !remote.ip().is_loopback() && with_ip() >= self.limits.links_per_ip
    }

    /// A new one, with a stranger.
    pub fn open(&mut self, id: LinkId, remote: SocketAddr, dialled: Option<Dialled>, now: Instant) {
        let quota = Quota { left: self.limits.burst, filled: now };
        let (role, detector, partner) = (Role::Stranger, FailureDetector::new(now), Partner::default());
        let link = Link {
            remote,
            dialled,
            opened: now,
            role,
            detector,
            partner,
            comparison: Comparison::default(),
            life: None,
            sees: None,
            aliases: Vec::new(),
            rivalled: None,
            quota,
        };
        self.open.insert(id, link);
    }

    /// One link.
    pub fn get(&self, id: LinkId) -> Option<&Link> {
        self.open.get(&id)
    }

    /// One link, to be changed; its role only by [`Links::identify`].
    pub fn get_mut(&mut self, id: LinkId) -> Option<&mut Link> {
        self.open.get_mut(&id)
    }

    /// A message was heard on a link. Returns whether it may be.
    pub fn heard(&mut self, id: LinkId, now: Instant) -> Admission {
        let Some(link) = self.open.get_mut(&id) else { return Admission::Closed };
        link.detector.heard(now);
        if link.quota.take(now, &self.limits) { Admission::Admitted } else { Admission::TooMany }
    }

    /// The other end of a link is known now. A former link with the same peer must have been closed.
    pub fn identify(&mut self, id: LinkId, role: Role) {
        if let Some(link) = self.open.get_mut(&id) {
            self.active -= usize::from(link.role.is_neighbour());
            self.active += usize::from(role.is_neighbour());
            link.role = role;
        }
        if let Some((peer, _)) = role.peer() {
            self.peers.insert(peer, id);
        }
    }

    /// Takes a link out.
    pub fn close(&mut self, id: LinkId) -> Option<Link> {
        let link = self.open.remove(&id)?;
        self.active -= usize::from(link.role.is_neighbour());
        if let Some((peer, _)) = link.role.peer()
            && self.peers.get(&peer) == Some(&id)
        {
            self.peers.remove(&peer);
        }
        Some(link)
    }

    /// The link with a peer.
    pub fn with(&self, peer: PeerId) -> Option<LinkId> {
        self.peers.get(&peer).copied()
    }

    /// The active view.
    pub fn neighbours(&self) -> impl Iterator<Item = Neighbour> {
        self.peers.values().filter_map(|id| match self.open.get(id)?.role {
            Role::Neighbour { peer, addr } => Some(Neighbour { link: *id, peer, addr }),
            Role::Stranger | Role::Asked { .. } | Role::Client | Role::Expected { .. } | Role::Original { .. } => None,
        })
    }

    /// The links with neighbours, but for one.
    pub fn neighbours_but(&self, link: LinkId) -> Vec<LinkId> {
        self.neighbours().map(|neighbour| neighbour.link).filter(|id| *id != link).collect()
    }

    /// The size of the active view.
    pub fn active(&self) -> usize {
        self.active
    }

    /// All links.
    pub fn iter(&self) -> impl Iterator<Item = (LinkId, &Link)> {
        self.open.iter().map(|(id, link)| (*id, link))
    }

    /// All links, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (LinkId, &mut Link)> {
        self.open.iter_mut().map(|(id, link)| (*id, link))
    }

    /// Nothing could be heard for `pause`, since this node itself was held up: it counts for no link.
    pub fn discount(&mut self, pause: Duration) {
        for link in self.open.values_mut() {
            link.detector.discount(pause);
            link.opened = link.opened + pause;
        }
    }
}
