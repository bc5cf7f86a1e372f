//! What the overlay looks like: each peer's record of itself, spread by the same broadcast as the files and reconciled
//! with the same code, so that any peer can answer for all of it.
//!
//! A peer sends a record half to a whole pause P after its neighbours have changed, by chance, so that of many that
//! change at once each has its turn. With n known peers P is n * `per_peer` of [`CensusRate`], and `per_peer` itself
//! grows with n up to a limit: few are quick, and however many there are, no more than some records in a second arrive
//! at a peer. When only the count of changes it applied has changed, it sends one at most once in 100 P; and none while
//! nothing happens at all.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::gossip::config::CensusRate;
use crate::gossip::ledger::{Entry, Ledger, key_of};
use crate::ids::PeerId;
use crate::rng::Rng;
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

/// A record, and when it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// The record.
    pub record: Arc<Record>,
    came: Instant,
}

impl Entry for Known {
    fn key(&self) -> Key {
        self.record.key()
    }

    fn hash(&self) -> u64 {
        self.record.hash()
    }

    fn replaces(&self, other: &Self) -> bool {
        self.record.replaces(&other.record)
    }
}

/// All records.
#[derive(Debug)]
pub struct Census {
    config: CensusRate,
    records: Ledger<Known>,
    /// When this peer last sent its own.
    sent: Option<Instant>,
    /// How its neighbours have changed since.
    changed: Option<Changed>,
    serial: u64,
    /// How many changes had been applied by the last record.
    last_published_applied: Option<u64>,
}

/// A change of this peer's neighbours.
#[derive(Debug, Clone, Copy)]
struct Changed {
    at: Instant,
    /// Which part of a pause it waits, in thousandths.
    part: u32,
}

impl Census {
    /// Knows nobody.
    pub fn new(config: CensusRate) -> Self {
        Self { config, records: Ledger::default(), sent: None, changed: None, serial: 0, last_published_applied: None }
    }

    /// Whether there is one.
    pub fn is_on(&self) -> bool {
        self.config.peers > 0
    }

    /// The records.
    pub fn records(&self) -> &Ledger<Known> {
        &self.records
    }

    /// Takes a record in. Returns whether it is news. When there are as many as there may be, no unknown peer is taken.
    pub fn merge(&mut self, record: Arc<Record>, now: Instant) -> bool {
        let room = self.records.len() < self.config.peers || self.records.get(record.key()).is_some();
        room && self.records.merge(Known { record, came: now })
    }

    /// The record of one peer.
    pub fn of(&self, peer: PeerId) -> Option<&Arc<Record>> {
        self.records.get(key_of(&peer.0)).map(|known| &known.record)
    }

    /// This peer's neighbours have changed.
    pub fn neighbours_changed(&mut self, now: Instant, rng: &mut Rng) {
        if self.is_on() && self.changed.is_none() {
            let part = u32::try_from(rng.below(500)).unwrap_or(0) + 500;
            self.changed = Some(Changed { at: now, part });
        }
    }

    /// When this peer sends its next record, as far as is known now: in a crowd of newcomers the pause grows.
    /// `applied`: how many changes it has applied.
    pub fn next_due(&self, applied: u64) -> Option<Instant> {
        let has_counted = self.last_published_applied != Some(applied);
        let pause = self.pause();
        let neighbours = self.changed.map(|Changed { at, part }| at + pause.saturating_mul(part) / 1000);
        let counters = self.sent.filter(|_| has_counted).map(|sent| sent + pause.saturating_mul(COUNTERS_WAIT));
        [neighbours, counters].into_iter().flatten().min()
    }

    /// P of the module's description.
    fn pause(&self) -> Duration {
        let CensusRate { shortest, per_peer, per_peer_max, .. } = self.config;
        let peers = u32::try_from(self.records.len()).unwrap_or(u32::MAX);
        shortest + per_peer.saturating_mul(peers).min(per_peer_max).saturating_mul(peers)
    }

    /// The number of the record that is sent now, by which so many changes were applied.
    pub fn next_serial(&mut self, applied: u64, now: Instant) -> u64 {
        (self.sent, self.changed, self.last_published_applied) = (Some(now), None, Some(applied));
        self.serial += 1;
        self.serial
    }

    /// The peers that `from` reaches over neighbours, as the records tell it.
    pub fn overlay_of(&self, from: PeerId) -> BTreeSet<PeerId> {
        let present = self.records.iter().map(|known| &known.record).filter(|record| !record.left);
        let by_name: BTreeMap<u64, &Arc<Record>> = present.map(|record| (short_name(record.peer), record)).collect();
        let mut reached: BTreeSet<u64> = [short_name(from)].into();
        let mut todo = vec![short_name(from)];
        while let Some(name) = todo.pop() {
            let neighbours = by_name.get(&name).map(|record| &*record.active).unwrap_or_default();
            todo.extend(neighbours.iter().filter(|other| reached.insert(**other)));
        }
        reached.iter().filter_map(|name| by_name.get(name).map(|record| record.peer)).collect()
    }

    /// Forgets those of whom nothing was heard for long and who aren't reachable by what the others tell, which may be
    /// as old as the pause between two records. Returns who they are.
    pub fn expire(&mut self, me: PeerId, now: Instant) -> Vec<PeerId> {
        let keep = self.config.keep.max(self.pause() * 2);
        let mut old: Vec<PeerId> =
            self.records.iter().filter(|known| now - known.came > keep).map(|known| known.record.peer).collect();
        if !old.is_empty() {
            let reached = self.overlay_of(me);
            old.retain(|peer| !reached.contains(peer));
        }
        for peer in &old {
            self.records.remove(key_of(&peer.0));
        }
        old
    }
}
