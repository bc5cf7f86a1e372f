//! Feeds the hub: what happens at the peers of this process, for the page, and what is wrong with them.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use shared::gossip::catalogue::Catalogue;
use shared::gossip::io::NodeEvent;
use shared::gossip::stats::Stats;
use shared::gossip::story;
use shared::wire::condition::Condition;
use shared::wire::event::{Event, PeerState};

use crate::hub::Hub;
use crate::peer::PeerError;
use crate::peer::fault::{self, Change, Faults};
use crate::peer::observer::{Observer, Place};

/// Tells the hub of the peers of a process; one for all of them.
#[derive(Debug)]
pub struct Teller {
    hub: Hub,
    /// A lock is enough: it is held to change an entry and to tell the hub.
    faults: Mutex<Faults>,
}

impl Teller {
    /// Of whose peers `hub` hears.
    pub fn new(hub: Hub) -> Self {
        Self { hub, faults: Mutex::default() }
    }

    fn set(&self, at: Place, change: Change) {
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        for (condition, fault) in faults.take(at.peer, change) {
            // Of each peer the log says it.
            match fault {
                Some(fault) => drop(self.hub.begin(condition, fault)),
                None => drop(self.hub.end(condition)),
            }
        }
    }
}

impl Observer for Teller {
    fn started(&self, at: Place, kept: &Catalogue) {
        self.hub.load_catalogue(at.peer, kept.iter().map(|update| (update.file.clone(), update.version)));
        self.hub.emit(Event::PeerStarted { peer: at.peer, addr: at.addr, files: kept.files() });
    }

    fn observe(&self, at: Place, event: &NodeEvent) {
        if let Some(change) = fault::change(at, event) {
            self.set(at, change);
        }
        if let Some(event) = story::told(at.peer, event) {
            self.hub.emit(event);
        }
    }

    fn stopped(&self, at: Place, state: PeerState, _stats: &Stats) {
        self.set(at, fault::ENDS_WITH_THE_PEER);
        self.hub.emit(Event::PeerStopped { peer: at.peer, state });
    }

    fn state_was_damaged(&self, aside: &Path, _why: &PeerError) {
        self.hub.begin(Condition::DamagedPeerState, fault::damaged(aside));
    }
}
