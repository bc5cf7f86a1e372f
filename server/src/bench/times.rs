//! When nodes got updates, by one clock, and what follows from that.

use crate::bench::latency::ns;

/// An update that takes longer than this after a fault counts as slow.
const SLOW_MS: f64 = 100.0;

/// When some nodes got some updates, in nanoseconds; 0: never.
#[derive(Debug)]
pub(super) struct Times {
    /// By node: its number, and its times by update.
    pub(super) nodes: Vec<(usize, Vec<u64>)>,
}

impl Times {
    /// How many deliveries there weren't.
    pub(super) fn missing(&self) -> usize {
        self.nodes.iter().map(|(_, times)| times.iter().filter(|time| **time == 0).count()).sum()
    }

    /// The same of some nodes only, or all but those.
    pub(super) fn only(&self, wanted: impl Fn(usize) -> bool) -> Self {
        Self { nodes: self.nodes.iter().filter(|(node, _)| wanted(*node)).cloned().collect() }
    }

    /// When an update was published: the first time that anybody had it.
    pub(super) fn published_ns(&self, update: usize) -> Option<u64> {
        self.of(update).filter(|time| *time > 0).min()
    }

    /// From an update's publication, wherever that was, until the last node had it; `None` where one hasn't.
    pub(super) fn last_delivery_ns(&self, update: usize, published_ns: u64) -> Option<u64> {
        let latest = self.of(update).try_fold(0, |latest, time| (time > 0).then_some(latest.max(time)))?;
        Some(latest.saturating_sub(published_ns))
    }

    /// When each update was published, and how many milliseconds later the last node had it. Those that are lost aren't
    /// in.
    pub(super) fn last_deliveries(&self, count: usize) -> impl Iterator<Item = (u64, f64)> {
        (0..count).filter_map(|update| {
            let at = self.published_ns(update)?;
            Some((at, ns(self.last_delivery_ns(update, at)?)))
        })
    }

    /// From a fault until the last update was published that took longer than [`SLOW_MS`]; 0 if none did.
    pub(super) fn slow_until_ms(&self, count: usize, fault_ns: u64) -> f64 {
        let slow = self.last_deliveries(count).filter(|(at, ms)| *at >= fault_ns && *ms > SLOW_MS);
        slow.map(|(at, _)| ns(at - fault_ns)).fold(0.0, f64::max)
    }

    /// When the last of them came; 0 if none did.
    pub(super) fn last_ns(&self) -> u64 {
        self.nodes.iter().flat_map(|(_, times)| times).max().copied().unwrap_or(0)
    }

    /// The first updates only.
    pub(super) fn first(mut self, count: usize) -> Self {
        self.nodes.iter_mut().for_each(|(_, times)| times.truncate(count));
        self
    }

    /// When each node got it.
    pub(super) fn of(&self, update: usize) -> impl Iterator<Item = u64> {
        self.nodes.iter().filter_map(move |(_, times)| times.get(update).copied())
    }
}
