//! What a run was like, in the terms of the papers: relative message redundancy (Plumtree, SRDS 2007, section 4.1),
//! last delivery hop (the same), and when the last peer had each update.
#![expect(clippy::float_arithmetic, reason = "figures for people; nothing in the simulation follows from them")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Serialize;

use crate::gossip::catalogue::Catalogue;
use crate::ids::{FileId, Version};
use crate::time::Instant;
use crate::wire::update::FileUpdate;

/// Counts while a run goes on.
#[derive(Debug)]
pub struct Tally {
    from: Instant,
    rounds: Vec<Round>,
    by_name: BTreeMap<(FileId, Version), usize>,
    sent: BTreeMap<&'static str, Sent>,
    deliveries: u64,
}

/// Frames of one kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Sent {
    /// How many.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// One update.
#[derive(Debug)]
struct Round {
    file: FileId,
    version: Version,
    publisher: usize,
    at: Instant,
    /// When it was applied where.
    applied: Vec<(usize, Instant)>,
    /// How often it came over a link.
    copies: u64,
    last_hop: u16,
}

/// What a run was like.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Updates that count.
    pub updates: usize,
    /// Peers that were alive at the end.
    pub peers: usize,
    /// Deliveries that there should have been: one for each update and peer alive at the end, but its publisher, where
    /// somebody in that peer's overlay has the update.
    pub expected: u64,
    /// How many of them there weren't.
    pub lost: u64,
    /// Deliveries that there couldn't be: whoever had the update is dead, or in an overlay of its own.
    pub unreachable: u64,
    /// Relative message redundancy, the mean over all updates: copies for each delivery, less one.
    pub rmr: f64,
    /// The last delivery's hops, the mean over all updates.
    pub ldh: f64,
    /// The last delivery's hops, at worst.
    pub ldh_max: u16,
    /// From the publication to the last delivery.
    pub last_delivery_ms: Spread,
    /// Of the peers alive at the end, the part that got the first update after the fault within a second.
    pub first_after_fault: f64,
    /// From the fault until every later update took at most 10 times the median; 0 without a fault.
    pub heal_ms: f64,
    /// Bytes of frames, all kinds, for each delivery.
    pub bytes_per_delivery: f64,
    /// Frames that aren't news, for each delivery.
    pub control_per_delivery: f64,
    /// Frames that were sent since counting began, by kind.
    pub sent: BTreeMap<&'static str, Sent>,
}

/// A distribution.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Spread {
    /// The mean.
    pub mean: f64,
    /// The median.
    pub p50: f64,
    /// The 99th percentile.
    pub p99: f64,
    /// The largest.
    pub max: f64,
}

impl Spread {
    /// Of some values.
    pub fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |share: usize| {
            let place = (values.len() * share / 100).min(values.len().saturating_sub(1));
            values.get(place).copied().unwrap_or_default()
        };
        Self { mean: ratio(values.iter().sum(), count(values.len())), p50: at(50), p99: at(99), max: at(100) }
    }
}

impl Tally {
    /// Counts from a moment on.
    pub fn new(from: Instant) -> Self {
        Self { from, rounds: Vec::new(), by_name: BTreeMap::new(), sent: BTreeMap::new(), deliveries: 0 }
    }

    /// An update was published.
    pub fn published(&mut self, publisher: usize, update: &FileUpdate, at: Instant) {
        if at < self.from {
            return;
        }
        let (file, version) = (update.file.clone(), update.version);
        self.by_name.insert((file.clone(), version), self.rounds.len());
        self.rounds.push(Round { file, version, publisher, at, applied: Vec::new(), copies: 0, last_hop: 0 });
    }

    /// It was applied somewhere.
    pub fn applied(&mut self, host: usize, update: &FileUpdate, now: Instant) {
        let round = self.by_name.get(&(update.file.clone(), update.version));
        if let Some(round) = round.and_then(|place| self.rounds.get_mut(*place))
            && round.publisher != host
        {
            round.applied.push((host, now));
            self.deliveries += 1;
        }
    }

    /// It came over a link; by a catalogue exchange where its hops aren't known.
    pub fn received(&mut self, file: &FileId, version: Version, hops: Option<u16>, fresh: bool) {
        if let Some(round) = self.by_name.get(&(file.clone(), version)).and_then(|place| self.rounds.get_mut(*place)) {
            round.copies += 1;
            if fresh {
                round.last_hop = round.last_hop.max(hops.unwrap_or(0));
            }
        }
    }

