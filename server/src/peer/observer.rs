//! Who is told what happens at a peer: one observer logs ([`super::log`]), one tells the hub ([`super::teller`]), one
//! counts ([`super::counts`]).

use std::fmt::Debug;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use shared::gossip::catalogue::Catalogue;
use shared::gossip::io::NodeEvent;
use shared::gossip::stats::Stats;
use shared::ids::PeerId;
use shared::wire::event::PeerState;

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
    fn observe(&self, at: Place, event: &NodeEvent);
    /// A peer has stopped, after all this had happened to it.
    fn stopped(&self, at: Place, state: PeerState, counted: &Stats);
    /// What a peer had kept was damaged; it is at `aside` now, and the peer begins anew.
    fn state_was_damaged(&self, aside: &Path, why: &PeerError);
}

/// All who hear of a peer: each of everything, in their order.
#[derive(Debug, Clone, Default)]
pub struct Observers(Vec<Arc<dyn Observer>>);

impl Observers {
    /// The same and one more.
    #[must_use]
    pub fn and(mut self, observer: Arc<dyn Observer>) -> Self {
        self.0.push(observer);
        self
    }
}

impl Observer for Observers {
    fn started(&self, at: Place, kept: &Catalogue) {
        self.0.iter().for_each(|observer| observer.started(at, kept));
    }

    fn observe(&self, at: Place, event: &NodeEvent) {
        self.0.iter().for_each(|observer| observer.observe(at, event));
    }

    fn stopped(&self, at: Place, state: PeerState, counted: &Stats) {
        self.0.iter().for_each(|observer| observer.stopped(at, state, counted));
    }

    fn state_was_damaged(&self, aside: &Path, why: &PeerError) {
        self.0.iter().for_each(|observer| observer.state_was_damaged(aside, why));
    }
}
