//! Who is told what happens at a peer.

use std::fmt::Debug;
use std::net::SocketAddr;
use std::path::Path;

use shared::gossip::catalogue::Catalogue;
use shared::gossip::io::NodeEvent;
use shared::ids::PeerId;
use shared::wire::condition::Condition;
use shared::wire::event::{Event, PeerState};
use tracing::{debug, info, warn};

use crate::hub::Hub;
use crate::log_lines::Line;
use crate::peer::PeerError;

/// Which peer something happens at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Who it is.
    pub peer: PeerId,
    /// Where others dial it; from this machine, if it listens everywhere.
    pub addr: SocketAddr,
    /// Where it listens.
    pub bound: SocketAddr,
}

/// Hears of everything that happens at peers, for each in order, from the peer's own loop: it must not take long.
pub trait Observer: Debug + Send + Sync {
    /// A peer starts with what it kept.
    fn started(&self, at: Place, kept: &Catalogue);
    /// Something happened at a peer.
    fn observe(&self, at: Place, event: NodeEvent);
    /// A peer has stopped.
    fn stopped(&self, at: Place, state: PeerState);
    /// What a peer had kept was damaged; it is at `aside` now, and the peer begins anew.
    fn state_was_damaged(&self, aside: &Path, why: &PeerError);
}

/// Logged, and told to those who watch.
impl Observer for Hub {
    fn started(&self, at: Place, kept: &Catalogue) {
        self.load_catalogue(at.peer, kept.iter().map(|update| (update.file.clone(), update.version)));
        let known = if at.bound.ip().is_unspecified() && at.addr.ip().is_loopback() {
            ", known by the address at which neighbours see it".to_owned()
        } else if at.bound == at.addr {
            String::new()
        } else {
            format!(", known as {}", at.addr)
        };
        info!(peer.id = %at.peer.short(), "{}{known}", Line::Listening(at.bound));
        self.emit(Event::PeerStarted { peer: at.peer, addr: at.addr, files: kept.files() });
    }

    fn observe(&self, at: Place, event: NodeEvent) {
        log(self, at.addr, &event);
        let peer = at.peer;
        self.emit(match event {
            NodeEvent::Applied { file, version, files } => Event::UpdateApplied { peer, file, version, files },
            NodeEvent::Learned { addr } => Event::PeerLearned { peer, addr },
            NodeEvent::NeighbourUp { peer: neighbour, addr } => Event::LinkUp { peer, neighbour, addr },
            NodeEvent::NeighbourDown { peer: neighbour, addr: _, reason } => {
                Event::LinkDown { peer, neighbour, reason: reason.to_string() }
            }
            NodeEvent::Received { from, file, version, hops, fresh } => {
                Event::UpdateReceived { peer, from, file, version, hops, fresh }
            }
            NodeEvent::Suspected { .. }
            | NodeEvent::Slow { .. }
            | NodeEvent::KeepsUp { .. }
            | NodeEvent::Rejected { .. }
            | NodeEvent::ClockWrong { .. }
            | NodeEvent::ClocksAgree
            | NodeEvent::Unreached { .. }
            | NodeEvent::Alone { .. }
            | NodeEvent::SeenAt { .. }
            | NodeEvent::Twin { .. }
            | NodeEvent::Twins { .. }
            | NodeEvent::NotUnderstood { .. }
            | NodeEvent::Misbehaved { .. } => return,
        });
    }

    fn stopped(&self, at: Place, state: PeerState) {
        info!(peer.addr = %at.addr, "[P2P] stopped");
        self.emit(Event::PeerStopped { peer: at.peer, state });
    }

    fn state_was_damaged(&self, aside: &Path, why: &PeerError) {
        let aside = aside.display();
        warn!(error = why as &dyn std::error::Error, "[P2P] a peer's state is damaged; it is kept as {aside}");
        let detail = format!("the state of a peer was set aside as {aside}; it began anew and learns all from others");
        self.raise(Condition::DamagedPeerState, detail);
    }
}

/// What the peers of one process say to each other is no news: each address is told once, and their links aren't.
fn log(hub: &Hub, me: SocketAddr, event: &NodeEvent) {
    let runs_here =
        |peer| hub.read(|overview| overview.peers.get(peer).is_some_and(|at| at.state != PeerState::Remote));
    match event {
        NodeEvent::Applied { file, version, .. } => {
            info!(peer.addr = %me, "{}", Line::Applied(file, *version));
        }
        NodeEvent::Learned { addr } if hub.first_learns(*addr) => {
            info!(peer.addr = %me, "{}, of whom {me} was told", Line::Learned(*addr));
        }
        NodeEvent::Learned { addr } => debug!(peer.addr = %me, "{}, of whom {me} was told", Line::Learned(*addr)),
        NodeEvent::NeighbourUp { peer, addr } if runs_here(peer) => {
            debug!(peer.addr = %me, "{}", Line::Connected(*addr));
        }
        NodeEvent::NeighbourUp { addr, .. } => info!(peer.addr = %me, "{}", Line::Connected(*addr)),
        NodeEvent::NeighbourDown { peer, addr, reason } if runs_here(peer) => {
            debug!(peer.addr = %me, "{}", Line::Lost(&peer.short(), *addr, &reason.to_string()));
        }
        NodeEvent::NeighbourDown { peer, addr, reason } => {
            info!(peer.addr = %me, "{}", Line::Lost(&peer.short(), *addr, &reason.to_string()));
        }
        NodeEvent::Suspected { peer, addr } => {
            warn!(peer.addr = %me, "[P2P] neighbour {} at {addr} doesn't answer", peer.short());
        }
        NodeEvent::Slow { peer } => warn!(peer.addr = %me, "[P2P] neighbour {} doesn't keep up", peer.short()),
        NodeEvent::KeepsUp { peer, withheld } => {
            info!(peer.addr = %me, withheld, "[P2P] neighbour {} keeps up again; it catches up now", peer.short());
        }
        NodeEvent::Rejected { file, reason } => {
            warn!(peer.addr = %me, "[P2P] rejected a change of {file}: {reason}");
        }
        // For faults see [`super::report`].
        NodeEvent::Received { .. }
        | NodeEvent::Unreached { .. }
        | NodeEvent::Alone { .. }
        | NodeEvent::SeenAt { .. }
        | NodeEvent::Twin { .. }
        | NodeEvent::Twins { .. }
        | NodeEvent::ClockWrong { .. }
        | NodeEvent::ClocksAgree
        | NodeEvent::NotUnderstood { .. }
        | NodeEvent::Misbehaved { .. } => {}
    }
}