    /// Something was sent.
    pub fn sent(&mut self, kind: &'static str, bytes: usize, now: Instant) {
        if now < self.from {
            return;
        }
        let sent = self.sent.entry(kind).or_default();
        sent.frames += 1;
        sent.bytes += u64::try_from(bytes).unwrap_or(0);
    }

    /// All of it together. `alive`: who runs at the end.
    pub fn report<'a>(&self, alive: impl Iterator<Item = Survivor<'a>>, fault_at: Instant) -> Report {
        let alive: BTreeMap<usize, Survivor<'_>> = alive.map(|survivor| (survivor.host, survivor)).collect();
        let Deliveries { expected, lost, unreachable } = self.deliveries(&alive);
        let latest = |round: &Round| {
            let to_alive = round.applied.iter().filter(|(host, _)| alive.contains_key(host));
            to_alive.map(|(_, at)| *at).max().map(|at| ms(at - round.at))
        };
        let last_delivery_ms = Spread::of(self.rounds.iter().filter_map(latest).collect());
        let copies: Vec<f64> = self.rounds.iter().filter_map(redundancy).collect();
        let hops: Vec<f64> = self.rounds.iter().map(|round| f64::from(round.last_hop)).collect();
        let after_fault = || self.rounds.iter().filter(|round| fault_at > Instant::START && round.at >= fault_at);
        let slow = after_fault().filter(|round| latest(round).is_some_and(|ms| ms > 10.0 * last_delivery_ms.p50));
        let healed = slow.filter_map(|round| Some(ms(round.at - fault_at) + latest(round)?)).fold(0.0, f64::max);
        let first = after_fault().next().map_or(1.0, |round| {
            let soon = |at: Instant| at - round.at <= Duration::from_secs(1);
            let reached = round.applied.iter().filter(|(host, at)| alive.contains_key(host) && soon(*at)).count();
            ratio(count(reached), count(alive.len().saturating_sub(1)))
        });
        let control = self.sent.iter().filter(|(kind, _)| **kind != "update").map(|(_, sent)| sent.frames).sum();
        Report {
            updates: self.rounds.len(),
            peers: alive.len(),
            expected,
            lost,
            unreachable,
            rmr: Spread::of(copies).mean,
            ldh: Spread::of(hops).mean,
            ldh_max: self.rounds.iter().map(|round| round.last_hop).max().unwrap_or(0),
            last_delivery_ms,
            first_after_fault: first,
            heal_ms: healed,
            bytes_per_delivery: ratio(float(self.sent.values().map(|sent| sent.bytes).sum()), float(self.deliveries)),
            control_per_delivery: ratio(float(control), float(self.deliveries)),
            sent: self.sent.clone(),
        }
    }

    fn deliveries(&self, alive: &BTreeMap<usize, Survivor<'_>>) -> Deliveries {
        let mut deliveries = Deliveries::default();
        for round in &self.rounds {
            let reached: BTreeSet<usize> = alive.values().filter(|at| at.has(round)).map(|at| at.overlay).collect();
            for survivor in alive.values().filter(|at| at.host != round.publisher) {
                if reached.contains(&survivor.overlay) {
                    deliveries.expected += 1;
                    deliveries.lost += u64::from(!survivor.has(round));
                } else {
                    deliveries.unreachable += 1;
                }
            }
        }
        deliveries
    }
}

/// Who runs at the end.
#[derive(Debug, Clone, Copy)]
pub struct Survivor<'a> {
    /// Which host.
    pub host: usize,
    /// The same for all that reach each other over neighbours, another one for any other.
    pub overlay: usize,
    /// What it knows.
    pub catalogue: &'a Catalogue,
}

impl Survivor<'_> {
    fn has(&self, round: &Round) -> bool {
        self.catalogue.of_file(&round.file).is_some_and(|known| known.version >= round.version)
    }
}

#[derive(Default)]
struct Deliveries {
    expected: u64,
    lost: u64,
    unreachable: u64,
}

/// m / (n - 1) - 1 for one update; of one that nobody else got there is none.
fn redundancy(round: &Round) -> Option<f64> {
    let deliveries = count(round.applied.len());
    (deliveries > 0.0).then(|| float(round.copies) / deliveries - 1.0)
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

#[expect(clippy::cast_precision_loss, reason = "counts in a report are far below 2^52")]
fn float(number: u64) -> f64 {
    number as f64
}

fn count(number: usize) -> f64 {
    float(u64::try_from(number).unwrap_or(u64::MAX))
}
