//! Feeds the hub: what happens at the peers of this process, for the page, and what is wrong with them.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use shared::gossip::catalogue::Catalogue;
use shared::gossip::io::NodeEvent;
use shared::gossip::stats::Stats;
use shared::gossip::story::Story;
use shared::wire::condition::Condition;
use shared::wire::event::PeerState;

use crate::hub::Hub;
use crate::peer::PeerError;
use crate::peer::fault::{self, Change, Faults};
use crate::peer::observer::{Observer, Place};

/// Tells the hub of the peers of a process; one for all of them.
#[derive(Debug)]
pub struct Teller {
    hub: Hub,
    /// A lock is enough: it is held to change an entry and to tell the hub.
    told: Mutex<Told>,
}

#[derive(Debug, Default)]
struct Told {
    story: Story,
    faults: Faults,
}

impl Teller {
    /// Of whose peers `hub` hears.
    pub fn new(hub: Hub) -> Self {
        Self { hub, told: Mutex::default() }
    }

    fn set(&self, at: Place, change: Change) {
        let mut told = self.lock();
        for (condition, fault) in told.faults.take(at.peer, change) {
            // Of each peer the log says it.
            match fault {
                Some(fault) => drop(self.hub.begin(condition, fault)),
                None => drop(self.hub.end(condition)),
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Teller {
    fn started(&self, at: Place, kept: &Catalogue) {
        self.hub.load_catalogue(at.peer, kept.iter().map(|update| (update.file.clone(), update.version)));
        let mut told = self.lock();
        self.hub.emit(told.story.started(at.peer, at.addr, kept.files()));
    }

    fn observe(&self, at: Place, event: &NodeEvent) {
        if let Some(change) = fault::change(at, event) {
            self.set(at, change);
        }
        // In the order of the story: what one peer hears can depend on what another has heard.
        let mut told = self.lock();
        if let Some(event) = told.story.heard(at.peer, event) {
            self.hub.emit(event);
        }
    }

    fn stopped(&self, at: Place, state: PeerState, _stats: &Stats) {
        self.set(at, fault::ENDS_WITH_THE_PEER);
        let mut told = self.lock();
        for event in told.story.stopped(at.peer, state) {
            self.hub.emit(event);
        }
    }

    fn state_was_damaged(&self, aside: &Path, _why: &PeerError) {
        self.hub.begin(Condition::DamagedPeerState, fault::damaged(aside));
    }
}
