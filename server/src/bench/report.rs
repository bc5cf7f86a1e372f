//! The figures of a run, and what they are made with. What a phase found is in the phase's file.

use serde::Serialize;

use crate::bench::busy::Busy;
use crate::bench::flow::{Flow, Idle};
use crate::bench::kill::Kill;
use crate::bench::rejoin::Rejoin;
use crate::bench::split::Split;
use crate::bench::stop::Stop;
use crate::bench::versions::Versions;

/// A distribution, in milliseconds.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Latency {
    /// The median.
    pub p50: f64,
    /// The 99th percentile.
    pub p99: f64,
    /// The largest.
    pub max: f64,
}

/// One system's figures; those of phases that weren't asked for are absent.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Figures {
    /// Until everybody had a neighbour.
    pub joined_ms: f64,
    /// KiB that only one process has, for each of its nodes, at the start.
    pub private_kib: u64,
    /// Nobody publishes.
    pub idle: Option<Idle>,
    /// The first node publishes now and then.
    pub one_sender: Option<Flow>,
    /// Each update is another node's.
    pub random_senders: Option<Flow>,
    /// A thousand a second.
    pub paced: Option<Flow>,
    /// As fast as the publisher can.
    pub burst: Option<Flow>,
    /// At most some that haven't reached everybody.
    pub window: Option<Flow>,
    /// The same after these streams.
    pub private_kib_after: Option<u64>,
    /// One is stopped for a while.
    pub stop: Option<Stop>,
    /// Many die.
    pub kill: Option<Kill>,
    /// Two halves lose each other.
    pub split: Option<Split>,
    /// One joins that knows nothing.
    pub newcomer: Option<Rejoin>,
    /// One joins that lacks one file.
    pub difference: Option<Rejoin>,
    /// Many versions of few files.
    pub versions: Option<Versions>,
    /// All cores are busy.
    pub busy: Option<Busy>,
    /// All deliveries that never came.
    pub lost: usize,
}

impl Latency {
    pub(super) fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |share: usize| {
            let place = (values.len() * share / 100).min(values.len().saturating_sub(1));
            values.get(place).copied().unwrap_or_default()
        };
        Self { p50: at(50), p99: at(99), max: at(100) }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a run is far shorter than 2^52 ns")]
pub(super) fn ns(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e6
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
pub(super) fn between(before: u64, after: u64) -> f64 {
    after.saturating_sub(before) as f64
}

pub(super) fn float(count: usize) -> f64 {
    between(0, u64::try_from(count).unwrap_or(u64::MAX))
}
