//! The story of a run: what the server tells of its own peers, told of simulated ones, so that who watches needn't know
//! the difference.

use std::ops::Range;

use crate::gossip::catalogue::Catalogue;
use crate::gossip::io::NodeEvent;
use crate::gossip::story;
use crate::ids::{FileId, PeerId, Version};
use crate::sim::host::{addr, peer_id};
use crate::wire::event::{Entry, Event, PeerState};
use crate::wire::overview::Overview;

/// Something that is told of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// A peer is about to start with what its disk holds: part of the state, yet too large for an entry.
    Kept {
        /// Who.
        peer: PeerId,
        /// What it knows.
        holds: Vec<(FileId, Version)>,
    },
    /// Something happened.
    Happened(Entry),
}

impl Told {
    /// Takes it over into what was known before.
    pub fn fold_into(self, overview: &mut Overview) {
        match self {
            Self::Kept { peer, holds } => overview.load_catalogue(peer, holds),
            Self::Happened(entry) => overview.apply(&entry),
        }
    }
}

/// What has been told of some hosts and not taken yet.
#[derive(Debug)]
pub(super) struct Story {
    ours: Range<usize>,
    of_nodes: story::Story,
    seq: u64,
    told: Vec<Told>,
}

impl Story {
    /// Nothing was told yet of these hosts.
    pub(super) fn of(ours: Range<usize>) -> Self {
        Self { ours, of_nodes: story::Story::default(), seq: 0, told: Vec::new() }
    }

    /// A host starts with what its disk holds; `at_ms`: when, in milliseconds since 1970.
    pub(super) fn started(&mut self, host: usize, disk: &Catalogue, at_ms: u64) {
        if self.ours.contains(&host) {
            let holds = disk.iter().map(|update| (update.file.clone(), update.version)).collect();
            self.told.push(Told::Kept { peer: peer_id(host), holds });
            let event = self.of_nodes.started(peer_id(host), addr(host), disk.files());
            self.tell(event, at_ms);
        }
    }

    /// A host stops.
    pub(super) fn stopped(&mut self, host: usize, state: PeerState, at_ms: u64) {
        if self.ours.contains(&host) {
            for event in self.of_nodes.stopped(peer_id(host), state) {
                self.tell(event, at_ms);
            }
        }
    }

    /// The node of a host says that something happened to it.
    pub(super) fn heard(&mut self, host: usize, event: &NodeEvent, at_ms: u64) {
        if self.ours.contains(&host)
            && let Some(event) = self.of_nodes.heard(peer_id(host), event)
        {
            self.tell(event, at_ms);
        }
    }

    /// Returns what was told since this was asked the last time.
    pub(super) fn take(&mut self) -> Vec<Told> {
        std::mem::take(&mut self.told)
    }

    fn tell(&mut self, event: Event, at_ms: u64) {
        self.seq += 1;
        self.told.push(Told::Happened(Entry { seq: self.seq, at_ms, event }));
    }
}
