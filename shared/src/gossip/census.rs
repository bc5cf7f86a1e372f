//! What the overlay looks like: each peer's record of itself, spread by the same broadcast as the files and reconciled
//! with the same code, so that any peer can answer for all of it.
//!
//! A peer sends a record when its neighbours have changed, at most once in `shortest + n * per_peer` of
//! [`CensusRate`], and when only the count of changes it applied has, at most once in 100 times that; n is the number of peers it knows.
//! So at most `1 / per_peer` records arrive at a peer in a second however large the overlay is, 1/100 of that while
//! nobody comes or goes, and none while nothing happens at all.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::gossip::config::CensusRate;
use crate::gossip::ledger::{Entry, Ledger, key_of};
use crate::ids::PeerId;
use crate::time::Instant;
use crate::wire::census::Record;
use crate::wire::peer::Key;

/// How much longer than a change of neighbours a change of counters may wait.
const COUNTERS_WAIT: u32 = 100;

impl Entry for Record {
    fn key(&self) -> Key {
        key_of(&self.peer.0)
    }

    fn hash(&self) -> u64 {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.peer.0);
        for number in [self.started, self.source.0, self.serial] {
            hasher.update(&number.to_be_bytes());
        }
        hasher.finalize().as_bytes().first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
    }

    fn replaces(&self, other: &Self) -> bool {
        (self.started, self.source, self.serial) > (other.started, other.source, other.serial)
    }
}

/// The first 8 bytes of a peer's id: its name among another's neighbours.
pub fn short_name(peer: PeerId) -> u64 {
    peer.0.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

/// All records.
#[derive(Debug)]
pub struct Census {
    config: CensusRate,
    records: Ledger<Arc<Record>>,
    /// When each record came.
    came: BTreeMap<Key, Instant>,
    /// When this peer last sent its own.
    sent: Option<Instant>,
    serial: u64,
}

impl Census {
    /// Knows nobody.
    pub fn new(config: CensusRate) -> Self {
        Self { config, records: Ledger::default(), came: BTreeMap::new(), sent: None, serial: 0 }
    }

    /// Whether there is one.
    pub fn is_on(&self) -> bool {
        self.config.peers > 0
    }

    /// The records.
    pub fn records(&self) -> &Ledger<Arc<Record>> {
        &self.records
    }

    /// Takes a record in. Says whether it is news. When there are as many as there may be, no unknown peer is taken.
    pub fn merge(&mut self, record: Arc<Record>, now: Instant) -> bool {
        let key = record.key();
        let room = self.records.len() < self.config.peers || self.records.get(key).is_some();
        let news = room && self.records.merge(record);
        if news {
            self.came.insert(key, now);
        }
        news
    }

    /// The record of one peer.
    pub fn of(&self, peer: PeerId) -> Option<&Arc<Record>> {
        self.records.get(key_of(&peer.0))
    }

    /// When the next record of this peer may be sent, if its neighbours have changed (or else only its counters).
    pub fn due(&self, neighbours_changed: bool) -> Instant {
        let peers = u32::try_from(self.records.len()).unwrap_or(u32::MAX);
        let pause = self.config.shortest + self.config.per_peer.saturating_mul(peers);
        let pause = if neighbours_changed { pause } else { pause.saturating_mul(COUNTERS_WAIT) };
        self.sent.map_or(Instant::START, |sent| sent + pause)
    }

    /// The number of the record that is sent now.
    pub fn next_serial(&mut self, now: Instant) -> u64 {
        self.sent = Some(now);
        self.serial += 1;
        self.serial
    }

    /// The peers that `from` reaches over neighbours, as the records tell it.
    pub fn overlay_of(&self, from: PeerId) -> BTreeSet<PeerId> {
        let by_name: BTreeMap<u64, &Arc<Record>> =
            self.records.iter().filter(|record| !record.left).map(|record| (short_name(record.peer), record)).collect();
        let mut reached: BTreeSet<u64> = [short_name(from)].into();
        let mut todo = vec![short_name(from)];
        while let Some(name) = todo.pop() {
            let neighbours = by_name.get(&name).map(|record| record.active.as_slice()).unwrap_or_default();
            todo.extend(neighbours.iter().filter(|other| reached.insert(**other)));
        }
        reached.iter().filter_map(|name| by_name.get(name).map(|record| record.peer)).collect()
    }

    /// Forgets those of whom nothing was heard for long and who aren't reachable by what the others tell.
    pub fn forget_the_gone(&mut self, me: PeerId, now: Instant) {
        let Some(limit) = now.as_micros().checked_sub(micros(self.config.keep)).map(Instant::from_micros) else {
            return;
        };
        let old: Vec<Key> = self.came.iter().filter(|(_, came)| **came < limit).map(|(key, _)| *key).collect();
        if old.is_empty() {
            return;
        }
        let reached = self.overlay_of(me);
        for key in old {
            if self.records.get(key).is_none_or(|record| !reached.contains(&record.peer)) {
                self.records.remove(key);
                self.came.remove(&key);
            }
        }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
