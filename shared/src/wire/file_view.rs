//! What the event stream tells of one file: its latest version, the steps of its way, and who has it.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Error;

use crate::ids::{PeerId, Version};
use crate::wire::event::PeerState;
use crate::wire::members::Members;
use crate::wire::peer_view::PeerView;
use crate::wire::queue::ChangeKind;

/// A file's latest version and how far it has come. Times are milliseconds since 1970. A step without a time wasn't
/// told: it hasn't happened yet, or it happened before this server started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileView {
    /// The version.
    pub version: Version,
    /// The entry that touched it last: orders the files by recency.
    pub touched_seq: u64,
    /// What made this version; absent where this server wasn't told (an injected or a foreign file).
    pub change: Option<ChangeKind>,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// When it was acknowledged.
    pub stored_ms: Option<u64>,
    /// When the broker confirmed it.
    pub published_ms: Option<u64>,
    /// When an entry peer accepted it.
    pub forwarded_ms: Option<u64>,
    /// The moment at which all running peers had it. Set once: what happens later doesn't change it.
    pub reached: Option<Reached>,
    /// Which version each local peer knows, and since when.
    pub holders: BTreeMap<PeerId, Holding>,
    /// How many of the holders know `version` or a later one.
    pub current: u32,
}

/// What one peer knows of one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holding {
    /// The version.
    pub version: Version,
    /// Since when, in milliseconds since 1970; absent where it started with it.
    pub since_ms: Option<u64>,
}

/// That a version had reached all peers that could be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reached {
    /// How many peers had it: all that ran.
    pub peers: u32,
    /// How many peers there were, those that were down included.
    pub members: u32,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
}

/// Where a version is now. A peer that left with goodbye is no member any more and isn't counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reach {
    /// Peers that run and have it.
    pub have: u32,
    /// Peers that run and don't have it yet.
    pub behind: u32,
    /// Peers that were killed, whatever they had.
    pub down: u32,
    /// Peers that this server doesn't run: whether they have it isn't known here.
    pub elsewhere: u32,
}

impl Reach {
    /// How many peers it ought to reach, as far as this server knows.
    pub fn members(&self) -> u32 {
        self.have.saturating_add(self.behind).saturating_add(self.down)
    }

    /// Whether every one of them has it.
    pub fn is_whole(&self) -> bool {
        self.have > 0 && self.have == self.members()
    }
}

impl FileView {
    /// Nothing is known of it but its version.
    pub fn new(version: Version) -> Self {
        Self {
            version,
            touched_seq: 0,
            change: None,
            size_bytes: 0,
            stored_ms: None,
            published_ms: None,
            forwarded_ms: None,
            reached: None,
            holders: BTreeMap::new(),
            current: 0,
        }
    }

    /// Whether this version is somebody else's: later than `version`, the latest that the server has, and not made by it.
    pub fn is_foreign(&self, version: Version) -> bool {
        self.version > version && self.stored_ms.is_none()
    }

    /// Where its version is among `peers`.
    pub fn reach(&self, peers: &BTreeMap<PeerId, PeerView>) -> Reach {
        let mut reach = Reach::default();
        for (peer, view) in peers {
            let counter = match view.state {
                PeerState::Up if self.is_current_at(peer) => &mut reach.have,
                PeerState::Up => &mut reach.behind,
                PeerState::Killed => &mut reach.down,
                PeerState::Remote | PeerState::Unknown => &mut reach.elsewhere,
                // Who stands by is a copy of another, which is a member.
                PeerState::Left | PeerState::StandsBy => continue,
            };
            *counter = counter.saturating_add(1);
        }
        reach
    }

    /// Notes that `version` was seen; the way of a newer one starts anew.
    pub(super) fn advance(&mut self, version: Version, seq: u64) {
        self.touched_seq = seq;
        if version > self.version {
            let holders = std::mem::take(&mut self.holders);
            *self = Self { touched_seq: seq, holders, ..Self::new(version) };
        }
    }

    /// `peer` knows `version` now.
    pub(super) fn hold(&mut self, peer: PeerId, version: Version, since_ms: Option<u64>) {
        let was_current = self.is_current_at(&peer);
        self.holders.insert(peer, Holding { version, since_ms });
        if !was_current && self.is_current_at(&peer) {
            self.current = self.current.saturating_add(1);
        }
    }

    /// What `peer` knows isn't known any more.
    pub(super) fn forget(&mut self, peer: &PeerId) {
        if self.is_current_at(peer) {
            self.current = self.current.saturating_sub(1);
        }
        self.holders.remove(peer);
    }

    fn is_current_at(&self, peer: &PeerId) -> bool {
        self.holders.get(peer).is_some_and(|held| held.version >= self.version)
    }
}

impl<'de> Deserialize<'de> for FileView {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Members::read(deserializer, view)
    }
}

fn view(members: &mut Members) -> Result<FileView, Error> {
    Ok(FileView {
        version: members.take("version")?,
        touched_seq: members.take("touched_seq")?,
        change: members.take("change")?,
        size_bytes: members.take("size_bytes")?,
        stored_ms: members.take("stored_ms")?,
        published_ms: members.take("published_ms")?,
        forwarded_ms: members.take("forwarded_ms")?,
        reached: members.take("reached")?,
        holders: members.take("holders")?,
        current: members.take("current")?,
    })
}
