//! The story of a run: what the server tells of its own peers, told of simulated ones, so that who watches needn't know
//! the difference.

use crate::gossip::catalogue::Catalogue;
use crate::gossip::io::NodeEvent;
use crate::gossip::story;
use crate::ids::{FileId, PeerId, Version};
use crate::wire::event::{Entry, Event};
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

/// What has been told and not taken yet.
#[derive(Debug, Default)]
pub(super) struct Story {
    seq: u64,
    told: Vec<Told>,
}

impl Story {
    /// A peer starts with what its disk holds.
    pub(super) fn kept(&mut self, peer: PeerId, disk: &Catalogue) {
        let holds = disk.iter().map(|update| (update.file.clone(), update.version)).collect();
        self.told.push(Told::Kept { peer, holds });
    }

    /// Something happened; `at_ms`: when, in milliseconds since 1970.
    pub(super) fn happened(&mut self, event: Event, at_ms: u64) {
        self.seq += 1;
        self.told.push(Told::Happened(Entry { seq: self.seq, at_ms, event }));
    }

    /// A node says that something happened to it.
    pub(super) fn heard(&mut self, peer: PeerId, event: &NodeEvent, at_ms: u64) {
        if let Some(event) = story::told(peer, event) {
            self.happened(event, at_ms);
        }
    }

    /// Returns what was told since this was asked the last time.
    pub(super) fn take(&mut self) -> Vec<Told> {
        std::mem::take(&mut self.told)
    }
}
